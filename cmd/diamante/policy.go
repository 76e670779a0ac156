package main

import (
	"bufio"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
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

func officerCommand() *cobra.Command {
	c := &cobra.Command{Use: "officer", Short: "An officer's own key"}
	c.AddCommand(&cobra.Command{
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

// approval is what an officer is asked: a request as it will go to the signer, without consents.
type approval struct {
	Key       keymgmt.KeyID `json:"key"`
	Kind      keymgmt.Kind  `json:"kind"`
	Body      []byte        `json:"body"` // base64
	Ref       string        `json:"ref"`
	Initiator string        `json:"initiator"`
}

func approveCommand() *cobra.Command {
	var officer, key string
	var version uint64
	var life time.Duration
	var yes bool
	c := &cobra.Command{
		Use: "approve REQUEST.json --policy-version N --officer NAME --key OFFICER_KEY", Args: cobra.ExactArgs(1),
		Short: "Show what a request would do, as read here and by nobody else, and approve it",
		RunE: func(c *cobra.Command, args []string) error {
			intent, err := readIntent(args[0], version)
			if err != nil {
				return err
			}
			if !yes {
				_, err := fmt.Fprint(c.OutOrStdout(), intent.Text(), "nothing was approved; add --yes to approve exactly this\n")
				return err
			}
			private, err := readOfficer(key)
			if err != nil {
				return err
			}
			consent, err := intent.Approve(keymgmt.Consent{Officer: officer, Nonce: keymgmt.NewNonce(), Expires: time.Now().Add(life)}, private)
			if err != nil {
				return err
			}
			return json.NewEncoder(c.OutOrStdout()).Encode(consent)
		},
	}
	f := c.Flags()
	f.Uint64Var(&version, "policy-version", 0, "version of the policy in force")
	f.StringVar(&officer, "officer", "", "the officer's name in the policy")
	f.StringVar(&key, "key", "", "file with the officer's private key")
	f.DurationVar(&life, "life", time.Hour, "how long the approval may lie before it is used")
	f.BoolVar(&yes, "yes", false, "do it")
	return c
}

func readIntent(path string, version uint64) (policy.Intent, error) {
	var a approval
	if err := readStrict(path, &a); err != nil {
		return policy.Intent{}, err
	}
	r := keymgmt.Request{Key: a.Key, Kind: a.Kind, Body: a.Body, Ref: a.Ref, Initiator: a.Initiator}
	if err := r.Validate(); err != nil {
		return policy.Intent{}, err
	}
	m, err := payload.Decode(r.Kind, r.Body)
	if err != nil {
		return policy.Intent{}, err
	}
	return policy.IntentOf(r, m, version)
}
