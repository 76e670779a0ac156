package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/cmd/internal/vaultconf"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/keymgmt/vault"
	"github.com/diamante/gateway/keymgmt/vault/vaulttest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

const inVault = "anchor/usd/issuing"

// vaultPolicy lets a signer sign, and its operator make keys.
const vaultPolicy = `
path "transit/keys/*" { capabilities = ["create", "update", "read"] }
path "transit/sign/*" { capabilities = ["update"] }
path "transit/encrypt/*" { capabilities = ["update"] }
path "transit/decrypt/*" { capabilities = ["update"] }
path "kv/data/sealed/*" { capabilities = ["create", "update", "read"] }
`

// newVault starts a server and has the rig keep the issuing key there.
func (r *rig) newVault() *vaulttest.Server {
	r.t.Helper()
	server := vaulttest.Start(r.t)
	authorities, err := os.ReadFile(server.CAFile())
	r.must(err)
	for path, body := range map[string]map[string]any{
		"sys/mounts/transit":      {"type": "transit"},
		"sys/mounts/kv":           {"type": "kv", "options": map[string]string{"version": "2"}},
		"sys/auth/cert":           {"type": "cert"},
		"sys/policies/acl/signer": {"policy": vaultPolicy},
	} {
		server.Root(r.t, "POST", path, body)
	}
	server.Root(r.t, "POST", "auth/cert/certs/signer", map[string]any{"certificate": string(authorities),
		"allowed_common_names": []string{"signer"}, "token_policies": []string{"signer"}, "token_ttl": "10m", "token_max_ttl": "1h"})
	cert, key := server.ClientCertificate(r.t, "signer")
	r.cfg.Vault = &Vault{Transit: "transit", Server: vaultconf.Server{Address: server.Address(), CA: server.CAFile(), Cert: cert, Key: key, MaxConnections: 8, Timeout: "5s",
		Login: vaultconf.Login{Method: vault.ByCertificate, Mount: "cert", Role: "signer"}},
		Keys: []VaultKey{{ID: r.key(inVault), Algorithm: "ed25519", Version: 1}}}
	r.save()
	return server
}

// TestTwoHomes: one key in Vault and the others in a token. Each home takes only its own keys away with it, and both come
// back by themselves.
func TestTwoHomes(t *testing.T) {
	r := newRig(t)
	server := r.newVault()
	r.initToken()
	r.generate()
	r.sign(r.homes)
	if out, err := r.run("check-config"); err != nil || !strings.Contains(out, "configuration is good") {
		t.Fatal(out, err)
	}
	c := r.client(r.serve(), gatewayName)
	n := 0
	issue := func(ctx context.Context) error { n++; _, err := c.Sign(ctx, r.issue(n)); return err }
	trust := func(ctx context.Context) error { n++; _, err := c.Sign(ctx, r.trust(n)); return err }
	keytest.Until(t, issue)
	r.must(trust(t.Context()))
	down := func(home string) {
		t.Helper()
		r.within(home+" is away in health", func() bool {
			parts, err := c.Health(t.Context())
			return err == nil && parts["keyring"] != nil && parts[home] != nil
		})
	}

	server.Seal(t)
	down("vault")
	if err := issue(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Errorf("with a key in a sealed Vault: %v", err)
	}
	r.must(trust(t.Context()))
	server.Unseal(t)
	keytest.Until(t, issue)

	server.Root(t, "POST", "sys/leases/revoke-prefix/auth/cert", nil) // every login by certificate
	keytest.Until(t, issue)

	bringBack := r.takeAway()
	keytest.Until(t, func(ctx context.Context) error {
		if err := trust(ctx); !errors.Is(err, keymgmt.ErrUnavailable) {
			return errors.Join(errors.New("the token signs still"), err)
		}
		return nil
	})
	down("pkcs11")
	r.must(issue(t.Context()))
	bringBack()
	keytest.Until(t, trust)
	keytest.Until(t, func(ctx context.Context) error { return healthy(ctx, c) })
}

// TestCheckSpendsNoLogin: a wrapped secret id is good for one login, and that is the signer's: a check leaves it alone.
func TestCheckSpendsNoLogin(t *testing.T) {
	r := newRig(t)
	server := r.newVault()
	r.initToken()
	r.generate()
	r.sign(r.homes)
	server.Root(t, "POST", "sys/auth/approle", map[string]any{"type": "approle"})
	server.Root(t, "POST", "auth/approle/role/signer", map[string]any{"token_policies": []string{"signer"}, "secret_id_num_uses": 1,
		"token_ttl": "10m", "token_max_ttl": "1h"})
	id, _ := server.Root(t, "GET", "auth/approle/role/signer/role-id", nil)["role_id"].(string)
	file := r.write("wrapping-token", []byte(server.WrapRoot(t, "POST", "auth/approle/role/signer/secret-id", nil)))
	r.cfg.Vault.Cert, r.cfg.Vault.Key = "", ""
	r.cfg.Vault.Login = vaultconf.Login{Method: vault.ByAppRole, Mount: "approle", Role: "signer", RoleID: id, TokenFile: file}
	r.save()
	for range 2 {
		_, err := r.run("check-config")
		r.must(err)
	}
	_, err := os.Stat(file)
	r.must(err)
	c := r.client(r.serve(), gatewayName)
	n := 0
	keytest.Until(t, func(ctx context.Context) error { n++; _, err := c.Sign(ctx, r.issue(n)); return err })
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the wrapping token that was used is still there: %v", err)
	}
}

