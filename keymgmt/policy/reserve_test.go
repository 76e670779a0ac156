package policy_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// attestor is somebody outside, with a key of his own.
type attestor struct {
	policy.Signatory
	private ed25519.PrivateKey
}

func newAttestor(t testing.TB, name string) attestor {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := protocol.AccountIDFromKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return attestor{policy.Signatory{Name: name, Public: policy.Ledger(id)}, private}
}

// reserveBank is a bank whose issuer needs an attested reserve.
func reserveBank(t testing.TB) (*bank, attestor) {
	b, treasury := newBank(t), newAttestor(t, "treasury")
	b.rule(issuing).Transaction.Reserves = []policy.ReserveRule{{Asset: b.usd, MaxAge: policy.Duration(time.Hour), Attestors: []policy.Signatory{treasury.Signatory}}}
	return b, treasury
}

// attest is a good attestation after change.
func (b *bank) attest(by attestor, change func(a *keymgmt.Attestation)) keymgmt.Attestation {
	b.t.Helper()
	a := keymgmt.Attestation{Asset: b.usd.String(), Reserve: "1000.0000000", Outstanding: "400.0000000", Ledger: 50, Closed: now.Add(-time.Minute),
		Sequence: 7, Issued: now.Add(-time.Second), Attestor: by.Name}
	if change != nil {
		change(&a)
	}
	signed, err := policy.SignAttestation(passphrase.NetworkID(), a, by.private)
	if err != nil {
		b.t.Fatal(err)
	}
	return signed
}

// units is so many whole units in the last decimal.
func units(n int64) *big.Int { return new(big.Int).Mul(big.NewInt(n), big.NewInt(protocol.One)) }

// mended are the rules whose denials somebody's next word may mend.
var mended = map[string]bool{"transaction.reserve": true, "transaction.reserve.max_age": true}

func denied(t *testing.T, err error, rule string) {
	t.Helper()
	var denial *policy.Denial
	if rule == "" && err != nil || rule != "" && (!errors.As(err, &denial) || denial.Rule != rule || errors.Is(err, keymgmt.ErrNotYet) != mended[rule]) {
		t.Errorf("%v, want a denial by %q", err, rule)
	}
}

