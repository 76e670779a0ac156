// Command diamante-signer is the key-management instance: it holds the session of the HSM, the signed policy and the
// signing journal, and answers the gateway and the node by mutual TLS.
//
//	diamante-signer serve -config signer.toml
//	diamante-signer check-config -config signer.toml
//	diamante-signer init-token -config signer.toml -so-pin-file FILE --yes
//	diamante-signer keygen -config signer.toml -key anchor/usd/issuing --yes
//	diamante-signer keys -config signer.toml [--json]
//	diamante-signer journal -config signer.toml
//	diamante-signer try-pin -config signer.toml --yes
//	diamante-signer officer sign|keygen -token FILE
//	diamante-signer ceremony -config signer.toml -plan FILE -transcript FILE [--yes]
//	diamante-signer mark -config signer.toml [-accept-loss REASON --yes]
//	diamante-signer doctor -config signer.toml [-out FILE] [--json] --yes
//	diamante-signer evidence -config signer.toml -key ID -ref REF -out FILE
//
// Commands that change the token say what they would do, and do it only with --yes. It is the only one of our programs
// that links C, and while it serves, the vendor's library is in a child of it (the command pkcs11-child, which is for
// nobody to type), so that its crash is not the signer's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/evidence"
	"github.com/diamante/gateway/keymgmt/pkcs11/child"
)

func main() { boot.Main(run) }

const usage = `usage: diamante-signer COMMAND -config FILE [flags]

  serve         answer requests until stopped
  check-config  read everything that the configuration names, without touching the token
  init-token    make a token with two PINs: -so-pin-file FILE --yes
  keygen        make keys inside the token, or in Vault where the configuration has them there: -key ID (any number of times)
                [-algorithm secp256k1|p256] --yes
  keys          list the keys and their addresses: --json
  journal       write what was allowed, one request a line, for "diamante policy simulate"
  try-pin       try the PIN once, after it was refused and corrected: --yes
  ceremony      make, bring back, back up and destroy keys before witnesses: -plan FILE -transcript FILE --yes
  mark          show what the device remembers of the database; after a loss: -accept-loss REASON --yes
  doctor        exercise a device that is not in use yet, and say how it behaves: [-out FILE] [--json] --yes
  evidence      write what proves a signature or a refusal: -key ID -ref REF -out FILE [-without-policy];
                of an order -order NONCE, of a policy -policy VERSION`

// options are what the commands can be told.
type options struct {
	config    string
	keys      []keymgmt.KeyID
	algorithm keymgmt.Algorithm // of keys to make
	soPINFile string
	out       string // where the doctor's profile or the evidence goes
	accept    string // why the database lost something

	plan, transcript string // of a ceremony
	json, yes        bool

	of            evidence.Of
	withoutPolicy bool
}

var commands = map[string]func(ctx context.Context, cfg *Config, o options, stdout io.Writer) error{
	"serve":        serve,
	"check-config": checkConfig,
	"init-token":   initToken,
	"keygen":       keygen,
	"keys":         listKeys,
	"try-pin":      tryPIN,
	"doctor":       doctor,
	"journal":      exportJournal,
	"evidence":     writeEvidence,
	"mark":         mark,
	"ceremony":     keyCeremony,
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	if len(args) == 1 && args[0] == childCommand {
		return child.Run()
	}
	if args[0] == officerCommand {
		return officer(ctx, args[1:], os.Stdin, stdout)
	}
	command, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("unknown command %q\n%s", args[0], usage)
	}
	o, err := parse(args[0], args[1:])
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, err = fmt.Fprintln(stdout, usage)
		}
		return err
	}
	cfg := new(Config)
	if err := boot.Load(o.config, cfg); err != nil {
		return err
	}
	if cfg.PKCS11 == nil && tokenCommands[args[0]] {
		return errors.New("the configuration names no token")
	}
	return command(ctx, cfg, o, stdout)
}

// tokenCommands are about the token and nothing else.
var tokenCommands = map[string]bool{"mark": true, "ceremony": true, "init-token": true, "try-pin": true, "doctor": true}

func parseAlgorithm(s string) (keymgmt.Algorithm, error) {
	for _, a := range []keymgmt.Algorithm{keymgmt.Ed25519, keymgmt.Secp256k1, keymgmt.P256} {
		if a.String() == s {
			return a, nil
		}
	}
	return 0, errors.New("need ed25519, secp256k1 or p256")
}

func parse(command string, args []string) (o options, err error) {
	f := flag.NewFlagSet(command, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.config, "config", "", "configuration file")
	switch command {
	case "keygen":
		f.BoolVar(&o.yes, "yes", false, "do it")
		o.algorithm = keymgmt.Ed25519
		f.Func("algorithm", "of the keys: ed25519, secp256k1 or p256", func(s string) (err error) {
			o.algorithm, err = parseAlgorithm(s)
			return err
		})
		f.Func("key", "id of a key to make", func(s string) error {
			id, err := keymgmt.ParseKeyID(s)
			o.keys = append(o.keys, id)
			return err
		})
	case "init-token":
		f.BoolVar(&o.yes, "yes", false, "do it")
		f.StringVar(&o.soPINFile, "so-pin-file", "", "file with the security officer's PIN")
	case "try-pin":
		f.BoolVar(&o.yes, "yes", false, "do it")
	case "ceremony":
		f.BoolVar(&o.yes, "yes", false, "do it")
		f.StringVar(&o.plan, "plan", "", "the plan")
		f.StringVar(&o.transcript, "transcript", "", "the transcript: made if it is missing, gone on with if not")
	case "mark":
		f.BoolVar(&o.yes, "yes", false, "do it")
		f.StringVar(&o.accept, "accept-loss", "", "why the database is to be taken as it is")
	case "doctor":
		f.BoolVar(&o.yes, "yes", false, "do it")
		f.BoolVar(&o.json, "json", false, "print JSON")
		f.StringVar(&o.out, "out", "", "file to make, with the profile as JSON")
	case "evidence":
		evidenceFlags(f, &o)
	case "keys":
		f.BoolVar(&o.json, "json", false, "print JSON")
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.config == "":
		return o, errors.New("-config FILE is required")
	case command == "evidence" && o.out == "":
		return o, errors.New("-out FILE is required")
	case command == "keygen" && len(o.keys) == 0:
		return o, errors.New("-key ID is required")
	case command == "init-token" && o.soPINFile == "":
		return o, errors.New("-so-pin-file FILE is required")
	}
	return o, nil
}
