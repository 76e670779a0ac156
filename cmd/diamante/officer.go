package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/node/protocol"
)

func officerCommand() *cobra.Command {
	c := &cobra.Command{Use: "officer", Short: "An officer's own key"}
	c.AddCommand(officerEnrolCommand(), &cobra.Command{
		Use: "keygen FILE", Short: "Make an officer's key and print its address", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			public, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return err
			}
			der, err := x509.MarshalPKCS8PrivateKey(private)
			if err != nil {
				return err
			}
			out, err := os.OpenFile(args[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			if err := errors.Join(pem.Encode(out, &pem.Block{Type: "PRIVATE KEY", Bytes: der}), out.Close()); err != nil {
				return err
			}
			address, err := protocol.AccountIDFromKey(public)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), address)
			return err
		},
	})
	return c
}

// readOfficer reads an officer's key. The file must be his alone.
func readOfficer(path string) (ed25519.PrivateKey, error) {
	raw, err := boot.SecretBytes(path)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	block, rest := pem.Decode(raw)
	if block == nil || len(rest) > 0 || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s holds no private key in PEM", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s holds no Ed25519 key", path)
	}
	return key, nil
}
