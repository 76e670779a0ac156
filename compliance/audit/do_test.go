package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/cluster"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

var event = audit.Event{Action: "test.happened", Subject: "x"}

func count(t testing.TB, db *audit.DB) (n int64) {
	t.Helper()
	if err := db.Reader().QueryRow(context.Background(), `SELECT count(*) FROM audit.record`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// withCounter makes a table that the program's role may change.
func withCounter(t *testing.T) *audit.DB {
	t.Helper()
	role, owner := schematest.NewWithOwner(t, schema.Gateway)
	execute(t, owner, `CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL); INSERT INTO counter VALUES (1, 0), (2, 0);
		GRANT SELECT, INSERT, UPDATE ON counter TO diamante_gateway`)
	return openURL(t, role)
}

// TestSerialisation: many read and write the same row; every one of them counts, once.
func TestSerialisation(t *testing.T) {
	ctx, db := context.Background(), withCounter(t)
	var ran atomic.Int64
	const writers, each = 4, 25
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				err := audit.Do(ctx, db, worker, func(ctx context.Context, tx *audit.Tx) error {
					ran.Add(1)
					var n int
					if err := tx.QueryRow(ctx, `SELECT n FROM counter WHERE id = 1`).Scan(&n); err != nil {
						return err
					}
					if _, err := tx.Exec(ctx, `UPDATE counter SET n = $1 WHERE id = 1`, n+1); err != nil {
						return fmt.Errorf("wrapped: %w", err)
					}
					_, err := tx.Record(ctx, event)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var n int
	if err := db.Reader().QueryRow(ctx, `SELECT n FROM counter WHERE id = 1`).Scan(&n); err != nil || n != writers*each {
		t.Fatalf("counted to %d, %v", n, err)
	}
	if got := count(t, db); got != writers*each {
		t.Errorf("%d records", got)
	}
	t.Logf("%d transactions took %d tries", writers*each, ran.Load())
}

// TestRefusedAtCommit: the database may refuse as late as at the commit, here because of a write skew.
func TestRefusedAtCommit(t *testing.T) {
	ctx, db := context.Background(), withCounter(t)
	skew := func(ctx context.Context, tx *audit.Tx, read, write int) error {
		var n int
		if err := tx.QueryRow(ctx, `SELECT n FROM counter WHERE id = $1`, read).Scan(&n); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE counter SET n = $2 WHERE id = $1`, write, n+1); err != nil {
			return err
		}
		_, err := tx.Record(ctx, event)
		return err
	}
	tries := 0
	err := audit.Do(ctx, db, worker, func(ctx context.Context, tx *audit.Tx) error {
		tries++
		if err := skew(ctx, tx, 1, 2); err != nil {
			return err
		}
		if tries > 1 {
			return nil
		}
		return audit.Do(ctx, db, worker, func(ctx context.Context, tx *audit.Tx) error { return skew(ctx, tx, 2, 1) })
	})
	if err != nil || tries != 2 {
		t.Fatalf("%d tries, %v", tries, err)
	}
	var a, b int
	if err := db.Reader().QueryRow(ctx, `SELECT (SELECT n FROM counter WHERE id = 1), (SELECT n FROM counter WHERE id = 2)`).Scan(&a, &b); err != nil || a != 1 || b != 2 {
		t.Errorf("%d and %d, %v: no order of the two gives that", a, b, err)
	}
}

func TestContention(t *testing.T) {
	db, tries := withCounter(t), 0
	err := audit.Do(context.Background(), db, worker, func(ctx context.Context, tx *audit.Tx) error {
		tries++
		_, err := tx.Exec(ctx, `DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$`)
		return err
	})
	if !errors.Is(err, audit.ErrContention) || tries != audit.MaxTries {
		t.Errorf("%d tries, %v", tries, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = audit.Do(ctx, db, worker, func(ctx context.Context, tx *audit.Tx) error {
		_, err := tx.Exec(ctx, `DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40P01'; END $$`)
		cancel()
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestDoEndings(t *testing.T) {
	db, own := withCounter(t), errors.New("own")
	var leaked *audit.Tx
	for name, tt := range map[string]struct {
		actor audit.Actor
		fn    func(ctx context.Context, tx *audit.Tx) error
		want  error
	}{
		"own error": {worker, func(ctx context.Context, tx *audit.Tx) error { _, _ = tx.Record(ctx, event); return own }, own},
		"unchanged": {worker, func(ctx context.Context, tx *audit.Tx) error {
			_, _ = tx.Record(ctx, event)
			return fmt.Errorf("so: %w", audit.ErrUnchanged)
		}, nil},
		"swallowed error": {worker, func(ctx context.Context, tx *audit.Tx) error {
			leaked = tx
			_, _ = tx.Exec(ctx, `SELECT 1/0`)
			_, err := tx.Record(ctx, event)
			if err == nil {
				t.Error("a statement works after a failed one")
			}
			return nil
		}, audit.ErrNothingRecorded},
	} {
		if err := audit.Do(context.Background(), db, tt.actor, tt.fn); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, nobody := range []audit.Actor{{}, {Kind: "staff"}, {Name: "x"}} {
		if err := audit.Do(context.Background(), db, nobody, func(context.Context, *audit.Tx) error { t.Error("ran"); return nil }); err == nil {
			t.Errorf("%+v acted", nobody)
		}
	}
	if n := count(t, db); n != 0 || !leaked.Ended() {
		t.Errorf("%d records, ended %t", n, leaked.Ended())
	}
	func() {
		defer func() { _ = recover() }()
		_ = audit.Do(context.Background(), db, worker, func(_ context.Context, tx *audit.Tx) error { leaked = tx; panic("ours") })
	}()
	if !leaked.Ended() {
		t.Error("a transaction outlives a panic")
	}
	record(t, db, 1) // the connection is usable again
}

func TestRecordRefuses(t *testing.T) {
	db := open(t, schema.Gateway)
	for name, e := range map[string]audit.Event{
		"no verb":     {Action: "test", Subject: "x"},
		"no noun":     {Action: ".done", Subject: "x"},
		"no subject":  {Action: "test.done"},
		"fraction":    {Action: "test.done", Subject: "x", Data: map[string]any{"a": 0.5}},
		"whole float": {Action: "test.done", Subject: "x", Data: map[string]any{"a": []any{map[string]any{"b": float64(1 << 60)}}}},
		"not UTF-8":   {Action: "test.done", Subject: "\xff"},
		"too large":   {Action: "test.done", Subject: strings.Repeat("x", audit.MaxRecord)},
	} {
		err := audit.Do(context.Background(), db, worker, func(ctx context.Context, tx *audit.Tx) error {
			_, err := tx.Record(ctx, e)
			return err
		})
		if err == nil {
			t.Errorf("%s: recorded", name)
		}
	}
	if n := count(t, db); n != 0 {
		t.Errorf("%d records", n)
	}
}

// TestRecordsQuoteAnything: what a stranger sent may have to be quoted, whatever it is.
func TestRecordsQuoteAnything(t *testing.T) {
	db := open(t, schema.Gateway)
	for _, text := range []string{"\x00", "a\x00\n\r\u2028b", "\ufffd\uffff\U0010ffff", `"},{"id":"`, `\\u0000`, `\u0000`, strings.Repeat("\x01", 3000)} {
		var id audit.RecordID
		err := audit.Do(context.Background(), db, worker, func(ctx context.Context, tx *audit.Tx) (err error) {
			id, err = tx.Record(ctx, audit.Event{Action: "test.done", Subject: text, Data: map[string]any{text: text}})
			return err
		})
		if err != nil {
			t.Errorf("%.20q: %v", text, err)
			continue
		}
		var body []byte
		if err := db.Reader().QueryRow(context.Background(), `SELECT body FROM audit.record WHERE id = $1`, string(id)).Scan(&body); err != nil {
			t.Fatal(err)
		}
		var back struct{ Subject string }
		if err := json.Unmarshal(body, &back); err != nil || back.Subject != text || audit.CheckCanonical(body) != nil {
			t.Errorf("%.20q comes back as %.20q, %v", text, back.Subject, err)
		}
	}
}

// TestAppendOnly: the program's role can't change, remove or forge what is recorded; and not even the owner by accident.
func TestAppendOnly(t *testing.T) {
	for _, d := range []schema.Database{schema.Gateway, schema.Signer} {
		t.Run(d.String(), func(t *testing.T) {
			role, owner := schematest.NewWithOwner(t, d)
			t.Run("fill", func(t *testing.T) { // and stop, so that nobody holds a lock that TRUNCATE waits for
				db, s := openURL(t, role), newSigner(t, "log")
				run(t, sequencer(t, db, s, 0))
				wait(t, db, record(t, db, 2)[1])
			})
			for _, table := range []string{"record", "leaf", "hash", "checkpoint"} {
				for _, statement := range []string{"DELETE FROM audit.%s", "TRUNCATE audit.%s CASCADE", "DROP TABLE audit.%s CASCADE", "ALTER TABLE audit.%s DISABLE TRIGGER ALL"} {
					if err := tryExecute(t, role, fmt.Sprintf(statement, table)); err == nil || !strings.Contains(err.Error(), "42501") {
						t.Errorf("role: "+statement+": %v", table, err)
					}
				}
				for _, statement := range []string{"DELETE FROM audit.%s", "TRUNCATE audit.%s CASCADE"} {
					if err := tryExecute(t, owner, fmt.Sprintf(statement, table)); err == nil || !strings.Contains(err.Error(), "append-only") {
						t.Errorf("owner: "+statement+": %v", table, err)
					}
				}
			}
			for _, update := range []string{"record SET action = 'a.b'", "leaf SET n = 1", "hash SET idx = idx", "checkpoint SET note = ''"} {
				if err := tryExecute(t, role, "UPDATE audit."+update); err == nil || !strings.Contains(err.Error(), "42501") {
					t.Errorf("role: UPDATE %s: %v", update, err)
				}
				if err := tryExecute(t, owner, "UPDATE audit."+update); err == nil || !strings.Contains(err.Error(), "append-only") {
					t.Errorf("owner: UPDATE %s: %v", update, err)
				}
			}
		})
	}
}

// TestRecordShape: columns that say something else than the body would hide a record from a range.
func TestRecordShape(t *testing.T) {
	role, _ := schematest.NewWithOwner(t, schema.Gateway)
	id := strings.Repeat("a", 32)
	body := func(at string) string { return `{"action":"x.y","at":"` + at + `","id":"` + id + `"}` }
	const at = "2026-01-02T03:04:05.000006Z"
	for name, tt := range map[string]struct {
		at, action, body string
		ok               bool
	}{
		"good":          {at, "x.y", body(at), true},
		"other time":    {at, "x.y", body("2025-01-02T03:04:05Z"), false},
		"other action":  {at, "x.z", body(at), false},
		"second line":   {at, "x.y", body(at) + "\n", false},
		"no JSON":       {at, "x.y", "x", false},
		"other id":      {at, "x.y", strings.Replace(body(at), "aaa", "bbb", 1), false},
		"nothing":       {at, "x.y", "{}", false},
		"no time":       {at, "x.y", `{"action":"x.y","id":"` + id + `"}`, false},
		"not UTF-8":     {at, "x.y", body(at) + "\xff", false},
		"too long":      {at, "x.y", body(at) + strings.Repeat(" ", audit.MaxRecord), false},
		"a list, alas":  {at, "x.y", "[]", false},
		"null, in fact": {at, "x.y", "null", false},
	} {
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, role)
		if err != nil {
			t.Fatal(err)
		}
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_, err = tx.Exec(ctx, `INSERT INTO audit.record (id, at, action, body) VALUES ($1, $2::text::timestamptz, $3, $4)`, id, tt.at, tt.action, []byte(tt.body))
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err := conn.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLeafNamesARecord: not even the owner gives an index to a record that is not there.
func TestLeafNamesARecord(t *testing.T) {
	_, owner := schematest.NewWithOwner(t, schema.Signer)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, owner)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var pg *pgconn.PgError
	_, err = conn.Exec(ctx, `INSERT INTO audit.leaf (idx, record, xid, n) VALUES (0, repeat('a', 32), '1', 1)`)
	if !errors.As(err, &pg) || pg.Code != "23503" {
		t.Error(err)
	}
}

// TestServerGone: a server that is killed, one that is shut down, and one that never was.
func TestServerGone(t *testing.T) {
	ctx := context.Background()
	srv, db := ownServer(t)
	try := func() error {
		return audit.Do(ctx, db, worker, func(ctx context.Context, tx *audit.Tx) error { _, err := tx.Record(ctx, event); return err })
	}
	if err := errors.Join(try(), db.Ping(ctx)); err != nil {
		t.Fatal(err)
	}
	err := audit.Do(ctx, db, worker, func(ctx context.Context, tx *audit.Tx) error {
		if _, err := tx.Record(ctx, event); err != nil {
			return err
		}
		return srv.Stop()
	})
	if !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("server stopped in the transaction: %v", err)
	}
	for range 3 {
		if err := try(); !errors.Is(err, audit.ErrUnavailable) {
			t.Errorf("server stopped: %v", err)
		}
	}
	if err := db.Ping(ctx); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("ping: %v", err)
	}
	var n int
	if err := db.Reader().QueryRow(ctx, `SELECT 1`).Scan(&n); !audit.Unavailable(err) {
		t.Errorf("read: %v", err)
	}
	if _, _, err := audit.IndexOf(ctx, db.Reader(), "x"); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("index: %v", err)
	}
	if audit.Unavailable(nil) || audit.Unavailable(errors.New("other")) || audit.Unavailable(pgx.ErrNoRows) {
		t.Error("what is not about the database is taken for it")
	}
}

func ownServer(t *testing.T) (*cluster.Server, *audit.DB) {
	t.Helper()
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "pg") // not t.TempDir: a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	srv, err := cluster.Start(ctx, cluster.Config{Dir: dir, Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Stop() })
	if _, err := schema.Migrate(ctx, srv.AdminURL("postgres"), schema.Gateway); err != nil {
		t.Fatal(err)
	}
	return srv, openURL(t, fmt.Sprintf("host=%s user=%s dbname=postgres", srv.SocketDir(), schema.Gateway.Role()))
}

// TestCommitOutcome: the connection breaks at the commit, before the server gets it and after it answered. Do says
// "unavailable" to both, and only one of them happened: that is why callers bring a unique key.
func TestCommitOutcome(t *testing.T) {
	for name, tt := range map[string]struct {
		deliver bool
		want    int64
	}{"lost on the way": {false, 0}, "answer lost": {true, 1}} {
		t.Run(name, func(t *testing.T) {
			role, _ := schematest.NewWithOwner(t, schema.Gateway)
			proxy := newProxy(t, tt.deliver)
			cut := openURL(t, strings.Replace(role, "host="+schematest.Server(t).SocketDir(), "host="+proxy.dir, 1))
			err := audit.Do(context.Background(), cut, worker, func(ctx context.Context, tx *audit.Tx) error {
				if _, err := tx.Record(ctx, event); err != nil {
					return err
				}
				proxy.armed.Store(true)
				return nil
			})
			if !errors.Is(err, audit.ErrUnavailable) {
				t.Fatalf("got %v", err)
			}
			if n := count(t, openURL(t, role)); n != tt.want {
				t.Fatalf("%d records, want %d", n, tt.want)
			}
		})
	}
}

// proxy is a socket in front of the tests' server that breaks connections at the commit once it is armed.
type proxy struct {
	dir     string
	deliver bool // whether the server gets the commit
	armed   atomic.Bool
}

func newProxy(t *testing.T, deliver bool) *proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "px")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	const socket = ".s.PGSQL.5432"
	l, err := net.Listen("unix", filepath.Join(dir, socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := &proxy{dir: dir, deliver: deliver}
	server := filepath.Join(schematest.Server(t).SocketDir(), socket)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("unix", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			go p.forward(client, upstream)
		}
	}()
	return p
}

// forward copies both ways until the commit of an armed proxy.
func (p *proxy) forward(client, upstream net.Conn) {
	defer client.Close()
	defer upstream.Close()
	var silent atomic.Bool
	answered := make(chan struct{}, 1)
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := upstream.Read(buf)
			if silent.Load() {
				answered <- struct{}{}
				return
			}
			if err != nil {
				_ = client.Close()
				return
			}
			_, _ = client.Write(buf[:n])
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if p.armed.Load() && bytes.Contains(bytes.ToLower(buf[:n]), []byte("commit")) {
			if p.deliver {
				silent.Store(true)
				_, _ = upstream.Write(buf[:n])
				<-answered
			}
			return
		}
		if _, err := io.Copy(upstream, bytes.NewReader(buf[:n])); err != nil {
			return
		}
	}
}

// TestOnlyDoEndsTransactions: a record that is rolled back to a savepoint would still let the rest commit.
func TestOnlyDoEndsTransactions(t *testing.T) {
	ctx, db := context.Background(), withCounter(t)
	for _, sql := range []string{"COMMIT", "commit;", " rollback to savepoint x", "\n\tSavepoint x", "BEGIN", "release x", "ABORT", "END", "START TRANSACTION", "PREPARE TRANSACTION 'x'"} {
		for name, call := range map[string]func(tx *audit.Tx){
			"exec":  func(tx *audit.Tx) { _, _ = tx.Exec(ctx, sql) },
			"query": func(tx *audit.Tx) { _, _ = tx.Query(ctx, sql) },
			"row":   func(tx *audit.Tx) { tx.QueryRow(ctx, sql) },
			"batch": func(tx *audit.Tx) {
				var b pgx.Batch
				b.Queue("SELECT 1")
				b.Queue(sql)
				tx.SendBatch(ctx, &b)
			},
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s %q is run", name, sql)
					}
				}()
				_ = audit.Do(ctx, db, worker, func(ctx context.Context, tx *audit.Tx) error { call(tx); return errors.New("refused") })
			}()
		}
	}
	err := audit.Do(ctx, db, worker, func(ctx context.Context, tx *audit.Tx) error {
		_, err := tx.Exec(ctx, `SELECT 1 AS "commit"`)
		return err
	})
	if !errors.Is(err, audit.ErrNothingRecorded) {
		t.Error(err)
	}
}
