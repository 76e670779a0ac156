package scp

import (
	"fmt"
	"math"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// Input is one thing that happens to a Node: Receive, Nominate, Bump or Expire.
type Input interface{ input() }

// Receive hands in what another validator said. Its signature was checked by the caller. If the Verdict is Missing, find
// the quorum set and hand the same envelope in again. The Node keeps the envelope: it must not be changed afterwards.
type Receive struct{ Envelope xdr.ScpEnvelope }

// Nominate proposes a value for a slot. Previous is what was decided for the slot before: it seeds the choice of leaders.
// Proposing again starts the next round, with the new value. A node that leads votes for its own value only if it votes for
// nothing else yet, unless it insists: an application whose upgrades nobody wants has a plain value to offer after a few
// rounds that came to nothing.
type Nominate struct {
	Slot            uint64
	Value, Previous xdr.Value
	Insist          bool
}

// Bump starts the ballot protocol on a value, or abandons the ballot under way for the next one. Nomination and timers do
// this on their own; it is for an operator and for tests.
type Bump struct {
	Slot  uint64
	Value xdr.Value
}

// Expire says that a timer ran out. One that is not set is ignored.
type Expire struct {
	Slot  uint64
	Timer Timer
}

func (Receive) input()  {}
func (Nominate) input() {}
func (Bump) input()     {}
func (Expire) input()   {}

// Output is what is to be done about an input.
type Output struct {
	Verdict          Verdict
	MissingQuorumSet xdr.Hash // if the Verdict is Missing
	Effects          []Effect // in this order
}

// Verdict is what became of an input.
type Verdict int

// The verdicts. Only what was Accepted is worth passing on to other nodes.
const (
	_        Verdict = iota
	Accepted         // new, and taken into account
	Ignored          // stale, not sane, for a slot outside the window, or with an invalid value
	Missing          // its quorum set is not known
)

// Effect is one thing to do: Send, SetTimer, StopTimer or Decide.
type Effect interface{ effect() }

// Send asks to persist a statement of this node, then sign it, then send it. A node that sends what it has not persisted
// may contradict itself after a crash.
type Send struct{ Statement xdr.ScpStatement }

// SetTimer asks for an Expire after a while, in place of the one that this timer of this slot may be set for.
type SetTimer struct {
	Slot  uint64
	Timer Timer
	After time.Duration
}

// StopTimer takes SetTimer back.
type StopTimer struct {
	Slot  uint64
	Timer Timer
}

// Decide says that a value is decided for a slot, for good. It comes once for each slot, and after the statements that
// belong to it.
type Decide struct {
	Slot  uint64
	Value xdr.Value
}

func (Send) effect()      {}
func (SetTimer) effect()  {}
func (StopTimer) effect() {}
func (Decide) effect()    {}

// Timer is one of the two timers of a slot.
type Timer int

// The timers of a slot.
const (
	_ Timer = iota
	NominationTimer
	BallotTimer
)

// String names the timer.
func (t Timer) String() string {
	switch t {
	case NominationTimer:
		return "nomination"
	case BallotTimer:
		return "ballot"
	}
	return fmt.Sprintf("timer %d", int(t))
}

// maxTimeout is where rounds stop getting longer.
const maxTimeout = 30 * time.Minute

// Timeout says how long round n of something lasts: Initial + (n-1)*Increment, half an hour at most.
type Timeout struct{ Initial, Increment time.Duration }

// DefaultTimeout is what the network starts with, for nomination and ballots alike, until it votes for another.
var DefaultTimeout = Timeout{Initial: time.Second, Increment: time.Second}

func (t Timeout) check() error {
	if t.Initial <= 0 || t.Increment < 0 || t.Initial > maxTimeout || t.Increment > maxTimeout {
		return fmt.Errorf("%w: timeout %v + %v a round", ErrInput, t.Initial, t.Increment)
	}
	return nil
}

// Of returns the length of a round. Rounds count from 1.
func (t Timeout) Of(round uint32) time.Duration {
	more := time.Duration(round) - 1
	if more > 0 && t.Increment > math.MaxInt64/2/more {
		return maxTimeout
	}
	return min(t.Initial+more*t.Increment, maxTimeout)
}
