// Package herder decides when a ledger closes and with what: it queues transactions, proposes values to a consensus,
// and closes the ledgers that were decided, in order.
//
// A Herder is a machine that is stepped: Step does what is due and says when it wants to be stepped next; Run is Step
// with a timer. Step waits for nothing but a signature and knows the time from its Clock only, so a test with a clock of
// its own drives days of ledgers in a second.
package herder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

const (
	// signTimeout bounds one signature over a value.
	signTimeout = 3 * time.Second
	// signRetry is the pause before a failed signature is asked for again.
	signRetry = time.Second
	// clockWarning is for how long the clock may be behind the last ledger before the log says so.
	clockWarning = 10 * time.Second
	// maxSlotsAhead is how far beyond the last closed ledger decisions are kept until the ones before them come.
	maxSlotsAhead = 12
	// alignment: one part in so many of the time between ledgers is what agreeing on one usually takes at most.
	alignment = 20
	// maxTxSets bounds the transaction sets that are kept for values not yet decided.
	maxTxSets = 128
)

// ErrBroken is wrapped by every error after which a validator must not go on: a ledger failed to close, or consensus
// decided what cannot be applied. What is on disk is as of the last closed ledger.
var ErrBroken = errors.New("herder: cannot go on")

// Ledger is the state whose closing the herder drives. All methods but Close and CheckSet are safe for concurrent use.
type Ledger interface {
	// Header returns the last closed ledger's header and its hash.
	Header() (xdr.LedgerHeader, protocol.Hash)
	// CheckValid says whether a transaction could be in the next ledger.
	CheckValid(env xdr.TransactionEnvelope) xdr.TransactionResult
	// Account returns an account as of the last closed ledger.
	Account(id protocol.AccountID) (protocol.Account, error)
	// CheckSet says what is wrong with a value's transaction set, if it were to close the next ledger. It is called by the
	// goroutine that calls Close.
	CheckSet(set xdr.GeneralizedTransactionSet, value xdr.StellarValue) error
	// Close applies a decided value, whose transaction set is set, and makes the result durable before it returns. An
	// error means that nothing is known of what is on disk.
	Close(set xdr.GeneralizedTransactionSet, value xdr.StellarValue) (xdr.LedgerCloseMeta, error)
}

// Clock tells the time and waits. SystemClock is the real one.
type Clock interface {
	// Now returns the time.
	Now() time.Time
	// Until sends once, when the time is t or later. It takes a time and not a duration, so that a clock that moves
	// between Now and Until is not waited for too long.
	Until(t time.Time) <-chan time.Time
}

// SystemClock is the machine's clock.
type SystemClock struct{}

// Now returns time.Now.
func (SystemClock) Now() time.Time { return time.Now() }

// Until is time.After what is left.
func (SystemClock) Until(t time.Time) <-chan time.Time { return time.After(time.Until(t)) }

// Config is what a Herder is made of.
type Config struct {
	// Passphrase of the network.
	Passphrase protocol.Passphrase
	// Ledger is driven by this herder and closed by nobody else.
	Ledger Ledger
	// Signer signs the values that this validator proposes.
	Signer ValueSigner
	// Consensus makes the consensus: Federated.Attach.
	Consensus func(Driver) Consensus
	// CloseEvery is the target from one ledger to the next.
	CloseEvery time.Duration
	// MaxLead is how far a proposed close time may run ahead of the clock, at most MaxTimeSlip. Close times are whole
	// seconds that always grow, so with zero no two ledgers close within one second.
	MaxLead time.Duration
	// QueueOps bounds the operations that wait; zero means QueueLedgers full ledgers.
	QueueOps int
	// Clock is the only source of time; nil means SystemClock.
	Clock Clock
	// Upgrades returns the upgrades to propose; nil for none.
	Upgrades func() []xdr.LedgerUpgrade
	// Closed is called after each ledger, from Step, with what it took; nil for nobody. It must not block.
	Closed func(meta xdr.LedgerCloseMeta, took time.Duration)
	// Agreed is told how long it took from a proposal of this validator to the decision on its slot; nil for nobody.
	Agreed func(took time.Duration)
	// Logger is told what nobody is answered; nil means slog.Default.
	Logger *slog.Logger
}

