package scp

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// infinity is the counter of those who need no further ballots.
const infinity = math.MaxUint32

// ballot is an attempt to agree on a value. Ballots are ordered by counter, then by value. Values are kept as strings, so
// that ballots can be compared and nobody changes one under our hands.
type ballot struct {
	n uint32
	x string
}

func (a ballot) compare(b ballot) int {
	return cmp.Or(cmp.Compare(a.n, b.n), strings.Compare(a.x, b.x))
}

// within reports whether a is at or below b with the same value: who prepared b has prepared a.
func (a ballot) within(b ballot) bool { return a.x == b.x && a.n <= b.n }

// against reports whether a is below b with another value: who prepared b has given a up.
func (a ballot) against(b ballot) bool { return a.x != b.x && a.compare(b) < 0 }

// comparePossible orders ballots that may be missing, which come first.
func comparePossible(a, b *ballot) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return a.compare(*b)
}

// descending sorts ballots, highest first, and drops repetitions.
func descending(bs []ballot) []ballot {
	slices.SortFunc(bs, func(a, b ballot) int { return b.compare(a) })
	return slices.Compact(bs)
}

func (a ballot) xdr() xdr.ScpBallot {
	return xdr.ScpBallot{Counter: xdr.Uint32(a.n), Value: xdr.Value(a.x)}
}

func possible(b *ballot) *xdr.ScpBallot {
	if b == nil {
		return nil
	}
	x := b.xdr()
	return &x
}

func ballotOf(b xdr.ScpBallot) ballot { return ballot{uint32(b.Counter), string(b.Value)} }

func possibleOf(b *xdr.ScpBallot) *ballot {
	if b == nil {
		return nil
	}
	x := ballotOf(*b)
	return &x
}
