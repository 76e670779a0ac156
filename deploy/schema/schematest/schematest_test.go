package schematest_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

func TestMain(m *testing.M) { schematest.Main(m) }

func try(t *testing.T, url, sql string) error {
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

func TestDatabasesAreApart(t *testing.T) {
	_, first := schematest.NewWithOwner(t, schema.Gateway)
	_, second := schematest.NewWithOwner(t, schema.Gateway)
	if err := try(t, first, "CREATE TABLE public.x (n integer)"); err != nil {
		t.Fatal(err)
	}
	if try(t, second, "SELECT * FROM public.x") == nil {
		t.Error("a table of one test's database is in another's")
	}
}

// TestRolesOwnNothing: a program's role can change neither the schema nor another program's data.
func TestRolesOwnNothing(t *testing.T) {
	gateway, signer := schematest.New(t, schema.Gateway), schematest.New(t, schema.Signer)
	for url, statements := range map[string][]string{
		gateway: {"CREATE SCHEMA x", "CREATE TABLE public.x (n integer)", "DROP TABLE audit.record", "ALTER TABLE book.transfer DISABLE TRIGGER ALL",
			"DELETE FROM audit.record", "UPDATE audit.record SET action = 'x.y'", "TRUNCATE book.transfer", "UPDATE book.account SET credits_posted = 1",
			"DELETE FROM anchor.ledger_tx", "UPDATE anchor.transaction SET account = 'x'", "SET ROLE diamante_signer", "SELECT * FROM signer.journal"},
		signer: {"CREATE TABLE public.x (n integer)", "DELETE FROM audit.record", "SET ROLE diamante_gateway", "SELECT * FROM book.account"},
	} {
		for _, sql := range statements {
			if err := try(t, url, sql); err == nil {
				t.Errorf("the role may %s", sql)
			}
		}
	}
}

// TestSightingsAreDated: the role says neither when the database has noted that a request was seen, nor in which transaction.
func TestSightingsAreDated(t *testing.T) {
	role, owner := schematest.NewWithOwner(t, schema.Signer)
	const row = "('a', 'b', sha256(''), now() - interval '1 day', 'thief'"
	for _, sql := range []string{"INSERT INTO signer.seen (key, ref, sha256, at, caller, noted) VALUES " + row + ", now() - interval '1 day')",
		"INSERT INTO signer.seen (key, ref, sha256, at, caller, xid) VALUES " + row + ", '3')", "UPDATE signer.seen SET noted = at", "UPDATE signer.seen SET at = noted"} {
		if try(t, role, sql) == nil {
			t.Errorf("the role may %s", sql)
		}
	}
	if err := try(t, role, "INSERT INTO signer.seen (key, ref, sha256, at, caller) VALUES "+row+")"); err != nil {
		t.Fatal(err)
	}
	const noted = "DO $$ BEGIN ASSERT (SELECT noted > now() - interval '1 minute' FROM signer.seen); END $$"
	if err := try(t, owner, noted); err != nil {
		t.Errorf("what the role dates back is not dated by the database: %v", err)
	}
}

func TestMigrateTwice(t *testing.T) {
	_, owner := schematest.NewWithOwner(t, schema.Gateway)
	if n, err := schema.Migrate(context.Background(), owner, schema.Gateway); err != nil || n != 0 {
		t.Errorf("applied %d again, %v", n, err)
	}
	if n, err := schema.Pending(context.Background(), owner, schema.Gateway); err != nil || n != 0 {
		t.Errorf("%d pending, %v", n, err)
	}
	if _, err := schema.Migrate(context.Background(), owner, 0); err == nil {
		t.Error("no database was migrated")
	}
}
