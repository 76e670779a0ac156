package ledger

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// crashes takes the disk as a crash would leave it, before each operation of the store on it.
type crashes struct {
	fs *vfs.MemFS

	mu     sync.Mutex // guards what follows: the store writes from goroutines of its own
	rng    *rand.Rand
	parts  []int // how much of what was not synced may be there, in per cent
	on     bool
	clones []*vfs.MemFS
}

func (c *crashes) injector() errorfs.Injector {
	return errorfs.InjectorFunc(func(op errorfs.Op) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.on && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			part := c.parts[c.rng.IntN(len(c.parts))]
			c.clones = append(c.clones, c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: part, RNG: c.rng}))
		}
		return nil
	})
}

// record takes clones while f runs.
func (c *crashes) record(f func()) []*vfs.MemFS {
	c.mu.Lock()
	c.on, c.clones = true, nil
	c.mu.Unlock()
	f()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = false
	return c.clones
}

func newCrashes(t *testing.T) *crashes {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return &crashes{fs: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(seed, 0)), parts: []int{0, 50, 100}}
}

// TestCrashWhileClosing crashes at every write of every close: the ledger is then either wholly there or not at all, and
// what was reported closed is there. The ledger goes on from there to the same next one.
func TestCrashWhileClosing(t *testing.T) {
	c := newCrashes(t)
	root := nodetest.NewWallet(t)
	n := &network{t: t, root: root, genesis: testGenesis(t, root.ID), seqs: map[protocol.AccountID]int64{}}
	n.l = open(t, errorfs.Wrap(c.fs, c.injector()), n.genesis)
	wallets := n.fund(20)
	total := 0
	for range 15 {
		before, _ := n.l.Header()
		set, value := n.set(n.sign(wallets[0], txbuild.Payment{Destination: wallets[1].ID, Asset: protocol.Native(), Amount: nodetest.Amount(t, "1")}),
			n.sign(wallets[1], txbuild.ManageData{Name: "n", Value: make([]byte, 60)}))
		clones := c.record(func() {
			if _, err := n.l.Close(set, value); err != nil {
				t.Fatal(err)
			}
		})
		_, want := n.l.Header()
		closed := c.fs.CrashClone(vfs.CrashCloneCfg{}) // Close has returned, and everything that is not synced is lost
		total += len(clones)
		for i, fs := range append(clones, closed) {
			l, err := OpenFS(fs, "ledger", n.genesis)
			if err != nil {
				t.Fatalf("ledger %d, crash %d: %v", before.LedgerSeq+1, i, err)
			}
			header, hash := l.Header()
			switch {
			case header.LedgerSeq == before.LedgerSeq && fs != closed:
				if _, err := l.Close(set, value); err != nil {
					t.Errorf("after crash %d: %v", i, err)
				}
				if _, hash = l.Header(); hash != want {
					t.Errorf("after crash %d ledger %d closes with hash %s, without with %s", i, before.LedgerSeq+1, hash, want)
				}
			case header.LedgerSeq != before.LedgerSeq+1 || hash != want:
				t.Errorf("crash %d leaves ledger %d, %s", i, header.LedgerSeq, hash)
			}
			shut(t, l)
		}
	}
	if total < 15 {
		t.Errorf("only %d crashes: nothing was written", total)
	}
}

// TestCrashWhileBeginning crashes at every write of making a store. Of what was not synced all is there or nothing: the
// store relies on the file system to keep the order of the names that it makes in one folder, as they do in practice.
func TestCrashWhileBeginning(t *testing.T) {
	c := newCrashes(t)
	c.parts = []int{0, 100}
	g := testGenesis(t, nodetest.NewWallet(t).ID)
	var l *Ledger
	clones := c.record(func() { l = open(t, errorfs.Wrap(c.fs, c.injector()), g) })
	_, want := l.Header()
	for i, fs := range clones {
		again, err := OpenFS(fs, "ledger", g)
		if err != nil {
			t.Fatalf("crash %d: %v", i, err)
		}
		if header, hash := again.Header(); header.LedgerSeq != 1 || hash != want {
			t.Errorf("crash %d leaves ledger %d, %s", i, header.LedgerSeq, hash)
		}
		shut(t, again)
	}
}

