package remote_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/remote"
	"github.com/diamante/gateway/keymgmt/service"
)

var (
	_ keymgmt.Signer = (*remote.Client)(nil)
	_ remote.Signers = (*service.Service)(nil)
)

func TestConformance(t *testing.T) {
	keytest.TestSigner(t, func(t *testing.T) keytest.SignerFixture {
		a := newAuthority(t)
		svc, ring := newTokenService(t)
		url := serve(t, a, svc)
		k := key(t, "anchor/jwt")
		denied := token(k, 0)
		denied.Body, denied.Ref = signingInput("https://other.example", 0), "denied"
		unknown := token(k, 0)
		unknown.Key = key(t, "anchor/other")
		return keytest.SignerFixture{
			Signer:  newClient(t, url, a.client(gateway)),
			Allowed: func(n int) keymgmt.Request { return token(k, n) },
			Denied:  denied,
			Unknown: unknown,
			Break:   func() func() { return ring.Break(errors.New("token removed")) },
		}
	})
}

const subject = "GA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KZVN"

func token(k keymgmt.KeyID, n int) keymgmt.Request {
	return keymgmt.Request{Key: k, Kind: keymgmt.KindJWT, Body: signingInput(issuer, n), Ref: fmt.Sprintf("jwt/%d", n)}
}

func signingInput(iss string, n int) []byte {
	claims := fmt.Sprintf(`{"iss":%q,"sub":%q,"iat":%d,"exp":%d,"jti":"%d"}`, iss, subject, started.Unix(), started.Unix()+600, n)
	return []byte(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)))
}

func TestErrorsKeepTheirIdentity(t *testing.T) {
	a := newAuthority(t)
	svc, _ := newService(t)
	url := serve(t, a, svc)
	k := key(t, "audit/log")
	far, near := newClient(t, url, a.client(gateway)), svc.For(gateway)
	if _, err := far.Sign(t.Context(), checkpoint(k, 5)); err != nil {
		t.Fatal(err)
	}
	clash := checkpoint(k, 6)
	clash.Ref = "checkpoint/5"
	for name, r := range map[string]keymgmt.Request{
		"denied": checkpoint(k, 4), "ref used": clash, "not his key": checkpoint(key(t, "node/log"), 9),
		"no such key": checkpoint(key(t, "none"), 9), "unreadable": {Key: k, Kind: keymgmt.KindCheckpoint, Body: []byte("?"), Ref: "r"},
	} {
		_, nearErr := near.Sign(t.Context(), r)
		_, farErr := far.Sign(t.Context(), r)
		if nearErr == nil || farErr == nil || nearErr.Error() != farErr.Error() {
			t.Errorf("%s: near %v, far %v", name, nearErr, farErr)
		}
		for _, sentinel := range []error{keymgmt.ErrMalformed, keymgmt.ErrUnknownKey, keymgmt.ErrDenied, keymgmt.ErrRefUsed, keymgmt.ErrUnavailable} {
			if errors.Is(nearErr, sentinel) != errors.Is(farErr, sentinel) {
				t.Errorf("%s: %v means something else after the wire: %v", name, nearErr, farErr)
			}
		}
	}
}

// TestClientsLearnNothingOfTheInside: what fails in the signer, and where that is, is in its log and not in its answers.
func TestClientsLearnNothingOfTheInside(t *testing.T) {
	a := newAuthority(t)
	svc, soft := newService(t)
	far := newClient(t, serve(t, a, svc), a.client(gateway))
	give := soft.Break(errors.New("dial tcp 10.20.30.40:8200: connection refused"))
	defer give()
	r := checkpoint(key(t, "audit/log"), 5)
	if _, err := svc.For(gateway).Sign(t.Context(), r); !errors.Is(err, keymgmt.ErrUnavailable) || !strings.Contains(err.Error(), "10.20.30.40") {
		t.Errorf("inside: %v", err)
	}
	if _, err := far.Sign(t.Context(), r); !errors.Is(err, keymgmt.ErrUnavailable) || strings.Contains(err.Error(), "10.20.30.40") {
		t.Errorf("outside: %v", err)
	}
}

