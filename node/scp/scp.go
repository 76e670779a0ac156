// Package scp is the Stellar Consensus Protocol as a pure machine: how validators that choose for themselves whom they
// trust agree on one value for each slot.
//
// A Node is one validator's side of it. Everything that happens to it is an Input given to Step, one at a time: an
// envelope of another validator, a value of its own to nominate, a timer that ran out. Everything it wants done is in
// the Output, in order: statements to persist and then sign and send, timers to set or stop, values decided. There is no
// clock, goroutine, network, randomness or key in here, and the same inputs always give the same outputs, so a whole
// network can be played in one test and replayed from a log.
//
// What only the application knows (is this value valid? what is the union of these candidates?) the Node asks of an
// Application. Signatures are checked before Step, by the caller, and so is whether the sender is worth listening to.
//
// Where things are: nomination.go and leaders.go choose a value to work on; balloting.go holds the state of the ballot
// protocol, prepare.go, commit.go and bump.go its transitions; voting.go is federated voting; statement.go says what
// each kind of statement means, in what order they come and which are sane; quorumset.go and quorum.go are the quorum
// sets. The behaviour is that of the deployed network; deploy/decisions/0017 lists where and why it differs. To add a
// case, write a script in testdata (script_test.go explains the directives).
package scp

import (
	"errors"
	"fmt"
	"sort"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// Errors of this package. ErrInput means that the caller asked for something that makes no sense and nothing has
// changed. ErrFault means that a slot can't go on: the application contradicted itself, or an invariant is broken. The
// slot is left as it is and answers every later input with the same error; a person has to look.
var (
	ErrInput     = errors.New("scp: bad input")
	ErrFault     = errors.New("scp: slot cannot go on")
	ErrQuorumSet = errors.New("scp: bad quorum set")
)

// Config is what a Node is made of.
type Config struct {
	ID         NodeID           // this node
	QuorumSet  xdr.ScpQuorumSet // whom it trusts; need not contain ID; put into normal form by New
	Validator  bool             // false: follows the network and decides, but never sends
	Nomination Timeout          // how long a nomination round lasts
	Ballot     Timeout          // how long a ballot lasts once a quorum is at it
}

// Node is one validator's side of the protocol. It is not safe for concurrent use: its owner steps it.
type Node struct {
	id         NodeID
	validator  bool
	local      *QuorumSet
	localHash  xdr.Hash
	nomination Timeout
	ballot     Timeout
	app        Application
	sets       map[xdr.Hash]*QuorumSet // read before; at most maxKnownSets
	slots      []*slot                 // ascending
	low, high  uint64                  // envelopes for other slots are ignored
}

// New makes a Node that knows nothing yet.
func New(c Config, app Application) (*Node, error) {
	if c.ID == (NodeID{}) || app == nil {
		return nil, fmt.Errorf("%w: a node needs an id and an application", ErrInput)
	}
	n := &Node{id: c.ID, validator: c.Validator, app: app, sets: map[xdr.Hash]*QuorumSet{}, high: ^uint64(0)}
	if err := n.SetTimeouts(c.Nomination, c.Ballot); err != nil {
		return nil, err
	}
	if err := n.SetQuorumSet(c.QuorumSet); err != nil {
		return nil, err
	}
	return n, nil
}

// Step takes one input and says what is to be done about it, in order. On an error nothing is to be done, except that
// after ErrFault what is in the Output had been decided on before.
func (n *Node) Step(in Input) (Output, error) {
	switch in := in.(type) {
	case Receive:
		return n.receive(in.Envelope)
	case Nominate:
		return n.nominate(in)
	case Bump:
		return n.bump(in)
	case Expire:
		return n.expire(in)
	}
	return Output{}, fmt.Errorf("%w: unknown kind %T", ErrInput, in)
}

// receive refuses what it can before a slot is touched, so that nonsense costs no memory.
func (n *Node) receive(env xdr.ScpEnvelope) (Output, error) {
	ignored := Output{Verdict: Ignored}
	st, ok := parse(env.Statement)
	if !ok || st.node == n.id || st.slot < n.low || st.slot > n.high || !st.sane(false) {
		return ignored, nil
	}
	e := &entry{st: st, envelope: env}
	if st.kind != kindExternalize { // its sender counts as {self}: nobody else's vote matters to it any more
		set, known := n.quorumSet(st.quorumSet)
		if !known {
			return Output{Verdict: Missing, MissingQuorumSet: st.quorumSet}, nil
		}
		if set == nil {
			return ignored, nil
		}
		e.set = set
	}
	s := n.slot(st.slot)
	return s.step(func() Verdict { return s.process(e, false) })
}

// maxKnownSets is how many quorum sets are kept once read. Which are kept makes no difference but to speed.
const maxKnownSets = 1000

// quorumSet returns the quorum set with a hash, nil if it is known not to be sane.
func (n *Node) quorumSet(hash xdr.Hash) (set *QuorumSet, known bool) {
	if set, known := n.sets[hash]; known {
		return set, true
	}
	q := n.app.QuorumSet(hash)
	if q == nil {
		return nil, false
	}
	set, err := ParseQuorumSet(*q)
	if err != nil {
		set = nil
	}
	if len(n.sets) >= maxKnownSets {
		clear(n.sets)
	}
	n.sets[hash] = set
	return set, true
}

func (n *Node) nominate(in Nominate) (Output, error) {
	if len(in.Previous) == 0 {
		return Output{}, fmt.Errorf("%w: nomination needs the value decided before", ErrInput)
	}
	if err := n.own(in.Slot, in.Value, true); err != nil {
		return Output{}, err
	}
	s := n.slot(in.Slot)
	return s.step(func() Verdict {
		s.nomination.nominate(string(in.Value), string(in.Previous), in.Insist)
		return Accepted
	})
}

func (n *Node) bump(in Bump) (Output, error) {
	if err := n.own(in.Slot, in.Value, false); err != nil {
		return Output{}, err
	}
	s := n.slot(in.Slot)
	return s.step(func() Verdict {
		s.balloting.bump(string(in.Value))
		return Accepted
	})
}

// own checks a value of our own before it enters a slot: once voted for it could not be taken back.
func (n *Node) own(slot uint64, value xdr.Value, nomination bool) error {
	if slot < n.low || slot > n.high {
		return fmt.Errorf("%w: slot %d is outside %d..%d", ErrInput, slot, n.low, n.high)
	}
	if len(value) == 0 || n.app.Validate(slot, value, nomination) == Invalid {
		return fmt.Errorf("%w: the value proposed for slot %d is invalid", ErrInput, slot)
	}
	return nil
}

func (n *Node) expire(in Expire) (Output, error) {
	s := n.find(in.Slot)
	if s == nil { // forgotten since
		return Output{Verdict: Ignored}, nil
	}
	switch in.Timer {
	case NominationTimer:
		return s.step(s.nomination.expire)
	case BallotTimer:
		return s.step(s.balloting.expire)
	}
	return Output{}, fmt.Errorf("%w: unknown timer %d", ErrInput, in.Timer)
}

// SetQuorumSet changes whom this node trusts, from the next input on. It is refused if it is not sane.
func (n *Node) SetQuorumSet(q xdr.ScpQuorumSet) error {
	if err := CheckQuorumSet(q); err != nil {
		return err
	}
	normal := NormalQuorumSet(q)
	set, err := ParseQuorumSet(normal)
	if err != nil {
		return err
	}
	n.local, n.localHash = set, HashQuorumSet(normal)
	return nil
}

// QuorumSet returns this node's quorum set, in normal form, and the hash that its statements carry.
func (n *Node) QuorumSet() (*QuorumSet, xdr.Hash) { return n.local, n.localHash }

// SetTimeouts changes how long rounds last, from the next timer on.
func (n *Node) SetTimeouts(nomination, ballot Timeout) error {
	if err := errors.Join(nomination.check(), ballot.check()); err != nil {
		return err
	}
	n.nomination, n.ballot = nomination, ballot
	return nil
}

// SetWindow forgets all slots outside low..high, except keep, and has later inputs for others than low..high ignored.
// Whoever runs a Node has to move the window, or strangers fill its memory with slots of their choosing.
func (n *Node) SetWindow(low, high, keep uint64) {
	n.low, n.high = low, high
	kept := n.slots[:0]
	for _, s := range n.slots {
		if s.index >= low && s.index <= high || s.index == keep {
			kept = append(kept, s)
		}
	}
	clear(n.slots[len(kept):])
	n.slots = kept
}

func (n *Node) at(index uint64) int {
	return sort.Search(len(n.slots), func(i int) bool { return n.slots[i].index >= index })
}

func (n *Node) find(index uint64) *slot {
	if i := n.at(index); i < len(n.slots) && n.slots[i].index == index {
		return n.slots[i]
	}
	return nil
}

// slot finds a slot or starts it.
func (n *Node) slot(index uint64) *slot {
	if s := n.find(index); s != nil {
		return s
	}
	i := n.at(index)
	n.slots = append(n.slots, nil)
	copy(n.slots[i+1:], n.slots[i:])
	n.slots[i] = newSlot(n, index)
	return n.slots[i]
}
