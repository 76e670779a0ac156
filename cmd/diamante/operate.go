package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/node/genesis"
	"github.com/diamante/gateway/node/ledger"
	"github.com/diamante/gateway/node/protocol"
)

const dryRun = "nothing was changed; add --yes to do it"

// defaults of a new network, those of the Stellar family: stroops per operation and per entry.
const (
	genesisFee      = 100
	genesisReserve  = 5_000_000
	genesisProtocol = 22
	genesisTxSet    = 5000
)

func migrateCommand() *cobra.Command {
	var urlFile, which string
	var yes bool
	c := &cobra.Command{
		Use: "migrate", Short: "Bring a database to the newest schema, as its owner", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			d, ok := map[string]schema.Database{"gateway": schema.Gateway, "signer": schema.Signer}[which]
			if !ok {
				return fmt.Errorf("no database %q: gateway or signer", which)
			}
			url, err := boot.Secret(urlFile)
			if err != nil {
				return err
			}
			if !yes {
				pending, err := schema.Pending(c.Context(), url, d)
				if err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "would apply %d files\n%s\n", pending, dryRun)
				return nil
			}
			n, err := schema.Migrate(c.Context(), url, d)
			fmt.Fprintf(c.OutOrStdout(), "applied %d files\n", n)
			return err
		},
	}
	c.Flags().StringVar(&which, "database", "", "gateway or signer")
	c.Flags().StringVar(&urlFile, "url-file", "", "file with the owner's connection string; mode 0600")
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	return c
}

func genesisCommand() *cobra.Command {
	var passphrase, root, supply, out string
	var yes bool
	c := &cobra.Command{
		Use: "genesis", Short: "Make the file that a network begins with", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			g := ledger.Genesis{Passphrase: protocol.Passphrase(passphrase), BaseFee: genesisFee, BaseReserve: genesisReserve,
				Protocol: genesisProtocol, MaxTxSetSize: genesisTxSet, CloseTime: time.Now().UTC().Truncate(time.Second)}
			var err error
			if g.Root, err = protocol.ParseAccountID(root); err != nil {
				return err
			}
			if g.Supply, err = protocol.ParseAmount(supply); err != nil {
				return err
			}
			if err := g.Validate(); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "network  %s\nid       %s\nroot     %s\nsupply   %s DIAM\n", g.Passphrase, g.Passphrase.NetworkID(), g.Root, g.Supply)
			if !yes {
				fmt.Fprintln(c.OutOrStdout(), dryRun)
				return nil
			}
			if _, err := os.Stat(out); err == nil {
				return fmt.Errorf("%s exists; a genesis is never overwritten", out)
			}
			return genesis.Write(out, g)
		},
	}
	c.Flags().StringVar(&passphrase, "passphrase", "", "the network's passphrase")
	c.Flags().StringVar(&root, "root", "", "address of the root account, from the HSM")
	c.Flags().StringVar(&supply, "supply", "", "number of DIAM that the root account begins with")
	c.Flags().StringVar(&out, "out", "genesis.toml", "file to write")
	c.Flags().BoolVar(&yes, "yes", false, "write it")
	return c
}

// sibling runs another of our programs, the one beside this one or else the one that a shell would find, as if it had been
// typed: with the same input and output, asked to end when this one is, and its exit status becomes ours.
func sibling(c *cobra.Command, name string, args ...string) error {
	path := filepath.Join(ownDir(), name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if path, err = exec.LookPath(name); err != nil {
			return fmt.Errorf("%s is neither beside this program nor in PATH: %w", name, err)
		}
	}
	cmd := exec.CommandContext(c.Context(), path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it finishes what it has begun
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, c.OutOrStdout(), os.Stderr
	return cmd.Run()
}

func keysCommand() *cobra.Command {
	var config string
	var asJSON bool
	c := &cobra.Command{
		Use: "keys", Short: "List the keys of a signer on this host", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			args := []string{"keys", "-config", config}
			if asJSON {
				args = append(args, "--json")
			}
			return sibling(c, "diamante-signer", args...)
		},
	}
	c.Flags().StringVar(&config, "config", "", "the signer's configuration file")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(ceremonyCommand(), witnessCommand(), verifyCommand(), rotateCommand())
	return c
}

func hsmCommand() *cobra.Command {
	var config, out string
	var asJSON, yes bool
	doctor := &cobra.Command{
		Use: "doctor", Short: "Exercise a device that is not in use yet, and say how it behaves", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			args := []string{"doctor", "-config", config, fmt.Sprintf("-json=%t", asJSON), fmt.Sprintf("-yes=%t", yes)}
			if out != "" {
				args = append(args, "-out", out)
			}
			return sibling(c, "diamante-signer", args...)
		},
	}
	doctor.Flags().StringVar(&config, "config", "", "the signer's configuration file, which names library, token and PIN")
	doctor.Flags().StringVar(&out, "out", "", "file to make, with the profile as JSON")
	doctor.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	doctor.Flags().BoolVar(&yes, "yes", false, "do it")
	c := &cobra.Command{Use: "hsm", Short: "Look after a hardware security module"}
	c.AddCommand(doctor, markCommand())
	return c
}

func markCommand() *cobra.Command {
	var config, reason string
	var yes bool
	c := &cobra.Command{
		Use: "mark", Short: "Show what the device remembers of the signer's database; after a loss, take the database as it is", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return sibling(c, "diamante-signer", "mark", "-config", config, "-accept-loss", reason, fmt.Sprintf("-yes=%t", yes))
		},
	}
	c.Flags().StringVar(&config, "config", "", "the signer's configuration file")
	c.Flags().StringVar(&reason, "accept-loss", "", "why the database is to be taken as it is; it is recorded")
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	return c
}

func checkConfigCommand() *cobra.Command {
	var config string
	c := &cobra.Command{
		Use: "check-config PROGRAM", Short: "Read a program's configuration and what it names", Args: cobra.ExactArgs(1),
		ValidArgs: []string{"node", "signer", "gateway"},
		RunE: func(c *cobra.Command, args []string) error {
			switch args[0] {
			case "signer":
				return sibling(c, "diamante-signer", "check-config", "-config", config)
			case "node", "gateway":
				return sibling(c, "diamante-"+args[0], "-check-config", "-config", config)
			}
			return errors.New("PROGRAM is node, signer or gateway")
		},
	}
	c.Flags().StringVar(&config, "config", "", "the program's configuration file")
	return c
}
