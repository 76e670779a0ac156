package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11"
	"github.com/diamante/gateway/keymgmt/pkcs11/child"
	"github.com/diamante/gateway/keymgmt/pkcs11/softhsm"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

// Config is the signer's configuration file. Paths are absolute; secrets are paths.
type Config struct {
	// Listen is the address to serve on, host and port.
	Listen string `toml:"listen"`
	// AllowedClients are the first DNS names of the client certificates that may connect at all. What each may sign is
	// the policy's business.
	AllowedClients []string `toml:"allowed_clients"`
	// TLS is the signer's certificate and key, and the authority of its clients.
	TLS boot.TLS `toml:"tls"`
	// PKCS11 is the token with the keys. Optional with Vault.
	PKCS11 *HSM `toml:"pkcs11"`
	// Vault is where other keys are. Optional with PKCS11.
	Vault *Vault `toml:"vault"`
	// Database is where the journal is.
	Database Database `toml:"database"`
	// Policy is what may be signed.
	Policy Policy `toml:"policy"`
	// Log is the signer's own audit log.
	Log Log `toml:"log"`
	// Mark is what the device remembers of the database.
	Mark Mark `toml:"mark"`
}

// Mark is about the anti-rollback mark, which the HSM keeps.
type Mark struct {
	// None goes without: a database that is rolled back while the signer is down is then taken for the database. For a
	// signer whose keys are in no HSM, or whose device cannot keep a data object.
	None bool `toml:"none"`
}

// Log names the signer's own audit log.
type Log struct {
	// Key signs its checkpoints. The policy opens it to the first DNS name in the signer's own certificate.
	Key keymgmt.KeyID `toml:"key"`
}

// HSM names a token.
type HSM struct {
	Module      string `toml:"module"`       // the vendor's PKCS#11 library
	TokenLabel  string `toml:"token_label"`  // of the one token to use
	TokenSerial string `toml:"token_serial"` // needed when several tokens have the label. Optional
	PINFile     string `toml:"pin_file"`     // the user's PIN; mode 0600
	MaxSessions int    `toml:"max_sessions"` // signatures in the making at once; the token must allow two more sessions
	SoftHSMConf string `toml:"softhsm_conf"` // SoftHSM's configuration file. Optional, for SoftHSM only

	// Wrappable are keys that a ceremony made to leave the token encrypted, and Imported those that one brought back: keys
	// that could leave, or were outside, are refused unless they stand here. Optional.
	Wrappable []keymgmt.KeyID `toml:"wrappable"`
	Imported  []keymgmt.KeyID `toml:"imported"`
}

// Database is the signer's own: the gateway's role has no rights on it.
type Database struct {
	URLFile        string `toml:"url_file"`        // a file with the connection string, which holds a password; mode 0600
	MaxConnections int32  `toml:"max_connections"` // for writing, and as many for reading; the log takes one more
}

// Policy names the signed rules.
type Policy struct {
	File      string               `toml:"file"`      // the rules
	Signature string               `toml:"signature"` // the detached signatures: one line for each officer who signed
	Officers  []protocol.AccountID `toml:"officers"`  // the board's public keys, in the notation of accounts
	Quorum    int                  `toml:"quorum"`    // how many of them must have signed
	Lists     []SignedFile         `toml:"list"`      // those that the rules name. Optional
}

// SignedFile is a file with its detached signatures.
type SignedFile struct {
	File      string `toml:"file"`
	Signature string `toml:"signature"`
}

// read returns both, named as what they are of in errors.
func (s SignedFile) read(what string) (signed policy.Signed, err error) {
	if signed.File, err = boot.ReadFile(s.File, policy.MaxFile); err != nil {
		return signed, fmt.Errorf("%s: %w", what, err)
	}
	if signed.Signatures, err = boot.ReadFile(s.Signature, maxSignature); err != nil {
		return signed, fmt.Errorf("%s: %w", what, err)
	}
	return signed, nil
}

