package scp

import "fmt"

// Broken says which of the things that always hold does not hold for a slot, nil if all do.
func (n *Node) Broken(index uint64) error {
	s := n.find(index)
	if s == nil {
		return nil
	}
	if s.fault != nil {
		return s.fault
	}
	b := &s.balloting
	at := func(what string) error { return fmt.Errorf("slot %d: %s: %+v", index, what, b) }
	switch {
	case b.p != nil && b.pp != nil && !b.pp.against(*b.p):
		return at("p' is not below p with another value")
	case b.c != nil && (b.h == nil || !b.c.within(*b.h)):
		return at("c is not within h")
	case b.h != nil && (b.b == nil || !b.h.within(*b.b)):
		return at("h is not within b")
	case b.c != nil && b.phase == Preparing && b.givenUp(*b.h):
		return at("votes to commit what it has given up")
	case b.phase != Preparing && (b.b == nil || b.p == nil || b.c == nil || b.h == nil || b.p.x != b.c.x || b.locked != b.c.x):
		return at("a ballot is missing, or of another value")
	case b.b != nil && b.b.n == 0:
		return at("b has no counter")
	case b.timer && (!b.heard || b.phase == Externalized):
		return at("the timer runs without a quorum")
	case b.depth != 0:
		return at("depth")
	}
	m := &s.nomination
	if !ascending(m.votes) || !contains(m.votes, m.accepted) || !contains(m.accepted, m.candidates) || m.timer && len(m.candidates) > 0 {
		return fmt.Errorf("slot %d: nomination: %+v", index, m)
	}
	return nil
}
