// Package node is a validator of the network: the only door to a ledger that closes by consensus.
//
//	n, err := node.New(node.Config{Dir: dir, Genesis: g, CloseEvery: 5 * time.Second, Signer: seed})
//	defer n.Close()
//	err = n.Run(ctx) // closes ledgers until ctx ends; an error means that it must not go on
//
// While it runs, and from any goroutine: Submit hands it a transaction, Closes streams the closed ledgers from any past
// one on, Account and Status read the last. Package node/client is the same door from another process, and
// node/nodetest the suite that both pass. A node agrees with those of its quorum set, by package herder; with none it is the only
// validator of its network.
package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stellar/go-stellar-sdk/xdr"
	"golang.org/x/sync/errgroup"

	"github.com/diamante/gateway/node/herder"
	"github.com/diamante/gateway/node/ledger"
	"github.com/diamante/gateway/node/overlay"
	"github.com/diamante/gateway/node/protocol"
)

// FirstClosed is the first ledger that Closes can deliver. Ledger 1, the genesis, was made and not closed.
const FirstClosed = 2

// MaxTxSetSize bounds the operations in one ledger, so that what a ledger changes fits into one frame of a stream
// (client.MaxFrame) whatever the operations are.
const MaxTxSetSize = 10_000

// Config is what a node is made of.
type Config struct {
	// Dir is the folder of the ledger's store. It is made by the first New and belongs to one node at a time.
	Dir string
	// Genesis is ledger 1. It must stay what it was when Dir was made.
	Genesis ledger.Genesis
	// CloseEvery is the target from one ledger to the next: 5 s in production, 1 s for a demonstration.
	CloseEvery time.Duration
	// MaxLead is how far close times, which are whole seconds and always grow, may run ahead of the clock when
	// CloseEvery is below a second; zero: the next ledger waits for the next second. At most herder.MaxTimeSlip.
	MaxLead time.Duration
	// Signer holds the validator's key.
	Signer Signer
	// QuorumSet says whom this validator trusts. Zero: itself alone.
	QuorumSet xdr.ScpQuorumSet
	// Peers are the other validators to talk to; nil: there are none.
	Peers *Peers
	// Upgrades returns what the operator wants of the network; nil: nothing.
	Upgrades func() herder.Upgrades
	// QueueOps bounds the operations that wait for a ledger; zero means herder.QueueLedgers full ledgers.
	QueueOps int
	// Registerer gets the node's metrics; nil means none.
	Registerer prometheus.Registerer
	// Clock is the only source of time; nil means the machine's.
	Clock herder.Clock
	// Logger is told what nobody is answered; nil means slog.Default.
	Logger *slog.Logger

	agreed func(took time.Duration)                // nil: nobody. Benchmarks put one that counts.
	wrap   func(herder.Consensus) herder.Consensus // nil: nothing. Tests put one that fails.
}

// Validate checks c. What the genesis and the herder demand is checked by them, in New.
func (c Config) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("node: no folder for the ledger")
	case c.Signer == nil:
		return errors.New("node: no signer")
	case c.CloseEvery <= 0:
		return errors.New("node: the time between ledgers must be positive")
	case c.Genesis.MaxTxSetSize > MaxTxSetSize:
		return fmt.Errorf("node: ledgers of %d operations, more than %d", c.Genesis.MaxTxSetSize, MaxTxSetSize)
	}
	return nil
}

// Node is one validator. Its methods are safe for concurrent use.
type Node struct {
	passphrase protocol.Passphrase
	id         protocol.AccountID
	clock      herder.Clock
	ledger     *ledger.Ledger
	herder     *herder.Herder
	consensus  *herder.Federated
	overlay    *overlay.Overlay // nil: there are no others
	metrics    *metrics
	logger     *slog.Logger

	store sync.RWMutex // held to use the ledger; held alone to close its store

	mu      sync.Mutex    // guards what follows
	last    uint32        // the last ledger that Closes delivers: closed, and gone through by the queue
	changed chan struct{} // closed, and replaced, whenever last grows or stopped is set
	state   state
	stopped error // why the node answers no more
}

// state is how far Run has come.
type state uint8

const (
	fresh state = iota + 1
	running
	finished
)

// New opens the ledger in cfg.Dir, or makes it of cfg.Genesis. It starts nothing. Close the node when done.
func New(cfg Config) (_ *Node, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.Genesis.CloseTime = cfg.Genesis.CloseTime.UTC() // the store compares the genesis as it is written down
	if cfg.Clock == nil {
		cfg.Clock = herder.SystemClock{}
	}
	n := &Node{passphrase: cfg.Genesis.Passphrase, id: cfg.Signer.NodeID(), clock: cfg.Clock, logger: cfg.Logger, changed: make(chan struct{}), state: fresh}
	if n.ledger, err = ledger.Open(cfg.Dir, cfg.Genesis); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.ledger.Shutdown())
		}
	}()
	header, _ := n.ledger.Header()
	n.last = uint32(header.LedgerSeq)
	if err := n.agree(cfg); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	if n.metrics, err = newMetrics(cfg.Registerer, n.herder.Queued); err != nil {
		return nil, fmt.Errorf("node: metrics: %w", err)
	}
	n.metrics.seq.Set(float64(n.last))
	return n, nil
}

