package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/client"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
)

const (
	nodeName    = "node.diamante.internal"
	gatewayName = "gateway.diamante.internal"
)

// fakeDoor is a small node without a ledger: a row of empty ledgers, and switches to fail.
type fakeDoor struct {
	mu      sync.Mutex
	changed chan struct{}
	last    uint32
	submits int
	closes  int   // how many streams were opened
	fail    error // every call but Closes
	skip    uint32
	fork    uint32
	breakAt uint32 // the stream that comes to this ledger panics, once
}

func newFakeDoor(last uint32) *fakeDoor { return &fakeDoor{last: last, changed: make(chan struct{})} }

func (d *fakeDoor) grow() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last++
	close(d.changed)
	d.changed = make(chan struct{})
}

// counts returns how many submissions and streams there were.
func (d *fakeDoor) counts() (submits, closes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.submits, d.closes
}

func (d *fakeDoor) Submit(context.Context, xdr.TransactionEnvelope) (protocol.Submission, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.submits++
	return protocol.Submission{Hash: protocol.Hash{1}, Status: protocol.SubmissionPending}, d.fail
}

func (d *fakeDoor) Account(_ context.Context, id protocol.AccountID) (protocol.Account, error) {
	return protocol.Account{ID: id}, d.fail
}

func (d *fakeDoor) Status(context.Context) (protocol.Status, error) {
	return protocol.Status{Passphrase: "fake", Ledger: d.last}, d.fail
}

func (d *fakeDoor) Closes(ctx context.Context, from uint32) iter.Seq2[xdr.LedgerCloseMeta, error] {
	d.mu.Lock()
	d.closes++
	d.mu.Unlock()
	return func(yield func(xdr.LedgerCloseMeta, error) bool) {
		for seq := from; ; seq++ {
			d.mu.Lock()
			for seq > d.last {
				changed := d.changed
				d.mu.Unlock()
				select {
				case <-ctx.Done():
					yield(xdr.LedgerCloseMeta{}, ctx.Err())
					return
				case <-changed:
				}
				d.mu.Lock()
			}
			if d.breakAt == seq {
				d.breakAt = 0
				d.mu.Unlock()
				yield(xdr.LedgerCloseMeta{}, protocol.ErrUnavailable)
				return
			}
			if d.skip == seq {
				seq++
			}
			meta := fakeLedger(seq, d.fork == seq)
			d.mu.Unlock()
			if !yield(meta, nil) {
				return
			}
		}
	}
}

func fakeLedger(seq uint32, fork bool) xdr.LedgerCloseMeta {
	previous := xdr.Hash{byte(seq - 1)}
	if fork {
		previous[31] = 1
	}
	return xdr.LedgerCloseMeta{V: 1, V1: &xdr.LedgerCloseMetaV1{
		LedgerHeader: xdr.LedgerHeaderHistoryEntry{Hash: xdr.Hash{byte(seq)},
			Header: xdr.LedgerHeader{LedgerSeq: xdr.Uint32(seq), PreviousLedgerHash: previous}},
		TxSet: xdr.GeneralizedTransactionSet{V: 1, V1TxSet: &xdr.TransactionSetV1{}},
	}}
}

var quiet = slog.New(slog.DiscardHandler)

// site is a served handler and the authority of its certificates.
type site struct {
	authority *nodetest.Authority
	url       string
	stop      func()
}

// serve serves h until the test ends or stop is called.
func serve(t testing.TB, h http.Handler) site {
	t.Helper()
	a := nodetest.NewAuthority(t)
	return serveOn(t, h, a, "127.0.0.1:0")
}

