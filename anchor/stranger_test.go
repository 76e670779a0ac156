package anchor_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// caughtUp waits until every closed ledger was read.
func (f *fixture) caughtUp() {
	f.t.Helper()
	f.within("caught up", func() (bool, any) { h, err := f.svc.Health(f.ctx); return err == nil && h.Lag == 0, []any{h, err} })
}

// idle waits until nothing is to be done and every ledger was read: what was asked for is recorded then.
func (f *fixture) idle() {
	f.t.Helper()
	f.within("idle", func() (bool, any) {
		jobs, err := f.svc.Jobs(f.ctx, anchor.Page{})
		return err == nil && len(jobs) == 0, []any{jobs, err}
	})
	f.caughtUp()
}

// signedIssue waits for the signed transaction of the one open issue.
func (f *fixture) signedIssue() (env xdr.TransactionEnvelope) {
	f.t.Helper()
	var signed []byte
	f.within("signature", func() (bool, any) {
		err := f.db.Reader().QueryRow(f.ctx, `SELECT signed FROM anchor.ledger_tx WHERE kind = 'issue' AND state = 'signed'`).Scan(&signed)
		return err == nil, err
	})
	if err := env.UnmarshalBinary(signed); err != nil {
		f.t.Fatal(err)
	}
	return env
}

// sendAs applies a transaction signed with one of the anchor's keys, behind the anchor's back.
func (f *fixture) sendAs(key keymgmt.KeyID, id protocol.AccountID, ops ...txbuild.Operation) {
	f.t.Helper()
	account, err := f.net.ledger.Account(id)
	if err != nil {
		f.t.Fatal(err)
	}
	u, err := txbuild.Build(txbuild.Params{Passphrase: f.net.passphrase, Source: id, Sequence: account.Sequence + 1, FeePerOp: 1000,
		NotAfter: time.Unix(1<<40, 0), Memo: protocol.NoMemo(), Operations: ops})
	if err != nil {
		f.t.Fatal(err)
	}
	hash := u.Hash()
	env, err := u.Attach(txbuild.Signature{Account: id, Bytes: ed25519.Sign(f.sig.keys[key], hash[:])})
	if err != nil {
		f.t.Fatal(err)
	}
	f.net.put(hash, env)
	f.net.close(time.Second)
}

// TestStrangersFeeBump: whoever sees our signed transaction can bring it into the ledger inside a fee bump of his own,
// alone or beside the plain one. The credit is issued once all the same.
func TestStrangersFeeBump(t *testing.T) {
	for name, beside := range map[string]bool{"alone": false, "beside the plain one": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.cfg.TxLife = 5 * time.Second
			f.make()
			f.start()
			f.ready()
			alice := f.customer("alice")
			d := f.deposit(alice)
			f.net.behave(dropsLost)
			f.bring(f.statement("s", f.credit("30.00", d.Reference)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
			ours := f.signedIssue()
			bump, hash := alice.Bump(t, f.net.passphrase, ours, 10_000)
			f.stop() // nobody closes a ledger between the two
			f.net.put(hash, bump)
			if beside {
				plain, err := f.net.passphrase.TxHash(ours)
				if err != nil {
					t.Fatal(err)
				}
				f.net.put(plain, ours)
			}
			f.net.close(time.Second)
			f.net.behave(takes)
			f.start()
			f.reaches(alice, d.ID, "completed")
			f.net.close(time.Minute) // past the time of every transaction that is taken for lost
			f.caughtUp()
			if got := f.balance(alice.ID); got != "30.0000000" || f.dead() != 0 {
				t.Errorf("alice has %s, %d dead; %s", got, f.dead(), f.state())
			}
			f.sound()
		})
	}
}

