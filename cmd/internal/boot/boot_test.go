package boot_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/cmd/internal/boot/devca"
)

type config struct {
	Name string `toml:"name"`
}

func (c *config) Validate() error {
	if c.Name == "" {
		return errors.New("name is required")
	}
	return nil
}

func TestLoad(t *testing.T) {
	tests := map[string]struct{ file, want string }{
		"good":        {"name = 'x'\n", ""},
		"unknown key": {"name = 'x'\nnmae = 'y'\n", "nmae"},
		"invalid":     {"", "name is required"},
		"syntax":      {"name = 'x'\nname\n", "line 2"},
		"panics":      {"name = 2026-03-01\n", "config"},
		"wrong type":  {"name = 7\n", "line 1"},
		"too large":   {"name = 'x' #" + strings.Repeat("x", boot.MaxConfig), "larger than"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c.toml")
			if err := os.WriteFile(path, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			err := boot.Load(path, &config{})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestSecretMustBePrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte(" value\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := boot.Secret(path); err == nil {
		t.Error("a file that the group reads was taken")
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := boot.Secret(path); err != nil || s != "value" {
		t.Errorf("got %q, %v", s, err)
	}
}

func TestLoggerBlanksSecrets(t *testing.T) {
	var buf bytes.Buffer
	boot.Logger(&buf, "p").Info("x", "hsm_pin", "hidden1", "Token", "hidden2", "ledger", 7)
	if s := buf.String(); strings.Contains(s, "hidden") || !strings.Contains(s, `"ledger":7`) {
		t.Error(s)
	}
}

// What looks like a secret is blanked wherever it stands, and what does not is left alone.
func TestLoggerBlanksShapes(t *testing.T) {
	seed := "S" + strings.Repeat("A", 55)
	account := "G" + strings.Repeat("A", 55)
	token := "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJHQUJDIn0.c2lnbmF0dXJl"
	tests := map[string]struct {
		value any
		gone  string
	}{
		"seed in text":          {"key " + seed + ".", seed},
		"seed in an error":      {fmt.Errorf("parse: %w", errors.New(seed)), seed},
		"seed in a list":        {[]string{"a", seed}, seed},
		"token":                 {"got " + token, "c2lnbmF0dXJl"},
		"bearer":                {"Bearer 0123456789abcdef", "0123456789abcdef"},
		"password in a URL":     {"postgres://user:hunter2@host/db", "hunter2"},
		"password in a string":  {"host=x password=hunter2 dbname=y", "hunter2"},
		"private key":           {"-----BEGIN EC " + "PRIVATE KEY-----\nMHcCAQEE\n", "MHcCAQEE"},
		"bytes":                 {[]byte("hunter2"), "aHVudGVyMg"},
		"account is no secret":  {account, ""},
		"a hash is no secret":   {strings.Repeat("0af1", 16), ""},
		"an address is allowed": {"https://host:8443/path@x", ""},
	}
	for name, tt := range tests {
		var buf bytes.Buffer
		boot.Logger(&buf, "p").Info("x", "value", tt.value)
		boot.Logger(&buf, "p").With("value", tt.value).WithGroup("g").Info("x", "value", tt.value)
		if s := buf.String(); tt.gone != "" && strings.Contains(s, tt.gone) || tt.gone == "" && strings.Contains(s, "redacted") {
			t.Errorf("%s: %s", name, s)
		}
	}
	var buf bytes.Buffer
	boot.Logger(&buf, "p").Info("message with " + seed)
	if strings.Contains(buf.String(), seed) {
		t.Error(buf.String())
	}
}

func TestSecretRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "blank": " \n", "large": strings.Repeat("x", boot.MaxSecret+1)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := boot.SecretBytes(path); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := boot.Secret(dir); err == nil {
		t.Error("a folder was taken")
	}
	if _, err := boot.Secret(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

// TestMutualTLS shows who gets in: only a client of our authority, with an expected name, by TLS 1.3.
func TestMutualTLS(t *testing.T) {
	ours, other := authority(t), authority(t)
	server := material(t, ours, devca.Leaf{Name: "server", DNS: []string{"server.internal"}})
	serverTLS, err := server.ServerConfig("client.internal")
	if err != nil {
		t.Fatal(err)
	}
	l, err := boot.Listen("127.0.0.1:0", serverTLS)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, boot.PeerName(*r.TLS)) })
	go func() { served <- boot.Serve(ctx, boot.Server(h, boot.Logger(io.Discard, "t")), l) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	ok := devca.Leaf{Name: "client", DNS: []string{"client.internal"}}
	expired := ok
	expired.Name, expired.NotAfter = "expired", time.Now().Add(-time.Minute)
	tests := map[string]struct {
		client boot.TLS
		server string
		change func(*tls.Config)
		ok     bool
	}{
		"good":             {material(t, ours, ok), "server.internal", nil, true},
		"other name":       {material(t, ours, devca.Leaf{Name: "c2", DNS: []string{"other.internal"}}), "server.internal", nil, false},
		"no name":          {material(t, ours, devca.Leaf{Name: "c3"}), "server.internal", nil, false},
		"other authority":  {mixed(material(t, other, ok), ours), "server.internal", nil, false},
		"expired":          {material(t, ours, expired), "server.internal", nil, false},
		"wrong server":     {material(t, ours, ok), "elsewhere.internal", nil, false},
		"no certificate":   {material(t, ours, ok), "server.internal", func(c *tls.Config) { c.GetClientCertificate = nil }, false},
		"old TLS":          {material(t, ours, ok), "server.internal", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, false},
		"untrusted server": {mixed(material(t, ours, ok), other), "server.internal", nil, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg, err := tt.client.ClientConfig(tt.server)
			if err != nil {
				t.Fatal(err)
			}
			if tt.change != nil {
				tt.change(cfg)
			}
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}}
			defer client.CloseIdleConnections()
			resp, err := client.Get("https://" + l.Addr().String())
			if (err == nil) != tt.ok {
				t.Fatalf("got %v, want success %v", err, tt.ok)
			}
			if err != nil {
				return
			}
			defer resp.Body.Close()
			if b, _ := io.ReadAll(resp.Body); string(b) != "client.internal" {
				t.Errorf("server saw %q", b)
			}
		})
	}
}

