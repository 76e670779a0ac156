package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/pkcs11"
	"github.com/diamante/gateway/keymgmt/pkcs11/softhsm"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/remote"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// started is the time of all requests, so that the same request can be made twice.
var started = time.Now()

// request asks for a transaction of one operation.
func (r *rig) request(key, ref string, op txbuild.Operation) keymgmt.Request {
	r.t.Helper()
	u, err := txbuild.Build(txbuild.Params{Passphrase: network, Source: r.publics[key], Sequence: 7, FeePerOp: 100,
		NotAfter: started.Add(5 * time.Minute), Operations: []txbuild.Operation{op}})
	r.must(err)
	return keymgmt.Request{Key: r.key(key), Kind: keymgmt.KindTransaction, Body: u.SignatureBase(), Ref: ref}
}

// issue asks for a payment of the asset by its issuer.
func (r *rig) issue(n int) keymgmt.Request {
	r.t.Helper()
	credit, err := protocol.NewCredit(asset, r.publics["anchor/usd/issuing"])
	r.must(err)
	amount, err := protocol.ParseAmount(fmt.Sprintf("1.%d", n+1))
	r.must(err)
	return r.request("anchor/usd/issuing", fmt.Sprintf("tx/%d", n),
		txbuild.Payment{Destination: r.publics["anchor/usd/distribution"], Asset: credit, Amount: amount})
}

// The whole way: a client's certificate, the policy, the journal in PostgreSQL and keys in an HSM.
func TestConformance(t *testing.T) {
	keytest.TestSigner(t, func(t *testing.T) keytest.SignerFixture {
		r := newKeyedRig(t)
		c := r.client(r.serve(), gatewayName)
		keytest.Until(t, func(ctx context.Context) error { return healthy(ctx, c) })
		unknown := r.issue(0)
		unknown.Key = r.key("anchor/eur/issuing")
		return keytest.SignerFixture{
			Signer:  c,
			Allowed: r.issue,
			Denied:  r.request("anchor/usd/issuing", "denied", txbuild.ManageData{Name: "a", Value: []byte("b")}),
			Unknown: unknown,
			Break:   r.takeAway,
		}
	})
}

// healthy reports the first part that does not work.
func healthy(ctx context.Context, c *remote.Client) error {
	parts, err := c.Health(ctx)
	for _, part := range parts {
		err = errors.Join(err, part)
	}
	return err
}

func TestMakingTokenAndKeys(t *testing.T) {
	r := newRig(t)
	steps := []struct {
		name string
		args []string
		says string // in the output
		err  error
	}{
		{"no token yet", []string{"keys"}, "", pkcs11.ErrToken},
		{"dry run of a token", []string{"init-token", "-so-pin-file", r.hsm.SOPINFile}, "nothing was changed", nil},
		{"still no token", []string{"keygen", "-key", "a"}, "", pkcs11.ErrToken},
		{"token", []string{"init-token", "-so-pin-file", r.hsm.SOPINFile, "--yes"}, "made token", nil},
		{"token again", []string{"init-token", "-so-pin-file", r.hsm.SOPINFile, "--yes"}, "", pkcs11.ErrExists},
		{"no keys", []string{"keys", "--json"}, "[]", nil},
		{"dry run of a key", []string{"keygen", "-key", "a/b"}, "would make key a/b", nil},
		{"still no keys", []string{"keys", "--json"}, "[]", nil},
		{"key", []string{"keygen", "-key", "a/b", "--yes"}, "a/b G", nil},
		{"key again", []string{"keygen", "-key", "a/b", "--yes"}, "", pkcs11.ErrExists},
		{"two keys", []string{"keygen", "-key", "x", "-key", "y", "--yes"}, "y G", nil},
		{"list", []string{"keys"}, "a/b  G", nil},
		{"PIN", []string{"try-pin"}, "nothing was changed", nil},
		{"PIN tried", []string{"try-pin", "--yes"}, "the PIN is right", nil},
	}
	for _, step := range steps {
		out, err := r.run(step.args...)
		if !errors.Is(err, step.err) || !strings.Contains(out, step.says) {
			t.Fatalf("%s: error %v, output %q", step.name, err, out)
		}
	}
	out, err := r.run("keys", "--json")
	r.must(err)
	var rows []keyRow
	r.must(json.Unmarshal([]byte(out), &rows))
	if len(rows) != 3 || rows[0].Key != "a/b" || rows[0].Fault != "" {
		t.Fatalf("keys: %+v", rows)
	}
	if _, err := protocol.ParseAccountID(rows[0].Address); err != nil {
		t.Fatal(err)
	}
}

