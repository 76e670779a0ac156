package horizon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Limits of what is remembered and of who waits.
const (
	backlog      = 720   // ledgers that a fresh follower reads first, about an hour
	maxRecent    = 10000 // transactions
	maxWaiting   = 10000 // submissions
	retryFirst   = 100 * time.Millisecond
	retryLongest = 5 * time.Second
	readPoll     = 20 * time.Millisecond // how often is asked whether a ledger was read
)

// applied is a transaction as a ledger took it.
type applied struct {
	hash     protocol.Hash
	ledger   uint32
	order    int32 // in the ledger, from 1
	closedAt time.Time
	env      xdr.TransactionEnvelope
	result   xdr.TransactionResultPair
	meta     xdr.TransactionMeta
	feeMeta  xdr.LedgerEntryChanges
}

// follower knows the recent transactions and wakes who waits for one.
type follower struct {
	mu      sync.Mutex
	recent  map[protocol.Hash]*applied // guarded by mu
	order   []protocol.Hash            // of recent, oldest first; guarded by mu
	waiting map[protocol.Hash][]chan *applied
	count   int    // of channels in waiting
	ledger  uint32 // last read; guarded by mu
	txs     int    // transactions in it
	size    int    // transactions that fit in it
}

func newFollower() follower {
	return follower{recent: map[protocol.Hash]*applied{}, waiting: map[protocol.Hash][]chan *applied{}}
}

// Run follows the network until ctx ends. When the node is away it tries again, ever more slowly, and goes on where it
// was: a submission that waits meanwhile is answered when its ledger is read, or runs out of time.
func (s *Server) Run(ctx context.Context) error {
	wait := retryFirst
	for ctx.Err() == nil {
		err := s.follow(ctx, func() { wait = retryFirst })
		if ctx.Err() != nil {
			break
		}
		s.cfg.Log.Warn("following the network was cut short", "err", err, "again_in", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, retryLongest)
	}
	return nil
}

func (s *Server) follow(ctx context.Context, read func()) error {
	from := s.follower.next()
	if from == 0 {
		status, err := s.network.Status(ctx)
		if err != nil {
			return err
		}
		from = max(1, status.Ledger-min(status.Ledger, backlog))
	}
	for ledger, err := range s.network.Closes(ctx, from) {
		if err != nil {
			return err
		}
		txs, err := s.read(ledger)
		if err != nil {
			return err
		}
		s.follower.add(ledger, txs)
		read()
	}
	return ctx.Err()
}

// read takes a ledger's transactions apart. The set of envelopes is in another order than the results.
func (s *Server) read(ledger xdr.LedgerCloseMeta) ([]*applied, error) {
	envelopes := map[protocol.Hash]xdr.TransactionEnvelope{}
	for _, env := range ledger.TransactionEnvelopes() {
		hash, err := s.cfg.Passphrase.TxHash(env)
		if err != nil {
			return nil, fmt.Errorf("horizon: ledger %d: %w", ledger.LedgerSequence(), err)
		}
		envelopes[hash] = env
	}
	txs := make([]*applied, ledger.CountTransactions())
	for i := range txs {
		hash := protocol.Hash(ledger.TransactionHash(i))
		env, ok := envelopes[hash]
		if !ok {
			return nil, fmt.Errorf("horizon: ledger %d has a result without its transaction %s", ledger.LedgerSequence(), hash)
		}
		txs[i] = &applied{hash: hash, ledger: ledger.LedgerSequence(), order: int32(i + 1), closedAt: ledger.ClosedAt(), env: env,
			result: ledger.TransactionResultPair(i), meta: ledger.TxApplyProcessing(i), feeMeta: ledger.FeeProcessing(i)}
	}
	return txs, nil
}

// next returns the ledger to go on with, 0 before the first.
func (f *follower) next() uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ledger == 0 {
		return 0
	}
	return f.ledger + 1
}

// reached reports whether the ledger was read.
func (f *follower) reached(ledger uint32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ledger >= ledger
}

func (f *follower) add(ledger xdr.LedgerCloseMeta, txs []*applied) {
	header := ledger.LedgerHeaderHistoryEntry().Header
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ledger, f.txs, f.size = ledger.LedgerSequence(), len(txs), int(header.MaxTxSetSize)
	for _, tx := range txs {
		if f.recent[tx.hash] == nil {
			f.order = append(f.order, tx.hash)
		}
		f.recent[tx.hash] = tx
		for _, c := range f.waiting[tx.hash] {
			c <- tx // has room: a channel is sent to once and then forgotten
			f.count--
		}
		delete(f.waiting, tx.hash)
	}
	if drop := len(f.order) - maxRecent; drop > 0 {
		for _, hash := range f.order[:drop] {
			delete(f.recent, hash)
		}
		f.order = append([]protocol.Hash(nil), f.order[drop:]...)
	}
}

// find returns a recent transaction, or nil.
func (f *follower) find(hash protocol.Hash) *applied {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.recent[hash]
}

// await returns a channel on which the transaction comes when it is seen, at once if it was seen already, and a function
// to call when nobody waits any more.
func (f *follower) await(hash protocol.Hash) (<-chan *applied, func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count >= maxWaiting {
		return nil, nil, ErrBusy
	}
	c := make(chan *applied, 1)
	if tx := f.recent[hash]; tx != nil {
		c <- tx
		return c, func() {}, nil
	}
	f.waiting[hash] = append(f.waiting[hash], c)
	f.count++
	return c, func() { f.forget(hash, c) }, nil
}

func (f *follower) forget(hash protocol.Hash, c chan *applied) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.waiting[hash]
	for i := range all {
		if all[i] == c {
			f.waiting[hash] = append(all[:i:i], all[i+1:]...)
			f.count--
		}
	}
	if len(f.waiting[hash]) == 0 {
		delete(f.waiting, hash)
	}
}

// usage returns how full the last ledger was, in percent.
func (f *follower) usage() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size == 0 {
		return 0
	}
	return min(100, 100*f.txs/f.size)
}
