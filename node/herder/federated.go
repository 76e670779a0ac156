package herder

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/scp"
)

const (
	// slotsBehind is how many closed slots are still listened to: who was late may need to hear that others were, too.
	slotsBehind = 12
	// maxInbox bounds what has come in and was not looked at. Who brings more waits.
	maxInbox = 4096
)

// Network is how a validator speaks to the others. It is safe for concurrent use and never blocks for long.
type Network interface {
	// Broadcast sends a message to all peers, who pass it on.
	Broadcast(m xdr.StellarMessage)
	// Send sends a message to one peer. It may be lost.
	Send(to protocol.AccountID, m xdr.StellarMessage)
	// Peers returns who is connected, in order.
	Peers() []protocol.AccountID
}

// Memory is what survives a crash of what a validator said. ledger.Ledger is one.
type Memory interface {
	// Say makes statements durable, with the transaction sets that they name, before anybody signs them.
	Say(statements []xdr.ScpStatement, sets []xdr.GeneralizedTransactionSet) error
	// Signed remembers a signature over what was said.
	Signed(env xdr.ScpEnvelope) error
	// Decided remembers what decided a slot that has closed.
	Decided(entry xdr.ScpHistoryEntryV0) error
	// WhatDecided returns that, or protocol.ErrNotFound.
	WhatDecided(slot uint32) (xdr.ScpHistoryEntryV0, error)
	// Meta returns what a closed ledger changed, with its transaction set, or protocol.ErrNotFound.
	Meta(slot uint32) (xdr.LedgerCloseMeta, error)
}

// Said is what a validator said about a slot before it was restarted.
type Said struct {
	Envelopes []xdr.ScpEnvelope // the newest nomination, then the newest ballot; without a signature if it was not made
	Sets      []xdr.GeneralizedTransactionSet
}

// StatementSigner signs what a validator says. See ValueSigner.
type StatementSigner interface {
	ValueSigner
	// SignStatement returns the Ed25519 signature over body, which is the XDR of (network id, ENVELOPE_TYPE_SCP, statement),
	// whole. Any error means that nothing was signed, and that the same may be asked again.
	SignStatement(ctx context.Context, body []byte) ([]byte, error)
}

// FederatedConfig is what a Federated is made of.
type FederatedConfig struct {
	Passphrase protocol.Passphrase
	QuorumSet  xdr.ScpQuorumSet // whom this validator trusts
	Timeouts   scp.Timeout      // of nomination and of ballots; zero means scp.DefaultTimeout
	Ledger     interface {
		Header() (xdr.LedgerHeader, protocol.Hash)
	}
	Memory  Memory
	Said    []Said // what Memory held when this process began, in the order of slots
	Signer  StatementSigner
	Network Network // nil: there are no others
	// Upgrades returns what the operator wants of the network. nil: nothing.
	Upgrades func() Upgrades
	// Verify checks an Ed25519 signature. nil means ed25519.Verify; a program that plays many validators remembers the answers.
	Verify func(key ed25519.PublicKey, message, sig []byte) bool
	Clock  Clock        // nil means SystemClock
	Logger *slog.Logger // nil means slog.Default
}

// Validate checks c.
func (c FederatedConfig) Validate() error {
	if c.Passphrase.Validate() != nil {
		return c.Passphrase.Validate()
	}
	if c.Ledger == nil || c.Memory == nil || c.Signer == nil {
		return errors.New("herder: consensus needs a ledger, a memory and a signer")
	}
	return scp.CheckQuorumSet(c.QuorumSet)
}

// Federated is the consensus of validators that choose for themselves whom they trust: package scp, with a clock, a memory,
// a signer and others to talk to. Like every Consensus it is stepped by the herder. Handle takes what others send, at any time;
// SignNext is to be called, by one goroutine, whenever Unsigned says so.
type Federated struct {
	cfg     FederatedConfig
	network protocol.Hash
	me      protocol.AccountID
	driver  Driver

	// Owned by the herder's Step.
	node    *scp.Node
	last    uint32 // the last closed ledger that was noticed
	timers  map[timerKey]time.Time
	waiting map[envelopeKey][]*waiting
	brought map[bringer]map[protocol.Hash]bool // transaction sets that each node named first
	fetcher *fetcher
	sync    syncState

	inbox chan incoming
	stop  chan struct{}

	mu      sync.Mutex // guards what follows
	sets    map[protocol.Hash]xdr.ScpQuorumSet
	members map[protocol.AccountID]protocol.Hash // those whose word matters to us, and the quorum set they named last
	heard   map[protocol.AccountID]uint32        // the newest slot that each spoke about
	window  [2]uint32                            // slots that are listened to
	unsaid  []xdr.ScpStatement                   // to be signed, in order
	own     map[envelopeKey]xdr.ScpEnvelope      // what was said, signed
	latest  map[envelopeKey]xdr.ScpEnvelope      // what others said last
	told    map[protocol.AccountID]time.Time     // when each peer was last answered what was missed
	served  map[protocol.Hash]uint32             // the ledgers of transaction sets that somebody was told of
	ready   chan struct{}                        // holds one token when there is something to sign
}

