// Package nodetest is the conformance suite of the node's door: the node itself and its client in another process pass
// the same TestDoor, so that nobody can tell which he holds.
//
// An implementation's own test hands over a function that makes a fresh network of one node:
//
//	func TestConformance(t *testing.T) {
//		nodetest.TestDoor(t, func(t *testing.T) nodetest.Fixture { ... })
//	}
//
// Clock and Wallet are what such a test needs besides.
package nodetest

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"reflect"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// patience bounds every call the suite makes: a call that takes longer hangs.
const patience = 20 * time.Second

// Door is what is tested.
type Door interface {
	// Submit hands a transaction to the queue.
	Submit(ctx context.Context, env xdr.TransactionEnvelope) (protocol.Submission, error)
	// Closes streams closed ledgers.
	Closes(ctx context.Context, from uint32) iter.Seq2[xdr.LedgerCloseMeta, error]
	// Account reads an account.
	Account(ctx context.Context, id protocol.AccountID) (protocol.Account, error)
	// Status reads where the node stands.
	Status(ctx context.Context) (protocol.Status, error)
}

// Fixture is a fresh network.
type Fixture struct {
	Door       Door
	Passphrase protocol.Passphrase
	Root       Wallet // holds the whole supply
	// CloseLedger makes the next ledger close, and returns when it has.
	CloseLedger func(t testing.TB)
	// Stop ends the node for good.
	Stop func(t testing.TB)
}

// TestDoor runs the suite.
func TestDoor(t *testing.T, fresh func(t *testing.T) Fixture) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, f Fixture)
	}{
		{"Status", testStatus},
		{"Account", testAccount},
		{"AccountInFull", testAccountInFull},
		{"SubmitIsSeenInCloses", testSubmit},
		{"SubmitFeeBump", testFeeBump},
		{"SubmitRefused", testRefused},
		{"SubmitMalformed", testMalformed},
		{"ClosesFrom", testClosesFrom},
		{"ClosesWaits", testClosesWaits},
		{"ClosesIsLeft", testClosesLeft},
		{"ClosesAhead", testClosesAhead},
		{"Cancelled", testCancelled},
		{"Stopped", testStopped},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, fresh(t)) })
	}
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// doorErrors are all that a caller may have to tell apart. Each answer is exactly one of them.
var doorErrors = []error{protocol.ErrInvalid, protocol.ErrNotFound, protocol.ErrUnavailable, context.Canceled, context.DeadlineExceeded}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
	for _, other := range doorErrors {
		if other != want && errors.Is(err, other) {
			t.Fatalf("error %v is both %v and %v", err, want, other)
		}
	}
}

