package herder

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

const testNet protocol.Passphrase = "herder test"

var quiet = slog.New(slog.DiscardHandler)

// epoch is when the tests' clocks start, and when the genesis closed.
var epoch = time.Unix(1_700_000_000, 0)

// fakeLedger is a chain of headers over a set of sequence numbers, with switches to fail.
type fakeLedger struct {
	t testing.TB

	mu       sync.Mutex
	header   xdr.LedgerHeader
	seqs     map[protocol.AccountID]int64
	closed   []xdr.LedgerCloseMeta
	applied  map[protocol.Hash]int
	balances map[protocol.AccountID]int64
	refuse   map[protocol.Hash]xdr.TransactionResultCode
	fail     error
}

func newFakeLedger(t testing.TB) *fakeLedger {
	return &fakeLedger{t: t, seqs: map[protocol.AccountID]int64{}, applied: map[protocol.Hash]int{},
		balances: map[protocol.AccountID]int64{}, refuse: map[protocol.Hash]xdr.TransactionResultCode{},
		header: xdr.LedgerHeader{LedgerSeq: 1, LedgerVersion: 22, BaseFee: 100, BaseReserve: 5_000_000, MaxTxSetSize: 5,
			ScpValue: xdr.StellarValue{CloseTime: xdr.TimePoint(epoch.Unix())}}}
}

func (l *fakeLedger) Header() (xdr.LedgerHeader, protocol.Hash) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.header, sha256.Sum256(mustEncode(l.header))
}

// Account says that everybody has what a test put on him, 1000 DIAM otherwise.
func (l *fakeLedger) Account(id protocol.AccountID) (protocol.Account, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	balance, ok := l.balances[id]
	if !ok {
		balance = 1000 * protocol.One
	}
	amount, err := protocol.AmountFromStroops(balance)
	return protocol.Account{ID: id, Balance: amount, SubEntries: 1}, err
}

func (l *fakeLedger) CheckValid(env xdr.TransactionEnvelope) xdr.TransactionResult {
	l.mu.Lock()
	defer l.mu.Unlock()
	return result(l.check(env))
}

func result(code xdr.TransactionResultCode) xdr.TransactionResult {
	return xdr.TransactionResult{Result: xdr.TransactionResultResult{Code: code, Results: &[]xdr.OperationResult{}}}
}

func (l *fakeLedger) check(env xdr.TransactionEnvelope) xdr.TransactionResultCode {
	hash, err := testNet.TxHash(env)
	if err != nil {
		l.t.Error(err)
	}
	if code, no := l.refuse[hash]; no {
		return code
	}
	source, err := protocol.AccountIDFromXDR(sourceID(env))
	if err != nil {
		l.t.Error(err)
	}
	if env.SeqNum() != l.seqs[source]+1 {
		return xdr.TransactionResultCodeTxBadSeq
	}
	return xdr.TransactionResultCodeTxSuccess
}

func (l *fakeLedger) CheckSet(xdr.GeneralizedTransactionSet, xdr.StellarValue) error { return nil }

