package policy_test

import (
	"errors"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

func (b *bank) simulate(lists ...[]byte) *policy.Simulation {
	b.t.Helper()
	file, err := policy.Marshal(b.file)
	if err != nil {
		b.t.Fatal(err)
	}
	s, err := policy.Simulate(file, lists...)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func past(r keymgmt.Request, at time.Time) policy.Past {
	return policy.Past{Key: r.Key, Kind: r.Kind, Body: r.Body, Ref: r.Ref, Initiator: r.Initiator, Consents: r.Consents, Caller: gateway, At: at, Policy: 1}
}

// numbered asks for a payment with a sequence number and a ref of its own.
func (b *bank) numbered(ref string, sequence int64, amount string) keymgmt.Request {
	p := b.params(b.setup.Publics.Issuing, b.pay(amount))
	p.Sequence = sequence
	r := b.transaction(issuing, p)
	r.Ref = ref
	return r
}

// TestSimulation: what new rules would have changed, with the limits as they would have been used up.
func TestSimulation(t *testing.T) {
	b := newBank(t)
	all := withOfficers(t, b)
	approved := b.numbered("approved", 1, "500")
	approved.Consents = all.approve(t, approved, 1, "alice", "carol", "dan")
	b.file.Version = 9 // approvals were given under version 1
	b.file.ValidUntil = policy.DateOf(now.Add(-time.Hour))
	s := b.simulate()
	for _, tt := range []struct {
		name string
		r    keymgmt.Request
		at   time.Duration
		rule string
	}{
		{"approved", approved, 0, ""},
		{"not approved", b.numbered("two", 2, "500"), 0, "transaction.approval"},
		{"small", b.numbered("three", 3, "100"), 0, ""},
		{"for the same number", b.numbered("four", 3, "99"), 0, ""},
		{"over a transaction's limit", b.numbered("five", 5, "1001"), 0, "transaction.limit.per_transaction"},
	} {
		err := s.Decide(past(tt.r, now.Add(tt.at)))
		var denial *policy.Denial
		if errors.As(err, &denial) != (tt.rule != "") || denial != nil && denial.Rule != tt.rule || tt.rule == "" && err != nil {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.rule)
		}
	}
	b.rule(issuing).Transaction.Approvals = nil
	b.rule(issuing).Transaction.Limits[0].Windows = policy.Day(quantity(t, "250"))
	s = b.simulate()
	for i, want := range []bool{true, true, false, true, true} { // 100 and 100; a third is over; the first again, for the same number; a day later
		number, at := int64(i), now
		if i == 3 {
			number = 0
		}
		if i == 4 {
			at = now.Add(25 * time.Hour)
		}
		r := b.numbered(string(rune('a'+i)), number+1, "100")
		if err := s.Decide(past(r, at)); (err == nil) != want {
			t.Errorf("request %d: %v", i, err)
		}
	}
}

// TestSimulationWithoutAChangeAgrees: under the rules that allowed it, everything is allowed again.
func TestSimulationWithoutAChangeAgrees(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBank(t)
		p, s := load(t, b.file), b.simulate()
		accounts := []protocol.AccountID{b.other, b.setup.Publics.Issuing}
		f := facts()
		for i := range rapid.IntRange(1, 12).Draw(rt, "requests") {
			r := drawRequest(rt, b, accounts)
			r.Ref = string(rune('a' + i))
			m, err := payload.Decode(r.Kind, r.Body)
			if err != nil {
				rt.Fatal(err)
			}
			a, err := p.Decide(r, m, f)
			if again := s.Decide(past(r, now)); (again == nil) != (err == nil) {
				rt.Fatalf("request %d: %v, simulated %v", i, err, again)
			}
			if err != nil {
				continue
			}
			f.Holder = &policy.Holder{Reserved: map[policy.Counter]*big.Int{}} // all have the same sequence number
			for _, res := range a.Reservations() {
				f.Holder.Reserved[res.Counter] = res.Amount
			}
		}
	})
}

func TestSimulationTakesLists(t *testing.T) {
	b, d := newBank(t), newDeciders(t, 3)
	withSuppliers(b, d)
	file, err := policy.Marshal(b.file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Simulate(file); !errors.Is(err, policy.ErrInvalid) {
		t.Errorf("without the list: %v", err)
	}
	r := b.by(issuing, b.pay("1"))
	for entry, good := range map[string]bool{b.other.String(): true, newAccount(t).String(): false} {
		text, err := policy.MarshalList(list("suppliers", 1, entry))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.simulate(text).Decide(past(r, now)); (err == nil) != good {
			t.Errorf("%s: %v", entry, err)
		}
	}
}