// The doctor leaves a profile, and no key.
func TestDoctor(t *testing.T) {
	r := newRig(t)
	r.initToken()
	path := filepath.Join(t.TempDir(), "profile.json")
	if out, err := r.run("doctor", "-out", path); err != nil || !strings.Contains(out, "nothing was changed") {
		t.Fatal(out, err)
	}
	out, err := r.run("doctor", "-out", path, "--yes")
	r.must(err)
	for _, says := range []string{"library", "serial", "ed25519", "secp256k1", "signatures a second for", "sealing", "sessions", "handles"} {
		if !strings.Contains(out, says) {
			t.Errorf("nothing about %s in\n%s", says, out)
		}
	}
	raw, err := os.ReadFile(path)
	r.must(err)
	var p pkcs11.Profile
	r.must(json.Unmarshal(raw, &p))
	if p.Format != pkcs11.ProfileFormat || len(p.Algorithms) == 0 || !p.Algorithms[0].Works {
		t.Errorf("%+v", p)
	}
	if _, err := r.run("doctor", "-out", path, "--yes"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a profile was written over: %v", err)
	}
	if out, err := r.run("keys", "--json"); err != nil || strings.TrimSpace(out) != "[]" {
		t.Errorf("left in the token: %s %v", out, err)
	}
}

// The signer is started before its token is there, and loses its keys on the way: it says what is missing, and works
// as soon as it is back.
func TestTokenComesAndGoes(t *testing.T) {
	r := newKeyedRig(t)
	bringBack := r.takeAway()
	p := r.serve()
	c := r.client(p, gatewayName)
	for n := range 2 {
		if _, err := c.Sign(t.Context(), r.issue(n)); !errors.Is(err, keymgmt.ErrUnavailable) {
			t.Fatalf("without a token: %v", err)
		}
		parts, err := c.Health(t.Context())
		r.must(err)
		if parts["keyring"] == nil || parts["journal"] != nil {
			t.Fatalf("health: %v", parts)
		}
		bringBack()
		keytest.Until(t, func(ctx context.Context) error { _, err := c.Sign(ctx, r.issue(n)); return err })
		r.must(healthy(t.Context(), c))
		bringBack = r.takeAway()
		if _, err := c.Sign(t.Context(), r.issue(n)); err != nil {
			t.Fatalf("what was signed is in the journal, token or not: %v", err)
		}
	}
	bringBack()
}

func TestDatabaseAway(t *testing.T) {
	r := newKeyedRig(t)
	r.write("database-url", []byte("host=/nonexistent user=diamante_signer dbname=x password=hunter2"))
	p := r.serve()
	c := r.client(p, gatewayName)
	if _, err := c.Sign(t.Context(), r.issue(0)); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Fatal(err)
	}
	r.within("the keyring is there", func() bool {
		parts, err := c.Health(t.Context())
		r.must(err)
		if parts["journal"] == nil {
			t.Fatalf("health: %v", parts)
		}
		return parts["keyring"] == nil
	})
	r.must(p.stop())
	if strings.Contains(p.log.String(), "hunter2") {
		t.Fatal("the log has the database's password")
	}
}

