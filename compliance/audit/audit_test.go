package audit_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

func TestMain(m *testing.M) { schematest.Main(m) }

var worker = audit.Actor{Kind: "worker", Name: "test"}

func open(t testing.TB, d schema.Database) *audit.DB {
	t.Helper()
	return openURL(t, schematest.New(t, d))
}

func openURL(t testing.TB, url string) *audit.DB {
	t.Helper()
	db, err := audit.Open(context.Background(), url, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func execute(t testing.TB, url, sql string) {
	t.Helper()
	if err := tryExecute(t, url, sql); err != nil {
		t.Fatal(err)
	}
}

func tryExecute(t testing.TB, url, sql string) error {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

func TestDoRefusesToCommitWithoutRecord(t *testing.T) {
	ctx, db := context.Background(), open(t, schema.Gateway)
	err := audit.Do(ctx, db, worker, func(ctx context.Context, tx *audit.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO audit.record (id, at, action, body) VALUES (repeat('a',32), '2026-01-02T03:04:05Z', 'x.y',
			('{"action":"x.y","at":"2026-01-02T03:04:05Z","id":"' || repeat('a',32) || '"}')::bytea)`)
		return err
	})
	if !errors.Is(err, audit.ErrNothingRecorded) {
		t.Fatalf("got %v", err)
	}
	var n int
	if err := db.Reader().QueryRow(ctx, `SELECT count(*) FROM audit.record`).Scan(&n); err != nil || n != 0 {
		t.Fatalf("%d rows, %v", n, err)
	}
}

func TestReaderCannotWrite(t *testing.T) {
	ctx, db := context.Background(), open(t, schema.Signer)
	var id string
	err := db.Reader().QueryRow(ctx, `INSERT INTO audit.record (id, at, action, body) VALUES (repeat('a',32), now(), 'x', '') RETURNING id`).Scan(&id)
	if err == nil {
		t.Fatal("a reader wrote")
	}
}
