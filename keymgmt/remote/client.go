package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/diamante/gateway/keymgmt"
)

// Bounds of the client's connections.
const (
	maxConns    = 32
	idleTimeout = 60 * time.Second
)

// Config says where the signer is and who we are to it. Every field is required.
type Config struct {
	URL string // https, with a host and nothing after it
	// TLS holds our client certificate, the authorities that the signer's certificate may come from, and, if it
	// differs from the URL's host, the name pinned in that certificate.
	TLS     *tls.Config
	Timeout time.Duration // of one call, all in all
}

// Validate refuses a configuration that would not authenticate both sides.
func (c Config) Validate() error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return errors.New("remote: URL must be https and a host")
	}
	switch {
	case c.TLS == nil || c.TLS.RootCAs == nil:
		return errors.New("remote: TLS needs the authorities to trust")
	case len(c.TLS.Certificates) == 0 && c.TLS.GetClientCertificate == nil:
		return errors.New("remote: TLS needs a client certificate")
	case c.Timeout <= 0:
		return errors.New("remote: Timeout must be positive")
	}
	return nil
}

// Client is a keymgmt.Signer in another process. It is safe for concurrent use.
type Client struct {
	base    string
	timeout time.Duration
	http    *http.Client
}

// NewClient makes a Client. It connects on first use and again whenever it must.
func NewClient(c Config) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	config := c.TLS.Clone()
	config.MinVersion = tls.VersionTLS13
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("remote: %w", err)
	}
	transport := &http.Transport{TLSClientConfig: config, TLSHandshakeTimeout: c.Timeout, ForceAttemptHTTP2: false,
		MaxConnsPerHost: maxConns, MaxIdleConnsPerHost: maxConns, IdleConnTimeout: idleTimeout, DisableCompression: true,
		Protocols: new(http.Protocols)} // no proxy: nobody stands between us and the signer
	transport.Protocols.SetHTTP1(true)
	return &Client{base: "https://" + u.Host, timeout: c.Timeout, http: &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// Close gives idle connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Order delivers an order of officers. Errors are those of a Signer; keymgmt.ErrRefUsed: it was carried out before.
func (c *Client) Order(ctx context.Context, o keymgmt.Order) error {
	if err := o.Validate(); err != nil {
		return err
	}
	return c.deliver(ctx, orderPath, o)
}

// Attest delivers an attestation of a reserve. Errors are those of a Signer; the same one again is no error.
func (c *Client) Attest(ctx context.Context, a keymgmt.Attestation) error {
	if err := a.Validate(); err != nil {
		return err
	}
	return c.deliver(ctx, attestPath, a)
}

// deliver hands over what proves itself, and so can be sent again.
func (c *Client) deliver(ctx context.Context, path string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%w: %v", keymgmt.ErrMalformed, err)
	}
	var out signResponse
	if err := c.call(ctx, http.MethodPost, path, body, &out); err != nil {
		return err
	}
	if out.Error != nil {
		return fromWire(out.Error)
	}
	return nil
}

// Sign implements keymgmt.Signer. A connection that turns out to be dead before a byte of the answer came is replaced
// once and the request sent again, which its Ref makes safe; there is no other retry. Everything that goes wrong on
// the way is keymgmt.ErrUnavailable, unless it is the caller's own context that ended.
func (c *Client) Sign(ctx context.Context, r keymgmt.Request) (keymgmt.Signature, error) {
	if err := ctx.Err(); err != nil {
		return keymgmt.Signature{}, err
	}
	if err := r.Validate(); err != nil {
		return keymgmt.Signature{}, err
	}
	body, err := json.Marshal(signRequest(r))
	if err != nil {
		return keymgmt.Signature{}, fmt.Errorf("%w: %v", keymgmt.ErrMalformed, err)
	}
	var out signResponse
	if err := c.call(ctx, http.MethodPost, signPath, body, &out); err != nil {
		return keymgmt.Signature{}, err
	}
	switch {
	case out.Error != nil:
		return keymgmt.Signature{}, fromWire(out.Error)
	case out.Public == nil || out.Public.IsZero() || len(out.Signature) == 0 || len(out.Signature)%out.Public.Algorithm().SignatureSize() != 0:
		return keymgmt.Signature{}, fmt.Errorf("%w: the signer's answer is no signature", keymgmt.ErrUnavailable)
	}
	return keymgmt.Signature{Public: *out.Public, Bytes: out.Signature}, nil
}

// Health says of each part of the signer whether it works. An error means that not even that is known, or that it can't
// be reached.
func (c *Client) Health(ctx context.Context) (map[string]error, error) {
	var out healthResponse
	if err := c.call(ctx, http.MethodGet, healthPath, nil, &out); err != nil {
		return nil, err
	}
	parts := map[string]error{}
	for part, state := range out.Parts {
		parts[part] = nil
		if state != "ok" {
			parts[part] = fmt.Errorf("%w: %s", keymgmt.ErrUnavailable, part)
		}
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("%w: the signer did not say how it is", keymgmt.ErrUnavailable)
	}
	return parts, nil
}

func (c *Client) call(ctx context.Context, method, path string, body []byte, out any) error {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	fail := func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %v", keymgmt.ErrUnavailable, err)
	}
	req, err := http.NewRequestWithContext(limited, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return fail(err)
	}
	req.Header.Set("Content-Type", "application/json")
	// An empty list tells net/http that the request may be sent again over a new connection when an idle one turns out
	// to be dead; no such header is sent.
	req.Header["Idempotency-Key"] = []string{}
	resp, err := c.http.Do(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	if err := readJSON(resp.Body, maxResponse, out); err != nil {
		return fail(fmt.Errorf("answer with status %d: %w", resp.StatusCode, err))
	}
	return nil
}
