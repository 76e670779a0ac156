package vault

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/vault/vaulttest"
)

// signerPolicy is what the package's comment asks for, and nothing else.
const signerPolicy = `
path "transit/keys/*" { capabilities = ["read"] }
path "transit/sign/*" { capabilities = ["update"] }
path "transit/encrypt/*" { capabilities = ["update"] }
path "transit/decrypt/*" { capabilities = ["update"] }
path "kv/data/sealed/*" { capabilities = ["create", "update", "read"] }
path "pki/sign/programs" { capabilities = ["update"] }
`

// ceremonyPolicy lets keys be made, too.
const ceremonyPolicy = signerPolicy + `path "transit/keys/*" { capabilities = ["create", "update", "read"] }`

// rig is a real server with the engines, and roles to log in by certificate. A test that has one runs beside others: it
// shares nothing with them, and mostly waits for lives of seconds to end.
type rig struct {
	server *vaulttest.Server
	log    *syncBuffer
}

func newRig(t testing.TB) *rig {
	t.Helper()
	if t, ok := t.(*testing.T); ok {
		t.Parallel()
	}
	r := &rig{server: vaulttest.Start(t), log: &syncBuffer{}}
	r.root(t, "sys/mounts/transit", map[string]any{"type": "transit"})
	r.root(t, "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	r.root(t, "sys/auth/cert", map[string]any{"type": "cert"})
	r.role(t, "signer", signerPolicy, map[string]any{"token_ttl": "10m", "token_max_ttl": "1h"})
	r.role(t, "ceremony", ceremonyPolicy, map[string]any{"token_ttl": "10m", "token_max_ttl": "1h"})
	return r
}

func (r *rig) root(t testing.TB, path string, body map[string]any) map[string]any {
	t.Helper()
	return r.server.Root(t, "POST", path, body)
}

// role makes a role for certificates of that name.
func (r *rig) role(t testing.TB, name, policy string, role map[string]any) {
	t.Helper()
	authorities, err := os.ReadFile(r.server.CAFile())
	must(t, err)
	r.root(t, "sys/policies/acl/"+name, map[string]any{"policy": policy})
	body := map[string]any{"certificate": string(authorities), "allowed_common_names": []string{name}, "token_policies": []string{name}}
	for k, v := range role {
		body[k] = v
	}
	r.root(t, "auth/cert/certs/"+name, body)
}

// config is that of a client which logs in by certificate for a role.
func (r *rig) config(t testing.TB, role string) Config {
	t.Helper()
	cert, key := r.server.ClientCertificate(t, role)
	return Config{Address: r.server.Address(), CAFile: r.server.CAFile(), CertFile: cert, KeyFile: key, MaxConns: 32,
		Timeout: 20 * time.Second, Log: slog.New(slog.NewTextHandler(r.log, nil)),
		Login: Login{Method: ByCertificate, Mount: "cert", Role: role}}
}

func (r *rig) client(t testing.TB, role string) *Client {
	t.Helper()
	return run(t, r.config(t, role))
}

// run makes a client and lets it run until the test ends.
func run(t testing.TB, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	begun := c.changed
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	<-begun // the first try to log in is over, so that nobody finds that the client is not running
	return c
}

func (r *rig) ring(t testing.TB, c *Client, keys ...Key) *Keyring {
	t.Helper()
	store, err := NewKVStore(c, "kv", "sealed")
	must(t, err)
	ring, err := NewKeyring(c, KeyringConfig{Transit: "transit", Keys: keys, Sealer: sealer(t), Store: store,
		Sealing: []SealingKey{{ID: sealer(t), Version: 1}}})
	must(t, err)
	return ring
}

func sealer(t testing.TB) keymgmt.KeyID { return keytest.Key(t, "kek/keys") }

// made makes keys as a ceremony would, and returns a keyring of the signer that has them.
func (r *rig) made(t testing.TB, keys ...Key) *Keyring {
	t.Helper()
	ceremony := r.ring(t, r.client(t, "ceremony"), keys...)
	must(t, ceremony.GenerateSealing(t.Context(), sealer(t)))
	for _, k := range keys {
		_, err := ceremony.Generate(t.Context(), k.ID)
		must(t, err)
	}
	return r.ring(t, r.client(t, "signer"), keys...)
}

func ed25519Key(t testing.TB, id string) Key {
	return Key{ID: keytest.Key(t, id), Algorithm: keymgmt.Ed25519, Version: 1}
}

func p256Key(t testing.TB, id string) Key {
	return Key{ID: keytest.Key(t, id), Algorithm: keymgmt.P256, Version: 1}
}

func secpKey(t testing.TB, id string) Key {
	return Key{ID: keytest.Key(t, id), Algorithm: keymgmt.Secp256k1}
}

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// token is the login that the client has.
func (c *Client) tokenNow(t testing.TB) string {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		t.Fatalf("not logged in: %v", c.failed)
	}
	return string(c.current.token)
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for !holds() {
		select {
		case <-limit:
			t.Fatalf("not within a minute: %s", what)
		case <-tick.C:
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantNoSecret(t testing.TB, r *rig, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		if s == "" || strings.Contains(r.log.String(), s) {
			t.Errorf("a secret of %d characters is in the log", len(s))
		}
	}
	if logged := r.log.String(); strings.Contains(logged, "hvs.") {
		t.Errorf("a token is in the log: %s", logged)
	}
}

func digestOf(n int) []byte {
	return []byte(fmt.Sprintf("%032d", n))
}
