package vault

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
)

// A revoked token is replaced within the call that finds out, and the new one is used from then on.
func TestRevokedTokenIsReplaced(t *testing.T) {
	r := newRig(t)
	c := r.client(t, "signer")
	must(t, c.Ping(t.Context()))
	first := c.tokenNow(t)
	r.root(t, "auth/token/revoke", map[string]any{"token": first})
	keytest.Until(t, c.Ping) // unavailable while the login is too young to be blamed
	second := c.tokenNow(t)
	if first == second {
		t.Fatal("no fresh login")
	}
	wantNoSecret(t, r, first, second)
}

// Tokens end at their longest life, again and again, and nobody who asks meanwhile notices.
func TestLongestLifeIsReplacedWithoutGap(t *testing.T) {
	r := newRig(t)
	clients, tokens := map[string]*Client{}, map[string]map[string]bool{}
	for name, role := range map[string]map[string]any{
		"service": {"token_ttl": "3s", "token_max_ttl": "6s"},
		"batch":   {"token_ttl": "3s", "token_max_ttl": "3s", "token_type": "batch"},
	} {
		r.role(t, name, signerPolicy, role)
		clients[name], tokens[name] = r.client(t, name), map[string]bool{}
	}
	eventually(t, "three logins of each", func() bool {
		for name, c := range clients {
			must(t, c.Ping(t.Context()))
			tokens[name][c.tokenNow(t)] = true
		}
		return len(tokens["service"]) >= 3 && len(tokens["batch"]) >= 3
	})
}

// What Vault denies stays denied after a fresh login, and is no reason to log in for ever.
func TestForbidden(t *testing.T) {
	r := newRig(t)
	c := r.client(t, "signer")
	forbidden := func() error {
		return c.do(t.Context(), call{method: http.MethodGet, path: "sys/mounts"}, nil)
	}
	first := c.tokenNow(t)
	for range 20 {
		if err := forbidden(); !errors.Is(err, keymgmt.ErrUnavailable) || !errors.Is(err, ErrForbidden) {
			t.Fatal(err)
		}
	}
	if c.tokenNow(t) != first {
		t.Fatal("a young login was given up")
	}
	// An old login may have been made under an older policy.
	c.mu.Lock()
	c.current.began = c.current.began.Add(-proven)
	c.mu.Unlock()
	r.root(t, "sys/policies/acl/more", map[string]any{"policy": `path "sys/mounts" { capabilities = ["read"] }`})
	r.root(t, "auth/cert/certs/signer", map[string]any{"token_policies": []string{"signer", "more"}, "certificate": readText(t, r.server.CAFile()),
		"allowed_common_names": []string{"signer"}})
	must(t, forbidden())
	if c.tokenNow(t) == first {
		t.Fatal("no fresh login")
	}
}

func readText(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

// Vault is sealed, or not there, when we start: we wait, say so, and get going by ourselves.
func TestStartWhileVaultIsAway(t *testing.T) {
	r := newRig(t)
	for name, away := range map[string]func() func(){
		"sealed": func() func() { r.server.Seal(t); return func() { r.server.Unseal(t) } },
		"stopped": func() func() {
			r.server.Stop(t)
			return func() { r.server.Start(t); r.server.Unseal(t) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			back := away()
			c := r.client(t, "signer")
			if err := c.Ping(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) {
				t.Fatal(err)
			}
			if !strings.Contains(r.log.String(), "login at Vault failed") {
				t.Fatalf("log: %s", r.log)
			}
			back()
			keytest.Until(t, c.Ping)
			eventually(t, "a word that it works again", func() bool { return strings.Contains(r.log.String(), "again") })
		})
	}
}

func TestRun(t *testing.T) {
	r := newRig(t)
	c, err := New(r.config(t, "signer"))
	must(t, err)
	if err := c.Ping(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) || !errors.Is(err, errNotRunning) {
		t.Fatalf("before Run: %v", err)
	}
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		keytest.Until(t, c.Ping)
		if err := c.Run(ctx); !errors.Is(err, errRunning) {
			t.Fatalf("a second Run: %v", err)
		}
		token := c.tokenNow(t)
		cancel()
		must(t, <-done)
		if err := c.Ping(t.Context()); !errors.Is(err, errNotRunning) {
			t.Fatalf("after Run: %v", err)
		}
		if _, err := r.server.TryRoot(t.Context(), "POST", "auth/token/lookup", map[string]any{"token": token}); err == nil {
			t.Fatal("the token outlived Run")
		}
	}
}

