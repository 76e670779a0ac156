package boot_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/cmd/internal/boot/devca"
)

// replace writes the certificate of another material into the files of one.
func replace(t *testing.T, files, by boot.TLS) {
	t.Helper()
	for to, from := range map[string]string{files.Cert: by.Cert, files.Key: by.Key} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to+".new", b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(to+".new", to); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCertificateIsReplacedWhileRunning: new connections get the certificate that is in the files then, on both sides;
// those that there are go on; and what cannot be used changes nothing.
func TestCertificateIsReplacedWhileRunning(t *testing.T) {
	ca := authority(t)
	server := material(t, ca, devca.Leaf{Name: "server", DNS: []string{"server.internal"}})
	client := material(t, ca, devca.Leaf{Name: "client", DNS: []string{"client.internal"}})
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
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].SerialNumber.String())
	})
	go func() { served <- boot.Serve(ctx, boot.Server(h, boot.Logger(io.Discard, "t")), l) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	clientTLS, err := client.ClientConfig("server.internal")
	if err != nil {
		t.Fatal(err)
	}
	serials := func(c *http.Client) (ours, theirs string) {
		t.Helper()
		resp, err := c.Get("https://" + l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b), resp.TLS.PeerCertificates[0].SerialNumber.String()
	}
	fresh := func() *http.Client {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS}}
		t.Cleanup(c.CloseIdleConnections)
		return c
	}
	first := fresh()
	client1, server1 := serials(first)

	replace(t, server, material(t, ca, devca.Leaf{Name: "server2", DNS: []string{"server.internal"}}))
	replace(t, client, material(t, ca, devca.Leaf{Name: "client2", DNS: []string{"client.internal"}}))
	if c, s := serials(first); c != client1 || s != server1 {
		t.Error("a connection changed under way")
	}
	client2, server2 := serials(fresh())
	if client2 == client1 || server2 == server1 {
		t.Errorf("still client %t, server %t", client2 == client1, server2 == server1)
	}

	replace(t, server, material(t, ca, devca.Leaf{Name: "server3", DNS: []string{"other.internal"}})) // nobody would know us
	if err := os.WriteFile(client.Key, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, s := serials(fresh()); c != client2 || s != server2 {
		t.Error("what cannot be used was")
	}
	if err := os.Remove(client.Cert); err != nil {
		t.Fatal(err)
	}
	if c, _ := serials(fresh()); c != client2 {
		t.Error("without files")
	}
	if _, err := (boot.TLS{Cert: client.Cert, Key: client.Key, CA: client.CA}).ClientConfig("x"); err == nil {
		t.Error("began without a certificate")
	}
}