func (l *fakeLedger) Close(set xdr.GeneralizedTransactionSet, value xdr.StellarValue) (xdr.LedgerCloseMeta, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return xdr.LedgerCloseMeta{}, l.fail
	}
	if value.CloseTime <= l.header.ScpValue.CloseTime {
		l.t.Errorf("ledger %d closes at %d, the one before at %d", l.header.LedgerSeq+1, value.CloseTime, l.header.ScpValue.CloseTime)
	}
	if sha256.Sum256(mustEncode(set)) != value.TxSetHash {
		l.t.Errorf("ledger %d is closed with another transaction set than was decided", l.header.LedgerSeq+1)
	}
	previous := xdr.Hash(sha256.Sum256(mustEncode(l.header)))
	if set.V1TxSet.PreviousLedgerHash != previous {
		l.t.Errorf("the set of ledger %d follows another one", l.header.LedgerSeq+1)
	}
	l.header.LedgerSeq++
	l.header.PreviousLedgerHash, l.header.ScpValue = previous, value
	ops := 0
	for _, c := range *set.V1TxSet.Phases[0].V0Components {
		for _, env := range c.TxsMaybeDiscountedFee.Txs {
			if code := l.check(env); code != xdr.TransactionResultCodeTxSuccess {
				l.t.Errorf("ledger %d holds a transaction with %s", l.header.LedgerSeq, code)
			}
			hash, err := testNet.TxHash(env)
			if err != nil {
				l.t.Error(err)
			}
			source, err := protocol.AccountIDFromXDR(sourceID(env))
			if err != nil {
				l.t.Error(err)
			}
			l.seqs[source]++
			l.applied[hash]++
			ops += len(env.Operations())
		}
	}
	if ops > int(l.header.MaxTxSetSize) {
		l.t.Errorf("ledger %d holds %d operations, more than %d", l.header.LedgerSeq, ops, l.header.MaxTxSetSize)
	}
	meta := xdr.LedgerCloseMeta{V: 1, V1: &xdr.LedgerCloseMetaV1{LedgerHeader: xdr.LedgerHeaderHistoryEntry{Header: l.header}, TxSet: set}}
	l.closed = append(l.closed, meta)
	return meta, nil
}

// times returns the close times since the genesis, in seconds after it.
func (l *fakeLedger) times() (out []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.closed {
		out = append(out, m.LedgerCloseTime()-epoch.Unix())
	}
	return out
}

// fakeSigner is a key with a switch.
type fakeSigner struct {
	id   protocol.AccountID
	key  ed25519.PrivateKey
	fail error
	lie  bool
}

func newFakeSigner(t testing.TB) *fakeSigner {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := protocol.AccountIDFromKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeSigner{id: id, key: private}
}

func (s *fakeSigner) NodeID() protocol.AccountID { return s.id }

func (s *fakeSigner) SignValue(ctx context.Context, body []byte) ([]byte, error) {
	if s.fail != nil {
		return nil, s.fail
	}
	if _, limited := ctx.Deadline(); !limited {
		return nil, errors.New("a signature is asked for without a deadline")
	}
	if s.lie {
		body = append(body[:len(body):len(body)], 0)
	}
	return ed25519.Sign(s.key, body), nil
}

// rig is a herder in virtual time.
type rig struct {
	*Herder
	ledger *fakeLedger
	signer *fakeSigner
	clock  *nodetest.Clock
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{ledger: newFakeLedger(t), signer: newFakeSigner(t), clock: nodetest.NewClock(epoch)}
	cfg := Config{Passphrase: testNet, Ledger: r.ledger, Signer: r.signer, Consensus: Alone, CloseEvery: 5 * time.Second, Clock: r.clock, Logger: quiet}
	if change != nil {
		change(&cfg)
	}
	var err error
	if r.Herder, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return r
}

// step steps once and returns how long until the next.
func (r *rig) step(t testing.TB) time.Duration {
	t.Helper()
	next, err := r.Step(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return next.Sub(r.clock.Now())
}

// pass lets d pass, stepping whenever the herder wants to be.
func (r *rig) pass(t testing.TB, d time.Duration) {
	t.Helper()
	end := r.clock.Now().Add(d)
	for steps := 0; ; steps++ {
		wait := r.step(t)
		if wait <= 0 || steps > 100_000 {
			t.Fatalf("step %d wants to be called again after %s", steps, wait)
		}
		if left := end.Sub(r.clock.Now()); wait > left {
			r.clock.Advance(left)
			return
		}
		r.clock.Advance(wait)
	}
}

// send submits a note of w.
func (r *rig) send(t testing.TB, w nodetest.Wallet, p txbuild.Params) (protocol.Submission, protocol.Hash) {
	t.Helper()
	p.Passphrase = testNet
	if p.Operations == nil {
		p.Operations = []txbuild.Operation{txbuild.ManageData{Name: "note", Value: []byte{1}}}
	}
	env, hash := w.SignParams(t, p)
	s, err := r.Submit(env)
	if err != nil {
		t.Fatal(err)
	}
	return s, hash
}
