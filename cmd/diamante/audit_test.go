package main

import (
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/compliance/export"
	"github.com/diamante/gateway/keymgmt/evidence"
)

// TestVerifyKnowsTheFormat: packages and evidence are told apart by what is in the file.
func TestVerifyKnowsTheFormat(t *testing.T) {
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.NewLogKey("bank.example/signer", public)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := write("log.pub", log.String())
	for text, want := range map[string]error{"": export.ErrInvalid, "README.txt": export.ErrInvalid, "{": evidence.ErrInvalid, `{"format":"diamante-evidence/1"}`: evidence.ErrInvalid} {
		for _, args := range [][]string{{}, {"--json"}} {
			if out, err := command(t, append([]string{"audit", "verify", write("file", text), "--key", key}, args...)...); !errors.Is(err, want) {
				t.Errorf("%q: %v, want %v\n%s", text, err, want, out)
			}
		}
	}
	if _, err := command(t, "audit", "verify", filepath.Join(t.TempDir(), "none"), "--key", key); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
