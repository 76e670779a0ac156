package scp

import (
	"cmp"
	"slices"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// kind is the kind of a statement. Ballot statements are ordered by it.
type kind int

const (
	_ kind = iota
	kindNominate
	kindPrepare
	kindConfirm
	kindExternalize
)

// statement is what a node says about a slot, read from the wire. What it says, in votes (V) and acceptances (A):
//
//	PREPARE      V prepare(b); A prepare(p), prepare(pp); V commit(n, b.x) for c <= n <= h if c is not 0
//	CONFIRM      V prepare(infinity, b.x); A prepare(prepared, b.x); V commit(n, b.x) for n >= c; A it for c <= n <= h
//	EXTERNALIZE  A prepare(infinity, b.x); A commit(n, b.x) for n >= c
//
// To accept or to vote for prepare(b) is to do so for all lower ballots with its value.
type statement struct {
	node             NodeID
	slot             uint64
	kind             kind
	quorumSet        xdr.Hash
	votes, nominated []string // NOMINATE: voted and accepted values
	b                ballot   // PREPARE, CONFIRM; EXTERNALIZE: infinity
	p, pp            *ballot  // PREPARE
	prepared         uint32   // CONFIRM
	c, h             uint32   // range of counters; for EXTERNALIZE c is the commit counter
}

// parse reads a statement. It is false for one that does not hold together as XDR, which a decoder would not have made.
func parse(x xdr.ScpStatement) (*statement, bool) {
	id, ok := NodeIDFromXDR(x.NodeId)
	st := &statement{node: id, slot: uint64(x.SlotIndex)}
	p := x.Pledges
	switch {
	case !ok:
		return nil, false
	case p.Type == xdr.ScpStatementTypeScpStNominate && p.Nominate != nil:
		st.kind, st.quorumSet = kindNominate, p.Nominate.QuorumSetHash
		st.votes, st.nominated = texts(p.Nominate.Votes), texts(p.Nominate.Accepted)
	case p.Type == xdr.ScpStatementTypeScpStPrepare && p.Prepare != nil:
		st.kind, st.quorumSet = kindPrepare, p.Prepare.QuorumSetHash
		st.b, st.p, st.pp = ballotOf(p.Prepare.Ballot), possibleOf(p.Prepare.Prepared), possibleOf(p.Prepare.PreparedPrime)
		st.c, st.h = uint32(p.Prepare.NC), uint32(p.Prepare.NH)
	case p.Type == xdr.ScpStatementTypeScpStConfirm && p.Confirm != nil:
		st.kind, st.quorumSet = kindConfirm, p.Confirm.QuorumSetHash
		st.b, st.prepared = ballotOf(p.Confirm.Ballot), uint32(p.Confirm.NPrepared)
		st.c, st.h = uint32(p.Confirm.NCommit), uint32(p.Confirm.NH)
	case p.Type == xdr.ScpStatementTypeScpStExternalize && p.Externalize != nil:
		st.kind, st.quorumSet = kindExternalize, p.Externalize.CommitQuorumSetHash
		st.b = ballot{infinity, string(p.Externalize.Commit.Value)}
		st.c, st.h = uint32(p.Externalize.Commit.Counter), uint32(p.Externalize.NH)
	default:
		return nil, false
	}
	return st, true
}

// xdr returns the wire form.
func (st *statement) xdr() xdr.ScpStatement {
	out := xdr.ScpStatement{NodeId: st.node.XDR(), SlotIndex: xdr.Uint64(st.slot)}
	c, h := xdr.Uint32(st.c), xdr.Uint32(st.h)
	switch st.kind {
	case kindNominate:
		out.Pledges = xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStNominate, Nominate: &xdr.ScpNomination{
			QuorumSetHash: st.quorumSet, Votes: valuesOf(st.votes), Accepted: valuesOf(st.nominated)}}
	case kindPrepare:
		out.Pledges = xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStPrepare, Prepare: &xdr.ScpStatementPrepare{
			QuorumSetHash: st.quorumSet, Ballot: st.b.xdr(), Prepared: possible(st.p), PreparedPrime: possible(st.pp), NC: c, NH: h}}
	case kindConfirm:
		out.Pledges = xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStConfirm, Confirm: &xdr.ScpStatementConfirm{
			QuorumSetHash: st.quorumSet, Ballot: st.b.xdr(), NPrepared: xdr.Uint32(st.prepared), NCommit: c, NH: h}}
	case kindExternalize:
		out.Pledges = xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStExternalize, Externalize: &xdr.ScpStatementExternalize{
			CommitQuorumSetHash: st.quorumSet, Commit: ballot{st.c, st.b.x}.xdr(), NH: h}}
	}
	return out
}