func TestStrangersGetNothing(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	svc, _ := newService(t)
	url := serve(t, ours, svc)
	r := checkpoint(key(t, "audit/log"), 1)
	foreign := theirs.client(gateway)
	foreign.RootCAs = ours.pool()
	expired := ours.client(gateway)
	expired.Certificates = []tls.Certificate{ours.issue(time.Now().Add(-time.Hour), gateway)}
	wrongServer := ours.client(gateway)
	wrongServer.ServerName = "node.diamante.internal"
	for name, test := range map[string]struct {
		config *tls.Config
		want   error
	}{
		"certificate of another authority": {foreign, keymgmt.ErrUnavailable},
		"certificate that has expired":     {expired, keymgmt.ErrUnavailable},
		"no DNS name":                      {ours.client(), keymgmt.ErrUnavailable}, // its common name is the gateway's
		"server with another name":         {wrongServer, keymgmt.ErrUnavailable},
		"name that no key is open to":      {ours.client("judge.diamante.internal"), keymgmt.ErrUnknownKey},
		"the right name in second place":   {ours.client("judge.diamante.internal", gateway), keymgmt.ErrUnknownKey},
		"program of another key":           {ours.client("node.diamante.internal"), keymgmt.ErrUnknownKey},
	} {
		if _, err := newClient(t, url, test.config).Sign(t.Context(), r); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newClient(t, url, ours.client(gateway)).Sign(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func TestConfigMustAuthenticateBothSides(t *testing.T) {
	a := newAuthority(t)
	good := remote.Config{URL: "https://signer.diamante.internal:7443", TLS: a.client(gateway), Timeout: timeout}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*remote.Config){
		"plain http":      func(c *remote.Config) { c.URL = "http://signer.diamante.internal" },
		"path":            func(c *remote.Config) { c.URL += "/v2" },
		"password in URL": func(c *remote.Config) { c.URL = "https://a:b@signer" },
		"no TLS":          func(c *remote.Config) { c.TLS = nil },
		"system roots":    func(c *remote.Config) { c.TLS.RootCAs = nil },
		"no certificate":  func(c *remote.Config) { c.TLS.Certificates = nil },
		"no timeout":      func(c *remote.Config) { c.Timeout = 0 },
	} {
		c := good
		c.TLS = good.TLS.Clone()
		change(&c)
		if _, err := remote.NewClient(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := remote.Serve(t.Context(), l, &tls.Config{}, http.NotFoundHandler()); err == nil {
		t.Error("a server without authorities of clients starts")
	}
}

func TestServerReadsStrictly(t *testing.T) {
	a := newAuthority(t)
	svc, _ := newService(t)
	url := serve(t, a, svc)
	httpClient := &http.Client{Transport: &http.Transport{TLSClientConfig: a.client(gateway)}, Timeout: timeout}
	t.Cleanup(httpClient.CloseIdleConnections)
	good, err := json.Marshal(map[string]any{"key": "audit/log", "kind": "checkpoint", "body": checkpoint(key(t, "audit/log"), 1).Body, "ref": "r"})
	if err != nil {
		t.Fatal(err)
	}
	text := string(good)
	for name, test := range map[string]struct {
		body   string
		status int
	}{
		"unknown field":    {strings.Replace(text, `"ref"`, `"digest":"AA==","ref"`, 1), 400},
		"something after":  {text + "{}", 400},
		"not JSON":         {"key=audit/log", 400},
		"nothing":          {"", 400},
		"kind by number":   {strings.Replace(text, `"checkpoint"`, `3`, 1), 400},
		"unknown kind":     {strings.Replace(text, `"checkpoint"`, `"digest"`, 1), 400},
		"body not base64":  {`{"key":"audit/log","kind":"checkpoint","body":"*","ref":"r"}`, 400},
		"too large":        {`{"key":"audit/log","kind":"checkpoint","body":"` + strings.Repeat("A", 1<<20) + `","ref":"r"}`, 400},
		"the good request": {text, 200},
	} {
		resp, err := httpClient.Post(url+"/v1/sign", "application/json", strings.NewReader(test.body))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		answer, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != test.status {
			t.Errorf("%s: status %d: %s", name, resp.StatusCode, answer)
		}
	}
	for _, path := range []string{"/v1/sign-hash", "/v1/raw", "/"} {
		resp, err := httpClient.Post(url+path, "application/json", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s exists", path)
		}
	}
}

// canned answers every request with the same bytes.
type canned struct {
	status int
	body   string
}

func (c canned) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(c.status)
	_, _ = io.WriteString(w, c.body)
}

func TestClientBelievesLittle(t *testing.T) {
	a := newAuthority(t)
	for name, answer := range map[string]canned{
		"a page":              {200, "<html>"},
		"a proxy's error":     {502, "bad gateway"},
		"nothing":             {200, ""},
		"empty object":        {200, "{}"},
		"short signature":     {200, `{"public":"AA==","signature":"AA=="}`},
		"unknown code":        {400, `{"error":{"code":"gone","message":"x"}}`},
		"unknown field":       {200, `{"public":"","signature":"","hint":1}`},
		"something after":     {200, `{"error":{"code":"denied","message":"x"}} {}`},
		"endless":             {200, strings.Repeat(" ", 1<<20)},
		"redirect":            {302, ""},
		"error and signature": {200, `{"public":"AA==","error":{"code":"later","message":"x"}}`},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		config := &tls.Config{Certificates: []tls.Certificate{a.issue(time.Now().Add(time.Hour), signer)}, ClientCAs: a.pool()}
		done := make(chan error, 1)
		go func() { done <- remote.Serve(ctx, l, config, answer) }()
		c := newClient(t, "https://"+l.Addr().String(), a.client(gateway))
		if sig, err := c.Sign(t.Context(), checkpoint(key(t, "audit/log"), 1)); !errors.Is(err, keymgmt.ErrUnavailable) || sig.Bytes != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// counting counts the calls that reach the signer and can hold them up.
type counting struct {
	remote.Signers
	calls atomic.Int32
	hold  chan struct{} // closed to let calls through; nil lets all through
}

func (c *counting) For(caller string) keymgmt.Signer { return countingSigner{c, c.Signers.For(caller)} }

type countingSigner struct {
	c    *counting
	next keymgmt.Signer
}

func (s countingSigner) Sign(ctx context.Context, r keymgmt.Request) (keymgmt.Signature, error) {
	s.c.calls.Add(1)
	if s.c.hold != nil {
		select {
		case <-s.c.hold:
		case <-ctx.Done():
			return keymgmt.Signature{}, ctx.Err()
		}
	}
	return s.next.Sign(ctx, r)
}

func TestServerThatGoesAwayAndComesBack(t *testing.T) {
	a := newAuthority(t)
	svc, _ := newService(t)
	k := key(t, "audit/log")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	client := newClient(t, "https://"+address, a.client(gateway))
	config := &tls.Config{Certificates: []tls.Certificate{a.issue(time.Now().Add(time.Hour), signer)}, ClientCAs: a.pool()}
	run := func(l net.Listener) (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := remote.Serve(ctx, l, config, remote.Handler(svc, discard)); err != nil {
				t.Error(err)
			}
		})
		return func() { cancel(); wg.Wait() }
	}
	stop := run(l)
	first, err := client.Sign(t.Context(), checkpoint(k, 1))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := client.Sign(t.Context(), checkpoint(k, 2)); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Fatalf("signer away: %v", err)
	}
	if _, err := client.Health(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Fatalf("health of a signer that is away: %v", err)
	}
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	defer run(l)()
	again, err := client.Sign(t.Context(), checkpoint(k, 1))
	if err != nil || !bytes.Equal(first.Bytes, again.Bytes) {
		t.Fatalf("after the restart: %v", err)
	}
}

func TestTimeoutLeavesOutcomeUnknownAndSameRefFindsIt(t *testing.T) {
	a := newAuthority(t)
	svc, _ := newService(t)
	slow := &counting{Signers: svc, hold: make(chan struct{})}
	url := serve(t, a, slow)
	short, err := remote.NewClient(remote.Config{URL: url, TLS: a.client(gateway), Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer short.Close()
	r := checkpoint(key(t, "audit/log"), 1)
	if _, err := short.Sign(t.Context(), r); !errors.Is(err, keymgmt.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("our own timeout: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := short.Sign(ctx, r); !errors.Is(err, keymgmt.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the caller's deadline: %v", err)
	}
	if n := slow.calls.Load(); n != 2 {
		t.Fatalf("%d calls reached the signer: a call that timed out was sent again", n)
	}
	close(slow.hold)
	if _, err := newClient(t, url, a.client(gateway)).Sign(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func TestHealth(t *testing.T) {
	a := newAuthority(t)
	svc, ring := newService(t)
	client := newClient(t, serve(t, a, svc), a.client(gateway))
	parts, err := client.Health(t.Context())
	if err != nil || len(parts) != 6 || parts["mark"] != nil || parts["journal"] != nil || parts["keyring"] != nil || parts["keys"] != nil || parts["policy"] != nil || parts["clock"] != nil {
		t.Fatalf("%v, %v", parts, err)
	}
	mend := ring.Break(errors.New("token removed"))
	defer mend()
	parts, err = client.Health(t.Context())
	if err != nil || !errors.Is(parts["keyring"], keymgmt.ErrUnavailable) || parts["journal"] != nil {
		t.Fatalf("%v, %v", parts, err)
	}
	if strings.Contains(fmt.Sprint(parts["keyring"]), "token removed") {
		t.Error("health tells a client what exactly is wrong")
	}
}
