package policy_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// people are officers with their keys.
type people map[string]ed25519.PrivateKey

// withOfficers adds officers, and the rule that payments of more than 100 USD by the issuing key need two of treasury and
// one of compliance.
func withOfficers(t *testing.T, b *bank) people {
	t.Helper()
	all := people{}
	for name, groups := range map[string][]string{"alice": {"treasury"}, "bob": {"treasury", "compliance"}, "carol": {"compliance"}, "dan": {"treasury"}} {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		id, err := protocol.AccountIDFromKey(public)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = private
		b.file.Officers = append(b.file.Officers, policy.Officer{Name: name, Public: policy.Ledger(id), Groups: groups})
	}
	b.rule(issuing).Transaction.Approvals = []policy.ApprovalRule{{Above: &policy.Threshold{Asset: b.usd, Amount: quantity(t, "100")},
		Needs: []policy.Need{{Group: "treasury", Count: 2}, {Group: "compliance", Count: 1}}}}
	return all
}

func intentOf(t *testing.T, r keymgmt.Request, version uint64) policy.Intent {
	t.Helper()
	m, err := payload.Decode(r.Kind, r.Body)
	if err != nil {
		t.Fatal(err)
	}
	intent, err := policy.IntentOf(r, m, version)
	if err != nil {
		t.Fatal(err)
	}
	return intent
}