// A wrong PIN neither ends the program, which would start a loop, nor is it tried again by a restart; an operator
// corrects the file and allows one try.
func TestWrongPIN(t *testing.T) {
	r := newKeyedRig(t)
	pin, err := os.ReadFile(r.hsm.PINFile)
	r.must(err)
	r.must(os.WriteFile(r.hsm.PINFile, []byte("a wrong PIN"), 0o600))
	for _, content := range []string{"a wrong PIN", string(pin)} {
		r.must(os.WriteFile(r.hsm.PINFile, []byte(content), 0o600))
		p := r.serve()
		c := r.client(p, gatewayName)
		if _, err := c.Sign(t.Context(), r.issue(0)); !errors.Is(err, keymgmt.ErrUnavailable) {
			t.Fatal(err)
		}
		r.must(p.stop())
		if log := p.log.String(); strings.Contains(log, "a wrong PIN") || strings.Contains(log, string(pin)) {
			t.Fatal("the log has the PIN")
		}
	}
	if _, err := r.run("try-pin", "--yes"); err != nil {
		t.Fatal(err)
	}
	c := r.client(r.serve(), gatewayName)
	keytest.Until(t, func(ctx context.Context) error { _, err := c.Sign(ctx, r.issue(0)); return err })
}

func TestWhoMayConnect(t *testing.T) {
	r := newKeyedRig(t)
	p := r.serve()
	get := func(name, path string) (int, string, error) {
		cfg, err := r.clientTLS(name).ClientConfig(signerName)
		r.must(err)
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}, Timeout: 20 * time.Second}
		resp, err := c.Get("https://" + p.address + path)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body), err
	}
	r.within("the device's metrics", func() bool {
		status, body, err := get(gatewayName, "/metrics")
		if err != nil || status != http.StatusOK {
			t.Fatalf("metrics: %d, %v\n%s", status, err, body)
		}
		return strings.Contains(body, "hsm_logins_total 1") && strings.Contains(body, "hsm_children_total 1")
	})
	if status, _, err := get(gatewayName, "/nothing"); err != nil || status != http.StatusNotFound {
		t.Errorf("no such path: %d, %v", status, err)
	}
	for _, name := range []string{"stranger.diamante.internal", signerName} {
		if status, _, err := get(name, "/health"); err == nil {
			t.Errorf("%s got in: %d", name, status)
		}
	}
}

// What no waiting can mend ends the program with the reason.
func TestServeEndsWhenAnOperatorMustAct(t *testing.T) {
	tests := map[string]struct {
		change func(r *rig)
		want   string
	}{
		"policy names another key": {func(r *rig) {
			r.sign(func(f *policy.File) { f.Keys[0].Public = policy.Ledger(r.cfg.Policy.Officers[0]) })
		}, "another key"},
		"policy names a missing key": {func(r *rig) {
			r.sign(func(f *policy.File) { f.Keys[0].ID = r.key("network/other") })
		}, "unknown key"},
		"policy changed after signing": {func(r *rig) {
			text, err := os.ReadFile(r.cfg.Policy.File)
			r.must(err)
			r.must(os.WriteFile(r.cfg.Policy.File, append(text, '\n'), 0o600))
		}, policy.ErrSignature.Error()},
		"client shut out": {func(r *rig) {
			r.cfg.AllowedClients = []string{"node.diamante.internal"}
			r.save()
		}, "does not let it connect"},
		"the log's key open to a client": {func(r *rig) {
			r.sign(func(f *policy.File) { f.Keys[6].Callers = []string{gatewayName} })
		}, "is for"},
		"the log's key open to a client, too": {func(r *rig) {
			r.sign(func(f *policy.File) { f.Keys[6].Callers = []string{signerName, gatewayName} })
		}, "is for"},
		"the signer's name open to clients": {func(r *rig) {
			r.cfg.AllowedClients = []string{gatewayName, signerName}
			r.save()
		}, "own name"},
		"a key of another purpose for the log": {func(r *rig) {
			r.cfg.Log.Key = r.key("network/root")
			r.save()
		}, "is for"},
		"no key for the log": {func(r *rig) {
			r.cfg.Log.Key = r.key("signer/other")
			r.save()
		}, "allowed_clients does not let it"},
		"database secret open to others": {func(r *rig) { r.must(os.Chmod(r.cfg.Database.URLFile, 0o640)) }, "only its owner"},
		"address taken": {func(r *rig) {
			r.cfg.Listen = "256.0.0.1:1"
			r.save()
		}, "listen"},
	}
	r := newKeyedRig(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			copied := *r
			copied.t = t
			tt.change(&copied)
			_, err := copied.run("serve")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			r.must(os.Chmod(r.cfg.Database.URLFile, 0o600))
			r.save()
			r.sign(nil)
		})
	}
}

