package scp

import (
	"slices"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// nomination finds values to work on: each node votes for what its leaders vote for, until some are confirmed. Sets of
// values are sorted.
type nomination struct {
	slot       *slot
	started    bool
	round      uint32
	value      string // what this node proposes
	previous   string // what was decided for the slot before
	leaders    []NodeID
	votes      []string
	accepted   []string
	candidates []string // confirmed; as soon as there is one no new value is voted for
	composite  string   // what the application makes of the candidates; "" without any
	latest     record
	last       *statement // of this node, the newest that may be sent
	timer      bool
	expired    int // rounds that ran out
}

// nominate starts the next round.
func (n *nomination) nominate(value, previous string, insist bool) {
	if len(n.candidates) > 0 || n.slot.balloting.phase == Externalized {
		return
	}
	n.started, n.value, n.previous = true, value, previous
	n.round++
	n.lead()
	updated := false
	for _, leader := range n.leaders {
		if e := n.latest.of(leader); e != nil {
			if v := n.pick(e.st); v != "" {
				n.votes, updated = with(n.votes, v), true
			}
		}
	}
	_, lead := slices.BinarySearchFunc(n.leaders, n.slot.node.id, NodeID.Compare)
	if lead && !has(n.votes, value) && (len(n.votes) == 0 || insist) {
		n.votes, updated = with(n.votes, value), true
	}
	n.slot.set(&n.timer, NominationTimer, n.round)
	if updated {
		n.announce()
	}
}

// expire ends a round that nominated nothing in time.
func (n *nomination) expire() Verdict {
	if !n.timer {
		return Ignored
	}
	n.timer = false
	n.expired++
	n.nominate(n.value, n.previous, false)
	return Accepted
}

// process takes in what a node nominates.
func (n *nomination) process(e *entry) Verdict {
	if !n.latest.fresh(e.st) {
		return Ignored
	}
	n.latest.put(e)
	if !n.started { // listens, but does not vote on a slot whose time has not come
		return Accepted
	}
	changed := n.accept(e.st)
	confirmed := n.confirm()
	_, leads := slices.BinarySearchFunc(n.leaders, e.st.node, NodeID.Compare)
	if len(n.candidates) == 0 && leads {
		if v := n.pick(e.st); v != "" {
			n.votes, changed = with(n.votes, v), true
		}
	}
	if changed {
		n.announce()
	}
	if confirmed && n.slot.fault == nil {
		n.combine()
	}
	return Accepted
}

// accept accepts those of the values voted for in st that can be.
func (n *nomination) accept(st *statement) (changed bool) {
	for _, v := range st.votes {
		if has(n.accepted, v) || !n.slot.accepts(&n.latest,
			func(o *statement) bool { return has(o.votes, v) },
			func(o *statement) bool { return has(o.nominated, v) }) {
			continue
		}
		if n.slot.validate(v, true) == Valid {
			n.accepted, n.votes, changed = with(n.accepted, v), with(n.votes, v), true
		} else if near := n.extract(v); near != "" && !has(n.votes, near) { // it got far: help with what is good in it
			n.votes, changed = with(n.votes, near), true
		}
	}
	return changed
}

// confirm makes accepted values candidates. The first one ends nomination: the timer stops.
func (n *nomination) confirm() (confirmed bool) {
	for _, v := range n.accepted {
		if !has(n.candidates, v) && n.slot.confirms(&n.latest, func(o *statement) bool { return has(o.nominated, v) }) {
			n.candidates, confirmed = with(n.candidates, v), true
			n.slot.stop(&n.timer, NominationTimer)
		}
	}
	return confirmed
}

// combine makes the composite value, and starts the ballot protocol on it unless that has started.
func (n *nomination) combine() {
	n.composite = string(n.slot.node.app.Combine(n.slot.index, valuesOf(n.candidates)))
	if n.composite == "" || n.slot.validate(n.composite, false) == Invalid {
		n.slot.fail("the application combines %d valid candidates into an invalid value", len(n.candidates))
		return
	}
	n.slot.balloting.begin(n.composite)
}

// pick chooses, of the values that a leader nominates, the one to vote for: the valid one with the highest draw that this
// node does not vote for yet, "" if there is none. What the leader only votes for is looked at if nothing it accepts is
// any good.
func (n *nomination) pick(st *statement) string {
	var best string
	var highest uint64
	good := false
	for _, values := range [][]string{st.nominated, st.votes} {
		for _, v := range values {
			if n.slot.validate(v, true) != Valid {
				v = n.extract(v)
			}
			if v == "" {
				continue
			}
			good = true
			if has(n.votes, v) {
				continue
			}
			draw := n.slot.node.app.Hash(Draw{Slot: n.slot.index, Previous: xdr.Value(n.previous), Kind: DrawValue,
				Round: n.round, Value: xdr.Value(v)})
			if draw >= highest {
				best, highest = v, draw
			}
		}
		if good {
			break
		}
	}
	return best
}

func (n *nomination) extract(v string) string {
	return string(n.slot.node.app.Extract(n.slot.index, xdr.Value(v)))
}

// announce takes in this node's own nomination and sends it. Taking it in may change it again, and may even start the
// ballot protocol: what follows from a statement is sent before it, and if that is a newer nomination it is sent instead.
func (n *nomination) announce() {
	st := &statement{kind: kindNominate, votes: n.votes, nominated: n.accepted}
	if !n.slot.say(st) || n.last != nil && !st.newer(n.last) {
		return
	}
	n.last = st
	if n.slot.voting {
		n.slot.do(Send{Statement: st.xdr()})
	}
}
