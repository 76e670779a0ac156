package node_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diamante/gateway/node"
)

func TestSeedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "validator.seed")
	id, err := node.CreateSeed(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if _, err := node.CreateSeed(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second seed over the first: %v, want ErrExist", err)
	}
	seed, err := node.LoadSeed(path)
	if err != nil {
		t.Fatal(err)
	}
	if seed.NodeID() != id {
		t.Errorf("loaded %s, created %s", seed.NodeID(), id)
	}
	sig, err := seed.SignValue(t.Context(), []byte("body"))
	if err != nil || !ed25519.Verify(id.Key(), []byte("body"), sig) {
		t.Errorf("the signature does not verify: %v", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.TrimSpace(string(text))
	for _, shown := range []string{fmt.Sprint(seed), fmt.Sprintf("%+v %#v %x %d %s", seed, seed, seed, seed, *seed)} {
		if strings.Contains(shown, secret) || strings.Contains(shown, "key:") || strings.Contains(shown, "[]byte") {
			t.Errorf("the seed shows itself: %s", shown)
		}
	}
}

func TestSeedFileRefused(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good")
	if _, err := node.CreateSeed(good); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	id := "GAAZI4TCR3TY5OJHCTJC2A4QSY6CJWJH5IAJTGKIN2ER7LBNVKOCCWN7"
	for _, c := range []struct {
		name, text string
		mode       fs.FileMode
	}{
		{"readable by the group", string(text), 0o640},
		{"readable by all", string(text), 0o604},
		{"executable", string(text), 0o700},
		{"read-only", string(text), 0o400},
		{"empty", "", 0o600},
		{"a public key", id, 0o600},
		{"one character changed", "SA" + strings.Repeat("B", 54), 0o600},
		{"two of them", string(text) + string(text), 0o600},
		{"huge", strings.Repeat("S", 1<<20), 0o600},
		{"not text", "\x00\xff", 0o600},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "seed")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			_, err := node.LoadSeed(path)
			if !errors.Is(err, node.ErrSeedFile) {
				t.Fatalf("got %v, want ErrSeedFile", err)
			}
			if strings.Contains(err.Error(), strings.TrimSpace(string(text))) {
				t.Errorf("the error shows the seed: %v", err)
			}
		})
	}
	if _, err := node.LoadSeed(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v, want ErrNotExist", err)
	}
	if _, err := node.LoadSeed(t.TempDir()); !errors.Is(err, node.ErrSeedFile) {
		t.Errorf("a folder: %v, want ErrSeedFile", err)
	}
}
