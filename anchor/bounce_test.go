package anchor_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// payout waits until there are n payouts and returns the newest.
func (f *fixture) payout(n int) (newest anchor.Payout) {
	f.t.Helper()
	f.within("payout", func() (bool, any) {
		all, err := f.svc.Payouts(f.ctx, keeper, anchor.Page{Limit: 20})
		if len(all) > 0 {
			newest = all[len(all)-1]
		}
		return err == nil && len(all) == n, []any{all, err}
	})
	return newest
}

// paidOut brings a withdrawal of 50.00 to the bank.
func (f *fixture) paidOut() (nodetest.Wallet, anchor.Transaction, anchor.Payout) {
	f.t.Helper()
	alice := f.customer("alice")
	f.fund(alice, "50.00")
	w := f.withdraw(alice)
	f.pay(alice, "50", w.Memo)
	return alice, w, f.payout(1)
}

func (f *fixture) bounced(id, action string) error {
	_, err := f.svc.ResolveBounced(f.ctx, staffActor, anchor.BouncedResolution{ID: id, Action: action, Note: "asked the customer"})
	return err
}

// TestRefusedPayout: what the bank refuses is still owed, is paid by another payout with a name of its own, and what the
// bank pays after it has refused belongs to nothing.
func TestRefusedPayout(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice, w, p := f.paidOut()
	if err := f.svc.RefusePayout(f.ctx, staffActor, "another", anchor.PayoutRefusal{ID: p.ID, Reason: "AC04"}); !errors.Is(err, anchor.ErrNotFound) {
		t.Errorf("another partner's payout: %v", err)
	}
	if err := f.svc.RefusePayout(f.ctx, staffActor, keeper, anchor.PayoutRefusal{ID: p.ID, Reason: " "}); !errors.Is(err, anchor.ErrInvalid) {
		t.Errorf("no reason: %v", err)
	}
	if err := f.bounced(w.ID, "again"); !errors.Is(err, anchor.ErrConflict) {
		t.Errorf("again while the bank has it: %v", err)
	}
	refuse := func(id string) error {
		return f.svc.RefusePayout(f.ctx, staffActor, keeper, anchor.PayoutRefusal{ID: id, Reason: "AC04"})
	}
	if err := refuse(p.ID); err != nil {
		t.Fatal(err)
	}
	if err := refuse(p.ID); !errors.Is(err, anchor.ErrConflict) {
		t.Errorf("refused twice: %v", err)
	}
	f.reaches(alice, w.ID, "on_hold")
	f.books(map[book.Code]string{"bank/USD": "50.0000000", "payable/USD": "50.0000000", "issued/USD": "0.0000000"})
	f.sound()
	if list, err := f.svc.Bounced(f.ctx, anchor.Page{}); err != nil || len(list) != 1 || list[0].ID != w.ID {
		t.Errorf("%+v %v", list, err)
	}
	if err := f.bounced(w.ID, "again"); err != nil {
		t.Fatal(err)
	}
	second := f.payout(2)
	if second.ID == p.ID || second.Amount != p.Amount || len(second.ID) > 35 {
		t.Errorf("%+v after %+v", second, p)
	}
	f.fund(alice, "50.00") // so that the book has something at the bank besides
	f.bring(f.statement("late", f.debit("50.00", p.ID)), anchor.Imported{Entries: 1, Booked: 1, Quarantined: 1})
	if got := f.reasons(); !strings.Contains(got, "paid-after-refusal") {
		t.Error(got)
	}
	f.bring(f.statement("paid", f.debit("50.00", second.ID)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.reaches(alice, w.ID, "completed")
	f.books(map[book.Code]string{"bank/USD": "0.0000000", "payable/USD": "0.0000000", "issued/USD": "50.0000000", "unexplained/USD": "50.0000000"})
	f.sound()
}

// TestPaidAfterRefusal: a bank that pays what it had refused has paid, as long as nobody has decided otherwise.
func TestPaidAfterRefusal(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice, w, p := f.paidOut()
	if err := f.svc.RefusePayout(f.ctx, staffActor, keeper, anchor.PayoutRefusal{ID: p.ID, Reason: "by mistake"}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.svc.PayoutFile(f.ctx, keeper, p.ID); !errors.Is(err, anchor.ErrConflict) {
		t.Errorf("the file of what is refused: %v", err)
	}
	f.reaches(alice, w.ID, "on_hold")
	f.bring(f.statement("late", f.debit("50.00", p.ID)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.reaches(alice, w.ID, "completed")
	for _, action := range []string{"again", "reissue"} {
		if err := f.bounced(w.ID, action); !errors.Is(err, anchor.ErrConflict) {
			t.Errorf("%s what is paid: %v", action, err)
		}
	}
	f.books(map[book.Code]string{"bank/USD": "0.0000000", "payable/USD": "0.0000000", "issued/USD": "0.0000000", "unexplained/USD": "0.0000000"})
	f.sound()
	// And what comes back of it is owed once more.
	f.bring(f.statement("back", f.credit("50.00", "", func(e *rails.Entry) { e.Return, e.EndToEndID = "AC04", p.ID })), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.reaches(alice, w.ID, "on_hold")
	f.sound()
}

// TestReturnedPayout: money that comes back is owed to the customer again, who gets his credit back, once.
func TestReturnedPayout(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice, w, p := f.paidOut()
	returned := func(amount, id string) rails.Entry {
		return f.credit(amount, "return", func(e *rails.Entry) { e.Return, e.EndToEndID = "AC04", id })
	}
	f.bring(f.statement("early", returned("50.00", p.ID)), anchor.Imported{Entries: 1, Booked: 1, Quarantined: 1}) // nobody has paid yet
	f.bring(f.statement("paid", f.debit("50.00", p.ID)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.reaches(alice, w.ID, "completed")
	f.bring(f.statement("less", returned("49.00", p.ID)), anchor.Imported{Entries: 1, Booked: 1, Quarantined: 1})
	held, err := f.svc.Quarantine(f.ctx, keeper, anchor.Page{Limit: 10})
	if err != nil || len(held) != 2 {
		t.Fatal(held, err)
	}
	if err := f.resolve(anchor.Resolution{ID: held[1].ID, Action: "recover", Transaction: p.ID}); !errors.Is(err, anchor.ErrInvalid) {
		t.Errorf("another amount: %v", err)
	}
	if err := f.resolve(anchor.Resolution{ID: held[0].ID, Action: "recover", Transaction: p.ID}); err != nil {
		t.Fatal(err)
	}
	f.bring(f.statement("twice", returned("50.00", p.ID)), anchor.Imported{Entries: 1, Booked: 1, Quarantined: 1})
	f.reaches(alice, w.ID, "on_hold")
	f.sound()
	if err := f.bounced(w.ID, "dismiss"); !errors.Is(err, anchor.ErrInvalid) {
		t.Errorf("no such action: %v", err)
	}
	f.freeze(alice)
	if err := f.bounced(w.ID, "reissue"); !errors.Is(err, anchor.ErrConflict) {
		t.Errorf("to a frozen customer: %v", err)
	}
	if err := f.svc.SetStatus(f.ctx, staffActor, anchor.StatusChange{Account: alice.ID, Why: "a court"}); err != nil {
		t.Fatal(err)
	}
	f.within("line", func() (bool, any) {
		a, err := f.net.ledger.Account(alice.ID)
		line, _ := a.Trustline(f.asset)
		return line.Flags.IsAuthorized(), err
	})
	if err := f.bounced(w.ID, "reissue"); err != nil {
		t.Fatal(err)
	}
	if err := f.bounced(w.ID, "reissue"); !errors.Is(err, anchor.ErrConflict) {
		t.Errorf("reissued twice: %v", err)
	}
	f.reaches(alice, w.ID, "refunded")
	if got := f.balance(alice.ID); got != "50.0000000" {
		t.Errorf("alice has %s", got)
	}
	f.books(map[book.Code]string{"issued/USD": "50.0000000", "payable/USD": "0.0000000", "suspense/USD": "99.0000000"})
	f.sound()
}

// TestReturnComesBackByItself: a return that names its payout needs no person to find it.
func TestReturnComesBackByItself(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice, w, p := f.paidOut()
	f.bring(f.statement("paid", f.debit("50.00", p.ID)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.reaches(alice, w.ID, "completed")
	f.bring(f.statement("back", f.credit("50.00", "", func(e *rails.Entry) { e.Return, e.EndToEndID = "AC04", p.ID })), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.reaches(alice, w.ID, "on_hold")
	f.sound()
	f.send(alice, protocol.NoMemo(), txbuild.ChangeTrust{Asset: f.asset}) // the ledger will not take it
	if err := f.bounced(w.ID, "reissue"); err != nil {
		t.Fatal(err)
	}
	f.within("it waits again", func() (bool, any) { n := f.records("withdrawal.bounced"); return n == 2, n })
	f.sound()
	if err := f.bounced(w.ID, "again"); err != nil {
		t.Fatal(err)
	}
	f.bring(f.statement("paid2", f.debit("50.00", f.payout(2).ID)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.reaches(alice, w.ID, "completed")
	f.books(map[book.Code]string{"bank/USD": "0.0000000", "issued/USD": "0.0000000", "payable/USD": "0.0000000", "suspense/USD": "0.0000000"})
	f.sound()
}

// TestRefusedReturn: money that the bank cannot send back to its payer waits for a person again.
func TestRefusedReturn(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	f.bring(f.statement("s", f.credit("8.00", "who am I")), anchor.Imported{Entries: 1, Booked: 1, Quarantined: 1})
	if err := f.resolve(anchor.Resolution{ID: f.waiting().ID, Action: "return"}); err != nil {
		t.Fatal(err)
	}
	p := f.payout(1)
	if err := f.svc.RefusePayout(f.ctx, staffActor, keeper, anchor.PayoutRefusal{ID: p.ID, Reason: "AC04"}); err != nil {
		t.Fatal(err)
	}
	f.sound()
	if h := f.waiting(); h.Reason != "return-refused" || h.Amount != "8.0000000" {
		t.Errorf("%+v", h)
	}
	if err := f.resolve(anchor.Resolution{ID: f.waiting().ID, Action: "return"}); err != nil {
		t.Fatal(err)
	}
	f.bring(f.statement("s2", f.debit("8.00", f.payout(2).ID)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.books(map[book.Code]string{"bank/USD": "0.0000000", "suspense/USD": "0.0000000"})
	f.sound()
}

// TestGiveUpDeposit: money of a customer who opens no line goes back to where it came from.
func TestGiveUpDeposit(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	f.send(alice, protocol.NoMemo(), txbuild.ChangeTrust{Asset: f.asset})
	d := f.deposit(alice)
	give := func() error {
		_, err := f.svc.GiveUpDeposit(f.ctx, staffActor, d.ID, "he does not answer")
		return err
	}
	if err := give(); !errors.Is(err, anchor.ErrConflict) {
		t.Errorf("before there is money: %v", err)
	}
	f.bring(f.statement("s", f.credit("9.00", d.Reference)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.reaches(alice, d.ID, "pending_trust")
	if err := give(); err != nil {
		t.Fatal(err)
	}
	if err := give(); !errors.Is(err, anchor.ErrConflict) {
		t.Errorf("given up twice: %v", err)
	}
	f.reaches(alice, d.ID, "on_hold")
	f.send(alice, protocol.NoMemo(), txbuild.ChangeTrust{Asset: f.asset, Limit: nodetest.Amount(t, "1000")}) // too late
	f.sound()
	if err := f.resolve(anchor.Resolution{ID: f.waiting().ID, Action: "return"}); err != nil {
		t.Fatal(err)
	}
	f.bring(f.statement("s2", f.debit("9.00", f.payout(1).ID)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.books(map[book.Code]string{"bank/USD": "0.0000000", "suspense/USD": "0.0000000", "issued/USD": "0.0000000"})
	if got := f.balance(alice.ID); got != "0.0000000" {
		t.Errorf("alice has %s", got)
	}
	f.sound()
}
