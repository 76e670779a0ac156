package remote_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/remote"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/keymgmt/softkey"
)

func TestMain(m *testing.M) { schematest.Main(m) }

const (
	gateway = "gateway.diamante.internal"
	signer  = "signer.diamante.internal"
	origin  = "bank.example/audit"
	issuer  = "https://auth.bank.example/auth"
	timeout = 20 * time.Second
)

var (
	started = time.Now().Truncate(time.Second)
	discard = slog.New(slog.DiscardHandler)
)

// authority is a certificate authority for one test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  ed25519.PrivateKey
	next int64
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t: t, cert: cert, key: key, next: 2}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue makes a certificate for names, valid until notAfter.
func (a *authority) issue(notAfter time.Time, names ...string) tls.Certificate {
	a.t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.next++
	template := &x509.Certificate{SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: gateway}, DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		NotBefore:   time.Now().Add(-2 * time.Hour), NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) client(names ...string) *tls.Config {
	return &tls.Config{RootCAs: a.pool(), ServerName: signer, Certificates: []tls.Certificate{a.issue(time.Now().Add(time.Hour), names...)}}
}

// serve runs a server for s until the test ends and returns its URL.
func serve(t testing.TB, a *authority, s remote.Signers) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, a, l, s)
	return "https://" + l.Addr().String()
}

func serveOn(t testing.TB, a *authority, l net.Listener, s remote.Signers) {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{a.issue(time.Now().Add(time.Hour), signer)}, ClientCAs: a.pool()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- remote.Serve(ctx, l, config, remote.Handler(s, discard)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
}

func newClient(t testing.TB, url string, config *tls.Config) *remote.Client {
	t.Helper()
	c, err := remote.NewClient(remote.Config{URL: url, TLS: config, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func key(t testing.TB, s string) keymgmt.KeyID {
	t.Helper()
	k, err := keymgmt.ParseKeyID(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// newService makes a signer with a log for the gateway and one for the node.
func newService(t testing.TB) (*service.Service, *softkey.Keyring) {
	t.Helper()
	log := func() policy.Key { return policy.Key{Checkpoint: &policy.CheckpointRule{Origin: origin}} }
	return open(t, map[string]policy.Key{gateway + " audit/log": log(), "node.diamante.internal node/log": log()})
}

// newTokenService makes a signer with a key for tokens, which may be asked for in any order.
func newTokenService(t testing.TB) (*service.Service, *softkey.Keyring) {
	t.Helper()
	return open(t, map[string]policy.Key{gateway + " anchor/jwt": {JWT: &policy.JWTRule{Issuers: []string{issuer}, MaxSeconds: 3600}}})
}

// open makes a signer of rules by caller and key id.
func open(t testing.TB, rules map[string]policy.Key) (*service.Service, *softkey.Keyring) {
	t.Helper()
	return openWith(t, rules, nil)
}

// openWith does so with a private key for all of them, nil for one of each's own.
func openWith(t testing.TB, rules map[string]policy.Key, one ed25519.PrivateKey) (*service.Service, *softkey.Keyring) {
	t.Helper()
	ctx := context.Background()
	db, err := audit.Open(ctx, schematest.New(t, schema.Signer), 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	ring := softkey.New()
	f := policy.File{Format: policy.Format, Version: 1, Network: "Remote Test Network"}
	for name, rule := range rules {
		caller, id, _ := strings.Cut(name, " ")
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if one != nil {
			public, private = one.Public().(ed25519.PublicKey), one
		}
		rule.ID, rule.Callers = key(t, id), []string{caller}
		ring.Put(rule.ID, private)
		if rule.Public.PublicKey, err = keymgmt.NewPublicKey(keymgmt.Ed25519, public); err != nil {
			t.Fatal(err)
		}
		f.Keys = append(f.Keys, rule)
	}
	s, err := service.Open(ctx, service.Config{DB: db, Policy: load(t, f), Keyring: ring, Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	return s, ring
}

func load(t testing.TB, f policy.File) *policy.Policy {
	t.Helper()
	public, officer, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file, err := policy.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := policy.Sign(file, officer)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(file, sig, policy.Alone(public))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// checkpoint asks for the size-th checkpoint of the log.
func checkpoint(k keymgmt.KeyID, size int) keymgmt.Request {
	root := make([]byte, 32)
	root[0], root[1] = byte(size), byte(size>>8)
	body := fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root))
	return keymgmt.Request{Key: k, Kind: keymgmt.KindCheckpoint, Body: []byte(body), Ref: fmt.Sprintf("checkpoint/%d", size)}
}
