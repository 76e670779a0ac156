package node_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node"
	"github.com/diamante/gateway/node/herder"
	"github.com/diamante/gateway/node/ledger"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

const network protocol.Passphrase = "node test"

// epoch is when the tests' genesis closed.
var epoch = time.Unix(1_700_000_000, 0).UTC()

// site is what outlives a node: its folder, its key, its clock.
type site struct {
	cfg   node.Config
	clock *nodetest.Clock
	root  nodetest.Wallet
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{clock: nodetest.NewClock(epoch.Add(time.Minute)), root: nodetest.NewWallet(t)}
	dir := t.TempDir()
	path := filepath.Join(dir, "seed")
	if _, err := node.CreateSeed(path); err != nil {
		t.Fatal(err)
	}
	seed, err := node.LoadSeed(path)
	if err != nil {
		t.Fatal(err)
	}
	s.cfg = node.Config{Dir: filepath.Join(dir, "ledger"), CloseEvery: 5 * time.Second, Signer: seed, Clock: s.clock,
		Logger: slog.New(slog.DiscardHandler),
		Genesis: ledger.Genesis{Passphrase: network, Root: s.root.ID, Supply: nodetest.Amount(t, "1000000000"), BaseFee: 100,
			BaseReserve: 5_000_000, Protocol: 22, MaxTxSetSize: 1000, CloseTime: epoch}}
	return s
}

// start runs a node until stop is called, or the test ends.
func (s *site) start(t testing.TB) (n *node.Node, stop func()) {
	t.Helper()
	n, err := node.New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, n.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return n, stop
}

