package herder

import (
	"cmp"
	"container/heap"
	"math/bits"
	"slices"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// The rules of the queue, as the deployed network has them.
const (
	// QueueLedgers is how many full ledgers of operations the queue holds when no other limit is configured.
	QueueLedgers = 2
	// MaxAge is how many ledgers may close over a waiting transaction before it is dropped.
	MaxAge = 4
	// BanLedgers is for how many ledgers a dropped transaction is not taken again.
	BanLedgers = 10
	// ReplaceFactor is how many times the fee per operation of a waiting transaction a fee bump with the same source
	// and sequence number must bid to take its place.
	ReplaceFactor = 10
	// maxBannedPerLedger bounds the memory of the ban list; past it a dropped transaction may come back at once.
	maxBannedPerLedger = 10_000
)

// verdict is what the queue did with a transaction. Zero is invalid.
type verdict uint8

const (
	accepted verdict = iota + 1
	duplicate
	busy // the source has another transaction waiting, the queue is full of better ones, or it was dropped lately
)

// pending is a transaction that waits, with what the queue orders it by.
type pending struct {
	env     xdr.TransactionEnvelope
	hash    protocol.Hash
	source  protocol.AccountID // whose sequence number it uses
	payer   protocol.AccountID // who pays its fee: the source, or another one in a fee bump
	bump    bool
	seq     int64
	fee     int64
	ops     int
	age     int    // ledgers closed while it waited
	arrival uint64 // earlier goes first among equal bids
	index   int    // in the heap
}

// bidsLess reports whether a bids less for an operation than b times factor. The products are of 128 bits: a fee bump
// may bid up to 2^63-1.
func bidsLess(a, b *pending, factor uint64) bool {
	ah, al := bits.Mul64(uint64(a.fee), uint64(b.ops))
	bh, bl := bits.Mul64(uint64(b.fee), uint64(a.ops)*factor)
	return ah < bh || ah == bh && al < bl
}

// worse orders the queue: lower bids first, later arrivals first among equals.
func worse(a, b *pending) int {
	switch {
	case bidsLess(a, b, 1):
		return -1
	case bidsLess(b, a, 1):
		return 1
	}
	return cmp.Compare(b.arrival, a.arrival)
}

// queue holds the transactions that wait for a ledger: one for each source account, so that none depends on another,
// and no more operations than its limit. It knows nothing of validity; the herder checks before it adds. It is not safe
// for concurrent use.
type queue struct {
	maxOps   int
	ops      int
	arrivals uint64
	bySource map[protocol.AccountID]*pending
	owed     map[protocol.AccountID]int64 // fees bid by payer; never more than it has
	byHash   map[protocol.Hash]*pending
	lowest   worstFirst
	banned   [BanLedgers]map[protocol.Hash]struct{} // [0] is the ledger being waited for
}

func newQueue(maxOps int) *queue {
	q := &queue{maxOps: maxOps, bySource: map[protocol.AccountID]*pending{},
		owed: map[protocol.AccountID]int64{}, byHash: map[protocol.Hash]*pending{}}
	for i := range q.banned {
		q.banned[i] = map[protocol.Hash]struct{}{}
	}
	return q
}

// Len returns how many transactions wait.
func (q *queue) Len() int { return len(q.byHash) }

// holds reports whether a transaction waits.
func (q *queue) holds(h protocol.Hash) bool { return q.byHash[h] != nil }

// isBanned reports whether a transaction was dropped within the last BanLedgers ledgers.
func (q *queue) isBanned(h protocol.Hash) bool {
	for _, b := range q.banned {
		if _, yes := b[h]; yes {
			return true
		}
	}
	return false
}

// room says, without changing anything, what add would do with p. It is asked before the costly check of validity.
func (q *queue) room(p *pending) verdict {
	if q.holds(p.hash) {
		return duplicate
	}
	if q.isBanned(p.hash) || p.ops > q.maxOps {
		return busy
	}
	old := q.bySource[p.source]
	if old != nil && (!p.bump || old.seq != p.seq || bidsLess(p, old, ReplaceFactor)) {
		return busy
	}
	if _, ok := q.victims(p, old); !ok {
		return busy
	}
	return accepted
}

// owes returns what p's payer has bid for other transactions than p and the one that p would replace.
func (q *queue) owes(p *pending) int64 {
	owed := q.owed[p.payer]
	if old := q.bySource[p.source]; old != nil && old.payer == p.payer {
		owed -= old.fee
	}
	return owed
}

// add takes p if there is room, in place of the waiting one of its source or of the lowest bids where it must.
func (q *queue) add(p *pending) verdict {
	if v := q.room(p); v != accepted {
		return v
	}
	old := q.bySource[p.source]
	victims, _ := q.victims(p, old)
	if old != nil {
		q.remove(old)
	}
	for _, v := range victims {
		q.ban(v)
	}
	q.arrivals++
	p.arrival = q.arrivals
	q.bySource[p.source], q.byHash[p.hash] = p, p
	q.ops += p.ops
	q.owed[p.payer] += p.fee
	heap.Push(&q.lowest, p)
	return accepted
}

// victims returns who must go so that p fits after old has gone; false if somebody among them bids as much as p.
func (q *queue) victims(p, old *pending) ([]*pending, bool) {
	need := q.ops + p.ops - q.maxOps
	if old != nil {
		need -= old.ops
	}
	if need <= 0 {
		return nil, true
	}
	// The lowest are few: p has at most 101 operations. The heap is put back as it was.
	var taken, victims []*pending
	ok := true
	for need > 0 && ok && q.lowest.Len() > 0 {
		low := heap.Pop(&q.lowest).(*pending)
		taken = append(taken, low)
		if low == old {
			continue
		}
		if ok = bidsLess(low, p, 1); ok {
			victims, need = append(victims, low), need-low.ops
		}
	}
	for _, t := range taken {
		heap.Push(&q.lowest, t)
	}
	return victims, ok && need <= 0
}

func (q *queue) remove(p *pending) {
	delete(q.byHash, p.hash)
	delete(q.bySource, p.source)
	q.ops -= p.ops
	if q.owed[p.payer] -= p.fee; q.owed[p.payer] == 0 {
		delete(q.owed, p.payer)
	}
	heap.Remove(&q.lowest, p.index)
}

// ban drops p and remembers that.
func (q *queue) ban(p *pending) {
	q.remove(p)
	if len(q.banned[0]) < maxBannedPerLedger {
		q.banned[0][p.hash] = struct{}{}
	}
}

// best returns the highest bids that fit in maxOps operations, best first, and whether all that wait fit.
func (q *queue) best(maxOps int) (chosen []*pending, all bool) {
	sorted := slices.Clone(q.lowest)
	slices.SortFunc(sorted, func(a, b *pending) int { return worse(b, a) })
	ops := 0
	for _, p := range sorted {
		// A large transaction that does not fit leaves its place to smaller ones behind it, as in the deployed network.
		if ops+p.ops <= maxOps {
			chosen, ops = append(chosen, p), ops+p.ops
		}
	}
	return chosen, len(chosen) == len(sorted)
}

// closed tells the queue that a ledger closed with these transactions. What waited too long, and what valid now
// refuses, is dropped and banned. The lowest bids are asked about first, so that they go first if a payer has become
// unable to pay for all.
func (q *queue) closed(applied []protocol.Hash, valid func(*pending) bool) {
	copy(q.banned[1:], q.banned[:BanLedgers-1])
	q.banned[0] = map[protocol.Hash]struct{}{}
	for _, h := range applied {
		if p := q.byHash[h]; p != nil {
			q.remove(p)
		}
	}
	for _, p := range slices.SortedFunc(slices.Values(q.lowest), worse) {
		if p.age++; p.age >= MaxAge || !valid(p) {
			q.ban(p)
		}
	}
}

// worstFirst is a heap.Interface with the first to be evicted on top.
type worstFirst []*pending

// Len is part of heap.Interface.
func (w worstFirst) Len() int { return len(w) }

// Less is part of heap.Interface.
func (w worstFirst) Less(i, j int) bool { return worse(w[i], w[j]) < 0 }

// Swap is part of heap.Interface.
func (w worstFirst) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

// Push is part of heap.Interface.
func (w *worstFirst) Push(x any) {
	p := x.(*pending)
	p.index = len(*w)
	*w = append(*w, p)
}

// Pop is part of heap.Interface.
func (w *worstFirst) Pop() any {
	old := *w
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	return p
}
