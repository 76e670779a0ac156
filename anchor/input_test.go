package anchor_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// TestBadRequests: each gets the error that says what is wrong, and changes nothing.
func TestBadRequests(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice, stranger := f.customer("alice"), nodetest.NewWallet(t)
	bob := f.customer("bob")
	f.freeze(bob)
	f.idle()
	before := f.records("%")
	amount := func(s string) protocol.Amount { return nodetest.Amount(t, s) }
	deposit := func(change func(*anchor.DepositRequest)) error {
		r := anchor.DepositRequest{Account: alice.ID, Asset: "USD"}
		change(&r)
		_, err := f.svc.Deposit(f.ctx, r)
		return err
	}
	withdraw := func(change func(*anchor.WithdrawRequest)) error {
		r := anchor.WithdrawRequest{Account: alice.ID, Asset: "USD", Dest: theirIBAN, DestExtra: "Alice"}
		change(&r)
		_, err := f.svc.Withdraw(f.ctx, r)
		return err
	}
	enrol := func(e anchor.Enrolment) error {
		_, err := f.svc.Enrol(f.ctx, partnerActor, e)
		return err
	}
	imports := func(file string) error {
		_, err := f.svc.ImportStatement(f.ctx, partnerActor, keeper, []byte(file))
		return err
	}
	lookup := func(l anchor.Lookup) error {
		_, err := f.svc.Transaction(f.ctx, l)
		return err
	}
	_, errFile := f.svc.PayoutFile(f.ctx, keeper, "nobody")
	_, errCustomer := f.svc.Customer(f.ctx, "another partner", alice.ID)
	_, errAsset := f.svc.RegisterAsset(f.ctx, staffActor, "EUR")
	for name, tt := range map[string]struct{ err, want error }{
		"deposit of another asset":   {deposit(func(r *anchor.DepositRequest) { r.Asset = "EUR" }), anchor.ErrUnknownAsset},
		"deposit of a stranger":      {deposit(func(r *anchor.DepositRequest) { r.Account = stranger.ID }), anchor.ErrNotEnrolled},
		"deposit of nobody":          {deposit(func(r *anchor.DepositRequest) { r.Account = protocol.AccountID{} }), anchor.ErrNotEnrolled},
		"deposit of a frozen one":    {deposit(func(r *anchor.DepositRequest) { r.Account = bob.ID }), anchor.ErrInvalid},
		"deposit of too little":      {deposit(func(r *anchor.DepositRequest) { r.Amount = amount("0.99") }), anchor.ErrInvalid},
		"deposit of too much":        {deposit(func(r *anchor.DepositRequest) { r.Amount = amount("10000.01") }), anchor.ErrInvalid},
		"deposit of parts of a cent": {deposit(func(r *anchor.DepositRequest) { r.Amount = amount("1.0000001") }), anchor.ErrInvalid},
		"withdrawal to nowhere":      {withdraw(func(r *anchor.WithdrawRequest) { r.Dest = "" }), anchor.ErrInvalid},
		"withdrawal to a typo":       {withdraw(func(r *anchor.WithdrawRequest) { r.Dest = "DE89370400440532013001" }), anchor.ErrInvalid},
		"withdrawal to us":           {withdraw(func(r *anchor.WithdrawRequest) { r.Dest = ourIBAN }), anchor.ErrInvalid},
		"withdrawal to nobody":       {withdraw(func(r *anchor.WithdrawRequest) { r.DestExtra = " " }), anchor.ErrInvalid},
		"withdrawal to a long name":  {withdraw(func(r *anchor.WithdrawRequest) { r.DestExtra = strings.Repeat("x", 71) }), anchor.ErrInvalid},
		"withdrawal to no letters":   {withdraw(func(r *anchor.WithdrawRequest) { r.DestExtra = "…" }), anchor.ErrInvalid},
		"withdrawal of a stranger":   {withdraw(func(r *anchor.WithdrawRequest) { r.Account = stranger.ID }), anchor.ErrNotEnrolled},
		"withdrawal of too much":     {withdraw(func(r *anchor.WithdrawRequest) { r.Amount = amount("10001") }), anchor.ErrInvalid},
		"enrolment of nobody":        {enrol(anchor.Enrolment{Partner: "p", Ref: "r"}), anchor.ErrInvalid},
		"enrolment without a name":   {enrol(anchor.Enrolment{Account: stranger.ID, Partner: "p"}), anchor.ErrInvalid},
		"enrolment with a blank":     {enrol(anchor.Enrolment{Account: stranger.ID, Partner: "p", Ref: "a b"}), anchor.ErrInvalid},
		"enrolment of the issuer":    {enrol(anchor.Enrolment{Account: f.asset.Issuer(), Partner: "p", Ref: "r"}), anchor.ErrInvalid},
		"enrolment under two names":  {enrol(anchor.Enrolment{Account: alice.ID, Partner: "paycircle", Ref: "eve"}), anchor.ErrConflict},
		"one name for two":           {enrol(anchor.Enrolment{Account: stranger.ID, Partner: "paycircle", Ref: "alice"}), anchor.ErrConflict},
		"statement that is none":     {imports("<Document>"), anchor.ErrInvalid},
		"lookup of nothing":          {lookup(anchor.Lookup{Account: alice.ID}), anchor.ErrInvalid},
		"lookup of an unknown id":    {lookup(anchor.Lookup{Account: alice.ID, ID: "nobody"}), anchor.ErrNotFound},
		"lookup of an unknown hash":  {lookup(anchor.Lookup{Account: alice.ID, LedgerTx: protocol.Hash{1}}), anchor.ErrNotFound},
		"unknown payout":             {errFile, anchor.ErrNotFound},
		"another partner's customer": {errCustomer, anchor.ErrNotFound},
		"registration of a stranger": {errAsset, anchor.ErrUnknownAsset},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v, want %v", name, tt.err, tt.want)
		}
	}
	if after := f.records("%"); after != before {
		t.Errorf("%d records were made", after-before)
	}
}