func (p people) approve(t *testing.T, r keymgmt.Request, version uint64, names ...string) []keymgmt.Consent {
	t.Helper()
	intent := intentOf(t, r, version)
	var list []keymgmt.Consent
	for _, name := range names {
		c, err := intent.Approve(keymgmt.Consent{Officer: name, Nonce: keymgmt.NewNonce(), Expires: now.Add(time.Hour)}, p[name])
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

func TestApprovals(t *testing.T) {
	b := newBank(t)
	all := withOfficers(t, b)
	request := func(amount string) keymgmt.Request {
		r := b.by(issuing, b.pay(amount))
		r.Initiator = "erin"
		return r
	}
	for name, tt := range map[string]struct {
		amount string
		by     []string
		want   error
	}{
		"not above":                       {"100", nil, nil},
		"above, nobody":                   {"101", nil, keymgmt.ErrApprovalNeeded},
		"two of treasury":                 {"101", []string{"alice", "dan"}, keymgmt.ErrApprovalNeeded},
		"one counts for one need only":    {"101", []string{"alice", "bob"}, keymgmt.ErrApprovalNeeded},
		"enough":                          {"101", []string{"alice", "dan", "carol"}, nil},
		"enough, whoever counts for what": {"101", []string{"carol", "bob", "alice"}, nil},
		"more than enough":                {"101", []string{"carol", "bob", "alice", "dan"}, nil},
		"over the limit all the same":     {"1001", []string{"alice", "dan", "carol"}, keymgmt.ErrDenied},
	} {
		r := request(tt.amount)
		r.Consents = all.approve(t, r, b.file.Version, tt.by...)
		if _, err := b.decide(r, facts()); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

// Each of these attacks on an approval is denied, although everybody else has approved.
func TestApprovalsThatAreAttacks(t *testing.T) {
	b := newBank(t)
	all := withOfficers(t, b)
	version := b.file.Version
	base := func() keymgmt.Request {
		r := b.by(issuing, b.pay("500"))
		r.Initiator = "erin"
		r.Consents = all.approve(t, r, version, "alice", "dan", "carol")
		return r
	}
	good := base()
	if _, err := b.decide(good, facts()); err != nil {
		t.Fatal(err)
	}
	lookalike := newAccount(t)
	for name, tt := range map[string]struct {
		rule   string
		change func(r *keymgmt.Request, f *policy.Facts)
	}{
		"another body": {"approval.signature", func(r *keymgmt.Request, _ *policy.Facts) {
			other := b.by(issuing, txbuild.Payment{Destination: lookalike, Asset: b.usd, Amount: b.amount("500")})
			r.Body = other.Body
		}},
		"another ref":       {"approval.signature", func(r *keymgmt.Request, _ *policy.Facts) { r.Ref = "other" }},
		"another initiator": {"approval.signature", func(r *keymgmt.Request, _ *policy.Facts) { r.Initiator = "frank" }},
		"the initiator approves": {"approval.initiator", func(r *keymgmt.Request, _ *policy.Facts) {
			r.Initiator = "carol"
			r.Consents = all.approve(t, *r, version, "alice", "dan", "carol")
		}},
		"another policy": {"approval.signature", func(r *keymgmt.Request, _ *policy.Facts) {
			r.Consents = all.approve(t, *r, version+1, "alice", "dan", "carol")
		}},
		"twice the same": {"approval.officer", func(r *keymgmt.Request, _ *policy.Facts) {
			r.Consents = append(r.Consents, all.approve(t, *r, version, "alice")...)
		}},
		"a stranger":     {"approval.officer", func(r *keymgmt.Request, _ *policy.Facts) { r.Consents[0].Officer = "mallory" }},
		"another's name": {"approval.signature", func(r *keymgmt.Request, _ *policy.Facts) { r.Consents[0].Officer = "bob" }},
		"another nonce":  {"approval.signature", func(r *keymgmt.Request, _ *policy.Facts) { r.Consents[0].Nonce = strings.Repeat("0", 32) }},
		"used before":    {"approval.nonce", func(r *keymgmt.Request, f *policy.Facts) { f.Used = map[string]bool{r.Consents[1].Nonce: true} }},
		"a longer life":  {"approval.signature", func(r *keymgmt.Request, _ *policy.Facts) { r.Consents[0].Expires = now.Add(2 * time.Hour) }},
		"expired":        {"approval.expires", func(_ *keymgmt.Request, f *policy.Facts) { f.Now = now.Add(time.Hour) }},
		"good for weeks": {"approval.expires", func(r *keymgmt.Request, _ *policy.Facts) {
			var err error
			if r.Consents[0], err = intentOf(t, *r, version).Approve(keymgmt.Consent{Officer: "alice", Nonce: keymgmt.NewNonce(), Expires: now.Add(14 * 24 * time.Hour)}, all["alice"]); err != nil {
				t.Fatal(err)
			}
		}},
		"tampered": {"approval.signature", func(r *keymgmt.Request, _ *policy.Facts) { r.Consents[0].Signature[7] ^= 1 }},
	} {
		r, f := base(), facts()
		tt.change(&r, &f)
		_, err := b.decide(r, f)
		var denial *policy.Denial
		if !errors.As(err, &denial) || denial.Rule != tt.rule || !errors.Is(err, keymgmt.ErrDenied) {
			t.Errorf("%s: %v, want rule %s", name, err, tt.rule)
		}
	}
}

func TestRostersThatMeanNothing(t *testing.T) {
	for name, change := range map[string]func(f *policy.File){
		"officer twice":      func(f *policy.File) { f.Officers[1].Name = f.Officers[0].Name },
		"key twice":          func(f *policy.File) { f.Officers[1].Public = f.Officers[0].Public },
		"a key of the KMI's": func(f *policy.File) { f.Officers[1].Public = f.Keys[0].Public },
		"no name":            func(f *policy.File) { f.Officers[0].Name = "" },
		"name with a line":   func(f *policy.File) { f.Officers[0].Name = "a\nb" },
		"no key":             func(f *policy.File) { f.Officers[0].Public = policy.PublicKey{} },
		"too few officers":   func(f *policy.File) { f.Keys[1].Transaction.Approvals[0].Needs[0].Count = 4 },
		"nobody of a group":  func(f *policy.File) { f.Keys[1].Transaction.Approvals[0].Needs[0].Group = "board" },
		"no needs":           func(f *policy.File) { f.Keys[1].Transaction.Approvals[0].Needs = nil },
		"no count":           func(f *policy.File) { f.Keys[1].Transaction.Approvals[0].Needs[0].Count = 0 },
		"no amount":          func(f *policy.File) { f.Keys[1].Transaction.Approvals[0].Above.Amount = policy.Quantity{} },
	} {
		b := newBank(t)
		withOfficers(t, b)
		change(&b.file)
		if _, err := policy.Marshal(b.file); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
