package scp

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// DrawKind is what a draw is about.
type DrawKind uint32

// The kinds of draws, with the numbers that the network hashes.
const (
	_             DrawKind = iota
	DrawNeighbour          // may this node lead in this round? if the draw is not above its weight
	DrawPriority           // of those that may, the highest leads
	DrawValue              // of a leader's values, the highest is voted for
)

// Draw is a question to chance that every node answers alike: all nodes that know the previous value get the same number,
// which nobody could know before.
type Draw struct {
	Slot     uint64
	Previous xdr.Value // decided for the slot before
	Kind     DrawKind
	Round    uint32
	Node     NodeID    // of a DrawNeighbour or DrawPriority
	Value    xdr.Value // of a DrawValue
}

// Sum is the number drawn: the first eight bytes of the SHA-256 of the XDR of the fields that matter.
func (d Draw) Sum() uint64 {
	h := sha256.New()
	enc := func(v uint64, size int) {
		var raw [8]byte
		binary.BigEndian.PutUint64(raw[:], v)
		h.Write(raw[8-size:])
	}
	opaque := func(v xdr.Value) {
		enc(uint64(len(v)), 4)
		h.Write(v)
		h.Write(make([]byte, (4-len(v)%4)%4))
	}
	enc(d.Slot, 8)
	opaque(d.Previous)
	enc(uint64(d.Kind), 4)
	enc(uint64(d.Round), 4)
	if d.Kind == DrawValue {
		opaque(d.Value)
	} else {
		enc(uint64(xdr.PublicKeyTypePublicKeyTypeEd25519), 4)
		h.Write(d.Node[:])
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// Weight is how often a node is in a slice of the set that was chosen at random, as a share of the largest uint64: the
// product of threshold over entries on the way down to it, rounded up at each level. It is 0 for a node that is not in it.
func (q *QuorumSet) Weight(id NodeID) uint64 {
	entries := uint64(len(q.nodes) + len(q.inner))
	if slices.Contains(q.nodes, id) {
		return share(math.MaxUint64, uint64(q.threshold), entries)
	}
	for _, inner := range q.inner {
		if w := inner.Weight(id); w > 0 {
			return share(w, uint64(q.threshold), entries)
		}
	}
	return 0
}

// share is m * part / of, rounded up. Part is not above of, so the result is not above m.
func share(m, part, of uint64) uint64 {
	high, low := bits.Mul64(m, part)
	quotient, rest := bits.Div64(high, low, of)
	if rest > 0 {
		quotient++
	}
	return quotient
}

// maxIdleRounds is how many rounds in a row may add no leader before nomination goes on with those it has. It takes a
// peer whose weight is next to nothing to get there.
const maxIdleRounds = 1000

// lead adds the leaders of the current round to those of the rounds before. A round that adds none would be waited for in
// vain: it is left at once for the next.
func (n *nomination) lead() {
	set := readQuorumSet(WithoutNode(n.slot.node.local.wire, n.slot.node.id))
	members := set.Nodes()
	all := 1 + len(members) // each has a weight, and this node the greatest
	for round := n.round; len(n.leaders) < all && round-n.round < maxIdleRounds; round++ {
		before := len(n.leaders)
		for _, id := range n.top(set, members, round) {
			if i, found := slices.BinarySearchFunc(n.leaders, id, NodeID.Compare); !found {
				n.leaders = slices.Insert(n.leaders, i, id)
			}
		}
		if len(n.leaders) > before {
			n.round = round
			return
		}
	}
}

// top returns the nodes with the highest priority in a round, none if nobody has any.
func (n *nomination) top(set *QuorumSet, members []NodeID, round uint32) []NodeID {
	self := n.slot.node.id
	var leaders []NodeID
	var highest uint64
	for _, id := range append([]NodeID{self}, members...) {
		w := uint64(math.MaxUint64)
		if id != self {
			w = set.Weight(id)
		}
		p := n.priority(id, w, round)
		if p > highest {
			highest, leaders = p, nil
		}
		if p == highest && p > 0 {
			leaders = append(leaders, id)
		}
	}
	return leaders
}

// priority is 0 for a node that is no neighbour in this round.
func (n *nomination) priority(id NodeID, weight uint64, round uint32) uint64 {
	d := Draw{Slot: n.slot.index, Previous: xdr.Value(n.previous), Kind: DrawNeighbour, Round: round, Node: id}
	if weight == 0 || n.slot.node.app.Hash(d) > weight {
		return 0
	}
	d.Kind = DrawPriority
	return n.slot.node.app.Hash(d)
}
