package policy_test

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// drawRequest draws a transaction of the distribution account out of few values, so that rules are hit and missed.
func drawRequest(rt *rapid.T, b *bank, accounts []protocol.AccountID) keymgmt.Request {
	var ops []txbuild.Operation
	for range rapid.IntRange(1, 4).Draw(rt, "operations") {
		to := rapid.SampledFrom(accounts).Draw(rt, "to")
		sum, err := protocol.AmountFromStroops(rapid.Int64Range(1, 1200_0000000).Draw(rt, "amount"))
		if err != nil {
			rt.Fatal(err)
		}
		switch rapid.IntRange(0, 3).Draw(rt, "operation") {
		case 0:
			ops = append(ops, txbuild.CreateAccount{Destination: to, StartingBalance: sum})
		case 1:
			ops = append(ops, txbuild.Payment{Destination: to, Asset: b.usd, Amount: sum})
		case 2:
			ops = append(ops, txbuild.Payment{Destination: to, Asset: protocol.Native(), Amount: sum})
		case 3:
			ops = append(ops, txbuild.ChangeTrust{Asset: b.usd, Limit: sum})
		}
	}
	return b.by(distribution, ops...)
}

// tighten makes the rules stricter in one way.
func tighten(rt *rapid.T, b *bank, accounts []protocol.AccountID) {
	rule := b.rule(distribution)
	tx := rule.Transaction
	less := func(q policy.Quantity) policy.Quantity {
		n, err := policy.ParseQuantity(rapid.SampledFrom([]string{"0", "0.0000100", "1", "5", "700"}).Draw(rt, "quantity"))
		if err != nil {
			rt.Fatal(err)
		}
		if new(big.Int).Sub(stroops(rt, q), stroops(rt, n)).Sign() < 0 {
			return q
		}
		return n
	}
	switch rapid.IntRange(0, 14).Draw(rt, "how") {
	case 10:
		tx.Liens = append(tx.Liens, policy.LienRule{ID: "loan-1", Holders: []policy.Signatory{newAttestor(b.t, "lender").Signatory}})
	case 11:
		issuer := b.rule(issuing).Transaction
		issuer.Reserves = []policy.ReserveRule{{Asset: b.usd, MaxAge: policy.Duration(time.Hour), Attestors: []policy.Signatory{newAttestor(b.t, "treasury").Signatory}}}
	case 0:
		b.file.DenyDestinations = append(b.file.DenyDestinations, rapid.SampledFrom(accounts).Draw(rt, "denied"))
	case 1:
		rule.Frozen = true
	case 2:
		tx.Limits[0].PerTransaction = less(tx.Limits[0].PerTransaction)
	case 3:
		tx.Limits[0].Windows[0].Max = less(tx.Limits[0].Windows[0].Max)
	case 4:
		tx.MaxFee = less(tx.MaxFee)
	case 5:
		tx.MaxOperations = rapid.IntRange(1, tx.MaxOperations).Draw(rt, "most")
	case 6:
		tx.CreateAccount = nil
	case 7:
		tx.Payments[0].Destinations = policy.Only(rapid.SampledFrom(accounts).Draw(rt, "only"))
	case 8:
		tx.ChangeTrust = nil
	case 9:
		tx.Limits = tx.Limits[:len(tx.Limits)-1]
	case 12:
		h, err := policy.ParseHours(rapid.SampledFrom([]string{"mon-fri 08:00-18:00", "sun 11:00-13:00"}).Draw(rt, "hours"))
		if err != nil {
			rt.Fatal(err)
		}
		rule.Hours = []policy.Hours{h}
	case 13:
		rule.Delays = append(rule.Delays, policy.DelayRule{Wait: policy.Duration(time.Minute)})
	case 14:
		b.file.ValidUntil = policy.DateOf(now.Add(time.Duration(rapid.IntRange(-60, 60).Draw(rt, "until")) * time.Minute))
	}
}

func stroops(rt *rapid.T, q policy.Quantity) *big.Int {
	digits := ""
	for _, r := range q.String() {
		if r != '.' {
			digits += string(r)
		}
	}
	n, ok := new(big.Int).SetString(digits, 10)
	if !ok {
		rt.Fatalf("quantity %s", q)
	}
	return n
}

func TestAddingADenyNeverAllowsMore(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBank(t)
		accounts := []protocol.AccountID{b.other, newAccount(t), b.setup.Publics.Issuing}
		r := drawRequest(rt, b, accounts)
		_, before := b.decide(r, facts())
		tighten(rt, b, accounts)
		if _, after := b.decide(r, facts()); before != nil && after == nil {
			rt.Fatalf("denied before (%v), allowed by stricter rules", before)
		}
	})
}

func TestReservationsNeverPassTheDay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBank(t)
		accounts := []protocol.AccountID{b.other, b.setup.Publics.Issuing}
		f, limit := facts(), map[policy.Counter]*big.Int{day(policy.FeeCounter): stroops(rt, b.rule(distribution).Transaction.FeeWindows[0].Max)}
		for _, l := range b.rule(distribution).Transaction.Limits {
			limit[day(l.Asset.String())] = stroops(rt, l.Windows[0].Max)
		}
		for range rapid.IntRange(1, 12).Draw(rt, "requests") {
			a, err := b.decide(drawRequest(rt, b, accounts), f)
			if err != nil {
				continue
			}
			for _, r := range a.Reservations() {
				if f.Spent[r.Counter] == nil {
					f.Spent[r.Counter] = new(big.Int)
				}
				f.Spent[r.Counter].Add(f.Spent[r.Counter], r.Amount)
				if limit[r.Counter] == nil || f.Spent[r.Counter].Cmp(limit[r.Counter]) > 0 {
					rt.Fatalf("%s of %s in a day, limit %s", f.Spent[r.Counter], r.Counter, limit[r.Counter])
				}
			}
		}
	})
}

func TestQuantityReadsWhatItWrites(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := rapid.StringMatching(`[0-9]{1,20}(\.[0-9]{1,7})?`).Draw(rt, "text")
		q, err := policy.ParseQuantity(s)
		if err != nil {
			rt.Fatal(err)
		}
		again, err := policy.ParseQuantity(q.String())
		if err != nil || again.String() != q.String() {
			rt.Fatalf("%s, %s, %v", q, again, err)
		}
	})
}
