package main

import (
	"bufio"
	"crypto"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/keymgmt/policy"
)

// maxRequestFile bounds a request that an officer is shown, in bytes of JSON.
const maxRequestFile = 256 << 10

func policyCommand() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Write, check and sign what the signer may sign"}
	c.AddCommand(policyFile.commands()...)
	c.AddCommand(simulateCommand())
	return c
}

func listCommand() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "Write, check and sign a list of destinations or of officers that a policy names"}
	c.AddCommand(listFile.commands()...)
	return c
}

// document is what officers read in words before they sign it.
type document interface {
	Explain() []string
	Lint() []string
}

// kindOfFile is what can be done with one kind of file of officers.
type kindOfFile struct {
	what string
	read func(raw []byte) (document, error)
	sign func(raw []byte, officer crypto.Signer) ([]byte, error)
}

var (
	policyFile = kindOfFile{"a policy", func(raw []byte) (document, error) { f, err := policy.Check(raw); return &f, err }, policy.Sign}
	listFile   = kindOfFile{"a list", func(raw []byte) (document, error) { l, err := policy.CheckList(raw); return &l, err }, policy.SignList}
)

func (k kindOfFile) commands() []*cobra.Command {
	return []*cobra.Command{k.readCommand("explain", "Say in words what "+k.what+" allows", document.Explain),
		k.readCommand("lint", "Say what in "+k.what+" is unwise", document.Lint), k.signCommand()}
}

// open reads a file and what it says.
func (k kindOfFile) open(path string) ([]byte, document, error) {
	raw, err := boot.ReadFile(path, policy.MaxFile)
	if err != nil {
		return nil, nil, err
	}
	d, err := k.read(raw)
	return raw, d, err
}

func (k kindOfFile) readCommand(use, short string, say func(document) []string) *cobra.Command {
	return &cobra.Command{
		Use: use + " FILE", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			_, d, err := k.open(args[0])
			if err != nil {
				return err
			}
			out := bufio.NewWriter(c.OutOrStdout())
			for _, line := range say(d) {
				fmt.Fprintln(out, line)
			}
			return out.Flush()
		},
	}
}

func (k kindOfFile) signCommand() *cobra.Command {
	var key string
	var yes bool
	c := &cobra.Command{
		Use: "sign FILE --key OFFICER_KEY", Short: "Add an officer's line to FILE.sig, after showing what " + k.what + " allows", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			raw, d, err := k.open(args[0])
			if err != nil {
				return err
			}
			for _, line := range d.Explain() {
				fmt.Fprintln(c.OutOrStdout(), line)
			}
			if !yes {
				_, err := fmt.Fprintln(c.OutOrStdout(), "nothing was signed; add --yes to sign it")
				return err
			}
			officer, err := readOfficer(key)
			if err != nil {
				return err
			}
			line, err := k.sign(raw, officer)
			if err != nil {
				return err
			}
			out, err := os.OpenFile(args[0]+".sig", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			_, err = out.Write(line)
			return errors.Join(err, out.Close())
		},
	}
	c.Flags().StringVar(&key, "key", "", "file with the officer's private key")
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	return c
}
