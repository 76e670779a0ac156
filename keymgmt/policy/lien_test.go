package policy_test

import (
	"errors"
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

// pledge puts liens on the distribution account, each with a holder of its own, and lets it do all that there are rules for.
func pledge(t testing.TB, liens ...string) (*bank, []attestor) {
	b := newBank(t)
	traders(b)
	tx := b.rule(distribution).Transaction
	tx.PathPayments[0].Destinations, tx.SetAside.Claimants = policy.Anyone(), policy.Anyone()
	tx.SetOptions = &policy.SetOptionsRule{HomeDomains: []string{"bank.example"}, MasterWeights: []uint32{0}, LowThresholds: []uint32{0}, MediumThresholds: []uint32{0}, HighThresholds: []uint32{0}}
	tx.ManageData = &policy.ManageDataRule{Names: []string{"note"}}
	var holders []attestor
	for _, lien := range liens {
		h := newAttestor(t, "holder-of-"+lien)
		tx.Liens = append(tx.Liens, policy.LienRule{ID: lien, Holders: []policy.Signatory{h.Signatory}})
		holders = append(holders, h)
	}
	return b, holders
}

// discharge is a good one of USD for b.other, after change.
func (b *bank) discharge(by attestor, amount string, change func(d *keymgmt.Discharge)) keymgmt.Discharge {
	b.t.Helper()
	d := keymgmt.Discharge{Lien: strings.TrimPrefix(by.Name, "holder-of-"), Asset: b.usd.String(), Amount: amount + ".0000000", Destination: b.other.String(),
		Nonce: keymgmt.NewNonce(), Expires: now.Add(time.Hour), Holder: by.Name}
	if change != nil {
		change(&d)
	}
	signed, err := policy.SignDischarge(passphrase.NetworkID(), b.account(distribution), d, by.private)
	if err != nil {
		b.t.Fatal(err)
	}
	return signed
}

func with(r keymgmt.Request, discharges ...keymgmt.Discharge) keymgmt.Request {
	r.Discharges = discharges
	return r
}

// TestCollateralStays: each entry asks to pay 30 USD and 20 USD to one account out of one that holds collateral for loan-1.
func TestCollateralStays(t *testing.T) {
	b, holders := pledge(t, "loan-1")
	h, stranger := holders[0], newAttestor(t, "holder-of-loan-1")
	good, once := b.discharge(h, "50", nil), b.discharge(h, "25", nil)
	third := newAccount(t)
	for _, test := range []struct {
		name       string
		discharges []keymgmt.Discharge
		rule       string // "" when it is allowed
		missing    bool   // a discharge may mend it
	}{
		{"without a word", nil, "transaction.lien", true},
		{"discharged", []keymgmt.Discharge{good}, "", false},
		{"discharged in parts", []keymgmt.Discharge{b.discharge(h, "49", nil), b.discharge(h, "1", nil)}, "", false},
		{"one unit short", []keymgmt.Discharge{b.discharge(h, "49", nil)}, "transaction.lien", true},
		{"one unit over", []keymgmt.Discharge{b.discharge(h, "51", nil)}, "transaction.lien", false},
		{"one discharge twice", []keymgmt.Discharge{once, once}, "transaction.lien.nonce", false},
		{"for another destination", []keymgmt.Discharge{b.discharge(h, "50", func(d *keymgmt.Discharge) { d.Destination = third.String() })}, "transaction.lien", true},
		{"for another destination besides", []keymgmt.Discharge{good, b.discharge(h, "1", func(d *keymgmt.Discharge) { d.Destination = third.String() })}, "transaction.lien.destination", false},
		{"of another asset", []keymgmt.Discharge{b.discharge(h, "50", func(d *keymgmt.Discharge) { d.Asset = "native" })}, "transaction.lien", true},
		{"of another lien", []keymgmt.Discharge{b.discharge(h, "50", func(d *keymgmt.Discharge) { d.Lien = "loan-2" })}, "transaction.lien.id", false},
		{"by another name", []keymgmt.Discharge{b.discharge(h, "50", func(d *keymgmt.Discharge) { d.Holder = "mallory" })}, "transaction.lien.holder", false},
		{"by another key", []keymgmt.Discharge{b.discharge(stranger, "50", nil)}, "transaction.lien.signature", false},
		{"too late", []keymgmt.Discharge{b.discharge(h, "50", func(d *keymgmt.Discharge) { d.Expires = now })}, "transaction.lien.expires", false},
		{"for ever", []keymgmt.Discharge{b.discharge(h, "50", func(d *keymgmt.Discharge) { d.Expires = now.Add(32 * 24 * time.Hour) })}, "transaction.lien.expires", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := b.decide(with(b.by(distribution, b.pay("30"), b.pay("20")), test.discharges...), facts())
			var denial *policy.Denial
			if test.rule == "" && err != nil || test.rule != "" && (!errors.As(err, &denial) || denial.Rule != test.rule) {
				t.Errorf("%v, want a denial by %q", err, test.rule)
			}
			if errors.Is(err, keymgmt.ErrApprovalNeeded) != test.missing {
				t.Errorf("%v", err)
			}
		})
	}
	for name, bend := range map[string]func(d *keymgmt.Discharge){
		"amount": func(d *keymgmt.Discharge) { d.Amount = "60.0000000" }, "destination": func(d *keymgmt.Discharge) { d.Destination = third.String() },
		"nonce": func(d *keymgmt.Discharge) { d.Nonce = keymgmt.NewNonce() }, "expiry": func(d *keymgmt.Discharge) { d.Expires = d.Expires.Add(time.Second) },
		"asset": func(d *keymgmt.Discharge) { d.Asset = "native" },
	} {
		d := good
		bend(&d)
		_, err := b.decide(with(b.by(distribution, b.pay("50")), d), facts())
		var denial *policy.Denial
		if !errors.As(err, &denial) || denial.Rule != "transaction.lien.signature" {
			t.Errorf("another %s: %v", name, err)
		}
	}
	used := facts()
	used.Discharged = map[string]bool{good.Nonce: true}
	_, err := b.decide(with(b.by(distribution, b.pay("50")), good), used)
	denied(t, err, "transaction.lien.nonce")
	abroad, err := policy.SignDischarge(protocol.Passphrase("Another Network").NetworkID(), b.account(distribution), good, h.private)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.decide(with(b.by(distribution, b.pay("50")), abroad), facts())
	denied(t, err, "transaction.lien.signature")
	other, err := policy.SignDischarge(passphrase.NetworkID(), b.account(issuing), good, h.private)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.decide(with(b.by(distribution, b.pay("50")), other), facts())
	denied(t, err, "transaction.lien.signature")
	_, err = b.decide(with(b.by(issuing, b.pay("50")), good), facts())
	denied(t, err, "transaction.lien") // there is none on that key
}

