package node_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node"
	"github.com/diamante/gateway/node/ledger"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/overlay"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/scp"
	"github.com/diamante/gateway/node/txbuild"
)

// network of validators in one process, each with a ledger on disk, that talk by TLS over loopback.
type validators struct {
	t     testing.TB
	root  nodetest.Wallet
	cfgs  []node.Config
	addrs []string
	nodes []*node.Node
	stops []func()
}

// newValidators makes and starts them.
func newValidators(t testing.TB, count, threshold int, every time.Duration) *validators {
	t.Helper()
	v := makeValidators(t, count, threshold, every)
	v.startAll()
	return v
}

func (v *validators) startAll() {
	v.t.Helper()
	for i := range v.cfgs {
		v.start(i)
	}
}

func makeValidators(t testing.TB, count, threshold int, every time.Duration) *validators {
	t.Helper()
	v := &validators{t: t, root: nodetest.NewWallet(t), nodes: make([]*node.Node, count), stops: make([]func(), count)}
	quorum := xdr.ScpQuorumSet{Threshold: xdr.Uint32(threshold), InnerSets: []xdr.ScpQuorumSet{}}
	genesis := ledger.Genesis{Passphrase: network, Root: v.root.ID, Supply: nodetest.Amount(t, "1000000000"), BaseFee: 100,
		BaseReserve: 5_000_000, Protocol: 22, MaxTxSetSize: 1000, CloseTime: time.Now().UTC().Truncate(time.Second).Add(-time.Minute)}
	var peers []overlay.Peer
	for range count {
		dir := t.TempDir()
		if _, err := node.CreateSeed(filepath.Join(dir, "seed")); err != nil {
			t.Fatal(err)
		}
		seed, err := node.LoadSeed(filepath.Join(dir, "seed"))
		if err != nil {
			t.Fatal(err)
		}
		quorum.Validators = append(quorum.Validators, xdr.NodeId(seed.NodeID().XDR()))
		addr := freeAddress(t)
		v.addrs = append(v.addrs, addr)
		peers = append(peers, overlay.Peer{ID: seed.NodeID(), Address: addr})
		v.cfgs = append(v.cfgs, node.Config{Dir: filepath.Join(dir, "ledger"), CloseEvery: every, Signer: seed, Genesis: genesis, Logger: slog.New(slog.DiscardHandler)})
	}
	for i := range v.cfgs {
		v.cfgs[i].QuorumSet = quorum
		v.cfgs[i].Peers = &node.Peers{}
		for j, p := range peers {
			if i != j {
				v.cfgs[i].Peers.Preferred = append(v.cfgs[i].Peers.Preferred, p)
			}
		}
	}
	return v
}

// freeAddress returns an address of this machine that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (v *validators) start(i int) {
	v.t.Helper()
	cfg := v.cfgs[i]
	peers := *cfg.Peers
	var err error
	if peers.Listener, err = net.Listen("tcp", v.addrs[i]); err != nil {
		v.t.Fatal(err)
	}
	cfg.Peers = &peers
	n, err := node.New(cfg)
	if err != nil {
		v.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	v.nodes[i] = n
	v.stops[i] = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, n.Close()); err != nil {
			v.t.Error(err)
		}
	})
	v.t.Cleanup(v.stops[i])
}

// reaches waits until validators have closed a ledger, and checks that it is the same for all of them.
func (v *validators) reaches(seq uint32, who ...int) {
	v.t.Helper()
	var want protocol.Hash
	for _, i := range who {
		deadline, tick := time.After(2*time.Minute), time.NewTicker(10*time.Millisecond)
		for v.at(i) < seq {
			select {
			case <-deadline:
				v.t.Fatalf("validator %d is at ledger %d, not %d", i, v.at(i), seq)
			case <-tick.C:
			}
		}
		tick.Stop()
		for meta, err := range v.nodes[i].Closes(v.t.Context(), seq) {
			if err != nil {
				v.t.Fatal(err)
			}
			hash := protocol.Hash(meta.LedgerHash())
			if want != (protocol.Hash{}) && hash != want {
				v.t.Fatalf("validator %d closed ledger %d as %s, another as %s", i, seq, hash, want)
			}
			want = hash
			break
		}
	}
}

func (v *validators) at(i int) uint32 {
	v.t.Helper()
	s, err := v.nodes[i].Status(v.t.Context())
	if err != nil {
		v.t.Fatal(err)
	}
	return s.Ledger
}

// TestQuorumSetChanges: whom a validator trusts can be changed while it runs, but not so that the network could split.
func TestQuorumSetChanges(t *testing.T) {
	v := newValidators(t, 3, 2, time.Second)
	v.reaches(3, 0, 1, 2)
	alone := xdr.ScpQuorumSet{Threshold: 1, Validators: v.cfgs[0].QuorumSet.Validators[:1], InnerSets: []xdr.ScpQuorumSet{}}
	if err := v.nodes[0].SetQuorumSet(t.Context(), alone); !errors.Is(err, node.ErrSplit) {
		t.Errorf("alone beside two others: %v", err)
	}
	if err := v.nodes[0].SetQuorumSet(t.Context(), xdr.ScpQuorumSet{Threshold: 2, Validators: alone.Validators}); !errors.Is(err, scp.ErrQuorumSet) {
		t.Errorf("two of one: %v", err)
	}
	// With all three needed, the network stands without one of them as soon as a quorum needs it.
	all := v.cfgs[0].QuorumSet
	all.Threshold = 3
	for _, n := range v.nodes {
		if err := n.SetQuorumSet(t.Context(), all); err != nil {
			t.Fatal(err)
		}
	}
	v.reaches(v.at(0)+3, 0, 1, 2)
	two := v.cfgs[0].QuorumSet
	for _, n := range v.nodes[:2] {
		if err := n.SetQuorumSet(t.Context(), two); err != nil {
			t.Fatal(err)
		}
	}
	v.stops[2]()
	v.reaches(v.at(0)+3, 0, 1)
}

// TestFour: four validators agree; one may be away and catches up when it returns; without two no ledger closes, and when one
// of them returns they go on by themselves.
func TestFour(t *testing.T) {
	v := newValidators(t, 4, 3, time.Second)
	v.reaches(4, 0, 1, 2, 3)
	// What is handed to one is applied by all.
	w := nodetest.NewWallet(t)
	env, hash := v.root.Sign(t, network, 1, txbuild.CreateAccount{Destination: w.ID, StartingBalance: nodetest.Amount(t, "10")})
	if s, err := v.nodes[2].Submit(t.Context(), env); err != nil || s.Status != protocol.SubmissionPending || s.Hash != hash {
		t.Fatalf("%+v %v", s, err)
	}
	v.reaches(v.at(2)+4, 0, 1, 2, 3)
	for i, n := range v.nodes {
		if a, err := n.Account(t.Context(), w.ID); err != nil || a.Balance.String() != "10.0000000" {
			t.Errorf("validator %d: %+v %v", i, a, err)
		}
	}
	// One away.
	v.stops[3]()
	v.reaches(v.at(0)+6, 0, 1, 2)
	// Two away: nothing closes.
	v.stops[2]()
	stood := v.at(0)
	v.start(3) // it is behind, and back
	v.reaches(stood+3, 0, 1, 3)
	v.start(2)
	v.reaches(v.at(0)+2, 0, 1, 2, 3)
}