// agree makes what agrees with others on ledgers, and what closes them.
func (n *Node) agree(cfg Config) error {
	said, err := n.ledger.Said()
	if err != nil {
		return err
	}
	if len(cfg.QuorumSet.Validators) == 0 && len(cfg.QuorumSet.InnerSets) == 0 {
		cfg.QuorumSet = xdr.ScpQuorumSet{Threshold: 1, Validators: []xdr.NodeId{xdr.NodeId(cfg.Signer.NodeID().XDR())}, InnerSets: []xdr.ScpQuorumSet{}}
	}
	before := make([]herder.Said, 0, len(said))
	for _, s := range said {
		before = append(before, herder.Said{Envelopes: s.Envelopes, Sets: s.Sets})
	}
	var network herder.Network
	if cfg.Peers != nil {
		if n.overlay, err = cfg.Peers.overlay(cfg, n); err != nil {
			return err
		}
		network = n.overlay
	}
	n.consensus, err = herder.NewFederated(herder.FederatedConfig{Passphrase: cfg.Genesis.Passphrase, QuorumSet: cfg.QuorumSet, Ledger: n.ledger, Memory: n.ledger,
		Said: before, Signer: cfg.Signer, Network: network, Upgrades: cfg.Upgrades, Clock: cfg.Clock, Logger: cfg.Logger})
	if err != nil {
		return err
	}
	attach := n.consensus.Attach
	if cfg.wrap != nil {
		attach = func(d herder.Driver) herder.Consensus { return cfg.wrap(n.consensus.Attach(d)) }
	}
	n.herder, err = herder.New(herder.Config{Passphrase: cfg.Genesis.Passphrase, Ledger: n.ledger, Signer: cfg.Signer, Consensus: attach,
		CloseEvery: cfg.CloseEvery, MaxLead: cfg.MaxLead, QueueOps: cfg.QueueOps, Upgrades: n.consensus.Wanted, Clock: cfg.Clock, Closed: n.closed, Agreed: func(took time.Duration) {
			n.metrics.agreed.Observe(took.Seconds())
			if cfg.agreed != nil {
				cfg.agreed(took)
			}
		},
		Logger: cfg.Logger})
	return err
}

// Run closes ledgers until ctx ends, and then returns nil. An error means that the node must not go on as it is: what
// is on disk is as of the last closed ledger, and a new process may find out whether that can be continued. Either way
// the node answers ErrUnavailable afterwards. It runs once.
func (n *Node) Run(ctx context.Context) error {
	if !n.enter(fresh, running) {
		return errors.New("node: runs once only")
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { n.consensus.Run(ctx); return nil })
	group.Go(func() error { return n.herder.Run(ctx) })
	group.Go(func() error { n.watchQuorums(ctx); return nil })
	if n.overlay != nil {
		group.Go(func() error { return n.overlay.Run(ctx) })
	}
	err := group.Wait()
	n.enter(running, finished)
	if err != nil {
		n.stop(fmt.Errorf("%w: stopped: %v", protocol.ErrUnavailable, err))
		return fmt.Errorf("node: %w", err)
	}
	n.stop(fmt.Errorf("%w: stopped", protocol.ErrUnavailable))
	return nil
}

// enter goes from one state to the next, or reports false in any other state.
func (n *Node) enter(from, to state) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.state != from {
		return false
	}
	n.state = to
	return true
}

// Close lets go of the store. Whoever still reads gets ErrUnavailable. While the node runs it is an error and does
// nothing: end Run first.
func (n *Node) Close() error {
	if n.enter(running, running) {
		return errors.New("node: closed while it runs")
	}
	n.enter(fresh, finished)
	n.stop(fmt.Errorf("%w: closed", protocol.ErrUnavailable))
	n.store.Lock()
	defer n.store.Unlock()
	if n.ledger == nil {
		return nil
	}
	err := n.ledger.Shutdown()
	n.ledger = nil
	return err
}

// stop makes the node answer with why, unless it has stopped before.
func (n *Node) stop(why error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped == nil {
		n.stopped = why
		n.announce()
	}
}

// closed is told by the herder of each ledger, once it is durable and the queue has gone through it: who has seen his
// transaction in Closes finds room for his next one.
func (n *Node) closed(meta xdr.LedgerCloseMeta, took time.Duration) {
	n.metrics.closed(meta, took)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = meta.LedgerSequence()
	n.announce()
}

