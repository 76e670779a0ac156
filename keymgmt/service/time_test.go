package service_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/node/protocol"
)

// openWith starts a signer with a changed policy.
func (r *rig) openWith(change func(f *policy.File)) *service.Service {
	r.t.Helper()
	cfg := r.config()
	cfg.Policy = r.policy(change)
	svc, err := service.Open(r.t.Context(), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return svc
}

func key(f *policy.File, id keymgmt.KeyID) *policy.Key {
	for i := range f.Keys {
		if f.Keys[i].ID == id {
			return &f.Keys[i]
		}
	}
	panic("service_test: no key " + id.String())
}

// TestDelayOutlivesTheSigner: when a request was first seen is in the journal, and only of exactly that request.
func TestDelayOutlivesTheSigner(t *testing.T) {
	r := newRig(t)
	delayed := func(f *policy.File) {
		key(f, keyIssuing).Delays = []policy.DelayRule{{Above: &policy.Amount{Of: r.asset.String(), Amount: r.quantity("10")}, Wait: policy.Duration(3 * time.Minute)}}
	}
	first := r.openWith(delayed)
	request, due := r.pay("tx/1", "50", r.account(keyDistribution)), r.clock.now().Add(3*time.Minute)
	_, err := first.For(gateway).Sign(t.Context(), request)
	if at, early := keymgmt.NotBefore(err); !early || !errors.Is(err, keymgmt.ErrNotYet) || !at.Equal(due) {
		t.Fatalf("%v, want to be asked again at %s", err, due)
	}
	if _, err := first.For(gateway).Sign(t.Context(), r.pay("tx/2", "5", r.account(keyDistribution))); err != nil {
		t.Errorf("not above: %v", err)
	}
	r.clock.advance(3*time.Minute - time.Second)
	second := r.openWith(delayed) // after a crash
	_, err = second.For(gateway).Sign(t.Context(), request)
	if at, early := keymgmt.NotBefore(err); !early || !at.Equal(due) {
		t.Fatalf("a second early: %v", err)
	}
	r.clock.advance(time.Second)
	other := r.pay("tx/1", "51", r.account(keyDistribution))
	if _, err := second.For(gateway).Sign(t.Context(), other); !errors.Is(err, keymgmt.ErrNotYet) {
		t.Errorf("another body under the ref that has lain: %v", err)
	}
	if _, err := second.For(gateway).Sign(t.Context(), request); err != nil {
		t.Errorf("in time: %v", err)
	}
	var records, rows int
	if r.query(&records, `SELECT count(*) FROM audit.record WHERE action = 'request.seen'`); records != 2 {
		t.Errorf("%d records", records)
	}
	if r.query(&rows, `SELECT count(*) FROM signer.seen`); rows != 2 {
		t.Errorf("%d rows", rows)
	}
	if err := r.exec(`UPDATE signer.seen SET at = at - interval '1 hour'`); err == nil || !strings.Contains(err.Error(), "append-only") {
		t.Errorf("an earlier time: %v", err)
	}
}

// TestBackdatedSighting: whoever has the role's password besides a client certificate cannot say that a request was seen long
// ago. It takes the machine's clock, since a rig's has nothing to do with the database's.
func TestBackdatedSighting(t *testing.T) {
	r := newRig(t)
	r.clock.advance(time.Since(r.clock.now()))
	cfg := r.config()
	cfg.Now = nil
	cfg.Policy = r.policy(func(f *policy.File) {
		key(f, keyIssuing).Delays = []policy.DelayRule{{Wait: policy.Duration(3 * time.Minute)}}
	})
	svc, err := service.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	request := r.pay("tx/1", "50", r.account(keyDistribution))
	hash := sha256.Sum256(append([]byte(request.Kind.String()+"\x00"), request.Body...))
	const insert = `INSERT INTO signer.seen (key, ref, sha256, at, caller) VALUES ($1, $2, $3, now() - interval '1 day', 'thief')`
	if err := r.asRole(insert, request.Key.String(), request.Ref, hash[:]); err != nil {
		t.Fatal(err)
	}
	_, err = svc.For(gateway).Sign(t.Context(), request)
	if at, early := keymgmt.NotBefore(err); !early || at.Before(time.Now().Add(2*time.Minute)) {
		t.Errorf("a request that a thief said was seen a day ago: %v", err)
	}
	for _, forged := range []string{"noted", "xid"} {
		if err := r.asRole(`INSERT INTO signer.seen (key, ref, sha256, at, caller, ` + forged + `) SELECT key, 'tx/2', sha256, at, caller, ` + forged + ` FROM signer.seen`); err == nil {
			t.Errorf("the role may say %s", forged)
		}
	}
}

// TestSightingsAreBounded: nobody fills the journal with requests that lie, or hides one among them.
func TestSightingsAreBounded(t *testing.T) {
	r := newRig(t)
	svc := r.openWith(func(f *policy.File) {
		key(f, keyIssuing).Delays = []policy.DelayRule{{Wait: policy.Duration(3 * time.Minute)}}
	})
	var last keymgmt.Request
	for i := range service.MaxSightings + 1 {
		last = r.pay(fmt.Sprintf("tx/%d", i), "1", r.account(keyDistribution))
		if _, err := svc.For(gateway).Sign(t.Context(), last); !errors.Is(err, keymgmt.ErrNotYet) {
			t.Fatal(err)
		}
	}
	var n int
	if r.query(&n, `SELECT count(*) FROM signer.seen`); n != service.MaxSightings {
		t.Errorf("%d noted", n)
	}
	r.clock.advance(3 * time.Minute)
	if _, err := svc.For(gateway).Sign(t.Context(), last); !errors.Is(err, keymgmt.ErrNotYet) {
		t.Errorf("what was not noted has lain: %v", err)
	}
}

// TestFreezingWhatIsBehindAFeeBump: officers who freeze a key stop others from paying for what it has signed.
func TestFreezingWhatIsBehindAFeeBump(t *testing.T) {
	r := newRig(t)
	svc := r.openWith(func(f *policy.File) {
		k := key(f, keyRoot)
		k.Transaction, k.FeeBump = nil, &policy.FeeBumpRule{MaxFee: r.quantity("1"), FeeWindows: policy.Day(r.quantity("2")), MaxSeconds: 600, Sources: policy.Anyone()}
	})
	pay := r.pay("tx/1", "5", r.account(keyDistribution))
	first, second := r.bump("bump/1", pay), r.bump("bump/2", pay)
	if _, err := svc.For(gateway).Sign(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	r.must(`INSERT INTO signer.orders (nonce, key, action, body) VALUES (repeat('0', 32), '` + keyIssuing.String() + `', 'freeze', '{}')`)
	if _, err := svc.For(gateway).Sign(t.Context(), second); !errors.Is(err, keymgmt.ErrDenied) || !strings.Contains(err.Error(), "frozen") {
		t.Errorf("error %v", err)
	}
	r.proved()
}

// TestFailingClosed: whatever the signer depends on is taken away, and nothing is signed, the caller is told that it may
// work later, and why, and health shows which part it is. What was there before works again.
func TestFailingClosed(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, part, why string
		take            func(r *rig) (give func())
	}{
		{"the journal takes no requests", "journal", "permission denied", sqlSwitch(`REVOKE INSERT ON signer.request FROM diamante_signer`, `GRANT INSERT ON signer.request TO diamante_signer`)},
		{"the audit log takes no records", "journal", "permission denied", sqlSwitch(`REVOKE INSERT ON audit.record FROM diamante_recorder`, `GRANT INSERT (id, at, action, body) ON audit.record TO diamante_recorder`)},
		{"the HSM is gone", "keyring", "unplugged", func(r *rig) func() { return r.soft.Break(errors.New("unplugged")) }},
		{"the policy is stale", "policy", "was valid until", func(r *rig) func() {
			r.clock.advance(2 * time.Hour)
			return func() { r.clock.advance(-2 * time.Hour) }
		}},
		{"the clock is behind the policy", "policy", "too early", func(r *rig) func() {
			r.clock.advance(-2 * time.Minute)
			return func() { r.clock.advance(2 * time.Minute) }
		}},
		{"the clock is behind the journal", "clock", "out of bounds", func(r *rig) func() {
			r.clock.advance(time.Minute)
			r.sign("tx/later")
			r.clock.advance(-service.MaxClockBack - time.Second)
			return func() { r.clock.advance(service.MaxClockBack + time.Second) }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.svc = r.openWith(func(f *policy.File) {
				f.ValidFrom, f.ValidUntil = policy.DateOf(start.Add(-time.Minute-30*time.Second)), policy.DateOf(start.Add(time.Hour))
			})
			r.sign("tx/1")
			r.healthy("")
			request := r.pay("tx/2", "1", r.account(keyDistribution))
			give := tt.take(r)
			r.keyring.mu.Lock()
			before := r.keyring.signed
			r.keyring.mu.Unlock()
			_, err := r.svc.For(gateway).Sign(t.Context(), request)
			if !errors.Is(err, keymgmt.ErrUnavailable) || errors.Is(err, keymgmt.ErrDenied) || !strings.Contains(err.Error(), tt.why) {
				t.Errorf("error %v, want one of %q", err, tt.why)
			}
			r.keyring.mu.Lock()
			if r.keyring.signed != before {
				t.Error("the key was used")
			}
			r.keyring.mu.Unlock()
			r.healthy(tt.part)
			give()
			r.sign("tx/3")
			r.healthy("")
		})
	}
}

func sqlSwitch(off, on string) func(r *rig) func() {
	return func(r *rig) func() {
		r.must(off)
		return func() { r.must(on) }
	}
}

// sign wants a signature of a small payment.
func (r *rig) sign(ref string) {
	r.t.Helper()
	if _, err := r.svc.For(gateway).Sign(r.t.Context(), r.pay(ref, "1", r.account(keyDistribution))); err != nil {
		r.t.Fatalf("%s: %v", ref, err)
	}
}

// healthy wants every part to work but the one named.
func (r *rig) healthy(but string) {
	r.t.Helper()
	parts := r.svc.Health(context.Background())
	for part, err := range parts {
		if (err != nil) != (part == but) {
			r.t.Errorf("health of %s: %v", part, err)
		}
	}
	if _, known := parts[but]; but != "" && !known {
		r.t.Errorf("health says nothing of %s", but)
	}
}

// bump asks to pay the fee of a transaction, as root.
func (r *rig) bump(ref string, inner keymgmt.Request) keymgmt.Request {
	r.t.Helper()
	body, err := feeBump(inner.Body, r.account(keyRoot), protocol.One/10)
	if err != nil {
		r.t.Fatal(err)
	}
	return keymgmt.Request{Key: keyRoot, Kind: keymgmt.KindTransaction, Body: body, Ref: ref}
}
