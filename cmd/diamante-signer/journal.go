package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
)

// exportJournal writes what the signer has allowed, one request a line as JSON, for "diamante policy simulate". It reads
// the database and touches nothing else.
func exportJournal(ctx context.Context, cfg *Config, _ options, stdout io.Writer) error {
	url, err := boot.Secret(cfg.Database.URLFile)
	if err != nil {
		return err
	}
	db, err := audit.Open(ctx, url, 1)
	if err != nil {
		return err
	}
	defer db.Close()
	out := bufio.NewWriter(stdout)
	enc := json.NewEncoder(out)
	err = service.Export(ctx, db.Reader(), func(p policy.Past) error { return enc.Encode(p) })
	return errors.Join(err, out.Flush())
}
