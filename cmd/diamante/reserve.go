package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/remote"
	"github.com/diamante/gateway/node/protocol"
)

// sendTimeout is how long the signer may take to accept an attestation.
const sendTimeout = 30 * time.Second

func reserveCommand() *cobra.Command {
	c := &cobra.Command{Use: "reserve", Short: "Say what stands behind an asset, for the signer to hold its issuer to"}
	c.AddCommand(reserveAttestCommand(), reserveSendCommand())
	return c
}

func reserveAttestCommand() *cobra.Command {
	var a keymgmt.Attestation
	var network, closed, key string
	var yes bool
	c := &cobra.Command{
		Use: "attest --network PASSPHRASE --asset CODE:ISSUER --reserve N --outstanding N --ledger N --closed TIME --sequence N --attestor NAME --key ATTESTOR_KEY", Args: cobra.NoArgs,
		Short: "Show an attestation of a reserve, and sign it",
		RunE: func(c *cobra.Command, _ []string) error {
			id, err := networkID(network)
			if err != nil {
				return err
			}
			if a.Closed, err = time.Parse(time.RFC3339, closed); err != nil {
				return fmt.Errorf("closed: %w", err)
			}
			a.Issued = time.Now().UTC().Truncate(time.Second)
			if err := inFull(&a.Reserve, &a.Outstanding); err != nil {
				return err
			}
			if !yes {
				_, err := fmt.Fprintf(c.OutOrStdout(), "%snothing was signed; add --yes to sign exactly this\n", policy.AttestationText(id, a))
				return err
			}
			private, err := readOfficer(key)
			if err != nil {
				return err
			}
			signed, err := policy.SignAttestation(id, a, private)
			if err != nil {
				return err
			}
			return json.NewEncoder(c.OutOrStdout()).Encode(signed)
		},
	}
	f := c.Flags()
	f.StringVar(&network, "network", "", "the network's passphrase")
	f.StringVar(&a.Asset, "asset", "", "the asset, CODE:ISSUER")
	f.StringVar(&a.Reserve, "reserve", "", "what is held for it")
	f.StringVar(&a.Outstanding, "outstanding", "", "all of it on the ledger that is not the issuer's, claimable balances and pools included")
	f.Int64Var(&a.Ledger, "ledger", 0, "the number of the closed ledger that this is of")
	f.StringVar(&closed, "closed", "", "that ledger's close time, as 2026-01-31T12:00:00Z")
	f.Int64Var(&a.Sequence, "sequence", 0, "the issuing account's sequence number at that ledger; 0 if it is not known")
	f.StringVar(&a.Attestor, "attestor", "", "your name in the policy")
	f.StringVar(&key, "key", "", "file with your private key")
	f.BoolVar(&yes, "yes", false, "do it")
	return c
}

func reserveSendCommand() *cobra.Command {
	var url, name string
	var files boot.TLS
	var yes bool
	c := &cobra.Command{
		Use: "send ATTESTATION.json --signer URL --tls-cert FILE --tls-key FILE --tls-ca FILE", Args: cobra.ExactArgs(1),
		Short: "Deliver an attestation to the signer",
		RunE: func(c *cobra.Command, args []string) error {
			var a keymgmt.Attestation
			if err := readStrict(args[0], &a); err != nil {
				return err
			}
			if err := a.Validate(); err != nil {
				return err
			}
			if !yes {
				_, err := fmt.Fprintf(c.OutOrStdout(), "%s attests %s in reserve for %s, of which %s are outstanding at ledger %d\n%s\n", a.Attestor, a.Reserve, a.Asset,
					a.Outstanding, a.Ledger, dryRun)
				return err
			}
			tlsConfig, err := files.ClientConfig(name)
			if err != nil {
				return err
			}
			client, err := remote.NewClient(remote.Config{URL: url, TLS: tlsConfig, Timeout: sendTimeout})
			if err != nil {
				return err
			}
			defer client.Close()
			if err := client.Attest(c.Context(), a); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), "the signer has it")
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&url, "signer", "", "where the signer is, https://HOST:PORT")
	f.StringVar(&name, "signer-name", "", "the name in the signer's certificate, if it is not the host")
	f.StringVar(&files.Cert, "tls-cert", "", "file with your certificate")
	f.StringVar(&files.Key, "tls-key", "", "file with its private key")
	f.StringVar(&files.CA, "tls-ca", "", "file with the authority of the signer's certificate")
	f.BoolVar(&yes, "yes", false, "do it")
	return c
}

func networkID(passphrase string) (protocol.Hash, error) {
	p := protocol.Passphrase(passphrase)
	return p.NetworkID(), p.Validate()
}

// inFull writes amounts with all their decimals, as they are signed.
func inFull(amounts ...*string) error {
	for _, a := range amounts {
		q, err := policy.ParseQuantity(*a)
		if err != nil {
			return err
		}
		*a = q.String()
	}
	return nil
}

// readStrict reads a file of one JSON value without unknown fields.
func readStrict(path string, v any) error {
	raw, err := boot.ReadFile(path, maxRequestFile)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: something follows the JSON value", path)
	}
	return nil
}
