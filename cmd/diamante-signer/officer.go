package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/cmd/internal/paper"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11"
	"github.com/diamante/gateway/keymgmt/policy"
)

// officerCommand is for the operator's command to start, which links no C: it signs with an officer's own token what
// officers sign, and nothing else.
const officerCommand = "officer"

const officerUsage = `usage: diamante-signer officer sign|keygen -token FILE

  sign    read a paper from the standard input, show it, ask for the PIN and print the signature
  keygen  make the key that FILE names in the token, and print its address`

// OfficerToken says where an officer's own key is, on his own machine.
type OfficerToken struct {
	Module      string        `toml:"module"`       // absolute path of the PKCS#11 library
	TokenLabel  string        `toml:"token_label"`  // as the token has it
	TokenSerial string        `toml:"token_serial"` // optional unless several tokens have the label
	Key         keymgmt.KeyID `toml:"key"`          // label of the key
	PINFile     string        `toml:"pin_file"`     // optional; without it the PIN is asked for on the terminal
	SoftHSMConf string        `toml:"softhsm_conf"` // for SoftHSM only. Optional
}

// Validate checks the shape.
func (o *OfficerToken) Validate() error {
	if o.Key.IsZero() || o.PINFile != "" && !filepath.IsAbs(o.PINFile) {
		return errors.New("key is required, and pin_file is an absolute path")
	}
	return o.keyring().Validate()
}

func (o *OfficerToken) keyring() pkcs11.Config {
	pin := askPIN
	if o.PINFile != "" {
		pin = func() ([]byte, error) { return boot.SecretBytes(o.PINFile) }
	}
	return pkcs11.Config{Module: o.Module, TokenLabel: o.TokenLabel, TokenSerial: o.TokenSerial, PIN: pin, MaxSessions: 1}
}

// officer runs one of the commands for officers. Words are for the officer's eyes, and out for the program that asks.
func officer(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	f := flag.NewFlagSet(officerCommand, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	path := f.String("token", "", "file that says where the token is")
	if len(args) == 0 {
		return errors.New(officerUsage)
	}
	if err := f.Parse(args[1:]); err != nil || *path == "" || f.NArg() > 0 {
		return errors.New(officerUsage)
	}
	var token OfficerToken
	if err := boot.Load(*path, &token); err != nil {
		return err
	}
	do := map[string]func(ctx context.Context, ring *pkcs11.Keyring, key keymgmt.KeyID) (any, error){
		"sign": func(ctx context.Context, ring *pkcs11.Keyring, key keymgmt.KeyID) (any, error) {
			return signPaper(ctx, ring, key, in)
		},
		"keygen": makeOfficer,
	}[args[0]]
	if do == nil {
		return errors.New(officerUsage)
	}
	if err := (HSM{SoftHSMConf: token.SoftHSMConf}).environment(); err != nil {
		return err
	}
	ring, err := pkcs11.Open(token.keyring())
	if err != nil {
		return err
	}
	answer, err := do(ctx, ring, token.Key)
	if err := errors.Join(err, ring.Close()); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(answer)
}

// signPaper shows what is asked, as read here, and signs it.
func signPaper(ctx context.Context, ring *pkcs11.Keyring, key keymgmt.KeyID, in io.Reader) (any, error) {
	p, err := paper.Read(in)
	if err != nil {
		return nil, err
	}
	message, err := p.Message()
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(os.Stderr, "the token is asked to sign:\n%s", message); err != nil {
		return nil, err
	}
	var sig []byte
	if p.Order != nil {
		sig, err = ring.SignOrder(ctx, key, *p.Order)
	} else {
		var i policy.Intent
		if i, err = p.Approve.Request.Intent(p.Approve.Version); err == nil {
			sig, err = ring.SignIntent(ctx, key, i, p.Approve.Consent)
		}
	}
	return map[string][]byte{"signature": sig}, err
}

func makeOfficer(ctx context.Context, ring *pkcs11.Keyring, key keymgmt.KeyID) (any, error) {
	public, err := ring.Generate(ctx, key, keymgmt.Ed25519)
	if err != nil {
		return nil, err
	}
	return map[string]any{"key": key, "address": policy.PublicKey{PublicKey: public}}, nil
}

// askPIN asks for the PIN on the terminal that the officer sits at, whatever the standard input is, and does not show it.
func askPIN() ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("no terminal to ask for the PIN on, and no pin_file: %w", err)
	}
	defer tty.Close()
	echo := func(mode string) error {
		stty := exec.Command("stty", mode)
		stty.Stdin = tty
		return stty.Run()
	}
	if err := echo("-echo"); err != nil {
		return nil, fmt.Errorf("the terminal would show the PIN: %w", err)
	}
	defer func() { _ = echo("echo") }() // the terminal is gone if this fails
	if _, err := fmt.Fprint(tty, "PIN of your token: "); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(tty).ReadBytes('\n')
	fmt.Fprintln(tty)
	pin := bytes.TrimRight(line, "\r\n")
	if err != nil || len(pin) == 0 || strings.ContainsRune(string(pin), 0) {
		clear(line)
		return nil, errors.New("no PIN was given")
	}
	return pin, nil
}
