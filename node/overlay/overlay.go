// Package overlay connects validators: authenticated peers over TLS, flooding, and flow control.
//
// The node's program makes an Overlay, gives it to the herder, and runs it:
//
//	o, err := overlay.New(overlay.Config{Passphrase: p, ID: id, Voucher: v, Handler: herder, Listener: l,
//		Preferred: []overlay.Peer{{ID: other, Address: "validator2.example:11625"}}})
//	err = o.Run(ctx)
//
// What peers say reaches the Handler, one goroutine for each peer; what the node says leaves by Broadcast and Send,
// which never block. A message is an xdr.StellarMessage behind a header of four bytes (frame.go), inside TLS 1.3
// (transport.go). Whom a connection belongs to is settled by the first two messages on it, HELLO and AUTH
// (handshake.go): the identity, which may live in an HSM, vouches for a transport key that this process made for
// itself. deploy/decisions/0019 has the threat model.
//
// SCP messages are pushed; transactions are advertised by hash and pulled (flood.go, pull.go). Nobody may send more
// than the other end has given credit for, and credit is given when a message has been dealt with, so a handler that
// is slow slows its peers and fills no queue (queue.go). Every limit has a name, in limits.go or beside its use. A
// peer that breaks a rule loses the connection and is counted, by reason, in node_overlay_drops_total.
package overlay

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Verdict is what the Handler makes of a message. Zero is invalid, and taken for Done.
type Verdict uint8

// The verdicts.
const (
	// Flood: valid and new. An SCP message or a transaction is passed on to all other peers and not handed over again.
	Flood Verdict = iota + 1
	// Done: nothing more. The message is not remembered: if it comes again, it is handed over again.
	Done
	// Misbehaved: no honest peer sends this. The connection is dropped, and a stranger is banned for a while.
	Misbehaved
)

// Handler is the herder as the overlay sees it. It is called by one goroutine for each peer, so concurrently for
// different peers and in order for one. It may block for as long as the node needs to catch its breath: meanwhile that
// peer gets no new credit. It may call Broadcast, Send, Peers and Ban.
type Handler interface {
	// Handle is given SCP_MESSAGE, TRANSACTION, GET_TX_SET, GENERALIZED_TX_SET, DONT_HAVE, GET_SCP_QUORUMSET,
	// SCP_QUORUMSET and GET_SCP_STATE. A transaction set, a quorum set or a DONT_HAVE comes only from a peer that was asked.
	Handle(from protocol.AccountID, m xdr.StellarMessage) Verdict
	// Joined says that peer is connected, before anything of it is handed over.
	Joined(peer protocol.AccountID)
	// Left says that peer is gone, after everything of it was handed over. A peer that reconnects leaves and joins.
	Left(peer protocol.AccountID)
}

// Peer is a validator that this node wants to be connected to, always.
type Peer struct {
	ID protocol.AccountID
	// Address is host:port; empty for one that dials us.
	Address string
}

// Config is what an Overlay is made of.
type Config struct {
	// Passphrase of the network.
	Passphrase protocol.Passphrase
	// ID is this node's identity, its validator key.
	ID protocol.AccountID
	// Voucher signs, with the key of ID, that a transport key is this node's.
	Voucher Voucher
	// Handler is given what peers say.
	Handler Handler
	// Listener accepts peers; Run closes it. nil for a node that only dials.
	Listener net.Listener
	// Preferred are the peers of the configuration. There is always room for them, and they are dialled until they are there.
	Preferred []Peer
	// Strangers is how many peers that are not preferred may be connected at once; zero for none.
	Strangers int
	// PerAddress is how many connections one address may hold at once, those not yet authenticated included; zero for
	// DefaultPerAddress. An IPv6 network of 64 bits counts as one address.
	PerAddress int
	// LedgerVersion and Version are told to peers: the newest ledger protocol understood, and this program's name.
	LedgerVersion uint32
	Version       string
	// Dial opens a connection to a peer; nil for TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Jitter returns a duration from zero up to most, to be added to a pause; nil for a random one.
	Jitter func(most time.Duration) time.Duration
	// Registerer gets the metrics; nil for nobody.
	Registerer prometheus.Registerer
	// Logger is told who came and who went, and why; nil for slog.Default.
	Logger *slog.Logger
}

// Validate checks c.
func (c Config) Validate() error {
	switch {
	case c.Passphrase.Validate() != nil:
		return c.Passphrase.Validate()
	case c.ID.IsZero() || c.Voucher == nil || c.Handler == nil:
		return errors.New("overlay: identity, voucher and handler are required")
	case c.Strangers < 0 || c.PerAddress < 0 || c.Strangers+len(c.Preferred) > MaxPeers:
		return fmt.Errorf("overlay: at most %d peers, preferred ones and strangers together", MaxPeers)
	case len(c.Version) > maxVersion:
		return fmt.Errorf("overlay: a version of more than %d bytes", maxVersion)
	}
	seen := map[protocol.AccountID]bool{c.ID: true}
	for _, p := range c.Preferred {
		if p.ID.IsZero() || seen[p.ID] {
			return fmt.Errorf("overlay: preferred peer %q is this node, is named twice, or has no identity", p.ID)
		}
		if _, _, err := net.SplitHostPort(p.Address); err != nil && p.Address != "" {
			return fmt.Errorf("overlay: address of preferred peer %s: %w", p.ID, err)
		}
		seen[p.ID] = true
	}
	return nil
}

