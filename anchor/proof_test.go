package anchor_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/anchor/rails/iso20022"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// refuser denies everything, as a signer does whose day is used up or whose clock is a second behind.
type refuser struct{ *signer }

func (refuser) Sign(context.Context, keymgmt.Request) (keymgmt.Signature, error) {
	return keymgmt.Signature{}, fmt.Errorf("%w: a test", keymgmt.ErrDenied)
}

// TestDeniedOnceGrantedOnce: one replica is refused, the other (asking a moment later) gets the signature.
func TestDeniedOnceGrantedOnce(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	d := f.deposit(alice)
	f.caughtUp()
	f.stop()
	g := newGate("sign.after", 0)
	plain := f.parts
	f.parts.Failpoint = g.hit
	f.make()
	f.start() // B: gets the signature and sleeps before it stores it
	t.Cleanup(g.open)
	f.bring(f.statement("s", f.credit("30.00", d.Reference)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	<-g.reached
	f.parts = plain
	f.parts.Signer = refuser{f.sig}
	other, err := anchor.New(f.cfg, f.parts) // A: is refused
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = other.Run(ctx) })
	f.reaches(alice, d.ID, "on_hold")
	cancel()
	wg.Wait()
	g.open() // B goes on, and must not hand over what it has
	f.caughtUp()
	f.net.close(2 * time.Minute) // past the transaction's time
	f.caughtUp()
	if b := f.balance(alice.ID); b != "0.0000000" {
		t.Errorf("alice has %s of a deposit that is on hold", b)
	}
	if err := f.resolve(anchor.Resolution{ID: f.waiting().ID, Action: "match", Transaction: d.ID}); err != nil {
		t.Fatal(err)
	}
	f.reaches(alice, d.ID, "completed")
	if b := f.balance(alice.ID); b != "30.0000000" {
		t.Errorf("alice has %s for 30", b)
	}
	f.sound()
}

func camt(id, entries string) []byte {
	return []byte(`<?xml version="1.0" encoding="UTF-8"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"><BkToCstmrStmt><GrpHdr><MsgId>M</MsgId></GrpHdr><Stmt><Id>` +
		id + `</Id><Acct><Id><IBAN>` + ourIBAN + `</IBAN></Id></Acct>` + entries + `</Stmt></BkToCstmrStmt></Document>`)
}

func ntry(amount, ref, details string) string {
	if ref != "" {
		ref = "<AcctSvcrRef>" + ref + "</AcctSvcrRef>"
	}
	return `<Ntry><Amt Ccy="USD">` + amount + `</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts><BookgDt><Dt>2026-11-20</Dt></BookgDt>` + ref + details + `</Ntry>`
}

func detail(amount, text string) string {
	return `<TxDtls><AmtDtls><TxAmt><Amt Ccy="USD">` + amount + `</Amt></TxAmt></AmtDtls><RltdPties><Dbtr><Nm>Payer</Nm></Dbtr><DbtrAcct><Id><IBAN>` + theirIBAN +
		`</IBAN></Id></DbtrAcct></RltdPties><RmtInf><Ustrd>` + text + `</Ustrd></RmtInf></TxDtls>`
}

