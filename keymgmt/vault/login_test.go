package vault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// appRole is a role whose wrapping tokens are put where the client looks for them.
type appRole struct {
	*rig
	cfg  Config
	file string
}

func newAppRole(t *testing.T) appRole {
	t.Helper()
	r := newRig(t)
	r.root(t, "sys/auth/approle", map[string]any{"type": "approle"})
	r.root(t, "auth/approle/role/signer", map[string]any{"token_policies": []string{"signer"}, "secret_id_num_uses": 1,
		"token_ttl": "10m", "token_max_ttl": "1h"})
	a := appRole{rig: r, cfg: r.config(t, "signer"), file: filepath.Join(t.TempDir(), "wrapping-token")}
	id, _ := r.server.Root(t, "GET", "auth/approle/role/signer/role-id", nil)["role_id"].(string)
	a.cfg.CertFile, a.cfg.KeyFile = "", ""
	a.cfg.Login = Login{Method: ByAppRole, Mount: "approle", Role: "signer", RoleID: id, TokenFile: a.file}
	return a
}

// wrap makes a secret id that only Vault knows.
func (a appRole) wrap(t *testing.T) string {
	t.Helper()
	return a.server.WrapRoot(t, "POST", "auth/approle/role/signer/secret-id", nil)
}

func (a appRole) put(t *testing.T, token string) {
	t.Helper()
	must(t, os.WriteFile(a.file, []byte(token+"\n"), 0o600))
}

func TestAppRole(t *testing.T) {
	a := newAppRole(t)
	wrapping := a.wrap(t)
	a.put(t, wrapping)
	c := run(t, a.cfg)
	must(t, c.Ping(t.Context()))
	first := c.tokenNow(t)
	if _, err := os.Stat(a.file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the used wrapping token is still there: %v", err)
	}

	// The login ends, and there is no new secret id: unavailable, for a reason that is no alarm.
	a.root(t, "auth/token/revoke", map[string]any{"token": first})
	eventually(t, "the reason", func() bool { return errors.Is(c.Ping(t.Context()), ErrNoSecretID) })
	a.put(t, wrapping) // ours, used by us
	if err := c.Ping(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) || errors.Is(err, ErrWrappingToken) {
		t.Fatalf("our own used token: %v", err)
	}
	a.put(t, a.wrap(t))
	keytest.Until(t, c.Ping)
	if c.tokenNow(t) == first {
		t.Fatal("no fresh login")
	}
	if strings.Contains(a.log.String(), "ALARM") {
		t.Errorf("an alarm without a reason: %s", a.log)
	}
	wantNoSecret(t, a.rig, wrapping, first, c.tokenNow(t))
}

// One request is refused, and there is no secret id for a fresh login: everything else goes on, beyond the token's life.
func TestAppRoleOutlivesARefusal(t *testing.T) {
	a := newAppRole(t)
	a.root(t, "auth/approle/role/signer", map[string]any{"token_ttl": "3s", "token_max_ttl": "1h", "secret_id_num_uses": 1})
	a.put(t, a.wrap(t))
	c := run(t, a.cfg)
	end := time.Now().Add(5 * time.Second)
	first := c.tokenNow(t)
	blamed := false
	eventually(t, "the end of the token's first life", func() bool {
		err := c.do(t.Context(), call{method: http.MethodGet, path: "sys/mounts"}, nil)
		blamed = blamed || errors.Is(err, ErrNoSecretID)
		must(t, c.Ping(t.Context()))
		return time.Now().After(end)
	})
	if !blamed || c.tokenNow(t) != first {
		t.Fatalf("blamed: %t", blamed)
	}
}

// Somebody was faster, or put in something of his own.
func TestAppRoleAlarms(t *testing.T) {
	a := newAppRole(t)
	for name, token := range map[string]func() string{
		"unwrapped by somebody": func() string {
			token := a.wrap(t)
			a.server.Root(t, "POST", "sys/wrapping/unwrap", map[string]any{"token": token})
			return token
		},
		"wrapped by somebody": func() string {
			return a.server.WrapRoot(t, "POST", "sys/wrapping/wrap", map[string]any{"secret_id": "his", "secret_id_num_uses": 1})
		},
		"of another role": func() string {
			a.root(t, "auth/approle/role/other", map[string]any{"secret_id_num_uses": 1})
			return a.server.WrapRoot(t, "POST", "auth/approle/role/other/secret-id", nil)
		},
		"made up": func() string { return "hvs.CAESINotAToken" },
	} {
		t.Run(name, func(t *testing.T) {
			a.put(t, token())
			c := run(t, a.cfg)
			if err := c.Ping(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) || !errors.Is(err, ErrWrappingToken) {
				t.Fatal(err)
			}
			if !strings.Contains(a.log.String(), "level=ERROR") {
				t.Fatalf("no alarm in the log: %s", a.log)
			}
			a.put(t, a.wrap(t))
			keytest.Until(t, c.Ping)
		})
	}
}

