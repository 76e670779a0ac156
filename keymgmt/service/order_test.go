package service_test

import (
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/node/protocol"
)

// orderRig is a rig whose policy has officers: alice and bob of the board thaw together, carol of the treasury only freezes.
type orderRig struct {
	*rig
	officers map[string]ed25519.PrivateKey
	cfg      service.Config
	change   func(f *policy.File)
}

func newOrderRig(t *testing.T) *orderRig {
	r := &orderRig{rig: newRig(t), officers: map[string]ed25519.PrivateKey{}}
	var roster []policy.Officer
	for name, group := range map[string]string{"alice": "board", "bob": "board", "carol": "treasury"} {
		officer, private := newSignatory(t, name)
		r.officers[name] = private
		roster = append(roster, policy.Officer{Name: name, Public: officer.Public, Groups: []string{group}})
	}
	r.change = func(f *policy.File) {
		f.Thaw, f.Officers = []policy.Need{{Group: "board", Count: 2}}, roster
	}
	r.cfg = r.config()
	r.cfg.Policy = r.policy(r.change)
	return r
}

func (r *orderRig) open() *service.Service {
	r.t.Helper()
	svc, err := service.Open(r.t.Context(), r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return svc
}

// order is one that was issued now.
func (r *orderRig) order(action keymgmt.Action, key string, by ...string) keymgmt.Order {
	r.t.Helper()
	o := keymgmt.Order{Network: passphrase.NetworkID().String(), Action: action, Key: key, Nonce: keymgmt.NewNonce(), Issued: r.clock.now().Truncate(time.Second), Reason: "a test"}
	for _, name := range by {
		var err error
		if o, err = policy.SignOrder(o, name, r.officers[name]); err != nil {
			r.t.Fatal(err)
		}
	}
	return o
}

// frozen reports whether the issuing key is.
func (r *orderRig) frozen(svc *service.Service) bool {
	r.t.Helper()
	_, err := svc.For(gateway).Sign(r.t.Context(), r.pay(keymgmt.NewNonce(), "1", r.account(keyDistribution)))
	if err != nil && !errors.Is(err, keymgmt.ErrDenied) {
		r.t.Fatal(err)
	}
	return err != nil
}

// TestThawThatWasHeldBack: whoever delivers orders may keep one. What officers signed to end one freeze does not end the next.
func TestThawThatWasHeldBack(t *testing.T) {
	for name, key := range map[string]string{"one key": keyIssuing.String(), "every key": keymgmt.EveryKey} {
		t.Run(name, func(t *testing.T) {
			r := newOrderRig(t)
			svc := r.open()
			obey := func(o keymgmt.Order, want error) {
				t.Helper()
				if err := svc.Order(t.Context(), gateway, o); !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", o.Action, err, want)
				}
			}
			early := r.order(keymgmt.Freeze, key, "bob") // and this one is delivered late
			r.clock.advance(time.Minute)
			obey(r.order(keymgmt.Freeze, key, "carol"), nil)
			r.clock.advance(time.Minute)
			kept := r.order(keymgmt.Thaw, key, "alice", "bob") // "it was not taken, sign another one"
			again := r.order(keymgmt.Thaw, key, "alice", "bob")
			r.clock.advance(time.Minute)
			obey(r.order(keymgmt.Thaw, key, "alice", "bob"), nil)
			r.clock.advance(time.Hour)
			obey(r.order(keymgmt.Freeze, key, "carol"), nil)
			obey(kept, keymgmt.ErrDenied)
			if !r.frozen(svc) {
				t.Error("a thaw of the freeze before has ended this one")
			}
			obey(r.order(keymgmt.Thaw, key, "alice", "bob"), nil)
			obey(early, nil)
			obey(again, keymgmt.ErrDenied)
			if !r.frozen(svc) {
				t.Error("a thaw of long ago has ended a freeze that came late")
			}
			r.clock.advance(time.Second)
			obey(r.order(keymgmt.Thaw, key, "alice", "bob"), nil)
			if r.frozen(svc) {
				t.Error("it is frozen for ever")
			}
		})
	}
}

// TestThawByWhoWasDismissed: a process that was not started again since a newer policy was adopted, or whose policy is past,
// does not let those thaw who decide on nothing any more. It freezes still.
func TestThawByWhoWasDismissed(t *testing.T) {
	for name, outdate := range map[string]func(r *orderRig){
		"a newer policy": func(r *orderRig) {
			r.setup.Version++
			r.cfg.Policy = r.policy(func(f *policy.File) {
				r.change(f)
				f.Officers = slices.DeleteFunc(slices.Clone(f.Officers), func(o policy.Officer) bool { return o.Name == "bob" })
				f.Thaw = []policy.Need{{Group: "board", Count: 1}}
			})
			r.open()
		},
		"a policy that is past": func(r *orderRig) { r.clock.advance(2 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newOrderRig(t)
			change := r.change
			r.change = func(f *policy.File) {
				change(f)
				if f.Version == 1 {
					f.ValidUntil = policy.DateOf(r.clock.now().Add(time.Hour))
				}
			}
			r.cfg.Policy = r.policy(r.change)
			old := r.open()
			if err := old.Order(t.Context(), gateway, r.order(keymgmt.Freeze, keyIssuing.String(), "alice")); err != nil {
				t.Fatal(err)
			}
			outdate(r)
			if err := old.Order(t.Context(), gateway, r.order(keymgmt.Thaw, keyIssuing.String(), "alice", "bob")); !errors.Is(err, keymgmt.ErrUnavailable) {
				t.Errorf("thaw: %v", err)
			}
			if err := old.Order(t.Context(), gateway, r.order(keymgmt.Freeze, keymgmt.EveryKey, "alice")); err != nil {
				t.Errorf("freeze: %v", err)
			}
		})
	}
}

// TestOrders: any officer freezes a key or all of them, in every process at once and over a restart; a quorum thaws; an old
// order is worth nothing.
func TestOrders(t *testing.T) {
	r := newOrderRig(t)
	open, order := r.open, r.order
	first, second := open(), open()
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
		"of another network": func(o *keymgmt.Order) { o.Network = protocol.Passphrase("Another").NetworkID().String() },
		"of another key":     func(o *keymgmt.Order) { o.Key = keymgmt.EveryKey }, "with another nonce": func(o *keymgmt.Order) { o.Nonce = keymgmt.NewNonce() },
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
