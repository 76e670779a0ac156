package service_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/node/protocol"
)

// TestOrders: any officer freezes a key or all of them, in every process at once and over a restart; a quorum thaws; an old
// order is worth nothing.
func TestOrders(t *testing.T) {
	r := newRig(t)
	officers := map[string]ed25519.PrivateKey{}
	cfg := r.config()
	cfg.Policy = r.policy(func(f *policy.File) {
		f.Thaw = []policy.Need{{Group: "board", Count: 2}}
		for _, name := range []string{"alice", "bob", "carol"} {
			public, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			id, err := protocol.AccountIDFromKey(public)
			if err != nil {
				t.Fatal(err)
			}
			groups := []string{"board"}
			if name == "carol" {
				groups = []string{"treasury"}
			}
			officers[name] = private
			f.Officers = append(f.Officers, policy.Officer{Name: name, Public: policy.Ledger(id), Groups: groups})
		}
	})
	open := func() *service.Service {
		svc, err := service.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return svc
	}
	first, second := open(), open()
	order := func(action keymgmt.Action, key string, by ...string) keymgmt.Order {
		o := keymgmt.Order{Action: action, Key: key, Nonce: keymgmt.NewNonce(), Issued: r.clock.now().Truncate(time.Second), Reason: "a test"}
		for _, name := range by {
			var err error
			if o, err = policy.SignOrder(o, name, officers[name]); err != nil {
				t.Fatal(err)
			}
		}
		return o
	}
	signs := func(svc *service.Service, want error) {
		t.Helper()
		if _, err := svc.For(gateway).Sign(t.Context(), r.pay(keymgmt.NewNonce(), "1", r.account(keyDistribution))); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	obey := func(o keymgmt.Order, want error) {
		t.Helper()
		if err := first.Order(t.Context(), gateway, o); !errors.Is(err, want) {
			t.Errorf("%s %s by %d: %v, want %v", o.Action, o.Key, len(o.Signers), err, want)
		}
	}
	before := r.pay("before", "1", r.account(keyDistribution))
	kept, err := first.For(gateway).Sign(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	freeze := order(keymgmt.Freeze, keyIssuing.String(), "carol")
	obey(freeze, nil)
	signs(first, keymgmt.ErrDenied)
	signs(second, keymgmt.ErrDenied)
	signs(open(), keymgmt.ErrDenied)
	if again, err := second.For(gateway).Sign(t.Context(), before); err != nil || string(again.Bytes) != string(kept.Bytes) {
		t.Errorf("what was signed before: %v", err)
	}
	if _, err := first.For(gateway).Sign(t.Context(), checkpoint(1, 1)); err != nil {
		t.Errorf("another key: %v", err)
	}
	obey(order(keymgmt.Thaw, keyIssuing.String(), "alice"), keymgmt.ErrApprovalNeeded)
	obey(order(keymgmt.Thaw, keyIssuing.String(), "alice", "carol"), keymgmt.ErrApprovalNeeded)
	obey(order(keymgmt.Thaw, keyIssuing.String(), "alice", "alice"), keymgmt.ErrDenied)
	thaw := order(keymgmt.Thaw, keyIssuing.String(), "alice", "bob")
	for name, change := range map[string]func(o *keymgmt.Order){
		"of another key": func(o *keymgmt.Order) { o.Key = keymgmt.EveryKey }, "with another nonce": func(o *keymgmt.Order) { o.Nonce = keymgmt.NewNonce() },
		"by a stranger": func(o *keymgmt.Order) { o.Signers[0].Officer = "mallory" }, "from the future": func(o *keymgmt.Order) { o.Issued = o.Issued.Add(time.Hour) },
		"with another reason": func(o *keymgmt.Order) { o.Reason = "another" },
	} {
		bent := thaw
		bent.Signers = append([]keymgmt.OrderSignature(nil), thaw.Signers...)
		change(&bent)
		if err := first.Order(t.Context(), gateway, bent); !errors.Is(err, keymgmt.ErrDenied) {
			t.Errorf("an order %s: %v", name, err)
		}
	}
	signs(first, keymgmt.ErrDenied)
	obey(thaw, nil)
	signs(second, nil)
	obey(order(keymgmt.Freeze, keymgmt.EveryKey, "bob"), nil)
	signs(first, keymgmt.ErrDenied)
	obey(thaw, keymgmt.ErrRefUsed) // it was good once
	signs(first, keymgmt.ErrDenied)
	obey(order(keymgmt.Thaw, keyIssuing.String(), "alice", "bob"), nil)
	signs(first, keymgmt.ErrDenied) // all keys are frozen still
	stale := order(keymgmt.Thaw, keymgmt.EveryKey, "alice", "bob")
	r.clock.advance(48 * time.Hour)
	obey(stale, keymgmt.ErrDenied)
	obey(order(keymgmt.Thaw, keymgmt.EveryKey, "alice", "bob"), nil)
	signs(second, nil)
}
