package anchor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/anchor/rails/iso20022"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

func TestMain(m *testing.M) { schematest.Main(m) }

const (
	ourIBAN   = "GB29NWBK60161331926819"
	theirIBAN = "DE89370400440532013000"
	keeper    = "paycircle" // the partner who keeps our bank account
)

var (
	partnerActor = audit.Actor{Kind: "partner", Name: "paycircle"}
	staffActor   = audit.Actor{Kind: "staff", Name: "officer"}
)

// fixture is an anchor on a database and a network of its own. The anchor can be killed and made again.
type fixture struct {
	t       testing.TB
	ctx     context.Context
	db      *audit.DB
	net     *network
	sig     *signer
	cfg     anchor.Config
	parts   anchor.Parts
	svc     *anchor.Service
	asset   protocol.Asset
	stop    func()
	entries int
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	if own, ok := t.(*testing.T); ok {
		own.Parallel() // most of a test is waiting, and each has everything of its own
	}
	f := &fixture{t: t, ctx: context.Background(), sig: newSigner()}
	root, rootID := f.sig.key(t, "network/root")
	issuing, issuingID := f.sig.key(t, "anchor/usd/issuing")
	distribution, distributionID := f.sig.key(t, "anchor/usd/distribution")
	var err error
	if f.db, err = audit.Open(f.ctx, schematest.New(t, schema.Gateway), 8); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.db.Close)
	f.net = newNetwork(t, rootID)
	usd := usd(t)
	gate, err := compliance.NewGate(compliance.Config{Limits: []compliance.Limit{
		{Kind: compliance.Deposit, Currency: usd, Max: "5000"}, {Kind: compliance.Withdrawal, Currency: usd, Max: "5000"},
		{Kind: compliance.Payout, Currency: usd, Max: "5000"}, {Kind: compliance.Refund, Currency: usd, Max: "5000"}}})
	if err != nil {
		t.Fatal(err)
	}
	if f.asset, err = protocol.NewCredit("USD", issuingID); err != nil {
		t.Fatal(err)
	}
	amount := func(s string) protocol.Amount { return nodetest.Amount(t, s) }
	f.cfg = anchor.Config{Passphrase: f.net.passphrase, HomeDomain: "bank.test", FeePerOp: 200, TxLife: time.Minute,
		Funding: anchor.Funding{RootKey: root, Root: rootID, AnchorBalance: amount("1000"), CustomerBalance: amount("5")},
		Assets: []anchor.AssetConfig{{Code: "USD", IssuingKey: issuing, Issuing: issuingID, DistributionKey: distribution, Distribution: distributionID,
			Bank: rails.Party{Name: "Diamante Bank", Account: rails.Account{IBAN: ourIBAN}, BIC: "NWBKGB2L"}, Partner: keeper,
			MinDeposit: amount("1"), MaxDeposit: amount("10000"), MinWithdrawal: amount("1"), MaxWithdrawal: amount("10000")}}}
	f.parts = anchor.Parts{DB: f.db, Custody: custody.New(), Gate: gate, Signer: f.sig, Network: f.net, ParseStatement: parse,
		WritePayout: iso20022.WritePayout, Now: f.net.now, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	f.make()
	return f
}

// parse reads the tests' own statements: rails.Statement as JSON.
func parse(file []byte) (out []rails.Statement, err error) {
	err = json.Unmarshal(file, &out)
	return out, err
}

// make builds a new service on what the old one left.
func (f *fixture) make() {
	f.t.Helper()
	svc, err := anchor.New(f.cfg, f.parts)
	if err != nil {
		f.t.Fatal(err)
	}
	f.svc = svc
}

// start runs the service and closes ledgers whenever a transaction waits.
func (f *fixture) start() {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f.svc.Run(ctx); err != nil && ctx.Err() == nil {
			f.t.Errorf("run: %v", err)
		}
	})
	wg.Go(func() { f.net.pump(ctx) })
	f.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	f.t.Cleanup(f.stop)
}

// within polls until what holds; it says what was seen last when it never does.
func (f *fixture) within(what string, holds func() (bool, any)) {
	f.t.Helper()
	deadline, tick := time.After(2*time.Minute), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for {
		ok, seen := holds()
		if ok {
			return
		}
		select {
		case <-deadline:
			f.t.Fatalf("%s: not within two minutes; last seen %+v; %s", what, seen, f.state())
		case <-tick.C:
		}
	}
}

