package scp

import (
	"slices"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// QuorumSet is a sane quorum set, read once. It is not changed after it was made.
type QuorumSet struct {
	wire      xdr.ScpQuorumSet
	threshold int
	nodes     []NodeID
	inner     []*QuorumSet
}

// ParseQuorumSet reads a quorum set as it is, without putting it into normal form. It is refused if it is not sane.
func ParseQuorumSet(q xdr.ScpQuorumSet) (*QuorumSet, error) {
	if err := CheckQuorumSet(q); err != nil {
		return nil, err
	}
	return readQuorumSet(q), nil
}

func readQuorumSet(q xdr.ScpQuorumSet) *QuorumSet {
	out := &QuorumSet{wire: q, threshold: int(q.Threshold)}
	for _, v := range q.Validators {
		id, _ := NodeIDFromXDR(v)
		out.nodes = append(out.nodes, id)
	}
	for _, inner := range q.InnerSets {
		out.inner = append(out.inner, readQuorumSet(inner))
	}
	return out
}

// XDR returns the wire form.
func (q *QuorumSet) XDR() xdr.ScpQuorumSet { return q.wire }

// Nodes returns all nodes of the set, inner sets included, in the order of the wire form.
func (q *QuorumSet) Nodes() []NodeID {
	out := slices.Clone(q.nodes)
	for _, inner := range q.inner {
		out = append(out, inner.Nodes()...)
	}
	return out
}

// HasSlice reports whether the nodes for which in is true contain a slice: as many entries as the threshold asks for.
func (q *QuorumSet) HasSlice(in func(NodeID) bool) bool {
	return q.reach(q.threshold, in, (*QuorumSet).HasSlice)
}

// IsBlocked reports whether the nodes for which in is true meet every slice, so that nothing happens without them. A set
// with threshold 0, which is satisfied by nobody at all, is never blocked.
func (q *QuorumSet) IsBlocked(in func(NodeID) bool) bool {
	if q.threshold == 0 {
		return false
	}
	return q.reach(1+len(q.nodes)+len(q.inner)-q.threshold, in, (*QuorumSet).IsBlocked)
}

// reach reports whether at least want entries are in.
func (q *QuorumSet) reach(want int, in func(NodeID) bool, inner func(*QuorumSet, func(NodeID) bool) bool) bool {
	for _, id := range q.nodes {
		if in(id) {
			if want--; want <= 0 {
				return true
			}
		}
	}
	for _, set := range q.inner {
		if inner(set, in) {
			if want--; want <= 0 {
				return true
			}
		}
	}
	return false
}

// ClosestBlocking returns a small set of nodes, of those for which in is true, without which no slice is left; empty if none
// is left already. It says how many more failures a node can stand. The choice is greedy, level by level, and the node
// except, if any, is not chosen and does not count as failed.
func (q *QuorumSet) ClosestBlocking(in func(NodeID) bool, except *NodeID) []NodeID {
	left := 1 + len(q.nodes) + len(q.inner) - q.threshold
	var nodes []NodeID
	for _, id := range q.nodes {
		if except != nil && id == *except {
			continue
		}
		if in(id) {
			nodes = append(nodes, id)
		} else if left--; left <= 0 {
			return nil
		}
	}
	var inner [][]NodeID
	for _, set := range q.inner {
		if closest := set.ClosestBlocking(in, except); len(closest) > 0 {
			inner = append(inner, closest)
		} else if left--; left <= 0 {
			return nil
		}
	}
	nodes = nodes[:min(left, len(nodes))]
	slices.SortStableFunc(inner, func(a, b []NodeID) int { return len(a) - len(b) })
	for _, set := range inner[:min(left-len(nodes), len(inner))] {
		nodes = append(nodes, set...)
	}
	return nodes
}

// nodeSet is only ever asked, never walked: its order is not defined.
type nodeSet map[NodeID]bool

func (s nodeSet) has(id NodeID) bool { return s[id] }

func setOf(ids []NodeID) nodeSet {
	s := nodeSet{}
	for _, id := range ids {
		s[id] = true
	}
	return s
}

// quorum reports whether, of the statements that say so, enough come from nodes whose own slices are among them too that
// the local set has a slice: a quorum, with this node in it, that says so.
func (r *record) quorum(local *QuorumSet, says func(*statement) bool) bool {
	var left []*entry
	in := nodeSet{}
	for _, e := range r.entries {
		if says(e.st) {
			left, in[e.st.node] = append(left, e), true
		}
	}
	for local.HasSlice(in.has) { // without a slice now there is none later
		fed := map[*QuorumSet]bool{} // nodes of one mind about whom to trust are asked once a pass
		var stay []*entry
		for _, e := range left {
			ok, known := fed[e.set]
			if !known {
				ok = e.set == nil || e.set.HasSlice(in.has)
				fed[e.set] = ok
			}
			if ok {
				stay = append(stay, e)
			}
		}
		if len(stay) == len(left) {
			return true
		}
		left, in = stay, nodeSet{}
		for _, e := range left {
			in[e.st.node] = true
		}
	}
	return false
}

// blocked reports whether those whose statement says so block the local set.
func (r *record) blocked(local *QuorumSet, says func(*statement) bool) bool {
	return local.IsBlocked(func(id NodeID) bool {
		e := r.of(id)
		return e != nil && says(e.st)
	})
}
