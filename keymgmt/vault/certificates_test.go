package vault

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pki mounts an authority of Vault's own and a role for one program, and returns the file of its certificate.
func (r *rig) pki(t *testing.T, role map[string]any) (caFile string) {
	t.Helper()
	r.root(t, "sys/mounts/pki", map[string]any{"type": "pki", "config": map[string]any{"max_lease_ttl": "24h"}})
	made := r.root(t, "pki/root/generate/internal", map[string]any{"common_name": "programs", "ttl": "24h", "key_type": "ec"})
	body := map[string]any{"allowed_domains": []string{"signer.bank.example"}, "allow_bare_domains": true, "allow_subdomains": false,
		"allowed_uri_sans": []string{"spiffe://bank.example/signer"}, "use_csr_common_name": false, "use_csr_sans": false,
		"key_type": "ec", "key_bits": 256, "max_ttl": "1h", "require_cn": true}
	for k, v := range role {
		body[k] = v
	}
	r.root(t, "pki/roles/programs", body)
	caFile = filepath.Join(t.TempDir(), "programs.pem")
	text, _ := made["certificate"].(string)
	must(t, os.WriteFile(caFile, []byte(text), 0o600))
	return caFile
}

func certificates(t *testing.T, c *Client, cfg CertificatesConfig) *Certificates {
	t.Helper()
	certs, err := NewCertificates(c, cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- certs.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	return certs
}

func programs(caFile string) CertificatesConfig {
	return CertificatesConfig{Mount: "pki", Role: "programs", Name: "signer.bank.example", Life: time.Minute, CAFile: caFile}
}

// echo answers each line with the line, over mutual TLS, and tells which certificate each connection showed.
func echo(t *testing.T, config *tls.Config) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				lines := bufio.NewReader(conn)
				for {
					line, err := lines.ReadString('\n')
					if err != nil {
						return
					}
					if _, err := conn.Write([]byte(line)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// say sends a line and waits for it.
func say(t *testing.T, conn net.Conn) {
	t.Helper()
	must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err := conn.Write([]byte("hello\n"))
	must(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || line != "hello\n" {
		t.Fatalf("answer %q, %v", line, err)
	}
}

// Certificates change under a connection that is open all the time, and new connections show the new ones, on both sides.
func TestCertificatesRotateWhileRunning(t *testing.T) {
	r := newRig(t)
	ca := r.pki(t, nil)
	cfg := programs(ca)
	cfg.Life = 3 * time.Second
	certs := certificates(t, r.client(t, "signer"), cfg)
	<-certs.Ready()
	roots, err := readAuthorities(ca)
	must(t, err)
	seen := make(chan string, 1000)
	address := echo(t, &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: certs.GetCertificate, ClientCAs: roots,
		ClientAuth: tls.RequireAndVerifyClientCert, VerifyConnection: func(s tls.ConnectionState) error {
			seen <- s.PeerCertificates[0].SerialNumber.String()
			return nil
		}})
	dial := func() *tls.Conn {
		conn, err := tls.Dial("tcp", address, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots,
			GetClientCertificate: certs.GetClientCertificate, ServerName: "signer.bank.example"})
		must(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		say(t, conn)
		return conn
	}
	held := dial()
	servers, clients := map[string]bool{}, map[string]bool{<-seen: true}
	eventually(t, "three certificates on both sides", func() bool {
		conn := dial()
		servers[conn.ConnectionState().PeerCertificates[0].SerialNumber.String()] = true
		clients[<-seen] = true
		must(t, conn.Close())
		say(t, held)
		return len(servers) >= 3 && len(clients) >= 3
	})
}

// Vault goes away: the certificate that there is stays in use, and ends when it ends. Vault comes back: so do we.
func TestCertificatesWhileVaultIsAway(t *testing.T) {
	r := newRig(t)
	cfg := programs(r.pki(t, nil))
	cfg.Life = 2 * time.Second
	certs := certificates(t, r.client(t, "signer"), cfg)
	if _, err := certs.GetCertificate(nil); err != nil && !errors.Is(err, ErrNoCertificate) {
		t.Fatal(err)
	}
	<-certs.Ready()
	r.server.Seal(t)
	_, err := certs.GetCertificate(nil)
	must(t, err)
	eventually(t, "the end of the last certificate", func() bool {
		_, err := certs.GetClientCertificate(nil)
		return errors.Is(err, ErrNoCertificate)
	})
	if !strings.Contains(r.log.String(), "no new certificate") {
		t.Errorf("log: %s", r.log)
	}
	r.server.Unseal(t)
	eventually(t, "a certificate", func() bool { _, err := certs.GetCertificate(nil); return err == nil })
}

func TestCertificateNames(t *testing.T) {
	r := newRig(t)
	ca := r.pki(t, nil)
	c := r.client(t, "signer")
	cfg := programs(ca)
	certs, err := NewCertificates(c, cfg)
	must(t, err)
	cert, err := certs.issue(t.Context())
	must(t, err)
	if len(cert.Certificate) != 1 || cert.Leaf.DNSNames[0] != cfg.Name || time.Until(cert.Leaf.NotAfter) > 2*time.Minute {
		t.Fatalf("names %v, end %v, chain of %d", cert.Leaf.DNSNames, cert.Leaf.NotAfter, len(cert.Certificate))
	}
	cfg.URI = "spiffe://bank.example/signer"
	certs, err = NewCertificates(c, cfg)
	must(t, err)
	cert, err = certs.issue(t.Context())
	must(t, err)
	if len(cert.Leaf.URIs) != 1 || cert.Leaf.URIs[0].String() != cfg.URI || len(cert.Leaf.DNSNames) != 0 {
		t.Fatalf("names %v, %v", cert.Leaf.URIs, cert.Leaf.DNSNames)
	}
	for name, change := range map[string]func(*CertificatesConfig){
		"another name": func(c *CertificatesConfig) { c.Name = "gateway.bank.example" },
		"another URI":  func(c *CertificatesConfig) { c.URI = "spiffe://bank.example/gateway" },
		"another role": func(c *CertificatesConfig) { c.Role = "others" },
		"another root": func(c *CertificatesConfig) { c.CAFile = r.server.CAFile() },
	} {
		bad := cfg
		change(&bad)
		certs, err := NewCertificates(c, bad)
		must(t, err)
		if cert, err := certs.issue(t.Context()); err == nil || cert != nil {
			t.Errorf("%s: issued", name)
		}
	}
}

// A role that gives more or less than it should: peers would refuse it, or we could be taken for another.
func TestCertificatesOfABadRole(t *testing.T) {
	r := newRig(t)
	ca := r.pki(t, nil)
	c := r.client(t, "signer")
	certs, err := NewCertificates(c, programs(ca))
	must(t, err)
	issue := func(role map[string]any) error {
		body := map[string]any{"allowed_domains": []string{"signer.bank.example"}, "allow_bare_domains": true, "key_type": "ec"}
		for k, v := range role {
			body[k] = v
		}
		r.root(t, "pki/roles/programs", body)
		_, err := certs.issue(t.Context())
		return err
	}
	must(t, issue(nil))
	for name, role := range map[string]map[string]any{
		"clients only": {"server_flag": false},
		"servers only": {"client_flag": false},
	} {
		if err := issue(role); !errors.Is(err, errBadCertificate) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := certs.check([]*x509.Certificate{{}}, nil); err == nil {
		t.Error("a certificate for no key")
	}
	if _, err := parseChain([]string{"text"}); !errors.Is(err, errBadCertificate) {
		t.Error("text is a certificate")
	}
	if _, err := parseChain(make([]string, maxChain+1)); !errors.Is(err, errBadCertificate) {
		t.Error("an endless chain")
	}
}

func TestCertificatesConfigValidate(t *testing.T) {
	good := programs("ca.pem")
	must(t, good.Validate())
	for name, change := range map[string]func(*CertificatesConfig){
		"no mount": func(c *CertificatesConfig) { c.Mount = "" },
		"role":     func(c *CertificatesConfig) { c.Role = "a/b" },
		"no name":  func(c *CertificatesConfig) { c.Name = "" },
		"list":     func(c *CertificatesConfig) { c.Name = "a,b" },
		"URI":      func(c *CertificatesConfig) { c.URI = "https://bank.example/signer" },
		"short":    func(c *CertificatesConfig) { c.Life = 0 },
		"long":     func(c *CertificatesConfig) { c.Life = MaxLife + 1 },
		"no roots": func(c *CertificatesConfig) { c.CAFile = "" },
	} {
		c := good
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
