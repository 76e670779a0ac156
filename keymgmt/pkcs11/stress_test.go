package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
)

// Many callers sign while the sessions are closed behind the pool's back and the token goes away and comes back. No
// wrong signature comes out, no key is ever called unknown, and everything works in the end.
func TestStress(t *testing.T) {
	const callers, rounds, between = 16, 12, 60
	one, two := keytest.Key(t, "one"), keytest.Key(t, "two")
	ring, setup := newRing(t, one, two)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var signed, refused atomic.Int64
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				id := one
				if (c+n)%2 == 0 {
					id = two
				}
				err := trySign(ctx, ring, id, fmt.Appendf(nil, "caller %d message %d", c, n))
				switch {
				case err == nil:
					signed.Add(1)
				case ctx.Err() != nil:
				case errors.Is(err, keymgmt.ErrUnavailable):
					refused.Add(1)
				default:
					t.Errorf("caller %d: %v", c, err)
					stop()
				}
			}
		})
	}
	for round := range rounds {
		more(ctx, t, &signed, between)
		closeBehind(t, ring)
		more(ctx, t, &signed, between)
		if round%3 == 0 {
			bringBack := takeAway(t, setup)
			more(ctx, t, &refused, between)
			bringBack()
		}
	}
	more(ctx, t, &signed, between)
	stop()
	wg.Wait()
	mustSign(t, ring, one)
	mustSign(t, ring, two)
	if s := ring.Stats(); s.Mismatches != 0 || s.Idle > ring.cfg.MaxSessions {
		t.Errorf("stats: %+v", s)
	}
	t.Logf("%d signed, %d refused, %+v", signed.Load(), refused.Load(), ring.Stats())
}

// closeBehind closes all sessions as another part of the process could, but between calls and not during one: SoftHSM
// frees a closed session at once, and a call in flight on it takes the process down. That is why the keyring itself
// closes sessions only while it holds the same lock.
func closeBehind(t *testing.T, ring *Keyring) {
	t.Helper()
	ring.login.Lock()
	defer ring.login.Unlock()
	if ring.epoch == nil {
		return
	}
	if err := ring.lib.ctx.CloseAllSessions(ring.epoch.slot); err != nil {
		t.Error(err)
	}
}

// more waits until the counter has grown by n.
func more(ctx context.Context, t *testing.T, counter *atomic.Int64, n int64) {
	t.Helper()
	want := counter.Load() + n
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for counter.Load() < want {
		select {
		case <-ctx.Done():
			t.Fatal("stopped")
		case <-deadline:
			t.Fatalf("counter at %d, want %d", counter.Load(), want)
		case <-tick.C:
		}
	}
}

var benchMessage = make([]byte, 32)

// BenchmarkBare is the device's own speed: one session, nothing looked up, nothing verified.
func BenchmarkBare(b *testing.B) {
	id := keytest.Key(b, "one")
	ring, _ := newRing(b, id)
	s, private := bareSession(b, ring, id)
	for b.Loop() {
		if _, err := ring.lib.sign(s, private, benchMessage); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareParallel is the same with a session for each processor.
func BenchmarkBareParallel(b *testing.B) {
	id := keytest.Key(b, "one")
	ring, _ := newRing(b, id)
	b.RunParallel(func(pb *testing.PB) {
		s, private := bareSession(b, ring, id)
		for pb.Next() {
			if _, err := ring.lib.sign(s, private, benchMessage); err != nil {
				b.Error(err)
			}
		}
	})
}

func bareSession(b *testing.B, ring *Keyring, id keymgmt.KeyID) (session, key) {
	public, err := ring.Public(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	s, err := ring.lib.openSession(ring.epoch.slot, 0)
	if err != nil {
		b.Fatal(err)
	}
	found, err := ring.lib.search(s, labelled(p11.CKO_PRIVATE_KEY, id.String()), 2)
	if err != nil || len(found) != 1 {
		b.Fatal(found, err)
	}
	return s, key{private: found[0], public: public}
}

// BenchmarkKeyring is the same signature through the pool, verified.
func BenchmarkKeyring(b *testing.B) {
	id := keytest.Key(b, "one")
	ring, _ := newRing(b, id)
	for b.Loop() {
		if _, err := ring.sign(b.Context(), id, benchMessage); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKeyringParallel is the same from all processors.
func BenchmarkKeyringParallel(b *testing.B) {
	id := keytest.Key(b, "one")
	ring, _ := newRing(b, id)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := ring.sign(b.Context(), id, benchMessage); err != nil {
				b.Error(err)
			}
		}
	})
}
