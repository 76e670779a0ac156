package rig

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/stellar/go-stellar-sdk/strkey"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/cmd/internal/boot/devca"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node"
	"github.com/diamante/gateway/node/protocol"
)

// What a development network is called, and what it starts with.
const (
	Passphrase = protocol.Passphrase("Diamante Development Network ; 2026")
	Supply     = "100000000000.0000000"
)

// AssetCode is the asset that a rig's anchor issues, and BankIBAN and BankBIC its account at the bank: the example that
// the registry of IBANs gives for Switzerland, so nobody's.
const (
	AssetCode = "USD"
	BankIBAN  = "CH9300762011623852957"
	BankBIC   = "ABNACHZ8XXX"
)

// keyIDs are the keys that live in the token.
var keyIDs = []string{"network/root", "anchor/usd/issuing", "anchor/usd/distribution", "anchor/sep10", "anchor/jwt", "audit/log", signerLog, validatorKey}

// validatorKey is the key of the bank's own validator. The other validators' keys are files: theirs are other institutions'.
const validatorKey = "network/validator"

// signerLog is the key of the signer's own log.
const signerLog = "signer/log"

// How much the development policy lets out of an account.
const (
	assetPerTransaction  = "100000"
	assetPerDay          = "10000000"
	nativePerTransaction = "10000"
	nativePerDay         = "1000000"
	startingBalance      = "10"
)

// prepare makes what the programs are given. Each step keeps what an earlier run made, so that an interrupted one is
// simply run again; the last thing it writes says that everything is there.
func (r *Rig) prepare(ctx context.Context) error {
	if err := r.databases(ctx); err != nil {
		return err
	}
	if err := r.writeSignerConfig(); err != nil {
		return err
	}
	keys, err := r.keys(ctx)
	if err != nil {
		return err
	}
	if err := r.writePolicy(keys); err != nil {
		return err
	}
	if err := r.writeGenesis(keys); err != nil {
		return err
	}
	if err := r.writeNodeConfigs(keys); err != nil {
		return err
	}
	return r.writeGatewayConfig(keys)
}

func (r *Rig) databases(ctx context.Context) error {
	for _, d := range []schema.Database{schema.Gateway, schema.Signer} {
		password, err := r.secret("db-" + d.String())
		if err != nil {
			return err
		}
		if err := schema.Create(ctx, r.postgres.AdminURL, d, password); err != nil {
			return err
		}
		url := schema.URL(d, password, fmt.Sprintf("localhost:%d", r.ports.Postgres), r.ca.CertFile())
		if err := r.write(r.databaseURLFile(d), []byte(url+"\n")); err != nil {
			return err
		}
	}
	return nil
}

func (r *Rig) databaseURLFile(d schema.Database) string { return r.Path("secret", "url-"+d.String()) }

// GenesisFile is where the network begins.
func (r *Rig) GenesisFile() string { return r.Path("genesis.toml") }

// SignerLogKeyFile holds the public key of the signer's own log, with which its evidence is verified.
func (r *Rig) SignerLogKeyFile() string { return r.Path("signer-log.pub") }

// Evidence has the signer's host write the evidence of a signature, and returns the file.
func (r *Rig) Evidence(ctx context.Context, key, ref string) (string, error) {
	path := r.Path("export", "evidence-"+time.Now().UTC().Format("20060102T150405.000Z")+".json")
	_, err := r.signerCommand(ctx, "evidence", "-key", key, "-ref", ref, "-out", path)
	return path, err
}

// LogKeyFile holds the audit log's public key, in the form that signed notes are verified with.
func (r *Rig) LogKeyFile() string { return r.Path("log.pub") }

// secret returns the secret of a name, made at random the first time.
func (r *Rig) secret(name string) (string, error) {
	path := r.Path("secret", name)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		var raw [20]byte
		if _, err := rand.Read(raw[:]); err != nil {
			return "", fmt.Errorf("rig: %w", err)
		}
		if err := r.write(path, []byte(base32.StdEncoding.EncodeToString(raw[:])+"\n")); err != nil {
			return "", err
		}
	}
	return boot.Secret(path)
}

// keys makes the token and the keys in it, where they are missing, and returns their addresses.
func (r *Rig) keys(ctx context.Context) (map[string]protocol.AccountID, error) {
	known := r.Path("keys.txt")
	if _, err := os.Stat(known); errors.Is(err, os.ErrNotExist) {
		// An interrupted run left a token without all keys: nothing relies on them yet, so it starts over.
		if err := os.RemoveAll(r.Path("token")); err != nil {
			return nil, fmt.Errorf("rig: %w", err)
		}
		raw, err := r.makeKeys(ctx)
		if err != nil {
			return nil, err
		}
		if err := r.write(known, raw); err != nil {
			return nil, err
		}
	}
	return r.knownKeys()
}

// knownKeys returns the addresses of the keys that were made.
func (r *Rig) knownKeys() (map[string]protocol.AccountID, error) {
	known := r.Path("keys.txt")
	raw, err := os.ReadFile(known)
	if err != nil {
		return nil, fmt.Errorf("rig: %w", err)
	}
	keys := map[string]protocol.AccountID{}
	for line := range strings.Lines(string(raw)) {
		id, address, _ := strings.Cut(strings.TrimSpace(line), " ")
		if keys[id], err = protocol.ParseAccountID(address); err != nil {
			return nil, fmt.Errorf("rig: %s: %w", known, err)
		}
	}
	for _, id := range keyIDs {
		if keys[id].IsZero() {
			return nil, fmt.Errorf("rig: %s lacks %s", known, id)
		}
	}
	return keys, nil
}

