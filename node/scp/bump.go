package scp

import "slices"

// begin starts the ballot protocol on a value, unless it has started.
func (b *balloting) begin(x string) {
	if b.b == nil {
		b.bumpTo(1, x)
	}
}

// bump starts the ballot protocol on a value, or goes on to the next ballot. There is none after the last.
func (b *balloting) bump(x string) {
	if b.b == nil {
		b.bumpTo(1, x)
	} else if b.b.n < infinity {
		b.bumpTo(b.b.n+1, x)
	}
}

// abandon gives the current ballot up for the one with counter n. Its value is the locked one, or else what nomination
// makes of its candidates by now, or else the same as before.
func (b *balloting) abandon(n uint32) bool {
	x := b.slot.nomination.composite
	if x == "" && b.b != nil {
		x = b.b.x
	}
	return x != "" && b.bumpTo(n, x)
}

// expire abandons a ballot that a quorum has been working on for too long.
func (b *balloting) expire() Verdict {
	if !b.timer {
		return Ignored
	}
	b.timer = false
	b.expired++
	if b.b != nil && b.b.n < infinity {
		b.abandon(b.b.n + 1)
	}
	return Accepted
}

// bumpTo goes to the ballot with counter n.
func (b *balloting) bumpTo(n uint32, x string) bool {
	if b.phase == Externalized {
		return false
	}
	if b.locked != "" {
		x = b.locked
	}
	if b.c != nil && b.c.x != x {
		return false // it votes to commit another value
	}
	if !b.raise(ballot{n, x}) {
		return false
	}
	b.announce()
	b.listen()
	return true
}

// raise makes to the current ballot if it is higher.
func (b *balloting) raise(to ballot) bool {
	if b.b != nil && b.b.compare(to) >= 0 {
		return false
	}
	if b.b == nil || b.b.n != to.n {
		b.heard = false
	}
	b.b = &to
	if b.h != nil && b.h.x != to.x {
		b.h, b.c = nil, nil
	}
	return true
}

// ahead reports whether a v-blocking set is at counters above n. Those that have externalized are at all of them.
func (b *balloting) ahead(n uint32) bool {
	return b.latest.blocked(b.slot.node.local, func(st *statement) bool { return st.b.n > n })
}

// catchUp goes, without waiting for the timer, to the lowest counter at which no v-blocking set is ahead.
func (b *balloting) catchUp() bool {
	if b.phase == Externalized || b.slot.fault != nil {
		return false
	}
	var now uint32
	if b.b != nil {
		now = b.b.n
	}
	if !b.ahead(now) {
		return false
	}
	var above []uint32
	for _, e := range b.latest.entries {
		if e.st.b.n > now {
			above = append(above, e.st.b.n)
		}
	}
	slices.Sort(above)
	for _, n := range slices.Compact(above) {
		if !b.ahead(n) {
			return b.abandon(n)
		}
	}
	return false
}

// listen keeps the timer: it runs while a quorum is at this node's counter or above, from when that is first so. A node
// that is ahead of everybody waits.
func (b *balloting) listen() {
	if b.b == nil || b.slot.fault != nil {
		return
	}
	quorum := b.latest.quorum(b.slot.node.local, func(st *statement) bool {
		return st.kind != kindPrepare || st.b.n >= b.b.n
	})
	if quorum && !b.heard && b.phase != Externalized {
		b.slot.set(&b.timer, BallotTimer, b.b.n)
	}
	b.heard = quorum
	if !quorum || b.phase == Externalized {
		b.slot.stop(&b.timer, BallotTimer)
	}
}
