package overlay

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

const testNetwork = protocol.Passphrase("overlay test network")

// patience is how long a test waits for what must happen.
const testPatience = 20 * time.Second

// identity is a validator key in memory, which vouches.
type identity struct {
	id      protocol.AccountID
	key     ed25519.PrivateKey
	network protocol.Passphrase
}

func newIdentity(t testing.TB) identity {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := protocol.AccountIDFromKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return identity{id, key, testNetwork}
}

func (i identity) Vouch(_ context.Context, expiration uint64, transport [32]byte) (xdr.Signature, error) {
	digest := VouchingDigest(i.network.NetworkID(), expiration, transport)
	return ed25519.Sign(i.key, digest[:]), nil
}

// event is what a Handler was told.
type event struct {
	peer protocol.AccountID
	what string // "joined", "left", or the kind of message
	m    xdr.StellarMessage
}

// recorder is a Handler that writes down what it is told.
type recorder struct {
	mu      sync.Mutex
	verdict func(from protocol.AccountID, m xdr.StellarMessage) Verdict // nil for Flood
	events  []event
	counts  map[string]int // by kind, and by content of what is flooded
	changed chan struct{}
}

func newRecorder() *recorder {
	return &recorder{counts: map[string]int{}, changed: make(chan struct{})}
}

func (r *recorder) note(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	r.counts[e.what]++
	if f, err := encode(e.m); err == nil && f.kind.flooded() {
		r.counts[f.hash().String()]++
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *recorder) Handle(from protocol.AccountID, m xdr.StellarMessage) Verdict {
	r.note(event{from, kind(m.Type).name(), m})
	r.mu.Lock()
	verdict := r.verdict
	r.mu.Unlock()
	if verdict != nil {
		return verdict(from, m)
	}
	return Flood
}

func (r *recorder) Joined(p protocol.AccountID) { r.note(event{peer: p, what: "joined"}) }

func (r *recorder) Left(p protocol.AccountID) { r.note(event{peer: p, what: "left"}) }

// count says how often something was noted.
func (r *recorder) count(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[what]
}

// await waits until ok, which is asked after each event.
func (r *recorder) await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(testPatience)
	defer limit.Stop()
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			t.Fatalf("%s did not happen; noted: %v", what, r.counts)
		}
	}
}

// poll waits for what no recorder hears of.
func poll(t testing.TB, what string, ok func() bool) {
	t.Helper()
	limit, tick := time.NewTimer(testPatience), time.NewTicker(5*time.Millisecond)
	defer limit.Stop()
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatal(what + " did not happen")
		}
	}
}

// node is an overlay that runs.
type node struct {
	*Overlay
	identity
	heard   *recorder
	address string
	stop    func() // and waits until Run has returned
}

// listenOn opens a listener on loopback.
func listenOn(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// start runs an overlay on loopback. change may change its configuration.
func start(t testing.TB, who identity, change func(*Config)) *node {
	t.Helper()
	n := &node{identity: who, heard: newRecorder()}
	cfg := Config{Passphrase: testNetwork, ID: who.id, Voucher: who, Handler: n.heard, Version: "test",
		Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(&testLog{t: t}, nil))}
	if change != nil {
		change(&cfg)
	}
	if cfg.Listener == nil {
		cfg.Listener = listenOn(t, "127.0.0.1:0")
	}
	n.address = cfg.Listener.Addr().String()
	o, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Overlay = o
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(n.stop)
	return n
}

// testLog keeps a node's log with its test, and is silent once the test is over.
type testLog struct{ t testing.TB }

func (l *testLog) Write(b []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Log(string(bytes.TrimSpace(b)))
	}
	return len(b), nil
}

