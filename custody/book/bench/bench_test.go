package bench_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/book/bench"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

func TestMain(m *testing.M) { schematest.Main(m) }

// ready returns the role's connection to a database on which Setup has been run.
func ready(t testing.TB, accounts int) string {
	t.Helper()
	url, owner := schematest.NewWithOwner(t, schema.Gateway)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, owner)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, bench.Setup(accounts)); err != nil {
		t.Fatal(err)
	}
	return url
}

// BenchmarkTransfers prints transfers per second and the ratio to pgbench. One iteration is one measurement.
func BenchmarkTransfers(b *testing.B) {
	for _, accounts := range []int{1000, 1} {
		for _, clients := range []int{1, 4, 16} {
			b.Run(fmt.Sprintf("accounts=%d/clients=%d", accounts, clients), func(b *testing.B) {
				for range b.N {
					r, err := bench.Run(context.Background(), bench.Config{URL: ready(b, accounts), Clients: clients, Accounts: accounts, For: 3 * time.Second})
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(r.Book), "transfers/s")
					b.ReportMetric(float64(r.PGBench), "pgbench/s")
					b.ReportMetric(float64(r.Percent())/100, "ratio")
				}
			})
		}
	}
}

// Both ways make transfers that add up, and a book that has been used is left alone.
func TestRun(t *testing.T) {
	url := ready(t, 10)
	cfg := bench.Config{URL: url, Clients: 2, Accounts: 10, For: time.Second}
	r, err := bench.Run(context.Background(), cfg)
	if errors.Is(err, bench.ErrNoPGBench) {
		t.Skip("pgbench is not installed")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	db, err := audit.Open(context.Background(), url, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tb, err := book.Trial(context.Background(), db.Reader())
	if err = errors.Join(err, tb.Check(), book.Recount(context.Background(), db.Reader())); err != nil {
		t.Error(err)
	}
	for _, prefix := range []string{"book-", "pgbench-"} {
		var posted, records int
		err := db.Reader().QueryRow(context.Background(), `SELECT count(*), (SELECT count(*) FROM audit.record) FROM book.transfer t
			JOIN book.resolution r ON r.transfer = t.id WHERE t.id LIKE $1 || '%' AND r.outcome = 'posted'`, prefix).Scan(&posted, &records)
		if err != nil || posted == 0 || records < 2*posted {
			t.Errorf("%s: %d posted, %d records, %v", prefix, posted, records, err)
		}
	}
	if _, err := bench.Run(context.Background(), cfg); !errors.Is(err, bench.ErrUsed) {
		t.Errorf("again: %v", err)
	}
	cfg.Clients = 0
	if _, err := bench.Run(context.Background(), cfg); err == nil {
		t.Error("ran with no clients")
	}
}
