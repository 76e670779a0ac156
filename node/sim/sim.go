// Package sim plays a network of validators in one process, in virtual time, with everything from a seed: the herder, the
// consensus and the ledger are the real ones, the clock, the network between them and their disks are not.
//
//	w, err := sim.New(sim.Config{Seed: 7, Validators: 4})
//	err = w.Run(time.Minute)   // of virtual time; an error is a broken promise of the protocol
//	err = w.Heal(time.Minute)  // all faults end, and every validator must close ledgers again
//
// Whatever a seed does it does again: there is one goroutine, and no map is walked unsorted. What is checked always: one
// value for each slot among validators that keep to the protocol, equal chains of headers, no statement that contradicts an
// earlier one of the same validator, before or after a crash, and the invariants of the ledger.
package sim

import (
	"container/heap"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/ledger"
	"github.com/diamante/gateway/node/protocol"
)

// passphrase of the networks that are played.
const passphrase protocol.Passphrase = "diamante simulation"

// Config says what is played.
type Config struct {
	Seed       uint64
	Validators int           // at least 1
	Threshold  int           // how many of them must agree; 0: two thirds and more
	CloseEvery time.Duration // 0: five seconds
	Faults     Faults
	Logger     *slog.Logger // nil: nobody is told
}

// Faults says what goes wrong, each as a chance from 0 to 1, or as a bound.
type Faults struct {
	Loss      float64       // of each message
	Duplicate float64       // of each message
	Delay     time.Duration // of messages, at most; half a millisecond at least
	Skew      time.Duration // of clocks, at most, either way
	Crash     float64       // of a validator, each second
	Partition float64       // of the network, each second
	Down      time.Duration // how long a validator stays down, or a partition lasts, at most
}

// ErrUnsafe is wrapped by every error that says that the protocol broke a promise.
var ErrUnsafe = errors.New("sim: unsafe")

// ErrStuck is wrapped by the error of a network that does not come back after its faults have ended.
var ErrStuck = errors.New("sim: stuck")

// World is a network that is played.
type World struct {
	cfg    Config
	rng    *rand.Rand
	now    time.Time
	events events
	serial uint64
	nodes  []*validator
	sides  []int // of the partition that each validator is on
	healed bool
	chain  map[uint32]protocol.Hash // the hash of each closed ledger
	good   map[string]bool          // signatures that were verified, with their key and message
	err    error
}

// epoch is when every play begins.
var epoch = time.Unix(1_700_000_000, 0).UTC()

// New makes a network. Nothing happens before Run.
func New(cfg Config) (*World, error) {
	if cfg.Validators < 1 {
		return nil, errors.New("sim: no validators")
	}
	if cfg.Threshold == 0 {
		cfg.Threshold = cfg.Validators - (cfg.Validators-1)/3
	}
	if cfg.CloseEvery == 0 {
		cfg.CloseEvery = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	w := &World{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0)), now: epoch, sides: make([]int, cfg.Validators), chain: map[uint32]protocol.Hash{}, good: map[string]bool{}}
	quorum := xdr.ScpQuorumSet{Threshold: xdr.Uint32(cfg.Threshold), InnerSets: []xdr.ScpQuorumSet{}}
	for i := range cfg.Validators {
		key := w.key(i)
		id, err := protocol.AccountIDFromKey(key.Public().(ed25519.PublicKey))
		if err != nil {
			return nil, err
		}
		quorum.Validators = append(quorum.Validators, xdr.NodeId(id.XDR()))
		w.nodes = append(w.nodes, newValidator(w, i, id, key))
	}
	for _, v := range w.nodes {
		v.quorum = quorum
		if err := v.start(); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	w.after(time.Second, w.chaos)
	return w, nil
}

// key makes the key of a validator, the same for the same seed.
func (w *World) key(i int) ed25519.PrivateKey {
	seed := sha256.Sum256(fmt.Appendf(nil, "simulation %d, validator %d", w.cfg.Seed, i))
	return ed25519.NewKeyFromSeed(seed[:])
}

// genesis is ledger 1 of every play. Its root account is the first validator's key.
func (w *World) genesis() (g ledger.Genesis, err error) {
	supply, err := protocol.ParseAmount("1000000000")
	return ledger.Genesis{Passphrase: passphrase, Root: w.nodes[0].id, Supply: supply, BaseFee: 100, BaseReserve: 5_000_000,
		Protocol: ledger.Protocol, MaxTxSetSize: 1000, CloseTime: epoch.Add(-time.Minute)}, err
}

// Close lets go of everything.
func (w *World) Close() (err error) {
	for _, v := range w.nodes {
		err = errors.Join(err, v.shut())
	}
	return err
}

