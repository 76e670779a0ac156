package herder

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

func TestCloseTimes(t *testing.T) {
	for _, c := range []struct {
		name  string
		every time.Duration
		lead  time.Duration
		start time.Duration // of the clock, after the genesis
		pass  time.Duration
		want  []int64
	}{
		{"every five seconds", 5 * time.Second, 0, 10 * time.Second, 21 * time.Second, []int64{10, 15, 20, 25, 30}},
		{"every second", time.Second, 0, 2500 * time.Millisecond, 3 * time.Second, []int64{2, 3, 4, 5}},
		{"not within the genesis's second", time.Second, 0, 0, 3500 * time.Millisecond, []int64{1, 2, 3}},
		{"faster than seconds, waiting for each", 100 * time.Millisecond, 0, time.Second, 3 * time.Second, []int64{1, 2, 3, 4}},
		{"faster than seconds, running ahead", 250 * time.Millisecond, 3 * time.Second, time.Second, 2 * time.Second, []int64{1, 2, 3, 4, 5, 6}},
		{"the clock is behind the last ledger", time.Second, 0, -4 * time.Second, 7500 * time.Millisecond, []int64{1, 2, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(cfg *Config) { cfg.CloseEvery, cfg.MaxLead = c.every, c.lead })
			r.clock.Advance(c.start)
			r.pass(t, c.pass)
			if got := r.ledger.times(); !slices.Equal(got, c.want) {
				t.Errorf("closed at %v, want %v", got, c.want)
			}
		})
	}
}

func TestTargetIsKept(t *testing.T) {
	r := newRig(t, nil)
	r.pass(t, time.Hour)
	if got := len(r.ledger.times()); got < 719 || got > 721 {
		t.Errorf("%d ledgers of five seconds each in an hour, want 720", got)
	}
	// After a pause of the machine nothing is made up for: one ledger, and then every five seconds again.
	before := len(r.ledger.times())
	r.clock.Advance(time.Hour)
	r.pass(t, 12*time.Second)
	if got := len(r.ledger.times()) - before; got != 3 {
		t.Errorf("%d ledgers in 12 s after an hour's pause, want 3", got)
	}
}

func TestSignerAway(t *testing.T) {
	r := newRig(t, nil)
	r.clock.Advance(time.Minute)
	for _, spoil := range []func(on bool){
		func(on bool) { r.signer.fail = map[bool]error{true: errors.New("signer away")}[on] },
		func(on bool) { r.signer.lie = on },
	} {
		before := len(r.ledger.times())
		spoil(true)
		r.pass(t, 30*time.Second)
		if got := len(r.ledger.times()); got != before {
			t.Errorf("%d ledgers closed without a signature", got-before)
		}
		spoil(false)
		r.pass(t, 2*time.Second)
		if got := len(r.ledger.times()); got != before+1 {
			t.Errorf("%d ledgers closed once the signer is back, want 1", got-before)
		}
	}
}

func TestCloseFails(t *testing.T) {
	r := newRig(t, nil)
	r.clock.Advance(time.Minute)
	r.ledger.fail = errors.New("conservation broken")
	_, err := r.Step(t.Context())
	if !errors.Is(err, ErrBroken) || !errors.Is(err, r.ledger.fail) {
		t.Errorf("got %v, want ErrBroken", err)
	}
	if err := newRigOver(t, r).Run(t.Context()); !errors.Is(err, ErrBroken) {
		t.Errorf("run: got %v, want ErrBroken", err)
	}
}