// What is no reason for alarm, yet no way in.
func TestAppRoleRefuses(t *testing.T) {
	a := newAppRole(t)
	want := func(t *testing.T, c *Client, cause error) {
		t.Helper()
		err := c.Ping(t.Context())
		if !errors.Is(err, keymgmt.ErrUnavailable) || cause != nil && !errors.Is(err, cause) || errors.Is(err, ErrWrappingToken) {
			t.Fatal(err)
		}
	}
	t.Run("no file", func(t *testing.T) { want(t, run(t, a.cfg), ErrNoSecretID) })
	t.Run("two tokens", func(t *testing.T) {
		a.put(t, "one\ntwo")
		want(t, run(t, a.cfg), nil)
	})
	t.Run("for many logins", func(t *testing.T) {
		a.root(t, "auth/approle/role/signer", map[string]any{"secret_id_num_uses": 0})
		a.put(t, a.wrap(t))
		want(t, run(t, a.cfg), ErrNoSecretID)
		a.root(t, "auth/approle/role/signer", map[string]any{"secret_id_num_uses": 1})
	})
	t.Run("while sealed", func(t *testing.T) {
		a.put(t, a.wrap(t))
		a.server.Seal(t)
		c := run(t, a.cfg)
		want(t, c, errNotWell)
		a.server.Unseal(t)
		keytest.Until(t, c.Ping) // the wrapping token was not lost
	})
}

// reviewer is the one part of Kubernetes that Vault asks: is this token one of yours?
type reviewer struct {
	key  *ecdsa.PrivateKey
	seen chan string
}

func (v reviewer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review struct {
		Spec struct {
			Token string `json:"token"`
		} `json:"spec"`
	}
	if r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || json.NewDecoder(r.Body).Decode(&review) != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	v.seen <- review.Spec.Token
	_, err := jwt.Parse(review.Spec.Token, func(*jwt.Token) (any, error) { return v.key.Public(), nil }, jwt.WithValidMethods([]string{"ES256"}))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = fmt.Fprintf(w, `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","status":{"authenticated":%t,"audiences":["vault"],
		"user":{"username":"system:serviceaccount:bank:signer","uid":"uid-1","groups":["system:serviceaccounts"]}}}`, err == nil)
}

func (v reviewer) token(t *testing.T, key *ecdsa.PrivateKey, name string) string {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:bank:" + name, "aud": []string{"vault"},
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{"namespace": "bank", "serviceaccount": map[string]any{"name": name, "uid": "uid-1"}},
	}).SignedString(key)
	must(t, err)
	return text
}

func TestKubernetes(t *testing.T) {
	r := newRig(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	v := reviewer{key, make(chan string, 100)}
	api := httptest.NewTLSServer(v)
	defer api.Close()
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}))
	r.root(t, "sys/auth/kubernetes", map[string]any{"type": "kubernetes"})
	r.root(t, "auth/kubernetes/config", map[string]any{"kubernetes_host": api.URL, "kubernetes_ca_cert": authority,
		"token_reviewer_jwt": v.token(t, key, "vault"), "disable_local_ca_jwt": true})
	r.root(t, "auth/kubernetes/role/signer", map[string]any{"bound_service_account_names": []string{"signer"},
		"bound_service_account_namespaces": []string{"bank"}, "token_policies": []string{"signer"}, "token_ttl": "10m"})
	cfg := r.config(t, "signer")
	file := filepath.Join(t.TempDir(), "token")
	cfg.CertFile, cfg.KeyFile, cfg.Login = "", "", Login{Method: ByKubernetes, Mount: "kubernetes", Role: "signer", TokenFile: file}

	good := v.token(t, key, "signer")
	must(t, os.WriteFile(file, []byte(good), 0o600))
	c := run(t, cfg)
	must(t, c.Ping(t.Context()))
	if got := <-v.seen; got != good {
		t.Fatal("another token was reviewed")
	}

	// Kubernetes replaces the file; a fresh login takes what is there then.
	forger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	for name, text := range map[string]string{"forged": v.token(t, forger, "signer"), "of another": v.token(t, key, "other"), "empty": ""} {
		must(t, os.WriteFile(file, []byte(text), 0o600))
		if err := run(t, cfg).Ping(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	second := v.token(t, key, "signer")
	must(t, os.WriteFile(file, []byte(second), 0o600))
	r.root(t, "auth/token/revoke", map[string]any{"token": c.tokenNow(t)})
	keytest.Until(t, c.Ping)
	wantNoSecret(t, r, good, second)
}
