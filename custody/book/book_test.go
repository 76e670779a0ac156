package book_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

func TestMain(m *testing.M) { schematest.Main(m) }

var bookkeeper = audit.Actor{Kind: "worker", Name: "test"}

func open(t testing.TB, url string) *audit.DB {
	t.Helper()
	db, err := audit.Open(context.Background(), url, 30)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func amount(t testing.TB, s string) money.Amount {
	t.Helper()
	number, currency, _ := strings.Cut(s, " ")
	c, err := money.ParseCurrency(currency)
	if err != nil {
		t.Fatal(err)
	}
	a, err := money.Parse(c, number)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// do runs one change in a transaction of its own, with a record, whether it changes anything or not.
func do(db *audit.DB, fn func(ctx context.Context, tx *audit.Tx) (bool, error)) (changed bool, err error) {
	err = audit.Do(context.Background(), db, bookkeeper, func(ctx context.Context, tx *audit.Tx) error {
		if changed, err = fn(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Record(ctx, audit.Event{Action: "test.done", Subject: "book"})
		return err
	})
	return changed, err
}

func hold(db *audit.DB, t book.Transfer) (bool, error) {
	return do(db, func(ctx context.Context, tx *audit.Tx) (bool, error) { return book.Hold(ctx, tx, t) })
}

func post(db *audit.DB, id book.TransferID) (bool, error) {
	return do(db, func(ctx context.Context, tx *audit.Tx) (bool, error) { return book.Post(ctx, tx, id) })
}

func void(db *audit.DB, id book.TransferID) (bool, error) {
	return do(db, func(ctx context.Context, tx *audit.Tx) (bool, error) { return book.Void(ctx, tx, id) })
}

func account(t testing.TB, db *audit.DB, a book.Account) {
	t.Helper()
	if _, err := do(db, func(ctx context.Context, tx *audit.Tx) (bool, error) { return book.OpenAccount(ctx, tx, a) }); err != nil {
		t.Fatal(err)
	}
}

func currency(t testing.TB, s string) money.Currency {
	t.Helper()
	c, err := money.ParseCurrency(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// chart opens the accounts of the tests: what a bookkeeper calls the chart of accounts.
func chart(t testing.TB, db *audit.DB) {
	t.Helper()
	usd, cents := currency(t, "USD/7"), currency(t, "USD/2")
	account(t, db, book.Account{Code: "bank/USD", Currency: usd, Normal: book.Debit})
	account(t, db, book.Account{Code: "suspense/USD", Currency: usd, Normal: book.Credit})
	account(t, db, book.Account{Code: "issued/USD", Currency: usd, Normal: book.Credit})
	account(t, db, book.Account{Code: "payable/USD", Currency: usd, Normal: book.Credit})
	account(t, db, book.Account{Code: "fees/USD", Currency: usd, Normal: book.Credit, MayOverdraw: true})
	account(t, db, book.Account{Code: "bank/cents", Currency: cents, Normal: book.Debit})
}

// Each case is a page of the book: rows are carried out in order, then the trial balance is compared. A row is
//
//	hold ID DEBIT CREDIT AMOUNT CURRENCY   or   post ID   or   void ID
//
// followed by what comes of it: "ok", "again" (no error, nothing changed) or a part of the error's text. The trial balance
// has a line for each account that moved: debits posted (pending), credits posted (pending).
var pages = []struct{ name, rows, trial string }{
	{"a deposit and a withdrawal, each step", `
		hold r1 bank/USD     suspense/USD 100.00 USD/7 -> ok
		post r1                                        -> ok
		hold d1 suspense/USD issued/USD   100    USD/7 -> ok
		post d1                                        -> ok
		hold w1 issued/USD   payable/USD  40     USD/7 -> ok
		post w1                                        -> ok
		hold p1 payable/USD  bank/USD     40     USD/7 -> ok
		post p1                                        -> ok`, `
		bank/USD     100.0000000 (0.0000000) 40.0000000 (0.0000000)
		issued/USD   40.0000000 (0.0000000) 100.0000000 (0.0000000)
		payable/USD  40.0000000 (0.0000000) 40.0000000 (0.0000000)
		suspense/USD 100.0000000 (0.0000000) 100.0000000 (0.0000000)`},
	{"held money is not there yet for the other side", `
		hold r1 bank/USD     suspense/USD 100 USD/7 -> ok
		hold d1 suspense/USD issued/USD   1   USD/7 -> insufficient
		post r1                                     -> ok
		hold d1 suspense/USD issued/USD   1   USD/7 -> ok
		hold w1 issued/USD   payable/USD  1   USD/7 -> insufficient`, `
		bank/USD     100.0000000 (0.0000000) 0.0000000 (0.0000000)
		issued/USD   0.0000000 (0.0000000) 0.0000000 (1.0000000)
		suspense/USD 0.0000000 (1.0000000) 100.0000000 (0.0000000)`},
	{"held money cannot be held twice, and comes back when voided", `
		hold r1 bank/USD     suspense/USD 100         USD/7 -> ok
		post r1                                             -> ok
		hold d1 suspense/USD issued/USD   60          USD/7 -> ok
		hold d2 suspense/USD issued/USD   40.0000001  USD/7 -> insufficient
		hold d3 suspense/USD issued/USD   40          USD/7 -> ok
		void d1                                             -> ok
		hold d4 suspense/USD issued/USD   60          USD/7 -> ok
		hold d5 suspense/USD issued/USD   0.0000001   USD/7 -> insufficient`, `
		bank/USD     100.0000000 (0.0000000) 0.0000000 (0.0000000)
		issued/USD   0.0000000 (0.0000000) 0.0000000 (100.0000000)
		suspense/USD 0.0000000 (100.0000000) 100.0000000 (0.0000000)`},
	{"every step twice is the same as once", `
		hold r1 bank/USD suspense/USD 5 USD/7 -> ok
		hold r1 bank/USD suspense/USD 5 USD/7 -> again
		post r1                               -> ok
		post r1                               -> again
		hold r1 bank/USD suspense/USD 5 USD/7 -> again
		hold r2 bank/USD suspense/USD 7 USD/7 -> ok
		void r2                               -> ok
		void r2                               -> again
		hold r2 bank/USD suspense/USD 7 USD/7 -> again`, `
		bank/USD     5.0000000 (0.0000000) 0.0000000 (0.0000000)
		suspense/USD 0.0000000 (0.0000000) 5.0000000 (0.0000000)`},
	{"an id is one transfer, a transfer ends once", `
		hold r1 bank/USD suspense/USD 5 USD/7 -> ok
		hold r1 bank/USD suspense/USD 6 USD/7 -> other content
		hold r1 bank/USD issued/USD   5 USD/7 -> other content
		hold r1 issued/USD suspense/USD 5 USD/7 -> other content
		post r1                               -> ok
		void r1                               -> resolved the other way
		hold r2 bank/USD suspense/USD 1 USD/7 -> ok
		void r2                               -> ok
		post r2                               -> resolved the other way
		post r3                               -> not found
		void r3                               -> not found`, `
		bank/USD     5.0000000 (0.0000000) 0.0000000 (0.0000000)
		suspense/USD 0.0000000 (0.0000000) 5.0000000 (0.0000000)`},
	{"accounts and currencies must fit", `
		hold x1 bank/USD   suspense/USD 1  USD/2 -> not found
		hold x2 bank/cents suspense/USD 1  USD/2 -> not found
		hold x3 bank/cents suspense/USD 1  USD/7 -> not found
		hold x4 bank/USD   nowhere/USD  1  USD/7 -> not found
		hold x5 nowhere/USD issued/USD  1  USD/7 -> not found
		hold x6 bank/USD   bank/USD     1  USD/7 -> invalid
		hold x7 bank/USD   suspense/USD 0  USD/7 -> invalid`, ``},
	{"an account with a debit balance is overdrawn by credits", `
		hold r1 bank/USD     suspense/USD 10 USD/7 -> ok
		hold p1 fees/USD     bank/USD     1  USD/7 -> insufficient
		post r1                                    -> ok
		hold p1 fees/USD     bank/USD     11 USD/7 -> insufficient
		hold p2 fees/USD     bank/USD     4  USD/7 -> ok
		hold p3 fees/USD     bank/USD     7  USD/7 -> insufficient
		post p2                                    -> ok
		hold p4 fees/USD     bank/USD     6  USD/7 -> ok`, `
		bank/USD     10.0000000 (0.0000000) 4.0000000 (6.0000000)
		fees/USD     4.0000000 (6.0000000) 0.0000000 (0.0000000)
		suspense/USD 0.0000000 (0.0000000) 10.0000000 (0.0000000)`},
	{"amounts of all 38 digits, and not one more", `
		hold r1 bank/USD suspense/USD 9999999999999999999999999999999.9999999 USD/7 -> ok
		post r1                                                                     -> ok
		hold r2 bank/USD suspense/USD 0.0000001 USD/7                               -> ok
		post r2                                                                     -> out of range
		void r2                                                                     -> ok`, `
		bank/USD     9999999999999999999999999999999.9999999 (0.0000000) 0.0000000 (0.0000000)
		suspense/USD 0.0000000 (0.0000000) 9999999999999999999999999999999.9999999 (0.0000000)`},
}

func TestPages(t *testing.T) {
	for _, page := range pages {
		t.Run(page.name, func(t *testing.T) {
			db := open(t, schematest.New(t, schema.Gateway))
			chart(t, db)
			for _, row := range lines(page.rows) {
				action, want, _ := strings.Cut(row, " -> ")
				if got := carryOut(t, db, strings.Fields(action)); got != want && (want == "ok" || want == "again" || !strings.Contains(got, want)) {
					t.Fatalf("%s\n gave %q, want %q", action, got, want)
				}
			}
			if got, want := trial(t, db), strings.Join(lines(page.trial), "\n"); got != want {
				t.Errorf("trial balance\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func carryOut(t *testing.T, db *audit.DB, words []string) string {
	var changed bool
	var err error
	switch id := book.TransferID(words[1]); words[0] {
	case "hold":
		changed, err = hold(db, book.Transfer{ID: id, Debit: book.Code(words[2]), Credit: book.Code(words[3]),
			Amount: amount(t, words[4]+" "+words[5]), Ref: "movement/" + words[1]})
	case "post":
		changed, err = post(db, id)
	case "void":
		changed, err = void(db, id)
	default:
		t.Fatalf("unknown row %q", words)
	}
	switch {
	case err != nil:
		return err.Error()
	case changed:
		return "ok"
	}
	return "again"
}

func lines(s string) []string {
	var out []string
	for line := range strings.Lines(s) {
		if fields := strings.Fields(line); len(fields) > 0 {
			out = append(out, strings.Join(fields, " "))
		}
	}
	return out
}

// trial prints the accounts that moved and checks what must hold of any book at any time.
func trial(t testing.TB, db *audit.DB) string {
	t.Helper()
	ctx := context.Background()
	tb, err := book.Trial(ctx, db.Reader())
	if err == nil {
		err = errors.Join(tb.Check(), book.Recount(ctx, db.Reader()))
	}
	if err != nil {
		t.Error(err)
	}
	var out []string
	for _, b := range tb.Balances {
		line := fmt.Sprintf("%s (%s) %s (%s)", b.DebitsPosted.Decimal(), b.DebitsPending.Decimal(), b.CreditsPosted.Decimal(), b.CreditsPending.Decimal())
		if strings.Trim(line, "0.() ") != "" {
			out = append(out, string(b.Code)+" "+line)
		}
	}
	return strings.Join(out, "\n")
}
