package audit_test

import (
	"context"
	"errors"
	"testing"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

func TestMain(m *testing.M) { schematest.Main(m) }

var worker = audit.Actor{Kind: "worker", Name: "test"}

func open(t testing.TB, d schema.Database) *audit.DB {
	t.Helper()
	db, err := audit.Open(context.Background(), schematest.New(t, d), 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func TestDoRefusesToCommitWithoutRecord(t *testing.T) {
	ctx, db := context.Background(), open(t, schema.Gateway)
	err := audit.Do(ctx, db, worker, func(ctx context.Context, tx *audit.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO audit.record (id, at, action, body) VALUES (repeat('a',32), now(), 'x', '')`)
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
