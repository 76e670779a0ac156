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

// keygen makes keys inside the token and prints their addresses. It stops at the first that cannot be made; those
// before it stay.
func keygen(ctx context.Context, cfg *Config, o options, stdout io.Writer) error {
	return withRing(cfg, false, func(ring *pkcs11.Keyring) error {
		for _, id := range o.keys {
			if _, err := ring.Public(ctx, id); err == nil {
				return fmt.Errorf("%w: key %s", pkcs11.ErrExists, id)
			} else if !errors.Is(err, keymgmt.ErrUnknownKey) {
				return err
			}
			if !o.yes {
				if _, err := fmt.Fprintf(stdout, "would make key %s in token %q\n", id, cfg.PKCS11.TokenLabel); err != nil {
					return err
				}
				continue
			}
			public, err := ring.Generate(ctx, id, o.algorithm)
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
	})
}

// keyRow is one line of the list of keys.
type keyRow struct {
	Key     string `json:"key"`               // the label on the token
	Address string `json:"address,omitempty"` // the public key as an account
	Fault   string `json:"fault,omitempty"`   // why the signer would not use it
}

func listKeys(ctx context.Context, cfg *Config, o options, stdout io.Writer) error {
	return withRing(cfg, false, func(ring *pkcs11.Keyring) error {
		list, err := ring.List(ctx)
		if err != nil {
			return err
		}
		rows := make([]keyRow, 0, len(list))
		for _, item := range list {
			row := keyRow{Key: item.Label}
			if item.Fault != nil {
				row.Fault = item.Fault.Error()
			} else {
				address, err := policy.PublicKey{PublicKey: item.Public}.MarshalText()
				if err != nil {
					return err
				}
				row.Address = string(address)
			}
			rows = append(rows, row)
		}
		if o.json {
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
			fmt.Fprintf(w, "%s\t%s\t%s\n", name, row.Address, row.Fault)
		}
		return w.Flush()
	})
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