// Validate checks c.
func (c Config) Validate() error {
	switch {
	case c.Passphrase.Validate() != nil:
		return c.Passphrase.Validate()
	case c.Ledger == nil || c.Signer == nil || c.Consensus == nil:
		return errors.New("herder: ledger, signer and consensus are required")
	case c.CloseEvery <= 0:
		return errors.New("herder: the time between ledgers must be positive")
	case c.MaxLead < 0 || c.MaxLead > MaxTimeSlip:
		return fmt.Errorf("herder: lead must be 0 to %s", MaxTimeSlip)
	case c.QueueOps < 0:
		return errors.New("herder: a negative queue limit")
	}
	return nil
}

// Herder drives one validator's ledger.
type Herder struct {
	cfg       Config
	network   protocol.Hash
	consensus Consensus
	wake      chan struct{} // holds one token when a step is wanted

	// Owned by Step, which is called by one goroutine.
	due      time.Time // when the next ledger is to be proposed
	proposed uint32    // the slot last proposed
	previous xdr.StellarValue
	warned   uint32                  // the slot for which the clock was last complained about
	judged   map[protocol.Hash]error // what is wrong with values for the next slot, by hash; nil for nothing

	mu      sync.Mutex // guards what follows
	queue   *queue
	began   map[uint32]time.Time        // when this validator proposed for slots that are not decided
	checked uint32                      // the ledger that the queue was checked against
	sets    map[protocol.Hash]txSet     // known transaction sets by hash
	decided map[uint32]xdr.StellarValue // decisions not yet applied
}

