package policy_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/payload/ethereum"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

// deciders are who decide on a list.
type deciders struct {
	publics []protocol.AccountID
	keys    []ed25519.PrivateKey
}

func newDeciders(t testing.TB, n int) (d deciders) {
	t.Helper()
	for range n {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		id, err := protocol.AccountIDFromKey(public)
		if err != nil {
			t.Fatal(err)
		}
		d.publics, d.keys = append(d.publics, id), append(d.keys, private)
	}
	return d
}

// sign writes a list down and has some of them sign it.
func (d deciders) sign(t testing.TB, l policy.List, who ...int) policy.Signed {
	t.Helper()
	file, err := policy.MarshalList(l)
	if err != nil {
		t.Fatal(err)
	}
	s := policy.Signed{File: file}
	for _, i := range who {
		line, err := policy.SignList(file, d.keys[i])
		if err != nil {
			t.Fatal(err)
		}
		s.Signatures = append(s.Signatures, line...)
	}
	return s
}

func list(name string, version uint64, entries ...string) policy.List {
	return policy.List{Format: policy.ListFormat, Name: name, Version: version, Network: passphrase, Entries: entries}
}

// withSuppliers lets issuing pay to those on a list only.
func withSuppliers(b *bank, d deciders) {
	b.file.Lists = []policy.ListRule{{Name: "suppliers", Officers: d.publics, Quorum: 2}}
	b.rule(issuing).Transaction.Payments[0].Destinations = policy.Listed("suppliers")
}

// loadWith signs the bank's policy and loads it with lists.
func (b *bank) loadWith(lists ...policy.Signed) (*policy.Policy, error) {
	b.t.Helper()
	file, err := policy.Marshal(b.file)
	if err != nil {
		b.t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.t.Fatal(err)
	}
	sig, err := policy.Sign(file, private)
	if err != nil {
		b.t.Fatal(err)
	}
	return policy.Load(file, sig, policy.Alone(public), lists...)
}

