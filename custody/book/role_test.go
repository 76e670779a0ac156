package book_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

// What the gateway's own role cannot do to the book, whoever has got hold of it, and what even the schema's owner cannot.
func TestNobodyRewritesTheBook(t *testing.T) {
	role, owner := schematest.NewWithOwner(t, schema.Gateway)
	db := open(t, role)
	chart(t, db)
	fund(t, db, "100")
	account(t, db, book.Account{Code: "loss/USD", Currency: currency(t, "USD/7"), Normal: book.Debit, MayOverdraw: true})
	for _, by := range []struct{ who, url string }{{"role", role}, {"owner", owner}} {
		t.Run(by.who, func(t *testing.T) {
			ctx := context.Background()
			conn, err := pgx.Connect(ctx, by.url)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(ctx)
			for _, sql := range []string{
				`UPDATE book.account SET credits_posted = credits_posted + 1`,
				`UPDATE book.account SET overdraw = true WHERE code = 'suspense/USD'`,
				`UPDATE book.account SET normal = 'debit' WHERE code = 'suspense/USD'`,
				`DELETE FROM book.account`,
				`TRUNCATE book.account CASCADE`,
				`UPDATE book.transfer SET amount = 1`,
				`DELETE FROM book.transfer`,
				`TRUNCATE book.transfer CASCADE`,
				`UPDATE book.resolution SET outcome = 'voided'`,
				`DELETE FROM book.resolution`,
				`TRUNCATE book.resolution`,
				`INSERT INTO book.resolution (transfer, outcome) VALUES ('fund', 'voided')`,
				`INSERT INTO book.transfer (id, debit, credit, currency, amount, ref) VALUES ('x', 'bank/USD', 'suspense/USD', 'USD/7', -1, 'x')`,
				`INSERT INTO book.transfer (id, debit, credit, currency, amount, ref) VALUES ('x', 'bank/USD', 'suspense/USD', 'USD/2', 1, 'x')`,
				`INSERT INTO book.transfer (id, debit, credit, currency, amount, ref) VALUES ('x', 'bank/USD', 'suspense/USD', 'USD/7', 1, 'fund')`,
				`INSERT INTO book.transfer (id, debit, credit, currency, amount, ref) VALUES ('x', 'loss/USD', 'suspense/USD', 'USD/7', 'NaN', 'x')`,
				`INSERT INTO book.transfer (id, debit, credit, currency, amount, ref) VALUES ('x', 'loss/USD', 'suspense/USD', 'USD/7', 'Infinity', 'x')`,
				`INSERT INTO book.account (code, currency, normal, credits_posted) VALUES ('new/USD', 'USD/7', 'credit', -1)`,
			} {
				refused(t, conn, sql)
			}
			if by.who == "role" {
				for _, sql := range []string{
					`INSERT INTO book.account (code, currency, normal, credits_posted) VALUES ('new/USD', 'USD/7', 'credit', 1)`,
					`INSERT INTO book.transfer (id, debit, credit, currency, amount, ref, created) VALUES ('x', 'bank/USD', 'suspense/USD', 'USD/7', 1, 'x', '2000-01-01')`,
					`ALTER TABLE book.account DISABLE TRIGGER ALL`,
					`ALTER TABLE book.account DROP CONSTRAINT account_covered`,
					`DROP TRIGGER "0_balance" ON book.transfer`,
					`CREATE FUNCTION book.f() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
					`SET session_replication_role = replica`,
				} {
					refused(t, conn, sql)
				}
			}
			if got := trial(t, db); !strings.Contains(got, "suspense/USD 0.0000000 (0.0000000) 100.0000000 (0.0000000)") {
				t.Error(got)
			}
		})
	}
}

func refused(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	_, err := conn.Exec(context.Background(), sql)
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		t.Errorf("%s: %v", sql, err)
	}
}

// A role that puts its own functions before the server's must not get them run with the owner's rights.
func TestSearchPathDoesNotReachTheTriggers(t *testing.T) {
	role := schematest.New(t, schema.Gateway)
	db := open(t, role)
	chart(t, db)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, role)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, sql := range []string{
		`CREATE TEMP TABLE account (code text, currency text, credits_pending numeric, credits_posted numeric, debits_pending numeric, debits_posted numeric)`,
		`SET search_path = pg_temp, book, pg_catalog`,
		`INSERT INTO book.transfer (id, debit, credit, currency, amount, ref) VALUES ('x', 'bank/USD', 'suspense/USD', 'USD/7', 7, 'x')`,
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	b, err := book.FindBalance(ctx, db.Reader(), "bank/USD")
	if err != nil || b.DebitsPending != amount(t, "0.0000007 USD/7") {
		t.Errorf("%+v, %v", b, err)
	}
}