func TestCertificateLogin(t *testing.T) {
	r := newRig(t)
	for name, change := range map[string]func(*Config){
		"another's certificate": func(c *Config) { c.Login.Role = "ceremony" },
		"no such role":          func(c *Config) { c.Login.Role = "nobody" },
		"no such mount":         func(c *Config) { c.Login.Mount = "other" },
		"no file":               func(c *Config) { c.CertFile += ".none" },
		"another authority":     func(c *Config) { c.CAFile = c.CertFile },
		"another server":        func(c *Config) { c.ServerName = "elsewhere.example" },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := r.config(t, "signer")
			change(&cfg)
			if err := run(t, cfg).Ping(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) {
				t.Fatal(err)
			}
		})
	}
	r.role(t, "endless", signerPolicy, map[string]any{"token_period": "0", "token_ttl": "0"})
	must(t, r.client(t, "endless").Ping(t.Context())) // Vault's own default ends it
}

func TestConfigValidate(t *testing.T) {
	good := Config{Address: "https://vault.example:8200", CAFile: "ca", CertFile: "c", KeyFile: "k", MaxConns: 1, Timeout: time.Second,
		Log: discard(), Login: Login{Method: ByCertificate, Mount: "cert", Role: "signer"}}
	must(t, good.Validate())
	approle := Login{Method: ByAppRole, Mount: "approle", Role: "signer", RoleID: "id", TokenFile: "f"}
	for name, change := range map[string]func(*Config){
		"http":              func(c *Config) { c.Address = "http://vault.example" },
		"no address":        func(c *Config) { c.Address = "" },
		"path":              func(c *Config) { c.Address = "https://vault.example/v1" },
		"query":             func(c *Config) { c.Address = "https://vault.example?x" },
		"user":              func(c *Config) { c.Address = "https://me@vault.example" },
		"no authority":      func(c *Config) { c.CAFile = "" },
		"no key":            func(c *Config) { c.KeyFile = "" },
		"no certificate":    func(c *Config) { c.CertFile, c.KeyFile = "", "" },
		"namespace":         func(c *Config) { c.Namespace = "../x" },
		"no connections":    func(c *Config) { c.MaxConns = 0 },
		"many connections":  func(c *Config) { c.MaxConns = MaxConns + 1 },
		"no timeout":        func(c *Config) { c.Timeout = 0 },
		"long timeout":      func(c *Config) { c.Timeout = 2 * MaxTimeout },
		"no log":            func(c *Config) { c.Log = nil },
		"no method":         func(c *Config) { c.Login.Method = 0 },
		"mount":             func(c *Config) { c.Login.Mount = "/cert" },
		"role":              func(c *Config) { c.Login.Role = "" },
		"approle role id":   func(c *Config) { c.Login = approle; c.Login.RoleID = "" },
		"approle file":      func(c *Config) { c.Login = approle; c.Login.TokenFile = "" },
		"kubernetes's file": func(c *Config) { c.Login = Login{Method: ByKubernetes, Mount: "k8s", Role: "signer"} },
	} {
		c := good
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := New(c); err == nil {
			t.Errorf("%s: made", name)
		}
	}
	for method, name := range methods {
		var got Method
		if err := got.UnmarshalText([]byte(name)); err != nil || got != method {
			t.Errorf("%s read as %v, %v", name, got, err)
		}
		if text, err := method.MarshalText(); err != nil || string(text) != name {
			t.Errorf("%s written as %s, %v", name, text, err)
		}
	}
	if _, err := Method(0).MarshalText(); err == nil || new(Method).UnmarshalText([]byte("ldap")) == nil {
		t.Error("an invalid method has a name")
	}
}

