package policy_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt"
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
		Version: 1, Network: passphrase, Gateway: "gateway.diamante.internal", Signer: "signer.diamante.internal",
		Publics: policy.Publics{Root: newAccount(t), Issuing: newAccount(t), Distribution: newAccount(t),
			Challenge: newAccount(t), Token: newAccount(t), Log: newAccount(t), SignerLog: newAccount(t)},
		AssetCode: "USD", HomeDomain: "bank.example", WebAuthDomain: "auth.bank.example",
		TokenIssuer: "https://auth.bank.example/auth", LogOrigin: "bank.example/audit", SignerOrigin: "bank.example/signer",
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
	p, err := policy.Load(file, sig, policy.Alone(public))
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
		own := k.String() == "signer/log"
		if p.Knows(setup.Gateway, k) == own || p.Knows(setup.Signer, k) != own || p.Knows("node.diamante.internal", k) {
			t.Errorf("callers of %s", k)
		}
	}
	if got := strings.Join(ids, " "); got != "anchor/jwt anchor/sep10 anchor/usd/distribution anchor/usd/issuing audit/log network/root signer/log" {
		t.Errorf("keys are %s", got)
	}
	for key, want := range map[string]string{"audit/log": setup.LogOrigin, "signer/log": setup.SignerOrigin, "anchor/jwt": "", "no/key": ""} {
		id, err := keymgmt.ParseKeyID(key)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Origin(id); got != want {
			t.Errorf("%s signs checkpoints of %q, want %q", key, got, want)
		}
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
		if _, err := policy.Load(bent, sig, policy.Alone(officer)); !errors.Is(err, policy.ErrSignature) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	for i := range sig {
		bent := append([]byte(nil), sig...)
		bent[i] ^= 1
		if _, err := policy.Load(file, bent, policy.Alone(officer)); !errors.Is(err, policy.ErrSignature) {
			t.Fatalf("byte %d of the signature changed: %v", i, err)
		}
	}
	other, _, _ := ed25519.GenerateKey(rand.Reader)
	plain := ed25519.Sign(private, file) // signed, but not as a policy
	for name, err := range map[string]error{
		"other officer": second(policy.Load(file, sig, policy.Alone(other))),
		"no officer":    second(policy.Load(file, sig, policy.Board{})),
		"no signature":  second(policy.Load(file, nil, policy.Alone(officer))),
		"no newline":    second(policy.Load(file, sig[:len(sig)-1], policy.Alone(officer))),
		"raw signature": second(policy.Load(file, append(plain, '\n'), policy.Alone(officer))),
	} {
		if !errors.Is(err, policy.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second(_ *policy.Policy, err error) error { return err }

// TestBoard: a policy is what enough officers of the board signed, each once, and nobody else.
func TestBoard(t *testing.T) {
	file, err := policy.Marshal(func() policy.File {
		f, err := newSetup(t).File()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}())
	if err != nil {
		t.Fatal(err)
	}
	board := policy.Board{Quorum: 2}
	var lines [][]byte
	for range 4 { // the last is not of the board
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		line, err := policy.Sign(file, private)
		if err != nil {
			t.Fatal(err)
		}
		board.Officers, lines = append(board.Officers, public), append(lines, line)
	}
	board.Officers = board.Officers[:3]
	join := func(who ...int) []byte {
		var all []byte
		for _, i := range who {
			all = append(all, lines[i]...)
		}
		return all
	}
	for name, tt := range map[string]struct {
		sigs []byte
		good bool
	}{
		"two": {join(0, 2), true}, "three": {join(2, 1, 0), true}, "one": {join(1), false}, "none": {nil, false}, "one twice": {join(1, 1), false},
		"a stranger": {join(0, 3), false}, "two and a stranger": {join(0, 1, 3), false}, "an empty line": {append(join(0, 1), '\n'), false},
		"no end": {join(0, 1)[:len(join(0, 1))-1], false},
	} {
		if _, err := policy.Load(file, tt.sigs, board); (err == nil) != tt.good || err != nil && !errors.Is(err, policy.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(b *policy.Board){
		"no quorum": func(b *policy.Board) { b.Quorum = 0 }, "more than there are": func(b *policy.Board) { b.Quorum = 4 },
		"an officer twice": func(b *policy.Board) { b.Officers[1] = b.Officers[0] }, "half a key": func(b *policy.Board) { b.Officers[0] = b.Officers[0][:16] },
	} {
		b := policy.Board{Officers: append([]ed25519.PublicKey(nil), board.Officers...), Quorum: 2}
		change(&b)
		if _, err := policy.Load(file, join(0, 1, 2), b); !errors.Is(err, policy.ErrSignature) || b.Validate() == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