// Validate checks the shape; what the paths name is read by the commands that need it, so that a token can be made
// before there is a policy.
func (c *Config) Validate() error {
	if c.Listen == "" {
		return errors.New("listen is required")
	}
	if len(c.AllowedClients) == 0 || slices.Contains(c.AllowedClients, "") {
		return errors.New("allowed_clients needs the names of the clients") // none would mean anyone
	}
	if err := c.TLS.Validate(); err != nil {
		return err
	}
	if err := c.Policy.board().Validate(); err != nil {
		return fmt.Errorf("policy.officers and policy.quorum: %w", err)
	}
	if c.Log.Key.IsZero() {
		return errors.New("log.key is required")
	}
	if c.Database.MaxConnections < 1 || c.Database.MaxConnections > maxConnections {
		return fmt.Errorf("database.max_connections must be 1 to %d", maxConnections)
	}
	for name, path := range map[string]string{"tls.cert": c.TLS.Cert, "tls.key": c.TLS.Key, "tls.ca": c.TLS.CA,
		"database.url_file": c.Database.URLFile,
		"policy.file":       c.Policy.File, "policy.signature": c.Policy.Signature} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%s %q must be an absolute path", name, path)
		}
	}
	for _, l := range c.Policy.Lists {
		if !filepath.IsAbs(l.File) || !filepath.IsAbs(l.Signature) {
			return fmt.Errorf("policy.list %q, %q must be absolute paths", l.File, l.Signature)
		}
	}
	if c.PKCS11 == nil && c.Vault == nil {
		return errors.New("pkcs11 or vault is required")
	}
	if c.PKCS11 == nil && !c.Mark.None {
		return errors.New("without pkcs11 nothing can keep a mark: say mark.none = true to go without, and read there what that means")
	}
	if c.PKCS11 != nil {
		if err := c.PKCS11.Validate(); err != nil {
			return err
		}
	}
	if c.Vault != nil {
		return c.Vault.Validate()
	}
	return nil
}

// Validate checks the shape.
func (h HSM) Validate() error {
	if !filepath.IsAbs(h.PINFile) || h.SoftHSMConf != "" && !filepath.IsAbs(h.SoftHSMConf) {
		return errors.New("pkcs11.pin_file and pkcs11.softhsm_conf must be absolute paths")
	}
	return h.keyring(false).Validate()
}

const maxConnections = 100

// keyring is the configuration of the keyring. The PIN is read anew for each login, so that it is in memory only then.
func (h HSM) keyring(retryPIN bool) pkcs11.Config {
	return pkcs11.Config{Module: h.Module, TokenLabel: h.TokenLabel, TokenSerial: h.TokenSerial, MaxSessions: h.MaxSessions,
		PIN: func() ([]byte, error) { return boot.SecretBytes(h.PINFile) }, RetryPIN: retryPIN,
		Wrappable: slices.Clone(h.Wrappable), Imported: slices.Clone(h.Imported)}
}

// environment tells SoftHSM where its configuration is. The library looks nowhere else.
func (h HSM) environment() error {
	if h.SoftHSMConf == "" {
		return nil
	}
	if _, err := os.Stat(h.SoftHSMConf); err != nil {
		return fmt.Errorf("pkcs11.softhsm_conf: %w", err)
	}
	return os.Setenv(softhsm.Env, h.SoftHSMConf)
}

// childCommand is the argument that makes this program the holder of the vendor's library, for the one that started it.
const childCommand = "pkcs11-child"

// callTimeout is how long the library may take for one call before its process is held to hang.
const callTimeout = 10 * time.Second

// child is the keyring for serving: the library is in a process of its own.
func (h HSM) child(log *slog.Logger) (*child.Ring, error) {
	cfg := child.Config{Program: []string{"/proc/self/exe", childCommand}, Stderr: lines{log}, Keyring: h.keyring(false), CallTimeout: callTimeout}
	if h.SoftHSMConf != "" {
		if _, err := os.Stat(h.SoftHSMConf); err != nil {
			return nil, fmt.Errorf("pkcs11.softhsm_conf: %w", err)
		}
		cfg.Env = []string{softhsm.Env + "=" + h.SoftHSMConf}
	}
	return child.New(cfg)
}

// lines logs what the vendor's library writes to its standard error.
type lines struct{ log *slog.Logger }

// maxLine bounds what is logged of it at once, in bytes.
const maxLine = 500

