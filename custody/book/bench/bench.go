// Package bench measures the book: transfers per second, each held and posted in a transaction of its own with an audit
// record and an outbox row, first through package book and then by PostgreSQL's pgbench with the same statements. The
// ratio of the two says what our code costs; the rest is the server.
//
//	_, err := owner.Exec(ctx, bench.Setup(1000)) // on an empty database, migrated
//	result, err := bench.Run(ctx, bench.Config{URL: url, Clients: 8, Accounts: 1000, For: 10 * time.Second})
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

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/money"
)

// ErrUsed: the database holds transfers. Measuring is for an empty one.
var ErrUsed = errors.New("bench: the book has transfers in it")

// Config says what is measured, on which database.
type Config struct {
	URL      string        // connection string of the gateway's role, migrated database, through a unix socket or without TLS
	Clients  int           // clients at once, each with a connection
	Accounts int           // accounts on each side, as in Setup; 1 shows what one busy account bears
	For      time.Duration // how long each of the two measurements takes
}

// Validate checks that the configuration can be measured.
func (c Config) Validate() error {
	if c.URL == "" || c.Clients < 1 || c.Clients > 100 || c.Accounts < 1 || c.Accounts > 100_000 || c.For < time.Second {
		return fmt.Errorf("bench: need a connection string, 1 to 100 clients, 1 to 100000 accounts and a second at least: %d clients, %d accounts, %s",
			c.Clients, c.Accounts, c.For)
	}
	return nil
}

// Result is what one run measured, in whole transfers per second.
type Result struct {
	Book    int // through package book
	PGBench int // the same statements by pgbench
}

// Percent is how much of pgbench's speed the book has.
func (r Result) Percent() int { return 100 * r.Book / max(1, r.PGBench) }

// String returns one line for a person.
func (r Result) String() string {
	return fmt.Sprintf("book %d transfers/s, pgbench %d, ratio %d.%02d", r.Book, r.PGBench, r.Percent()/100, r.Percent()%100)
}

const insertOutbox = `INSERT INTO bench.outbox (kind, body) VALUES ($1, $2)`

// Setup returns the statements that the owner of the database runs first: an outbox, and accounts that grow by debits on
// one side and by credits on the other, so that no transfer is refused however long the measuring takes.
func Setup(accounts int) string {
	return fmt.Sprintf(`CREATE SCHEMA bench;
CREATE TABLE bench.outbox (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text NOT NULL, body text NOT NULL, at timestamptz NOT NULL DEFAULT now());
GRANT USAGE ON SCHEMA bench TO diamante_gateway;
GRANT INSERT ON bench.outbox TO diamante_gateway;
INSERT INTO book.account (code, currency, normal) SELECT 'bench/' || side || n, 'USD/7', side
FROM generate_series(1, %d) n, unnest(ARRAY['debit', 'credit']) side;
ANALYZE book.account;`, accounts)
}

// Run measures both, one after the other.
func Run(ctx context.Context, c Config) (Result, error) {
	if err := c.Validate(); err != nil {
		return Result{}, err
	}
	db, err := audit.Open(ctx, c.URL, int32(c.Clients))
	if err != nil {
		return Result{}, err
	}
	defer db.Close()
	entries, err := book.Transfers(ctx, db.Reader(), book.Filter{}, book.Page{Limit: 1})
	if err != nil {
		return Result{}, err
	}
	if len(entries) > 0 {
		return Result{}, ErrUsed
	}
	var r Result
	if r.Book, err = measure(ctx, db, c); err != nil {
		return Result{}, err
	}
	r.PGBench, err = pgbench(ctx, c)
	return r, err
}

// measure counts transfers through package book.
func measure(ctx context.Context, db *audit.DB, c Config) (perSecond int, err error) {
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
	return int(int64(total) * int64(time.Second) / int64(took)), errors.Join(errs...)
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
