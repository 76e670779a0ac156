package anchor_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/ledger"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
)

// answer says what the network does with the next transactions that are handed to it.
type answer uint8

const (
	takes       answer = iota // accepted and answered
	takesLost                 // accepted, the answer is lost
	dropsLost                 // not accepted, the answer is lost
	rejects                   // not accepted, and said so
	unreachable               // nothing answers
)

// network is a real ledger in memory, closed by the test, behind a door with switches to fail.
type network struct {
	t          testing.TB
	ledger     *ledger.Ledger
	passphrase protocol.Passphrase

	mu      sync.Mutex
	queue   map[protocol.Hash]xdr.TransactionEnvelope
	changed chan struct{}
	mode    answer
	times   map[protocol.Hash]int // how often a hash was handed over
	applied map[protocol.Hash]int
}

func newNetwork(t testing.TB, root protocol.AccountID) *network {
	t.Helper()
	g := ledger.Genesis{Passphrase: "anchor test", Root: root, Supply: nodetest.Amount(t, "1000000000"), BaseFee: 100, BaseReserve: 5_000_000,
		Protocol: ledger.Protocol, MaxTxSetSize: 1000, CloseTime: time.Now().UTC().Truncate(time.Second).Add(-time.Hour)}
	l, err := ledger.OpenFS(vfs.NewMem(), "ledger", g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	return &network{t: t, ledger: l, passphrase: g.Passphrase, queue: map[protocol.Hash]xdr.TransactionEnvelope{}, changed: make(chan struct{}),
		times: map[protocol.Hash]int{}, applied: map[protocol.Hash]int{}}
}

var errLost = fmt.Errorf("%w: connection reset", protocol.ErrUnavailable)

// Submit is part of anchor.Network.
func (n *network) Submit(_ context.Context, env xdr.TransactionEnvelope) (protocol.Submission, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	hash, err := n.passphrase.TxHash(env)
	if err != nil {
		return protocol.Submission{}, err
	}
	n.times[hash]++
	result := n.ledger.CheckValid(env)
	switch {
	case n.mode == unreachable || n.mode == dropsLost:
		return protocol.Submission{}, errLost
	case n.mode == rejects:
		return protocol.Submission{Hash: hash, Status: protocol.SubmissionTryAgainLater}, nil
	case !result.Successful():
		return protocol.Submission{Hash: hash, Status: protocol.SubmissionError, Result: &result}, nil
	}
	n.queue[hash] = env
	if n.mode == takesLost {
		return protocol.Submission{}, errLost
	}
	return protocol.Submission{Hash: hash, Status: protocol.SubmissionPending}, nil
}

// Account is part of anchor.Network.
func (n *network) Account(_ context.Context, id protocol.AccountID) (protocol.Account, error) {
	if n.is(unreachable) {
		return protocol.Account{}, errLost
	}
	return n.ledger.Account(id)
}

// Status is part of anchor.Network.
func (n *network) Status(context.Context) (protocol.Status, error) {
	if n.is(unreachable) {
		return protocol.Status{}, errLost
	}
	header, hash := n.ledger.Header()
	return protocol.Status{Passphrase: n.passphrase, Ledger: uint32(header.LedgerSeq), Hash: hash}, nil
}

// Closes is part of anchor.Network.
func (n *network) Closes(ctx context.Context, from uint32) iter.Seq2[xdr.LedgerCloseMeta, error] {
	return func(yield func(xdr.LedgerCloseMeta, error) bool) {
		for seq := max(from, 2); ; seq++ {
			meta, err := n.await(ctx, seq)
			if !yield(meta, err) || err != nil {
				return
			}
		}
	}
}

func (n *network) await(ctx context.Context, seq uint32) (xdr.LedgerCloseMeta, error) {
	for {
		n.mu.Lock()
		changed, mode := n.changed, n.mode
		n.mu.Unlock()
		if mode == unreachable {
			return xdr.LedgerCloseMeta{}, errLost
		}
		if header, _ := n.ledger.Header(); seq <= uint32(header.LedgerSeq) {
			return n.ledger.Meta(seq)
		}
		select {
		case <-ctx.Done():
			return xdr.LedgerCloseMeta{}, ctx.Err()
		case <-changed:
		}
	}
}

func (n *network) is(mode answer) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mode == mode
}

// behave changes what the door does.
func (n *network) behave(mode answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mode = mode
	close(n.changed)
	n.changed = make(chan struct{})
}