// TestCreditTheBookDoesNotKnow: credit that was issued behind our back shows in the invariant and is not redeemed; the
// observer goes on.
func TestCreditTheBookDoesNotKnow(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice, a := f.customer("alice"), f.cfg.Assets[0]
	f.sendAs(a.IssuingKey, a.Issuing, txbuild.Payment{Destination: alice.ID, Asset: f.asset, Amount: nodetest.Amount(t, "50")})
	w := f.withdraw(alice)
	f.pay(alice, "20", w.Memo)
	f.within("refund", func() (bool, any) { n := f.records("payment.refunded"); return n == 1, n })
	f.send(alice, protocol.NoMemo(), txbuild.Payment{Destination: a.Issuing, Asset: f.asset, Amount: nodetest.Amount(t, "20")})
	f.caughtUp()
	all, err := f.svc.Invariants(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	broken := 0
	for _, i := range all {
		if !i.OK {
			broken++
		}
	}
	if broken != 1 {
		t.Errorf("invariants %+v, want the one about credit on the ledger to be broken", all)
	}
	f.fund(alice, "10.00") // it still works
}

// TestRevokedLineStaysRevoked: an authorisation that was withdrawn is not given back by a machine, whatever its holder does.
func TestRevokedLineStaysRevoked(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice, a := f.customer("alice"), f.cfg.Assets[0]
	f.caughtUp()
	f.sendAs(a.IssuingKey, a.Issuing, txbuild.SetTrustLineFlags{Trustor: alice.ID, Asset: f.asset, Clear: xdr.TrustLineFlagsAuthorizedFlag})
	f.send(alice, protocol.NoMemo(), txbuild.ChangeTrust{Asset: f.asset, Limit: nodetest.Amount(t, "5")})
	f.customer("bob") // his authorisation comes after anything that was opened for alice
	account, err := f.net.ledger.Account(alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	if line, ok := account.Trustline(f.asset); !ok || line.Flags.IsAuthorized() {
		t.Errorf("alice's line %+v, %v", line, ok)
	}
}

// TestParallelImports: of a hundred equal imports at the same time one does it.
func TestParallelImports(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	d := f.deposit(alice)
	for name, file := range map[string][]byte{
		"entries":  f.statement("s", f.credit("30.00", d.Reference), f.credit("7.00", "who")),
		"no entry": f.statement("e"),
		"defect":   f.file(rails.Statement{ID: "j", Account: rails.Account{IBAN: ourIBAN}, Defects: []rails.Defect{{Raw: "<Ntry>", Reason: "no amount"}}}),
	} {
		var wg sync.WaitGroup
		outcomes := make(chan anchor.Imported, 100)
		errs := make(chan error, 100)
		for range 100 {
			wg.Go(func() {
				got, err := f.svc.ImportStatement(f.ctx, partnerActor, keeper, file)
				outcomes <- got
				errs <- err
			})
		}
		wg.Wait()
		close(outcomes)
		close(errs)
		first := 0
		for got := range outcomes {
			if !got.Again {
				first++
			}
		}
		var all error
		for err := range errs {
			all = errors.Join(all, err)
		}
		if first != 1 || all != nil {
			t.Errorf("%s: %d were the first: %v", name, first, all)
		}
	}
	f.reaches(alice, d.ID, "completed")
	f.books(map[book.Code]string{"bank/USD": "37.0000000", "suspense/USD": "7.0000000", "issued/USD": "30.0000000"})
	f.sound()
}

// TestReplicasAndReplay: two anchors on one database, then everything read again from the first ledger: nothing changes.
func TestReplicasAndReplay(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.second()
	f.ready()
	alice := f.customer("alice")
	for range 5 {
		f.fund(alice, "20.00")
	}
	w := f.withdraw(alice)
	f.pay(alice, "10", w.Memo)
	f.pay(alice, "10", w.Memo)
	f.within("refund", func() (bool, any) { n := f.records("payment.refunded"); return n == 1, n })
	f.within("payout", func() (bool, any) { n := f.records("withdrawal.paid"); return n == 1, n })
	f.sound()
	f.stop()
	before := f.tables()
	err := audit.Do(f.ctx, f.db, staffActor, func(ctx context.Context, tx *audit.Tx) error {
		for _, sql := range []string{`UPDATE anchor.cursor SET ledger = 1`, `UPDATE anchor.supply SET units = 0`} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		_, err := tx.Record(ctx, audit.Event{Action: "test.replayed", Subject: "all"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	f.make()
	f.start()
	f.caughtUp()
	f.within("jobs done", func() (bool, any) {
		h, err := f.svc.Health(f.ctx)
		return err == nil && h.OldestJob == 0, []any{h, err}
	})
	if after := f.tables(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	if got := f.balance(alice.ID); got != "90.0000000" {
		t.Errorf("alice has %s", got)
	}
	f.sound()
}

// second runs another anchor beside the first, as long.
func (f *fixture) second() {
	f.t.Helper()
	other, err := anchor.New(f.cfg, f.parts)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := other.Run(ctx); err != nil {
			f.t.Errorf("second: %v", err)
		}
	})
	first := f.stop
	f.stop = sync.OnceFunc(func() { cancel(); wg.Wait(); first() })
	f.t.Cleanup(f.stop)
}

// tables is everything that reading the ledger may change, in one text.
func (f *fixture) tables() (out string) {
	f.t.Helper()
	for _, table := range []string{"transaction", "incoming", "job", "ledger_tx", "payout", "quarantine", "supply"} {
		var rows string
		err := f.db.Reader().QueryRow(f.ctx, `SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM anchor.`+table+` t`).Scan(&rows)
		if err != nil {
			f.t.Fatal(err)
		}
		out += table + "\n" + rows + "\n"
	}
	return out
}

// deaf is a network that once does not know an account.
type deaf struct {
	*network
	once    sync.Once
	account protocol.AccountID
}

// Account is part of anchor.Network.
func (d *deaf) Account(ctx context.Context, id protocol.AccountID) (a protocol.Account, err error) {
	first := false
	if id == d.account {
		d.once.Do(func() { first = true })
	}
	if first {
		return a, errLost
	}
	return d.network.Account(ctx, id)
}

// gate is a failpoint that lets so many through and holds the others until it is opened.
type gate struct {
	name    string
	free    atomic.Int64
	reached chan struct{}
	opened  chan struct{}
	once    sync.Once
	open    func()
}

func newGate(name string, free int64) *gate {
	g := &gate{name: name, reached: make(chan struct{}), opened: make(chan struct{})}
	g.free.Store(free)
	g.open = sync.OnceFunc(func() { close(g.opened) })
	return g
}

func (g *gate) hit(name string) {
	if name == g.name && g.free.Add(-1) < 0 {
		g.once.Do(func() { close(g.reached) })
		<-g.opened
	}
}

// TestStaleSequence: a process that read a sequence number, and slept while another process used it up, does not build on
// it: such a transaction would keep its account busy until its time has passed.
func TestStaleSequence(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	one, two := f.deposit(alice), f.deposit(alice)
	f.stop()
	f.bring(f.statement("s", f.credit("10.00", one.Reference), f.credit("20.00", two.Reference)), anchor.Imported{Entries: 2, Booked: 2, Matched: 2})
	slow, quick := newGate("store.before", 0), newGate("store.before", 1)
	plain := f.parts
	// The slow one cannot do the first job just now, and falls asleep over the second.
	f.parts.Failpoint, f.parts.Network = slow.hit, &deaf{network: f.net, account: f.cfg.Assets[0].Issuing}
	f.make()
	f.start()
	<-slow.reached
	// The quick one does the first job, and falls asleep over the second as well.
	f.parts = plain
	f.parts.Failpoint = quick.hit
	f.second()
	t.Cleanup(func() { slow.open(); quick.open() }) // before the two are stopped, also when the test has failed
	f.reaches(alice, one.ID, "completed")
	<-quick.reached
	slow.open()
	f.reaches(alice, two.ID, "completed")
	quick.open()
	if f.dead() != 0 || f.balance(alice.ID) != "30.0000000" {
		t.Error(f.balance(alice.ID), f.state())
	}
	f.sound()
}
