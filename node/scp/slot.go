package scp

import (
	"fmt"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// slot is what a node knows and does about one slot.
type slot struct {
	node       *Node
	index      uint64
	nomination nomination
	balloting  balloting
	voting     bool    // what this node says about the slot may be sent
	blocking   bool    // a v-blocking set was heard of
	out        *Output // of the step under way
	decided    string  // by the step under way
	fault      error   // why it can't go on
}

func newSlot(n *Node, index uint64) *slot {
	s := &slot{node: n, index: index, voting: n.validator}
	s.nomination.slot, s.balloting.slot = s, s
	s.balloting.phase = Preparing
	return s
}

// step runs one input and collects what it leads to. The decision comes last: what is applied has been persisted.
func (s *slot) step(run func() Verdict) (Output, error) {
	if s.fault != nil {
		return Output{Verdict: Ignored}, s.fault
	}
	var out Output
	s.out, s.decided = &out, ""
	out.Verdict = run()
	if s.decided != "" {
		s.stop(&s.nomination.timer, NominationTimer)
		s.do(Decide{Slot: s.index, Value: xdr.Value(s.decided)})
	}
	s.out = nil
	return out, s.fault
}

func (s *slot) do(e Effect) { s.out.Effects = append(s.out.Effects, e) }

// fail puts an end to the slot. Only the first reason is kept.
func (s *slot) fail(format string, args ...any) {
	if s.fault == nil {
		s.fault = fmt.Errorf("%w: slot %d: %s", ErrFault, s.index, fmt.Sprintf(format, args...))
	}
}

// process takes in what a node said, which may be this one.
func (s *slot) process(e *entry, own bool) Verdict {
	var v Verdict
	if e.st.kind == kindNominate {
		v = s.nomination.process(e)
	} else {
		v = s.balloting.process(e, own)
	}
	if v == Accepted && !s.blocking {
		s.blocking = s.node.local.IsBlocked(func(id NodeID) bool {
			return s.balloting.latest.of(id) != nil || s.nomination.latest.of(id) != nil
		})
	}
	return v
}

// say makes this node's own statement and takes it in like anybody's. It reports false if that can't be.
func (s *slot) say(st *statement) bool {
	st.node, st.slot, st.quorumSet = s.node.id, s.index, s.node.localHash
	e := &entry{st: st, set: s.node.local, envelope: xdr.ScpEnvelope{Statement: st.xdr()}}
	if st.kind == kindExternalize {
		e.set = nil
	}
	if !st.sane(true) || s.process(e, true) != Accepted {
		s.fail("own statement refused: %s", describe(st, nil))
	}
	return s.fault == nil
}

// set and stop keep a timer and tell what changed. Which timers run is state: an Expire of another one is stale.
func (s *slot) set(running *bool, t Timer, round uint32) {
	timeout := s.node.nomination
	if t == BallotTimer {
		timeout = s.node.ballot
	}
	*running = true
	s.do(SetTimer{Slot: s.index, Timer: t, After: timeout.Of(round)})
}

func (s *slot) stop(running *bool, t Timer) {
	if *running {
		*running = false
		s.do(StopTimer{Slot: s.index, Timer: t})
	}
}

func (s *slot) validate(x string, nomination bool) Validity {
	return s.node.app.Validate(s.index, xdr.Value(x), nomination)
}
