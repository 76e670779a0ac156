package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11"
	"github.com/diamante/gateway/keymgmt/policy"
)

const dryRun = "nothing was changed; add --yes to do it"

// initToken makes the token that the configuration names.
func initToken(_ context.Context, cfg *Config, o options, stdout io.Writer) error {
	pin, err := boot.SecretBytes(cfg.PKCS11.PINFile)
	if err != nil {
		return err
	}
	defer clear(pin)
	officer, err := boot.SecretBytes(o.soPINFile)
	if err != nil {
		return err
	}
	defer clear(officer)
	if cfg.PKCS11.TokenSerial != "" {
		return errors.New("the serial number of a new token is not known: leave pkcs11.token_serial out")
	}
	if err := cfg.PKCS11.environment(); err != nil {
		return err
	}
	if !o.yes {
		_, err := fmt.Fprintf(stdout, "would make token %q with the library %s\n%s\n", cfg.PKCS11.TokenLabel, cfg.PKCS11.Module, dryRun)
		return err
	}
	err = pkcs11.InitToken(pkcs11.NewToken{Module: cfg.PKCS11.Module, Label: cfg.PKCS11.TokenLabel, SOPIN: officer, PIN: pin})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "made token %q\n", cfg.PKCS11.TokenLabel)
	return err
}

// maker is a home where keys can be made.
type maker interface {
	Public(ctx context.Context, id keymgmt.KeyID) (keymgmt.PublicKey, error)
	Generate(ctx context.Context, id keymgmt.KeyID, a keymgmt.Algorithm) (keymgmt.PublicKey, error)
}

// keygen makes keys, each in the home that the configuration gives it, and prints their addresses. It stops at the first
// that cannot be made; those before it stay.
func keygen(ctx context.Context, cfg *Config, o options, stdout io.Writer) error {
	there, here := cfg.split(o.keys)
	if len(there) > 0 {
		err := withVault(ctx, cfg, func(ctx context.Context, v vaultMaker) error {
			o.keys = there
			return makeKeys(ctx, place{v, "Vault"}, o, stdout)
		})
		if err != nil {
			return err
		}
	}
	if len(here) > 0 && cfg.PKCS11 == nil {
		return fmt.Errorf("%w: %s: the configuration names no token, and Vault without it", keymgmt.ErrUnknownKey, here[0])
	}
	if len(here) > 0 {
		return withRing(cfg, false, func(ring *pkcs11.Keyring) error {
			o.keys = here
			return makeKeys(ctx, place{ring, fmt.Sprintf("token %q", cfg.PKCS11.TokenLabel)}, o, stdout)
		})
	}
	return nil
}

// split divides ids into those that Vault has and all others.
func (c *Config) split(ids []keymgmt.KeyID) (there, here []keymgmt.KeyID) {
	for _, id := range ids {
		if c.Vault != nil && c.Vault.has(id) {
			there = append(there, id)
		} else {
			here = append(here, id)
		}
	}
	return there, here
}

// place is a home with its name for people.
type place struct {
	maker
	name string
}

func makeKeys(ctx context.Context, home place, o options, stdout io.Writer) error {
	for _, id := range o.keys {
		if _, err := home.Public(ctx, id); err == nil {
			return fmt.Errorf("%w: key %s", pkcs11.ErrExists, id)
		} else if !errors.Is(err, keymgmt.ErrUnknownKey) {
			return err
		}
		if !o.yes {
			if _, err := fmt.Fprintf(stdout, "would make key %s in %s\n", id, home.name); err != nil {
				return err
			}
			continue
		}
		public, err := home.Generate(ctx, id, o.algorithm)
		if err != nil {
			return err
		}
		address, err := policy.PublicKey{PublicKey: public}.MarshalText()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(stdout, "%s %s\n", id, address); err != nil {
			return err
		}
	}
	if !o.yes {
		_, err := fmt.Fprintln(stdout, dryRun)
		return err
	}
	return nil
}

// keyRow is one line of the list of keys.
type keyRow struct {
	Key     string `json:"key"`               // the label on the token, or the id
	Home    string `json:"home"`              // as in the policy
	Address string `json:"address,omitempty"` // the public key as an account
	Fault   string `json:"fault,omitempty"`   // why the signer would not use it
}

func newRow(label string, home keymgmt.Home, public keymgmt.PublicKey, fault error) (keyRow, error) {
	row := keyRow{Key: label, Home: home.String()}
	if fault != nil {
		row.Fault = fault.Error()
		return row, nil
	}
	address, err := policy.PublicKey{PublicKey: public}.MarshalText()
	row.Address = string(address)
	return row, err
}

func listKeys(ctx context.Context, cfg *Config, o options, stdout io.Writer) error {
	rows := []keyRow{}
	if cfg.Vault != nil {
		err := withVault(ctx, cfg, func(ctx context.Context, v vaultMaker) error {
			for _, k := range v.ring.Status(ctx) {
				if v.ring.Home(k.ID) == 0 { // it seals
					continue
				}
				row, err := newRow(k.ID.String(), v.ring.Home(k.ID), k.Public, k.Err)
				if err != nil {
					return err
				}
				rows = append(rows, row)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if cfg.PKCS11 != nil {
		err := withRing(cfg, false, func(ring *pkcs11.Keyring) error {
			list, err := ring.List(ctx)
			if err != nil {
				return err
			}
			for _, item := range list {
				row, err := newRow(item.Label, keymgmt.Hardware, item.Public, item.Fault)
				if err != nil {
					return err
				}
				rows = append(rows, row)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return printRows(stdout, rows, o.json)
}

func printRows(stdout io.Writer, rows []keyRow, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(rows)
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		// Labels are not ours: quoted where they are no key id, they cannot play tricks with a terminal.
		name := row.Key
		if _, err := keymgmt.ParseKeyID(name); err != nil {
			name = fmt.Sprintf("%q", name)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", name, row.Address, row.Home, row.Fault)
	}
	return w.Flush()
}

// tryPIN logs in once, past the signer's refusal to touch a token that remembers a wrong PIN.
func tryPIN(ctx context.Context, cfg *Config, o options, stdout io.Writer) error {
	if !o.yes {
		_, err := fmt.Fprintf(stdout, "would try the PIN of token %q once; a wrong one may lock it\n%s\n", cfg.PKCS11.TokenLabel, dryRun)
		return err
	}
	return withRing(cfg, true, func(ring *pkcs11.Keyring) error {
		if err := ring.Ping(ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintln(stdout, "the PIN is right; start the signer again")
		return err
	})
}

func withRing(cfg *Config, retryPIN bool, do func(ring *pkcs11.Keyring) error) error {
	ring, err := cfg.PKCS11.open(retryPIN)
	if err != nil {
		return err
	}
	return errors.Join(do(ring), ring.Close())
}
