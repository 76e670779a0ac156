package anchor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// TestWholePath is the story: a bank's deposit becomes credit on the ledger, moves, and comes back out.
func TestWholePath(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice, bob := f.customer("alice"), f.customer("bob")

	d := f.deposit(alice)
	if d.Status != "pending_user_transfer_start" || d.Reference == "" || d.Bank.Account != ourIBAN {
		t.Fatalf("deposit %+v", d)
	}
	file := f.statement("s1", f.credit("100.00", "invoice "+d.Reference))
	f.bring(file, anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	d = f.reaches(alice, d.ID, "completed")
	if d.LedgerTx.IsZero() || d.AmountIn.String() != "100.0000000" || d.AmountOut.String() != "100.0000000" || d.Completed.IsZero() {
		t.Errorf("completed deposit %+v", d)
	}
	f.books(map[book.Code]string{"bank/USD": "100.0000000", "suspense/USD": "0.0000000", "issued/USD": "100.0000000", "payable/USD": "0.0000000"})
	f.bring(file, anchor.Imported{Entries: 1, Booked: 1, Matched: 1, Again: true})

	f.send(alice, protocol.NoMemo(), txbuild.Payment{Destination: bob.ID, Asset: f.asset, Amount: nodetest.Amount(t, "40")})
	w := f.withdraw(bob)
	if w.Status != "pending_user_transfer_start" || w.Memo.Kind() != protocol.MemoID || w.Memo.ID() >= 1<<63 || w.Distribution != f.cfg.Assets[0].Distribution {
		t.Fatalf("withdrawal %+v", w)
	}
	paid := f.pay(bob, "25.50", w.Memo)
	f.within("payout", func() (bool, any) {
		payouts, err := f.svc.Payouts(f.ctx, keeper, anchor.Page{Limit: 10})
		return err == nil && len(payouts) == 1, err
	})
	payouts, err := f.svc.Payouts(f.ctx, keeper, anchor.Page{Limit: 10})
	if err != nil || payouts[0].State != "written" || payouts[0].Amount.String() != "25.5000000" {
		t.Fatal(payouts, err)
	}
	out, err := f.svc.PayoutFile(f.ctx, keeper, payouts[0].ID)
	if err != nil || !strings.Contains(string(out.Body), "pain.001.001.09") || !strings.Contains(string(out.Body), theirIBAN) || !strings.Contains(string(out.Body), ">25.50<") {
		t.Fatalf("%s %v", out.Body, err)
	}
	f.bring(f.statement("s2", f.debit("25.50", payouts[0].ID)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	w = f.reaches(bob, w.ID, "completed")
	if w.LedgerTx != paid || w.AmountIn.String() != "25.5000000" || w.AmountOut.String() != "25.5000000" {
		t.Errorf("completed withdrawal %+v, paid with %s", w, paid)
	}
	f.books(map[book.Code]string{"bank/USD": "74.5000000", "suspense/USD": "0.0000000", "issued/USD": "74.5000000", "payable/USD": "0.0000000"})
	if a, b := f.balance(alice.ID), f.balance(bob.ID); a != "60.0000000" || b != "14.5000000" {
		t.Errorf("alice has %s, bob %s", a, b)
	}
	for action, n := range map[string]int{"asset.ready": 1, "customer.enrolled": 2, "trustline.authorised": 3, "deposit.created": 1, "deposit.completed": 1,
		"withdrawal.created": 1, "withdrawal.paid": 1, "withdrawal.completed": 1, "payment.refunded": 0} {
		if got := f.records(action); got != n {
			t.Errorf("%d records of %s, want %d", got, action, n)
		}
	}
	f.sound()
}

// debit is an entry of a payout that the bank made.
func (f *fixture) debit(amount, endToEnd string) rails.Entry {
	f.t.Helper()
	return f.credit(amount, "", func(e *rails.Entry) { e.Credit, e.EndToEndID, e.Remittance = false, endToEnd, nil })
}

// TestRefunds: a payment that matches nothing goes back, with the hash of it, and is shown.
func TestRefunds(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	f.fund(alice, "100.00")
	open := f.withdraw(alice)
	named, err := f.svc.Withdraw(f.ctx, anchor.WithdrawRequest{Account: alice.ID, Asset: "USD", Dest: theirIBAN, DestExtra: "Alice Doe", Amount: nodetest.Amount(t, "6")})
	if err != nil {
		t.Fatal(err)
	}
	text, err := protocol.TextMemo("hello")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		amount string
		memo   protocol.Memo
	}{
		"no memo": {"5", protocol.NoMemo()}, "unknown memo": {"5", protocol.IDMemo(4711)}, "text": {"5", text},
		"not whole cents": {"5.001", open.Memo}, "another amount": {"5", named.Memo}, "under the minimum": {"0.99", open.Memo}, "memo over the range": {"5", protocol.IDMemo(1<<64 - 1)},
	} {
		t.Run(name, func(t *testing.T) {
			before := f.records("payment.refunded")
			f.pay(alice, tt.amount, tt.memo)
			f.within("refund", func() (bool, any) { n := f.records("payment.refunded"); return n == before+1, n })
			if got := f.balance(alice.ID); got != "100.0000000" {
				t.Errorf("alice has %s", got)
			}
		})
	}
	f.pay(alice, "10", open.Memo)
	f.pay(alice, "10", open.Memo) // the second payment for one withdrawal
	f.within("refund of the second", func() (bool, any) { return f.balance(alice.ID) == "90.0000000", f.balance(alice.ID) })
	f.within("payout", func() (bool, any) { return f.records("withdrawal.paid") == 1, nil })
	f.books(map[book.Code]string{"issued/USD": "90.0000000", "suspense/USD": "0.0000000"})
	f.sound()
}

// TestQuarantine: what cannot be placed waits with a reason, and each entry is booked at most once.
func TestQuarantine(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	done := f.deposit(alice)
	first := f.credit("50.00", done.Reference)
	f.bring(f.statement("a", first), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.reaches(alice, done.ID, "completed")
	eur, _ := money.NewCurrency("EUR", 2)
	euros, err := money.Parse(eur, "9.00")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		reason string
		booked int
		file   []byte
	}{
		{"unmatched", 1, f.statement("b", f.credit("10.00", "happy birthday"))},
		{"duplicate", 0, f.statement("c", first)},
		{"wrong-currency", 0, f.statement("d", f.credit("9.00", f.deposit(alice).Reference, func(e *rails.Entry) { e.Amount = euros }))},
		{"not-booked", 0, f.statement("e", f.credit("9.00", f.deposit(alice).Reference, func(e *rails.Entry) { e.Status = rails.Pending }))},
		{"deposit-closed", 1, f.statement("f", f.credit("9.00", done.Reference))},
		{"out-of-limits", 1, f.statement("g", f.credit("0.50", f.deposit(alice).Reference))},
		{"refused:over_limit", 1, f.statement("h", f.credit("6000.00", f.deposit(alice).Reference))},
		{"reversal", 1, f.statement("i", f.credit("9.00", "x", func(e *rails.Entry) { e.Reversal, e.Credit = true, false }))},
		{"malformed", 0, f.file(rails.Statement{ID: "j", Account: rails.Account{IBAN: ourIBAN}, Defects: []rails.Defect{{Raw: "<Ntry>", Reason: "no amount"}}})},
		{"wrong-account", 0, f.file(rails.Statement{ID: "k", Account: rails.Account{IBAN: theirIBAN}, Entries: []rails.Entry{f.credit("9.00", done.Reference)}})},
		{"reversal", 1, f.statement("i2", f.credit("4.00", done.Reference, func(e *rails.Entry) { e.Reversal = true }))},
		{"returned", 1, f.statement("i3", f.credit("5.00", f.deposit(alice).Reference, func(e *rails.Entry) { e.Return = "AC04" }))},
		{"unmatched", 1, f.statement("l", f.debit("3.00", "NOBODY"))},
		{"unmatched", 0, f.statement("m", f.debit("999999.00", "MORE THAN THERE IS"))},
	} {
		before := f.reasons()
		got, err := f.svc.ImportStatement(f.ctx, partnerActor, keeper, tt.file)
		if err != nil || got.Quarantined != 1 || got.Booked != tt.booked || got.Matched != 0 {
			t.Errorf("%s: %+v %v", tt.reason, got, err)
		}
		after := f.reasons()
		if want := strings.TrimSpace(before + " " + tt.reason); after != want {
			t.Errorf("reasons %q, want %q", after, want)
		}
		if again, err := f.svc.ImportStatement(f.ctx, partnerActor, keeper, tt.file); err != nil || !again.Again || f.reasons() != after {
			t.Errorf("%s again: %+v %v", tt.reason, again, err)
		}
	}
	f.books(map[book.Code]string{"bank/USD": "6066.5000000", "suspense/USD": "6028.5000000", "unexplained/USD": "12.0000000", "issued/USD": "50.0000000"})
	f.sound()
}

// TestReferenceIsTolerant: people write references in many ways; none of a stranger's is taken.
func TestReferenceIsTolerant(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	for name, write := range map[string]func(ref string) rails.Entry{
		"lower case": func(ref string) rails.Entry { return f.credit("2.00", strings.ToLower(ref)) },
		"dashes":     func(ref string) rails.Entry { return f.credit("2.00", ref[:4]+"-"+ref[4:9]+" - "+ref[9:]) },
		"two lines": func(ref string) rails.Entry {
			return f.credit("2.00", "", func(e *rails.Entry) { e.Remittance = []string{"payment " + ref[:7], ref[7:]} })
		},
		"end to end id": func(ref string) rails.Entry { return f.credit("2.00", "", func(e *rails.Entry) { e.EndToEndID = ref }) },
		"structured": func(ref string) rails.Entry {
			return f.credit("2.00", "", func(e *rails.Entry) { e.CreditorRef = []string{ref} })
		},
	} {
		d := f.deposit(alice)
		got, err := f.svc.ImportStatement(f.ctx, partnerActor, keeper, f.statement(name, write(d.Reference)))
		if err != nil || got.Matched != 1 {
			t.Errorf("%s: %+v %v", name, got, err)
			continue
		}
		f.reaches(alice, d.ID, "completed")
	}
	one, two := f.deposit(alice), f.deposit(alice)
	for name, text := range map[string]string{"both": one.Reference + " " + two.Reference, "cut": one.Reference[:len(one.Reference)-1], "empty": ""} {
		if got, err := f.svc.ImportStatement(f.ctx, partnerActor, keeper, f.statement("bad "+name, f.credit("2.00", text))); err != nil || got.Matched != 0 || got.Quarantined != 1 {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	f.sound()
}

// TestDeadTransaction: what was dropped is built again after its time, and only then.
func TestDeadTransaction(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	d := f.deposit(alice)
	f.net.behave(dropsLost)
	f.bring(f.statement("s", f.credit("30.00", d.Reference)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.within("submission", func() (bool, any) { return f.unresolved() == 1, f.unresolved() })
	f.net.close(f.cfg.TxLife) // in time, still
	f.net.close(time.Second)
	f.within("death", func() (bool, any) { return f.dead() == 1, f.state() })
	f.net.behave(takes) // not before: it would be handed over again, in time
	f.reaches(alice, d.ID, "completed")
	if got := f.balance(alice.ID); got != "30.0000000" {
		t.Errorf("alice has %s", got)
	}
	f.sound()
}

// unresolved counts transactions that may yet be applied; dead those that never will.
func (f *fixture) unresolved() (n int) {
	return f.count("signed") + f.count("built") + f.count("submitted")
}
func (f *fixture) dead() int { return f.count("dead") }

func (f *fixture) count(state string) (n int) {
	f.t.Helper()
	txs, err := f.svc.LedgerTransactions(f.ctx, anchor.Page{Limit: anchorPage})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, tx := range txs {
		if tx.State == state {
			n++
		}
	}
	return n
}