// TestEveryLienIsDischarged: one holder does not speak for another.
func TestEveryLienIsDischarged(t *testing.T) {
	b, h := pledge(t, "loan-1", "loan-2")
	request := b.by(distribution, b.pay("50"))
	for n, discharges := range [][]keymgmt.Discharge{{b.discharge(h[0], "50", nil)}, {b.discharge(h[1], "50", nil)}} {
		if _, err := b.decide(with(request, discharges...), facts()); !errors.Is(err, keymgmt.ErrApprovalNeeded) {
			t.Errorf("with that of %d alone: %v", n, err)
		}
	}
	if _, err := b.decide(with(request, b.discharge(h[0], "50", nil), b.discharge(h[1], "50", nil)), facts()); err != nil {
		t.Error(err)
	}
}

// TestWaysAroundALien: what would let collateral leave in another way is denied even with a discharge; what moves nothing
// needs none.
func TestWaysAroundALien(t *testing.T) {
	zero := uint32(0)
	domain := "bank.example"
	for name, test := range map[string]struct {
		request func(b *bank) keymgmt.Request
		rule    string
	}{
		"path payment, strict receive": {func(b *bank) keymgmt.Request { return b.raw(distribution, b.receive(30*unit, unit, b.other)) }, "transaction.lien.operation"},
		"path payment, strict send":    {func(b *bank) keymgmt.Request { return b.raw(distribution, b.send(30*unit, 1, b.other)) }, "transaction.lien.operation"},
		"offer":                        {func(b *bank) keymgmt.Request { return b.raw(distribution, b.sell(30*unit, 5, 2)) }, "transaction.lien.operation"},
		"passive offer":                {func(b *bank) keymgmt.Request { return b.raw(distribution, b.passive(30*unit, 5, 2)) }, "transaction.lien.operation"},
		"offer to buy":                 {func(b *bank) keymgmt.Request { return b.raw(distribution, b.buy(30*unit, 2, 5)) }, "transaction.lien.operation"},
		"claimable balance":            {func(b *bank) keymgmt.Request { return b.raw(distribution, b.setAside(30*unit, b.other)) }, "transaction.lien.operation"},
		"no weight":                    {func(b *bank) keymgmt.Request { return b.by(distribution, txbuild.SetOptions{MasterWeight: &zero}) }, "transaction.lien.operation"},
		"no threshold":                 {func(b *bank) keymgmt.Request { return b.by(distribution, txbuild.SetOptions{HiThreshold: &zero}) }, "transaction.lien.operation"},
		"new account": {func(b *bank) keymgmt.Request {
			return b.by(distribution, txbuild.CreateAccount{Destination: newAccount(b.t), StartingBalance: b.amount("5")})
		}, "transaction.lien"},
		"offer withdrawn": {func(b *bank) keymgmt.Request { return b.raw(distribution, b.sell(0, 3, 1)) }, ""},
		"home domain":     {func(b *bank) keymgmt.Request { return b.by(distribution, txbuild.SetOptions{HomeDomain: &domain}) }, ""},
		"data":            {func(b *bank) keymgmt.Request { return b.by(distribution, txbuild.ManageData{Name: "note"}) }, ""},
		"claim": {func(b *bank) keymgmt.Request {
			return b.raw(distribution, xdr.OperationBody{Type: xdr.OperationTypeClaimClaimableBalance, ClaimClaimableBalanceOp: &xdr.ClaimClaimableBalanceOp{
				BalanceId: xdr.ClaimableBalanceId{Type: xdr.ClaimableBalanceIdTypeClaimableBalanceIdTypeV0, V0: &xdr.Hash{1}}}})
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := pledge(t, "loan-1")
			request := test.request(b)
			_, err := b.decide(request, facts())
			var denial *policy.Denial
			if test.rule == "" && err != nil || test.rule != "" && (!errors.As(err, &denial) || denial.Rule != test.rule) {
				t.Errorf("%v, want a denial by %q", err, test.rule)
			}
			b.rule(distribution).Transaction.Liens = nil
			if _, err := b.decide(request, facts()); err != nil {
				t.Errorf("without a lien: %v", err)
			}
		})
	}
}

