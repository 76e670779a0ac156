package scp

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// The limits of a quorum set.
const (
	maxNesting = 4    // inner sets within inner sets, below the outermost
	maxMembers = 1000 // nodes in all
)

// CheckQuorumSet says what is wrong with a quorum set, nil if it is sane: thresholds between 1 and the number of
// entries, no node twice at any level, inner sets nested at most four deep, 1 to 1000 nodes.
func CheckQuorumSet(q xdr.ScpQuorumSet) error { return checkQuorumSet(q, false) }

// CheckQuorumSetStrictly also asks that at every level the threshold be a majority, so that no two of the node's slices
// can do without each other. It is for one's own configuration; others may do as they like.
func CheckQuorumSetStrictly(q xdr.ScpQuorumSet) error { return checkQuorumSet(q, true) }

func checkQuorumSet(q xdr.ScpQuorumSet, strict bool) error {
	seen := map[NodeID]bool{}
	if err := checkLevel(q, 0, strict, seen); err != nil {
		return err
	}
	if len(seen) == 0 {
		return fmt.Errorf("%w: it has no nodes", ErrQuorumSet)
	}
	return nil
}

func checkLevel(q xdr.ScpQuorumSet, depth int, strict bool, seen map[NodeID]bool) error {
	if depth > maxNesting {
		return fmt.Errorf("%w: nested more than %d deep", ErrQuorumSet, maxNesting)
	}
	entries := uint64(len(q.Validators) + len(q.InnerSets))
	threshold := uint64(q.Threshold)
	if threshold < 1 || threshold > entries {
		return fmt.Errorf("%w: threshold %d of %d entries", ErrQuorumSet, threshold, entries)
	}
	if strict && threshold < entries-threshold+1 {
		return fmt.Errorf("%w: threshold %d of %d entries is no majority", ErrQuorumSet, threshold, entries)
	}
	for _, v := range q.Validators {
		id, ok := NodeIDFromXDR(v)
		if !ok {
			return fmt.Errorf("%w: a member is no Ed25519 key", ErrQuorumSet)
		}
		if seen[id] {
			return fmt.Errorf("%w: %s is in it twice", ErrQuorumSet, id)
		}
		if seen[id] = true; len(seen) > maxMembers {
			return fmt.Errorf("%w: more than %d nodes", ErrQuorumSet, maxMembers)
		}
	}
	for _, inner := range q.InnerSets {
		if err := checkLevel(inner, depth+1, strict, seen); err != nil {
			return err
		}
	}
	return nil
}

// HashQuorumSet returns the hash by which statements name a quorum set.
func HashQuorumSet(q xdr.ScpQuorumSet) xdr.Hash {
	raw, err := q.MarshalBinary()
	if err != nil {
		panic("scp: a quorum set does not encode: " + err.Error())
	}
	return sha256.Sum256(raw)
}

// NormalQuorumSet returns the normal form of a quorum set: inner sets of one node are nodes, an outer set of one inner set
// is that set, and all is sorted. Sets that mean the same mostly get the same hash by it. Its argument is not changed.
func NormalQuorumSet(q xdr.ScpQuorumSet) xdr.ScpQuorumSet {
	q = simplify(q, nil)
	reorder(&q)
	return q
}

// WithoutNode returns the normal form of a quorum set with one node taken out wherever it is: what the others still have
// to do once that node agrees.
func WithoutNode(q xdr.ScpQuorumSet, id NodeID) xdr.ScpQuorumSet {
	q = simplify(q, &id)
	reorder(&q)
	return q
}

func simplify(q xdr.ScpQuorumSet, drop *NodeID) xdr.ScpQuorumSet {
	out := xdr.ScpQuorumSet{Threshold: q.Threshold}
	for _, v := range q.Validators {
		if id, ok := NodeIDFromXDR(v); drop != nil && ok && id == *drop {
			if out.Threshold > 0 {
				out.Threshold--
			}
			continue
		}
		out.Validators = append(out.Validators, v)
	}
	for _, inner := range q.InnerSets {
		inner = simplify(inner, drop)
		if inner.Threshold == 1 && len(inner.Validators) == 1 && len(inner.InnerSets) == 0 {
			out.Validators = append(out.Validators, inner.Validators[0])
		} else {
			out.InnerSets = append(out.InnerSets, inner)
		}
	}
	if out.Threshold == 1 && len(out.Validators) == 0 && len(out.InnerSets) == 1 {
		return out.InnerSets[0]
	}
	return out
}

// reorder sorts a set that simplify copied.
func reorder(q *xdr.ScpQuorumSet) {
	slices.SortFunc(q.Validators, compareKeys)
	for i := range q.InnerSets {
		reorder(&q.InnerSets[i])
	}
	slices.SortStableFunc(q.InnerSets, compareSets)
}

func compareKeys(a, b xdr.NodeId) int {
	x, _ := NodeIDFromXDR(a)
	y, _ := NodeIDFromXDR(b)
	return x.Compare(y)
}

// compareSets orders by validators, then inner sets, then threshold.
func compareSets(a, b xdr.ScpQuorumSet) int {
	if c := slices.CompareFunc(a.Validators, b.Validators, compareKeys); c != 0 {
		return c
	}
	if c := slices.CompareFunc(a.InnerSets, b.InnerSets, compareSets); c != 0 {
		return c
	}
	return int(int64(a.Threshold) - int64(b.Threshold))
}