// TestIssuanceStaysWithinTheReserve: 1000 are held, 400 were outstanding.
func TestIssuanceStaysWithinTheReserve(t *testing.T) {
	b, treasury := reserveBank(t)
	other := newAttestor(t, "other")
	for _, test := range []struct {
		name        string
		change      func(a *keymgmt.Attestation)
		since, same *big.Int
		amount      string
		rule        string
	}{
		{"all that is left", nil, units(0), nil, "600", ""},
		{"a ten millionth too much", nil, units(0), nil, "600.0000001", "transaction.reserve"},
		{"besides what was signed since", nil, units(500), nil, "100", ""},
		{"too much besides what was signed since", nil, units(500), nil, "100.0000001", "transaction.reserve"},
		{"instead of a larger one of the same number", nil, units(100), units(500), "499", ""},
		{"instead of a larger one that does not fit", nil, units(101), units(500), "1", "transaction.reserve"},
		{"more is outstanding than is held", func(a *keymgmt.Attestation) { a.Outstanding = "1000.0000001" }, units(0), nil, "0.0000001", "transaction.reserve"},
		{"nothing is held", func(a *keymgmt.Attestation) { a.Reserve = "0.0000000" }, units(0), nil, "0.0000001", "transaction.reserve"},
		{"old", func(a *keymgmt.Attestation) {
			a.Issued, a.Closed = now.Add(-time.Hour-time.Second), now.Add(-2*time.Hour)
		}, units(0), nil, "1", "transaction.reserve.max_age"},
		{"just not old", func(a *keymgmt.Attestation) { a.Issued, a.Closed = now.Add(-time.Hour), now.Add(-2*time.Hour) }, units(0), nil, "1", ""},
		{"of the future", func(a *keymgmt.Attestation) { a.Issued = now.Add(2 * time.Minute) }, units(0), nil, "1", "transaction.reserve.issued"},
		{"of a ledger of the future", func(a *keymgmt.Attestation) { a.Closed = a.Issued.Add(2 * time.Minute) }, units(0), nil, "1", "transaction.reserve.issued"},
		{"by a stranger", func(a *keymgmt.Attestation) { a.Attestor = "mallory" }, units(0), nil, "1", "transaction.reserve.attestor"},
		{"nothing is known of what was signed", nil, nil, nil, "1", "transaction.reserve"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := facts()
			f.Backing = map[protocol.Asset]*policy.Backing{b.usd: {Newest: b.attest(treasury, test.change), Since: test.since, Same: test.same}}
			_, err := b.decide(b.by(issuing, b.pay(test.amount)), f)
			denied(t, err, test.rule)
		})
	}
	f := facts()
	_, err := b.decide(b.by(issuing, b.pay("1")), f)
	denied(t, err, "transaction.reserve")
	forged := b.attest(other, func(a *keymgmt.Attestation) { a.Attestor = treasury.Name })
	f.Backing = map[protocol.Asset]*policy.Backing{b.usd: {Newest: forged, Since: units(0)}}
	_, err = b.decide(b.by(issuing, b.pay("1")), f)
	denied(t, err, "transaction.reserve.signature")
	for name, bend := range map[string]func(a *keymgmt.Attestation){
		"reserve": func(a *keymgmt.Attestation) { a.Reserve = "9000.0000000" }, "outstanding": func(a *keymgmt.Attestation) { a.Outstanding = "0.0000000" },
		"ledger": func(a *keymgmt.Attestation) { a.Ledger++ }, "closed": func(a *keymgmt.Attestation) { a.Closed = a.Closed.Add(time.Second) },
		"sequence": func(a *keymgmt.Attestation) { a.Sequence++ }, "issued": func(a *keymgmt.Attestation) { a.Issued = a.Issued.Add(time.Second) },
	} {
		a := b.attest(treasury, nil)
		bend(&a)
		f.Backing[b.usd].Newest = a
		if _, err = b.decide(b.by(issuing, b.pay("1")), f); err == nil {
			t.Errorf("signed with another %s", name)
		}
	}
	f.Backing[b.usd].Newest = b.attest(treasury, nil)
	if _, err := b.decide(b.by(distribution, b.pay("900")), f); err != nil {
		t.Errorf("what others pay is not issued: %v", err)
	}
}

// TestEveryWayToIssueCounts: by whatever operation the asset leaves its issuer, and none that issues later or through
// others.
func TestEveryWayToIssueCounts(t *testing.T) {
	own, other := newAccount(t), newAccount(t)
	by := payload.By{Source: own}
	usd, err := protocol.NewCredit("USD", own)
	if err != nil {
		t.Fatal(err)
	}
	eur, err := protocol.NewCredit("EUR", other)
	if err != nil {
		t.Fatal(err)
	}
	send := payload.Conversion{Destination: other, SendAsset: usd, DestAsset: eur}
	buy := payload.Conversion{Destination: other, SendAsset: eur, DestAsset: usd}
	for _, test := range []struct {
		op   payload.Operation
		want int64
	}{
		{payload.Payment{By: by, Destination: other, Asset: usd, Amount: units(3)}, 3},
		{payload.Payment{By: by, Destination: other, Asset: eur, Amount: units(3)}, 0},
		{payload.Payment{By: payload.By{Source: other}, Destination: own, Asset: usd, Amount: units(3)}, 0},
		{payload.PathPaymentStrictReceive{By: by, Conversion: send, SendMax: units(5), DestAmount: units(1)}, 5},
		{payload.PathPaymentStrictSend{By: by, Conversion: send, SendAmount: units(4), DestMin: units(1)}, 4},
		{payload.PathPaymentStrictSend{By: by, Conversion: buy, SendAmount: units(4), DestMin: units(1)}, 0},
		{payload.CreateBalance{By: by, Asset: usd, Amount: units(6)}, 6},
		{payload.ManageSellOffer{By: by, Selling: usd, Buying: eur, Amount: units(7), Price: payload.Price{N: 1, D: 1}}, 7},
		{payload.Clawback{By: by, From: other, Asset: usd, Amount: units(8)}, 0},
		{payload.CreateAccount{By: by, Destination: other, Starting: units(9)}, 0},
	} {
		issued := policy.Issued(&payload.Transaction{Source: own, Operations: []payload.Operation{test.op, test.op}})
		got := issued[usd]
		if got == nil {
			got = new(big.Int)
		}
		if got.Cmp(units(2*test.want)) != 0 {
			t.Errorf("twice %T issues %s, want %s", test.op, got, units(2*test.want))
		}
	}
}

