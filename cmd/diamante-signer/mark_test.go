package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/deploy/schema/schematest"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/service"
)

// The signer's database is put back to what it was a while ago, while the signer is down. The token remembers.
func TestDatabasePutBack(t *testing.T) {
	r := newKeyedRig(t)
	url, err := os.ReadFile(r.cfg.Database.URLFile)
	r.must(err)
	_, database, _ := strings.Cut(string(url), "dbname=")
	server := func(statements ...string) {
		conn, err := pgx.Connect(t.Context(), schematest.Server(t).AdminURL("postgres"))
		r.must(err)
		defer conn.Close(t.Context())
		for _, sql := range statements {
			_, err := conn.Exec(t.Context(), fmt.Sprintf(sql, database))
			r.must(err)
		}
	}
	signed := func(n int) {
		p := r.serve()
		c := r.client(p, gatewayName)
		keytest.Until(t, func(ctx context.Context) error { _, err := c.Sign(ctx, r.issue(n)); return err })
		r.must(p.stop())
	}
	signed(0)
	server("CREATE DATABASE %[1]s_copy TEMPLATE %[1]s")
	signed(1)
	server("DROP DATABASE %s WITH (FORCE)", "ALTER DATABASE %[1]s_copy RENAME TO %[1]s")
	if _, err := r.run("serve"); !errors.Is(err, service.ErrRollback) {
		t.Fatal(err)
	}

	if out, err := r.run("mark", "-accept-loss", "restored"); err != nil || !strings.Contains(out, "epoch 1, policy 1") || !strings.Contains(out, dryRun) {
		t.Fatal(out, err)
	}
	if _, err := r.run("serve"); !errors.Is(err, service.ErrRollback) {
		t.Fatal("after a dry run:", err)
	}
	if out, err := r.run("mark", "-accept-loss", "restored", "--yes"); err != nil || !strings.Contains(out, "accepted: epoch 2, policy 1") {
		t.Fatal(out, err)
	}
	signed(2)
}
