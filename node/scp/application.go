package scp

import "github.com/stellar/go-stellar-sdk/xdr"

// Application is what the Node asks of the program around it. Every method must be deterministic: the same question gets
// the same answer for as long as a slot is open, except that a value may become more valid (as its transaction set
// arrives) and a quorum set may become known. None may call back into the Node.
type Application interface {
	// Validate says what this node thinks of a value for a slot. Nomination is true while it is only being proposed,
	// when an application may be stricter.
	Validate(slot uint64, value xdr.Value, nomination bool) Validity
	// Extract makes a value that this node finds valid of one that it does not, nil if there is none.
	Extract(slot uint64, value xdr.Value) xdr.Value
	// Combine makes one valid value of all candidates, which come sorted and without duplicates. Every node must make
	// the same of the same.
	Combine(slot uint64, candidates []xdr.Value) xdr.Value
	// QuorumSet returns the quorum set with this hash, nil if it is not known yet.
	QuorumSet(hash xdr.Hash) *xdr.ScpQuorumSet
	// Hash ranks nodes and values in nomination. Applications return d.Sum(); tests may stand in.
	Hash(d Draw) uint64
}

// Validity is what an application thinks of a value.
type Validity int

// How valid a value is. A statement with an invalid value in it is ignored. One whose value may be valid, in the eyes of
// a node that is not at this slot yet, is followed, but the node sends nothing of its own for that slot any more.
const (
	_ Validity = iota
	Invalid
	Maybe
	Valid
)
