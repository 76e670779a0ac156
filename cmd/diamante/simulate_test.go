package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

// TestLists: those who decide on a list read it in words and sign it, and the signer's side accepts what they made.
func TestLists(t *testing.T) {
	dir := t.TempDir()
	key, file := filepath.Join(dir, "dan.key"), filepath.Join(dir, "suppliers.toml")
	account := strings.TrimSpace(good(t, "officer", "keygen", key))
	text, err := policy.MarshalList(policy.List{Format: policy.ListFormat, Name: "suppliers", Version: 2, Network: testNetwork, Entries: []string{account}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if words := good(t, "list", "explain", file); !strings.Contains(words, "list suppliers version 2") || !strings.Contains(words, account) {
		t.Errorf("explain says\n%s", words)
	}
	if lint := good(t, "list", "lint", file); !strings.Contains(lint, "never ends") {
		t.Errorf("lint says\n%s", lint)
	}
	good(t, "list", "sign", file, "--key", key, "--yes")
	sigs, err := os.ReadFile(file + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	rules := checkpointPolicy(t)
	id, err := protocol.ParseAccountID(account)
	if err != nil {
		t.Fatal(err)
	}
	rules.Lists = []policy.ListRule{{Name: "suppliers", Officers: []protocol.AccountID{id}, Quorum: 1}}
	rules.Keys = append(rules.Keys, policy.Key{ID: mustKey(t, "fees/payer"), Public: policy.Ledger(id), Callers: []string{"gateway.diamante.internal"},
		FeeBump: &policy.FeeBumpRule{MaxFee: quantity(t, "1"), FeeWindows: policy.Day(quantity(t, "1")), MaxSeconds: 60, Sources: policy.Listed("suppliers")}})
	raw, err := policy.Marshal(rules)
	if err != nil {
		t.Fatal(err)
	}
	officer, err := readOfficer(key)
	if err != nil {
		t.Fatal(err)
	}
	line, err := policy.Sign(raw, officer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Load(raw, line, policy.Alone(id.Key()), policy.Signed{File: text, Signatures: sigs}); err != nil {
		t.Error(err)
	}
}

func mustKey(t *testing.T, id string) keymgmt.KeyID {
	t.Helper()
	k, err := keymgmt.ParseKeyID(id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func quantity(t *testing.T, s string) policy.Quantity {
	t.Helper()
	q, err := policy.ParseQuantity(s)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// checkpointPolicy lets the gateway sign a log's checkpoints.
func checkpointPolicy(t *testing.T) policy.File {
	t.Helper()
	id, err := protocol.ParseAccountID(strings.TrimSpace(good(t, "officer", "keygen", filepath.Join(t.TempDir(), "log.key"))))
	if err != nil {
		t.Fatal(err)
	}
	return policy.File{Format: policy.Format, Version: 9, Network: testNetwork, Keys: []policy.Key{{ID: mustKey(t, "audit/log"), Public: policy.Ledger(id),
		Callers: []string{"gateway.diamante.internal"}, Checkpoint: &policy.CheckpointRule{Origin: "bank.example/audit"}}}}
}

// TestSimulate: the command says which requests of a journal new rules would not allow, and refuses one that is no journal.
func TestSimulate(t *testing.T) {
	dir := t.TempDir()
	file, journal := filepath.Join(dir, "policy.toml"), filepath.Join(dir, "journal.jsonl")
	raw, err := policy.Marshal(checkpointPolicy(t))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	line := func(origin string, size int) string {
		text, err := json.Marshal(policy.Past{Key: mustKey(t, "audit/log"), Kind: keymgmt.KindCheckpoint, Ref: fmt.Sprintf("checkpoint/%d", size), Caller: "gateway.diamante.internal",
			Body: fmt.Appendf(nil, "%s\n%d\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", origin, size), At: at.Add(time.Duration(size) * time.Second), Policy: 8})
		if err != nil {
			t.Fatal(err)
		}
		return string(text) + "\n"
	}
	write := func(path string, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, string(raw))
	write(journal, line("bank.example/audit", 1)+line("bank.example/other", 2)+line("bank.example/audit", 3))
	if out := good(t, "policy", "simulate", file, journal); !strings.Contains(out, "audit/log checkpoint/2, allowed by policy 8: rule checkpoint.origin") ||
		!strings.Contains(out, "3 requests, 1 would be decided otherwise, 0 not simulated") {
		t.Errorf("it says\n%s", out)
	}
	if out := good(t, "policy", "simulate", "--json", file, journal); strings.Count(out, "\n") != 1 || !strings.Contains(out, `"rule":"checkpoint.origin"`) {
		t.Errorf("as JSON it says\n%s", out)
	}
	for name, text := range map[string]string{"no JSON": "?\n", "something else": `{"key":"audit/log","why":1}` + "\n", "not in order": line("bank.example/audit", 3) + line("bank.example/audit", 1)} {
		write(journal, text)
		if out, err := command(t, "policy", "simulate", file, journal); err == nil {
			t.Errorf("%s:\n%s", name, out)
		}
	}
}
