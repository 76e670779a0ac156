package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

// outsider makes a key for somebody outside.
func outsider(t *testing.T) (path string, id protocol.AccountID) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "outsider.key")
	id, err := protocol.ParseAccountID(strings.TrimSpace(good(t, "officer", "keygen", path)))
	if err != nil {
		t.Fatal(err)
	}
	return path, id
}

// TestReserveByHand: an attestor sees what he signs, signs it with --yes only, and a file is shown before it is sent.
func TestReserveByHand(t *testing.T) {
	key, id := outsider(t)
	asset := "USD:" + id.String() // any account will do as the issuer
	args := []string{"reserve", "attest", "--network", string(testNetwork), "--asset", asset, "--reserve", "1000", "--outstanding", "400.5", "--ledger", "50",
		"--closed", "2026-03-01T12:00:00Z", "--sequence", "7", "--attestor", "treasury", "--key", key}
	words := good(t, args...)
	for _, want := range []string{"asset " + asset, "reserve 1000.0000000", "outstanding 400.5000000", "ledger 50", "sequence 7", "nothing was signed"} {
		if !strings.Contains(words, want) {
			t.Errorf("shown without %q:\n%s", want, words)
		}
	}
	signed := good(t, append(args, "--yes")...)
	var a keymgmt.Attestation
	if err := json.Unmarshal([]byte(signed), &a); err != nil || a.Validate() != nil || !a.Closed.Equal(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)) {
		t.Fatalf("%+v %v", a, err)
	}
	if !strings.HasPrefix(words, strings.Split(string(policy.AttestationText(testNetwork.NetworkID(), a)), "issued")[0]) {
		t.Errorf("signed something else than what was shown:\n%s", words)
	}
	file := filepath.Join(t.TempDir(), "attestation.json")
	if err := os.WriteFile(file, []byte(signed), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := good(t, "reserve", "send", file); !strings.Contains(out, "treasury attests 1000.0000000 in reserve") || !strings.Contains(out, dryRun) {
		t.Error(out)
	}
	for name, bad := range map[string][]string{
		"nobody to send it to": {"reserve", "send", file, "--yes"}, "no network": {"reserve", "attest", "--asset", asset, "--closed", "2026-03-01T12:00:00Z"},
		"no time": {"reserve", "attest", "--network", "n"}, "no amounts": {"reserve", "attest", "--network", "n", "--closed", "2026-03-01T12:00:00Z"},
		"too exact": append(append([]string(nil), args...), "--yes", "--reserve", "0.00000001"),
	} {
		if out, err := command(t, bad...); err == nil {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// TestDischargeByHand: the same for the holder of a lien.
func TestDischargeByHand(t *testing.T) {
	key, id := outsider(t)
	args := []string{"lien", "discharge", "--network", string(testNetwork), "--lien", "loan-1", "--account", id.String(), "--asset", "native", "--amount", "5",
		"--destination", id.String(), "--holder", "lender", "--key", key}
	if words := good(t, args...); !strings.Contains(words, "lien loan-1\naccount "+id.String()+"\nasset native\namount 5.0000000\n") || !strings.Contains(words, "nothing was signed") {
		t.Error(words)
	}
	var d keymgmt.Discharge
	if err := json.Unmarshal([]byte(good(t, append(args, "--yes")...)), &d); err != nil || d.Validate() != nil || d.Amount != "5.0000000" {
		t.Errorf("%+v %v", d, err)
	}
}