// TestKeyInTwoHomes: a key of one name in both homes is two keys, and the signer does not choose.
func TestKeyInTwoHomes(t *testing.T) {
	r := newRig(t)
	r.newVault()
	there := r.cfg.Vault
	r.initToken()
	r.generate()
	r.sign(r.homes)
	r.cfg.Vault = nil
	r.save()
	_, err := r.run("keygen", "-key", inVault, "--yes")
	r.must(err)
	r.cfg.Vault = there
	r.save()
	if _, err := r.run("serve"); !errors.Is(err, keymgmt.ErrUnknownKey) || !strings.Contains(err.Error(), "in vault and in pkcs11") {
		t.Error(err)
	}
}

// TestOtherHome: a key is where the policy says, and not where a configuration moves it.
func TestOtherHome(t *testing.T) {
	r := newRig(t)
	r.newVault()
	r.initToken()
	r.generate()
	r.sign(nil)
	if _, err := r.run("serve"); !errors.Is(err, service.ErrOtherHome) {
		t.Error(err)
	}
}

// TestOtherKeyInVault: the policy says which key an id stands for, and what Vault has now under its name is none of it.
func TestOtherKeyInVault(t *testing.T) {
	r := newRig(t)
	server := r.newVault()
	r.initToken()
	r.generate()
	r.sign(r.homes)
	server.Root(t, "POST", "transit/keys/anchor.usd.issuing/rotate", nil)
	r.cfg.Vault.Keys[0].Version = 2
	r.save()
	if _, err := r.run("serve"); !errors.Is(err, vault.ErrKeyRefused) {
		t.Errorf("another version, another key: %v", err)
	}
}

// TestVaultKeys: keys are made and listed in both homes, a sealed one with the key that seals it.
func TestVaultKeys(t *testing.T) {
	r := newRig(t)
	r.newVault()
	r.cfg.Vault.Keys = append(r.cfg.Vault.Keys, VaultKey{ID: r.key("coins/eth"), Algorithm: "secp256k1"})
	r.cfg.Vault.Sealing = []VaultSealingKey{{ID: r.key("kek/coins"), Version: 1}}
	r.cfg.Vault.Sealer, r.cfg.Vault.StoreMount, r.cfg.Vault.StorePrefix = "kek/coins", "kv", "sealed"
	r.save()
	r.initToken()
	for _, step := range []struct{ args, says string }{
		{"keygen -key coins/eth -key a", "would make key coins/eth in Vault"},
		{"keygen -key coins/eth -key a -key anchor/usd/issuing --yes", "coins/eth "},
		{"keys", "software-sealed"}, {"keys", "hardware"}, {"keys", "vault"},
	} {
		if out, err := r.run(strings.Fields(step.args)...); err != nil || !strings.Contains(out, step.says) {
			t.Fatalf("%s: %v, %q", step.args, err, out)
		}
	}
	if _, err := r.run("keygen", "-key", "coins/eth", "--yes"); err == nil {
		t.Error("a key was made over another")
	}
	r.cfg.PKCS11, r.cfg.Mark.None = nil, true
	r.save()
	for _, args := range []string{"try-pin --yes", "keygen -key b --yes", "doctor --yes"} {
		if _, err := r.run(strings.Fields(args)...); err == nil {
			t.Errorf("%s: without a token", args)
		}
	}
	if out, err := r.run("keys", "--json"); err != nil || strings.Contains(out, "hardware") {
		t.Error(out, err)
	}
}

func TestVaultConfigValidate(t *testing.T) {
	r := newRig(t)
	good := Vault{Transit: "transit", Server: vaultconf.Server{Address: "https://vault:8200", CA: "/ca", Cert: "/c", Key: "/k", MaxConnections: 8, Timeout: "5s",
		Login: vaultconf.Login{Method: vault.ByCertificate, Mount: "cert", Role: "signer"}}, Keys: []VaultKey{{ID: r.key(inVault), Algorithm: "ed25519", Version: 1}}}
	r.must(good.Validate())
	for name, change := range map[string]func(*Vault){
		"no address":      func(v *Vault) { v.Address = "" },
		"no TLS":          func(v *Vault) { v.Address = "http://vault:8200" },
		"relative path":   func(v *Vault) { v.CA = "ca" },
		"no certificate":  func(v *Vault) { v.Cert, v.Key = "", "" },
		"no time":         func(v *Vault) { v.Timeout = "" },
		"no keys":         func(v *Vault) { v.Keys = nil },
		"no version":      func(v *Vault) { v.Keys[0].Version = 0 },
		"other algorithm": func(v *Vault) { v.Keys[0].Algorithm = "rsa" },
		"no sealer":       func(v *Vault) { v.Keys = append(v.Keys, VaultKey{ID: r.key("c"), Algorithm: "secp256k1"}) },
		"no store":        func(v *Vault) { v.Sealer = "kek/x" },
	} {
		v := good
		v.Keys = append([]VaultKey(nil), good.Keys...)
		change(&v)
		if v.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := (&Config{Listen: "x", AllowedClients: []string{"x"}, TLS: boot.TLS{Cert: "/c", Key: "/k", CA: "/a"}}).Validate(); err == nil {
		t.Error("no home at all: accepted")
	}
}

// trust asks for a line of the distribution account, whose key is in the token.
func (r *rig) trust(n int) keymgmt.Request {
	r.t.Helper()
	credit, err := protocol.NewCredit(asset, r.publics[inVault])
	r.must(err)
	return r.request("anchor/usd/distribution", fmt.Sprintf("trust/%d", n), txbuild.ChangeTrust{Asset: credit})
}

// homes says in the policy where the issuing key is.
func (r *rig) homes(f *policy.File) {
	for i := range f.Keys {
		if f.Keys[i].ID.String() == inVault {
			f.Keys[i].Home = keymgmt.Vault
		}
	}
}