// state says where the anchor stands, for messages.
func (f *fixture) state() string {
	txs, err := f.svc.LedgerTransactions(f.ctx, anchor.Page{Limit: 50})
	out := fmt.Sprintf("ledger transactions (%v):", err)
	for _, tx := range txs {
		out += fmt.Sprintf("\n  %s %s attempt %d %s", tx.Purpose, tx.State, tx.Attempt, tx.Hash)
	}
	held, err := f.svc.Quarantine(f.ctx, keeper, anchor.Page{Limit: 50})
	return fmt.Sprintf("%s\nquarantine (%v): %+v", out, err, held)
}

// ready registers the asset and waits until the ledger agrees.
func (f *fixture) ready() {
	f.t.Helper()
	if _, err := f.svc.RegisterAsset(f.ctx, staffActor, "USD"); err != nil {
		f.t.Fatal(err)
	}
	f.within("asset ready", func() (bool, any) {
		assets, err := f.svc.Assets(f.ctx)
		return err == nil && len(assets) == 1, err
	})
}

// customer enrols a new wallet and waits until it can hold the asset.
func (f *fixture) customer(ref string) nodetest.Wallet {
	f.t.Helper()
	w := nodetest.NewWallet(f.t)
	if _, err := f.svc.Enrol(f.ctx, partnerActor, anchor.Enrolment{Account: w.ID, Partner: "paycircle", Ref: ref}); err != nil {
		f.t.Fatal(err)
	}
	f.within("account exists", func() (bool, any) {
		_, err := f.net.ledger.Account(w.ID)
		return err == nil, err
	})
	f.send(w, protocol.NoMemo(), txbuild.ChangeTrust{Asset: f.asset, Limit: nodetest.Amount(f.t, "1000000")})
	f.within("trustline authorised", func() (bool, any) {
		a, err := f.net.ledger.Account(w.ID)
		line, ok := a.Trustline(f.asset)
		return err == nil && ok && line.Flags.IsAuthorized(), err
	})
	return w
}

// send builds, signs and applies a transaction of a customer.
func (f *fixture) send(w nodetest.Wallet, memo protocol.Memo, ops ...txbuild.Operation) protocol.Hash {
	f.t.Helper()
	account, err := f.net.ledger.Account(w.ID)
	if err != nil {
		f.t.Fatal(err)
	}
	env, hash := w.SignParams(f.t, txbuild.Params{Passphrase: f.net.passphrase, Sequence: account.Sequence + 1, Memo: memo, Operations: ops})
	f.net.put(hash, env)
	f.net.close(time.Second)
	return hash
}

// pay sends credit to the distribution account.
func (f *fixture) pay(w nodetest.Wallet, amount string, memo protocol.Memo) protocol.Hash {
	f.t.Helper()
	return f.send(w, memo, txbuild.Payment{Destination: f.cfg.Assets[0].Distribution, Asset: f.asset, Amount: nodetest.Amount(f.t, amount)})
}

// credit makes an entry of money that came in, with a text; edit may change it.
func (f *fixture) credit(amount, text string, edit ...func(*rails.Entry)) rails.Entry {
	f.t.Helper()
	cents, _ := money.NewCurrency("USD", 2)
	a, err := money.Parse(cents, amount)
	if err != nil {
		f.t.Fatal(err)
	}
	f.entries++
	e := rails.Entry{Ref: fmt.Sprintf("E%05d", f.entries), Amount: a, Credit: true, Status: rails.Booked, BookedAt: time.Unix(1_700_000_000, 0).UTC(),
		Remittance: []string{text}, Details: 1, Debtor: rails.Party{Name: "Alice", Account: rails.Account{IBAN: theirIBAN}}}
	for _, change := range edit {
		change(&e)
	}
	return e
}

// statement makes a file of entries.
func (f *fixture) statement(id string, entries ...rails.Entry) []byte {
	f.t.Helper()
	return f.file(rails.Statement{ID: id, Account: rails.Account{IBAN: ourIBAN}, Currency: "USD", Entries: entries})
}

