package boot_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/cmd/internal/boot/devca"
)

// replace puts a new certificate in the place of the files of m. It calls between, if there is one, when only the
// certificate is there yet.
func replace(t *testing.T, m boot.TLS, ca *devca.CA, l devca.Leaf, between func()) {
	t.Helper()
	fresh := material(t, ca, l)
	if err := os.Rename(fresh.Cert, m.Cert); err != nil {
		t.Fatal(err)
	}
	if between != nil {
		between()
	}
	if err := os.Rename(fresh.Key, m.Key); err != nil {
		t.Fatal(err)
	}
}

// onWire is a server that answers each connection with the serial number of the certificate that its client showed.
func onWire(t *testing.T, m boot.TLS) (address string) {
	t.Helper()
	cfg, err := m.ServerConfig("client.internal")
	if err != nil {
		t.Fatal(err)
	}
	l, err := boot.Listen("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].SerialNumber.String())
	})
	go func() { served <- boot.Serve(ctx, boot.Server(h, boot.Logger(io.Discard, "t")), l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// serials asks and returns the serial numbers that each side showed the other.
func serials(t *testing.T, c *http.Client, address string) (server, client string) {
	t.Helper()
	resp, err := c.Get("https://" + address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.TLS.PeerCertificates[0].SerialNumber.String(), string(body)
}

func serialOf(t *testing.T, m boot.TLS) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(m.Cert, m.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf.SerialNumber.String()
}

// sides are a server and a client, with one connection that stays.
type sides struct {
	t              *testing.T
	ca             *devca.CA
	server, client boot.TLS
	address        string
	fresh, kept    *http.Client
	dials          int    // of kept
	first          string // what kept's connection began with
}

var (
	serverLeaf = devca.Leaf{Name: "server", DNS: []string{"server.internal"}}
	clientLeaf = devca.Leaf{Name: "client", DNS: []string{"client.internal"}}
)

func newSides(t *testing.T) *sides {
	ca := authority(t)
	s := &sides{t: t, ca: ca, server: material(t, ca, serverLeaf), client: material(t, ca, clientLeaf)}
	s.address = onWire(t, s.server)
	cfg, err := s.client.ClientConfig("server.internal")
	if err != nil {
		t.Fatal(err)
	}
	s.kept = &http.Client{Transport: &http.Transport{TLSClientConfig: cfg.Clone(),
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			s.dials++
			return new(net.Dialer).DialContext(ctx, network, address)
		}}}
	t.Cleanup(s.kept.CloseIdleConnections)
	s.fresh = &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
	s.first = s.ask(s.kept)
	return s
}

// ask returns the serial numbers that each side showed the other.
func (s *sides) ask(c *http.Client) string {
	s.t.Helper()
	server, client := serials(s.t, c, s.address)
	return server + " " + client
}

// expect checks what a new connection has, and that the one that stays is still there.
func (s *sides) expect(when, want string) {
	s.t.Helper()
	if got := s.ask(s.fresh); got != want {
		s.t.Errorf("%s: serials %s, want %s", when, got, want)
	}
	if got := s.ask(s.kept); got != s.first || s.dials != 1 {
		s.t.Errorf("%s: the open connection was not kept", when)
	}
}

// inFiles are the serial numbers in the files.
func (s *sides) inFiles() string { return serialOf(s.t, s.server) + " " + serialOf(s.t, s.client) }

// TestCertificateFilesRotate: both sides' files are replaced under a connection that stays, and new connections have the
// new certificates.
func TestCertificateFilesRotate(t *testing.T) {
	s := newSides(t)
	s.expect("at first", s.first)
	next := serverLeaf
	next.Name = "server2"
	replace(t, s.server, s.ca, next, func() { s.expect("with half of a new pair", s.first) })
	second := s.inFiles()
	s.expect("with the server's new pair", second)
	next = clientLeaf
	next.Name = "client2"
	replace(t, s.client, s.ca, next, nil)
	third := s.inFiles()
	s.expect("with the client's new pair", third)
	if s.first == second || second == third {
		t.Error("nothing was replaced")
	}
}

// TestBadCertificateFiles: what cannot be used is not taken, and the one that there is stays.
func TestBadCertificateFiles(t *testing.T) {
	s := newSides(t)
	for name, l := range map[string]devca.Leaf{
		"another name": {Name: "x1", DNS: []string{"elsewhere.internal", "server.internal"}},
		"no name":      {Name: "x2"},
		"expired":      {Name: "x3", DNS: serverLeaf.DNS, NotAfter: time.Now().Add(-time.Minute)},
	} {
		replace(t, s.server, s.ca, l, nil)
		s.expect(name, s.first)
	}
	next := serverLeaf
	next.Name = "server2"
	replace(t, s.server, s.ca, next, nil)
	if err := os.Chmod(s.server.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	s.expect("with a key that others can read", s.first)
	if err := os.Chmod(s.server.Key, 0o600); err != nil {
		t.Fatal(err)
	}
	second := s.inFiles()
	s.expect("with a private key again", second)
	if err := os.Remove(s.server.Cert); err != nil {
		t.Fatal(err)
	}
	s.expect("with no file", second)
	if _, err := s.server.ServerConfig(); err == nil {
		t.Error("began without a certificate")
	}
}
