package client_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/node"
	"github.com/diamante/gateway/node/client"
	"github.com/diamante/gateway/node/ledger"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
)

const network protocol.Passphrase = "client test"

// validator is a running node in virtual time.
type validator struct {
	*node.Node
	cfg   node.Config
	clock *nodetest.Clock
	root  nodetest.Wallet
	stop  func()
}

func newValidator(t testing.TB) *validator {
	t.Helper()
	v := prepareValidator(t)
	v.run(t)
	return v
}

func prepareValidator(t testing.TB) *validator {
	t.Helper()
	epoch := time.Unix(1_700_000_000, 0).UTC()
	v := &validator{clock: nodetest.NewClock(epoch.Add(time.Minute)), root: nodetest.NewWallet(t)}
	dir := t.TempDir()
	path := filepath.Join(dir, "seed")
	if _, err := node.CreateSeed(path); err != nil {
		t.Fatal(err)
	}
	seed, err := node.LoadSeed(path)
	if err != nil {
		t.Fatal(err)
	}
	v.cfg = node.Config{Dir: filepath.Join(dir, "ledger"), CloseEvery: 5 * time.Second, Signer: seed, Clock: v.clock, Logger: quiet,
		Genesis: ledger.Genesis{Passphrase: network, Root: v.root.ID, Supply: nodetest.Amount(t, "1000000000"), BaseFee: 100,
			BaseReserve: 5_000_000, Protocol: 22, MaxTxSetSize: 1000, CloseTime: epoch}}
	return v
}

// run starts the node and waits for its first ledger.
func (v *validator) run(t testing.TB) {
	t.Helper()
	n, err := node.New(v.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	v.Node = n
	v.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, n.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(v.stop)
	for _, err := range n.Closes(t.Context(), 2) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
}

func (v *validator) closeOne(t testing.TB) {
	t.Helper()
	before, err := v.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v.clock.Advance(v.cfg.CloseEvery)
	for _, err := range v.Closes(t.Context(), before.Ledger+1) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
}

func TestConformance(t *testing.T) {
	nodetest.TestDoor(t, func(t *testing.T) nodetest.Fixture {
		v := newValidator(t)
		s := serve(t, handlerOf(t, v))
		c, err := client.New(client.Config{URL: s.url, TLS: s.authority.Client(t, gatewayName, nodeName),
			Timeout: 5 * time.Second, Idle: 2 * time.Second, ResumeFor: 300 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return nodetest.Fixture{Door: c, Passphrase: network, Root: v.root, CloseLedger: v.closeOne, Stop: func(testing.TB) { v.stop() }}
	})
}

// A stream goes on when the node behind it was restarted, and misses and repeats nothing.
func TestStreamAcrossRestarts(t *testing.T) {
	v := newValidator(t)
	s := serve(t, handlerOf(t, v))
	address := s.url[len("https://"):]
	c := dial(t, s)
	ledgers := make(chan uint32)
	go func() {
		defer close(ledgers)
		for meta, err := range c.Closes(t.Context(), 0) {
			if err != nil {
				if t.Context().Err() == nil {
					t.Error(err)
				}
				return
			}
			ledgers <- meta.LedgerSequence()
			if meta.LedgerSequence() == 10 {
				return
			}
		}
	}()
	want := uint32(2)
	for round := range 3 {
		for range 2 {
			v.closeOne(t)
		}
		if got := <-ledgers; got != want {
			t.Fatalf("round %d: ledger %d came, want %d", round, got, want)
		}
		want++
		s.stop()
		v.stop()
		v.clock.Advance(v.cfg.CloseEvery)
		v.run(t)
		s = serveOn(t, handlerOf(t, v), s.authority, address)
	}
	for got := range ledgers {
		if got != want {
			t.Fatalf("ledger %d came, want %d", got, want)
		}
		want++
		v.clock.Advance(v.cfg.CloseEvery)
	}
	if want != 11 {
		t.Errorf("the stream ended before ledger %d", want)
	}
}
