package service_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/node/protocol"
)

// TestExportIsWhatWasAllowed: the journal, read back, holds all that it takes to decide again: approvals, on whose word it
// was, and when it was first seen.
func TestExportIsWhatWasAllowed(t *testing.T) {
	r := newRig(t)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := protocol.AccountIDFromKey(public)
	if err != nil {
		t.Fatal(err)
	}
	rules := func(f *policy.File) {
		f.Officers = []policy.Officer{{Name: "carol", Public: policy.Ledger(id), Groups: []string{"treasury"}}}
		k := key(f, keyIssuing)
		k.Delays = []policy.DelayRule{{Above: &policy.Amount{Of: r.asset.String(), Amount: r.quantity("10")}, Wait: policy.Duration(time.Minute)}}
		k.Transaction.Approvals = []policy.ApprovalRule{{Above: &policy.Threshold{Asset: r.asset, Amount: r.quantity("10")}, Needs: []policy.Need{{Group: "treasury", Count: 1}}}}
	}
	r.clock.advance(time.Since(r.clock.now())) // the journal is written by the database's clock
	svc := r.openWith(rules)
	large := r.pay("large", "50", r.account(keyDistribution))
	large.Initiator = "erin"
	m, err := payload.Decode(large.Kind, large.Body)
	if err != nil {
		t.Fatal(err)
	}
	intent, err := policy.IntentOf(large, m, 1)
	if err != nil {
		t.Fatal(err)
	}
	consent, err := intent.Approve(keymgmt.Consent{Officer: "carol", Nonce: keymgmt.NewNonce(), Expires: r.clock.now().Add(time.Hour)}, private)
	if err != nil {
		t.Fatal(err)
	}
	large.Consents = []keymgmt.Consent{consent}
	if _, err := svc.For(gateway).Sign(t.Context(), large); !errors.Is(err, keymgmt.ErrNotYet) {
		t.Fatal(err)
	}
	seen := r.clock.now()
	r.clock.advance(time.Minute)
	for _, q := range []keymgmt.Request{large, r.pay("small", "5", r.account(keyDistribution)), checkpoint(1, 1), checkpoint(2, 2)} {
		if _, err := svc.For(gateway).Sign(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	var all []policy.Past
	if err := service.Export(t.Context(), r.db.Reader(), func(p policy.Past) error { all = append(all, p); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(all) != 4 || all[0].Ref != "large" || all[0].Initiator != "erin" || all[0].Caller != gateway || all[0].Policy != 1 || len(all[0].Consents) != 1 ||
		all[0].FirstSeen == nil || all[0].FirstSeen.Sub(seen).Abs() > time.Millisecond || all[1].FirstSeen != nil {
		t.Fatalf("%+v", all)
	}
	decide := func(change func(f *policy.File)) (refused []string) {
		f, err := r.setup.File()
		if err != nil {
			t.Fatal(err)
		}
		rules(&f)
		change(&f)
		file, err := policy.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		s, err := policy.Simulate(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			p.At = p.At.Add(time.Minute) // as the signer's clock in this test
			if err := s.Decide(p); err != nil {
				refused = append(refused, p.Ref+": "+err.Error())
			}
		}
		return refused
	}
	if refused := decide(func(*policy.File) {}); len(refused) > 0 {
		t.Errorf("by the same rules: %q", refused)
	}
	if refused := decide(func(f *policy.File) { key(f, keyIssuing).Delays[0].Wait = policy.Duration(5 * time.Minute) }); len(refused) != 1 {
		t.Errorf("with a longer delay: %q", refused)
	}
	if refused := decide(func(f *policy.File) { key(f, keyLog).Frozen = true }); len(refused) != 2 {
		t.Errorf("with a frozen log: %q", refused)
	}
}