// network runs a node for each index and dials along edges: the first of each pair dials the second.
func network(t testing.TB, size int, edges [][2]int) []*node {
	t.Helper()
	ids := make([]identity, size)
	listeners := make([]net.Listener, size)
	for i := range ids {
		ids[i], listeners[i] = newIdentity(t), listenOn(t, "127.0.0.1:0")
	}
	degree := make([]int, size)
	nodes := make([]*node, size)
	for i := range nodes {
		nodes[i] = start(t, ids[i], func(c *Config) {
			c.Listener = listeners[i]
			c.PerAddress = 64
			for _, e := range edges {
				switch i {
				case e[0]:
					c.Preferred = append(c.Preferred, Peer{ids[e[1]].id, listeners[e[1]].Addr().String()})
					degree[i]++
				case e[1]:
					c.Preferred = append(c.Preferred, Peer{ID: ids[e[0]].id})
					degree[i]++
				}
			}
		})
	}
	for i, n := range nodes {
		n.heard.await(t, "all peers joined", func() bool { return len(n.Peers()) == degree[i] && n.heard.count("joined") >= degree[i] })
	}
	return nodes
}

// scpMessage is an SCP message that differs for each slot and number.
func scpMessage(slot uint64, number int) xdr.StellarMessage {
	value := binary.BigEndian.AppendUint64(nil, uint64(number))
	key := xdr.Uint256{1}
	return xdr.StellarMessage{Type: xdr.MessageTypeScpMessage, Envelope: &xdr.ScpEnvelope{
		Statement: xdr.ScpStatement{
			NodeId: xdr.NodeId{Type: xdr.PublicKeyTypePublicKeyTypeEd25519, Ed25519: &key}, SlotIndex: xdr.Uint64(slot),
			Pledges: xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStNominate, Nominate: &xdr.ScpNomination{Votes: []xdr.Value{value}}},
		},
		Signature: make([]byte, 64),
	}}
}

// transaction is a payment that differs for each number.
func transaction(number int) xdr.StellarMessage {
	key := xdr.Uint256{2}
	account := xdr.MuxedAccount{Type: xdr.CryptoKeyTypeKeyTypeEd25519, Ed25519: &key}
	return xdr.StellarMessage{Type: xdr.MessageTypeTransaction, Transaction: &xdr.TransactionEnvelope{
		Type: xdr.EnvelopeTypeEnvelopeTypeTx, V1: &xdr.TransactionV1Envelope{
			Tx: xdr.Transaction{SourceAccount: account, Fee: 100, SeqNum: xdr.SequenceNumber(number),
				Cond: xdr.Preconditions{Type: xdr.PreconditionTypePrecondNone},
				Operations: []xdr.Operation{{Body: xdr.OperationBody{Type: xdr.OperationTypePayment,
					PaymentOp: &xdr.PaymentOp{Destination: account, Asset: xdr.MustNewNativeAsset(), Amount: 1}}}},
			},
			Signatures: []xdr.DecoratedSignature{{Signature: make([]byte, 64)}},
		},
	}}
}

// hashOf names a message as the recorder does.
func hashOf(t testing.TB, m xdr.StellarMessage) string {
	t.Helper()
	f, err := encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return f.hash().String()
}

// noGoroutines waits until nothing of this package runs any more.
func noGoroutines(t *testing.T) {
	t.Helper()
	var last string
	poll(t, "the end of every goroutine", func() bool {
		buf := make([]byte, 1<<20)
		last = ""
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "overlay.(*Overlay)") || strings.Contains(g, "overlay.(*peer)") {
				last = g
			}
		}
		return last == ""
	})
}

// as says whether err has this reason.
func as(err error, f *fault) bool { return errors.Is(err, f) }

// verdictFor gives a verdict of its own to one message, and Flood to all others.
func verdictFor(hash string, v Verdict) func(protocol.AccountID, xdr.StellarMessage) Verdict {
	return func(_ protocol.AccountID, m xdr.StellarMessage) Verdict {
		if f, err := encode(m); err == nil && f.hash().String() == hash {
			return v
		}
		return Flood
	}
}

// switched is a Voucher that can be switched off.
type switched struct {
	Voucher
	off atomic.Bool
}

func (s *switched) Vouch(ctx context.Context, expiration uint64, transport [32]byte) (xdr.Signature, error) {
	if s.off.Load() {
		return nil, errors.New("the signer is away")
	}
	return s.Voucher.Vouch(ctx, expiration, transport)
}