// TestPublicTLS shows that anyone gets in who trusts the authority and speaks TLS 1.3, with no certificate of his own.
func TestPublicTLS(t *testing.T) {
	ca := authority(t)
	m := material(t, ca, devca.Leaf{Name: "server", DNS: []string{"server.internal"}})
	cfg, err := m.PublicConfig()
	if err != nil {
		t.Fatal(err)
	}
	l, err := boot.Listen("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, boot.PeerName(*r.TLS)) })
	go func() { served <- boot.Serve(ctx, boot.Server(h, boot.Logger(io.Discard, "t")), l) }()
	for name, version := range map[string]uint16{"TLS 1.3": tls.VersionTLS13, "TLS 1.2": tls.VersionTLS12} {
		clientTLS, err := m.ClientConfig("server.internal")
		if err != nil {
			t.Fatal(err)
		}
		clientTLS.GetClientCertificate, clientTLS.MinVersion, clientTLS.MaxVersion = nil, version, version
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS}}
		resp, err := client.Get("https://" + l.Addr().String())
		if (err == nil) != (version == tls.VersionTLS13) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			resp.Body.Close()
		}
		client.CloseIdleConnections()
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// A key file that others can read is no key file.
func TestTLSKeyMustBePrivate(t *testing.T) {
	m := material(t, authority(t), devca.Leaf{Name: "server", DNS: []string{"server.internal"}})
	if err := os.Chmod(m.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := m.ServerConfig("client.internal"); err == nil {
		t.Error("accepted")
	}
}

// A request under way when the program is asked to stop is answered; a new one finds nobody.
func TestServeLetsRequestsFinish(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered, finish := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-finish
		_, _ = io.WriteString(w, "done")
	})
	ctx, cancel := context.WithCancel(context.Background())
	served, answered := make(chan error, 1), make(chan string, 1)
	go func() { served <- boot.Serve(ctx, boot.Server(h, boot.Logger(io.Discard, "t")), l) }()
	go func() {
		resp, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answered <- string(b)
	}()
	<-entered
	cancel()
	close(finish)
	if got := <-answered; got != "done" {
		t.Errorf("the request under way got %q", got)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
}

func authority(t *testing.T) *devca.CA {
	t.Helper()
	ca, err := devca.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func material(t *testing.T, ca *devca.CA, l devca.Leaf) boot.TLS {
	t.Helper()
	cert, key, err := ca.Issue(l)
	if err != nil {
		t.Fatal(err)
	}
	return boot.TLS{Cert: cert, Key: key, CA: ca.CertFile()}
}

func mixed(m boot.TLS, ca *devca.CA) boot.TLS { m.CA = ca.CertFile(); return m }
