package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/cmd/internal/paper"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

const testNetwork = protocol.Passphrase("Operator Test Network ; 2026")

func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), args, &out)
	return out.String(), err
}

func good(t *testing.T, args ...string) string {
	t.Helper()
	out, err := command(t, args...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

// TestOfficersSide: officers make keys, read a policy in words, sign it together, and approve a request that they read for
// themselves; the signer's side accepts what they made.
func TestOfficersSide(t *testing.T) {
	dir := t.TempDir()
	board := policy.Board{Quorum: 2}
	var accounts []protocol.AccountID
	for _, name := range []string{"alice", "bob"} {
		path := filepath.Join(dir, name+".key")
		id, err := protocol.ParseAccountID(strings.TrimSpace(good(t, "officer", "keygen", path)))
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info.Mode(), err)
		}
		if _, err := command(t, "officer", "keygen", path); err == nil {
			t.Error("a key was made over another")
		}
		board.Officers, accounts = append(board.Officers, id.Key()), append(accounts, id)
	}
	file, issuing := setupFile(t)
	file.Officers = []policy.Officer{{Name: "alice", Public: policy.Ledger(accounts[0]), Groups: []string{"treasury"}}}
	file.Keys[1].Transaction.Approvals = []policy.ApprovalRule{{Needs: []policy.Need{{Group: "treasury", Count: 1}}}}
	raw, err := policy.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "policy.toml")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	words := good(t, "policy", "explain", path)
	for _, want := range []string{"policy version 3", "key anchor/usd/issuing", "lets up to 1000.0000000 native leave in any 24h0m0s", "needs the approval of 1 of treasury for everything", "officer alice"} {
		if !strings.Contains(words, want) {
			t.Errorf("explain lacks %q:\n%s", want, words)
		}
	}
	if lint := good(t, "policy", "lint", path); !strings.Contains(lint, "anchor/usd/distribution: pays") || strings.Contains(lint, "issuing: pays") {
		t.Errorf("lint says\n%s", lint)
	}
	good(t, "policy", "sign", path, "--key", filepath.Join(dir, "alice.key")) // dry run
	if _, err := os.Stat(path + ".sig"); err == nil {
		t.Error("signed without --yes")
	}
	for _, name := range []string{"alice", "bob"} {
		good(t, "policy", "sign", path, "--yes", "--key", filepath.Join(dir, name+".key"))
	}
	sigs, err := os.ReadFile(path + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Load(raw, sigs, board); err != nil {
		t.Error(err)
	}
	approveByHand(t, dir, issuing, accounts[0])
}

// setupFile is an anchor's policy, and the address of its issuing key.
func setupFile(t *testing.T) (policy.File, protocol.AccountID) {
	t.Helper()
	setup := policy.Setup{Version: 3, Network: testNetwork, Gateway: "gateway.diamante.internal", Signer: "signer.diamante.internal", AssetCode: "USD", HomeDomain: "bank.example",
		WebAuthDomain: "auth.bank.example", TokenIssuer: "https://auth.bank.example/auth", LogOrigin: "bank.example/audit",
		SignerOrigin: "bank.example/signer"}
	amount, err := policy.ParseQuantity("1000")
	if err != nil {
		t.Fatal(err)
	}
	setup.Asset, setup.Native, setup.Starting = policy.Bounds{PerTransaction: amount, PerDay: amount}, policy.Bounds{PerTransaction: amount, PerDay: amount}, amount
	for _, id := range []*protocol.AccountID{&setup.Publics.Root, &setup.Publics.Issuing, &setup.Publics.Distribution, &setup.Publics.Challenge, &setup.Publics.Token, &setup.Publics.Log, &setup.Publics.SignerLog} {
		public, _, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		if *id, err = protocol.AccountIDFromKey(public); err != nil {
			t.Fatal(err)
		}
	}
	file, err := setup.File()
	if err != nil {
		t.Fatal(err)
	}
	return file, setup.Publics.Issuing
}

func approveByHand(t *testing.T, dir string, source, officer protocol.AccountID) {
	asked := paymentRequest(t, source)
	request, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "request.json")
	if err := os.WriteFile(path, request, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"approve", path, "--policy-version", "3", "--officer", "alice", "--key", filepath.Join(dir, "alice.key")}
	if out := good(t, args...); !strings.Contains(out, "| pays 1.0000000 DIAM to "+source.String()) || !strings.Contains(out, "initiator erin") {
		t.Errorf("what is shown:\n%s", out)
	}
	var consent keymgmt.Consent
	if err := json.Unmarshal([]byte(good(t, append(args, "--yes")...)), &consent); err != nil || consent.Officer != "alice" || len(consent.Signature) != 64 {
		t.Errorf("%+v %v", consent, err)
	}
	for name, bad := range map[string]string{"more": strings.Replace(string(request), "{", `{"more":1,`, 1), "twice": string(request) + string(request), "no body": `{"key":"a/b","kind":"jwt","ref":"x"}`} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := command(t, args...); err == nil {
			t.Errorf("%s was shown:\n%s", name, out)
		}
	}
}

// paymentRequest asks for a payment by the issuing key.
func paymentRequest(t *testing.T, source protocol.AccountID) paper.Request {
	t.Helper()
	one, err := protocol.ParseAmount("1")
	if err != nil {
		t.Fatal(err)
	}
	u, err := txbuild.Build(txbuild.Params{Passphrase: testNetwork, Source: source, Sequence: 7, FeePerOp: 100, NotAfter: time.Now().Add(time.Hour),
		Operations: []txbuild.Operation{txbuild.Payment{Destination: source, Asset: protocol.Native(), Amount: one}}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := keymgmt.ParseKeyID("anchor/usd/issuing")
	if err != nil {
		t.Fatal(err)
	}
	return paper.Request{Key: key, Kind: keymgmt.KindTransaction, Body: u.SignatureBase(), Ref: "tx/1", Initiator: "erin"}
}
