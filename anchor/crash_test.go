package anchor_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/nodetest"
)

// killer kills the anchor at a failpoint: the goroutine that comes there ends on the spot, its transaction is rolled back
// as by a lost connection, and everything else is told to end.
type killer struct {
	mu    sync.Mutex
	seen  map[string]int
	armed string     // name of the failpoint, "*" for any
	after int        // hits to let pass
	again func() int // how many to let pass before the next kill; nil: one kill
	kills int
	kill  func()
}

func (k *killer) hit(name string) {
	k.mu.Lock()
	k.seen[name]++
	if k.armed != name && k.armed != "*" {
		k.mu.Unlock()
		return
	}
	if k.after > 0 {
		k.after--
		k.mu.Unlock()
		return
	}
	if k.armed = ""; k.again != nil {
		k.armed, k.after = "*", k.again()
	}
	k.kills++
	k.kill()
	k.mu.Unlock()
	runtime.Goexit()
}

// arm lets so many hits of a failpoint pass and kills at the next.
func (k *killer) arm(name string, after int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.armed, k.after = name, after
}

// forget returns how often each failpoint was passed, and starts counting anew.
func (k *killer) forget() map[string]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	seen := k.seen
	k.seen = map[string]int{}
	return seen
}

func (k *killer) killed() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kills
}

// mortal is an anchor that starts again whenever it was killed.
type mortal struct {
	*fixture
	k *killer
}

func newMortal(t *testing.T) *mortal { return mortalOf(t, newFixture(t)) }