// event is something that happens at a time; those of one time happen in the order in which they were thought of.
type event struct {
	at     time.Time
	serial uint64
	do     func()
}

type events []event

// Len is part of heap.Interface.
func (e events) Len() int { return len(e) }

// Less is part of heap.Interface.
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].serial < e[j].serial
}

// Swap is part of heap.Interface.
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }

// Push is part of heap.Interface.
func (e *events) Push(x any) { *e = append(*e, x.(event)) }

// Pop is part of heap.Interface.
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	old[len(old)-1] = event{}
	*e = old[:len(old)-1]
	return x
}

// after has something happen later.
func (w *World) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.events, event{w.now.Add(max(d, 0)), w.serial, do})
}

// Run lets time pass. An error wraps ErrUnsafe, or says what else broke.
func (w *World) Run(d time.Duration) error {
	until := w.now.Add(d)
	for w.err == nil && len(w.events) > 0 && !w.events[0].at.After(until) {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	if w.err == nil {
		w.now = until
	}
	return w.err
}

// verify verifies a signature once, whoever asks.
func (w *World) verify(key ed25519.PublicKey, message, sig []byte) bool {
	name := string(key) + string(sig) + string(message)
	good, known := w.good[name]
	if !known {
		good = ed25519.Verify(key, message, sig)
		w.good[name] = good
	}
	return good
}

// fail ends the play.
func (w *World) fail(err error) {
	if w.err == nil && err != nil {
		w.err = fmt.Errorf("seed %d, after %s: %w", w.cfg.Seed, w.now.Sub(epoch), err)
	}
}

// Heal ends all faults, and lets time pass until every validator has closed three ledgers more than anybody had: ErrStuck if
// that takes longer than d.
func (w *World) Heal(d time.Duration) error {
	w.healed = true
	clear(w.sides)
	highest := uint32(0)
	for _, v := range w.nodes {
		if v.ledger == nil {
			w.fail(v.start())
		}
		v.skew = 0
		highest = max(highest, v.height())
	}
	for until := w.now.Add(d); w.now.Before(until); {
		if err := w.Run(time.Second); err != nil {
			return err
		}
		done := true
		for _, v := range w.nodes {
			done = done && v.height() >= highest+3
		}
		if done {
			return nil
		}
	}
	text := ""
	for _, v := range w.nodes {
		text += fmt.Sprintf("\n  %d at ledger %d", v.index, v.height())
	}
	return fmt.Errorf("%w: seed %d, %s after the faults ended, highest was %d:%s", ErrStuck, w.cfg.Seed, d, highest, text)
}

// Heights returns the last ledger of each validator.
func (w *World) Heights() (out []uint32) {
	for _, v := range w.nodes {
		out = append(out, v.height())
	}
	return out
}

// closed checks a ledger that a validator has closed against what others closed.
func (w *World) closed(v *validator, seq uint32, hash protocol.Hash) {
	if known, ok := w.chain[seq]; ok && known != hash {
		w.fail(fmt.Errorf("%w: ledger %d of validator %d is %s, another's is %s", ErrUnsafe, seq, v.index, hash, known))
	}
	w.chain[seq] = hash
}

// chaos lets something go wrong, every second.
func (w *World) chaos() {
	if w.healed {
		return
	}
	f := w.cfg.Faults
	for _, v := range w.nodes {
		if w.rng.Float64() < f.Crash && v.ledger != nil {
			w.fail(v.crash())
			w.after(w.upTo(f.Down), func() {
				if v.ledger == nil {
					w.fail(v.start())
				}
			})
		}
	}
	if w.rng.Float64() < f.Partition {
		for i := range w.sides {
			w.sides[i] = w.rng.IntN(2)
		}
		w.after(w.upTo(f.Down), func() { clear(w.sides) })
	}
	w.after(time.Second, w.chaos)
}

func (w *World) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(w.rng.Int64N(int64(d)))
}

// carry brings a message from one validator to another, as the faults have it.
func (w *World) carry(from, to *validator, m xdr.StellarMessage) {
	f := w.cfg.Faults
	times := 1
	if !w.healed {
		if w.sides[from.index] != w.sides[to.index] || w.rng.Float64() < f.Loss {
			return
		}
		if w.rng.Float64() < f.Duplicate {
			times = 2
		}
	}
	for range times {
		delay := 500*time.Microsecond + w.upTo(f.Delay)
		if w.healed {
			delay = time.Millisecond
		}
		w.after(delay, func() { to.hear(from, m) })
	}
}

var background = context.Background()
