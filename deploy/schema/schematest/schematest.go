// Package schematest gives each test a private, migrated PostgreSQL database.
//
// A package's tests share one private server, started on first use and stopped by Main:
//
//	func TestMain(m *testing.M) { schematest.Main(m) }
//	func TestX(t *testing.T)    { url := schematest.New(t, schema.Gateway) ... }
package schematest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/cluster"
)

var (
	start     sync.Once
	server    *cluster.Server
	serverErr error
	serverDir string

	templateMu sync.Mutex
	templates  = map[schema.Database]bool{} // guarded by templateMu
	serial     atomic.Int64
)

// Main runs the tests and stops the server, if one was started.
func Main(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	code := m.Run()
	if server != nil {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
		_ = os.RemoveAll(serverDir) // a leftover folder under the temporary directory harms nothing
	}
	return code
}

// Server returns the tests' server, started if need be.
func Server(t testing.TB) *cluster.Server {
	t.Helper()
	start.Do(func() {
		if serverDir, serverErr = os.MkdirTemp("", "pg"); serverErr != nil {
			return
		}
		server, serverErr = cluster.Start(context.Background(), cluster.Config{Dir: serverDir, Volatile: true})
	})
	if serverErr != nil {
		t.Fatal(serverErr)
	}
	return server
}

// New makes a database of its own for the test and returns a connection string for the program's role, which cannot
// change the schema.
func New(t testing.TB, d schema.Database) string {
	t.Helper()
	url, _ := NewWithOwner(t, d)
	return url
}

// NewWithOwner is New and also returns a connection string for the owner, to break in ways that the role cannot.
func NewWithOwner(t testing.TB, d schema.Database) (role, owner string) {
	t.Helper()
	srv := Server(t)
	template := "template_" + d.String()
	name := fmt.Sprintf("t%d", serial.Add(1))
	ctx := context.Background()
	templateMu.Lock()
	defer templateMu.Unlock()
	if !templates[d] {
		exec(t, srv, "postgres", "CREATE DATABASE "+template)
		if _, err := schema.Migrate(ctx, srv.AdminURL(template), d); err != nil {
			t.Fatal(err)
		}
		templates[d] = true
	}
	exec(t, srv, "postgres", "CREATE DATABASE "+name+" TEMPLATE "+template)
	t.Cleanup(func() { exec(t, srv, "postgres", "DROP DATABASE "+name+" WITH (FORCE)") })
	role = fmt.Sprintf("host=%s user=%s dbname=%s", srv.SocketDir(), d.Role(), name)
	return role, srv.AdminURL(name)
}

// Durable makes the tests' server keep what it has committed, as a server in production does, for the rest of the run. Tests
// never survive a crash of the machine and do without; what it costs must be in what a benchmark measures.
func Durable(t testing.TB) {
	t.Helper()
	srv := Server(t)
	for _, setting := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		exec(t, srv, "postgres", "ALTER SYSTEM SET "+setting+" = on")
	}
	exec(t, srv, "postgres", "SELECT pg_reload_conf()")
}

func exec(t testing.TB, srv *cluster.Server, database, sql string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, srv.AdminURL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatal(err)
	}
}