// closeOne lets time pass until the node has closed another ledger.
func (s *site) closeOne(t testing.TB, n *node.Node) {
	t.Helper()
	before, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.clock.Advance(s.cfg.CloseEvery)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, err := range n.Closes(ctx, before.Ledger+1) {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
}

func TestConformance(t *testing.T) {
	nodetest.TestDoor(t, func(t *testing.T) nodetest.Fixture {
		s := newSite(t)
		n, stop := s.start(t)
		// The first ledger closes as soon as the node runs.
		for _, err := range n.Closes(t.Context(), 2) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		return nodetest.Fixture{Door: n, Passphrase: network, Root: s.root,
			CloseLedger: func(t testing.TB) { s.closeOne(t, n) }, Stop: func(testing.TB) { stop() }}
	})
}

// chain reads all ledgers up to last.
func chain(t *testing.T, n *node.Node, last uint32) (metas []xdr.LedgerCloseMeta) {
	t.Helper()
	for meta, err := range n.Closes(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if metas = append(metas, meta); meta.LedgerSequence() == last {
			break
		}
	}
	return metas
}

func TestRestartContinuesTheChain(t *testing.T) {
	s := newSite(t)
	other := nodetest.NewWallet(t)
	var before []xdr.LedgerCloseMeta
	var seq int64
	for round := range uint32(4) {
		n, stop := s.start(t)
		op := txbuild.Operation(txbuild.Payment{Destination: other.ID, Asset: protocol.Native(), Amount: nodetest.Amount(t, "1")})
		if round == 0 {
			op = txbuild.CreateAccount{Destination: other.ID, StartingBalance: nodetest.Amount(t, "100")}
		}
		for i := range uint32(3) {
			last := round*3 + i + 2
			seq++
			env, _ := s.root.Sign(t, network, seq, op)
			op = txbuild.Payment{Destination: other.ID, Asset: protocol.Native(), Amount: nodetest.Amount(t, "1")}
			for {
				sub, err := n.Submit(t.Context(), env)
				if err != nil {
					t.Fatal(err)
				}
				if sub.Status == protocol.SubmissionPending {
					break
				}
				t.Fatalf("ledger %d: %s %+v", last, sub.Status, sub.Result)
			}
			st, err := n.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for st.Queued > 0 {
				s.closeOne(t, n)
				if st, err = n.Status(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		st, err := n.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		after := chain(t, n, st.Ledger)
		for i, meta := range after {
			if meta.LedgerSequence() != uint32(i+2) || i > 0 && meta.PreviousLedgerHash() != after[i-1].LedgerHash() {
				t.Fatalf("round %d: ledger %d does not follow", round, meta.LedgerSequence())
			}
			if i < len(before) && !bytes.Equal(encode(t, meta), encode(t, before[i])) {
				t.Fatalf("round %d: ledger %d is not what it was before the restart", round, meta.LedgerSequence())
			}
		}
		if a, err := n.Account(t.Context(), s.root.ID); err != nil || a.Sequence != seq {
			t.Errorf("round %d: sequence number %d, %v; want %d", round, a.Sequence, err, seq)
		}
		before = after
		stop()
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

// Many read from everywhere while ledgers close; a slow one holds up nobody.
func TestReadersAreIndependent(t *testing.T) {
	s := newSite(t)
	n, _ := s.start(t)
	const last = 40
	for range 8 {
		s.closeOne(t, n)
	}
	slow, leave := iter.Pull2(n.Closes(t.Context(), 2))
	defer leave()
	if _, err, _ := slow(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for from := range uint32(8) {
		wg.Go(func() {
			want := max(from, node.FirstClosed)
			for meta, err := range n.Closes(t.Context(), from) {
				if err != nil || meta.LedgerSequence() != want {
					t.Errorf("from %d: ledger %d, %v; want %d", from, want, err, want)
					return
				}
				if want++; want > last {
					return
				}
			}
		})
	}
	for {
		s.closeOne(t, n)
		st, err := n.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.Ledger >= last {
			break
		}
	}
	wg.Wait()
	for want := uint32(3); want <= last; want++ {
		if meta, err, _ := slow(); err != nil || meta.LedgerSequence() != want {
			t.Fatalf("the slow reader got %v, want ledger %d", err, want)
		}
	}
}

func TestLifecycle(t *testing.T) {
	s := newSite(t)
	n, err := node.New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	for _, err := range n.Closes(t.Context(), 2) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if err := n.Close(); err == nil {
		t.Error("closed while it runs")
	}
	if err := n.Run(ctx); err == nil {
		t.Error("runs twice")
	}
	if _, err := node.New(s.cfg); err == nil {
		t.Error("two nodes on one store")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := n.Status(t.Context()); !errors.Is(err, protocol.ErrUnavailable) {
		t.Errorf("after closing: %v, want ErrUnavailable", err)
	}
	if err := n.Run(t.Context()); err == nil {
		t.Error("runs after it was closed")
	}
}

func TestNewRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*node.Config){
		"no folder":         func(c *node.Config) { c.Dir = "" },
		"no signer":         func(c *node.Config) { c.Signer = nil },
		"no target":         func(c *node.Config) { c.CloseEvery = 0 },
		"no passphrase":     func(c *node.Config) { c.Genesis.Passphrase = "" },
		"ledgers too large": func(c *node.Config) { c.Genesis.MaxTxSetSize = node.MaxTxSetSize + 1 },
		"bad lead":          func(c *node.Config) { c.MaxLead = time.Hour },
		"metrics taken": func(c *node.Config) {
			r := prometheus.NewRegistry()
			r.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "node_ledger_seq"}))
			c.Registerer = r
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			cfg := s.cfg
			spoil(&cfg)
			if _, err := node.New(cfg); err == nil {
				t.Fatal("taken")
			}
			// What failed has let go of the store.
			n, err := node.New(s.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	s := newSite(t)
	_, stop := s.start(t)
	stop()
	s.cfg.Genesis.BaseFee++
	if _, err := node.New(s.cfg); !errors.Is(err, ledger.ErrGenesis) {
		t.Errorf("another genesis: %v, want ErrGenesis", err)
	}
}

// breaking decides two ledgers and then fails.
type breaking struct {
	herder.Consensus
	err error
}

func (b breaking) Propose(p herder.Proposal) error {
	if p.Slot > 3 {
		return b.err
	}
	return b.Consensus.Propose(p)
}

func TestStopsAtTheFirstThingThatMustNotHappen(t *testing.T) {
	s := newSite(t)
	broken := errors.New("two values for one ledger")
	s.cfg.WrapConsensus(func(c herder.Consensus) herder.Consensus { return breaking{c, broken} })
	n, err := node.New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- n.Run(t.Context()) }()
	count := 0
	for _, err := range n.Closes(t.Context(), 2) {
		if err != nil {
			if !errors.Is(err, protocol.ErrUnavailable) || errors.Is(err, broken) {
				t.Errorf("a reader got %v, want ErrUnavailable", err)
			}
			break
		}
		count++
		s.clock.Advance(s.cfg.CloseEvery)
	}
	if err := <-done; !errors.Is(err, broken) || !errors.Is(err, herder.ErrBroken) {
		t.Errorf("run returned %v", err)
	}
	if count != 2 {
		t.Errorf("%d ledgers closed, want 2", count)
	}
	if _, err := n.Submit(t.Context(), xdr.TransactionEnvelope{}); !errors.Is(err, protocol.ErrUnavailable) {
		t.Errorf("submit: %v, want ErrUnavailable", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	// What was closed is there for the next start.
	s.cfg.WrapConsensus(nil)
	again, _ := s.start(t)
	if got := chain(t, again, 3); len(got) != 2 {
		t.Errorf("%d ledgers are there, want 2", len(got))
	}
}

func TestMetrics(t *testing.T) {
	s := newSite(t)
	registry := prometheus.NewRegistry()
	s.cfg.Registerer = registry
	n, _ := s.start(t)
	for _, err := range n.Closes(t.Context(), 2) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	good, _ := s.root.Sign(t, network, 1, txbuild.CreateAccount{Destination: nodetest.NewWallet(t).ID, StartingBalance: nodetest.Amount(t, "10")})
	bad, _ := s.root.Sign(t, network, 2, txbuild.Payment{Destination: nodetest.NewWallet(t).ID, Asset: protocol.Native(), Amount: nodetest.Amount(t, "1")})
	for _, env := range []xdr.TransactionEnvelope{good, bad} {
		if _, err := n.Submit(t.Context(), env); err != nil {
			t.Fatal(err)
		}
		s.closeOne(t, n)
	}
	want := map[string]float64{"node_ledger_seq": 4, "node_queue_transactions": 0, "node_transactions_total success": 1,
		"node_transactions_total failed": 1, "node_ledger_close_seconds": 3, "node_consensus_seconds": 3, "node_quorum intersection": 1, "node_quorum nodes": 1,
		"node_quorum unknown_nodes": 0, "node_quorum top_tier": 1, "node_quorum smallest_blocking_set": 1, "node_quorum smallest_splitting_set": -1}
	// The quorum sets are analysed in the background.
	deadline, tick := time.After(2*time.Minute), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !maps.Equal(gathered(t, registry), want) {
		select {
		case <-deadline:
			t.Fatalf("metrics %v, want %v", gathered(t, registry), want)
		case <-tick.C:
		}
	}
}

func gathered(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return got
}