// TestDiskFails lets every write fail from some point on: Close says so, shows nothing, closes no more, and what is on
// disk is a whole ledger.
func TestDiskFails(t *testing.T) {
	fs := vfs.NewCrashableMem()
	broken := errors.New("the disk is gone")
	var failing errorfs.Toggle
	failing.Injector = errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return broken
		}
		return nil
	})
	root := nodetest.NewWallet(t)
	n := &network{t: t, root: root, genesis: testGenesis(t, root.ID), seqs: map[protocol.AccountID]int64{}}
	l, err := OpenFS(errorfs.Wrap(fs, &failing), "ledger", n.genesis)
	if err != nil {
		t.Fatal(err)
	}
	n.l = l
	wallet := n.fund(1)[0]
	before, hash := n.l.Header()
	set, value := n.set(n.sign(wallet, txbuild.ManageData{Name: "n", Value: []byte("v")}))
	failing.On()
	if _, err := n.l.Close(set, value); err == nil {
		t.Fatal("a ledger closes without a disk")
	}
	if header, now := n.l.Header(); header.LedgerSeq != before.LedgerSeq || now != hash || len(n.account(wallet.ID).Data) != 0 {
		t.Error("a ledger that was not stored is shown")
	}
	failing.Off()
	if _, err := n.l.Close(set, value); err == nil {
		t.Error("a ledger closes after one that may or may not be on disk")
	}
	if err := n.l.Shutdown(); !errors.Is(err, broken) {
		t.Errorf("shutting down: %v", err)
	}
	again := open(t, fs.CrashClone(vfs.CrashCloneCfg{}), n.genesis)
	if header, _ := again.Header(); header.LedgerSeq != before.LedgerSeq {
		t.Errorf("ledger %d is on disk", header.LedgerSeq)
	}
}

// TestReopen closes ledgers, reopens now and then, and compares with a ledger that was never closed: same input, same
// bytes, also where there is no order by itself, as among accounts.
func TestReopen(t *testing.T) {
	fs := vfs.NewMem()
	root := nodetest.NewWallet(t)
	n := &network{t: t, root: root, genesis: testGenesis(t, root.ID), seqs: map[protocol.AccountID]int64{}}
	n.l = open(t, fs, n.genesis)
	twin := open(t, vfs.NewMem(), n.genesis)
	w := newWorkload(n, 1)
	funded, err := n.l.Meta(2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := twin.Close(funded.V1.TxSet, funded.V1.LedgerHeader.Header.ScpValue); err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		set, value := n.set(w.step()...)
		if _, err := n.l.Close(set, value); err != nil {
			t.Fatal(err)
		}
		if _, err := twin.Close(set, value); err != nil {
			t.Fatal(err)
		}
		header, hash := n.l.Header()
		a, err := n.l.MetaBytes(uint32(header.LedgerSeq))
		if err != nil {
			t.Fatal(err)
		}
		b, err := twin.MetaBytes(uint32(header.LedgerSeq))
		if err != nil {
			t.Fatal(err)
		}
		if _, other := twin.Header(); hash != other || string(a) != string(b) {
			t.Fatalf("two ledgers differ at %d", header.LedgerSeq)
		}
		if i%7 == 0 {
			shut(t, n.l)
			n.l = open(t, fs, n.genesis)
			if again, now := n.l.Header(); now != hash || again.LedgerSeq != header.LedgerSeq {
				t.Fatalf("ledger %d, %s became ledger %d, %s", header.LedgerSeq, hash, again.LedgerSeq, now)
			}
		}
	}
	if a, b := dump(t, n.l.db), dump(t, twin.db); len(a) != len(b) {
		t.Errorf("stores with %d and %d keys", len(a), len(b))
	} else {
		for key, value := range a {
			if b[key] != value {
				t.Errorf("the stores differ at %x", key)
			}
		}
	}
}

func dump(t *testing.T, db *pebble.DB) map[string]string {
	t.Helper()
	iter, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer iter.Close()
	out := map[string]string{}
	for iter.First(); iter.Valid(); iter.Next() {
		out[string(iter.Key())] = string(iter.Value())
	}
	return out
}
