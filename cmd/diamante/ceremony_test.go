package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/cmd/internal/paper"
	"github.com/diamante/gateway/keymgmt/ceremony"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
)

// A witness reads the transcript and signs it with a key that was made for an officer; an auditor sees how far it got.
func TestWitnessAndVerify(t *testing.T) {
	dir := t.TempDir()
	key, plan, transcript := filepath.Join(dir, "alice.pem"), filepath.Join(dir, "plan.toml"), filepath.Join(dir, "transcript")
	address, err := command(t, "officer", "keygen", key)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("format = 1\nname = \"Test\"\nquorum = 1\n[token]\nlabel = \"a\"\nserial = \"b\"\n[[witness]]\nname = \"alice\"\npublic = %q\n[[generate]]\nkey = \"a\"\nalgorithm = \"ed25519\"\n",
		strings.TrimSpace(address))
	parsed, err := ceremony.ParsePlan([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plan, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := ceremony.CreateFile(transcript, parsed, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"keys", "witness", transcript, "--plan", plan, "--name", "alice", "--key", key}
	if _, err := command(t, append(args, "--yes")...); err == nil {
		t.Error("signed a transcript that another process writes")
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := command(t, args...); err != nil || !strings.Contains(out, "nothing was signed") || !strings.Contains(out, "make ed25519 key a") {
		t.Fatal(out, err)
	}
	if out, err := command(t, append(args, "--yes")...); err != nil {
		t.Fatal(out, err)
	}
	if _, err := command(t, append(args, "--yes")...); err == nil {
		t.Error("signed twice")
	}
	if out, err := command(t, "keys", "verify", transcript); err == nil || !strings.Contains(out, "NOT COMPLETE: steps are left") || !strings.Contains(out, "read the plan: [alice]") {
		t.Error(out, err)
	}
	if err := os.WriteFile(plan, []byte(text+"# another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{append(args, "--yes"), {"keys", "verify", transcript, "--plan", plan}} {
		if _, err := command(t, args...); err == nil || !strings.Contains(err.Error(), "is of plan") {
			t.Errorf("%v: %v", args, err)
		}
	}
	raw, err := os.ReadFile(transcript)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(transcript, bytes.Replace(raw, []byte("ed25519"), []byte("p256"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := command(t, "keys", "verify", transcript); err == nil {
		t.Error("a transcript that was changed verifies")
	}
}

// The example is a plan.
func TestExampleCeremony(t *testing.T) {
	raw, err := os.ReadFile("../../deploy/config/ceremony.toml")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := ceremony.ParsePlan(raw)
	if err != nil {
		t.Fatal(err)
	}
	if words := strings.Join(plan.Words(), "\n"); !strings.Contains(words, "2 of 3 witnesses") || !strings.Contains(words, "WHICH CAN LEAVE") {
		t.Error(words)
	}
}

func TestRotate(t *testing.T) {
	account := func(name string) protocol.AccountID {
		sum := sha256.Sum256([]byte(name))
		id, err := protocol.AccountIDFromKey(sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	main, next := account("main"), account("next")
	prefix := filepath.Join(t.TempDir(), "r")
	args := []string{"keys", "rotate", "--passphrase", "Test", "--account", main.String(), "--new", next.String(), "--old-key", "anchor/old", "--new-key", "anchor/new",
		"--sequence", "41", "--weight", "2", "--out", prefix}
	if out, err := command(t, args...); err != nil || !strings.Contains(out, "nothing was written") {
		t.Fatal(out, err)
	}
	if out, err := command(t, append(args, "--yes")...); err != nil {
		t.Fatal(out, err)
	}
	for i, name := range []string{".1-add.json", ".2-remove.json"} {
		raw, err := os.ReadFile(prefix + name)
		if err != nil {
			t.Fatal(err)
		}
		var q paper.Request
		if err := json.Unmarshal(raw, &q); err != nil {
			t.Fatal(err)
		}
		m, err := payload.Decode(q.Kind, q.Body)
		if err != nil {
			t.Fatal(err)
		}
		o, ok := m.Transaction.Operations[0].(payload.SetOptions)
		if !ok || m.Transaction.Sequence != int64(42+i) {
			t.Fatalf("%+v", m.Transaction)
		}
		added := i == 0 && q.Key.String() == "anchor/old" && o.MasterWeight == nil && o.Signer != nil && o.Signer.Key.Account == next && o.Signer.Weight == 2
		removed := i == 1 && q.Key.String() == "anchor/new" && o.Signer == nil && o.MasterWeight != nil && *o.MasterWeight == 0
		if !added && !removed {
			t.Errorf("%s: %s %+v", name, q.Key, o)
		}
	}
	if _, err := command(t, append(args, "--yes")...); err == nil {
		t.Error("written over")
	}
	for flag, value := range map[string]string{"--new": main.String(), "--weight": "256", "--sequence": "0"} {
		if _, err := command(t, append(args, flag, value)...); err == nil {
			t.Errorf("%s %s", flag, value)
		}
	}
}