// New makes a Herder over an open ledger. It starts nothing.
func New(cfg Config) (*Herder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Clock == nil {
		cfg.Clock = SystemClock{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	header, _ := cfg.Ledger.Header()
	if cfg.QueueOps == 0 {
		cfg.QueueOps = QueueLedgers * int(header.MaxTxSetSize)
	}
	h := &Herder{
		cfg: cfg, network: cfg.Passphrase.NetworkID(), wake: make(chan struct{}, 1), previous: header.ScpValue,
		queue: newQueue(cfg.QueueOps), checked: uint32(header.LedgerSeq),
		judged: map[protocol.Hash]error{}, began: map[uint32]time.Time{}, sets: map[protocol.Hash]txSet{}, decided: map[uint32]xdr.StellarValue{},
	}
	h.consensus = cfg.Consensus(driver{h})
	return h, nil
}

// Run steps the herder until ctx ends, and then returns nil, or until it cannot go on.
func (h *Herder) Run(ctx context.Context) error {
	for {
		next, err := h.Step(ctx)
		if err != nil {
			return err // also when told to stop: what broke is not less broken
		}
		var timer <-chan time.Time
		if !next.IsZero() {
			timer = h.cfg.Clock.Until(next)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-timer:
		case <-h.wake:
		}
	}
}

// Step does what is due and returns when it wants to be called next; zero if only a decision can move it, which
// calls for another step through Driver.Wake. It must not be called concurrently. An error wraps ErrBroken.
func (h *Herder) Step(ctx context.Context) (next time.Time, err error) {
	for again := true; again && ctx.Err() == nil; {
		if next, err = h.once(ctx); err != nil {
			return time.Time{}, err
		}
		select {
		case <-h.wake: // what was done has made something else due, or something has come in
		default:
			again = false
		}
	}
	return next, nil
}

func (h *Herder) once(ctx context.Context) (time.Time, error) {
	now := h.cfg.Clock.Now()
	// 1. Close what was decided since the last step.
	if err := h.closeDecided(); err != nil {
		return time.Time{}, err
	}
	// 2. Let the consensus see the time.
	timer, err := h.consensus.Tick(now)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: consensus: %w", ErrBroken, err)
	}
	// 3. Propose the next ledger if it is due.
	next, err := h.propose(ctx, now)
	if err != nil {
		return time.Time{}, err
	}
	// 4. A proposal may have been decided at once.
	if err := h.closeDecided(); err != nil {
		return time.Time{}, err
	}
	return earlier(timer, next), nil
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// propose enters a value for the next ledger if it is time, and returns when to try again.
func (h *Herder) propose(ctx context.Context, now time.Time) (time.Time, error) {
	header, hash := h.cfg.Ledger.Header()
	slot := uint32(header.LedgerSeq) + 1
	if h.proposed == slot {
		return time.Time{}, nil
	}
	if now.Before(h.due) {
		return h.due, nil
	}
	at, ok := closeTime(uint64(header.ScpValue.CloseTime), now, h.cfg.MaxLead)
	if !ok {
		return h.waitFor(slot, time.Unix(int64(at), 0).Add(-h.cfg.MaxLead), now), nil
	}
	set := h.choose(header, hash, at)
	value := xdr.StellarValue{TxSetHash: xdr.Hash(set.hash), CloseTime: xdr.TimePoint(at), Upgrades: []xdr.UpgradeType{}}
	if h.cfg.Upgrades != nil {
		value.Upgrades = encodeUpgrades(h.cfg.Upgrades())
	}
	limited, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	if err := signValue(limited, h.network, h.cfg.Signer, &value); err != nil {
		if ctx.Err() != nil {
			return time.Time{}, nil // told to stop
		}
		// The signer is another process: its absence stops the closing of ledgers, not the validator.
		h.cfg.Logger.ErrorContext(ctx, "ledger not proposed: the value was not signed", "ledger", slot, "error", err)
		return now.Add(signRetry), nil
	}
	set.slot = slot
	h.keep(set)
	h.mu.Lock()
	h.began[slot] = h.cfg.Clock.Now()
	h.mu.Unlock()
	h.proposed, h.due = slot, following(h.due, now, h.cfg.CloseEvery)
	if err := h.consensus.Propose(Proposal{Slot: slot, Value: value, Previous: h.previous, Now: now}); err != nil {
		return time.Time{}, fmt.Errorf("%w: propose ledger %d: %w", ErrBroken, slot, err)
	}
	return h.due, nil
}

// waitFor returns when the clock will have reached what the last close time demands, and warns, once a ledger, if that
// is long: either the clock was set back or the last ledger was closed by a clock that ran ahead.
func (h *Herder) waitFor(slot uint32, at, now time.Time) time.Time {
	if wait := at.Sub(now); wait > clockWarning && h.warned != slot {
		h.warned = slot
		h.cfg.Logger.Warn("no ledger closes: the clock is behind the last one", "ledger", slot, "wait", wait)
	}
	return at
}

// following returns when the proposal after the one that was due, and made at now, is due: in step with the target
// unless a whole ledger was missed.
func following(due, now time.Time, every time.Duration) time.Time {
	if now.Sub(due) < every {
		return due.Add(every)
	}
	return now.Add(every)
}

// keep remembers a transaction set until a decision makes it useless.
func (h *Herder) keep(set txSet) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.sets) < maxTxSets {
		h.sets[set.hash] = set
	}
}

// closeDecided closes every ledger that has been decided and whose predecessor is closed.
func (h *Herder) closeDecided() error {
	for {
		header, _ := h.cfg.Ledger.Header()
		slot := uint32(header.LedgerSeq) + 1
		h.mu.Lock()
		value, ok := h.decided[slot]
		set, known := h.sets[protocol.Hash(value.TxSetHash)]
		h.mu.Unlock()
		if !ok {
			return nil
		}
		if !known {
			return fmt.Errorf("%w: ledger %d was decided with an unknown transaction set %x", ErrBroken, slot, value.TxSetHash)
		}
		start := h.cfg.Clock.Now()
		meta, err := h.cfg.Ledger.Close(set.set, value)
		if err != nil {
			return fmt.Errorf("%w: close ledger %d: %w", ErrBroken, slot, err)
		}
		h.previous = value
		h.settle(slot, set)
		h.align()
		if h.cfg.Closed != nil {
			h.cfg.Closed(meta, h.cfg.Clock.Now().Sub(start))
		}
	}
}

