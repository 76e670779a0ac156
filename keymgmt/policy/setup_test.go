package policy_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

const passphrase = protocol.Passphrase("Policy Test Network ; 2026")

func newAccount(t testing.TB) protocol.AccountID {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := protocol.AccountIDFromKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func quantity(t testing.TB, s string) policy.Quantity {
	t.Helper()
	q, err := policy.ParseQuantity(s)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func newSetup(t testing.TB) policy.Setup {
	t.Helper()
	return policy.Setup{
		Version: 1, Network: passphrase, Gateway: "gateway.diamante.internal",
		Publics: policy.Publics{Root: newAccount(t), Issuing: newAccount(t), Distribution: newAccount(t),
			Challenge: newAccount(t), Token: newAccount(t), Log: newAccount(t)},
		AssetCode: "USD", HomeDomain: "bank.example", WebAuthDomain: "auth.bank.example",
		TokenIssuer: "https://auth.bank.example/auth", LogOrigin: "bank.example/audit",
		Asset:    policy.Bounds{PerTransaction: quantity(t, "1000"), PerDay: quantity(t, "2500")},
		Native:   policy.Bounds{PerTransaction: quantity(t, "1000"), PerDay: quantity(t, "5000")},
		Starting: quantity(t, "10"),
	}
}

// load signs f with a new officer's key and loads it.
func load(t testing.TB, f policy.File) *policy.Policy {
	t.Helper()
	file, err := policy.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := policy.Sign(file, private)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(file, sig, public)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSetupIsAFileThatLoads(t *testing.T) {
	setup := newSetup(t)
	f, err := setup.File()
	if err != nil {
		t.Fatal(err)
	}
	p := load(t, f)
	var ids []string
	for _, k := range p.Keys() {
		ids = append(ids, k.String())
		if !p.Knows("gateway.diamante.internal", k) || p.Knows("node.diamante.internal", k) {
			t.Errorf("callers of %s", k)
		}
	}
	if got := strings.Join(ids, " "); got != "anchor/jwt anchor/sep10 anchor/usd/distribution anchor/usd/issuing audit/log network/root" {
		t.Errorf("keys are %s", got)
	}
}

func TestLoadRefusesWhatTheOfficerDidNotSign(t *testing.T) {
	f, err := newSetup(t).File()
	if err != nil {
		t.Fatal(err)
	}
	file, err := policy.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	officer, private, _ := ed25519.GenerateKey(rand.Reader)
	sig, err := policy.Sign(file, private)
	if err != nil {
		t.Fatal(err)
	}
	for i := range file { // every byte of the file counts
		bent := append([]byte(nil), file...)
		bent[i] ^= 1
		if _, err := policy.Load(bent, sig, officer); !errors.Is(err, policy.ErrSignature) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	for i := range sig {
		bent := append([]byte(nil), sig...)
		bent[i] ^= 1
		if _, err := policy.Load(file, bent, officer); !errors.Is(err, policy.ErrSignature) {
			t.Fatalf("byte %d of the signature changed: %v", i, err)
		}
	}
	other, _, _ := ed25519.GenerateKey(rand.Reader)
	plain := ed25519.Sign(private, file) // signed, but not as a policy
	for name, err := range map[string]error{
		"other officer": second(policy.Load(file, sig, other)),
		"no officer":    second(policy.Load(file, sig, nil)),
		"no signature":  second(policy.Load(file, nil, officer)),
		"no newline":    second(policy.Load(file, sig[:len(sig)-1], officer)),
		"raw signature": second(policy.Load(file, append(plain, '\n'), officer)),
	} {
		if !errors.Is(err, policy.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second(_ *policy.Policy, err error) error { return err }
