package cluster_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/deploy/schema/cluster"
)

// folder makes a folder that the server's own user can enter, where root runs the tests.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func start(t *testing.T, dir string) *cluster.Server {
	t.Helper()
	s, err := cluster.Start(context.Background(), cluster.Config{Dir: dir, Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestDataSurvivesARestart(t *testing.T) {
	ctx, dir := context.Background(), folder(t)
	first := start(t, dir)
	exec(t, first, "CREATE TABLE x (n integer); INSERT INTO x VALUES (7)")
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	<-first.Done()
	second := start(t, dir)
	conn, err := pgx.Connect(ctx, second.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var n int
	if err := conn.QueryRow(ctx, "SELECT n FROM x").Scan(&n); err != nil || n != 7 {
		t.Errorf("got %d, %v", n, err)
	}
}

func TestNoPortWithoutTLS(t *testing.T) {
	if _, err := cluster.Start(context.Background(), cluster.Config{Dir: folder(t), Port: 1}); err == nil {
		t.Error("a server listens on TCP without a certificate")
	}
}

func TestUnixSocketOnly(t *testing.T) {
	s := start(t, folder(t))
	exec(t, s, "SELECT 1")
	if _, err := os.Stat(filepath.Join(s.SocketDir(), ".s.PGSQL.5432")); err != nil {
		t.Error(err)
	}
	conn, err := pgx.Connect(context.Background(), s.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var addresses string
	if err := conn.QueryRow(context.Background(), "SHOW listen_addresses").Scan(&addresses); err != nil || addresses != "" {
		t.Errorf("it listens on %q, %v", addresses, err)
	}
}

func TestFolderThatCannotBe(t *testing.T) {
	file := filepath.Join(folder(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var notDir *net.OpError
	_, err := cluster.Start(context.Background(), cluster.Config{Dir: filepath.Join(file, "x"), Volatile: true})
	if err == nil || errors.As(err, &notDir) {
		t.Errorf("got %v", err)
	}
}

func exec(t *testing.T, s *cluster.Server, sql string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatal(err)
	}
}
