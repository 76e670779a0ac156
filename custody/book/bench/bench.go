// Package bench measures the book: transfers per second, each held and posted in a transaction of its own with an audit
// record and an outbox row, first through package book and then by PostgreSQL's pgbench with the same statements. The
// ratio of the two says what our code costs; the rest is the server.
//
//	result, err := bench.Run(ctx, bench.Config{URL: role, Owner: owner, Clients: 8, Accounts: 1000, For: 10 * time.Second})
//
// It writes to the database and refuses one that has been used.
package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/money"
)

// ErrUsed: the database holds transfers. Measuring is for an empty one.
var ErrUsed = errors.New("bench: the book has transfers in it")

// Config says what is measured, on which database.
type Config struct {
	URL      string        // connection string of the gateway's role, migrated database, through a unix socket or without TLS
	Owner    string        // connection string of a superuser of the same database, to make the outbox
	Clients  int           // clients at once, each with a connection
	Accounts int           // accounts on each side; 1 shows what one busy account bears
	For      time.Duration // how long each of the two measurements takes
}

// Validate checks that the configuration can be measured.
func (c Config) Validate() error {
	if c.URL == "" || c.Owner == "" || c.Clients < 1 || c.Clients > 100 || c.Accounts < 1 || c.Accounts > 100_000 || c.For < time.Second {
		return fmt.Errorf("bench: need two connection strings, 1 to 100 clients, 1 to 100000 accounts and a second at least: %d clients, %d accounts, %s",
			c.Clients, c.Accounts, c.For)
	}
	return nil
}

// Result is what one run measured.
type Result struct {
	Book    float64 // transfers per second through package book
	PGBench float64 // the same statements by pgbench
}

// Ratio is how much of pgbench's speed the book has.
func (r Result) Ratio() float64 { return r.Book / r.PGBench }

// String returns one line for a person.
func (r Result) String() string {
	return fmt.Sprintf("book %.0f transfers/s, pgbench %.0f, ratio %.2f", r.Book, r.PGBench, r.Ratio())
}

const insertOutbox = `INSERT INTO bench.outbox (kind, body) VALUES ($1, $2)`

// Run measures both, one after the other.
func Run(ctx context.Context, c Config) (Result, error) {
	if err := c.Validate(); err != nil {
		return Result{}, err
	}
	if err := prepare(ctx, c); err != nil {
		return Result{}, err
	}
	var r Result
	var err error
	if r.Book, err = measure(ctx, c); err != nil {
		return Result{}, err
	}
	r.PGBench, err = pgbench(ctx, c)
	return r, err
}

// prepare makes the outbox and the accounts. Money enters on the debit side of accounts that grow by debits, so that no
// transfer is refused however long it goes on.
func prepare(ctx context.Context, c Config) error {
	owner, err := pgx.Connect(ctx, c.Owner)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer owner.Close(ctx)
	var used bool
	if err := owner.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM book.transfer)`).Scan(&used); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if used {
		return ErrUsed
	}
	for _, sql := range []string{
		`CREATE SCHEMA IF NOT EXISTS bench`,
		`CREATE TABLE IF NOT EXISTS bench.outbox (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text NOT NULL, body text NOT NULL, at timestamptz NOT NULL DEFAULT now())`,
		`GRANT USAGE ON SCHEMA bench TO diamante_gateway`,
		`GRANT INSERT ON bench.outbox TO diamante_gateway`,
		fmt.Sprintf(`INSERT INTO book.account (code, currency, normal) SELECT 'bench/' || side || n, 'USD/7', side
			FROM generate_series(1, %d) n, unnest(ARRAY['debit', 'credit']) side ON CONFLICT DO NOTHING`, c.Accounts),
		`ANALYZE book.account`,
	} {
		if _, err := owner.Exec(ctx, sql); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	return nil
}

// measure counts transfers through package book.
func measure(ctx context.Context, c Config) (perSecond float64, err error) {
	db, err := audit.Open(ctx, c.URL, int32(c.Clients))
	if err != nil {
		return 0, err
	}
	defer db.Close()
	usd, err := money.NewCurrency("USD", 7)
	if err != nil {
		return 0, err
	}
	amount, err := money.FromInt(usd, 1)
	if err != nil {
		return 0, err
	}
	counts, errs := make([]int, c.Clients), make([]error, c.Clients)
	start := time.Now()
	var all sync.WaitGroup
	for i := range c.Clients {
		all.Go(func() {
			for n := 0; time.Since(start) < c.For && errs[i] == nil; n++ {
				name := fmt.Sprintf("book-%d-%d", i, n)
				errs[i] = transfer(ctx, db, book.Transfer{ID: book.TransferID(name), Ref: name, Amount: amount,
					Debit: side(book.Debit, c.Accounts), Credit: side(book.Credit, c.Accounts)})
				if errs[i] == nil {
					counts[i]++
				}
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total) / took.Seconds(), errors.Join(errs...)
}

func side(s book.Side, accounts int) book.Code {
	return book.Code(fmt.Sprintf("bench/%s%d", s, 1+rand.IntN(accounts)))
}

// transfer holds and posts, each with its record and its outgoing effect.
func transfer(ctx context.Context, db *audit.DB, t book.Transfer) error {
	err := insist(ctx, db, func(ctx context.Context, tx *audit.Tx) error {
		if _, err := book.Hold(ctx, tx, t); err != nil {
			return err
		}
		return tell(ctx, tx, "transfer.held", t)
	})
	if err != nil {
		return err
	}
	return insist(ctx, db, func(ctx context.Context, tx *audit.Tx) error {
		if _, err := book.Post(ctx, tx, t.ID); err != nil {
			return err
		}
		return tell(ctx, tx, "transfer.posted", t)
	})
}

var actor = audit.Actor{Kind: "worker", Name: "bench"}

// insist repeats what lost to other clients too often, as pgbench does.
func insist(ctx context.Context, db *audit.DB, fn func(ctx context.Context, tx *audit.Tx) error) error {
	for {
		if err := audit.Do(ctx, db, actor, fn); !errors.Is(err, audit.ErrContention) {
			return err
		}
	}
}

func tell(ctx context.Context, tx *audit.Tx, action string, t book.Transfer) error {
	if _, err := tx.Exec(ctx, insertOutbox, action, string(t.ID)); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	_, err := tx.Record(ctx, audit.Event{Action: action, Subject: string(t.ID), Data: map[string]any{
		"debit": string(t.Debit), "credit": string(t.Credit), "amount": t.Amount.Decimal(), "currency": t.Amount.Currency().String(), "ref": t.Ref}})
	return err
}