// sane reports whether a statement can come from a node that follows the protocol. Our own may be about ballots while we
// have none ourselves yet; such a one is kept for counting and never sent.
func (st *statement) sane(own bool) bool {
	switch st.kind {
	case kindNominate:
		return len(st.votes)+len(st.nominated) > 0 && ascending(st.votes) && ascending(st.nominated)
	case kindPrepare:
		return (own || st.b.n > 0) &&
			(st.p == nil || st.pp == nil || st.pp.against(*st.p)) &&
			(st.h == 0 || st.p != nil && st.h <= st.p.n) &&
			(st.c == 0 || st.c <= st.h && st.h <= st.b.n)
	case kindConfirm:
		return st.b.n > 0 && st.c <= st.h && st.h <= st.b.n
	case kindExternalize:
		return st.c > 0 && st.c <= st.h
	}
	return false
}

// newer reports whether st replaces old, which the same node said before about the same slot. Nominations only grow;
// ballot statements are in order of kind, ballot, what was accepted prepared, and h. Nothing replaces an EXTERNALIZE.
func (st *statement) newer(old *statement) bool {
	if st.kind == kindNominate || old.kind == kindNominate {
		return st.kind == old.kind && contains(st.votes, old.votes) && contains(st.nominated, old.nominated) &&
			len(st.votes)+len(st.nominated) > len(old.votes)+len(old.nominated)
	}
	if st.kind != old.kind || st.kind == kindExternalize {
		return st.kind > old.kind
	}
	return cmp.Or(
		st.b.compare(old.b),
		comparePossible(st.p, old.p),
		comparePossible(st.pp, old.pp),
		cmp.Compare(st.prepared, old.prepared),
		cmp.Compare(st.h, old.h)) > 0
}

// values returns the values of a ballot statement, each once.
func (st *statement) values() []string {
	var out []string
	if st.b.n != 0 {
		out = append(out, st.b.x)
	}
	for _, b := range []*ballot{st.p, st.pp} {
		if b != nil {
			out = append(out, b.x)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// votesPrepare reports whether st votes for prepare(b), or says more.
func (st *statement) votesPrepare(b ballot) bool {
	if st.kind == kindPrepare {
		return b.within(st.b)
	}
	return b.x == st.b.x
}

// acceptsPrepare reports whether st accepts prepare(b).
func (st *statement) acceptsPrepare(b ballot) bool {
	switch st.kind {
	case kindPrepare:
		return st.p != nil && b.within(*st.p) || st.pp != nil && b.within(*st.pp)
	case kindConfirm:
		return b.within(ballot{st.prepared, st.b.x})
	}
	return b.x == st.b.x
}

// counters is a range of ballot counters, both ends included.
type counters struct{ low, high uint32 }

// votesCommit reports whether st votes to commit x at all of these counters, or says more.
func (st *statement) votesCommit(x string, at counters) bool {
	if st.b.x != x {
		return false
	}
	if st.kind == kindPrepare {
		return st.c != 0 && st.c <= at.low && at.high <= st.h
	}
	return st.c <= at.low
}

// acceptsCommit reports whether st accepts to commit x at all of these counters.
func (st *statement) acceptsCommit(x string, at counters) bool {
	if st.b.x != x || st.kind == kindPrepare {
		return false
	}
	return st.c <= at.low && (st.kind == kindExternalize || at.high <= st.h)
}

// same reports whether two statements of one node say the same. The quorum set may differ: it can change under a
// statement, which then is not sent again, since it would be no newer.
func (st *statement) same(o *statement) bool {
	return st.kind == o.kind && st.b == o.b && comparePossible(st.p, o.p) == 0 && comparePossible(st.pp, o.pp) == 0 &&
		st.prepared == o.prepared && st.c == o.c && st.h == o.h &&
		slices.Equal(st.votes, o.votes) && slices.Equal(st.nominated, o.nominated)
}

// Sets of values are sorted slices without repetitions.

func ascending(vs []string) bool {
	for i := 1; i < len(vs); i++ {
		if vs[i-1] >= vs[i] {
			return false
		}
	}
	return true
}

func has(vs []string, v string) bool {
	_, found := slices.BinarySearch(vs, v)
	return found
}

func contains(all, some []string) bool {
	for _, v := range some {
		if !has(all, v) {
			return false
		}
	}
	return true
}

// with returns the set with v in it, as a new one: statements keep the old.
func with(vs []string, v string) []string {
	i, found := slices.BinarySearch(vs, v)
	if found {
		return vs
	}
	return slices.Insert(slices.Clone(vs), i, v)
}

func texts(vs []xdr.Value) []string {
	out := make([]string, len(vs))
	for i, v := range vs {
		out[i] = string(v)
	}
	return out
}

func valuesOf(vs []string) []xdr.Value {
	out := make([]xdr.Value, len(vs))
	for i, v := range vs {
		out[i] = xdr.Value(v)
	}
	return out
}
