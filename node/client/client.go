// Package client is the node's door from another process: the same four methods over HTTP/2 with mutual TLS, and the
// server side of them.
//
// A program that talks to a node makes a Client; it passes the same suite (node/nodetest) as the node itself, so that
// its users cannot tell which they hold. The node's program mounts NewHandler on a Server and serves a TLS listener:
//
//	h, err := client.NewHandler(client.HandlerConfig{Node: n, Clients: []string{"gateway.diamante.internal"}})
//	srv, err := client.NewServer(client.ServerConfig{Handler: h})
//	err = srv.Serve(ctx, tlsListener)
//
// On the wire: POST /tx (binary XDR of an envelope; JSON back), GET /closes?from=N (frames, see frame.go),
// GET /accounts/{id} and GET /status (JSON). Errors keep their identity: protocol.ErrInvalid, ErrNotFound and
// ErrUnavailable arrive as themselves.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Defaults and limits of a Client.
const (
	DefaultTimeout = 5 * time.Second
	// DefaultIdle is several heartbeats of a node with DefaultHeartbeat, so that one that comes late is not taken for the end.
	DefaultIdle      = 4 * time.Second
	DefaultResumeFor = 4 * time.Second
	// maxAnswer bounds the JSON of one answer: an account with a thousand trustlines and data entries fits.
	maxAnswer = 4 << 20
	// maxResponseHeader bounds the headers of an answer.
	maxResponseHeader = 16 << 10
	maxIdleConns      = 4
	idleConnTimeout   = 90 * time.Second
)

// Config says which node to talk to, and how patiently.
type Config struct {
	// URL of the node: https://host:port, nothing else.
	URL string
	// TLS holds this client's certificate, the authority that signed the node's, and the node's name (ServerName).
	TLS *tls.Config
	// Timeout bounds each call that is not a stream; default DefaultTimeout. A shorter deadline of the caller wins.
	Timeout time.Duration
	// Idle is how long a stream may be silent before its connection is taken for dead; it must be longer than the
	// node's heartbeat. Default DefaultIdle.
	Idle time.Duration
	// ResumeFor is how long a broken stream is resumed, counted from the last sign of life, before Closes gives up
	// with ErrUnavailable. Default DefaultResumeFor.
	ResumeFor time.Duration
}

// Validate checks c.
func (c Config) Validate() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return fmt.Errorf("client: url: %w", err)
	case u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Path != "" && u.Path != "/":
		return fmt.Errorf("client: url %q is not https://host:port", c.URL)
	case c.TLS == nil || c.TLS.ServerName == "" || c.TLS.RootCAs == nil:
		return errors.New("client: tls needs the node's name and authority")
	case len(c.TLS.Certificates) == 0 && c.TLS.GetClientCertificate == nil:
		return errors.New("client: tls needs a client certificate")
	case c.TLS.MinVersion < tls.VersionTLS13:
		return errors.New("client: tls must be 1.3")
	case c.Timeout < 0 || c.Idle < 0 || c.ResumeFor < 0:
		return errors.New("client: a negative time limit")
	}
	return nil
}

// Client is a node in another process. It is safe for concurrent use. Close it when done.
type Client struct {
	cfg  Config
	base *url.URL
	http *http.Client
}

// New makes a Client; nothing is sent before the first call.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Timeout = orDefault(cfg.Timeout, DefaultTimeout)
	cfg.Idle = orDefault(cfg.Idle, DefaultIdle)
	cfg.ResumeFor = orDefault(cfg.ResumeFor, DefaultResumeFor)
	base, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("client: url: %w", err)
	}
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	transport := &http.Transport{
		TLSClientConfig: cfg.TLS.Clone(), Protocols: &protocols,
		TLSHandshakeTimeout: cfg.Timeout, IdleConnTimeout: idleConnTimeout, MaxIdleConns: maxIdleConns,
		MaxResponseHeaderBytes: maxResponseHeader,
		// A connection that died without a word is found by a ping, also when no stream is open on it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: cfg.Idle / 2, PingTimeout: cfg.Idle / 2},
	}
	return &Client{cfg: cfg, base: base, http: &http.Client{Transport: transport, CheckRedirect: noRedirect}}, nil
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Submit hands a transaction to the node. ErrUnavailable leaves open whether the node got it; as with every answer,
// what became of it is learned from Closes only.
func (c *Client) Submit(ctx context.Context, env xdr.TransactionEnvelope) (protocol.Submission, error) {
	body, err := protocol.EncodeEnvelope(env)
	if err != nil {
		return protocol.Submission{}, err
	}
	var j submissionJSON
	if err := c.call(ctx, http.MethodPost, "/tx", body, &j); err != nil {
		return protocol.Submission{}, fmt.Errorf("client: submit: %w", err)
	}
	return j.value()
}

// Account returns an account as of the last closed ledger, or ErrNotFound.
func (c *Client) Account(ctx context.Context, id protocol.AccountID) (protocol.Account, error) {
	if id.IsZero() {
		return protocol.Account{}, fmt.Errorf("client: account: %w: no account id", protocol.ErrInvalid)
	}
	var j accountJSON
	if err := c.call(ctx, http.MethodGet, "/accounts/"+id.String(), nil, &j); err != nil {
		return protocol.Account{}, fmt.Errorf("client: account: %w", err)
	}
	return j.value()
}

// Status returns where the node stands.
func (c *Client) Status(ctx context.Context) (protocol.Status, error) {
	var j statusJSON
	if err := c.call(ctx, http.MethodGet, "/status", nil, &j); err != nil {
		return protocol.Status{}, fmt.Errorf("client: status: %w", err)
	}
	return j.value()
}

// call makes one request within the time limit and reads the answer into out.
func (c *Client) call(ctx context.Context, method, path string, body []byte, out any) error {
	limited, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	resp, err := c.send(limited, method, c.base.JoinPath(path), body)
	if err != nil {
		return identify(ctx, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return identify(ctx, broken(err))
	}
	if len(answer) > maxAnswer {
		return fmt.Errorf("answer of more than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

// send makes a request and turns an answer that is not a success into the error it stands for.
func (c *Client) send(ctx context.Context, method string, u *url.URL, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, broken(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxFailure))
	if err != nil {
		return nil, broken(err)
	}
	var f failure
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("client: node answered %s", resp.Status)
	}
	return nil, fromFailure(f)
}

// broken is the error of a connection that ended in the middle of an answer.
func broken(err error) error { return fmt.Errorf("%w: %v", protocol.ErrUnavailable, err) }

// identify puts the caller's own cancellation before what it led to, as in process.
func identify(caller context.Context, err error) error {
	if caller.Err() != nil {
		return caller.Err()
	}
	return err
}