func (b *bank) decideWith(p *policy.Policy, r keymgmt.Request, f policy.Facts) error {
	b.t.Helper()
	m, err := payload.Decode(r.Kind, r.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	_, err = p.Decide(r, m, f)
	return err
}

func TestListsOfDestinations(t *testing.T) {
	b, d := newBank(t), newDeciders(t, 3)
	withSuppliers(b, d)
	p, err := b.loadWith(d.sign(t, list("suppliers", 4, b.other.String(), newAccount(t).String()), 0, 2))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Lists(); len(got) != 1 || got[0].Name != "suppliers" || got[0].Version != 4 {
		t.Errorf("lists %v", got)
	}
	r := b.by(issuing, b.pay("1"))
	if err := b.decideWith(p, r, facts()); err != nil {
		t.Error(err)
	}
	// A destination that looks like one on the list is not on it.
	pay := b.pay("1")
	pay.Destination = lookalike(t, b.other)
	var denial *policy.Denial
	if err := b.decideWith(p, b.by(issuing, pay), facts()); !errors.As(err, &denial) || denial.Rule != "transaction.payment.destinations" {
		t.Errorf("%s for %s: %v", pay.Destination, b.other, err)
	}
	b.file.DenyDestinations = []protocol.AccountID{b.other}
	if p, err = b.loadWith(d.sign(t, list("suppliers", 4, b.other.String()), 0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := b.decideWith(p, r, facts()); !errors.As(err, &denial) || denial.Rule != "deny_destinations" {
		t.Errorf("listed, and gets nothing: %v", err)
	}
	ended := list("suppliers", 5, b.other.String())
	ended.ValidUntil = policy.DateOf(now)
	b.file.DenyDestinations = nil
	if p, err = b.loadWith(d.sign(t, ended, 0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := b.decideWith(p, r, facts()); !errors.Is(err, keymgmt.ErrUnavailable) || !strings.Contains(err.Error(), "list suppliers version 5") {
		t.Errorf("a list that is past: %v", err)
	}
}

// lookalike makes an account with the same first seven and last five characters in its address as id. Its check digits
// are right: finding one of the few among the middles is what an attacker does who knows what people look at.
func lookalike(t testing.TB, id protocol.AccountID) protocol.AccountID {
	t.Helper()
	raw, err := base32.StdEncoding.DecodeString(id.String())
	if err != nil {
		t.Fatal(err)
	}
	key := slices.Clone(raw[1:33])
	for i := range 1 << 20 {
		key[10], key[11], key[12] = raw[11]^byte(i), raw[12]^byte(i>>8), raw[13]^byte(i>>16)
		other, err := protocol.AccountIDFromKey(key)
		if err == nil && other != id && other.String()[:7] == id.String()[:7] && other.String()[51:] == id.String()[51:] {
			return other
		}
	}
	t.Fatal("no address looks like another")
	return protocol.AccountID{}
}

// TestListsThatAreAttacks: each is a file that is not what the policy's deciders signed for this list and this network.
func TestListsThatAreAttacks(t *testing.T) {
	b, d, strangers := newBank(t), newDeciders(t, 3), newDeciders(t, 3)
	withSuppliers(b, d)
	mine, other := list("suppliers", 4, b.other.String()), newAccount(t)
	good := d.sign(t, mine, 0, 1)
	swapped := d.sign(t, list("suppliers", 4, other.String()), 0, 1)
	another, elsewhere := mine, mine
	another.Name, elsewhere.Network = "refunds", "Another Network"
	asPolicy := policy.Signed{File: good.File}
	for _, key := range d.keys[:2] {
		line, err := policy.Sign(good.File, key)
		if err != nil {
			t.Fatal(err)
		}
		asPolicy.Signatures = append(asPolicy.Signatures, line...)
	}
	officers := policy.List{Format: policy.ListFormat, Name: "suppliers", Version: 1, Network: passphrase,
		Officers: []policy.Officer{{Name: "mallory", Public: policy.Ledger(other), Groups: []string{"treasury"}}}}
	for name, tt := range map[string]struct {
		lists []policy.Signed
		want  error
	}{
		"as it is":                     {[]policy.Signed{good}, nil},
		"missing":                      {nil, policy.ErrInvalid},
		"twice":                        {[]policy.Signed{good, good}, policy.ErrInvalid},
		"entries swapped":              {[]policy.Signed{{File: swapped.File, Signatures: good.Signatures}}, policy.ErrSignature},
		"too few have signed":          {[]policy.Signed{d.sign(t, mine, 1)}, policy.ErrSignature},
		"one has signed twice":         {[]policy.Signed{d.sign(t, mine, 1, 1)}, policy.ErrSignature},
		"strangers have signed":        {[]policy.Signed{strangers.sign(t, mine, 0, 1)}, policy.ErrSignature},
		"nobody has signed":            {[]policy.Signed{{File: good.File}}, policy.ErrSignature},
		"signed as a policy":           {[]policy.Signed{asPolicy}, policy.ErrSignature},
		"another list of theirs":       {[]policy.Signed{d.sign(t, another, 0, 1)}, policy.ErrSignature},
		"of another installation":      {[]policy.Signed{d.sign(t, elsewhere, 0, 1)}, policy.ErrInvalid},
		"a roster":                     {[]policy.Signed{d.sign(t, officers, 0, 1)}, policy.ErrInvalid},
		"an entry that is no account":  {[]policy.Signed{d.sign(t, list("suppliers", 4, b.other.String(), "any-one"), 0, 1)}, policy.ErrInvalid},
		"one that nobody has asked of": {[]policy.Signed{good, d.sign(t, another, 0, 1)}, policy.ErrSignature},
	} {
		if _, err := b.loadWith(tt.lists...); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	for i := range good.File {
		bent := slices.Clone(good.File)
		bent[i] ^= 1
		if _, err := b.loadWith(policy.Signed{File: bent, Signatures: good.Signatures}); !errors.Is(err, policy.ErrSignature) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
}

func TestListsThatMeanNothing(t *testing.T) {
	for name, change := range map[string]func(b *bank, d deciders){
		"no such list":    func(b *bank, _ deciders) { b.file.Lists[0].Name = "refunds" },
		"bad name":        func(b *bank, _ deciders) { b.file.Lists[0].Name = "Suppliers" },
		"nobody decides":  func(b *bank, _ deciders) { b.file.Lists[0].Officers = nil },
		"no quorum":       func(b *bank, _ deciders) { b.file.Lists[0].Quorum = 0 },
		"too high quorum": func(b *bank, _ deciders) { b.file.Lists[0].Quorum = 4 },
		"twice":           func(b *bank, _ deciders) { b.file.Lists = append(b.file.Lists, b.file.Lists[0]) },
		"named by nobody": func(b *bank, _ deciders) {
			b.file.Lists = append(b.file.Lists, policy.ListRule{Name: "x", Officers: b.file.Lists[0].Officers, Quorum: 1})
		},
		"any besides": func(b *bank, _ deciders) {
			b.rule(issuing).Transaction.Payments[0].Destinations = append(policy.Listed("suppliers"), policy.Anyone()...)
		},
		"unknown roster": func(b *bank, _ deciders) { b.file.Roster = "people" },
	} {
		b, d := newBank(t), newDeciders(t, 3)
		withSuppliers(b, d)
		if _, err := policy.Marshal(b.file); err != nil {
			t.Fatal(err)
		}
		change(b, d)
		if _, err := policy.Marshal(b.file); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(l *policy.List){
		"format": func(l *policy.List) { l.Format = policy.Format }, "no name": func(l *policy.List) { l.Name = "" }, "no version": func(l *policy.List) { l.Version = 0 },
		"no network": func(l *policy.List) { l.Network = "" }, "empty": func(l *policy.List) { l.Entries = nil }, "twice": func(l *policy.List) { l.Entries = []string{"a", "a"} },
		"any": func(l *policy.List) { l.Entries = []string{"any"} }, "a list": func(l *policy.List) { l.Entries = []string{"list:suppliers"} },
		"a blank": func(l *policy.List) { l.Entries = []string{" a"} }, "both": func(l *policy.List) { l.Officers = []policy.Officer{{Name: "x"}} },
	} {
		l := list("suppliers", 1, "GA")
		change(&l)
		if _, err := policy.MarshalList(l); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRosterAsAList: the officers who approve are what those who decide on the roster have signed, and nobody else's.
func TestRosterAsAList(t *testing.T) {
	b, d := newBank(t), newDeciders(t, 2)
	all := withOfficers(t, b)
	roster := policy.List{Format: policy.ListFormat, Name: "people", Version: 1, Network: passphrase, Officers: b.file.Officers}
	b.file.Officers, b.file.Roster = nil, "people"
	b.file.Lists = []policy.ListRule{{Name: "people", Officers: d.publics, Quorum: 2}}
	p, err := b.loadWith(d.sign(t, roster, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	r := b.by(issuing, b.pay("500"))
	if err := b.decideWith(p, r, facts()); !errors.Is(err, keymgmt.ErrApprovalNeeded) {
		t.Errorf("nobody has approved: %v", err)
	}
	r.Consents = all.approve(t, r, 1, "alice", "carol", "dan")
	if err := b.decideWith(p, r, facts()); err != nil {
		t.Error(err)
	}
	without := roster
	without.Officers = slices.DeleteFunc(slices.Clone(roster.Officers), func(o policy.Officer) bool { return o.Name == "alice" })
	if p, err = b.loadWith(d.sign(t, without, 0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := b.decideWith(p, r, facts()); !errors.Is(err, keymgmt.ErrDenied) {
		t.Errorf("alice has left, and her approval counts: %v", err)
	}
	few, keys := roster, roster
	few.Officers = roster.Officers[:1]
	keys.Officers = slices.Clone(roster.Officers)
	keys.Officers[0].Public = b.rule(root).Public
	for name, l := range map[string]policy.List{"too few for what the rules need": few, "a key of the signer's": keys, "destinations": list("people", 1, b.other.String())} {
		if _, err := b.loadWith(d.sign(t, l, 0, 1)); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestListsOfAddresses: coins go to whom a list says, letter by letter.
func TestListsOfAddresses(t *testing.T) {
	const vault, alike = "0x52908400098527886E0F7030069857D2E4169EE7", "0x529084000985278A6E0F7030069857D2E4169EE7"
	l := list("vaults", 1, vault, alike)
	if lines := l.Lint(); len(lines) != 2 || !strings.Contains(lines[1], "look alike") {
		t.Errorf("lint says %q", lines)
	}
	if lines := l.Explain(); !slices.Contains(lines, vault) || !strings.Contains(lines[0], "valid for ever") {
		t.Errorf("explain says %q", lines)
	}
	b, d := newBank(t), newDeciders(t, 1)
	b.file.Lists = []policy.ListRule{{Name: "vaults", Officers: d.publics, Quorum: 1}}
	key, err := keymgmt.ParseKeyID("coin/eth/hot")
	if err != nil {
		t.Fatal(err)
	}
	b.file.Keys = append(b.file.Keys, policy.Key{ID: key, Public: coinKey(t), Callers: []string{gateway}, Ethereum: &policy.EthereumRule{ChainID: 1, MaxFee: quantity(t, "0.01"),
		FeeWindows: policy.Day(quantity(t, "1")), Transfer: &policy.CoinLimit{PerTransaction: quantity(t, "1"), Windows: policy.Day(quantity(t, "1")), Destinations: []string{"list:vaults"}}}})
	p, err := b.loadWith(d.sign(t, list("vaults", 1, vault), 0))
	if err != nil {
		t.Fatal(err)
	}
	for text, good := range map[string]bool{vault: true, alike: false} {
		to, err := ethereum.ParseAddress(strings.ToLower(text))
		if err != nil {
			t.Fatal(err)
		}
		body, err := ethereum.Encode(ethereum.Transaction{Type: ethereum.DynamicFee, ChainID: big.NewInt(1), MaxFee: big.NewInt(1), MaxPriority: big.NewInt(1), Gas: 21_000, To: &to, Value: big.NewInt(1)})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.decideWith(p, b.request("coin/eth/hot", keymgmt.KindEthereum, body), facts()); (err == nil) != good {
			t.Errorf("to %s: %v", text, err)
		}
	}
	if _, err := b.loadWith(d.sign(t, list("vaults", 1, strings.ToLower(vault)), 0)); !errors.Is(err, policy.ErrInvalid) {
		t.Errorf("an address in another spelling: %v", err)
	}
}

// FuzzList reads lists that deciders might be talked into signing.
func FuzzList(f *testing.F) {
	good, err := policy.MarshalList(list("suppliers", 1, "GA"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("[[officer.0]]"))
	f.Add([]byte("entries = [1]\nformat = '" + policy.ListFormat + "'"))
	f.Add([]byte("valid_until = 2026-01-01T00:00:00Z"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := policy.CheckList(text)
		if err != nil {
			if !errors.Is(err, policy.ErrInvalid) {
				t.Fatalf("error %v", err)
			}
			return
		}
		first, err := policy.MarshalList(l)
		if err != nil {
			t.Fatalf("accepted and cannot be written: %v", err)
		}
		again, err := policy.CheckList(first)
		if err != nil {
			t.Fatalf("written and not accepted: %v", err)
		}
		if second, err := policy.MarshalList(again); err != nil || string(second) != string(first) {
			t.Fatalf("changes when it is written again: %v", err)
		}
	})
}
