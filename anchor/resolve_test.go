package anchor_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// waiting returns the one entry that waits for a person.
func (f *fixture) waiting() anchor.Held {
	f.t.Helper()
	held, err := f.svc.Quarantine(f.ctx, keeper, anchor.Page{Limit: anchorPage})
	if err != nil {
		f.t.Fatal(err)
	}
	var open []anchor.Held
	for _, h := range held {
		if h.Resolution == "" {
			open = append(open, h)
		}
	}
	if len(open) != 1 {
		f.t.Fatalf("%d entries wait: %+v", len(open), open)
	}
	return open[0]
}

func (f *fixture) resolve(r anchor.Resolution) error {
	if r.Note == "" {
		r.Note = "looked at"
	}
	_, err := f.svc.ResolveQuarantine(f.ctx, staffActor, keeper, r)
	return err
}

// TestResolveByMatch: an entry without a reference is given to a deposit by a person, once.
func TestResolveByMatch(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	d := f.deposit(alice)
	f.bring(f.statement("s", f.credit("7.00", "for my wallet")), anchor.Imported{Entries: 1, Booked: 1, Quarantined: 1})
	h := f.waiting()
	for name, tt := range map[string]struct {
		r    anchor.Resolution
		want error
	}{
		"no such entry":   {anchor.Resolution{ID: "nobody", Action: "match", Transaction: d.ID}, anchor.ErrNotFound},
		"no such deposit": {anchor.Resolution{ID: h.ID, Action: "match", Transaction: "nobody"}, anchor.ErrNotFound},
		"no action":       {anchor.Resolution{ID: h.ID, Transaction: d.ID}, anchor.ErrInvalid},
		"blank note":      {anchor.Resolution{ID: h.ID, Action: "match", Transaction: d.ID, Note: " "}, anchor.ErrInvalid},
		"long note":       {anchor.Resolution{ID: h.ID, Action: "match", Transaction: d.ID, Note: strings.Repeat("x", 501)}, anchor.ErrInvalid},
		"dismiss money":   {anchor.Resolution{ID: h.ID, Action: "dismiss"}, anchor.ErrInvalid},
	} {
		if err := f.resolve(tt.r); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if err := f.resolve(anchor.Resolution{ID: h.ID, Action: "match", Transaction: d.ID}); err != nil {
		t.Fatal(err)
	}
	if err := f.resolve(anchor.Resolution{ID: h.ID, Action: "return"}); !errors.Is(err, anchor.ErrConflict) {
		t.Errorf("resolved twice: %v", err)
	}
	f.reaches(alice, d.ID, "completed")
	f.books(map[book.Code]string{"bank/USD": "7.0000000", "suspense/USD": "0.0000000", "issued/USD": "7.0000000"})
	f.sound()
}

// TestResolveByReturn: money goes back to the bank account it came from, unless no file can say so.
func TestResolveByReturn(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	f.bring(f.statement("s", f.credit("7.00", "who am I", func(e *rails.Entry) { e.Debtor.Account = rails.Account{Other: "123456"} })),
		anchor.Imported{Entries: 1, Booked: 1, Quarantined: 1})
	unpayable := f.waiting()
	if err := f.resolve(anchor.Resolution{ID: unpayable.ID, Action: "return"}); !errors.Is(err, anchor.ErrInvalid) {
		t.Errorf("return to an account without a bank: %v", err)
	}
	f.bring(f.statement("s2", f.credit("8.00", "who am I", func(e *rails.Entry) {
		e.Debtor.Account, e.Debtor.BIC = rails.Account{Other: "123456"}, "CHASUS33"
	})), anchor.Imported{Entries: 1, Booked: 1, Quarantined: 1})
	held, err := f.svc.Quarantine(f.ctx, keeper, anchor.Page{After: unpayable.ID, Limit: 1})
	if err != nil || len(held) != 1 {
		t.Fatal(held, err)
	}
	if err := f.resolve(anchor.Resolution{ID: held[0].ID, Action: "return"}); err != nil {
		t.Fatal(err)
	}
	var payouts []anchor.Payout
	f.within("payout", func() (bool, any) {
		payouts, err = f.svc.Payouts(f.ctx, keeper, anchor.Page{Limit: 10})
		return len(payouts) == 1, err
	})
	file, err := f.svc.PayoutFile(f.ctx, keeper, payouts[0].ID)
	if err != nil || !strings.Contains(string(file.Body), "123456") || !strings.Contains(string(file.Body), "CHASUS33") || !strings.Contains(string(file.Body), ">8.00<") {
		t.Errorf("%s %v", file.Body, err)
	}
	f.bring(f.statement("s3", f.debit("8.00", payouts[0].ID)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.books(map[book.Code]string{"bank/USD": "7.0000000", "suspense/USD": "7.0000000", "issued/USD": "0.0000000"})
	f.sound()
}

// TestPaidToIssuer: a customer who pays the issuing account destroys his credit. The book owes him still.
func TestPaidToIssuer(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	f.fund(alice, "50.00")
	hash := f.send(alice, protocol.NoMemo(), txbuild.Payment{Destination: f.asset.Issuer(), Asset: f.asset, Amount: nodetest.Amount(t, "20")})
	var parked []anchor.Parked
	f.within("parked", func() (bool, any) {
		var err error
		parked, err = f.svc.Parked(f.ctx, anchor.Page{Limit: 10})
		return len(parked) == 1, err
	})
	if parked[0].Hash != hash || !strings.Contains(parked[0].Reason, "paid-to-issuer") || parked[0].From != alice.ID {
		t.Errorf("%+v", parked[0])
	}
	f.books(map[book.Code]string{"bank/USD": "50.0000000", "issued/USD": "30.0000000", "payable/USD": "20.0000000"})
	f.sound()
}

// TestNativeIsParked: what the distribution account cannot send back waits for a person.
func TestNativeIsParked(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	f.send(alice, protocol.NoMemo(), txbuild.Payment{Destination: f.cfg.Assets[0].Distribution, Asset: protocol.Native(), Amount: nodetest.Amount(t, "0.5")})
	f.within("parked", func() (bool, any) {
		parked, err := f.svc.Parked(f.ctx, anchor.Page{Limit: 10})
		return len(parked) == 1 && strings.Contains(parked[0].Reason, "wrong-asset"), []any{parked, err}
	})
	f.sound()
}

// TestNoLine: money for a customer who cannot hold the credit waits for his line, and then goes on by itself.
func TestNoLine(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	w := nodetest.NewWallet(t)
	if _, err := f.svc.Enrol(f.ctx, partnerActor, anchor.Enrolment{Account: w.ID, Partner: "paycircle", Ref: "late"}); err != nil {
		t.Fatal(err)
	}
	d := f.deposit(w)
	f.bring(f.statement("s", f.credit("7.00", d.Reference)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.reaches(w, d.ID, "pending_trust")
	f.within("account exists", func() (bool, any) {
		_, err := f.net.ledger.Account(w.ID)
		return err == nil, err
	})
	f.send(w, protocol.NoMemo(), txbuild.ChangeTrust{Asset: f.asset, Limit: nodetest.Amount(t, "1000")})
	f.reaches(w, d.ID, "completed")
	f.sound()
}

// TestTogether: two services on one database, and everybody asking for the same at the same time, do everything once.
func TestTogether(t *testing.T) {
	f := newFixture(t)
	f.start()
	second := *f
	second.make()
	second.start()
	f.ready()
	alice := f.customer("alice")
	var wg sync.WaitGroup
	ids := make([]string, 20)
	for i := range ids {
		wg.Go(func() {
			d, err := f.svc.Deposit(f.ctx, anchor.DepositRequest{Account: alice.ID, Asset: "USD", Key: "k"})
			if err != nil {
				t.Error(err)
			}
			ids[i] = d.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("one key, several deposits: %v", ids)
		}
	}
	d, err := f.svc.Transaction(f.ctx, anchor.Lookup{Account: alice.ID, ID: ids[0]})
	if err != nil {
		t.Fatal(err)
	}
	file := f.statement("s", f.credit("7.00", d.Reference), f.credit("3.00", "nobody"))
	again := make([]bool, 50)
	for i := range again {
		wg.Go(func() {
			svc := []*anchor.Service{f.svc, second.svc}[i%2]
			got, err := svc.ImportStatement(f.ctx, partnerActor, keeper, file)
			if err != nil || got.Booked != 2 || got.Matched != 1 || got.Quarantined != 1 {
				t.Error(got, err)
			}
			again[i] = got.Again
		})
	}
	wg.Wait()
	first := 0
	for _, a := range again {
		if !a {
			first++
		}
	}
	if first != 1 {
		t.Errorf("%d imports were the first", first)
	}
	f.reaches(alice, d.ID, "completed")
	w := f.withdraw(alice)
	f.pay(alice, "5", w.Memo)
	f.within("payout", func() (bool, any) { return f.records("withdrawal.paid") == 1, nil })
	if got := f.balance(alice.ID); got != "2.0000000" {
		t.Errorf("alice has %s", got)
	}
	f.sound()
}

// TestHealth names the part that is away.
func TestHealth(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	if h, err := f.svc.Health(f.ctx); err != nil || h.Signer != nil || h.Failing != nil {
		t.Errorf("%+v %v", h, err)
	}
	f.net.behave(unreachable)
	if _, err := f.svc.Health(f.ctx); !errors.Is(err, protocol.ErrUnavailable) {
		t.Errorf("node away: %v", err)
	}
	f.net.behave(takes)
	f.net.close(time.Second)
	f.within("lag", func() (bool, any) { h, err := f.svc.Health(f.ctx); return err == nil && h.Lag == 0, h })
}
