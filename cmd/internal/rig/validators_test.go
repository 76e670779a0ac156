package rig_test

import (
	"errors"
	"testing"

	"github.com/diamante/gateway/cmd/internal/rig"
)

// TestValidatorsAway: a customer notices nothing when one of four validators is away. When two are, no ledger closes and readiness
// says so; when one of them returns everything goes on by itself, and the one that was away longest catches up.
func TestValidatorsAway(t *testing.T) {
	s := newSystem(t, 1)
	p := s.pairs[0]
	if err := s.Others[0].Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.round(t.Context(), p); err != nil {
		t.Fatalf("one away: %v", err)
	}
	two := away{name: "two validators", part: "node", begin: true,
		leave: func() error { s.Others[1].Kill(); return nil },
		back:  s.Others[1].Start}
	if err := s.stands(t.Context(), two); err != nil {
		t.Fatalf("two away: %v", err)
	}
	if err := s.round(t.Context(), p); err != nil {
		t.Fatalf("one back: %v", err)
	}
	// Now the network cannot do without the one that was away all the time.
	if err := errors.Join(s.Others[0].Start(t.Context()), s.Others[2].Stop()); err != nil {
		t.Fatal(err)
	}
	if err := s.round(t.Context(), p); err != nil {
		t.Fatalf("another away: %v", err)
	}
	if err := s.Others[2].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.Others) != rig.Validators-1 {
		t.Errorf("%d other validators", len(s.Others))
	}
	s.balanced(t)
}
