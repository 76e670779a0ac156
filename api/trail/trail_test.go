package trail_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/api/trail"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

func TestMain(m *testing.M) { schematest.Main(m) }

func open(t *testing.T) (db *audit.DB, owner *pgx.Conn) {
	t.Helper()
	ctx := context.Background()
	role, ownerURL := schematest.NewWithOwner(t, schema.Gateway)
	db, err := audit.Open(ctx, role, 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	owner, err = pgx.Connect(ctx, ownerURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = owner.Close(ctx) })
	return db, owner
}

func exec(t *testing.T, c *pgx.Conn, sql string) {
	t.Helper()
	if _, err := c.Exec(context.Background(), sql); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, c *pgx.Conn, sql string) (n int) {
	t.Helper()
	if err := c.QueryRow(context.Background(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func key(name, key string, hash byte) web.KeyedRequest {
	return web.KeyedRequest{Scope: "partner/" + name, Key: key, Hash: [32]byte{hash}, Caller: web.Caller{Kind: "partner", Name: name, Request: "r"}}
}

func TestKeys(t *testing.T) {
	db, owner := open(t)
	ctx := context.Background()
	keys := trail.Keys{DB: db}
	k := key("a", "k", 1)
	begin := func(k web.KeyedRequest, wantErr error, want string) {
		t.Helper()
		got, err := keys.Claim(ctx, k)
		if !errors.Is(err, wantErr) || wantErr == nil && err != nil {
			t.Fatalf("error %v, want %v", err, wantErr)
		}
		if (got == nil) != (want == "") || got != nil && string(got.Body) != want {
			t.Fatalf("answer %+v, want %q", got, want)
		}
	}
	begin(k, nil, "")
	begin(k, web.ErrKeyBusy, "")
	begin(key("a", "k", 2), web.ErrKeyUsed, "")
	begin(key("b", "k", 2), nil, "")
	if err := keys.Release(ctx, k); err != nil {
		t.Fatal(err)
	}
	begin(key("a", "k", 2), web.ErrKeyUsed, "") // also after a failure the key belongs to its first request
	begin(k, nil, "")
	exec(t, owner, `UPDATE api.idempotency SET claimed_until = now() - interval '1 second'`) // as after a crash
	begin(k, nil, "")
	answer := web.KeptAnswer{Status: 201, ContentType: "application/json", Body: []byte(`{"id":1}`)}
	if err := keys.Keep(ctx, k, answer); err != nil {
		t.Fatal(err)
	}
	begin(k, nil, `{"id":1}`)
	// The one whose time was over comes back late: the answer that was given stays.
	if err := keys.Keep(ctx, k, web.KeptAnswer{Status: 201, ContentType: "application/json", Body: []byte(`{"id":2}`)}); err != nil {
		t.Fatal(err)
	}
	if err := keys.Release(ctx, k); err != nil {
		t.Fatal(err)
	}
	begin(k, nil, `{"id":1}`)
	begin(key("a", "k", 2), web.ErrKeyUsed, "")
	if n := count(t, owner, `SELECT count(*) FROM audit.record WHERE action = 'idempotency.answered'`); n != 1 {
		t.Errorf("%d records of an answer", n)
	}
}

func TestOneOfManyClaims(t *testing.T) {
	db, _ := open(t)
	keys := trail.Keys{DB: db}
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { _, errs[i] = keys.Claim(context.Background(), key("a", "k", 1)) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, web.ErrKeyBusy):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d claims", won)
	}
}

func TestSweepTakesOnlyWhatIsOver(t *testing.T) {
	db, owner := open(t)
	ctx := context.Background()
	keys := trail.Keys{DB: db}
	for i := range 2 {
		if _, err := keys.Claim(ctx, key("a", fmt.Sprint(i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	for i, expires := range []string{"now()", "now() - interval '2 hours'"} {
		exec(t, owner, fmt.Sprintf(`INSERT INTO api.challenge (hash, account, expires) VALUES (repeat('%d', 64), 'G', %s)`, i, expires))
	}
	if err := trail.Sweep(ctx, db); err != nil {
		t.Fatal(err)
	}
	exec(t, owner, `UPDATE api.idempotency SET at = now() - interval '26 hours' WHERE key = '0'`)
	for range 2 {
		if err := trail.Sweep(ctx, db); err != nil {
			t.Fatal(err)
		}
	}
	if k, c := count(t, owner, `SELECT count(*) FROM api.idempotency`), count(t, owner, `SELECT count(*) FROM api.challenge`); k != 1 || c != 1 {
		t.Errorf("%d keys and %d challenges are left", k, c)
	}
	if n := count(t, owner, `SELECT count(*) FROM audit.record WHERE action = 'api.swept'`); n != 2 {
		t.Errorf("%d sweeps recorded", n)
	}
}

func TestTheRoleCannotForgetEarly(t *testing.T) {
	db, owner := open(t)
	ctx := context.Background()
	exec(t, owner, `INSERT INTO api.challenge (hash, account, expires) VALUES (repeat('0', 64), 'G', now())`)
	exec(t, owner, `INSERT INTO api.idempotency (scope, key, request, claimed_until) VALUES ('a', 'k', decode(repeat('00', 32), 'hex'), now())`)
	for _, sql := range []string{
		`DELETE FROM api.challenge`, `DELETE FROM api.idempotency`, `TRUNCATE api.challenge`,
		`UPDATE api.challenge SET expires = now() - interval '2 days'`,
		`UPDATE api.idempotency SET request = decode(repeat('11', 32), 'hex')`, `UPDATE api.idempotency SET at = now() - interval '2 days'`,
	} {
		err := audit.Do(ctx, db, audit.Actor{Kind: "worker", Name: "test"}, func(ctx context.Context, tx *audit.Tx) error {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
			_, err := tx.Record(ctx, audit.Event{Action: "test.done", Subject: "x"})
			return err
		})
		if err == nil {
			t.Errorf("the role may %s", sql)
		}
	}
}

func TestNoReadWithoutItsRecord(t *testing.T) {
	_, owner := open(t)
	away, err := audit.Open(context.Background(), "host=/nonexistent user=nobody dbname=none", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close()
	r := httptest.NewRequest("GET", "/", nil)
	ctx := web.WithCaller(r.Context(), web.Caller{Kind: "staff", Name: "eve", Request: "r"})
	if err := trail.Read(ctx, away, audit.Event{Action: "customers.read", Subject: "all"}); !audit.Unavailable(err) {
		t.Errorf("got %v", err)
	}
	if n := count(t, owner, `SELECT count(*) FROM audit.record`); n != 0 {
		t.Errorf("%d records", n)
	}
}
