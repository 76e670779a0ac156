package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/evidence"
)

// How long the evidence waits for a checkpoint that covers it, and how often it looks.
const (
	evidencePatience = 30 * time.Second
	evidencePause    = 200 * time.Millisecond
)

// evidenceFlags are the flags of the command evidence.
func evidenceFlags(f *flag.FlagSet, o *options) {
	f.Func("key", "id of the key", func(s string) (err error) { o.of.Key, err = keymgmt.ParseKeyID(s); return err })
	f.StringVar(&o.of.Ref, "ref", "", "ref of the request")
	f.StringVar(&o.of.Order, "order", "", "nonce of an order to freeze or thaw, instead of a request")
	f.Uint64Var(&o.of.Policy, "policy", 0, "version of a policy, instead of a request")
	f.BoolVar(&o.withoutPolicy, "without-policy", false, "leave the policy out, and with it what only the policy shows")
	f.StringVar(&o.out, "out", "", "file to write")
}

// writeEvidence writes the evidence of one request, order or policy into a new file. It changes nothing else, and needs
// neither the token nor a running signer, except one that signs the log so far.
func writeEvidence(ctx context.Context, cfg *Config, o options, stdout io.Writer) error {
	rules, err := cfg.load()
	if err != nil {
		return err
	}
	name, err := cfg.TLS.Name()
	if err != nil {
		return err
	}
	key, err := cfg.logKey(rules, name)
	if err != nil {
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
	file, err := awaitEvidence(ctx, db.Reader(), key, o)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(o.out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := out.Write(file); err != nil {
		return errors.Join(err, out.Close())
	}
	if err := out.Close(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "%s: %d bytes\n", o.out, len(file)); err != nil {
		return err
	}
	if _, err = evidence.Verify(file, key); err != nil { // the file is what is stored all the same, and may be read by the program of its time
		return fmt.Errorf("%s is written, but: %w", o.out, err)
	}
	return nil
}

// awaitEvidence waits until a checkpoint covers what is asked for.
func awaitEvidence(ctx context.Context, r audit.Reader, key audit.LogKey, o options) ([]byte, error) {
	patience, cancel := context.WithTimeout(ctx, evidencePatience)
	defer cancel()
	tick := time.NewTicker(evidencePause)
	defer tick.Stop()
	for {
		file, err := evidence.Make(ctx, r, key, o.of, o.withoutPolicy)
		if !errors.Is(err, evidence.ErrNotSigned) {
			return file, err
		}
		select {
		case <-patience.Done():
			return nil, fmt.Errorf("%w: is a signer running that can sign with %s?", err, key.Origin())
		case <-tick.C:
		}
	}
}