type timerKey struct {
	slot  uint64
	timer scp.Timer
}

// envelopeKey names one statement of a node among those of which only the newest matters.
type envelopeKey struct {
	slot    uint32
	node    protocol.AccountID
	nominal bool
}

func keyOf(st xdr.ScpStatement) (envelopeKey, error) {
	id, err := protocol.AccountIDFromXDR(xdr.AccountId(st.NodeId))
	if err != nil || st.SlotIndex > 1<<32-1 {
		return envelopeKey{}, fmt.Errorf("%w: statement of %v for slot %d", protocol.ErrInvalid, err, st.SlotIndex)
	}
	return envelopeKey{uint32(st.SlotIndex), id, st.Pledges.Type == xdr.ScpStatementTypeScpStNominate}, nil
}

// NewFederated makes a Federated. Its Attach is what Config.Consensus takes.
func NewFederated(cfg FederatedConfig) (*Federated, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Clock == nil {
		cfg.Clock = SystemClock{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Verify == nil {
		cfg.Verify = ed25519.Verify
	}
	if cfg.Timeouts == (scp.Timeout{}) {
		cfg.Timeouts = scp.DefaultTimeout
	}
	f := &Federated{cfg: cfg, network: cfg.Passphrase.NetworkID(), me: cfg.Signer.NodeID(),
		timers: map[timerKey]time.Time{}, waiting: map[envelopeKey][]*waiting{}, brought: map[bringer]map[protocol.Hash]bool{}, fetcher: newFetcher(),
		inbox: make(chan incoming, maxInbox), stop: make(chan struct{}), ready: make(chan struct{}, 1),
		sets: map[protocol.Hash]xdr.ScpQuorumSet{}, heard: map[protocol.AccountID]uint32{},
		own: map[envelopeKey]xdr.ScpEnvelope{}, latest: map[envelopeKey]xdr.ScpEnvelope{}, told: map[protocol.AccountID]time.Time{}, served: map[protocol.Hash]uint32{}}
	id := scp.NodeID(f.me.Key())
	node, err := scp.New(scp.Config{ID: id, QuorumSet: cfg.QuorumSet, Validator: true, Nomination: cfg.Timeouts, Ballot: cfg.Timeouts}, application{f})
	if err != nil {
		return nil, fmt.Errorf("herder: %w", err)
	}
	f.node = node
	return f, nil
}

// Attach joins f to the herder that drives it, and takes back what this validator had said.
func (f *Federated) Attach(d Driver) Consensus {
	f.driver = d
	local, hash := f.node.QuorumSet()
	f.mu.Lock()
	f.sets[protocol.Hash(hash)] = local.XDR()
	f.mu.Unlock()
	f.remember()
	f.follow()
	return f
}

// remember takes back what was said before a restart, and has it signed again where that is missing.
func (f *Federated) remember() {
	header, _ := f.cfg.Ledger.Header()
	for _, said := range f.cfg.Said {
		closed := said.slot() <= uint32(header.LedgerSeq)
		for _, set := range said.Sets {
			f.driver.Keep(said.slot(), set)
		}
		for _, env := range said.Envelopes {
			var out scp.Output
			key, err := keyOf(env.Statement)
			if err == nil && !closed {
				out, err = f.node.Restore(env.Statement)
			}
			if err == nil {
				err = f.carryOut(out)
			}
			if err != nil {
				f.cfg.Logger.Error("what was said before is not understood; nothing else is said about the slot", "slot", said.slot(), "error", err)
				continue
			}
			f.mu.Lock()
			if len(env.Signature) == 0 {
				f.unsaid = append(f.unsaid, env.Statement)
			} else {
				f.own[key] = env
			}
			f.mu.Unlock()
		}
	}
	f.signSoon()
}

func (s Said) slot() uint32 {
	if len(s.Envelopes) == 0 {
		return 0
	}
	return uint32(s.Envelopes[0].Statement.SlotIndex)
}

// Propose is part of Consensus.
func (f *Federated) Propose(p Proposal) error {
	f.follow()
	return f.step(scp.Nominate{Slot: uint64(p.Slot), Value: mustEncode(p.Value), Previous: mustEncode(p.Previous)})
}

// Tick is part of Consensus.
func (f *Federated) Tick(now time.Time) (time.Time, error) {
	f.follow()
	if err := f.progressWaiting(); err != nil {
		return time.Time{}, err
	}
	// 1. What has come in.
	for {
		select {
		case in := <-f.inbox:
			if err := in(f); err != nil {
				return time.Time{}, err
			}
			continue
		default:
		}
		break
	}
	// 2. What the time demands.
	if err := f.expire(now); err != nil {
		return time.Time{}, err
	}
	// 3. What is missing.
	next := f.fetch(now)
	next = earlier(next, f.keepUp(now))
	for _, at := range f.timers {
		next = earlier(next, at)
	}
	return next, nil
}

// expire runs the timers that are due, in the order in which they were.
func (f *Federated) expire(now time.Time) error {
	for {
		var due timerKey
		var at time.Time
		for key, t := range f.timers {
			if !t.After(now) && (at.IsZero() || t.Before(at) || t.Equal(at) && key.less(due)) {
				due, at = key, t
			}
		}
		if at.IsZero() {
			return nil
		}
		delete(f.timers, due)
		if err := f.step(scp.Expire{Slot: due.slot, Timer: due.timer}); err != nil {
			return err
		}
	}
}

func (k timerKey) less(o timerKey) bool {
	return k.slot < o.slot || k.slot == o.slot && k.timer < o.timer
}

// step hands one input to the machine and carries out what it wants.
func (f *Federated) step(in scp.Input) error {
	out, err := f.node.Step(in)
	return errors.Join(err, f.carryOut(out))
}

// carryOut does what the machine wants done. What is said is made durable first: whoever learns of a decision of ours, too,
// must not find a validator that has forgotten it.
func (f *Federated) carryOut(out scp.Output) error {
	var said []xdr.ScpStatement
	for _, e := range out.Effects {
		if send, ok := e.(scp.Send); ok {
			said = append(said, send.Statement)
		}
	}
	if len(said) > 0 {
		if err := f.say(said); err != nil {
			return err
		}
	}
	now := f.cfg.Clock.Now()
	for _, e := range out.Effects {
		switch e := e.(type) {
		case scp.SetTimer:
			f.timers[timerKey{e.Slot, e.Timer}] = now.Add(e.After)
		case scp.StopTimer:
			delete(f.timers, timerKey{e.Slot, e.Timer})
		case scp.Decide:
			value, err := decodeValue(e.Value)
			if err != nil {
				return fmt.Errorf("herder: slot %d was decided with what is no value: %w", e.Slot, err)
			}
			f.driver.Externalized(uint32(e.Slot), value)
		}
	}
	return nil
}

// follow brings everything up to the last closed ledger.
func (f *Federated) follow() {
	header, _ := f.cfg.Ledger.Header()
	last := uint32(header.LedgerSeq)
	if last == f.last {
		return
	}
	for slot := max(f.last, max(last, slotsBehind)-slotsBehind); slot <= last; slot++ {
		f.settle(slot)
	}
	f.last = last
	low, high := uint32(1), last+maxSlotsAhead
	if last > slotsBehind {
		low = last - slotsBehind + 1
	}
	f.node.SetWindow(uint64(low), uint64(high), uint64(low))
	f.fetcher.forget(last + 1)
	for key := range f.waiting {
		if key.slot < low {
			delete(f.waiting, key)
		}
	}
	for b := range f.brought {
		if b.slot <= last {
			delete(f.brought, b)
		}
	}
	for key := range f.timers {
		if key.slot <= uint64(last) {
			delete(f.timers, key)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.window = [2]uint32{low, high}
	for key := range f.latest {
		if key.slot < low {
			delete(f.latest, key)
		}
	}
	for key := range f.own {
		if key.slot < low {
			delete(f.own, key)
		}
	}
	f.countMembers()
	f.progress()
}

// settle remembers what decided a slot that has closed, for those who were away.
func (f *Federated) settle(slot uint32) {
	if header, _ := f.cfg.Ledger.Header(); slot > uint32(header.LedgerSeq) {
		return
	}
	proof := f.node.Proof(uint64(slot))
	f.mu.Lock()
	if own, ok := f.own[envelopeKey{slot, f.me, false}]; ok {
		proof = append(proof, own)
	}
	sets := f.setsOf(proof)
	f.mu.Unlock()
	if len(proof) == 0 {
		return
	}
	entry := xdr.ScpHistoryEntryV0{QuorumSets: sets, LedgerMessages: xdr.LedgerScpMessages{LedgerSeq: xdr.Uint32(slot), Messages: proof}}
	if err := f.cfg.Memory.Decided(entry); err != nil {
		f.cfg.Logger.Error("what decided a ledger is not kept for others", "ledger", slot, "error", err)
	}
}

// Info says how a slot stands, for people; false for one that is not known. It is for the goroutine that steps.
func (f *Federated) Info(slot uint64) (scp.Info, bool) { return f.node.Info(slot, nil) }
