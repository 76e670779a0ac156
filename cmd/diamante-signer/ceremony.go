package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/ceremony"
	"github.com/diamante/gateway/keymgmt/pkcs11"
)

// maxWrapped bounds a file with a wrapped key, in bytes.
const maxWrapped = 64 << 10

// keyCeremony shows a plan and how far its transcript got, and with --yes goes on: it begins the transcript, or does what is
// left once there are enough witnesses.
func keyCeremony(ctx context.Context, cfg *Config, o options, stdout io.Writer) error {
	raw, err := boot.ReadFile(o.plan, ceremony.MaxPlan)
	if err != nil {
		return err
	}
	plan, err := ceremony.ParsePlan(raw)
	if err != nil {
		return err
	}
	for _, words := range plan.Words() {
		fmt.Fprintln(stdout, words)
	}
	file, err := openTranscript(plan, o)
	if err != nil {
		return err
	}
	if file == nil {
		_, err := fmt.Fprintf(stdout, "would begin transcript %s\n%s\n", o.transcript, dryRun)
		return err
	}
	err = goOn(ctx, cfg, file, o.yes)
	for _, words := range file.Report().Words() {
		fmt.Fprintln(stdout, words)
	}
	if n := file.Waiting(); n > 0 {
		fmt.Fprintf(stdout, "%d witnesses have yet to sign: diamante keys witness %s\n", n, o.transcript)
	} else if !o.yes && !file.Closed() {
		fmt.Fprintln(stdout, dryRun)
	}
	return errors.Join(err, file.Close())
}

// openTranscript opens the transcript of the plan, or begins it; nil for one that a dry run would begin.
func openTranscript(plan ceremony.Plan, o options) (*ceremony.File, error) {
	file, err := ceremony.OpenFile(o.transcript)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !o.yes:
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return ceremony.CreateFile(o.transcript, plan, time.Now())
	case err != nil:
		return nil, err
	}
	if file.Plan().Hash() != plan.Hash() {
		return nil, errors.Join(fmt.Errorf("%s is the transcript of another plan, %x", o.transcript, file.Plan().Hash()), file.Close())
	}
	return file, nil
}

// goOn does what is left, if it is time.
func goOn(ctx context.Context, cfg *Config, file *ceremony.File, yes bool) error {
	if !yes || file.Closed() || file.Waiting() > 0 {
		return nil
	}
	if err := cfg.PKCS11.environment(); err != nil {
		return err
	}
	keyring := cfg.PKCS11.keyring(false)
	wrappable, imported := file.Plan().Outside()
	keyring.Wrappable, keyring.Imported = append(keyring.Wrappable, wrappable...), append(keyring.Imported, imported...)
	ring, err := pkcs11.Open(keyring)
	if err != nil {
		return err
	}
	identity, err := ring.Identify(ctx)
	if err == nil {
		err = ceremony.Run(ctx, file.Transcript, ceremony.Config{Device: token{ring}, Token: ceremony.Token{Label: identity.Label, Serial: identity.Serial},
			Append: file.Append, Write: ceremony.WriteFile, Now: time.Now,
			Read: func(path string) ([]byte, error) { return boot.ReadFile(path, maxWrapped) }})
	}
	return errors.Join(err, ring.Close())
}

// token is the device of a ceremony.
type token struct{ ring *pkcs11.Keyring }

// sentinels gives an error of the keyring the name that a ceremony knows it by.
func sentinels(err error) error {
	for from, to := range map[error]error{pkcs11.ErrExists: ceremony.ErrExists, pkcs11.ErrCannotWrap: ceremony.ErrCannotWrap} {
		if errors.Is(err, from) {
			return fmt.Errorf("%w: %w", to, err)
		}
	}
	return err
}

// Generate is part of ceremony.Device.
func (t token) Generate(ctx context.Context, n ceremony.New) (err error) {
	switch {
	case n.Algorithm == 0:
		err = t.ring.GenerateSecret(ctx, n.Key, pkcs11.Wrapping)
	case n.Wrappable:
		_, err = t.ring.GenerateWrappable(ctx, n.Key, n.Algorithm)
	default:
		_, err = t.ring.Generate(ctx, n.Key, n.Algorithm)
	}
	return sentinels(err)
}

// Prove is part of ceremony.Device.
func (t token) Prove(ctx context.Context, key keymgmt.KeyID, challenge [sha256.Size]byte) (ceremony.Proof, error) {
	p, err := t.ring.Prove(ctx, key, challenge)
	return ceremony.Proof{Public: p.Public, Traits: p.Traits, Signature: p.Signature}, err
}

// Wrap is part of ceremony.Device.
func (t token) Wrap(ctx context.Context, key, wrapping keymgmt.KeyID) ([]byte, error) {
	wrapped, err := t.ring.Wrap(ctx, wrapping, key)
	if err != nil {
		return nil, sentinels(err)
	}
	return json.Marshal(wrapped)
}

// Unwrap is part of ceremony.Device.
func (t token) Unwrap(ctx context.Context, key keymgmt.KeyID, wrapped []byte) error {
	var w pkcs11.Wrapped
	d := json.NewDecoder(bytes.NewReader(wrapped))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		return fmt.Errorf("not a wrapped key: %w", err)
	}
	_, err := t.ring.Unwrap(ctx, w, key)
	return sentinels(err)
}

// Destroy is part of ceremony.Device.
func (t token) Destroy(ctx context.Context, key keymgmt.KeyID) error { return t.ring.Destroy(ctx, key) }