// TestEveryWayToIssueIsGated: 600 are left, and each entry issues 601, or nobody knows when how much.
func TestEveryWayToIssueIsGated(t *testing.T) {
	const most = 601 * unit
	for name, test := range map[string]struct {
		request func(b *bank) keymgmt.Request
		rule    string
	}{
		"payments":                     {func(b *bank) keymgmt.Request { return b.by(issuing, b.pay("300"), b.pay("301")) }, "transaction.reserve"},
		"path payment, strict receive": {func(b *bank) keymgmt.Request { return b.raw(issuing, b.receive(most, unit, b.other)) }, "transaction.reserve"},
		"path payment, strict send":    {func(b *bank) keymgmt.Request { return b.raw(issuing, b.send(most, 1, b.other)) }, "transaction.reserve"},
		"claimable balance":            {func(b *bank) keymgmt.Request { return b.raw(issuing, b.setAside(most, b.other)) }, "transaction.reserve"},
		"offer":                        {func(b *bank) keymgmt.Request { return b.raw(issuing, b.sell(unit, 5, 2)) }, "transaction.reserve.offer"},
		"passive offer":                {func(b *bank) keymgmt.Request { return b.raw(issuing, b.passive(unit, 5, 2)) }, "transaction.reserve.offer"},
		"offer to buy":                 {func(b *bank) keymgmt.Request { return b.raw(issuing, b.buy(unit, 2, 5)) }, "transaction.reserve.offer"},
		"with preconditions": {func(b *bank) keymgmt.Request {
			return b.edit(b.by(issuing, b.pay("601")), func(tx *xdr.Transaction) {
				v2 := &xdr.PreconditionsV2{TimeBounds: tx.Cond.TimeBounds, LedgerBounds: &xdr.LedgerBounds{MinLedger: 3}}
				tx.Cond = xdr.Preconditions{Type: xdr.PreconditionTypePrecondV2, V2: v2}
			})
		}, "transaction.reserve"},
		"offer withdrawn": {func(b *bank) keymgmt.Request { return b.raw(issuing, b.sell(0, 3, 1)) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b, treasury := reserveBank(t)
			traders(b)
			from, to := b.rule(distribution).Transaction, b.rule(issuing).Transaction
			to.PathPayments, to.Offers, to.SetAside, to.Conditions = from.PathPayments, from.Offers, from.SetAside, []string{"ledger_bounds"}
			f := facts()
			f.Backing = map[protocol.Asset]*policy.Backing{b.usd: {Newest: b.attest(treasury, nil), Since: units(0)}}
			request := test.request(b)
			_, err := b.decide(request, f)
			denied(t, err, test.rule)
			to.Reserves = nil
			if _, err := b.decide(request, f); err != nil {
				t.Errorf("without a reserve: %v", err)
			}
		})
	}
}

// TestIssuersWithAReserveStayInOneHand: a new signer would issue without asking.
func TestIssuersWithAReserveStayInOneHand(t *testing.T) {
	b, treasury := reserveBank(t)
	options := b.rule(issuing).Transaction.SetOptions
	options.MasterWeights, options.LowThresholds, options.MediumThresholds, options.HighThresholds = []uint32{0}, []uint32{0}, []uint32{0}, []uint32{0}
	f := facts()
	f.Backing = map[protocol.Asset]*policy.Backing{b.usd: {Newest: b.attest(treasury, nil), Since: units(0)}}
	zero := uint32(0)
	for name, op := range map[string]txbuild.SetOptions{"master weight": {MasterWeight: &zero}, "low": {LowThreshold: &zero}, "medium": {MedThreshold: &zero}, "high": {HiThreshold: &zero}} {
		_, err := b.decide(b.by(issuing, op), f)
		var denial *policy.Denial
		if !errors.As(err, &denial) || denial.Rule != "transaction.reserve.signers" {
			t.Errorf("%s: %v", name, err)
		}
	}
	domain := "bank.example"
	if _, err := b.decide(b.by(issuing, txbuild.SetOptions{HomeDomain: &domain}), f); err != nil {
		t.Errorf("another option: %v", err)
	}
}