func TestLienRulesThatMeanNothing(t *testing.T) {
	for name, change := range map[string]func(b *bank, l *[]policy.LienRule){
		"no id":                func(_ *bank, l *[]policy.LienRule) { (*l)[0].ID = "" },
		"an id of two words":   func(_ *bank, l *[]policy.LienRule) { (*l)[0].ID = "loan 1" },
		"one twice":            func(_ *bank, l *[]policy.LienRule) { *l = append(*l, (*l)[0]) },
		"nobody":               func(_ *bank, l *[]policy.LienRule) { (*l)[0].Holders = nil },
		"one of the gateway's": func(b *bank, l *[]policy.LienRule) { (*l)[0].Holders[0].Public = b.rule(issuing).Public },
	} {
		b, _ := pledge(t, "loan-1")
		change(b, &b.rule(distribution).Transaction.Liens)
		if _, err := policy.Marshal(b.file); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b, _ := pledge(t, "loan-1")
	if words := strings.Join(b.file.Explain(), "\n"); !strings.Contains(words, "lets nothing leave without the discharge of lien loan-1 by holder-of-loan-1 (G") {
		t.Error(words)
	}
}

// FuzzDischarge: whatever is brought, nothing counts that the holder did not sign.
func FuzzDischarge(f *testing.F) {
	b, h := pledge(f, "loan-1")
	good := b.discharge(h[0], "50", nil)
	request, p := b.by(distribution, b.pay("50")), load(f, b.file)
	m, err := payload.Decode(request.Kind, request.Body)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.Lien, good.Asset, good.Amount, good.Destination, good.Nonce, good.Holder, good.Expires.Unix())
	f.Add("loan-1", "native", "50", "GA", "", "a\nb", int64(-1))
	f.Fuzz(func(t *testing.T, lien, asset, amount, destination, nonce, holder string, expires int64) {
		d := keymgmt.Discharge{Lien: lien, Asset: asset, Amount: amount, Destination: destination, Nonce: nonce, Expires: time.Unix(expires, 0), Holder: holder, Signature: good.Signature}
		r := with(request, d)
		_, err := p.Decide(r, m, facts())
		same := d.Expires.Equal(good.Expires) && d.Lien == good.Lien && asset == good.Asset && amount == good.Amount && destination == good.Destination && nonce == good.Nonce && holder == good.Holder
		if (r.Validate() == nil && err == nil) != same {
			t.Fatalf("%+v: %v, %v", d, r.Validate(), err)
		}
	})
}