// TestOwnTransactionsOnly: nobody sees what is another's.
func TestOwnTransactionsOnly(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice, bob := f.customer("alice"), f.customer("bob")
	var ids []string
	for range 5 {
		ids = append(ids, f.deposit(alice).ID)
	}
	out := f.withdraw(alice)
	if _, err := f.svc.Transaction(f.ctx, anchor.Lookup{Account: bob.ID, ID: ids[0]}); !errors.Is(err, anchor.ErrNotFound) {
		t.Errorf("bob sees alice's deposit: %v", err)
	}
	list := func(q anchor.Query) string {
		txs, err := f.svc.Transactions(f.ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, tx := range txs {
			got = append(got, tx.ID)
		}
		return strings.Join(got, " ")
	}
	for name, tt := range map[string]struct {
		q    anchor.Query
		want []string
	}{
		"bob's":           {anchor.Query{Account: bob.ID, Limit: 10}, nil},
		"bob with a page": {anchor.Query{Account: bob.ID, Before: out.ID, Limit: 10}, nil},
		"first page":      {anchor.Query{Account: alice.ID, Limit: 2}, []string{out.ID, ids[4]}},
		"second page":     {anchor.Query{Account: alice.ID, Before: ids[4], Limit: 2}, []string{ids[3], ids[2]}},
		"withdrawals":     {anchor.Query{Account: alice.ID, Kinds: []anchor.Kind{anchor.Withdrawal}, Limit: 10}, []string{out.ID}},
		"another asset":   {anchor.Query{Account: alice.ID, Asset: "EUR", Limit: 10}, nil},
		"the future":      {anchor.Query{Account: alice.ID, Since: time.Now().Add(time.Hour), Limit: 10}, nil},
	} {
		if got, want := list(tt.q), strings.Join(tt.want, " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if txs, err := f.svc.PartnerTransactions(f.ctx, "nobody", anchor.Page{Limit: 10}); err != nil || len(txs) != 0 {
		t.Error(txs, err)
	}
	if txs, err := f.svc.PartnerTransactions(f.ctx, "paycircle", anchor.Page{After: ids[0], Limit: 10}); err != nil || len(txs) != 5 {
		t.Error(txs, err)
	}
}

// TestFrozen: a frozen customer's line is not authorised, and what he pays stays where it is, in sight.
func TestFrozen(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice := f.customer("alice")
	f.fund(alice, "50.00")
	w := f.withdraw(alice)
	f.freeze(alice)
	f.pay(alice, "20", w.Memo)
	f.within("parked", func() (bool, any) {
		parked, err := f.svc.Parked(f.ctx, anchor.Page{Limit: 10})
		return len(parked) == 1 && strings.Contains(parked[0].Reason, "frozen"), []any{parked, err}
	})
	if got := f.balance(alice.ID); got != "30.0000000" {
		t.Errorf("alice has %s", got)
	}
	f.sound()
}

func (f *fixture) freeze(w nodetest.Wallet) {
	f.t.Helper()
	err := audit.Do(f.ctx, f.db, staffActor, func(ctx context.Context, tx *audit.Tx) error {
		return compliance.SetStatus(ctx, tx, w.ID, compliance.StatusFrozen, "a test")
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// TestLineBeforeEnrolment: who had an account and a line already is authorised when he becomes a customer.
func TestLineBeforeEnrolment(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice, late := f.customer("alice"), nodetest.NewWallet(t)
	f.send(alice, protocol.NoMemo(), txbuild.CreateAccount{Destination: late.ID, StartingBalance: nodetest.Amount(t, "2")})
	f.send(late, protocol.NoMemo(), txbuild.ChangeTrust{Asset: f.asset, Limit: nodetest.Amount(t, "100")})
	for range 2 {
		if _, err := f.svc.Enrol(f.ctx, partnerActor, anchor.Enrolment{Account: late.ID, Partner: "paycircle", Ref: "late"}); err != nil {
			t.Fatal(err)
		}
	}
	f.fund(late, "5.00")
	if n := f.records("customer.enrolled"); n != 2 {
		t.Errorf("%d enrolments", n)
	}
	f.sound()
}

// TestOthersPaymentsCostNothing: payments among customers are read and leave no trace here.
func TestOthersPaymentsCostNothing(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.ready()
	alice, bob := f.customer("alice"), f.customer("bob")
	f.fund(alice, "50.00")
	before := f.records("%")
	for range 5 {
		f.send(alice, protocol.NoMemo(), txbuild.Payment{Destination: bob.ID, Asset: f.asset, Amount: nodetest.Amount(t, "1")})
	}
	f.within("read", func() (bool, any) { h, err := f.svc.Health(f.ctx); return err == nil && h.Lag == 0, h })
	if after := f.records("%"); after != before {
		t.Errorf("%d records were made", after-before)
	}
	f.sound()
}

// TestConfig: what could not work is refused when the anchor is made.
func TestConfig(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string]func(*anchor.Config){
		"no passphrase":      func(c *anchor.Config) { c.Passphrase = "" },
		"no home domain":     func(c *anchor.Config) { c.HomeDomain = "" },
		"no asset":           func(c *anchor.Config) { c.Assets = nil },
		"an asset twice":     func(c *anchor.Config) { c.Assets = append(c.Assets, c.Assets[0]) },
		"no fee":             func(c *anchor.Config) { c.FeePerOp = 0 },
		"a fee for the rich": func(c *anchor.Config) { c.FeePerOp = 1 << 40 },
		"no time":            func(c *anchor.Config) { c.TxLife = time.Second },
		"all the time":       func(c *anchor.Config) { c.TxLife = time.Hour },
		"no funder":          func(c *anchor.Config) { c.Funding.Root = protocol.AccountID{} },
		"no distribution":    func(c *anchor.Config) { c.Assets[0].Distribution = protocol.AccountID{} },
		"one account":        func(c *anchor.Config) { c.Assets[0].Distribution = c.Assets[0].Issuing },
		"no bank account":    func(c *anchor.Config) { c.Assets[0].Bank.Account.IBAN = "" },
		"crossed limits":     func(c *anchor.Config) { c.Assets[0].MinDeposit = nodetest.Amount(t, "1000000") },
	} {
		cfg := f.cfg
		cfg.Assets = append([]anchor.AssetConfig(nil), f.cfg.Assets...)
		change(&cfg)
		if _, err := anchor.New(cfg, f.parts); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := anchor.New(f.cfg, anchor.Parts{}); err == nil {
		t.Error("an anchor of no parts was made")
	}
}