func TestAttestationsThatAreRefused(t *testing.T) {
	b, treasury := reserveBank(t)
	p := load(t, b.file)
	good := b.attest(treasury, nil)
	asset, by, err := p.Attestation(good, now)
	if err != nil || asset != b.usd || by.String() == "" || len(p.Attestors(asset)) != 1 || p.Attestors(asset)[0] != by {
		t.Fatal(asset, by, err)
	}
	eur, err := protocol.NewCredit("EUR", b.setup.Publics.Issuing)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(a *keymgmt.Attestation)
		want   error
	}{
		"an asset without a rule": {func(a *keymgmt.Attestation) { a.Asset = eur.String() }, keymgmt.ErrDenied},
		"no asset":                {func(a *keymgmt.Attestation) { a.Asset = "USD" }, keymgmt.ErrMalformed},
		"a negative amount":       {func(a *keymgmt.Attestation) { a.Reserve = "-1.0000000" }, keymgmt.ErrMalformed},
		"an amount in short":      {func(a *keymgmt.Attestation) { a.Reserve = "1" }, keymgmt.ErrMalformed},
		"leading zeros":           {func(a *keymgmt.Attestation) { a.Outstanding = "01.0000000" }, keymgmt.ErrMalformed},
		"no number":               {func(a *keymgmt.Attestation) { a.Outstanding = "1e9.0000000" }, keymgmt.ErrMalformed},
		"no ledger":               {func(a *keymgmt.Attestation) { a.Ledger = 0 }, keymgmt.ErrMalformed},
		"part of a second":        {func(a *keymgmt.Attestation) { a.Issued = a.Issued.Add(time.Millisecond) }, keymgmt.ErrMalformed},
		"a short signature":       {func(a *keymgmt.Attestation) { a.Signature = a.Signature[1:] }, keymgmt.ErrMalformed},
		"a line more":             {func(a *keymgmt.Attestation) { a.Attestor = "treasury\nledger 1" }, keymgmt.ErrMalformed},
		"another signature":       {func(a *keymgmt.Attestation) { a.Signature[0] ^= 1 }, keymgmt.ErrDenied},
	} {
		a := good
		a.Signature = append([]byte(nil), good.Signature...)
		test.change(&a)
		if _, _, err := p.Attestation(a, now); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	old := b.attest(treasury, func(a *keymgmt.Attestation) {
		a.Issued, a.Closed = now.Add(-time.Hour-time.Second), now.Add(-2*time.Hour)
	})
	if _, _, err := p.Attestation(old, now); !errors.Is(err, keymgmt.ErrDenied) {
		t.Errorf("an old one: %v", err)
	}
	elsewhere, err := policy.SignAttestation(protocol.Passphrase("Another Network").NetworkID(), good, treasury.private)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = p.Attestation(elsewhere, now)
	denied(t, err, "transaction.reserve.signature")
	for name, back := range map[string]func(a *keymgmt.Attestation){
		"the same": func(*keymgmt.Attestation) {}, "an earlier ledger": func(a *keymgmt.Attestation) { a.Ledger, a.Issued = 49, now },
		"a ledger closed earlier": func(a *keymgmt.Attestation) { a.Ledger, a.Issued, a.Closed = 51, now, now.Add(-time.Hour) },
		"issued earlier":          func(a *keymgmt.Attestation) { a.Ledger, a.Closed = 51, a.Closed.Add(time.Second) },
		"an earlier number": func(a *keymgmt.Attestation) {
			a.Ledger, a.Issued, a.Closed, a.Sequence = 51, now, a.Closed.Add(time.Second), 6
		},
	} {
		if policy.Newer(b.attest(treasury, back), good) == nil {
			t.Errorf("%s took the place of the newest", name)
		}
	}
	next := b.attest(treasury, func(a *keymgmt.Attestation) { a.Ledger, a.Issued, a.Closed = 51, now, a.Closed.Add(time.Second) })
	if err := policy.Newer(next, good); err != nil {
		t.Error(err)
	}
}

