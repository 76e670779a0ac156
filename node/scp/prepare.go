package scp

// candidates returns the ballots, highest first, that hint may have made prepared: those that hint names, and those that
// others name below them.
func (b *balloting) candidates(hint *statement) []ballot {
	var named []ballot
	switch hint.kind {
	case kindPrepare:
		named = append(named, hint.b)
		for _, p := range []*ballot{hint.p, hint.pp} {
			if p != nil {
				named = append(named, *p)
			}
		}
	case kindConfirm:
		named = append(named, ballot{hint.prepared, hint.b.x}, ballot{infinity, hint.b.x})
	case kindExternalize:
		named = append(named, ballot{infinity, hint.b.x})
	}
	var found []ballot
	for _, top := range named {
		for _, e := range b.latest.entries {
			found = append(found, e.st.prepares(top)...)
		}
	}
	return descending(found)
}

// prepares returns the ballots at or below top that st votes for or accepts as prepared.
func (st *statement) prepares(top ballot) (out []ballot) {
	if st.kind != kindPrepare {
		if st.b.x == top.x {
			out = append(out, top)
			if st.kind == kindConfirm && st.prepared < top.n {
				out = append(out, ballot{st.prepared, top.x})
			}
		}
		return out
	}
	for _, p := range []*ballot{&st.b, st.p, st.pp} {
		if p != nil && p.within(top) {
			out = append(out, *p)
		}
	}
	return out
}

// acceptPrepared accepts the highest ballot that can be accepted as prepared and makes a difference.
func (b *balloting) acceptPrepared(hint *statement) bool {
	if b.phase == Externalized {
		return false
	}
	for _, x := range b.candidates(hint) {
		if x.x == "" { // of a node that has no ballot yet: this one
			continue
		}
		if b.phase == Confirming && !b.p.within(x) { // p only rises, on the value of c
			continue
		}
		if b.pp != nil && x.compare(*b.pp) <= 0 || b.p != nil && x.within(*b.p) {
			continue
		}
		if b.slot.accepts(&b.latest,
			func(st *statement) bool { return st.votesPrepare(x) },
			func(st *statement) bool { return st.acceptsPrepare(x) }) {
			return b.setPrepared(x)
		}
	}
	return false
}

// setPrepared notes that x is accepted as prepared. What this gives up is not voted to commit any more.
func (b *balloting) setPrepared(x ballot) bool {
	did := false
	switch {
	case b.p == nil:
		b.p, did = &x, true
	case b.p.compare(x) < 0:
		if b.p.x != x.x {
			b.pp = b.p
		}
		b.p, did = &x, true
	case b.p.x != x.x && (b.pp == nil || b.pp.compare(x) < 0):
		b.pp, did = &x, true
	}
	if b.c != nil && b.h != nil && b.phase == Preparing && b.givenUp(*b.h) {
		b.c, did = nil, true
	}
	if did {
		b.announce()
	}
	return did
}

// givenUp reports whether x has been given up by accepting as prepared something above it.
func (b *balloting) givenUp(x ballot) bool {
	return b.p != nil && x.against(*b.p) || b.pp != nil && x.against(*b.pp)
}

// confirmPrepared confirms the highest ballot that can be confirmed prepared: it becomes h. If nothing speaks against it,
// and this node is not past it, all from c to h is voted to be committed, with c as low as this node's own ballot lets it.
func (b *balloting) confirmPrepared(hint *statement) bool {
	if b.phase != Preparing || b.p == nil {
		return false
	}
	found := b.candidates(hint)
	i := 0
	for ; i < len(found); i++ {
		if b.h != nil && b.h.compare(found[i]) >= 0 {
			return false // it would not raise h, nor do those that follow
		}
		if b.preparedByQuorum(found[i]) {
			break
		}
	}
	if i == len(found) {
		return false
	}
	h := found[i]
	var c *ballot
	if b.c == nil && !b.givenUp(h) {
		for ; i < len(found); i++ {
			x := found[i]
			if b.b != nil && x.compare(*b.b) < 0 {
				break
			}
			if x.within(h) { // whoever prepared h has prepared it
				c = &x
			}
		}
	}
	return b.setConfirmPrepared(c, h)
}

func (b *balloting) preparedByQuorum(x ballot) bool {
	return b.slot.confirms(&b.latest, func(st *statement) bool { return st.acceptsPrepare(x) })
}

// setConfirmPrepared locks the value of h. On another ballot's value, h and c themselves have to wait for the next.
func (b *balloting) setConfirmPrepared(c *ballot, h ballot) bool {
	b.locked = h.x
	did := false
	if b.b == nil || b.b.x == h.x {
		if b.h == nil || h.compare(*b.h) > 0 {
			b.h, did = &h, true
		}
		if c != nil && c.n != 0 {
			b.c, did = c, true
		}
	}
	did = b.raise(h) || did
	if did {
		b.announce()
	}
	return did
}
