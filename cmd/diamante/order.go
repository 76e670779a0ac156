package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/cmd/internal/paper"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/remote"
)

func orderCommand() *cobra.Command {
	c := &cobra.Command{Use: "order", Short: "Stop keys, or let them sign again: any officer freezes, a quorum thaws"}
	c.AddCommand(orderNewCommand(), orderSignCommand(), orderSendCommand())
	return c
}

func orderNewCommand() *cobra.Command {
	var network, key, reason string
	c := &cobra.Command{
		Use: "new freeze|thaw FILE --network PASSPHRASE --key ID|'*' --reason TEXT", Short: "Write an order that nobody has signed yet", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := networkID(network)
			if err != nil {
				return err
			}
			o := keymgmt.Order{Network: id.String(), Action: keymgmt.Action(args[0]), Key: key, Nonce: keymgmt.NewNonce(), Issued: time.Now().UTC().Truncate(time.Second), Reason: reason}
			message, err := paper.Paper{Order: &o}.Message()
			if err != nil {
				return err
			}
			raw, err := json.MarshalIndent(o, "", "  ")
			if err != nil {
				return err
			}
			f, err := os.OpenFile(args[1], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			_, err = f.Write(append(raw, '\n'))
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s%s waits for signatures\n", message, args[1])
			return err
		},
	}
	c.Flags().StringVar(&network, "network", "", "the network's passphrase")
	c.Flags().StringVar(&key, "key", "", "the key, or '*' for all of them")
	c.Flags().StringVar(&reason, "reason", "", "why, for those who read the log")
	return c
}

func orderSignCommand() *cobra.Command {
	var p pen
	c := &cobra.Command{
		Use: "sign FILE --officer NAME (--key FILE | --token FILE | --passkey)", Short: "Show an order and add your signature to its file", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var o keymgmt.Order
			if err := readStrict(args[0], &o); err != nil {
				return err
			}
			file, err := p.file()
			if err != nil {
				return err
			}
			bare := o
			bare.Signers = nil
			w := paper.Paper{Order: &bare}
			if ok, err := p.agrees(c, w); err != nil || !ok {
				return err
			}
			if err := p.check(); err != nil {
				return err
			}
			s := keymgmt.OrderSignature{Officer: p.officer}
			if s.Signature, s.Passkey, err = p.sign(c, file, w); err != nil {
				return err
			}
			o.Signers = append(o.Signers, s)
			if file != nil {
				err = file.CheckOrder(o)
			} else {
				err = o.Validate()
			}
			if err != nil {
				return fmt.Errorf("the signer would not take it: %w", err)
			}
			return replace(args[0], o)
		},
	}
	p.flags(c)
	return c
}

// replace writes an order over the file that it came from, all of it or nothing.
func replace(path string, o keymgmt.Order) error {
	raw, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".order-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it is gone if all went well
	_, err = f.Write(append(raw, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func orderSendCommand() *cobra.Command {
	var url, name string
	var files boot.TLS
	var yes bool
	c := &cobra.Command{
		Use: "send FILE --signer URL --tls-cert FILE --tls-key FILE --tls-ca FILE", Short: "Deliver an order to the signer", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var o keymgmt.Order
			if err := readStrict(args[0], &o); err != nil {
				return err
			}
			if err := o.Validate(); err != nil {
				return err
			}
			fmt.Fprint(c.OutOrStdout(), string(policy.OrderText(o)))
			for _, s := range o.Signers {
				fmt.Fprintf(c.OutOrStdout(), "signed by %s\n", s.Officer)
			}
			if !yes {
				_, err := fmt.Fprintln(c.OutOrStdout(), dryRun)
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
			if err := client.Order(c.Context(), o); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), "the signer has carried it out")
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