// TestReserveRulesThatMeanNothing: the officers hear of them before they sign.
func TestReserveRulesThatMeanNothing(t *testing.T) {
	for name, change := range map[string]func(b *bank, r *policy.ReserveRule){
		"an asset of others": func(b *bank, r *policy.ReserveRule) {
			r.Asset, _ = protocol.NewCredit("USD", b.other)
		},
		"the native asset":     func(_ *bank, r *policy.ReserveRule) { r.Asset = protocol.Native() },
		"no age":               func(_ *bank, r *policy.ReserveRule) { r.MaxAge = 0 },
		"a year":               func(_ *bank, r *policy.ReserveRule) { r.MaxAge = policy.Duration(365 * 24 * time.Hour) },
		"nobody":               func(_ *bank, r *policy.ReserveRule) { r.Attestors = nil },
		"one of the gateway's": func(b *bank, r *policy.ReserveRule) { r.Attestors[0].Public = b.rule(distribution).Public },
		"one twice":            func(_ *bank, r *policy.ReserveRule) { r.Attestors = append(r.Attestors, r.Attestors[0]) },
		"no name":              func(_ *bank, r *policy.ReserveRule) { r.Attestors[0].Name = "the treasury" },
	} {
		b, _ := reserveBank(t)
		change(b, &b.rule(issuing).Transaction.Reserves[0])
		if _, err := policy.Marshal(b.file); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b, _ := reserveBank(t)
	words, lint := strings.Join(b.file.Explain(), "\n"), strings.Join(b.file.Lint(), "\n")
	if want := "issues " + b.usd.String() + " only while all of it stays within the reserve that treasury (G"; !strings.Contains(words, want) {
		t.Errorf("explain lacks %q:\n%s", want, words)
	}
	if strings.Contains(lint, "without an attested reserve") {
		t.Error(lint)
	}
	r := &b.rule(issuing).Transaction.Reserves
	*r = append(*r, (*r)[0])
	if _, err := policy.Marshal(b.file); !errors.Is(err, policy.ErrInvalid) {
		t.Errorf("twice: %v", err)
	}
	*r = nil
	if lint := strings.Join(b.file.Lint(), "\n"); !strings.Contains(lint, issuing+": issues "+b.usd.String()+" without an attested reserve behind it") {
		t.Error(lint)
	}
}

// FuzzAttestation: whatever is delivered, nothing counts that the attestor did not sign.
func FuzzAttestation(f *testing.F) {
	b, treasury := reserveBank(f)
	p := load(f, b.file)
	good := b.attest(treasury, nil)
	f.Add(good.Asset, good.Reserve, good.Outstanding, good.Attestor, good.Ledger, good.Sequence, good.Closed.Unix(), good.Issued.Unix())
	f.Add("native", "0.0000000", "1.0", "a b", int64(-1), int64(-1), int64(0), int64(1<<62))
	f.Fuzz(func(t *testing.T, asset, reserve, outstanding, name string, ledger, sequence, closed, issued int64) {
		a := keymgmt.Attestation{Asset: asset, Reserve: reserve, Outstanding: outstanding, Ledger: ledger, Closed: time.Unix(closed, 0), Sequence: sequence,
			Issued: time.Unix(issued, 0), Attestor: name, Signature: good.Signature}
		same := string(policy.AttestationText(passphrase.NetworkID(), a)) == string(policy.AttestationText(passphrase.NetworkID(), good))
		if _, _, err := p.Attestation(a, now); (err == nil) != same {
			t.Fatalf("%+v: %v", a, err)
		}
	})
}