// TestBatchThenDetails: the same booking, as a sum and with its payments, whichever comes first, is booked once.
func TestBatchThenDetails(t *testing.T) {
	f := newFixture(t)
	f.parts.ParseStatement = iso20022.ParseStatement
	f.make()
	f.start()
	f.ready()
	alice := f.customer("alice")
	d := f.deposit(alice)
	sum := func(ref string) []byte {
		return camt("S1", ntry("300.00", ref, `<NtryDtls><Btch><NbOfTxs>2</NbOfTxs></Btch></NtryDtls>`))
	}
	split := func(ref string) []byte {
		return camt("S1", ntry("300.00", ref, `<NtryDtls><Btch><NbOfTxs>2</NbOfTxs></Btch>`+detail("100.00", d.Reference)+detail("200.00", "who")+`</NtryDtls>`))
	}
	f.bring(sum("B1"), anchor.Imported{Entries: 1, Booked: 1, Quarantined: 1})
	f.bring(split("B1"), anchor.Imported{Entries: 2, Quarantined: 2})
	f.bring(split("B2"), anchor.Imported{Entries: 2, Booked: 2, Matched: 1, Quarantined: 1})
	f.bring(sum("B2"), anchor.Imported{Entries: 1, Quarantined: 1})
	f.reaches(alice, d.ID, "completed")
	if got, want := f.reasons(), "batch duplicate duplicate unmatched duplicate"; got != want {
		t.Errorf("reasons %q, want %q", got, want)
	}
	f.books(map[book.Code]string{"bank/USD": "600.0000000", "suspense/USD": "500.0000000", "issued/USD": "100.0000000"})
	f.sound()
}

// TestCorrectedStatement: entries without a reference of the bank are known by what they say: the bank sends the statement
// again with one entry more in front, and one that is there twice.
func TestCorrectedStatement(t *testing.T) {
	f := newFixture(t)
	f.parts.ParseStatement = iso20022.ParseStatement
	f.make()
	f.start()
	f.ready()
	alice, bob := f.customer("alice"), f.customer("bob")
	da, db := f.deposit(alice), f.deposit(bob)
	in := func(x string) string { return `<NtryDtls>` + x + `</NtryDtls>` }
	a, b, x := ntry("50.00", "", in(detail("50.00", da.Reference))), ntry("70.00", "", in(detail("70.00", "who am I"))), ntry("20.00", "", in(detail("20.00", db.Reference)))
	f.bring(camt("S1", a+b), anchor.Imported{Entries: 2, Booked: 2, Matched: 1, Quarantined: 1})
	f.bring(camt("S1", x+a+b+b), anchor.Imported{Entries: 4, Booked: 2, Matched: 1, Quarantined: 3})
	f.reaches(alice, da.ID, "completed")
	f.reaches(bob, db.ID, "completed")
	if got, want := f.reasons(), "unmatched duplicate duplicate unmatched"; got != want {
		t.Errorf("reasons %q, want %q", got, want)
	}
	f.books(map[book.Code]string{"bank/USD": "210.0000000", "suspense/USD": "140.0000000", "issued/USD": "70.0000000"})
	f.sound()
}

// TestOversized: an entry that no ledger can hold waits for a person, and the one beside it goes its way.
func TestOversized(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	good, bad := f.deposit(alice), f.deposit(alice)
	f.bring(f.statement("s", f.credit("30.00", good.Reference), f.credit("999999999999.00", bad.Reference)), anchor.Imported{Entries: 2, Booked: 2, Matched: 1, Quarantined: 1})
	f.reaches(alice, good.ID, "completed")
	if h := f.waiting(); h.Reason != "out-of-limits" {
		t.Errorf("%+v", h)
	}
	f.sound()
}