func newRigOver(t *testing.T, r *rig) *Herder {
	t.Helper()
	h, err := New(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// slow is a consensus that decides when the test says so.
type slow struct {
	driver   Driver
	proposed []Proposal
	tick     time.Duration
	ticks    int
	fail     error
}

func (s *slow) Propose(p Proposal) error {
	s.proposed = append(s.proposed, p)
	return s.fail
}

func (s *slow) Tick(now time.Time) (time.Time, error) {
	s.ticks++
	if s.tick == 0 {
		return time.Time{}, nil
	}
	return now.Add(s.tick), nil
}

func newSlow(t *testing.T) (*rig, *slow) {
	s := new(slow)
	r := newRig(t, func(cfg *Config) { cfg.Consensus = func(d Driver) Consensus { s.driver = d; return s } })
	r.clock.Advance(time.Minute)
	return r, s
}

func TestConsensusTakesItsTime(t *testing.T) {
	r, s := newSlow(t)
	r.step(t)
	r.clock.Advance(time.Minute)
	r.step(t)
	if len(s.proposed) != 1 || len(r.ledger.closed) != 0 || s.ticks != 2 {
		t.Fatalf("%d proposals, %d ledgers, %d ticks without a decision; want 1, 0, 2", len(s.proposed), len(r.ledger.closed), s.ticks)
	}
	s.tick = 3 * time.Second
	if wait := r.step(t); wait != s.tick {
		t.Errorf("steps again after %s, the consensus's timer is due after %s", wait, s.tick)
	}
	p := s.proposed[0]
	s.driver.Externalized(p.Slot, p.Value)
	select {
	case <-r.wake:
	default:
		t.Error("a decision did not ask for a step")
	}
	r.step(t)
	if len(s.proposed) != 1 {
		t.Error("a ledger that took long is made up for at once")
	}
	r.clock.Advance(r.cfg.CloseEvery)
	r.step(t)
	if len(r.ledger.closed) != 1 || len(s.proposed) != 2 {
		t.Fatalf("%d ledgers, %d proposals after a decision; want 1, 2", len(r.ledger.closed), len(s.proposed))
	}
	if next := s.proposed[1]; next.Slot != 3 || next.Previous.TxSetHash != p.Value.TxSetHash || next.Previous.CloseTime != p.Value.CloseTime {
		t.Errorf("next proposal %+v", next)
	}
	// Decisions for slots that are past or far away are of no use, and do no harm.
	for _, slot := range []uint32{0, 1, 2, 1000} {
		s.driver.Externalized(slot, p.Value)
	}
	r.step(t)
	if len(r.ledger.closed) != 1 || len(r.decided) != 0 {
		t.Errorf("%d ledgers, %d decisions kept; want 1, 0", len(r.ledger.closed), len(r.decided))
	}
}

func TestConsensusDecidesTheUnknown(t *testing.T) {
	r, s := newSlow(t)
	r.step(t)
	value := s.proposed[0].Value
	value.TxSetHash[0] ^= 1
	s.driver.Externalized(2, value)
	if _, err := r.Step(t.Context()); !errors.Is(err, ErrBroken) {
		t.Errorf("got %v, want ErrBroken", err)
	}
	r, s = newSlow(t)
	s.fail = errors.New("no quorum set")
	if _, err := r.Step(t.Context()); !errors.Is(err, ErrBroken) || !errors.Is(err, s.fail) {
		t.Errorf("got %v, want ErrBroken", err)
	}
}

func TestValidate(t *testing.T) {
	r, s := newSlow(t)
	r.step(t)
	good := s.proposed[0].Value
	sign := func(v xdr.StellarValue) xdr.StellarValue {
		if err := signValue(limit(t), testNet.NetworkID(), r.signer, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	at := func(d time.Duration) xdr.StellarValue {
		v := good
		v.CloseTime = xdr.TimePoint(r.clock.Now().Add(d).Unix())
		return sign(v)
	}
	edit := func(f func(v *xdr.StellarValue)) xdr.StellarValue {
		v := good
		ext := *v.Ext.LcValueSignature
		ext.Signature = slices.Clone(ext.Signature)
		v.Ext.LcValueSignature = &ext
		f(&v)
		return v
	}
	for _, c := range []struct {
		name  string
		slot  uint32
		value xdr.StellarValue
		ok    bool
	}{
		{"as proposed", 2, good, true},
		{"as far ahead as may be", 2, at(MaxTimeSlip), true},
		{"too far ahead", 2, at(MaxTimeSlip + time.Second), false},
		{"as early as may be", 2, at(-time.Minute + time.Second), true},
		{"at the previous close time", 2, at(-time.Minute), false},
		{"for the last ledger", 1, good, false},
		{"for a later ledger", 3, good, false},
		{"not signed", 2, edit(func(v *xdr.StellarValue) { v.Ext = xdr.StellarValueExt{} }), false},
		{"signature without its arm", 2, edit(func(v *xdr.StellarValue) { v.Ext.LcValueSignature = nil }), false},
		{"signature changed", 2, edit(func(v *xdr.StellarValue) { v.Ext.LcValueSignature.Signature[7] ^= 1 }), false},
		{"signature cut", 2, edit(func(v *xdr.StellarValue) { v.Ext.LcValueSignature.Signature = v.Ext.LcValueSignature.Signature[:63] }), false},
		{"signed by another", 2, edit(func(v *xdr.StellarValue) { v.Ext.LcValueSignature.NodeId = xdr.NodeId(newFakeSigner(t).id.XDR()) }), false},
		{"close time changed after signing", 2, edit(func(v *xdr.StellarValue) { v.CloseTime++ }), false},
		{"set changed after signing", 2, edit(func(v *xdr.StellarValue) { v.TxSetHash[3]++ }), false},
		{"unknown set", 2, sign(edit(func(v *xdr.StellarValue) { v.TxSetHash[3]++ })), false},
		{"with an upgrade", 2, edit(func(v *xdr.StellarValue) { v.Upgrades = []xdr.UpgradeType{{0, 0, 0, 1}} }), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := s.driver.Validate(c.slot, c.value)
			if c.ok && err != nil || !c.ok && !errors.Is(err, ErrBadValue) {
				t.Errorf("got %v, valid should be %v", err, c.ok)
			}
		})
	}
}

func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestSubmit(t *testing.T) {
	r := newRig(t, nil)
	a, b := nodetest.NewWallet(t), nodetest.NewWallet(t)
	if s, hash := r.send(t, a, txbuild.Params{Sequence: 1}); s.Status != protocol.SubmissionPending || s.Hash != hash {
		t.Errorf("first: %+v", s)
	}
	if s, _ := r.send(t, a, txbuild.Params{Sequence: 1}); s.Status != protocol.SubmissionDuplicate {
		t.Errorf("again: %+v", s)
	}
	if s, _ := r.send(t, a, txbuild.Params{Sequence: 2}); s.Status != protocol.SubmissionTryAgainLater || s.Result != nil {
		t.Errorf("the next of the same source: %+v", s)
	}
	inner, _ := a.SignParams(t, txbuild.Params{Passphrase: testNet, Sequence: 1, Operations: []txbuild.Operation{txbuild.ManageData{Name: "n", Value: []byte{2}}}})
	for _, c := range []struct {
		fee  int64
		want protocol.SubmissionStatus
	}{{20*nodetest.FeePerOp - 1, protocol.SubmissionTryAgainLater}, {20 * nodetest.FeePerOp, protocol.SubmissionPending}} {
		env, _ := b.Bump(t, testNet, inner, c.fee)
		if s, err := r.Submit(env); err != nil || s.Status != c.want {
			t.Errorf("fee bump with %d: %+v, %v; want %s", c.fee, s, err, c.want)
		}
	}
	if s, _ := r.send(t, b, txbuild.Params{Sequence: 7}); s.Status != protocol.SubmissionError || s.Result.Result.Code != xdr.TransactionResultCodeTxBadSeq {
		t.Errorf("bad sequence number: %+v", s)
	}
	if got := r.Queued(); got != 1 {
		t.Errorf("%d wait, want 1", got)
	}
	r.pass(t, 6*time.Second)
	if got := r.Queued(); got != 0 || len(r.ledger.applied) != 1 {
		t.Errorf("%d wait, %d applied; want 0, 1", got, len(r.ledger.applied))
	}
	if s, _ := r.send(t, a, txbuild.Params{Sequence: 2}); s.Status != protocol.SubmissionPending {
		t.Errorf("the next, after the ledger closed: %+v", s)
	}
}

// The caller may go on using, and changing, what he submitted.
func TestSubmitCopies(t *testing.T) {
	r := newRig(t, nil)
	env, hash := nodetest.NewWallet(t).Sign(t, testNet, 1, txbuild.ManageData{Name: "note", Value: []byte{1}})
	if _, err := r.Submit(env); err != nil {
		t.Fatal(err)
	}
	env.V1.Tx.SeqNum = 99
	env.V1.Signatures[0].Signature[0] ^= 1
	r.pass(t, 6*time.Second)
	if r.ledger.applied[hash] != 1 {
		t.Error("what was applied is not what was submitted")
	}
}

func TestSurge(t *testing.T) {
	r := newRig(t, func(cfg *Config) { cfg.QueueOps = 8 })
	r.clock.Advance(time.Minute)
	var hashes []protocol.Hash
	for i := range int64(8) {
		s, hash := r.send(t, nodetest.NewWallet(t), txbuild.Params{Sequence: 1, FeePerOp: 1000 + i})
		if s.Status != protocol.SubmissionPending {
			t.Fatalf("%d: %+v", i, s)
		}
		hashes = append(hashes, hash)
	}
	if s, _ := r.send(t, nodetest.NewWallet(t), txbuild.Params{Sequence: 1, FeePerOp: 1000}); s.Status != protocol.SubmissionTryAgainLater {
		t.Errorf("the queue is full: %+v", s)
	}
	if s, _ := r.send(t, nodetest.NewWallet(t), txbuild.Params{Sequence: 1, FeePerOp: 1001}); s.Status != protocol.SubmissionPending {
		t.Errorf("the queue is full of lower bids: %+v", s)
	}
	r.step(t)
	component := (*r.ledger.closed[0].V1.TxSet.V1TxSet.Phases[0].V0Components)[0].TxsMaybeDiscountedFee
	if len(component.Txs) != 5 || *component.BaseFee != 1003 {
		t.Errorf("%d transactions at %d each, want 5 at 1003", len(component.Txs), *component.BaseFee)
	}
	for i, h := range hashes {
		if got, want := r.ledger.applied[h], map[bool]int{true: 1}[i >= 3]; got != want {
			t.Errorf("bid %d was applied %d times, want %d", 1000+i, got, want)
		}
	}
	r.pass(t, 6*time.Second)
	component = (*r.ledger.closed[1].V1.TxSet.V1TxSet.Phases[0].V0Components)[0].TxsMaybeDiscountedFee
	if len(component.Txs) != 3 || *component.BaseFee != 100 {
		t.Errorf("then %d transactions at %d each, want 3 at 100", len(component.Txs), *component.BaseFee)
	}
}

func TestExpiredIsLeftOut(t *testing.T) {
	r := newRig(t, nil)
	r.clock.Advance(10 * time.Second)
	_, late := r.send(t, nodetest.NewWallet(t), txbuild.Params{Sequence: 1, NotAfter: epoch.Add(9 * time.Second)})
	_, just := r.send(t, nodetest.NewWallet(t), txbuild.Params{Sequence: 1, NotAfter: epoch.Add(10 * time.Second)})
	r.step(t)
	if r.ledger.applied[late] != 0 || r.ledger.applied[just] != 1 || r.Queued() != 0 {
		t.Errorf("late applied %d times, just in time %d times, %d wait; want 0, 1, 0", r.ledger.applied[late], r.ledger.applied[just], r.Queued())
	}
}

func TestInvalidAfterCloseIsDropped(t *testing.T) {
	r := newRig(t, nil)
	r.clock.Advance(time.Minute)
	// More than fits into one ledger, so that some are left to become invalid.
	var left []protocol.Hash
	for i := range int64(7) {
		_, hash := r.send(t, nodetest.NewWallet(t), txbuild.Params{Sequence: 1, FeePerOp: 1000 - i})
		left = append(left, hash)
	}
	r.ledger.mu.Lock()
	r.ledger.refuse[left[5]] = xdr.TransactionResultCodeTxInsufficientBalance
	r.ledger.mu.Unlock()
	r.step(t)
	if r.Queued() != 1 {
		t.Errorf("%d wait, want 1", r.Queued())
	}
	r.pass(t, 6*time.Second)
	if r.ledger.applied[left[5]] != 0 || r.ledger.applied[left[6]] != 1 {
		t.Error("the one that became invalid was applied, or the other one was not")
	}
}

// One account pays for others only as far as its balance goes, over all that waits.
func TestFeeBumpsShareOneBalance(t *testing.T) {
	r := newRig(t, nil)
	r.clock.Advance(time.Minute)
	sponsor := nodetest.NewWallet(t)
	const fee = 2000
	// Three reserves, as the fake's accounts have one entry; then two and a half fees.
	r.ledger.balances[sponsor.ID] = 3*5_000_000 + 2*fee + fee/2
	bump := func(w nodetest.Wallet, fee int64) protocol.Submission {
		t.Helper()
		inner, _ := w.Sign(t, testNet, 1, txbuild.ManageData{Name: "note", Value: []byte{1}})
		env, _ := sponsor.Bump(t, testNet, inner, fee)
		s, err := r.Submit(env)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	wallets := []nodetest.Wallet{nodetest.NewWallet(t), nodetest.NewWallet(t), nodetest.NewWallet(t)}
	for i, want := range []protocol.SubmissionStatus{protocol.SubmissionPending, protocol.SubmissionPending, protocol.SubmissionError} {
		s := bump(wallets[i], fee)
		if s.Status != want {
			t.Fatalf("bump %d: %+v, want %s", i, s, want)
		}
		if want == protocol.SubmissionError && s.Result.Result.Code != xdr.TransactionResultCodeTxInsufficientBalance {
			t.Errorf("bump %d: %s", i, s.Result.Result.Code)
		}
	}
	// When the balance falls, the lowest bids that it no longer covers go.
	r.ledger.header.MaxTxSetSize = 1
	r.ledger.balances[sponsor.ID] -= fee
	r.step(t)
	if got := r.Queued(); got != 1 {
		t.Errorf("%d wait, want the one that can be paid for", got)
	}
}

// Transactions are submitted from many sides while ledgers close: each accepted one is applied once.
func TestConcurrentSubmit(t *testing.T) {
	r := newRig(t, func(cfg *Config) { cfg.QueueOps = 10_000 })
	r.ledger.header.MaxTxSetSize = 1000
	const senders, each = 8, 25
	ctx, cancel := context.WithCancel(t.Context())
	stepping := make(chan struct{})
	go func() {
		defer close(stepping)
		for ctx.Err() == nil {
			r.clock.Advance(time.Second)
			if _, err := r.Step(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	}()
	var wg sync.WaitGroup
	for range senders {
		w := nodetest.NewWallet(t)
		wg.Go(func() {
			for seq := int64(1); seq <= each; {
				env, _ := w.Sign(t, testNet, seq, txbuild.ManageData{Name: "note", Value: []byte{1}})
				s, err := r.Submit(env)
				if err != nil {
					t.Error(err)
					return
				}
				if s.Status == protocol.SubmissionPending {
					seq++
				}
			}
		})
	}
	wg.Wait()
	cancel()
	<-stepping
	r.clock.Advance(time.Minute)
	r.step(t)
	if got := len(r.ledger.applied); got != senders*each {
		t.Errorf("%d transactions applied, want %d", got, senders*each)
	}
}

func TestRunUntilCancelled(t *testing.T) {
	closed := make(chan uint32, 16)
	r := newRig(t, func(cfg *Config) {
		cfg.Closed = func(m xdr.LedgerCloseMeta, _ time.Duration) { closed <- m.LedgerSequence() }
	})
	r.clock.Advance(time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	for want := uint32(2); want < 6; want++ {
		if got := <-closed; got != want {
			t.Errorf("ledger %d closed, want %d", got, want)
		}
		r.clock.Advance(5 * time.Second)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("cancelled, it returned %v", err)
	}
}

func TestConfigRefused(t *testing.T) {
	good := newRig(t, nil).cfg
	for name, spoil := range map[string]func(*Config){
		"no passphrase":      func(c *Config) { c.Passphrase = "" },
		"no ledger":          func(c *Config) { c.Ledger = nil },
		"no signer":          func(c *Config) { c.Signer = nil },
		"no consensus":       func(c *Config) { c.Consensus = nil },
		"no target":          func(c *Config) { c.CloseEvery = 0 },
		"negative lead":      func(c *Config) { c.MaxLead = -1 },
		"lead over the slip": func(c *Config) { c.MaxLead = MaxTimeSlip + 1 },
		"negative queue":     func(c *Config) { c.QueueOps = -1 },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