// announce wakes whoever waits for a change. The caller holds n.mu.
func (n *Node) announce() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// open holds the store open for a reader, who must call release; or says why the node does not answer.
func (n *Node) open(ctx context.Context) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	stopped := n.stopped
	n.mu.Unlock()
	if stopped != nil {
		return nil, stopped
	}
	n.store.RLock()
	if n.ledger == nil {
		n.store.RUnlock()
		return nil, fmt.Errorf("%w: closed", protocol.ErrUnavailable)
	}
	return n.store.RUnlock, nil
}

// Submit checks a transaction and puts it into the queue. None of its answers says that the transaction was applied:
// that is learned from Closes, by hash. ErrInvalid is for what is no transaction of this network at all.
func (n *Node) Submit(ctx context.Context, env xdr.TransactionEnvelope) (protocol.Submission, error) {
	release, err := n.open(ctx)
	if err != nil {
		return protocol.Submission{}, fmt.Errorf("node: submit: %w", err)
	}
	defer release()
	s, err := n.herder.Submit(env)
	if err != nil {
		return protocol.Submission{}, fmt.Errorf("node: submit: %w", err)
	}
	if s.Status == protocol.SubmissionPending && n.overlay != nil {
		n.overlay.Broadcast(xdr.StellarMessage{Type: xdr.MessageTypeTransaction, Transaction: &env})
	}
	return s, nil
}

// Account returns an account as of the last closed ledger, or ErrNotFound.
func (n *Node) Account(ctx context.Context, id protocol.AccountID) (protocol.Account, error) {
	if id.IsZero() {
		return protocol.Account{}, fmt.Errorf("node: account: %w: no account id", protocol.ErrInvalid)
	}
	release, err := n.open(ctx)
	if err != nil {
		return protocol.Account{}, fmt.Errorf("node: account: %w", err)
	}
	defer release()
	a, err := n.ledger.Account(id)
	if err != nil {
		return protocol.Account{}, fmt.Errorf("node: account: %w", err)
	}
	return a, nil
}

// Status returns where the node stands.
func (n *Node) Status(ctx context.Context) (protocol.Status, error) {
	release, err := n.open(ctx)
	if err != nil {
		return protocol.Status{}, fmt.Errorf("node: status: %w", err)
	}
	defer release()
	header, hash := n.ledger.Header()
	return protocol.Status{
		Passphrase: n.passphrase, Ledger: uint32(header.LedgerSeq), Hash: hash,
		ClosedAt: time.Unix(int64(header.ScpValue.CloseTime), 0).UTC(),
		BaseFee:  uint32(header.BaseFee), Reserve: uint32(header.BaseReserve), Protocol: uint32(header.LedgerVersion),
		Queued: n.herder.Queued(),
	}, nil
}

// Closes streams every ledger from `from` on, gap-free, and waits for the next one until ctx ends or the node stops.
// `from` below FirstClosed means FirstClosed. A ledger further than one after the last is ErrUnavailable: this node is
// behind the one that told of it, or is of another network. The sequence ends with one error, its last pair, unless the
// reader leaves the loop. Every ledger is read from the store when its turn comes, so a slow reader holds up nobody.
func (n *Node) Closes(ctx context.Context, from uint32) iter.Seq2[xdr.LedgerCloseMeta, error] {
	return func(yield func(xdr.LedgerCloseMeta, error) bool) {
		for seq := max(from, FirstClosed); ; seq++ {
			meta, err := n.await(ctx, seq)
			if err != nil {
				yield(xdr.LedgerCloseMeta{}, fmt.Errorf("node: closes: %w", err))
				return
			}
			if !yield(meta, nil) {
				return
			}
		}
	}
}

// await returns ledger seq, once it is closed.
func (n *Node) await(ctx context.Context, seq uint32) (xdr.LedgerCloseMeta, error) {
	for {
		n.mu.Lock()
		last, changed := n.last, n.changed
		n.mu.Unlock()
		release, err := n.open(ctx)
		if err != nil {
			return xdr.LedgerCloseMeta{}, err
		}
		if seq <= last {
			defer release()
			return n.ledger.Meta(seq)
		}
		// The header is a moment ahead of last: Status may have told of it.
		header, _ := n.ledger.Header()
		release()
		if known := uint32(header.LedgerSeq); seq > known+1 {
			return xdr.LedgerCloseMeta{}, fmt.Errorf("%w: ledger %d is asked for, the last is %d", protocol.ErrUnavailable, seq, known)
		}
		select {
		case <-ctx.Done():
			return xdr.LedgerCloseMeta{}, ctx.Err()
		case <-changed:
		}
	}
}
