package payload

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrContradiction is wrapped by every reason why a validator may not sign a statement after another one.
var ErrContradiction = errors.New("payload: statement contradicts one that was signed")

func contradiction(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrContradiction, fmt.Sprintf(format, args...))
}

// Nominates reports whether s is about values, not ballots. These are two series that do not depend on each other: a
// validator goes on nominating in a slot while it votes on ballots there. Whoever keeps a high-water mark of a validator
// must keep two, the newest statement of each series, and ask of a new one that it is After both.
func (s Statement) Nominates() bool { return s.Pledge != nil && s.Pledge.rank() == 0 }

// After reports, as a nil error, that the validator may sign s although it has signed previous: s is the same once more,
// or of a later slot, or of the other series in the same slot, or newer in the order of the protocol, and takes nothing
// back. Beyond the order, which is all that other validators look at, these hold:
//
//   - what is accepted as prepared stays so;
//   - a vote to commit stands until something that excludes it is accepted as prepared;
//   - what is accepted as committed is not what was accepted as excluded, and is never another value again.
//
// The zero Statement is no statement; nothing is after it.
func (s Statement) After(previous Statement) error {
	switch {
	case s.Pledge == nil || previous.Pledge == nil:
		return contradiction("one of them says nothing")
	case s.Network != previous.Network || s.Node != previous.Node:
		return contradiction("one is by %s on network %s, the other by %s on network %s", s.Node, s.Network, previous.Node, previous.Network)
	case s.Slot < previous.Slot:
		return contradiction("slot %d is over, slot %d was signed for", s.Slot, previous.Slot)
	case s.Slot > previous.Slot || s.raw == previous.raw || s.Nominates() != previous.Nominates():
		return nil
	case s.Nominates():
		return s.Pledge.(*Nominate).after(previous.Pledge.(*Nominate))
	case s.Pledge.rank() < previous.Pledge.rank():
		return contradiction("slot %d is past statements of this type", s.Slot)
	}
	switch p := s.Pledge.(type) {
	case *Prepare:
		return p.after(previous.Pledge.(*Prepare))
	case *Confirm:
		return p.after(previous.Pledge)
	case *Externalize:
		return p.after(previous.Pledge)
	}
	return contradiction("statement of type %T", s.Pledge)
}

func (n *Nominate) after(old *Nominate) error {
	if !holdsAll(n.Votes, old.Votes) || !holdsAll(n.Accepted, old.Accepted) {
		return contradiction("a value is not nominated any more")
	}
	if len(n.Votes) == len(old.Votes) && len(n.Accepted) == len(old.Accepted) {
		return contradiction("nothing more is nominated")
	}
	return nil
}

func holdsAll(values, old []Value) bool {
	return !slices.ContainsFunc(old, func(o Value) bool {
		return !slices.ContainsFunc(values, func(v Value) bool { return v.raw == o.raw })
	})
}

func (p *Prepare) after(old *Prepare) error {
	prepared, prime := compare(p.Prepared, old.Prepared), compare(p.PreparedPrime, old.PreparedPrime)
	order := cmp.Or(compare(&p.Ballot, &old.Ballot), prepared, prime, cmp.Compare(p.NH, old.NH), cmp.Compare(p.NC, old.NC))
	switch {
	case order <= 0:
		return contradiction("a newer ballot, or more of it, was voted for")
	case prepared < 0 || prime < 0:
		return contradiction("a ballot is not accepted as prepared any more")
	case old.NC != 0 && !p.commits(old) && !p.excludes(Ballot{old.NH, old.Ballot.Value}):
		return contradiction("ballots %d to %d of value %s were voted to be committed", old.NC, old.NH, old.Ballot.Value.Hash())
	}
	return nil
}

// commits reports whether the vote to commit of old stands.
func (p *Prepare) commits(old *Prepare) bool {
	return p.NC != 0 && p.NH >= old.NH && p.Ballot.Value.raw == old.Ballot.Value.raw
}

// excludes reports whether b can't be committed if what p accepts as prepared is.
func (p *Prepare) excludes(b Ballot) bool {
	return b.abortedBy(p.Prepared) || b.abortedBy(p.PreparedPrime)
}

func (c *Confirm) after(previous Pledge) error {
	old, ok := previous.(*Confirm)
	if !ok {
		return decides(Ballot{c.NCommit, c.Ballot.Value}, previous)
	}
	order := cmp.Or(cmp.Compare(c.Ballot.Counter, old.Ballot.Counter), cmp.Compare(c.NPrepared, old.NPrepared), cmp.Compare(c.NH, old.NH))
	switch {
	case c.Ballot.Value.raw != old.Ballot.Value.raw:
		return contradiction("value %s was accepted as committed", old.Ballot.Value.Hash())
	case order <= 0:
		return contradiction("as much, or more, was accepted as committed")
	case c.NPrepared < old.NPrepared || c.NH < old.NH:
		return contradiction("a ballot is not accepted any more")
	}
	return nil
}

func (e *Externalize) after(previous Pledge) error { return decides(e.Commit, previous) }

// decides checks the first statement of its type that commits b.
func decides(b Ballot, previous Pledge) error {
	switch old := previous.(type) {
	case *Prepare:
		if old.excludes(b) {
			return contradiction("%s was excluded by what was accepted as prepared", b)
		}
		return nil
	case *Confirm:
		if b.Value.raw == old.Ballot.Value.raw {
			return nil
		}
		return contradiction("value %s was accepted as committed", old.Ballot.Value.Hash())
	}
	return contradiction("the slot is decided")
}

// compare orders ballots by counter, then by value; none is less than any.
func compare(a, b *Ballot) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return cmp.Or(cmp.Compare(a.Counter, b.Counter), strings.Compare(a.Value.raw, b.Value.raw))
}

// abortedBy reports whether preparing p excludes that b is ever committed: p is not less, and of another value.
func (b Ballot) abortedBy(p *Ballot) bool {
	return p != nil && b.Value.raw != p.Value.raw && compare(&b, p) <= 0
}
