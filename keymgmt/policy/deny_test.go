package policy_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

const gateway = "gateway.diamante.internal"

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// bank is an anchor's policy and what its requests are made of.
type bank struct {
	t     testing.TB
	setup policy.Setup
	file  policy.File
	usd   protocol.Asset
	other protocol.AccountID
}

func newBank(t testing.TB) *bank {
	t.Helper()
	b := &bank{t: t, setup: newSetup(t), other: newAccount(t)}
	var err error
	if b.file, err = b.setup.File(); err != nil {
		t.Fatal(err)
	}
	if b.usd, err = protocol.NewCredit("USD", b.setup.Publics.Issuing); err != nil {
		t.Fatal(err)
	}
	return b
}

// rule returns the rules of a key, to be changed before the policy is loaded.
func (b *bank) rule(id string) *policy.Key {
	for i := range b.file.Keys {
		if b.file.Keys[i].ID.String() == id {
			return &b.file.Keys[i]
		}
	}
	b.t.Fatalf("no key %s", id)
	return nil
}

func (b *bank) params(source protocol.AccountID, ops ...txbuild.Operation) txbuild.Params {
	return txbuild.Params{Passphrase: passphrase, Source: source, Sequence: 9, FeePerOp: 100, NotAfter: now.Add(5 * time.Minute), Operations: ops}
}

func (b *bank) transaction(id string, p txbuild.Params) keymgmt.Request {
	b.t.Helper()
	u, err := txbuild.Build(p)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.request(id, keymgmt.KindTransaction, u.SignatureBase())
}

func (b *bank) request(id string, kind keymgmt.Kind, body []byte) keymgmt.Request {
	b.t.Helper()
	key, err := keymgmt.ParseKeyID(id)
	if err != nil {
		b.t.Fatal(err)
	}
	return keymgmt.Request{Key: key, Kind: kind, Body: body, Ref: "r"}
}

func (b *bank) account(id string) protocol.AccountID {
	b.t.Helper()
	account, err := protocol.AccountIDFromKey(b.rule(id).Public.Bytes())
	if err != nil {
		b.t.Fatal(err)
	}
	return account
}

// by builds a transaction of one of the bank's accounts.
func (b *bank) by(id string, ops ...txbuild.Operation) keymgmt.Request {
	b.t.Helper()
	return b.transaction(id, b.params(b.account(id), ops...))
}

func (b *bank) pay(amount string) txbuild.Payment {
	return txbuild.Payment{Destination: b.other, Asset: b.usd, Amount: b.amount(amount)}
}

