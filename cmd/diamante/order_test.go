package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
)

// TestOrders: an order is written once, shown before it is signed, signed by one officer after the other, and no file that
// says anything else is signed or sent.
func TestOrders(t *testing.T) {
	dir := t.TempDir()
	file, _ := setupFile(t)
	for _, name := range []string{"alice", "bob"} {
		key, id := outsider(t)
		if err := os.Rename(key, filepath.Join(dir, name+".key")); err != nil {
			t.Fatal(err)
		}
		file.Officers = append(file.Officers, policy.Officer{Name: name, Public: policy.Ledger(id), Groups: []string{"board"}})
	}
	raw, err := policy.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	rules, order := filepath.Join(dir, "policy.toml"), filepath.Join(dir, "order.json")
	if err := os.WriteFile(rules, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	good(t, "order", "new", "thaw", order, "--network", string(testNetwork), "--key", "*", "--reason", "the drill is over")
	if out, err := command(t, "order", "new", "thaw", order, "--network", string(testNetwork), "--key", "*"); err == nil {
		t.Errorf("written over another: %s", out)
	}
	sign := func(name string, more ...string) []string {
		return append([]string{"order", "sign", order, "--officer", name, "--key", filepath.Join(dir, name+".key"), "--policy", rules}, more...)
	}
	if out := good(t, sign("alice")...); !strings.Contains(out, "thaw *\n") || !strings.Contains(out, "reason the drill is over\n") || !strings.Contains(out, "nothing was signed") {
		t.Error(out)
	}
	for _, name := range []string{"alice", "bob"} {
		good(t, sign(name, "--yes")...)
	}
	var o keymgmt.Order
	if err := readStrict(order, &o); err != nil || len(o.Signers) != 2 || time.Since(o.Issued) > time.Minute {
		t.Fatalf("%+v %v", o, err)
	}
	if err := file.CheckOrder(o); err != nil {
		t.Error(err)
	}
	if out := good(t, "order", "send", order); !strings.Contains(out, "signed by alice\nsigned by bob\n") || !strings.Contains(out, dryRun) {
		t.Error(out)
	}
	wrong := sign("alice", "--yes")
	wrong[4] = "bob"
	if out, err := command(t, wrong...); err == nil {
		t.Errorf("alice signs as bob: %s", out)
	}
	for name, bad := range map[string][]string{
		"no such action": {"order", "new", "melt", order + "2", "--network", string(testNetwork), "--key", "*"}, "no such key": {"order", "new", "freeze", order + "2", "--key", "A B"},
		"no network":            {"order", "new", "freeze", order + "2", "--key", "*"},
		"a reason of two lines": {"order", "new", "freeze", order + "2", "--network", string(testNetwork), "--key", "*", "--reason", "a\nb"}, "no key to sign with": {"order", "sign", order, "--officer", "bob", "--yes"},
		"two keys to sign with": sign("bob", "--yes", "--passkey"), "nobody to send it to": {"order", "send", order, "--yes"},
	} {
		if out, err := command(t, bad...); err == nil {
			t.Errorf("%s: %s", name, out)
		}
	}
}
