package anchor_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// TestResumeStatement: a statement whose reading is interrupted between two pieces goes on where it was, by itself and
// when it is brought again, and every entry counts once.
func TestResumeStatement(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	var entries []rails.Entry
	for range 60 {
		entries = append(entries, f.credit("1.00", "who"))
	}
	for name, again := range map[string]bool{"by itself": false, "brought again": true} {
		t.Run(name, func(t *testing.T) {
			for i := range entries {
				entries[i].Ref = name + entries[i].Ref
			}
			file := f.statement(name, entries...)
			before := len(strings.Fields(f.reasons()))
			pieces := 0
			f.stop()
			f.parts.Failpoint = func(point string) {
				if point == "statement.before" {
					if pieces++; pieces == 2 {
						panic(errDied)
					}
				}
			}
			f.make()
			func() {
				defer func() { _ = recover() }()
				_, err := f.svc.ImportStatement(f.ctx, partnerActor, keeper, file)
				t.Errorf("it was not interrupted: %v", err)
			}()
			if n := len(strings.Fields(f.reasons())) - before; n == 0 || n >= 60 {
				t.Fatalf("%d entries after the first piece", n)
			}
			f.parts.Failpoint = nil
			f.make()
			f.start()
			if again {
				got, err := f.svc.ImportStatement(f.ctx, partnerActor, keeper, file)
				if err != nil || got.Again || got.Entries != 60 || got.Quarantined != 60 {
					t.Errorf("%+v %v", got, err)
				}
			}
			f.within("all entries", func() (bool, any) { n := len(strings.Fields(f.reasons())) - before; return n == 60, n })
			f.within("no job is left", func() (bool, any) {
				jobs, err := f.svc.Jobs(f.ctx, anchor.Page{})
				return len(jobs) == 0, []any{jobs, err}
			})
		})
	}
	f.books(map[book.Code]string{"bank/USD": "120.0000000", "suspense/USD": "120.0000000"})
	f.sound()
}

// errDied is what a process dies of in tests.
var errDied = errors.New("died")

// TestPartnersAreApart: a partner sees and decides what concerns the accounts that he keeps, and brings statements of no
// other.
func TestPartnersAreApart(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	d := f.deposit(f.customer("alice"))
	file := f.statement("s", f.credit("7.00", d.Reference), f.credit("8.00", "who"))
	got, err := f.svc.ImportStatement(f.ctx, partnerActor, "stranger", file)
	if err != nil || got.Booked != 0 || got.Quarantined != 2 {
		t.Errorf("a stranger's statement of our account: %+v %v", got, err)
	}
	f.bring(file, anchor.Imported{Entries: 2, Booked: 2, Matched: 1, Quarantined: 1})
	h := f.waiting()
	if err := f.resolve(anchor.Resolution{ID: h.ID, Action: "return"}); err != nil {
		t.Fatal(err)
	}
	var payouts []anchor.Payout
	f.within("payout", func() (bool, any) {
		payouts, err = f.svc.Payouts(f.ctx, keeper, anchor.Page{Limit: 10})
		return len(payouts) == 1, err
	})
	theirs, err := f.svc.Quarantine(f.ctx, "stranger", anchor.Page{})
	if err != nil || len(theirs) != 2 || theirs[0].Reason != "wrong-account" {
		t.Errorf("%+v %v", theirs, err)
	}
	if seen, err := f.svc.Payouts(f.ctx, "stranger", anchor.Page{}); err != nil || len(seen) != 0 {
		t.Errorf("a stranger sees payouts %+v %v", seen, err)
	}
	if _, err := f.svc.PayoutFile(f.ctx, "stranger", payouts[0].ID); !errors.Is(err, anchor.ErrNotFound) {
		t.Errorf("a stranger's payout file: %v", err)
	}
	if _, err := f.svc.ResolveQuarantine(f.ctx, partnerActor, "stranger", anchor.Resolution{ID: h.ID, Action: "dismiss", Note: "x"}); !errors.Is(err, anchor.ErrNotFound) {
		t.Errorf("a stranger's decision: %v", err)
	}
	// He cannot make money of ours out of his own quarantine either.
	_, err = f.svc.ResolveQuarantine(f.ctx, partnerActor, "stranger", anchor.Resolution{ID: theirs[0].ID, Action: "book", Amount: "7.00", Note: "x"})
	if !errors.Is(err, anchor.ErrInvalid) {
		t.Errorf("a stranger books: %v", err)
	}
	f.sound()
}