// close closes a ledger, so much after the last, with all that waits.
func (n *network) close(after time.Duration) xdr.LedgerCloseMeta {
	n.mu.Lock()
	defer n.mu.Unlock()
	header, previous := n.ledger.Header()
	at := header.ScpValue.CloseTime + xdr.TimePoint(after.Seconds())
	envelopes := []xdr.TransactionEnvelope{}
	for hash, env := range n.queue {
		if uint64(env.TimeBounds().MaxTime) >= uint64(at) || env.TimeBounds().MaxTime == 0 {
			envelopes = append(envelopes, env)
			n.applied[hash]++
		}
	}
	clear(n.queue)
	slices.SortFunc(envelopes, func(a, b xdr.TransactionEnvelope) int { return bytes.Compare(digest(n.t, a), digest(n.t, b)) })
	fee := xdr.Int64(header.BaseFee)
	components := []xdr.TxSetComponent{{Type: xdr.TxSetComponentTypeTxsetCompTxsMaybeDiscountedFee,
		TxsMaybeDiscountedFee: &xdr.TxSetComponentTxsMaybeDiscountedFee{BaseFee: &fee, Txs: envelopes}}}
	if len(envelopes) == 0 {
		components = []xdr.TxSetComponent{}
	}
	set := xdr.GeneralizedTransactionSet{V: 1, V1TxSet: &xdr.TransactionSetV1{PreviousLedgerHash: xdr.Hash(previous),
		Phases: []xdr.TransactionPhase{{V0Components: &components}, {V0Components: &[]xdr.TxSetComponent{}}}}}
	meta, err := n.ledger.Close(set, xdr.StellarValue{TxSetHash: xdr.Hash(digest(n.t, set)), CloseTime: at, Upgrades: []xdr.UpgradeType{}})
	if err != nil {
		n.t.Fatal(err)
	}
	close(n.changed)
	n.changed = make(chan struct{})
	return meta
}

func digest(t testing.TB, v interface{ MarshalBinary() ([]byte, error) }) []byte {
	b, err := v.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// signer signs with keys of its own, the same answer for the same Ref, and can be switched off or told to refuse.
type signer struct {
	mu   sync.Mutex
	keys map[keymgmt.KeyID]ed25519.PrivateKey
	refs map[string]string
	fail error
	made int
}

// Sign is part of keymgmt.Signer.
func (s *signer) Sign(_ context.Context, r keymgmt.Request) (keymgmt.Signature, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return keymgmt.Signature{}, s.fail
	}
	if err := r.Validate(); err != nil {
		return keymgmt.Signature{}, err
	}
	key, ok := s.keys[r.Key]
	if !ok || r.Kind != keymgmt.KindTransaction {
		return keymgmt.Signature{}, keymgmt.ErrUnknownKey
	}
	if body, used := s.refs[r.Ref]; used && body != string(r.Body) {
		return keymgmt.Signature{}, keymgmt.ErrRefUsed
	}
	s.refs[r.Ref] = string(r.Body)
	s.made++
	hash := sha256.Sum256(r.Body)
	public, err := keymgmt.NewPublicKey(keymgmt.Ed25519, key.Public().(ed25519.PublicKey))
	return keymgmt.Signature{Public: public, Bytes: ed25519.Sign(key, hash[:])}, err
}

// behave makes every signature fail with err; nil mends it.
func (s *signer) behave(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// key makes a key and returns its account.
func (s *signer) key(t testing.TB, id string) (keymgmt.KeyID, protocol.AccountID) {
	t.Helper()
	name, err := keymgmt.ParseKeyID(id)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	account, err := protocol.AccountIDFromKey(public)
	if err != nil {
		t.Fatal(err)
	}
	s.keys[name] = private
	return name, account
}

func newSigner() *signer {
	return &signer{keys: map[keymgmt.KeyID]ed25519.PrivateKey{}, refs: map[string]string{}}
}

// put queues a transaction, whatever the door does.
func (n *network) put(hash protocol.Hash, env xdr.TransactionEnvelope) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queue[hash] = env
}

// pump closes a ledger whenever a transaction waits, until ctx ends.
func (n *network) pump(ctx context.Context) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n.mu.Lock()
		waiting := len(n.queue)
		n.mu.Unlock()
		if waiting > 0 {
			n.close(time.Second)
		}
	}
}

// once checks that no transaction was applied twice.
func (n *network) once() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for hash, times := range n.applied {
		if times != 1 {
			n.t.Errorf("transaction %s was applied %d times", hash, times)
		}
	}
}

// now is when the last ledger closed: the only clock of these tests.
func (n *network) now() time.Time {
	header, _ := n.ledger.Header()
	return time.Unix(int64(header.ScpValue.CloseTime), 0)
}

// forge makes the signer remember that it signed body under ref.
func (s *signer) forge(ref, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refs[ref] = body
}
