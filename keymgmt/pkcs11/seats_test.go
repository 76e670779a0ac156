package pkcs11

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt/keytest"
)

func TestSeats(t *testing.T) {
	const most = 3
	now := time.Unix(1000, 0)
	s := newSeats(most)
	want := func(places, taken int) {
		t.Helper()
		if p, n := s.counts(); p != places || n != taken {
			t.Fatalf("%d places, %d taken; want %d, %d", p, n, places, taken)
		}
	}
	full := func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		select {
		case <-s.free:
			s.free <- struct{}{}
			return false
		default:
			return errors.Is(s.take(ctx, now), context.Canceled)
		}
	}
	for range most {
		if err := s.take(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	want(most, most)
	if !full() {
		t.Fatal("a fourth place")
	}
	s.shrink(now)
	want(2, 3)
	s.leave(now) // the place that is gone
	want(2, 2)
	if !full() {
		t.Fatal("the place is still there")
	}
	for range 9 {
		s.shrink(now)
	}
	want(1, 2)
	s.leave(now)
	want(1, 1)
	s.leave(now)
	want(1, 0)
	for n := range most {
		want(min(1+n, most), 0)
		now = now.Add(growEvery)
		if err := s.take(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		s.leave(now)
	}
	want(most, 0)
	s.shrink(now) // nobody has one to give back, so the next one to come does
	if err := s.take(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	s.leave(now)
	want(most-1, 0)
}

// A token with room for fewer sessions than there are callers serves them all, by fewer at a time.
func TestPoolShrinksToTheRoomThereIs(t *testing.T) {
	const room, callers, each = 4, 16, 20 // sessions, one of them for the login
	id := keytest.Key(t, "one")
	ring, _ := newRing(t, id)
	mustSign(t, ring, id)
	var mu sync.Mutex
	open := 1 + ring.Stats().Idle
	faults(ring, func(call string) error {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case call == "C_OpenSession" && open >= room:
			return p11.Error(p11.CKR_SESSION_COUNT)
		case call == "C_OpenSession":
			open++
		case call == "C_CloseSession":
			open--
		}
		return nil
	})
	errs := make(chan error, callers)
	for range callers {
		go func() {
			for range each {
				if err := trySign(t.Context(), ring, id, []byte("x")); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range callers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	s := ring.Stats()
	if s.Places >= ring.cfg.MaxSessions || s.Shrinks == 0 || s.InUse != 0 || s.Idle > s.Places {
		t.Errorf("%+v", s)
	}
}
