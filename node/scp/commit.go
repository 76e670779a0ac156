package scp

import "slices"

// bounds returns, ascending, the counters at which somebody's range of counters for committing x begins or ends. Nothing
// changes in between.
func (b *balloting) bounds(x string) []uint32 {
	var out []uint32
	for _, e := range b.latest.entries {
		st := e.st
		if st.b.x != x || st.kind == kindPrepare && st.c == 0 {
			continue
		}
		out = append(out, st.c, st.h)
		if st.kind == kindExternalize {
			out = append(out, infinity)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// widest returns the range for which ok holds whose upper end is the highest, and its lower end then the lowest. Its lower
// end is 0 if there is none.
func widest(bounds []uint32, ok func(counters) bool) counters {
	var found counters
	for _, n := range slices.Backward(bounds) {
		try := counters{n, found.high}
		if found.low == 0 {
			try.high = n
		}
		if ok(try) {
			found = try
		} else if found.low != 0 {
			break
		}
	}
	return found
}

// acceptCommit accepts that ballots with the value of hint are committed. The first time, the value is settled for good.
func (b *balloting) acceptCommit(hint *statement) bool {
	if b.phase == Externalized || hint.kind == kindPrepare && hint.c == 0 {
		return false
	}
	x := hint.b.x
	if b.phase == Confirming && x != b.h.x {
		return false
	}
	found := widest(b.bounds(x), func(at counters) bool {
		return b.slot.accepts(&b.latest,
			func(st *statement) bool { return st.votesCommit(x, at) },
			func(st *statement) bool { return st.acceptsCommit(x, at) })
	})
	if found.low == 0 || b.phase == Confirming && found.high <= b.h.n {
		return false
	}
	return b.setAcceptCommit(ballot{found.low, x}, ballot{found.high, x})
}

// setAcceptCommit moves on to Confirming, or to higher ballots in it.
func (b *balloting) setAcceptCommit(c, h ballot) bool {
	if b.phase == Preparing {
		p := b.preparedWith(h.x)
		if p == nil {
			return false // only ill-behaved nodes commit what was never prepared
		}
		b.phase, b.p, b.pp = Confirming, p, nil
		if b.b != nil && !h.within(*b.b) { // the counter may even fall: a CONFIRM is newer than any PREPARE
			b.heard = b.heard && b.b.n == h.n
			b.b = &h
		}
	}
	b.locked, b.c, b.h = h.x, &c, &h
	b.raise(h)
	b.announce()
	return true
}

// preparedWith returns the highest ballot with value x that was accepted as prepared.
func (b *balloting) preparedWith(x string) *ballot {
	for _, p := range []*ballot{b.p, b.pp} {
		if p != nil && p.x == x {
			return p
		}
	}
	return nil
}

// confirmCommit decides, if ballots with the locked value are confirmed committed.
func (b *balloting) confirmCommit(hint *statement) bool {
	if b.phase != Confirming || hint.kind == kindPrepare || hint.b.x != b.c.x {
		return false
	}
	x := hint.b.x
	found := widest(b.bounds(x), func(at counters) bool {
		return b.slot.confirms(&b.latest, func(st *statement) bool { return st.acceptsCommit(x, at) })
	})
	if found.low == 0 {
		return false
	}
	if b.slot.validate(x, false) == Invalid {
		b.slot.fail("the network decides a value that is invalid here")
		return false
	}
	b.c, b.h = &ballot{found.low, x}, &ballot{found.high, x}
	b.raise(*b.h)
	b.phase = Externalized
	b.announce()
	b.slot.nomination.started = false
	b.slot.decided = x
	return true
}
