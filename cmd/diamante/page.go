package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// passkeyPort is where the page for passkeys is, so that a policy can name its origin.
const passkeyPort = 7465

// Bounds of the page.
const (
	pagePatience  = 10 * time.Minute
	maxPageAnswer = 16 << 10 // bytes
	pageTimeout   = 10 * time.Second
)

//go:embed page
var pageFiles embed.FS

// ask is what the page is to do. Bytes are base64url without padding.
type ask struct {
	Title      string `json:"title"`
	Text       string `json:"text"`       // what is signed, as this program read it
	Action     string `json:"action"`     // "get" or "create"
	RP         string `json:"rp"`         // relying party
	Challenge  string `json:"challenge"`  // what the passkey signs
	Credential string `json:"credential"` // with "get": whose
	User       string `json:"user"`       // with "create": the officer
}

// told is what came of it: what the authenticator made, in base64url, or that its holder would not.
type told struct {
	Declined      bool   `json:"declined"`
	Credential    string `json:"credential"`
	Client        string `json:"client_data"`
	Authenticator string `json:"authenticator_data"` // with "get"
	Signature     string `json:"signature"`          // with "get", DER
	Public        string `json:"public"`             // with "create", a SubjectPublicKeyInfo
}

// errDeclined: the officer has looked at it and would not.
var errDeclined = errors.New("declined on the page; nothing was signed")

// page is a page of this machine on which an officer uses his passkey. It answers only who knows its token, asks for it by
// its one name, and comes from itself: any other page, which a browser lets talk to this machine too, gets nothing.
type page struct {
	origin string // http://localhost:PORT
	host   string
	token  string
	step   func(told) (*ask, error) // takes an answer; the next question, or none when it is done

	mu   sync.Mutex
	now  *ask // guarded by mu
	done chan error
}

// serve shows the page until it is done. say is told where it is.
func (p *page) serve(ctx context.Context, listeners []net.Listener, say func(url string) error) error {
	ctx, cancel := context.WithTimeout(ctx, pagePatience)
	defer cancel()
	p.done = make(chan error, 1)
	server := &http.Server{Handler: p, ReadTimeout: pageTimeout, WriteTimeout: pageTimeout, IdleTimeout: pageTimeout, MaxHeaderBytes: 16 << 10}
	var wg sync.WaitGroup
	for _, l := range listeners {
		wg.Go(func() { _ = server.Serve(l) }) // it ends with the server
	}
	defer wg.Wait()
	defer func() { // the last answer goes out before the page is gone
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), pageTimeout)
		defer cancel()
		_ = server.Shutdown(end)
	}()
	if err := say(p.origin + "/" + p.token + "/"); err != nil {
		return err
	}
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("nobody used the page: %w", ctx.Err())
	}
}

// listenLocal listens on every address that a browser could take for localhost, so that nobody else can have one of them.
func listenLocal(port uint16) (list []net.Listener, at uint16, err error) {
	first, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		return nil, 0, fmt.Errorf("page: %w", err)
	}
	at = uint16(first.Addr().(*net.TCPAddr).Port)
	second, err := net.Listen("tcp", net.JoinHostPort("::1", strconv.Itoa(int(at))))
	switch {
	case err == nil:
		return []net.Listener{first, second}, at, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, 0, errors.Join(fmt.Errorf("page: somebody else has the port: %w", err), first.Close())
	}
	return []net.Listener{first}, at, nil // this machine has no IPv6
}

// newPage makes a page on a port.
func newPage(port uint16, first ask, step func(told) (*ask, error)) *page {
	var raw [32]byte
	rand.Read(raw[:]) // never fails: the program ends instead
	host := "localhost:" + strconv.Itoa(int(port))
	return &page{origin: "http://" + host, host: host, token: base64.RawURLEncoding.EncodeToString(raw[:]), now: &first, step: step}
}

// files are what the page is made of.
var files = map[string]struct{ name, kind string }{"": {"page/index.html", "text/html; charset=utf-8"}, "page.js": {"page/page.js", "text/javascript; charset=utf-8"},
	"page.css": {"page/page.css", "text/css; charset=utf-8"}}

// ServeHTTP implements http.Handler.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	prefix := "/" + p.token + "/"
	if r.Host != p.host || len(r.URL.Path) < len(prefix) || subtle.ConstantTimeCompare([]byte(r.URL.Path[:len(prefix)]), []byte(prefix)) != 1 {
		http.NotFound(w, r)
		return
	}
	rest := r.URL.Path[len(prefix):]
	if file, ok := files[rest]; ok && r.Method == http.MethodGet {
		body, err := pageFiles.ReadFile(file.name)
		if err != nil {
			panic("diamante: the page lacks " + file.name)
		}
		h.Set("Content-Type", file.kind)
		_, _ = w.Write(body) // the browser is gone if this fails
		return
	}
	switch {
	case rest == "ask" && r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Site") == "same-origin":
		p.mu.Lock()
		defer p.mu.Unlock()
		answer(w, http.StatusOK, map[string]any{"ask": p.now})
	case rest == "answer" && r.Method == http.MethodPost && r.Header.Get("Origin") == p.origin && r.Header.Get("Content-Type") == "application/json":
		p.take(w, r)
	default:
		http.NotFound(w, r)
	}
}

// take takes an answer, each question's once.
func (p *page) take(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPageAnswer))
	var t told
	if err == nil {
		err = unmarshalStrict(raw, &t)
	}
	if err != nil {
		answer(w, http.StatusBadRequest, map[string]any{"error": "the page said something that is not understood"})
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == nil {
		answer(w, http.StatusGone, map[string]any{"error": "this page is done"})
		return
	}
	if err = errDeclined; !t.Declined {
		p.now, err = p.step(t)
	}
	if err != nil {
		p.now = nil
		answer(w, http.StatusUnprocessableEntity, map[string]any{"error": err.Error()})
		p.done <- err
		return
	}
	answer(w, http.StatusOK, map[string]any{"ask": p.now})
	if p.now == nil {
		p.done <- nil
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the browser is gone if this fails
}
