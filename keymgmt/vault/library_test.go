package vault

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestNoEnvironment: whoever can set a variable of ours cannot say where we go, as whom, or how.
func TestNoEnvironment(t *testing.T) {
	var elsewhere, wrong atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	for name, value := range map[string]string{
		"VAULT_ADDR": other.URL, "VAULT_AGENT_ADDR": other.URL, "VAULT_PROXY_ADDR": other.URL, "VAULT_HTTP_PROXY": other.URL, "HTTPS_PROXY": other.URL,
		"VAULT_TOKEN": "hvs.theirs", "VAULT_NAMESPACE": "theirs", "VAULT_HEADERS": `{"X-Theirs":"1"}`, "VAULT_WRAP_TTL": "5m",
		"VAULT_SKIP_VERIFY": "true", "VAULT_MAX_RETRIES": "9", "VAULT_SRV_LOOKUP": "true", "VAULT_CLIENT_TIMEOUT": "1ns",
	} {
		t.Setenv(name, value)
	}
	check := func(r *http.Request) {
		for _, name := range []string{"X-Vault-Namespace", "X-Theirs", "X-Vault-Wrap-Ttl"} {
			if r.Header.Get(name) != "" {
				wrong.Add(1)
			}
		}
		if want := map[bool]string{true: "", false: "hvs.ours"}[strings.HasSuffix(r.URL.Path, "/login")]; r.Header.Get("X-Vault-Token") != want {
			wrong.Add(1)
		}
	}
	c := fake(t, func(w http.ResponseWriter, r *http.Request) {
		check(r)
		if strings.HasSuffix(r.URL.Path, "/login") {
			_, _ = io.WriteString(w, `{"auth":{"client_token":"hvs.ours","lease_duration":3600,"renewable":true}}`)
			return
		}
		_, _ = io.WriteString(w, `{"data":{}}`)
	})
	must(t, c.Ping(t.Context()))
	if elsewhere.Load() != 0 || wrong.Load() != 0 {
		t.Errorf("%d requests went elsewhere, %d headers were not ours", elsewhere.Load(), wrong.Load())
	}
	t.Setenv("VAULT_SKIP_VERIFY", "true")
	cfg := fakeConfig(t, func(http.ResponseWriter, *http.Request) {})
	stranger := fakeConfig(t, func(http.ResponseWriter, *http.Request) {})
	cfg.CAFile = stranger.CAFile // all httptest servers share a certificate, so another name it is
	cfg.ServerName = "elsewhere.example"
	if err := run(t, cfg).Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "elsewhere.example") {
		t.Errorf("a server of another name was believed: %v", err)
	}
}

// TestOneTry: what may have been done is not done again.
func TestOneTry(t *testing.T) {
	var asked atomic.Int32
	c := fake(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/login") {
			_, _ = io.WriteString(w, `{"auth":{"client_token":"hvs.ours","lease_duration":3600,"renewable":true}}`)
			return
		}
		asked.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	})
	if err := c.Ping(t.Context()); !errors.Is(err, errNotWell) {
		t.Error(err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}
