package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/hashicorp/vault/api"
)

// library makes Vault's own client do what we say and nothing by itself. It reads a dozen environment variables, tries
// again what failed, follows redirects with the token, and wraps answers when told to from outside: all of that is undone
// here, and a test holds it to it.
func library(cfg Config, over *http.Client) (*api.Client, error) {
	c, err := api.NewClient(&api.Config{Address: cfg.Address, HttpClient: over, MaxRetries: 0, DisableRedirects: true,
		CheckRetry: func(context.Context, *http.Response, error) (bool, error) { return false, nil }})
	if err != nil {
		return nil, fmt.Errorf("vault: its client, or a VAULT_ variable in the environment: %w", err)
	}
	c.ClearToken()
	c.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	c.SetWrappingLookupFunc(func(string, string) string { return "" })
	if cfg.Namespace != "" {
		c.SetNamespace(cfg.Namespace)
	}
	return c, nil
}

// stay does not follow a redirect: wherever it led would get our token.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// bodyKey is where send leaves a request's body for wiping, past the library, which would copy it.
type bodyKey struct{}

// wiping gives the transport bodies that are gone afterwards, and bounds answers before the library reads them.
type wiping struct{ next *http.Transport }

// RoundTrip implements http.RoundTripper.
func (w wiping) RoundTrip(r *http.Request) (*http.Response, error) {
	if body, ok := r.Context().Value(bodyKey{}).(*wipedBody); ok {
		r = r.Clone(r.Context())
		r.Body, r.ContentLength = body, body.size
	}
	response, err := w.next.RoundTrip(r)
	if err == nil {
		response.Body = &bounded{response.Body, maxAnswer}
	}
	return response, err
}

// CloseIdleConnections lets http.Client reach the transport's.
func (w wiping) CloseIdleConnections() { w.next.CloseIdleConnections() }

// bounded is a body that ends with an error when it is longer than left.
type bounded struct {
	io.ReadCloser
	left int64
}

var errLong = errors.New("vault: answer too long")

// Read gives the next bytes.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errLong
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return 0, errLong
	}
	return n, err
}

// wipedBody is a request's body that is gone when the transport is done with it, which can be after the answer.
type wipedBody struct {
	mu   sync.Mutex // guards what follows: the transport may close while it reads
	text []byte
	at   int
	size int64
}

// Read gives the next bytes.
func (w *wipedBody) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at >= len(w.text) {
		return 0, io.EOF
	}
	n := copy(p, w.text[w.at:])
	w.at += n
	return n, nil
}

// Close wipes the body.
func (w *wipedBody) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.text)
	w.text = nil
	return nil
}

// readAll reads the answer into one buffer when its length is known, so that there is one copy to wipe.
func readAll(r *http.Response) ([]byte, error) {
	if r.ContentLength > maxAnswer {
		return nil, errLong
	}
	if r.ContentLength >= 0 {
		body := make([]byte, r.ContentLength)
		_, err := io.ReadFull(r.Body, body)
		return body, err
	}
	var body bytes.Buffer
	_, err := body.ReadFrom(r.Body)
	return body.Bytes(), err
}
