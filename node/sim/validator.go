package sim

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/herder"
	"github.com/diamante/gateway/node/ledger"
	"github.com/diamante/gateway/node/protocol"
)

// signTime is what a signature takes.
const signTime = time.Millisecond

// validator is one of those that are played.
type validator struct {
	w      *World
	index  int
	id     protocol.AccountID
	key    ed25519.PrivateKey
	quorum xdr.ScpQuorumSet
	disk   *vfs.MemFS
	skew   time.Duration
	spoken map[claim]string           // what was signed, to find contradictions
	seen   map[[sha256.Size]byte]bool // messages that were passed on

	// While it is up.
	ledger    *ledger.Ledger
	herder    *herder.Herder
	consensus *herder.Federated
	life      int // how often it was started
	alarm     time.Time
	signing   bool
}

func newValidator(w *World, index int, id protocol.AccountID, key ed25519.PrivateKey) *validator {
	v := &validator{w: w, index: index, id: id, key: key, disk: vfs.NewCrashableMem(), spoken: map[claim]string{}, seen: map[[sha256.Size]byte]bool{}}
	if s := w.cfg.Faults.Skew; s > 0 {
		v.skew = w.upTo(2*s) - s
	}
	return v
}

// start brings it up from its disk.
func (v *validator) start() error {
	g, err := v.w.genesis()
	if err != nil {
		return err
	}
	l, err := ledger.OpenFS(v.disk, "ledger", g)
	if err != nil {
		return fmt.Errorf("validator %d: %w", v.index, err)
	}
	said, err := l.Said()
	if err != nil {
		return errors.Join(err, l.Shutdown())
	}
	before := make([]herder.Said, len(said))
	for i, s := range said {
		before[i] = herder.Said{Envelopes: s.Envelopes, Sets: s.Sets}
	}
	v.consensus, err = herder.NewFederated(herder.FederatedConfig{Passphrase: passphrase, QuorumSet: v.quorum, Ledger: l, Memory: l, Said: before,
		Signer: v, Network: v, Verify: v.w.verify, Clock: v, Logger: v.w.cfg.Logger})
	if err != nil {
		return errors.Join(err, l.Shutdown())
	}
	v.herder, err = herder.New(herder.Config{Passphrase: passphrase, Ledger: l, Signer: v, Consensus: v.consensus.Attach, CloseEvery: v.w.cfg.CloseEvery,
		Clock: v, Closed: v.closed, Logger: v.w.cfg.Logger})
	if err != nil {
		return errors.Join(err, l.Shutdown())
	}
	v.ledger = l
	v.life++
	v.alarm, v.signing = time.Time{}, false
	v.soon(0, v.step)
	return nil
}

// shut lets go of the store.
func (v *validator) shut() error {
	if v.ledger == nil {
		return nil
	}
	l := v.ledger
	v.ledger = nil
	return l.Shutdown()
}

// crash ends the process and loses what was not synced: all of it, since how much of it a disk has by then is not the seed's to
// say.
func (v *validator) crash() error {
	clone := v.disk.CrashClone(vfs.CrashCloneCfg{})
	err := v.shut()
	v.disk = clone
	return err
}

func (v *validator) height() uint32 {
	if v.ledger == nil {
		return 0
	}
	header, _ := v.ledger.Header()
	return uint32(header.LedgerSeq)
}

// soon has something happen to this life of the validator.
func (v *validator) soon(d time.Duration, do func()) {
	life := v.life
	v.w.after(d, func() {
		if v.ledger != nil && v.life == life {
			do()
		}
	})
}

// step lets the herder do what is due, and has itself called when it wants to be.
func (v *validator) step() {
	next, err := v.herder.Step(background)
	if err != nil {
		v.w.fail(fmt.Errorf("validator %d: %w", v.index, err))
		return
	}
	v.sign()
	if next.IsZero() {
		return
	}
	if v.alarm.IsZero() || next.Before(v.alarm) || !v.alarm.After(v.Now()) {
		v.alarm = next
		v.soon(next.Sub(v.Now()), func() {
			if v.alarm.Equal(next) {
				v.alarm = time.Time{}
			}
			v.step()
		})
	}
}

// sign signs what there is to sign, one after the other.
func (v *validator) sign() {
	if v.signing {
		return
	}
	v.signing = true
	v.soon(signTime, func() {
		v.signing = false
		more, err := v.consensus.SignNext(background)
		if err != nil {
			v.w.fail(fmt.Errorf("validator %d: %w", v.index, err))
		}
		if more {
			v.sign()
		}
	})
}

// hear takes a message and passes on what is worth it.
func (v *validator) hear(from *validator, m xdr.StellarMessage) {
	if v.ledger == nil {
		return
	}
	raw, err := m.MarshalBinary()
	if err != nil {
		v.w.fail(err)
		return
	}
	name := sha256.Sum256(raw)
	verdict := herder.Done
	if m.Type == xdr.MessageTypeTransaction {
		if s, err := v.herder.Submit(*m.Transaction); err == nil && s.Status == protocol.SubmissionPending {
			verdict = herder.Flood
		}
	} else {
		verdict = v.consensus.Handle(from.id, m)
	}
	switch verdict {
	case herder.Misbehaved:
		v.w.fail(fmt.Errorf("%w: validator %d finds that %d misbehaves: %s", ErrUnsafe, v.index, from.index, m.Type))
	case herder.Flood:
		if !v.seen[name] {
			v.seen[name] = true
			v.spread(m, from)
		}
	}
	v.step()
}

func (v *validator) spread(m xdr.StellarMessage, except *validator) {
	for _, to := range v.w.nodes {
		if to != v && to != except {
			v.w.carry(v, to, m)
		}
	}
}

// Broadcast is part of herder.Network.
func (v *validator) Broadcast(m xdr.StellarMessage) { v.spread(m, nil) }

// Send is part of herder.Network.
func (v *validator) Send(to protocol.AccountID, m xdr.StellarMessage) {
	for _, o := range v.w.nodes {
		if o.id == to {
			v.w.carry(v, o, m)
		}
	}
}

// Peers is part of herder.Network.
func (v *validator) Peers() (out []protocol.AccountID) {
	for _, o := range v.w.nodes {
		if o != v {
			out = append(out, o.id)
		}
	}
	return out
}

// Now is part of herder.Clock.
func (v *validator) Now() time.Time { return v.w.now.Add(v.skew) }

// Until is part of herder.Clock. Nobody waits here.
func (v *validator) Until(time.Time) <-chan time.Time { return nil }

// NodeID is part of herder.ValueSigner.
func (v *validator) NodeID() protocol.AccountID { return v.id }

// SignValue is part of herder.ValueSigner.
func (v *validator) SignValue(_ context.Context, body []byte) ([]byte, error) {
	return ed25519.Sign(v.key, body), nil
}

// closed compares a ledger with what others have closed.
func (v *validator) closed(meta xdr.LedgerCloseMeta, _ time.Duration) {
	header, hash := v.ledger.Header()
	if uint32(header.LedgerSeq) != meta.LedgerSequence() {
		v.w.fail(fmt.Errorf("%w: validator %d tells of ledger %d at %d", ErrUnsafe, v.index, meta.LedgerSequence(), header.LedgerSeq))
	}
	v.w.closed(v, uint32(header.LedgerSeq), hash)
}