// mortalOf makes a fixture mortal, as it is now.
func mortalOf(t *testing.T, f *fixture) *mortal {
	m := &mortal{f, &killer{seen: map[string]int{}}}
	m.parts.Failpoint = m.k.hit
	ctx, cancel := context.WithCancel(m.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { m.net.pump(ctx) })
	m.make()
	wg.Go(func() {
		for ctx.Err() == nil {
			m.live(ctx)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return m
}

// live runs one life of the service, which ends with its death or with ctx. A new one has nothing but the database.
func (m *mortal) live(ctx context.Context) {
	svc, err := anchor.New(m.cfg, m.parts)
	if err != nil {
		m.t.Error(err)
		return
	}
	life, end := context.WithCancel(ctx)
	defer end()
	m.k.mu.Lock()
	m.k.kill = end
	m.k.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := svc.Run(life); err != nil && life.Err() == nil {
			m.t.Errorf("run: %v", err)
		}
	}()
	<-done
}

// call asks the service for something, in a goroutine that may be killed, until it is answered.
func (m *mortal) call(what func() error) {
	m.t.Helper()
	m.within("call", func() (bool, any) {
		answered := make(chan error, 1)
		go func() {
			defer close(answered) // also when it was killed
			answered <- what()
		}()
		err, alive := <-answered
		return alive && err == nil, err
	})
}

// round is one deposit and one withdrawal, each from one end to the other.
func (m *mortal) round(w nodetest.Wallet, n int) {
	m.t.Helper()
	var d, out anchor.Transaction
	key := fmt.Sprintf("round-%d", n)
	m.call(func() (err error) {
		d, err = m.svc.Deposit(m.ctx, anchor.DepositRequest{Account: w.ID, Asset: "USD", Key: key})
		return err
	})
	file := m.statement(key, m.credit("20.00", d.Reference))
	m.call(func() error { _, err := m.svc.ImportStatement(m.ctx, partnerActor, keeper, file); return err })
	m.reaches(w, d.ID, "completed")
	m.call(func() (err error) {
		out, err = m.svc.Withdraw(m.ctx, anchor.WithdrawRequest{Account: w.ID, Asset: "USD", Dest: theirIBAN, DestExtra: "Alice", Key: key})
		return err
	})
	m.pay(w, "15", out.Memo)
	var payout anchor.Payout
	m.within("payout", func() (bool, any) {
		payouts, err := m.svc.Payouts(m.ctx, keeper, anchor.Page{Limit: anchorPage})
		for _, p := range payouts {
			if p.State == "written" {
				payout = p
			}
		}
		return payout.ID != "", err
	})
	file = m.statement(key+"-out", m.debit("15.00", payout.ID))
	m.call(func() error { _, err := m.svc.ImportStatement(m.ctx, partnerActor, keeper, file); return err })
	m.reaches(w, out.ID, "completed")
	if got, want := m.balance(w.ID), fmt.Sprintf("%d.0000000", 5*n); got != want {
		m.t.Fatalf("round %d: the customer has %s, want %s; %s", n, got, want, m.state())
	}
	m.sound()
}

// TestCrashEverywhere kills the anchor before and after every step of a deposit and a withdrawal, each time it gets
// there, and finds nothing lost and nothing doubled.
func TestCrashEverywhere(t *testing.T) {
	m := newMortal(t)
	m.ready()
	alice := m.customer("alice")
	rounds := 1
	m.k.forget()
	m.round(alice, rounds)
	seen := m.k.forget()
	names := slices.Sorted(maps.Keys(seen))
	for _, step := range []string{"store", "sign", "submit", "observe", "post"} {
		for _, when := range []string{".before", ".after"} {
			if !slices.Contains(names, step+when) {
				t.Errorf("no failpoint %s%s among %v", step, when, names)
			}
		}
	}
	for _, name := range names {
		for after := range min(seen[name], 4) {
			rounds++
			kills := m.k.killed()
			m.k.arm(name, after)
			m.round(alice, rounds)
			if m.k.killed() == kills {
				t.Logf("%s was not passed %d times in one round", name, after+1)
			}
		}
	}
	t.Logf("%d kills in %d rounds at %v", m.k.killed(), rounds, names)
}

// kills is how often TestCrashAtRandom kills.
const kills = 200

// TestCrashAtRandom kills the anchor at random moments, time and again.
func TestCrashAtRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	m := newMortal(t)
	m.k.again = func() int { return random.IntN(12) } // called by one goroutine at a time
	m.k.arm("*", random.IntN(6))
	m.ready()
	alice := m.customer("alice")
	rounds := 0
	for m.k.killed() < kills {
		rounds++
		m.round(alice, rounds)
	}
	t.Logf("%d kills in %d rounds", m.k.killed(), rounds)
}

// TestLostAnswers: the network takes what it is given and the answer is lost.
func TestLostAnswers(t *testing.T) {
	m := newMortal(t)
	m.net.behave(takesLost)
	m.ready()
	alice := m.customer("alice")
	for n := 1; n <= 3; n++ {
		m.round(alice, n)
	}
}

// TestAway: while the signer or the node is away nothing gets lost, health says which, and work resumes by itself.
func TestAway(t *testing.T) {
	m := newMortal(t)
	m.ready()
	alice := m.customer("alice")
	d := m.deposit(alice)
	m.sig.behave(keymgmt.ErrUnavailable)
	m.bring(m.statement("s", m.credit("10.00", d.Reference)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	m.reaches(alice, d.ID, "pending_anchor")
	m.sig.behave(nil)
	m.reaches(alice, d.ID, "completed")

	d = m.deposit(alice)
	m.net.behave(unreachable)
	m.bring(m.statement("t", m.credit("10.00", d.Reference)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	m.net.behave(takes)
	m.reaches(alice, d.ID, "completed")
	m.sound()
}

// TestDenied: what the signer does not allow is given to a person, once, and nothing is held for it.
func TestDenied(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	d := f.deposit(alice)
	f.sig.behave(fmt.Errorf("%w: over the limit of a day", keymgmt.ErrDenied))
	f.bring(f.statement("s", f.credit("10.00", d.Reference)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.reaches(alice, d.ID, "on_hold")
	f.books(map[book.Code]string{"bank/USD": "10.0000000", "suspense/USD": "10.0000000", "issued/USD": "0.0000000"})
	held, err := f.svc.Quarantine(f.ctx, keeper, anchor.Page{Limit: anchorPage})
	if err != nil || len(held) != 1 || held[0].Reason != "not-issued" || !strings.Contains(held[0].Detail, "limit of a day") {
		t.Fatal(held, err)
	}
	f.sound()
	// A person gives it another try when the policy allows it again.
	f.sig.behave(nil)
	f.net.close(time.Second) // in the same second it would be the very same transaction, which is refused already
	if _, err := f.svc.ResolveQuarantine(f.ctx, staffActor, keeper, anchor.Resolution{ID: held[0].ID, Action: "match", Transaction: d.ID, Note: "policy raised"}); err != nil {
		t.Fatal(err)
	}
	f.reaches(alice, d.ID, "completed")
	f.books(map[book.Code]string{"bank/USD": "10.0000000", "suspense/USD": "0.0000000", "issued/USD": "10.0000000"})
	f.sound()
}