func (r *Rig) makeKeys(ctx context.Context) ([]byte, error) {
	for _, name := range []string{"pin", "so-pin"} {
		if _, err := r.secret(name); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(r.Path("token"), 0o700); err != nil {
		return nil, fmt.Errorf("rig: %w", err)
	}
	conf := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", r.Path("token"))
	if err := r.write(r.softhsmConf(), []byte(conf)); err != nil {
		return nil, err
	}
	if _, err := r.signerCommand(ctx, "init-token", "-so-pin-file", r.Path("secret", "so-pin"), "--yes"); err != nil {
		return nil, err
	}
	args := []string{"--yes"}
	for _, id := range keyIDs {
		args = append(args, "-key", id)
	}
	return r.signerCommand(ctx, "keygen", args...)
}

func (r *Rig) softhsmConf() string { return r.Path("config", "softhsm2.conf") }

func (r *Rig) signerCommand(ctx context.Context, command string, args ...string) ([]byte, error) {
	path, err := program(r.opts.BinDir, "diamante-signer")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, append([]string{command, "-config", r.Path("config", "signer.toml")}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("rig: diamante-signer %s: %w: %s", command, err, stderr.String())
	}
	return out, nil
}

// writePolicy writes what the policy officer of this rig allows, and signs it with a key that is kept beside it: in
// production it is in another building.
func (r *Rig) writePolicy(keys map[string]protocol.AccountID) error {
	officer, err := r.officer()
	if err != nil {
		return err
	}
	attestors, err := r.attestors()
	if err != nil {
		return err
	}
	quantity := func(s string) policy.Quantity {
		q, err := policy.ParseQuantity(s)
		if err != nil {
			panic("rig: constant " + s + " is not a quantity")
		}
		return q
	}
	ids, err := r.validators(keys)
	if err != nil {
		return err
	}
	file, err := policy.Setup{
		Version: 1, Network: Passphrase, Gateway: GatewayName, Signer: SignerName,
		Publics: policy.Publics{Root: keys["network/root"], Issuing: keys["anchor/usd/issuing"],
			Distribution: keys["anchor/usd/distribution"], Challenge: keys["anchor/sep10"], Token: keys["anchor/jwt"], Log: keys["audit/log"], SignerLog: keys[signerLog]},
		Validators: []policy.ValidatorKey{{ID: validatorKey, Public: keys[validatorKey], Caller: NodeName, QuorumSets: []protocol.Hash{quorumHash(ids)}}},
		AssetCode:  AssetCode, HomeDomain: r.HomeDomain(), WebAuthDomain: r.HomeDomain(), TokenIssuer: r.PublicURL(), LogOrigin: r.logOrigin(), SignerOrigin: r.signerOrigin(),
		Asset:    policy.Bounds{PerTransaction: quantity(assetPerTransaction), PerDay: quantity(assetPerDay)},
		Native:   policy.Bounds{PerTransaction: quantity(nativePerTransaction), PerDay: quantity(nativePerDay)},
		Starting: quantity(startingBalance), Attestors: attestors, ReserveAge: treasuryAge,
	}.File()
	if err != nil {
		return err
	}
	raw, err := policy.Marshal(file)
	if err != nil {
		return err
	}
	sig, err := policy.Sign(raw, officer)
	if err != nil {
		return err
	}
	return errors.Join(r.write(r.Path("config", "policy.toml"), raw), r.write(r.Path("config", "policy.toml.sig"), sig))
}

func (r *Rig) signerOrigin() string { return "diamante.network/signer/" + r.HomeDomain() }

func (r *Rig) logOrigin() string { return "diamante.network/log/" + r.HomeDomain() }

// officer returns the policy officer's key.
func (r *Rig) officer() (ed25519.PrivateKey, error) { return r.seed("policy-officer") }

// seed returns the key of somebody outside our programs, made the first time.
func (r *Rig) seed(name string) (ed25519.PrivateKey, error) {
	path := r.Path("secret", name+".seed")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if _, err := node.CreateSeed(path); err != nil {
			return nil, err
		}
	}
	seed, err := boot.Secret(path)
	if err != nil {
		return nil, err
	}
	raw, err := strkey.Decode(strkey.VersionByteSeed, seed)
	if err != nil {
		return nil, fmt.Errorf("rig: %s holds no seed", path)
	}
	return ed25519.NewKeyFromSeed(raw), nil
}

func (r *Rig) officerAddress() (protocol.AccountID, error) {
	key, err := r.officer()
	if err != nil {
		return protocol.AccountID{}, err
	}
	return protocol.AccountIDFromKey(key.Public().(ed25519.PublicKey))
}

// programTLS issues the certificate of one of our programs.
func (r *Rig) programTLS(name string) (boot.TLS, error) {
	return r.material(devca.Leaf{Name: name, DNS: []string{name}})
}

func (r *Rig) write(path string, content []byte) error {
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	return nil
}