func TestCheckConfig(t *testing.T) {
	r := newKeyedRig(t)
	out, err := r.run("check-config")
	if err != nil || !strings.Contains(out, "configuration is good") {
		t.Fatalf("%v: %s", err, out)
	}
	for name, path := range map[string]string{"PIN": r.cfg.PKCS11.PINFile, "database": r.cfg.Database.URLFile,
		"policy": r.cfg.Policy.File, "signature": r.cfg.Policy.Signature, "certificate": r.cfg.TLS.Cert, "authority": r.cfg.TLS.CA} {
		r.must(os.Rename(path, path+".gone"))
		if out, err := r.run("check-config"); err == nil {
			t.Errorf("good without its %s: %s", name, out)
		}
		r.must(os.Rename(path+".gone", path))
	}
}

func TestConfigValidate(t *testing.T) {
	good := Config{}
	if err := boot.Load(example(t), &good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no address":          func(c *Config) { c.Listen = "" },
		"no clients":          func(c *Config) { c.AllowedClients = nil },
		"a client of no name": func(c *Config) { c.AllowedClients = []string{""} },
		"no certificate":      func(c *Config) { c.TLS.Cert = "" },
		"relative path":       func(c *Config) { c.Policy.File = "policy.toml" },
		"relative conf":       func(c *Config) { c.PKCS11.SoftHSMConf = "softhsm2.conf" },
		"no PIN":              func(c *Config) { c.PKCS11.PINFile = "" },
		"no module":           func(c *Config) { c.PKCS11.Module = "" },
		"no label":            func(c *Config) { c.PKCS11.TokenLabel = "" },
		"no sessions":         func(c *Config) { c.PKCS11.MaxSessions = 0 },
		"no connections":      func(c *Config) { c.Database.MaxConnections = 0 },
		"many connections":    func(c *Config) { c.Database.MaxConnections = 101 },
		"no officer":          func(c *Config) { c.Policy.Officers = nil },
		"no key for the log":  func(c *Config) { c.Log.Key = keymgmt.KeyID{} },
		"no quorum":           func(c *Config) { c.Policy.Quorum = 0 },
	} {
		c := good
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func example(t *testing.T) string {
	t.Helper()
	return filepath.Join("..", "..", "deploy", "config", "signer.toml")
}

// A key that is misspelt anywhere in the shipped example is an error that names it.
func TestExampleWithUnknownKeys(t *testing.T) {
	raw, err := os.ReadFile(example(t))
	if err != nil {
		t.Fatal(err)
	}
	keys := regexp.MustCompile(`(?m)^([a-z0-9_]+) *=`).FindAllStringSubmatch(string(raw), -1)
	if len(keys) < 12 {
		t.Fatalf("only %d keys in the example", len(keys))
	}
	for _, key := range keys {
		path := filepath.Join(t.TempDir(), "c.toml")
		text := regexp.MustCompile(`(?m)^`+key[1]+` *=`).ReplaceAllString(string(raw), key[1]+"_ =")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := boot.Load(path, new(Config)); err == nil || !strings.Contains(err.Error(), key[1]+"_") {
			t.Errorf("%s: %v", key[1], err)
		}
	}
}

func TestArguments(t *testing.T) {
	t.Setenv(softhsm.Env, "")
	for _, args := range [][]string{{}, {"sing"}, {"serve"}, {"serve", "-config"}, {"serve", "-config", "x", "y"}, {"serve", "--yes", "-config", "x"},
		{"keygen", "-config", "x"}, {"keygen", "-config", "x", "-key", "No Key"}, {"init-token", "-config", "x"},
		{"keys", "-config", "/nonexistent/signer.toml"}, {"keys", "-pin", "1234", "-config", "x"}, {"keys", "--yes", "-config", "x"},
		{"evidence", "-config", "x", "-key", "a", "-ref", "b"}} {
		var out strings.Builder
		if err := run(t.Context(), args, &out); err == nil {
			t.Errorf("%q: accepted, printed %q", args, out.String())
		}
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"serve", "-h"}, &out); err != nil || !strings.Contains(out.String(), "usage") {
		t.Errorf("help: %v, %q", err, out.String())
	}
}