// align lets the next proposal wait if this ledger took long, so that validators that began apart come together: all of
// them see it close at the same time, or nearly.
func (h *Herder) align() {
	if earliest := h.cfg.Clock.Now().Add(h.cfg.CloseEvery - h.cfg.CloseEvery/alignment); h.due.Before(earliest) {
		h.due = earliest
	}
}

// settle brings the queue and what is kept for consensus up to a ledger that has closed.
func (h *Herder) settle(slot uint32, set txSet) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checked = slot
	h.queue.closed(set.txs, h.valid)
	for s := range h.decided {
		if s <= slot {
			delete(h.decided, s)
		}
	}
	delete(h.began, slot)
	for hash, set := range h.sets {
		if set.slot <= slot {
			delete(h.sets, hash)
		}
	}
	clear(h.judged)
}

// driver is what the consensus sees of a herder.
type driver struct{ h *Herder }

// Validate is part of Driver.
func (d driver) Validate(slot uint32, value xdr.StellarValue) error {
	header, _ := d.h.cfg.Ledger.Header()
	if want := uint32(header.LedgerSeq) + 1; slot != want {
		return fmt.Errorf("%w: slot %d, but ledger %d is next", ErrBadValue, slot, want)
	}
	if _, err := decodeUpgrades(value.Upgrades); err != nil {
		return err
	}
	if err := checkTime(value, uint64(header.ScpValue.CloseTime), d.h.cfg.Clock.Now()); err != nil {
		return err
	}
	set, known := d.Set(protocol.Hash(value.TxSetHash))
	if !known {
		return fmt.Errorf("%w: unknown transaction set %x", ErrBadValue, value.TxSetHash)
	}
	if !isSigned(value) {
		return fmt.Errorf("%w: not signed", ErrBadValue)
	}
	name := hashOf(value)
	err, judged := d.h.judged[name]
	if !judged {
		if err = verifyValue(d.h.network, value); err == nil {
			err = d.h.cfg.Ledger.CheckSet(set, value)
		}
		d.h.judged[name] = err
	}
	return err
}

// Keep is part of Driver.
func (d driver) Keep(slot uint32, set xdr.GeneralizedTransactionSet) {
	s := txSet{set: set, hash: hashOf(set), slot: slot}
	for _, env := range envelopesOf(set) {
		hash, err := d.h.cfg.Passphrase.TxHash(env)
		if err != nil {
			continue // CheckSet refuses the set
		}
		s.txs = append(s.txs, hash)
	}
	d.h.keep(s)
}

// Set is part of Driver.
func (d driver) Set(hash protocol.Hash) (xdr.GeneralizedTransactionSet, bool) {
	d.h.mu.Lock()
	defer d.h.mu.Unlock()
	s, known := d.h.sets[hash]
	return s.set, known
}

// Externalized is part of Driver.
func (d driver) Externalized(slot uint32, value xdr.StellarValue) {
	header, _ := d.h.cfg.Ledger.Header()
	last := uint32(header.LedgerSeq)
	if slot <= last || slot > last+maxSlotsAhead {
		d.h.cfg.Logger.Warn("a decision is not for a coming ledger", "slot", slot, "last", last)
		return
	}
	d.h.mu.Lock()
	d.h.decided[slot] = value
	began, proposed := d.h.began[slot]
	delete(d.h.began, slot)
	d.h.mu.Unlock()
	if proposed && d.h.cfg.Agreed != nil {
		d.h.cfg.Agreed(d.h.cfg.Clock.Now().Sub(began))
	}
	d.Wake()
}

// Wake is part of Driver.
func (d driver) Wake() {
	select {
	case d.h.wake <- struct{}{}:
	default: // a step is on its way already
	}
}