func status(t *testing.T, f Fixture) protocol.Status {
	t.Helper()
	s, err := f.Door.Status(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func account(t *testing.T, f Fixture, id protocol.AccountID) protocol.Account {
	t.Helper()
	a, err := f.Door.Account(limited(t), id)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// submit hands over a transaction that must be accepted.
func submit(t *testing.T, f Fixture, env xdr.TransactionEnvelope, hash protocol.Hash) {
	t.Helper()
	s, err := f.Door.Submit(limited(t), env)
	if err != nil {
		t.Fatal(err)
	}
	if s.Status != protocol.SubmissionPending || s.Hash != hash || s.Result != nil {
		t.Fatalf("submission %+v (%s), want pending %s", s, s.Status, hash)
	}
}

// take reads n ledgers from `from` on.
func take(t *testing.T, f Fixture, from uint32, n int) (metas []xdr.LedgerCloseMeta) {
	t.Helper()
	if n == 0 {
		return nil
	}
	for meta, err := range f.Door.Closes(limited(t), from) {
		if err != nil {
			t.Fatal(err)
		}
		if metas = append(metas, meta); len(metas) == n {
			return metas
		}
	}
	t.Fatalf("the ledgers ended after %d without an error", len(metas))
	return nil
}

func testStatus(t *testing.T, f Fixture) {
	before := status(t, f)
	if before.Passphrase != f.Passphrase || before.Ledger == 0 || before.Hash.IsZero() || before.BaseFee == 0 ||
		before.Reserve == 0 || before.Protocol == 0 || before.Queued != 0 || before.ClosedAt.Location() != time.UTC {
		t.Errorf("status %+v", before)
	}
	f.CloseLedger(t)
	after := status(t, f)
	if after.Ledger != before.Ledger+1 || after.Hash == before.Hash || !after.ClosedAt.After(before.ClosedAt) {
		t.Errorf("status %+v after %+v", after, before)
	}
	last := take(t, f, after.Ledger, 1)[0]
	if protocol.Hash(last.LedgerHash()) != after.Hash || !last.ClosedAt().Equal(after.ClosedAt) {
		t.Errorf("ledger %d has hash %x, closed %s; the status says %+v", after.Ledger, last.LedgerHash(), last.ClosedAt(), after)
	}
}

func testAccount(t *testing.T, f Fixture) {
	root := account(t, f, f.Root.ID)
	if root.ID != f.Root.ID || root.Balance.IsZero() || root.Thresholds != (xdr.Thresholds{1, 0, 0, 0}) || root.Signers != nil ||
		root.Trustlines != nil || root.Data != nil || root.Ledger != status(t, f).Ledger {
		t.Errorf("root account %+v", root)
	}
	_, err := f.Door.Account(limited(t), NewWallet(t).ID)
	wantError(t, err, protocol.ErrNotFound)
	_, err = f.Door.Account(limited(t), protocol.AccountID{})
	wantError(t, err, protocol.ErrInvalid)
}

// testAccountInFull sets everything an account can have and reads it back.
func testAccountInFull(t *testing.T, f Fixture) {
	other := NewWallet(t)
	usd, err := protocol.NewCredit("USD", other.ID)
	if err != nil {
		t.Fatal(err)
	}
	domain, weight := "bank.example", uint32(3)
	key := xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypeEd25519, Ed25519: (*xdr.Uint256)(other.ID.XDR().Ed25519)}
	seq := account(t, f, f.Root.ID).Sequence
	env, hash := f.Root.Sign(t, f.Passphrase, seq+1,
		txbuild.CreateAccount{Destination: other.ID, StartingBalance: Amount(t, "100")},
		txbuild.ChangeTrust{Asset: usd, Limit: Amount(t, "12.5")},
		txbuild.SetOptions{SetFlags: xdr.AccountFlagsAuthRevocableFlag, HomeDomain: &domain, MasterWeight: &weight,
			Signer: &xdr.Signer{Key: key, Weight: 2}},
		txbuild.ManageData{Name: "note", Value: []byte{0, 1, 0xff}})
	submit(t, f, env, hash)
	f.CloseLedger(t)
	got := account(t, f, f.Root.ID)
	line, ok := got.Trustline(usd)
	if !ok || line.Limit != Amount(t, "12.5") || !line.Balance.IsZero() || line.Flags != xdr.TrustLineFlagsAuthorizedFlag {
		t.Errorf("trustline %+v, %v", line, ok)
	}
	got.Trustlines, got.Balance, got.Ledger = nil, protocol.Amount{}, 0
	want := protocol.Account{ID: f.Root.ID, Sequence: seq + 1, Flags: xdr.AccountFlagsAuthRevocableFlag, HomeDomain: domain,
		Thresholds: xdr.Thresholds{3, 0, 0, 0}, Signers: []xdr.Signer{{Key: key, Weight: 2}}, SubEntries: 3,
		Data: []protocol.DataEntry{{Name: "note", Value: []byte{0, 1, 0xff}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("account\n%+v, want\n%+v", got, want)
	}
}

func testSubmit(t *testing.T, f Fixture) {
	start := status(t, f).Ledger
	other := NewWallet(t)
	seq := account(t, f, f.Root.ID).Sequence
	create := txbuild.CreateAccount{Destination: other.ID, StartingBalance: Amount(t, "50")}
	env, hash := f.Root.Sign(t, f.Passphrase, seq+1, create)
	submit(t, f, env, hash)
	if got := status(t, f).Queued; got != 1 {
		t.Errorf("%d transactions wait, want 1", got)
	}
	again, err := f.Door.Submit(limited(t), env)
	if err != nil || again.Status != protocol.SubmissionDuplicate || again.Hash != hash {
		t.Errorf("the same again: %+v, %v; want a duplicate", again, err)
	}
	second, _ := f.Root.Sign(t, f.Passphrase, seq+2, create)
	if s, err := f.Door.Submit(limited(t), second); err != nil || s.Status != protocol.SubmissionTryAgainLater {
		t.Errorf("a second of the same source: %+v, %v; want try again later", s, err)
	}
	f.CloseLedger(t)
	meta := take(t, f, start+1, 1)[0]
	if meta.CountTransactions() != 1 || protocol.Hash(meta.TransactionHash(0)) != hash {
		t.Fatalf("ledger %d has %d transactions", start+1, meta.CountTransactions())
	}
	if r := meta.TransactionResultPair(0).Result; !r.Successful() {
		t.Errorf("result %s", r.Result.Code)
	}
	if a := account(t, f, other.ID); a.Balance != Amount(t, "50") || a.Ledger != start+1 {
		t.Errorf("created account %+v", a)
	}
	if got := status(t, f).Queued; got != 0 {
		t.Errorf("%d transactions wait after the ledger closed, want 0", got)
	}
}

// testFeeBump has somebody else pay for a transaction, in place of one that bids too little to wait for.
func testFeeBump(t *testing.T, f Fixture) {
	payer := NewWallet(t)
	seq := account(t, f, f.Root.ID).Sequence
	env, hash := f.Root.Sign(t, f.Passphrase, seq+1, txbuild.CreateAccount{Destination: payer.ID, StartingBalance: Amount(t, "100")})
	submit(t, f, env, hash)
	f.CloseLedger(t)
	inner, innerHash := f.Root.Sign(t, f.Passphrase, seq+2, txbuild.ManageData{Name: "a", Value: []byte{1}})
	submit(t, f, inner, innerHash)
	bump, bumpHash := payer.Bump(t, f.Passphrase, inner, 2*10*FeePerOp)
	submit(t, f, bump, bumpHash)
	f.CloseLedger(t)
	meta := take(t, f, status(t, f).Ledger, 1)[0]
	if meta.CountTransactions() != 1 || protocol.Hash(meta.TransactionHash(0)) != bumpHash || !meta.TransactionResultPair(0).Result.Successful() {
		t.Errorf("the ledger has %d transactions", meta.CountTransactions())
	}
	if a := account(t, f, f.Root.ID); a.Sequence != seq+2 || len(a.Data) != 1 {
		t.Errorf("the source after the fee bump: %+v", a)
	}
	if a := account(t, f, payer.ID); a.Balance.Cmp(Amount(t, "100")) >= 0 {
		t.Errorf("the payer has %s, and paid nothing", a.Balance)
	}
}

func testRefused(t *testing.T, f Fixture) {
	seq := account(t, f, f.Root.ID).Sequence + 1
	env, hash := f.Root.Sign(t, f.Passphrase, seq, txbuild.ManageData{Name: "a", Value: []byte{1}})
	submit(t, f, env, hash)
	f.CloseLedger(t)
	create := txbuild.CreateAccount{Destination: NewWallet(t).ID, StartingBalance: Amount(t, "50")}
	for _, c := range []struct {
		name string
		want xdr.TransactionResultCode
		make func() (xdr.TransactionEnvelope, protocol.Hash)
	}{
		{"sequence number used", xdr.TransactionResultCodeTxBadSeq, func() (xdr.TransactionEnvelope, protocol.Hash) {
			return f.Root.Sign(t, f.Passphrase, seq, create)
		}},
		{"sequence number skipped", xdr.TransactionResultCodeTxBadSeq, func() (xdr.TransactionEnvelope, protocol.Hash) {
			return f.Root.Sign(t, f.Passphrase, seq+2, create)
		}},
		{"unknown source", xdr.TransactionResultCodeTxNoAccount, func() (xdr.TransactionEnvelope, protocol.Hash) {
			return NewWallet(t).Sign(t, f.Passphrase, 1, create)
		}},
		{"signed for another network", xdr.TransactionResultCodeTxBadAuth, func() (xdr.TransactionEnvelope, protocol.Hash) {
			env, _ := f.Root.Sign(t, "another network", seq+1, create)
			hash, err := f.Passphrase.TxHash(env)
			if err != nil {
				t.Fatal(err)
			}
			return env, hash
		}},
		{"fee too small", xdr.TransactionResultCodeTxInsufficientFee, func() (xdr.TransactionEnvelope, protocol.Hash) {
			return f.Root.SignParams(t, txbuild.Params{Passphrase: f.Passphrase, Sequence: seq + 1, FeePerOp: 1, Operations: []txbuild.Operation{create}})
		}},
		{"too late", xdr.TransactionResultCodeTxTooLate, func() (xdr.TransactionEnvelope, protocol.Hash) {
			return f.Root.SignParams(t, txbuild.Params{Passphrase: f.Passphrase, Sequence: seq + 1,
				NotAfter: status(t, f).ClosedAt.Add(-time.Second), Operations: []txbuild.Operation{create}})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, hash := c.make()
			s, err := f.Door.Submit(limited(t), env)
			if err != nil {
				t.Fatal(err)
			}
			if s.Status != protocol.SubmissionError || s.Hash != hash || s.Result == nil || s.Result.Result.Code != c.want {
				t.Errorf("submission %+v, want an error with %s for %s", s, c.want, hash)
			}
		})
	}
	if s := status(t, f); s.Queued != 0 {
		t.Errorf("%d transactions wait, want none", s.Queued)
	}
}

func testMalformed(t *testing.T, f Fixture) {
	good, _ := f.Root.Sign(t, f.Passphrase, 1, txbuild.ManageData{Name: "a", Value: []byte{1}})
	huge := good
	v1 := *good.V1
	for range 100 {
		v1.Tx.Operations = append(v1.Tx.Operations, v1.Tx.Operations...)
		if len(v1.Tx.Operations) > 10_000 {
			break
		}
	}
	huge.V1 = &v1
	for name, env := range map[string]xdr.TransactionEnvelope{
		"nothing":        {},
		"no arm":         {Type: xdr.EnvelopeTypeEnvelopeTypeTx},
		"unknown type":   {Type: 99, V1: good.V1},
		"no transaction": {Type: xdr.EnvelopeTypeEnvelopeTypeScp},
		"first version":  {Type: xdr.EnvelopeTypeEnvelopeTypeTxV0, V0: &xdr.TransactionV0Envelope{}},
		"huge":           huge,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.Door.Submit(limited(t), env)
			wantError(t, err, protocol.ErrInvalid)
		})
	}
}

func testClosesFrom(t *testing.T, f Fixture) {
	for status(t, f).Ledger < 6 {
		f.CloseLedger(t)
	}
	all := take(t, f, 2, 5)
	for i, meta := range all {
		if got := meta.LedgerSequence(); got != uint32(2+i) {
			t.Fatalf("ledger %d came %d after the first", got, i)
		}
		if i > 0 && meta.PreviousLedgerHash() != all[i-1].LedgerHash() {
			t.Errorf("ledger %d does not follow ledger %d", 2+i, 1+i)
		}
		if i > 0 && !meta.ClosedAt().After(all[i-1].ClosedAt()) {
			t.Errorf("ledger %d closed at %s, the one before at %s", 2+i, meta.ClosedAt(), all[i-1].ClosedAt())
		}
	}
	for _, from := range []uint32{0, 1, 2, 4, 6} {
		first := max(from, 2)
		got := take(t, f, from, int(7-first))
		for i, meta := range got {
			if !bytes.Equal(encode(t, meta), encode(t, all[int(first)-2+i])) {
				t.Errorf("from %d: ledger %d is not what it was", from, meta.LedgerSequence())
			}
		}
	}
}

func encode(t *testing.T, meta xdr.LedgerCloseMeta) []byte {
	t.Helper()
	b, err := meta.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testClosesWaits(t *testing.T, f Fixture) {
	last := status(t, f).Ledger
	ctx, cancel := context.WithCancel(limited(t))
	defer cancel()
	next, stop := iter.Pull2(f.Door.Closes(ctx, last+1))
	defer stop()
	for i := range uint32(3) {
		f.CloseLedger(t)
		meta, err, ok := next()
		if !ok || err != nil || meta.LedgerSequence() != last+1+i {
			t.Fatalf("got ledger %v, %v, %v; want %d", meta.V, err, ok, last+1+i)
		}
	}
	cancel()
	_, err, ok := next()
	if !ok {
		t.Fatal("the sequence ended without its error")
	}
	wantError(t, err, context.Canceled)
	if _, err, ok := next(); ok {
		t.Errorf("after its error the sequence went on: %v", err)
	}
}

func testClosesLeft(t *testing.T, f Fixture) {
	f.CloseLedger(t)
	f.CloseLedger(t)
	for range 10 {
		for range f.Door.Closes(limited(t), 2) {
			break
		}
	}
	take(t, f, 2, 2)
}

func testClosesAhead(t *testing.T, f Fixture) {
	for _, err := range f.Door.Closes(limited(t), status(t, f).Ledger+2) {
		wantError(t, err, protocol.ErrUnavailable)
	}
}

func testCancelled(t *testing.T, f Fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	env, _ := f.Root.Sign(t, f.Passphrase, account(t, f, f.Root.ID).Sequence+1, txbuild.ManageData{Name: "a", Value: []byte{1}})
	_, err := f.Door.Submit(ctx, env)
	wantError(t, err, context.Canceled)
	_, err = f.Door.Account(ctx, f.Root.ID)
	wantError(t, err, context.Canceled)
	_, err = f.Door.Status(ctx)
	wantError(t, err, context.Canceled)
	for _, err := range f.Door.Closes(ctx, 2) {
		wantError(t, err, context.Canceled)
	}
}

func testStopped(t *testing.T, f Fixture) {
	f.CloseLedger(t)
	next, stop := iter.Pull2(f.Door.Closes(limited(t), 2))
	defer stop()
	if _, err, ok := next(); !ok || err != nil {
		t.Fatalf("first ledger: %v, %v", err, ok)
	}
	env, _ := f.Root.Sign(t, f.Passphrase, account(t, f, f.Root.ID).Sequence+1, txbuild.ManageData{Name: "a", Value: []byte{1}})
	f.Stop(t)
	for {
		_, err, ok := next()
		if !ok {
			t.Fatal("the sequence ended without its error")
		}
		if err != nil {
			wantError(t, err, protocol.ErrUnavailable)
			break
		}
	}
	_, err := f.Door.Submit(limited(t), env)
	wantError(t, err, protocol.ErrUnavailable)
	_, err = f.Door.Account(limited(t), f.Root.ID)
	wantError(t, err, protocol.ErrUnavailable)
	_, err = f.Door.Status(limited(t))
	wantError(t, err, protocol.ErrUnavailable)
}
