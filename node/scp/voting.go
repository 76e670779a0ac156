package scp

import (
	"slices"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// entry is the latest that a node said, with the quorum set that its statement names: nil for EXTERNALIZE, whose sender
// counts as the quorum set of itself alone.
type entry struct {
	st       *statement
	set      *QuorumSet
	envelope xdr.ScpEnvelope
}

// record is the latest statement of each node, in order of nodes.
type record struct{ entries []*entry }

func (r *record) at(id NodeID) (int, bool) {
	return slices.BinarySearchFunc(r.entries, id, func(e *entry, id NodeID) int { return e.st.node.Compare(id) })
}

// of returns what a node said last, nil if nothing.
func (r *record) of(id NodeID) *entry {
	if i, found := r.at(id); found {
		return r.entries[i]
	}
	return nil
}

// fresh reports whether st is newer than what its node said before.
func (r *record) fresh(st *statement) bool {
	old := r.of(st.node)
	return old == nil || st.newer(old.st)
}

func (r *record) put(e *entry) {
	i, found := r.at(e.st.node)
	if found {
		r.entries[i] = e
	} else {
		r.entries = slices.Insert(r.entries, i, e)
	}
}

// accepts is the second of the three steps of federated voting: this node accepts what a v-blocking set accepts, or a
// quorum votes for or accepts.
func (s *slot) accepts(r *record, voted, accepted func(*statement) bool) bool {
	return r.blocked(s.node.local, accepted) ||
		r.quorum(s.node.local, func(st *statement) bool { return accepted(st) || voted(st) })
}

// confirms is the third: this node confirms what a quorum accepts.
func (s *slot) confirms(r *record, accepted func(*statement) bool) bool {
	return r.quorum(s.node.local, accepted)
}