// TestBookByHand: two bookings under one reference of the bank, and one that no machine can read, are booked on a
// person's word, once, for the amount that the bank said.
func TestBookByHand(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	first := f.credit("50.00", f.deposit(alice).Reference)
	second := first
	d := f.deposit(alice)
	second.Remittance = []string{d.Reference}
	f.bring(f.statement("a", first, second), anchor.Imported{Entries: 2, Booked: 1, Matched: 1, Quarantined: 1})
	h := f.waiting()
	for name, r := range map[string]anchor.Resolution{"no amount": {ID: h.ID, Action: "book"}, "another amount": {ID: h.ID, Action: "book", Amount: "51.00"},
		"nought": {ID: h.ID, Action: "book", Amount: "0.00"}, "negative": {ID: h.ID, Action: "book", Amount: "-50.00"}, "too exact": {ID: h.ID, Action: "book", Amount: "50.001"},
		"match before it is booked": {ID: h.ID, Action: "match", Transaction: d.ID}} {
		if err := f.resolve(r); !errors.Is(err, anchor.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := f.resolve(anchor.Resolution{ID: h.ID, Action: "book", Amount: "50.00"}); err != nil {
		t.Fatal(err)
	}
	if err := f.resolve(anchor.Resolution{ID: h.ID, Action: "book", Amount: "50.00"}); !errors.Is(err, anchor.ErrInvalid) {
		t.Errorf("booked twice: %v", err)
	}
	if err := f.resolve(anchor.Resolution{ID: h.ID, Action: "match", Transaction: d.ID}); err != nil {
		t.Fatal(err)
	}
	f.reaches(alice, d.ID, "completed")
	f.bring(f.file(rails.Statement{ID: "j", Account: rails.Account{IBAN: ourIBAN}, Defects: []rails.Defect{{Raw: "<Ntry>", Reason: "no amount"}}}),
		anchor.Imported{Entries: 1, Quarantined: 1})
	h = f.waiting()
	if err := f.resolve(anchor.Resolution{ID: h.ID, Action: "book", Amount: "9.00"}); err != nil {
		t.Fatal(err)
	}
	f.books(map[book.Code]string{"bank/USD": "109.0000000", "suspense/USD": "9.0000000", "issued/USD": "100.0000000"})
	// The bank takes the nine back: the two entries are one story.
	f.bring(f.statement("k", f.debit("8.00", "FEE"), f.debit("9.00", "OURS")), anchor.Imported{Entries: 2, Booked: 2, Quarantined: 2})
	held, err := f.svc.Quarantine(f.ctx, keeper, anchor.Page{After: h.ID})
	if err != nil || len(held) != 2 {
		t.Fatal(held, err)
	}
	if err := f.resolve(anchor.Resolution{ID: h.ID, Action: "offset", Transaction: held[0].ID}); !errors.Is(err, anchor.ErrInvalid) {
		t.Errorf("offset by another amount: %v", err)
	}
	if err := f.resolve(anchor.Resolution{ID: h.ID, Action: "offset", Transaction: held[1].ID}); err != nil {
		t.Fatal(err)
	}
	if err := f.resolve(anchor.Resolution{ID: held[1].ID, Action: "dismiss"}); !errors.Is(err, anchor.ErrConflict) {
		t.Errorf("the other side waits still: %v", err)
	}
	if err := f.resolve(anchor.Resolution{ID: held[0].ID, Action: "dismiss"}); err != nil {
		t.Error(err)
	}
	f.books(map[book.Code]string{"bank/USD": "92.0000000", "suspense/USD": "0.0000000", "unexplained/USD": "8.0000000"})
	f.sound()
}

func (f *fixture) parked(n int) []anchor.Parked {
	f.t.Helper()
	var parked []anchor.Parked
	f.within("parked", func() (bool, any) {
		all, err := f.svc.Parked(f.ctx, anchor.Page{Limit: 10})
		parked = parked[:0]
		for _, p := range all {
			if p.State == "parked" {
				parked = append(parked, p)
			}
		}
		return len(parked) == n, []any{all, err}
	})
	return parked
}

func (f *fixture) decide(p anchor.Parked, action string) error {
	_, err := f.svc.ResolveParked(f.ctx, staffActor, anchor.ParkedResolution{Hash: p.Hash, Op: p.Op, Action: action, Note: "looked at"})
	return err
}

// TestReissue: credit that its holder destroyed is issued to him again on a person's word, once.
func TestReissue(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	f.fund(alice, "50.00")
	f.send(alice, protocol.NoMemo(), txbuild.Payment{Destination: f.asset.Issuer(), Asset: f.asset, Amount: nodetest.Amount(t, "20")})
	p := f.parked(1)[0]
	if err := f.decide(p, "give-back"); !errors.Is(err, anchor.ErrInvalid) {
		t.Errorf("what is destroyed cannot be given back: %v", err)
	}
	if err := f.decide(p, "reissue"); err != nil {
		t.Fatal(err)
	}
	for _, action := range []string{"reissue", "dismiss"} {
		if err := f.decide(p, action); !errors.Is(err, anchor.ErrConflict) {
			t.Errorf("%s after reissue: %v", action, err)
		}
	}
	f.within("credit is back", func() (bool, any) { return f.balance(alice.ID) == "50.0000000", f.balance(alice.ID) })
	f.within("payment is done", func() (bool, any) { n := f.records("payment.refunded"); return n == 1, n })
	f.books(map[book.Code]string{"bank/USD": "50.0000000", "issued/USD": "50.0000000", "payable/USD": "0.0000000"})
	f.sound()
}

// TestReissueWithoutLine: what the ledger does not take waits again, and can be tried again.
func TestReissueWithoutLine(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	f.fund(alice, "20.00")
	f.send(alice, protocol.NoMemo(), txbuild.Payment{Destination: f.asset.Issuer(), Asset: f.asset, Amount: nodetest.Amount(t, "20")})
	p := f.parked(1)[0]
	f.send(alice, protocol.NoMemo(), txbuild.ChangeTrust{Asset: f.asset})
	if err := f.decide(p, "reissue"); err != nil {
		t.Fatal(err)
	}
	f.within("it waits again", func() (bool, any) { n := f.records("payment.parked"); return n == 2, n })
	f.books(map[book.Code]string{"issued/USD": "0.0000000", "payable/USD": "20.0000000"})
	f.send(alice, protocol.NoMemo(), txbuild.ChangeTrust{Asset: f.asset, Limit: nodetest.Amount(t, "1000")})
	f.within("line", func() (bool, any) {
		a, err := f.net.ledger.Account(alice.ID)
		line, _ := a.Trustline(f.asset)
		return line.Flags.IsAuthorized(), err
	})
	if err := f.decide(f.parked(1)[0], "reissue"); err != nil {
		t.Fatal(err)
	}
	f.within("credit is back", func() (bool, any) { return f.balance(alice.ID) == "20.0000000", f.balance(alice.ID) })
	f.within("payment is done", func() (bool, any) { n := f.records("payment.refunded"); return n == 1, n })
	f.books(map[book.Code]string{"issued/USD": "20.0000000", "payable/USD": "0.0000000"})
	f.sound()
}

// TestUnfreeze: what a frozen customer paid goes back when he is not frozen any more and a person says so, and a line that
// he opened meanwhile is authorised.
func TestUnfreeze(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	f.fund(alice, "50.00")
	w := f.withdraw(alice)
	f.freeze(alice) // a moment ago: the ledger does not know yet
	f.pay(alice, "50", w.Memo)
	p := f.parked(1)[0]
	if err := f.decide(p, "give-back"); !errors.Is(err, anchor.ErrConflict) || !strings.Contains(err.Error(), "frozen") {
		t.Errorf("to a frozen customer: %v", err)
	}
	f.send(alice, protocol.NoMemo(), txbuild.ChangeTrust{Asset: f.asset}, txbuild.ChangeTrust{Asset: f.asset, Limit: nodetest.Amount(t, "1000")})
	if err := f.svc.SetStatus(f.ctx, staffActor, anchor.StatusChange{Account: alice.ID, Why: "a court"}); err != nil {
		t.Fatal(err)
	}
	f.within("line", func() (bool, any) {
		a, err := f.net.ledger.Account(alice.ID)
		line, _ := a.Trustline(f.asset)
		return line.Flags.IsAuthorized(), err
	})
	if err := f.decide(p, "give-back"); err != nil {
		t.Fatal(err)
	}
	f.within("credit is back", func() (bool, any) { return f.balance(alice.ID) == "50.0000000", f.balance(alice.ID) })
	if err := f.svc.SetStatus(f.ctx, staffActor, anchor.StatusChange{Account: nodetest.NewWallet(t).ID, Why: "x"}); !errors.Is(err, anchor.ErrNotFound) {
		t.Errorf("a stranger's status: %v", err)
	}
	if err := f.svc.SetStatus(f.ctx, staffActor, anchor.StatusChange{Account: alice.ID, Why: " "}); !errors.Is(err, anchor.ErrInvalid) {
		t.Errorf("no reason: %v", err)
	}
	f.sound()
}

// TestWithheld: a payout that compliance holds back is seen to wait, and goes by itself when it may.
func TestWithheld(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	f.fund(alice, "50.00")
	w := f.withdraw(alice)
	f.stop()
	gate := f.parts.Gate
	var err error
	if f.parts.Gate, err = compliance.NewGate(compliance.Config{Limits: []compliance.Limit{{Kind: compliance.Withdrawal, Currency: usd(t), Max: "5000"},
		{Kind: compliance.Payout, Currency: usd(t), Max: "10"}}}); err != nil {
		t.Fatal(err)
	}
	f.make()
	f.start()
	f.pay(alice, "20", w.Memo)
	tx := f.reaches(alice, w.ID, "on_hold")
	if tx.Message == "" {
		t.Error("the customer is not told")
	}
	jobs, err := f.svc.Jobs(f.ctx, anchor.Page{})
	if err != nil || len(jobs) != 1 || jobs[0].Kind != "payout" {
		t.Errorf("%+v %v", jobs, err)
	}
	f.stop()
	f.parts.Gate = gate
	f.make()
	f.start()
	if tx := f.reaches(alice, w.ID, "pending_external"); tx.Message != "" {
		t.Errorf("the customer is still told %q", tx.Message)
	}
	f.within("payout", func() (bool, any) { n := f.records("payout.written"); return n == 1, n })
	f.sound()
}

// TestKeyIsForOneRequest: the same key with other content is a mistake and not an old answer.
func TestKeyIsForOneRequest(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	first, err := f.svc.Deposit(f.ctx, anchor.DepositRequest{Account: alice.ID, Asset: "USD", Key: "k", Amount: nodetest.Amount(t, "5")})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := f.svc.Deposit(f.ctx, anchor.DepositRequest{Account: alice.ID, Asset: "USD", Key: "k", Amount: nodetest.Amount(t, "5")}); err != nil || again.ID != first.ID {
		t.Errorf("the same again: %+v %v", again, err)
	}
	if _, err := f.svc.Deposit(f.ctx, anchor.DepositRequest{Account: alice.ID, Asset: "USD", Key: "k"}); !errors.Is(err, anchor.ErrConflict) {
		t.Errorf("another amount: %v", err)
	}
	out := anchor.WithdrawRequest{Account: alice.ID, Asset: "USD", Key: "k", Dest: theirIBAN, DestExtra: "Alice Doe"}
	if _, err := f.svc.Withdraw(f.ctx, out); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(r *anchor.WithdrawRequest){
		"another name":    func(r *anchor.WithdrawRequest) { r.DestExtra = "Mallory" },
		"another account": func(r *anchor.WithdrawRequest) { r.Dest = "CH9300762011623852957" },
	} {
		other := out
		change(&other)
		if _, err := f.svc.Withdraw(f.ctx, other); !errors.Is(err, anchor.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
