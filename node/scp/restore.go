package scp

import (
	"fmt"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// Restore takes back, after a restart and before anything else about its slot, what this node said last: its nomination,
// its ballot statement, or one after the other. It sends nothing, then or later, that is not newer. An EXTERNALIZE is
// decided again, since what was decided may not have been applied.
func (n *Node) Restore(own xdr.ScpStatement) (Output, error) {
	st, ok := parse(own)
	if !ok || st.node != n.id || !st.sane(false) || len(st.values()) == 0 && st.kind != kindNominate {
		return Output{}, fmt.Errorf("%w: not a statement of this node: %s", ErrInput, Describe(own, nil))
	}
	e := &entry{st: st, set: n.local, envelope: xdr.ScpEnvelope{Statement: own}}
	if st.kind == kindExternalize {
		e.set = nil
	} else if set, known := n.quorumSet(st.quorumSet); known && set != nil {
		e.set = set // it may have changed since
	}
	s := n.slot(st.slot)
	if st.kind == kindNominate && (s.nomination.started || s.nomination.last != nil) ||
		st.kind != kindNominate && s.balloting.b != nil {
		return Output{}, fmt.Errorf("%w: slot %d has started", ErrInput, st.slot)
	}
	return s.step(func() Verdict {
		if st.kind == kindNominate {
			s.nomination.restore(e)
		} else {
			s.balloting.restore(e)
		}
		return Accepted
	})
}

func (n *nomination) restore(e *entry) {
	n.latest.put(e)
	n.last, n.votes, n.accepted = e.st, e.st.votes, e.st.nominated
}

// restore also locks the value again: h is in a PREPARE only with the value of its ballot.
func (b *balloting) restore(e *entry) {
	st := e.st
	b.latest.put(e)
	b.last, b.sent = st, st
	b.b = &ballot{st.b.n, st.b.x}
	b.p, b.pp = st.p, st.pp
	if st.c != 0 {
		b.c = &ballot{st.c, st.b.x}
	}
	if st.h != 0 {
		b.h, b.locked = &ballot{st.h, st.b.x}, st.b.x
	}
	switch st.kind {
	case kindConfirm:
		b.phase, b.p = Confirming, &ballot{st.prepared, st.b.x}
		b.c, b.h, b.locked = &ballot{st.c, st.b.x}, &ballot{st.h, st.b.x}, st.b.x
	case kindExternalize:
		b.phase, b.p, b.slot.decided = Externalized, &ballot{infinity, st.b.x}, st.b.x
	}
}