// TestParkedPages: payments of one transaction, listed by pages.
func TestParkedPages(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	f.fund(alice, "50.00")
	pay := txbuild.Payment{Destination: f.cfg.Assets[0].Distribution, Asset: f.asset, Amount: nodetest.Amount(t, "1")}
	f.send(alice, protocol.NoMemo(), pay, pay, pay)
	f.within("all are back", func() (bool, any) { n := f.records("payment.refunded"); return n == 3, n })
	seen, after := 0, ""
	for {
		page, err := f.svc.Parked(f.ctx, anchor.Page{After: after, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		seen += len(page)
		after = page[0].ID
	}
	if seen != 3 {
		t.Errorf("%d of 3 payments are ever listed", seen)
	}
}

// TestFrozenInBetween: who is frozen after his money was cleared and before anything was signed gets nothing until he is not
// frozen any more, and his line is of no use to him in between.
func TestFrozenInBetween(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	d := f.deposit(alice)
	f.caughtUp()
	f.net.behave(unreachable)
	f.bring(f.statement("s", f.credit("30.00", d.Reference)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	set := func(frozen bool) {
		t.Helper()
		if err := f.svc.SetStatus(f.ctx, staffActor, anchor.StatusChange{Account: alice.ID, Frozen: frozen, Why: "a court"}); err != nil {
			t.Fatal(err)
		}
	}
	authorised := func() bool {
		a, err := f.net.ledger.Account(alice.ID)
		line, ok := a.Trustline(f.asset)
		return err == nil && ok && line.Flags.IsAuthorized()
	}
	set(true)
	f.net.behave(takes)
	f.within("line revoked", func() (bool, any) { return !authorised(), nil })
	f.reaches(alice, d.ID, "pending_trust")
	if got := f.balance(alice.ID); got != "0.0000000" {
		t.Errorf("alice was frozen before anything was signed and got %s", got)
	}
	set(false)
	f.within("line authorised", func() (bool, any) { return authorised(), nil })
	f.reaches(alice, d.ID, "completed")
	f.sound()
}

// TestBehindOurBack: credit moves from one to another with our key, supply unchanged: no row, no invariant.
func TestBehindOurBack(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice, mallory := f.customer("alice"), f.customer("mallory")
	f.fund(alice, "50.00")
	f.caughtUp()
	a := f.cfg.Assets[0]
	f.sendAs(a.IssuingKey, a.Issuing, txbuild.Clawback{From: alice.ID, Asset: f.asset, Amount: nodetest.Amount(t, "50")},
		txbuild.Payment{Destination: mallory.ID, Asset: f.asset, Amount: nodetest.Amount(t, "50")})
	f.caughtUp()
	held, err := f.svc.Quarantine(f.ctx, "", anchor.Page{})
	if err != nil || len(held) != 1 || held[0].Reason != "not-ours" || !strings.Contains(held[0].Detail, a.Issuing.String()) {
		t.Errorf("%+v %v", held, err)
	}
	f.sound()
}

// TestBalances: entries that do not lead from the opening to the closing balance, and a gap between two statements.
func TestBalances(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	usd, _ := money.NewCurrency("USD", 2)
	bal := func(s string) *rails.Balance { a, _ := money.Parse(usd, s); return &rails.Balance{Amount: a} }
	one := rails.Statement{ID: "1", Account: rails.Account{IBAN: ourIBAN}, Opening: bal("0"), Closing: bal("1000.00"), Entries: []rails.Entry{f.credit("10.00", "x")}}
	two := rails.Statement{ID: "2", Account: rails.Account{IBAN: ourIBAN}, Opening: bal("5000.00"), Closing: bal("5010.00"), Entries: []rails.Entry{f.credit("10.00", "y")}}
	three := rails.Statement{ID: "3", Account: rails.Account{IBAN: ourIBAN}, Opening: bal("5010.00"), Closing: bal("5000.00"), Entries: []rails.Entry{f.debit("10.00", "fee")}}
	for _, tt := range []struct {
		statement rails.Statement
		warning   string
	}{{one, "closing balance is 100000"}, {two, "statement 1 before it closed with 100000"}, {three, ""}, {three, ""}} {
		got, err := f.svc.ImportStatement(f.ctx, partnerActor, keeper, f.file(tt.statement))
		if err != nil || !strings.Contains(got.Warning, tt.warning) || tt.warning == "" && got.Warning != "" {
			t.Errorf("%s: %+v %v", tt.statement.ID, got, err)
		}
	}
	if held, err := f.svc.Quarantine(f.ctx, "", anchor.Page{}); err != nil || len(held) != 2 || held[0].Reason != "does-not-add-up" {
		t.Errorf("%+v %v", held, err)
	}
	f.sound()
}

// TestSharedAccounts: two assets over one bank account or one distribution account are accepted; the second's money is not.
func TestSharedAccounts(t *testing.T) {
	f := newFixture(t)
	cfg := f.cfg
	second := cfg.Assets[0]
	second.Code = "EUR"
	cfg.Assets = append([]anchor.AssetConfig{cfg.Assets[0]}, second)
	if _, err := anchor.New(cfg, f.parts); err == nil {
		t.Error("accepted: EUR over USD's IBAN and USD's distribution account")
	}
}

// TestBookWhatNoRuleCould: real money of ours that a machine cannot place comes into the book by a person's word.
func TestBookWhatNoRuleCould(t *testing.T) {
	f := newFixture(t)
	f.parts.ParseStatement = iso20022.ParseStatement
	f.make()
	f.start()
	f.ready()
	alice := f.customer("alice")
	in := func(x string) string { return `<NtryDtls>` + x + `</NtryDtls>` }
	two := `<TxDtls><AmtDtls><TxAmt><Amt Ccy="EUR">90.00</Amt></TxAmt></AmtDtls></TxDtls>` + detail("100.00", "x")
	right := f.cfg.Assets
	for _, tt := range []struct {
		name, amount string
		elsewhere    bool
		file         func(reference string) []byte
	}{
		{"charges were deducted", "98.00", false, func(r string) []byte { return camt("C1", ntry("98.00", "N1", in(detail("100.00", r)))) }},
		{"a payment in other money", "198.00", false, func(string) []byte { return camt("C2", ntry("198.00", "N2", in(two))) }},
		{"our account was configured wrongly", "40.00", true, func(r string) []byte { return camt("C4", ntry("40.00", "N4", in(detail("40.00", r)))) }},
	} {
		d := f.deposit(alice)
		file := tt.file(d.Reference)
		if tt.elsewhere {
			f.stop()
			wrong := append([]anchor.AssetConfig(nil), right...)
			wrong[0].Bank.Account = rails.Account{IBAN: theirIBAN}
			f.cfg.Assets = wrong
			f.make()
		}
		if got, err := f.svc.ImportStatement(f.ctx, partnerActor, keeper, file); err != nil || got.Booked != 0 || got.Quarantined != 1 {
			t.Fatal(tt.name, got, err)
		}
		f.stop()
		f.cfg.Assets = right
		f.make()
		f.start()
		h := f.waiting()
		for _, r := range []anchor.Resolution{{ID: h.ID, Action: "book", Amount: tt.amount}, {ID: h.ID, Action: "match", Transaction: d.ID}} {
			if err := f.resolve(r); err != nil {
				t.Fatal(tt.name, r.Action, err)
			}
		}
		f.reaches(alice, d.ID, "completed")
	}
	if got := f.balance(alice.ID); got != "336.0000000" {
		t.Errorf("alice has %s", got)
	}
	f.books(map[book.Code]string{"bank/USD": "336.0000000", "suspense/USD": "0.0000000"})
	f.sound()
}

// TestLostRows: when this database has lost a transaction that the signer has signed, no second one is signed, whatever
// time passes.
func TestLostRows(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	d := f.deposit(alice)
	f.caughtUp()
	f.sig.forge("issue/deposit/"+d.ID+"/1/1", "what was signed before the rows were lost")
	f.bring(f.statement("s", f.credit("30.00", d.Reference)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.within("blocked", func() (bool, any) { n := f.records("ledger-tx.blocked"); return n == 1, n })
	f.net.close(time.Hour)
	f.caughtUp()
	jobs, err := f.svc.Jobs(f.ctx, anchor.Page{})
	if err != nil || len(jobs) != 1 || !strings.Contains(jobs[0].Failing, "rows were lost") {
		t.Errorf("%+v %v", jobs, err)
	}
	if n := f.records("ledger-tx.built"); f.balance(alice.ID) != "0.0000000" {
		t.Errorf("alice has %s, %d transactions were built", f.balance(alice.ID), n)
	}
	f.sound()
}