func (b *bank) amount(s string) protocol.Amount {
	b.t.Helper()
	a, err := protocol.ParseAmount(s)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

func facts() policy.Facts {
	return policy.Facts{Caller: gateway, Now: now, Spent: map[policy.Counter]*big.Int{}, Last: &policy.Last{}}
}

func (b *bank) decide(r keymgmt.Request, f policy.Facts) (*policy.Approval, error) {
	b.t.Helper()
	m, err := payload.Decode(r.Kind, r.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return load(b.t, b.file).Decide(r, m, f)
}

const (
	root         = "network/root"
	issuing      = "anchor/usd/issuing"
	distribution = "anchor/usd/distribution"
)

// Each entry is a request that is one step away from one that is allowed, and the rule that stops it.
func TestTransactionsThatAreDenied(t *testing.T) {
	one := uint32(1)
	for _, test := range []struct {
		name, rule string
		request    func(b *bank) keymgmt.Request
	}{
		{"other network", "network", func(b *bank) keymgmt.Request {
			p := b.params(b.setup.Publics.Issuing, b.pay("1"))
			p.Passphrase = "Another Network"
			return b.transaction(issuing, p)
		}},
		{"other source", "transaction.source", func(b *bank) keymgmt.Request {
			return b.transaction(issuing, b.params(b.setup.Publics.Distribution, b.pay("1")))
		}},
		{"other source of an operation", "transaction.source", func(b *bank) keymgmt.Request {
			pay := b.pay("1")
			pay.Source = b.setup.Publics.Distribution
			return b.by(issuing, pay)
		}},
		{"fee", "transaction.max_fee", func(b *bank) keymgmt.Request {
			p := b.params(b.setup.Publics.Issuing, b.pay("1"))
			p.FeePerOp = 100_001
			return b.transaction(issuing, p)
		}},
		{"too many operations", "transaction.max_operations", func(b *bank) keymgmt.Request {
			var ops []txbuild.Operation
			for range 11 {
				ops = append(ops, b.pay("1"))
			}
			return b.by(issuing, ops...)
		}},
		{"lives too long", "transaction.max_seconds", func(b *bank) keymgmt.Request {
			p := b.params(b.setup.Publics.Issuing, b.pay("1"))
			p.NotAfter = now.Add(601 * time.Second)
			return b.transaction(issuing, p)
		}},
		{"amount", "transaction.limit.per_transaction", func(b *bank) keymgmt.Request { return b.by(issuing, b.pay("1000.0000001")) }},
		{"amount in two parts", "transaction.limit.per_transaction", func(b *bank) keymgmt.Request {
			return b.by(issuing, b.pay("500"), b.pay("500.0000001"))
		}},
		{"amounts that overflow", "transaction.limit.per_transaction", func(b *bank) keymgmt.Request {
			return b.by(issuing, b.pay("922337203685.4775807"), b.pay("922337203685.4775807"), b.pay("0.0000002"))
		}},
		{"another asset", "transaction.payment.assets", func(b *bank) keymgmt.Request {
			eur, _ := protocol.NewCredit("EUR", b.setup.Publics.Issuing)
			return b.by(issuing, txbuild.Payment{Destination: b.other, Asset: eur, Amount: b.amount("1")})
		}},
		{"the same code of another issuer", "transaction.payment.assets", func(b *bank) keymgmt.Request {
			usd, _ := protocol.NewCredit("USD", b.other)
			return b.by(issuing, txbuild.Payment{Destination: b.other, Asset: usd, Amount: b.amount("1")})
		}},
		{"native by issuing", "transaction.payment.assets", func(b *bank) keymgmt.Request {
			return b.by(issuing, txbuild.Payment{Destination: b.other, Asset: protocol.Native(), Amount: b.amount("1")})
		}},
		{"payment by root", "transaction.operation", func(b *bank) keymgmt.Request {
			return b.by(root, txbuild.Payment{Destination: b.other, Asset: protocol.Native(), Amount: b.amount("1")})
		}},
		{"root funds a stranger", "transaction.create_account.destinations", func(b *bank) keymgmt.Request {
			return b.by(root, txbuild.CreateAccount{Destination: b.other, StartingBalance: b.amount("1")})
		}},
		{"rich customer", "transaction.create_account.max_starting_balance", func(b *bank) keymgmt.Request {
			return b.by(distribution, txbuild.CreateAccount{Destination: b.other, StartingBalance: b.amount("10.0000001")})
		}},
		{"create account by issuing", "transaction.operation", func(b *bank) keymgmt.Request {
			return b.by(issuing, txbuild.CreateAccount{Destination: b.other, StartingBalance: b.amount("1")})
		}},
		{"trust in another asset", "transaction.change_trust.assets", func(b *bank) keymgmt.Request {
			usd, _ := protocol.NewCredit("USD", b.other)
			return b.by(distribution, txbuild.ChangeTrust{Asset: usd, Limit: b.amount("1")})
		}},
		{"trust by root", "transaction.operation", func(b *bank) keymgmt.Request {
			return b.by(root, txbuild.ChangeTrust{Asset: b.usd, Limit: b.amount("1")})
		}},
		{"new signer", "transaction.set_options.rotation", func(b *bank) keymgmt.Request {
			k := xdr.Uint256(b.other.Key())
			return b.by(issuing, txbuild.SetOptions{Signer: &xdr.Signer{Weight: 1,
				Key: xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypeEd25519, Ed25519: &k}}})
		}},
		{"immutable", "transaction.set_options.set_flags", func(b *bank) keymgmt.Request {
			return b.by(issuing, txbuild.SetOptions{SetFlags: xdr.AccountFlagsAuthImmutableFlag | xdr.AccountFlagsAuthRequiredFlag})
		}},
		{"flags cleared", "transaction.set_options.clear_flags", func(b *bank) keymgmt.Request {
			return b.by(issuing, txbuild.SetOptions{ClearFlags: xdr.AccountFlagsAuthRequiredFlag})
		}},
		{"home domain", "transaction.set_options.home_domains", func(b *bank) keymgmt.Request {
			evil := "bank.example.evil"
			return b.by(issuing, txbuild.SetOptions{HomeDomain: &evil})
		}},
		{"master weight", "transaction.set_options.master_weights", func(b *bank) keymgmt.Request { return b.by(issuing, txbuild.SetOptions{MasterWeight: &one}) }},
		{"low threshold", "transaction.set_options.low_thresholds", func(b *bank) keymgmt.Request { return b.by(issuing, txbuild.SetOptions{LowThreshold: &one}) }},
		{"medium threshold", "transaction.set_options.medium_thresholds", func(b *bank) keymgmt.Request { return b.by(issuing, txbuild.SetOptions{MedThreshold: &one}) }},
		{"high threshold", "transaction.set_options.high_thresholds", func(b *bank) keymgmt.Request { return b.by(issuing, txbuild.SetOptions{HiThreshold: &one}) }},
		{"options of root", "transaction.operation", func(b *bank) keymgmt.Request { return b.by(root, txbuild.SetOptions{}) }},
		{"line flag", "transaction.set_trust_line_flags.set", func(b *bank) keymgmt.Request {
			return b.by(issuing, txbuild.SetTrustLineFlags{Trustor: b.other, Asset: b.usd, Set: xdr.TrustLineFlagsAuthorizedToMaintainLiabilitiesFlag})
		}},
		{"line flag cleared", "transaction.set_trust_line_flags.clear", func(b *bank) keymgmt.Request {
			return b.by(issuing, txbuild.SetTrustLineFlags{Trustor: b.other, Asset: b.usd, Clear: xdr.TrustLineFlagsTrustlineClawbackEnabledFlag})
		}},
		{"flags of another's asset", "transaction.set_trust_line_flags.assets", func(b *bank) keymgmt.Request {
			usd, _ := protocol.NewCredit("USD", b.other)
			b.rule(issuing).Transaction.SetTrustLineFlags.Assets = []protocol.Asset{usd} // even when the officer lists it
			return b.by(issuing, txbuild.SetTrustLineFlags{Trustor: b.other, Asset: usd, Set: xdr.TrustLineFlagsAuthorizedFlag})
		}},
		{"flags for a stranger", "transaction.set_trust_line_flags.trustors", func(b *bank) keymgmt.Request {
			b.rule(issuing).Transaction.SetTrustLineFlags.Trustors = policy.Only(b.setup.Publics.Distribution)
			return b.by(issuing, txbuild.SetTrustLineFlags{Trustor: b.other, Asset: b.usd, Set: xdr.TrustLineFlagsAuthorizedFlag})
		}},
		{"flags by distribution", "transaction.operation", func(b *bank) keymgmt.Request {
			return b.by(distribution, txbuild.SetTrustLineFlags{Trustor: b.other, Asset: b.usd, Set: xdr.TrustLineFlagsAuthorizedFlag})
		}},
		{"data", "transaction.operation", func(b *bank) keymgmt.Request { return b.by(issuing, txbuild.ManageData{Name: "x", Value: []byte("y")}) }},
		{"data of another name", "transaction.manage_data.names", func(b *bank) keymgmt.Request {
			b.rule(issuing).Transaction.ManageData = &policy.ManageDataRule{Names: []string{"config"}}
			return b.by(issuing, txbuild.ManageData{Name: "x", Value: []byte("y")})
		}},
		{"clawback", "transaction.operation", func(b *bank) keymgmt.Request {
			return b.by(issuing, txbuild.Clawback{From: b.other, Asset: b.usd, Amount: b.amount("1")})
		}},
		{"clawback from a stranger", "transaction.clawback.from", func(b *bank) keymgmt.Request {
			b.rule(issuing).Transaction.Clawback = &policy.ClawbackRule{Assets: []protocol.Asset{b.usd}, From: policy.Only(b.setup.Publics.Distribution)}
			return b.by(issuing, txbuild.Clawback{From: b.other, Asset: b.usd, Amount: b.amount("1")})
		}},
		{"clawback of another asset", "transaction.clawback.assets", func(b *bank) keymgmt.Request {
			eur, _ := protocol.NewCredit("EUR", b.setup.Publics.Issuing)
			b.rule(issuing).Transaction.Clawback = &policy.ClawbackRule{Assets: []protocol.Asset{b.usd}, From: policy.Anyone()}
			return b.by(issuing, txbuild.Clawback{From: b.other, Asset: eur, Amount: b.amount("1")})
		}},
		{"clawback over the limit", "transaction.limit.per_transaction", func(b *bank) keymgmt.Request {
			b.rule(issuing).Transaction.Clawback = &policy.ClawbackRule{Assets: []protocol.Asset{b.usd}, From: policy.Anyone()}
			return b.by(issuing, txbuild.Clawback{From: b.other, Asset: b.usd, Amount: b.amount("1000.0000001")})
		}},
		{"asset without a limit", "transaction.limit", func(b *bank) keymgmt.Request {
			b.rule(issuing).Transaction.Limits = nil
			return b.by(issuing, b.pay("1"))
		}},
		{"payment to a stranger", "transaction.payment.destinations", func(b *bank) keymgmt.Request {
			b.rule(issuing).Transaction.Payments[0].Destinations = policy.Only(b.setup.Publics.Distribution)
			return b.by(issuing, b.pay("1"))
		}},
		{"payment to one who gets nothing", "deny_destinations", func(b *bank) keymgmt.Request {
			b.file.DenyDestinations = []protocol.AccountID{b.other}
			return b.by(issuing, b.pay("1"))
		}},
		{"account for one who gets nothing", "deny_destinations", func(b *bank) keymgmt.Request {
			b.file.DenyDestinations = []protocol.AccountID{b.other}
			return b.by(distribution, txbuild.CreateAccount{Destination: b.other, StartingBalance: b.amount("1")})
		}},
		{"frozen key", "frozen", func(b *bank) keymgmt.Request { b.rule(issuing).Frozen = true; return b.by(issuing, b.pay("1")) }},
		{"one bad operation among good ones", "transaction.operation", func(b *bank) keymgmt.Request {
			return b.by(issuing, b.pay("1"), txbuild.ManageData{Name: "x"}, b.pay("1"))
		}},
		{"transaction by the token key", "kind", func(b *bank) keymgmt.Request { return b.by("anchor/jwt", b.pay("1")) }},
		{"transaction by the challenge key", "kind", func(b *bank) keymgmt.Request { return b.by("anchor/sep10", b.pay("1")) }},
		{"transaction by the log key", "kind", func(b *bank) keymgmt.Request { return b.by("audit/log", b.pay("1")) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBank(t)
			wantDenial(t, b, test.request(b), facts(), test.rule)
		})
	}
}

func wantDenial(t *testing.T, b *bank, r keymgmt.Request, f policy.Facts, rule string) {
	t.Helper()
	a, err := b.decide(r, f)
	var denial *policy.Denial
	if a != nil || !errors.As(err, &denial) || !errors.Is(err, keymgmt.ErrDenied) || denial.Rule != rule {
		t.Fatalf("approval %v, error %v, want rule %s", a, err, rule)
	}
}

func TestTransactionsThatAreAllowed(t *testing.T) {
	b := newBank(t)
	domain := b.setup.HomeDomain
	for name, r := range map[string]keymgmt.Request{
		"root funds the anchor's accounts": b.by(root, txbuild.CreateAccount{Destination: b.setup.Publics.Issuing, StartingBalance: b.amount("500")},
			txbuild.CreateAccount{Destination: b.setup.Publics.Distribution, StartingBalance: b.amount("500")}),
		"issuing sets itself up": b.by(issuing, txbuild.SetOptions{HomeDomain: &domain, SetFlags: xdr.AccountFlagsAuthRequiredFlag |
			xdr.AccountFlagsAuthRevocableFlag | xdr.AccountFlagsAuthClawbackEnabledFlag}),
		"issuing authorises":        b.by(issuing, txbuild.SetTrustLineFlags{Trustor: b.other, Asset: b.usd, Set: xdr.TrustLineFlagsAuthorizedFlag}),
		"issuing revokes":           b.by(issuing, txbuild.SetTrustLineFlags{Trustor: b.other, Asset: b.usd, Clear: xdr.TrustLineFlagsAuthorizedFlag}),
		"issuing issues the most":   b.by(issuing, b.pay("999.9999999"), b.pay("0.0000001")),
		"distribution trusts":       b.by(distribution, txbuild.ChangeTrust{Asset: b.usd, Limit: b.amount("922337203685.4775807")}),
		"distribution burns":        b.by(distribution, txbuild.Payment{Destination: b.setup.Publics.Issuing, Asset: b.usd, Amount: b.amount("3")}),
		"distribution funds a user": b.by(distribution, txbuild.CreateAccount{Destination: b.other, StartingBalance: b.amount("10")}),
	} {
		a, err := b.decide(r, facts())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := a.Spend(r.Key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	expired := b.params(b.setup.Publics.Issuing, b.pay("1"))
	expired.NotAfter = now.Add(-time.Hour)
	if _, err := b.decide(b.transaction(issuing, expired), facts()); err != nil {
		t.Errorf("a transaction that is dead already: %v", err)
	}
}

func TestDayLimits(t *testing.T) {
	b := newBank(t)
	r := b.by(issuing, b.pay("500"))
	spent := func(counter string, stroops int64) policy.Facts {
		f := facts()
		f.Spent[day(counter)] = big.NewInt(stroops)
		return f
	}
	if _, err := b.decide(r, spent(b.usd.String(), 2000_0000000)); err != nil {
		t.Errorf("to the last stroop: %v", err)
	}
	wantDenial(t, b, r, spent(b.usd.String(), 2000_0000001), "transaction.limit.window")
	if _, err := b.decide(r, spent(policy.FeeCounter, 100_0000000-100)); err != nil {
		t.Errorf("fee to the last stroop: %v", err)
	}
	wantDenial(t, b, r, spent(policy.FeeCounter, 100_0000000-99), "transaction.fee_window")
	a, err := b.decide(r, facts())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(a.Reservations()); got != fmt.Sprintf("[{fee in 24h0m0s 100} {%s in 24h0m0s 5000000000}]", b.usd) {
		t.Errorf("reservations %s", got)
	}
}

func TestMissingFactsDeny(t *testing.T) {
	b := newBank(t)
	pay, checkpoint := b.by(issuing, b.pay("1")), b.request("audit/log", keymgmt.KindCheckpoint, checkpointBody("bank.example/audit", 1, 1))
	without := func(change func(*policy.Facts)) policy.Facts {
		f := facts()
		change(&f)
		return f
	}
	wantDenial(t, b, pay, without(func(f *policy.Facts) { f.Spent = nil }), "facts")
	wantDenial(t, b, pay, without(func(f *policy.Facts) { f.Now = time.Time{} }), "facts")
	wantDenial(t, b, pay, without(func(f *policy.Facts) { f.Caller = "" }), "callers")
	wantDenial(t, b, pay, without(func(f *policy.Facts) { f.Caller = "node.diamante.internal" }), "callers")
	wantDenial(t, b, checkpoint, without(func(f *policy.Facts) { f.Last = nil }), "facts")
	unknown := pay
	unknown.Key = b.request("anchor/eur/issuing", 1, nil).Key
	wantDenial(t, b, unknown, facts(), "key")
}

func checkpointBody(origin string, size int64, root byte) []byte {
	hash := make([]byte, 32)
	hash[0] = root
	return fmt.Appendf(nil, "%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(hash))
}

// What was decided on must be what was asked, whatever a confused caller hands over.
func TestMeaningOfAnotherBodyIsDenied(t *testing.T) {
	b := newBank(t)
	p, asked, harmless := load(t, b.file), b.by(issuing, b.pay("1000")), b.by(issuing, b.pay("1"))
	m, err := payload.Decode(harmless.Kind, harmless.Body)
	if err != nil {
		t.Fatal(err)
	}
	for name, meaning := range map[string]payload.Meaning{"another body's": m, "none": {}} {
		if _, err := p.Decide(asked, meaning, facts()); !errors.Is(err, keymgmt.ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestApprovalIsSpentOnce(t *testing.T) {
	b := newBank(t)
	r := b.by(issuing, b.pay("1"))
	a, err := b.decide(r, facts())
	if err != nil {
		t.Fatal(err)
	}
	if a.Key() != r.Key || a.Kind() != r.Kind {
		t.Fatalf("approval of %s for %s", a.Kind(), a.Key())
	}
	messages, err := a.Spend(r.Key)
	if err != nil || len(messages) != 1 || len(messages[0]) != 32 {
		t.Fatalf("%x, %v", messages, err)
	}
	if message, err := a.Spend(r.Key); !errors.Is(err, policy.ErrSpent) || message != nil {
		t.Errorf("second time: %x, %v", message, err)
	}
	a, _ = b.decide(r, facts())
	if message, err := a.Spend(b.rule(distribution).ID); !errors.Is(err, policy.ErrOtherKey) || message != nil {
		t.Errorf("another key: %x, %v", message, err)
	}
	if _, err := a.Spend(r.Key); !errors.Is(err, policy.ErrSpent) {
		t.Errorf("after another key: %v", err)
	}
	if _, err := new(policy.Approval).Spend(keymgmt.KeyID{}); !errors.Is(err, policy.ErrSpent) {
		t.Errorf("zero value: %v", err)
	}
}

// day is a counter over a day.
func day(name string) policy.Counter { return policy.Counter{Name: name, Window: 24 * time.Hour} }
