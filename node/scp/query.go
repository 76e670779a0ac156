package scp

import (
	"slices"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// ID returns this node's id.
func (n *Node) ID() NodeID { return n.id }

// Slots returns the slots that are known, ascending.
func (n *Node) Slots() []uint64 {
	out := make([]uint64, len(n.slots))
	for i, s := range n.slots {
		out[i] = s.index
	}
	return out
}

// Latest returns what the other nodes said last about a slot, nominations first, in order of nodes. It is what a node
// that asks for the state of the slot is sent, along with this node's own signed statements, which its caller keeps.
func (n *Node) Latest(slot uint64) (out []xdr.ScpEnvelope) {
	s := n.find(slot)
	if s == nil {
		return nil
	}
	for _, r := range []*record{&s.nomination.latest, &s.balloting.latest} {
		for _, e := range r.entries {
			if e.st.node != n.id {
				out = append(out, e.envelope)
			}
		}
	}
	return out
}

// Proof returns what others said about a slot that agrees with what was decided, nothing before that: who hears it can
// decide too, if they are of his quorum set.
func (n *Node) Proof(slot uint64) (out []xdr.ScpEnvelope) {
	s := n.find(slot)
	if s == nil || s.balloting.phase != Externalized {
		return nil
	}
	for _, e := range s.balloting.latest.entries {
		if e.st.node != n.id && e.st.b.x == s.balloting.c.x {
			out = append(out, e.envelope)
		}
	}
	return out
}

// Own returns what this node sent last about a slot: its nomination, then its ballot statement, as far as there are any.
// It is what is sent again to those who may have missed it.
func (n *Node) Own(slot uint64) (out []xdr.ScpStatement) {
	s := n.find(slot)
	if s == nil || !s.voting {
		return nil
	}
	for _, st := range []*statement{s.nomination.last, s.balloting.sent} {
		if st != nil {
			out = append(out, st.xdr())
		}
	}
	return out
}

// Phase returns how far a slot has come, 0 for one that is not known.
func (n *Node) Phase(slot uint64) Phase {
	if s := n.find(slot); s != nil {
		return s.balloting.phase
	}
	return 0
}

// Decided returns the value decided for a slot, nil before that.
func (n *Node) Decided(slot uint64) xdr.Value {
	if s := n.find(slot); s != nil && s.balloting.phase == Externalized {
		return xdr.Value(s.balloting.c.x)
	}
	return nil
}

// HeardOfBlocking reports whether a v-blocking set takes part in a slot: the network is there, and a node that is not
// should hurry.
func (n *Node) HeardOfBlocking(slot uint64) bool {
	s := n.find(slot)
	return s != nil && s.blocking
}

// IsBlocking reports whether these nodes are v-blocking for this one.
func (n *Node) IsBlocking(nodes []NodeID) bool { return n.local.IsBlocked(setOf(nodes).has) }

// IsQuorum reports whether there is a quorum for this node among these nodes, by the quorum sets that they named in what
// they said last about a slot. This node's own set is the one it has now.
func (n *Node) IsQuorum(slot uint64, nodes []NodeID) bool {
	s := n.find(slot)
	if s == nil {
		return false
	}
	r := record{}
	for _, id := range nodes {
		e := s.balloting.latest.of(id)
		if e == nil {
			e = s.nomination.latest.of(id)
		}
		if id == n.id {
			e = &entry{st: &statement{node: id}, set: n.local}
		}
		if e != nil {
			r.put(e)
		}
	}
	return r.quorum(n.local, func(*statement) bool { return true })
}

// speakers are all nodes that said anything about the slot.
func (s *slot) speakers() []NodeID {
	var out []NodeID
	for _, r := range []*record{&s.nomination.latest, &s.balloting.latest} {
		for _, e := range r.entries {
			out = append(out, e.st.node)
		}
	}
	slices.SortFunc(out, NodeID.Compare)
	return slices.Compact(out)
}