// Overlay is one node's place among its peers. Its methods are safe for concurrent use.
type Overlay struct {
	cfg       Config
	network   protocol.Hash
	transport *transport
	vouching  atomic.Pointer[xdr.AuthCert] // the newest vouching for our transport key; nil before the first
	preferred map[protocol.AccountID]bool
	metrics   *metrics
	known     *memory
	pulls     *pulls
	large     chan struct{} // holds a token while a large message is decoded
	serials   atomic.Uint32
	running   sync.WaitGroup

	mu      sync.RWMutex // guards what follows
	stopped bool
	peers   map[protocol.AccountID]*peer
	bans    map[protocol.AccountID]time.Time // until when
	doors   doors
}

// New makes an Overlay with a fresh transport key. It starts nothing.
func New(cfg Config) (*Overlay, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.PerAddress == 0 {
		cfg.PerAddress = DefaultPerAddress
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	if cfg.Jitter == nil {
		cfg.Jitter = func(most time.Duration) time.Duration { return rand.N(most + 1) }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	o := &Overlay{
		cfg: cfg, network: cfg.Passphrase.NetworkID(), preferred: map[protocol.AccountID]bool{},
		known: newMemory(), pulls: newPulls(), large: make(chan struct{}, 1),
		peers: map[protocol.AccountID]*peer{}, bans: map[protocol.AccountID]time.Time{}, doors: newDoors(),
	}
	for _, p := range cfg.Preferred {
		o.preferred[p.ID] = true
	}
	var err error
	if o.transport, err = newTransport(o.network); err != nil {
		return nil, err
	}
	if o.metrics, err = newMetrics(cfg.Registerer, func() int { return len(o.Peers()) }); err != nil {
		return nil, fmt.Errorf("overlay: metrics: %w", err)
	}
	return o, nil
}

// Run connects to peers until ctx ends, and then returns nil; every goroutine of the overlay has ended by then, and
// the Handler was told that every peer left. It returns early only if the Listener fails. It may be called once.
func (o *Overlay) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	ready := make(chan struct{})
	o.running.Go(func() { o.keepVouched(ctx, ready) })
	o.running.Go(func() { o.keepPulling(ctx) })
	for _, p := range o.cfg.Preferred {
		if p.Address != "" {
			o.running.Go(func() { o.keepConnected(ctx, ready, p) })
		}
	}
	if o.cfg.Listener != nil {
		o.running.Go(func() { failed <- o.listen(ctx, ready) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel()
	o.stop()
	o.running.Wait()
	return err
}

// stop ends every connection and lets no new one in.
func (o *Overlay) stop() {
	o.mu.Lock()
	o.stopped = true
	o.mu.Unlock()
	for _, p := range o.connected() {
		p.close(errStopped)
	}
}

// Broadcast sends m to all peers. An SCP message goes to those that do not have it yet, a transaction is advertised to
// them, and anything else is sent to each.
func (o *Overlay) Broadcast(m xdr.StellarMessage) {
	f, err := encode(m)
	if err != nil {
		o.refused(m, err)
		return
	}
	if !f.kind.flooded() {
		for _, p := range o.connected() {
			o.enqueue(p, f)
		}
		return
	}
	o.known.note(f.hash(), 0)
	o.spread(f)
}

// Send sends m to one peer. It is lost, and counted, if that peer is not connected or its queue is full: whoever
// waits for an answer waits no longer than a time, and asks somebody else.
func (o *Overlay) Send(to protocol.AccountID, m xdr.StellarMessage) {
	f, err := encode(m)
	if err != nil {
		o.refused(m, err)
		return
	}
	o.mu.RLock()
	p := o.peers[to]
	o.mu.RUnlock()
	if p == nil {
		o.metrics.lost.WithLabelValues(f.kind.name()).Inc()
		return
	}
	if f.kind.flooded() {
		o.known.note(f.hash(), 0)
		o.known.mark(f.hash(), p.serial)
	}
	o.enqueue(p, f)
}

// refused tells the log of a message of our own that cannot be sent.
func (o *Overlay) refused(m xdr.StellarMessage, err error) {
	o.cfg.Logger.Error("a message was not sent", "type", kind(m.Type).name(), "error", err)
}

// Peers returns who is connected, in the order of their keys.
func (o *Overlay) Peers() []protocol.AccountID {
	o.mu.RLock()
	defer o.mu.RUnlock()
	ids := make([]protocol.AccountID, 0, len(o.peers))
	for id := range o.peers {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, compare)
	return ids
}

// compare orders identities by their keys.
func compare(a, b protocol.AccountID) int { return bytes.Compare(a.Key(), b.Key()) }

// connected returns the connections that are open now.
func (o *Overlay) connected() []*peer {
	o.mu.RLock()
	defer o.mu.RUnlock()
	peers := make([]*peer, 0, len(o.peers))
	for _, p := range o.peers {
		peers = append(peers, p)
	}
	return peers
}

// tlsVersion is the only one spoken.
const tlsVersion = tls.VersionTLS13