func serveOn(t testing.TB, h http.Handler, a *nodetest.Authority, address string) site {
	t.Helper()
	srv, err := client.NewServer(client.ServerConfig{Handler: h, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, tls.NewListener(l, a.Server(t, nodeName))) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return site{a, "https://" + l.Addr().String(), stop}
}

func handlerOf(t testing.TB, door client.Door) http.Handler {
	t.Helper()
	h, err := client.NewHandler(client.HandlerConfig{Node: door, Clients: []string{gatewayName}, Heartbeat: 50 * time.Millisecond, MaxStreams: 4, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// dial makes a client that is served.
func dial(t testing.TB, s site) *client.Client {
	t.Helper()
	return dialAs(t, s, s.authority.Client(t, gatewayName, nodeName))
}

func dialAs(t testing.TB, s site, cfg *tls.Config) *client.Client {
	t.Helper()
	return dialFor(t, s, cfg, time.Second)
}

// dialFor makes a client that resumes a stream for so long.
func dialFor(t testing.TB, s site, cfg *tls.Config, resume time.Duration) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: s.url, TLS: cfg, Timeout: 3 * time.Second, Idle: time.Second, ResumeFor: resume})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestCertificates(t *testing.T) {
	door := newFakeDoor(3)
	s := serve(t, handlerOf(t, door))
	if _, err := dial(t, s).Status(t.Context()); err != nil {
		t.Fatalf("the right certificate: %v", err)
	}
	expired := s.authority.Client(t, gatewayName, nodeName)
	expired.Certificates = []tls.Certificate{s.authority.Certificate(t, time.Now().Add(-time.Hour), gatewayName)}
	foreign := s.authority.Client(t, gatewayName, nodeName)
	foreign.Certificates = []tls.Certificate{nodetest.NewAuthority(t).Certificate(t, time.Now().Add(time.Hour), gatewayName)}
	second := s.authority.Client(t, gatewayName, nodeName)
	second.Certificates = []tls.Certificate{s.authority.Certificate(t, time.Now().Add(time.Hour), "other.example", gatewayName)}
	nameless := s.authority.Client(t, gatewayName, nodeName)
	nameless.Certificates = []tls.Certificate{s.authority.Certificate(t, time.Now().Add(time.Hour))}
	none := s.authority.Client(t, gatewayName, nodeName)
	none.Certificates, none.GetClientCertificate = nil, func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return new(tls.Certificate), nil }
	for name, c := range map[string]struct {
		tls  *tls.Config
		want error
	}{
		"expired":                     {expired, protocol.ErrUnavailable},
		"of another authority":        {foreign, protocol.ErrUnavailable},
		"none":                        {none, protocol.ErrUnavailable},
		"a name that is not served":   {s.authority.Client(t, "signer.diamante.internal", nodeName), client.ErrForbidden},
		"the right name in 2nd place": {second, client.ErrForbidden},
		"no name":                     {nameless, client.ErrForbidden},
		"the node has another name":   {s.authority.Client(t, gatewayName, "other.diamante.internal"), protocol.ErrUnavailable},
		"the node's authority is not known": {func() *tls.Config {
			cfg := nodetest.NewAuthority(t).Client(t, gatewayName, nodeName)
			cfg.Certificates = s.authority.Client(t, gatewayName, nodeName).Certificates
			return cfg
		}(), protocol.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			cl := dialAs(t, s, c.tls)
			if _, err := cl.Status(t.Context()); !errors.Is(err, c.want) {
				t.Errorf("status: got %v, want %v", err, c.want)
			}
			if c.want != client.ErrForbidden {
				return
			}
			env, _ := nodetest.NewWallet(t).Sign(t, "fake", 1, note)
			if _, err := cl.Submit(t.Context(), env); !errors.Is(err, c.want) {
				t.Errorf("submit: got %v, want %v", err, c.want)
			}
			for _, err := range cl.Closes(t.Context(), 2) {
				if !errors.Is(err, c.want) {
					t.Errorf("closes: got %v, want %v", err, c.want)
				}
			}
		})
	}
	if submits, closes := door.counts(); submits != 0 || closes != 0 {
		t.Errorf("%d submissions and %d streams reached the node", submits, closes)
	}
}

func TestConfigRefused(t *testing.T) {
	good := func() client.Config {
		return client.Config{URL: "https://127.0.0.1:1", TLS: nodetest.NewAuthority(t).Client(t, gatewayName, nodeName)}
	}
	for name, spoil := range map[string]func(*client.Config){
		"no url":          func(c *client.Config) { c.URL = "" },
		"no tls url":      func(c *client.Config) { c.URL = "http://127.0.0.1:1" },
		"url with a path": func(c *client.Config) { c.URL = "https://127.0.0.1:1/v1" },
		"url with a user": func(c *client.Config) { c.URL = "https://a:b@127.0.0.1:1" },
		"no tls":          func(c *client.Config) { c.TLS = nil },
		"no server name":  func(c *client.Config) { c.TLS.ServerName = "" },
		"no authority":    func(c *client.Config) { c.TLS.RootCAs = nil },
		"no certificate":  func(c *client.Config) { c.TLS.Certificates = nil },
		"tls 1.2":         func(c *client.Config) { c.TLS.MinVersion = tls.VersionTLS12 },
		"negative time":   func(c *client.Config) { c.Idle = -1 },
	} {
		cfg := good()
		spoil(&cfg)
		if _, err := client.New(cfg); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for name, cfg := range map[string]client.HandlerConfig{
		"no node":       {Clients: []string{gatewayName}},
		"no clients":    {Node: newFakeDoor(1)},
		"an empty name": {Node: newFakeDoor(1), Clients: []string{""}},
	} {
		if _, err := client.NewHandler(cfg); err == nil {
			t.Errorf("handler with %s is taken", name)
		}
	}
	if _, err := client.NewServer(client.ServerConfig{}); err == nil {
		t.Error("a server without a handler is taken")
	}
}

// raw makes a request as no Client would.
func raw(t *testing.T, s site, method, path string, body io.Reader) (int, string) {
	t.Helper()
	h := http.Client{Transport: &http.Transport{TLSClientConfig: s.authority.Client(t, gatewayName, nodeName), ForceAttemptHTTP2: true}}
	defer h.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := h.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}