// Write implements io.Writer.
func (l lines) Write(p []byte) (int, error) {
	l.log.Warn("the HSM's library says", "text", string(p[:min(len(p), maxLine)]))
	return len(p), nil
}

func (h HSM) open(retryPIN bool) (*pkcs11.Keyring, error) {
	if err := h.environment(); err != nil {
		return nil, err
	}
	return pkcs11.Open(h.keyring(retryPIN))
}

// board returns who decides what the policy is.
func (p Policy) board() policy.Board {
	b := policy.Board{Quorum: p.Quorum}
	for _, o := range p.Officers {
		b.Officers = append(b.Officers, o.Key())
	}
	return b
}

// load reads the policy, checks the officers' signatures, and that every client whom it lets sign may connect.
func (c *Config) load() (*policy.Policy, error) {
	file, err := SignedFile{c.Policy.File, c.Policy.Signature}.read("policy")
	if err != nil {
		return nil, err
	}
	var lists []policy.Signed
	for _, l := range c.Policy.Lists {
		list, err := l.read("list")
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	rules, err := policy.Load(file.File, file.Signatures, c.Policy.board(), lists...)
	if err != nil {
		return nil, err
	}
	content, err := policy.Check(file.File)
	if err != nil {
		return nil, err
	}
	return rules, c.checkCallers(content)
}

// checkCallers makes sure that whoever may sign may connect, except the signer itself, who signs his own log and nothing
// else, and as whom nobody may connect.
func (c *Config) checkCallers(content policy.File) error {
	name, err := c.TLS.Name()
	if err != nil {
		return err
	}
	if slices.Contains(c.AllowedClients, name) {
		return fmt.Errorf("allowed_clients has the signer's own name, %q", name)
	}
	for _, key := range content.Keys {
		if key.ID == c.Log.Key && !slices.Equal(key.Callers, []string{name}) {
			return fmt.Errorf("log.key: the policy lets %q use key %s, and it is for %q alone", key.Callers, key.ID, name)
		}
		for _, caller := range key.Callers {
			if key.ID != c.Log.Key && !slices.Contains(c.AllowedClients, caller) {
				return fmt.Errorf("the policy lets %q use key %s, but allowed_clients does not let it connect", caller, key.ID)
			}
		}
	}
	return nil
}

// checkHomes reads what the homes of keys need, and uses up no credential.
func (c *Config) checkHomes(rules *policy.Policy) error {
	if c.Vault != nil {
		if _, _, err := c.Vault.open(rules, slog.Default()); err != nil {
			return err
		}
	}
	if c.PKCS11 == nil {
		return nil
	}
	secret, err := boot.SecretBytes(c.PKCS11.PINFile)
	clear(secret)
	if err != nil {
		return err
	}
	ring, err := c.PKCS11.open(false)
	if err != nil {
		return err
	}
	return ring.Close()
}

// maxSignature bounds the file with the officers' signatures, in bytes.
const maxSignature = 2 << 10

// checkConfig reads everything that the configuration names, and loads the library, but does not talk to the token: a
// check must not use up a try of the PIN.
func checkConfig(_ context.Context, cfg *Config, _ options, stdout io.Writer) error {
	rules, err := cfg.load()
	if err != nil {
		return err
	}
	if _, err := cfg.TLS.ServerConfig(cfg.AllowedClients...); err != nil {
		return err
	}
	secret, err := boot.SecretBytes(cfg.Database.URLFile)
	clear(secret)
	if err != nil {
		return err
	}
	if err := cfg.checkHomes(rules); err != nil {
		return err
	}
	name, err := cfg.TLS.Name()
	if err != nil {
		return err
	}
	key, err := cfg.logKey(rules, name)
	if err != nil {
		return err
	}
	hash := rules.Hash()
	text := fmt.Sprintf("configuration is good\npolicy version %d, sha256 %x, %d keys\n", rules.Version(), hash, len(rules.Keys()))
	for _, l := range rules.Lists() {
		text += fmt.Sprintf("list %s version %d, sha256 %x\n", l.Name, l.Version, l.Hash)
	}
	_, err = fmt.Fprintf(stdout, "%slog %s\n", text, key)
	return err
}