func TestKeyringConfigValidate(t *testing.T) {
	good := func() KeyringConfig {
		return KeyringConfig{Transit: "transit", Keys: []Key{ed25519Key(t, "one"), secpKey(t, "two")}, Sealer: sealer(t),
			Store: DirStore("d"), Sealing: []SealingKey{{ID: sealer(t), Version: 1}}}
	}
	must(t, good().Validate())
	public, err := keymgmt.NewPublicKey(keymgmt.Secp256k1, append([]byte{2}, make([]byte, 32)...))
	must(t, err)
	for name, change := range map[string]func(*KeyringConfig){
		"no mount":              func(c *KeyringConfig) { c.Transit = "" },
		"mount":                 func(c *KeyringConfig) { c.Transit = "a/../b" },
		"no id":                 func(c *KeyringConfig) { c.Keys[0].ID = keymgmt.KeyID{} },
		"id twice":              func(c *KeyringConfig) { c.Keys[0].ID = c.Keys[1].ID },
		"id of a sealing key":   func(c *KeyringConfig) { c.Keys[0].ID = sealer(t) },
		"name twice":            func(c *KeyringConfig) { c.Keys[0].Name = "kek.keys" },
		"name":                  func(c *KeyringConfig) { c.Keys[0].Name = "a/b" },
		"name's end":            func(c *KeyringConfig) { c.Keys[0].Name = "a." },
		"no version":            func(c *KeyringConfig) { c.Keys[0].Version = 0 },
		"no algorithm":          func(c *KeyringConfig) { c.Keys[0].Algorithm = 0 },
		"other public key":      func(c *KeyringConfig) { c.Keys[0].Public = public },
		"software with version": func(c *KeyringConfig) { c.Keys[1].Version = 1 },
		"software with name":    func(c *KeyringConfig) { c.Keys[1].Name = "x" },
		"no store":              func(c *KeyringConfig) { c.Store = nil },
		"no sealer":             func(c *KeyringConfig) { c.Sealer = keymgmt.KeyID{} },
		"sealing version":       func(c *KeyringConfig) { c.Sealing[0].Version = 0 },
		"too many":              func(c *KeyringConfig) { c.Sealing = make([]SealingKey, MaxKeys) },
	} {
		c := good()
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// fake is a server that answers as no Vault should, behind the same checks of its certificate.
func fake(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	return run(t, fakeConfig(t, handler))
}

func fakeConfig(t *testing.T, handler http.HandlerFunc) Config {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	jwt := filepath.Join(t.TempDir(), "jwt")
	must(t, os.WriteFile(jwt, []byte("some.jwt.here"), 0o600))
	return Config{Address: server.URL, CAFile: file, MaxConns: 2, Timeout: time.Second, Log: discard(),
		Login: Login{Method: ByKubernetes, Mount: "kubernetes", Role: "signer", TokenFile: jwt}}
}

// Whatever a broken server or a proxy in between answers, it is unavailable, and the token goes nowhere else.
func TestStrangeAnswers(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for name, strange := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		},
		"not JSON":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no data":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"data":7}`)) },
		"bad proxy": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"standby":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"cut short": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "1000") },
		"too long": func(w http.ResponseWriter, _ *http.Request) {
			for range 2 * maxAnswer / (1 << 20) {
				_, _ = w.Write(make([]byte, 1<<20))
			}
		},
		"never": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client is gone
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := fake(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/login") {
					_, _ = w.Write([]byte(`{"auth":{"client_token":"hvs.token","lease_duration":3600,"renewable":true}}`))
					return
				}
				strange(w, r)
			})
			ring, err := NewKeyring(c, KeyringConfig{Transit: "transit", Keys: []Key{ed25519Key(t, "one")}})
			must(t, err)
			if _, err := ring.Public(t.Context(), keytest.Key(t, "one")); !errors.Is(err, keymgmt.ErrUnavailable) {
				t.Error(err)
			}
		})
	}
	if elsewhere.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// Callers who wait for the first login do not ask for a second one, which an AppRole could not have.
func TestOneLoginForAll(t *testing.T) {
	var logins atomic.Int32
	release := make(chan struct{})
	c, err := New(fakeConfig(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/login") {
			logins.Add(1)
			<-release
			_, _ = w.Write([]byte(`{"auth":{"client_token":"hvs.token","lease_duration":3600,"renewable":true}}`))
		}
	}))
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- c.Run(ctx) }()
	eventually(t, "a login", func() bool { return logins.Load() == 1 })
	go func() { done <- c.Ping(ctx) }()
	c.mu.Lock()
	changed := c.changed
	c.mu.Unlock()
	close(release)
	<-changed
	must(t, <-done)
	for range 20 {
		must(t, c.Ping(ctx))
	}
	cancel()
	must(t, <-done)
	if logins.Load() != 1 {
		t.Fatalf("%d logins", logins.Load())
	}
}

// A login whose answer makes no sense is no login.
func TestStrangeLogins(t *testing.T) {
	for name, answer := range map[string]string{
		"no auth":  `{}`,
		"no token": `{"auth":{"lease_duration":3600}}`,
		"endless":  `{"auth":{"client_token":"hvs.token","lease_duration":0}}`,
		"nothing":  ``,
	} {
		c := fake(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) })
		if err := c.Ping(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
