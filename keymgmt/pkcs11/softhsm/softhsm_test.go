package softhsm

import (
	"os"
	"strings"
	"testing"
)

func TestPrepare(t *testing.T) {
	dir := t.TempDir() + "/hsm"
	first, err := Prepare(dir)
	if err != nil {
		t.Fatal(err)
	}
	pin, err := os.ReadFile(first.PINFile)
	if err != nil || len(pin) < 16 {
		t.Fatalf("PIN of %d characters, error %v", len(pin), err)
	}
	so, err := os.ReadFile(first.SOPINFile)
	if err != nil || string(so) == string(pin) {
		t.Fatalf("the two PINs are the same, error %v", err)
	}
	for _, path := range []string{first.PINFile, first.SOPINFile, first.Conf} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, error %v", path, info.Mode(), err)
		}
	}
	conf, err := os.ReadFile(first.Conf)
	if err != nil || !strings.Contains(string(conf), first.Tokens) {
		t.Fatalf("configuration %q, error %v", conf, err)
	}

	second, err := Prepare(dir)
	if err != nil || second != first {
		t.Fatalf("again: %+v, error %v", second, err)
	}
	if again, err := os.ReadFile(first.PINFile); err != nil || string(again) != string(pin) {
		t.Fatalf("the PIN changed, error %v", err)
	}
}

func TestPrepareRefusesNames(t *testing.T) {
	if _, err := Prepare(t.TempDir() + "/a\nlog.level = DEBUG"); err == nil {
		t.Fatal("a folder's name can write into the configuration")
	}
}
