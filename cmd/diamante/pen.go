package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/cmd/internal/paper"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
)

// pen is what an officer signs with: a key in a file, in a token, or in a passkey. Exactly one of them is given.
type pen struct {
	officer string // his name in the policy
	key     string // a file with his key
	token   string // the configuration of his token
	passkey bool
	port    uint16 // of the page for his passkey
	policy  string // his own copy of the policy in force
	roster  string // and of the list that has its officers, where it names one
	yes     bool
}

func (p *pen) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&p.officer, "officer", "", "your name in the policy")
	f.StringVar(&p.key, "key", "", "file with your private key")
	f.StringVar(&p.token, "token", "", "file that says where your token is (PKCS#11)")
	f.BoolVar(&p.passkey, "passkey", false, "sign with your passkey, on a page of this machine")
	f.Uint16Var(&p.port, "port", passkeyPort, "of that page; the policy names its origin")
	f.StringVar(&p.policy, "policy", "", "your own copy of the policy in force")
	f.StringVar(&p.roster, "roster", "", "and of the list of its officers, if it names one")
	f.BoolVar(&p.yes, "yes", false, "do it without asking")
}

// check says whether the flags name one key, and what is missing besides.
func (p *pen) check() error {
	count := 0
	for _, given := range []bool{p.key != "", p.token != "", p.passkey} {
		if given {
			count++
		}
	}
	switch {
	case count != 1:
		return errors.New("one of --key, --token and --passkey is required")
	case p.officer == "":
		return errors.New("--officer is required")
	case p.passkey && p.policy == "":
		return errors.New("--passkey needs --policy: it says which passkey is yours")
	}
	return nil
}

// file reads the officer's copy of the policy; nil without one.
func (p *pen) file() (*policy.File, error) {
	if p.policy == "" {
		return nil, nil
	}
	raw, err := boot.ReadFile(p.policy, policy.MaxFile)
	if err != nil {
		return nil, err
	}
	f, err := policy.Check(raw)
	if err != nil || f.Roster == "" {
		return &f, err
	}
	if raw, err = boot.ReadFile(p.roster, policy.MaxFile); err != nil {
		return nil, fmt.Errorf("policy %d has its officers in list %s: %w", f.Version, f.Roster, err)
	}
	list, err := policy.CheckList(raw)
	if err == nil && list.Name != f.Roster {
		err = fmt.Errorf("%s is list %s, not %s", p.roster, list.Name, f.Roster)
	}
	f.Officers = list.Officers
	return &f, err
}

// agrees shows a paper and reports whether it is to be signed: with --yes, or when he types yes. Whoever is not there to
// type has not agreed.
func (p *pen) agrees(c *cobra.Command, w paper.Paper) (bool, error) {
	message, err := w.Message()
	if err != nil {
		return false, err
	}
	if p.yes || p.passkey { // the page asks
		_, err := c.ErrOrStderr().Write(message)
		return true, err
	}
	if _, err := c.OutOrStdout().Write(message); err != nil {
		return false, err
	}
	if _, err := fmt.Fprint(c.ErrOrStderr(), "type yes to sign exactly this: "); err != nil {
		return false, err
	}
	line, _ := bufio.NewReader(c.InOrStdin()).ReadString('\n') // the end of the input is no yes
	if strings.TrimSpace(line) == "yes" {
		return true, nil
	}
	_, err = fmt.Fprintln(c.OutOrStdout(), "nothing was signed; type yes, or add --yes, to sign exactly this")
	return false, err
}

// sign signs a paper.
func (p *pen) sign(c *cobra.Command, f *policy.File, w paper.Paper) ([]byte, *keymgmt.Passkey, error) {
	switch {
	case p.passkey:
		return p.signOnPage(c, f, w)
	case p.token != "":
		sig, err := p.signInToken(c.Context(), w)
		return sig, nil, err
	}
	message, err := w.Message()
	if err != nil {
		return nil, nil, err
	}
	private, err := readOfficer(p.key)
	if err != nil {
		return nil, nil, err
	}
	defer clear(private)
	sig, err := private.Sign(nil, message, crypto.Hash(0))
	return sig, nil, err
}

// maxHelperAnswer bounds what the helper says, in bytes.
const maxHelperAnswer = 4 << 10

// signInToken has the signer's program, the one that links C, sign with the officer's token. It is started for this one
// signature, reads what is asked for itself, shows it and asks for the PIN on the terminal.
func (p *pen) signInToken(ctx context.Context, w paper.Paper) ([]byte, error) {
	asked, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(ownDir(), "diamante-signer"), "officer", "sign", "-token", p.token)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(asked), &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	var answer struct {
		Signature []byte `json:"signature"`
	}
	if out.Len() > maxHelperAnswer {
		return nil, errors.New("token: the helper says too much")
	}
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return answer.Signature, nil
}