func (f *fixture) file(statements ...rails.Statement) []byte {
	f.t.Helper()
	b, err := json.Marshal(statements)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// bring imports a statement and checks what it led to.
func (f *fixture) bring(file []byte, want anchor.Imported) {
	f.t.Helper()
	got, err := f.svc.ImportStatement(f.ctx, partnerActor, keeper, file)
	if err != nil {
		f.t.Fatal(err)
	}
	got.Statement = ""
	if got != want {
		f.t.Errorf("imported %+v, want %+v", got, want)
	}
}

// deposit asks for a deposit.
func (f *fixture) deposit(w nodetest.Wallet) anchor.Transaction {
	f.t.Helper()
	d, err := f.svc.Deposit(f.ctx, anchor.DepositRequest{Account: w.ID, Asset: "USD"})
	if err != nil {
		f.t.Fatal(err)
	}
	return d
}

// fund gives a customer credit, by a deposit from one end to the other.
func (f *fixture) fund(w nodetest.Wallet, amount string) anchor.Transaction {
	f.t.Helper()
	d := f.deposit(w)
	f.bring(f.statement("fund-"+d.ID, f.credit(amount, d.Reference)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	return f.reaches(w, d.ID, "completed")
}

// withdraw asks for a withdrawal.
func (f *fixture) withdraw(w nodetest.Wallet) anchor.Transaction {
	f.t.Helper()
	tx, err := f.svc.Withdraw(f.ctx, anchor.WithdrawRequest{Account: w.ID, Asset: "USD", Dest: theirIBAN, DestExtra: "Alice Doe"})
	if err != nil {
		f.t.Fatal(err)
	}
	return tx
}

// reaches waits until a transaction has a status.
func (f *fixture) reaches(w nodetest.Wallet, id, status string) (tx anchor.Transaction) {
	f.t.Helper()
	f.within("transaction "+status, func() (bool, any) {
		var err error
		tx, err = f.svc.Transaction(f.ctx, anchor.Lookup{Account: w.ID, ID: id})
		return err == nil && tx.Status == status, []any{tx, err}
	})
	return tx
}

// balance is what a customer holds on the ledger.
func (f *fixture) balance(id protocol.AccountID) string {
	f.t.Helper()
	a, err := f.net.ledger.Account(id)
	if err != nil {
		f.t.Fatal(err)
	}
	line, _ := a.Trustline(f.asset)
	return line.Balance.String()
}

// books checks the posted balance of an account of the book, and that nothing is held on it.
func (f *fixture) books(want map[book.Code]string) {
	f.t.Helper()
	for code, amount := range want {
		b, err := book.FindBalance(f.ctx, f.db.Reader(), code)
		if err != nil {
			f.t.Fatal(err)
		}
		posted, err1 := b.Posted()
		available, err2 := b.Available()
		if err := errors.Join(err1, err2); err != nil || posted.Decimal() != amount || available.Decimal() != amount {
			f.t.Errorf("%s: posted %s, available %s, want %s (%v)", code, posted, available, amount, err)
		}
	}
}

// sound checks the invariants, and the book against all of its transfers.
func (f *fixture) sound() {
	f.t.Helper()
	all, err := f.svc.Invariants(f.ctx)
	if err != nil || len(all) == 0 {
		f.t.Fatal(all, err)
	}
	for _, i := range all {
		if !i.OK {
			f.t.Errorf("invariant %s: %s", i.Name, i.Detail)
		}
	}
	if err := book.Recount(f.ctx, f.db.Reader()); err != nil {
		f.t.Error(err)
	}
	f.net.once()
}

// records counts the audit records of an action, "%" for all.
func (f *fixture) records(action string) (n int) {
	f.t.Helper()
	if err := f.db.Reader().QueryRow(f.ctx, `SELECT count(*) FROM audit.record WHERE action LIKE $1`, action).Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

// reasons lists why entries wait.
func (f *fixture) reasons() string {
	f.t.Helper()
	held, err := f.svc.Quarantine(f.ctx, keeper, anchor.Page{Limit: anchorPage})
	if err != nil {
		f.t.Fatal(err)
	}
	var out []string
	for _, h := range held {
		if h.Resolution == "" {
			out = append(out, h.Reason)
		}
	}
	return strings.Join(out, " ")
}

const anchorPage = 200 // the longest list

// usd is what the book counts dollars in.
func usd(t testing.TB) money.Currency {
	t.Helper()
	c, err := money.NewCurrency("USD", protocol.Decimals)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
