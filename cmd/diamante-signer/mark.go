package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11"
	"github.com/diamante/gateway/keymgmt/service"
)

// mark shows the device's mark, and on the word of an operator who says why, begins a new epoch with the database as it is.
func mark(ctx context.Context, cfg *Config, o options, stdout io.Writer) error {
	return withRing(cfg, false, func(ring *pkcs11.Keyring) error {
		found, err := ring.Mark(ctx)
		switch {
		case errors.Is(err, keymgmt.ErrNoMark):
			_, err = fmt.Fprintf(stdout, "token %q has no mark\n", cfg.PKCS11.TokenLabel)
		case err == nil:
			_, err = fmt.Fprintf(stdout, "token %q: %s\n", cfg.PKCS11.TokenLabel, found)
		}
		if err != nil || o.accept == "" {
			return err
		}
		if !o.yes {
			_, err := fmt.Fprintf(stdout, "would take the database as it is for the whole journal, since %q\n%s\n", o.accept, dryRun)
			return err
		}
		url, err := boot.Secret(cfg.Database.URLFile)
		if err != nil {
			return err
		}
		db, err := audit.Open(ctx, url, 1)
		if err != nil {
			return err
		}
		defer db.Close()
		accepted, err := service.AcceptLoss(ctx, db, ring, o.accept)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(stdout, "accepted: %s\n", accepted)
		return err
	})
}
