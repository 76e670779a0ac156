package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/keymgmt/vault/vaulttest"
)

// TestCertificates: a program whose certificate Vault makes shows a new one every few seconds, and never stops.
func TestCertificates(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	server, dir := vaulttest.Start(t), t.TempDir()
	authorities, err := os.ReadFile(server.CAFile())
	must(err)
	server.Root(t, "POST", "sys/mounts/pki", map[string]any{"type": "pki", "config": map[string]any{"max_lease_ttl": "24h"}})
	made := server.Root(t, "POST", "pki/root/generate/internal", map[string]any{"common_name": "programs", "ttl": "24h", "key_type": "ec"})
	server.Root(t, "POST", "pki/roles/signer", map[string]any{"allowed_domains": []string{"signer.internal"}, "allow_bare_domains": true,
		"use_csr_common_name": false, "use_csr_sans": false, "key_type": "ec", "key_bits": 256, "max_ttl": "1h", "require_cn": true})
	server.Root(t, "POST", "sys/policies/acl/signer", map[string]any{"policy": `path "pki/sign/signer" { capabilities = ["update"] }`})
	server.Root(t, "POST", "sys/auth/cert", map[string]any{"type": "cert"})
	server.Root(t, "POST", "auth/cert/certs/signer", map[string]any{"certificate": string(authorities),
		"allowed_common_names": []string{"signer"}, "token_policies": []string{"signer"}, "token_ttl": "10m"})
	programs, _ := made["certificate"].(string)
	files := boot.TLS{Cert: filepath.Join(dir, "signer.crt"), Key: filepath.Join(dir, "signer.key"), CA: filepath.Join(dir, "ca.crt")}
	must(os.WriteFile(files.CA, []byte(programs), 0o600))
	cert, key := server.ClientCertificate(t, "signer")
	config := filepath.Join(dir, "certificates.toml")
	must(os.WriteFile(config, fmt.Appendf(nil, `
[vault]
address = %q
ca = %q
cert = %q
key = %q
max_connections = 2
timeout = "5s"
[vault.login]
method = "cert"
mount = "cert"
role = "signer"
[[certificate]]
mount = "pki"
role = "signer"
name = "signer.internal"
life = "3s"
ca = %q
cert = %q
key = %q
`, server.Address(), server.CAFile(), cert, key, files.CA, files.Cert, files.Key), 0o600))

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"certificates", "--config", config}, new(bytes.Buffer)) }()
	defer func() { stop(); must(<-ended) }()

	within := func(what string, holds func() bool) {
		t.Helper()
		deadline, tick := time.After(time.Minute), time.NewTicker(20*time.Millisecond)
		defer tick.Stop()
		for !holds() {
			select {
			case <-deadline:
				t.Fatal("not within a minute: " + what)
			case <-tick.C:
			}
		}
	}
	var serving, asking *tls.Config
	within("the first certificate", func() bool {
		if serving, err = files.ServerConfig("signer.internal"); err != nil {
			return false
		}
		asking, err = files.ClientConfig("signer.internal")
		return err == nil
	})
	l, err := boot.Listen("127.0.0.1:0", serving)
	must(err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = conn.(*tls.Conn).Handshake(); _ = conn.Close() }()
		}
	}()
	seen := map[string]bool{}
	within("three certificates", func() bool {
		conn, err := tls.Dial("tcp", l.Addr().String(), asking)
		must(err)
		defer conn.Close()
		seen[conn.ConnectionState().PeerCertificates[0].SerialNumber.String()] = true
		return len(seen) == 3
	})
	if info, err := os.Stat(files.Key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v %v", info.Mode(), err)
	}
}

func TestCertificatesConfig(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "deploy", "config", "certificates.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(string) string{
		"good":          func(s string) string { return s },
		"relative":      func(s string) string { return strings.Replace(s, `cert  = "/`, `cert  = "`, 1) },
		"one file":      func(s string) string { return strings.Replace(s, "gateway.crt", "gateway.key", 1) },
		"same files":    func(s string) string { return strings.ReplaceAll(s, "/node/tls/node.", "/gateway/tls/gateway.") },
		"no life":       func(s string) string { return strings.Replace(s, "72h", "", 1) },
		"unknown field": func(s string) string { return s + "\nsize = 1\n" },
		"none":          func(s string) string { return s[:strings.Index(s, "[[certificate]]")] },
	} {
		path := filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(path, []byte(change(string(raw))), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := boot.Load(path, new(certificatesConfig)); (err == nil) != (name == "good") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
