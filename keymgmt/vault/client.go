package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/vault/api"
)

// Bounds of an answer, in bytes.
const (
	maxAnswer = 8 << 20
	maxWords  = 200 // of what Vault says is wrong
)

// call is one request to Vault's API. path has neither the version nor a slash in front.
type call struct {
	method, path string
	body         any // JSON; nil for none
}

// answer is what all of Vault's answers look like.
type answer struct {
	Data     json.RawMessage `json:"data"`
	Auth     *auth           `json:"auth"`
	Errors   []string        `json:"errors"`
	Warnings []string        `json:"warnings"`
}

// auth is the answer to a login or renewal.
type auth struct {
	Token     token `json:"client_token"`
	Renewable bool  `json:"renewable"`
	Seconds   int64 `json:"lease_duration"`
}

// token is a secret that must not be printed; formatting it gives what String does.
type token string

// String hides the token.
func (token) String() string { return "(token)" }

// GoString hides the token from %#v, too.
func (token) GoString() string { return "(token)" }

// refused is an answer of Vault that is no success.
type refused struct {
	status int
	words  string // what Vault said, cut and without control characters
}

func (r refused) Error() string { return fmt.Sprintf("vault: answer %d: %s", r.status, r.words) }

// Unwrap tells what it means. A status that nobody listed means that Vault is not well, so it may work later.
func (r refused) Unwrap() error {
	switch r.status {
	case http.StatusForbidden, http.StatusUnauthorized:
		return ErrForbidden
	case http.StatusNotFound:
		return errAbsent
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge:
		return errBadRequest
	}
	return errNotWell
}

var (
	// errBadRequest: Vault cannot do what it was asked, now or later.
	errBadRequest = errors.New("vault: request refused")
	// errNotWell: Vault is sealed, in standby, overloaded, broken, or not there.
	errNotWell = errors.New("vault: not ready")
)

// Client is a connection to one Vault and the login there. It is safe for concurrent use.
type Client struct {
	cfg   Config
	http  *http.Client
	api   *api.Client // over http
	login login

	mu      sync.Mutex // guards what follows
	current *session   // nil before the first login
	blamed  *session   // whose token Vault refused
	failed  error      // why the last login failed; nil when it did not
	changed chan struct{}
	running bool

	wanted chan struct{} // holds one: look at blamed
}

// New makes a client. It does not talk to Vault: Run does.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	transport, err := cfg.transport()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, http: &http.Client{Transport: wiping{transport}, CheckRedirect: stay}, login: newLogin(cfg.Login),
		changed: make(chan struct{}), wanted: make(chan struct{}, 1)}
	c.api, err = library(cfg, c.http)
	return c, err
}

// do makes a request with the current login, and once more with a fresh one if Vault refuses it. Whatever may work later
// is keymgmt.ErrUnavailable.
func (c *Client) do(ctx context.Context, q call, handle func(answer) error) error {
	s, err := c.session(ctx, nil)
	if err != nil {
		return err
	}
	err = c.send(ctx, s.token, q, handle)
	if errors.Is(err, ErrForbidden) {
		fresh, failed := c.session(ctx, s)
		if failed != nil {
			return errors.Join(failed, err)
		}
		err = c.send(ctx, fresh.token, q, handle)
	}
	if errors.Is(err, ErrForbidden) || errors.Is(err, errNotWell) {
		return unavailable(err)
	}
	return err
}

// send makes one request and gives the answer to handle, which must not keep it: it is wiped then. A refusal comes back
// as the error refused, after handle has seen it if it carries data; batches do.
func (c *Client) send(ctx context.Context, t token, q call, handle func(answer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if q.body != nil {
		text, err := json.Marshal(q.body)
		if err != nil {
			return fmt.Errorf("vault: %w", err)
		}
		limited = context.WithValue(limited, bodyKey{}, &wipedBody{text: text, size: int64(len(text))})
	}
	request := c.api.NewRequest(q.method, "/v1/"+q.path)
	request.ClientToken = string(t)
	//lint:ignore SA1019 what replaces it hides the answer's bytes, which are to be wiped
	response, err := c.api.RawRequestWithContext(limited, request)
	if response == nil {
		return lost(ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := readAll(response.Response)
	defer clear(body)
	if err != nil {
		return lost(ctx, err)
	}
	return interpret(response.StatusCode, body, handle)
}

// lost is the error when no whole answer came: the caller's if it gave up, else Vault is not well.
func lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", errNotWell, err)
}

// interpret gives the answer to handle and makes an error of a refusal.
func interpret(status int, body []byte, handle func(answer) error) error {
	success := status < http.StatusMultipleChoices
	var a answer
	defer func() { clear(a.Data) }()
	if len(body) > 0 {
		if err := json.Unmarshal(body, &a); err != nil && success {
			return fmt.Errorf("%w: its answer is not JSON", errNotWell) // the parser's own words may quote the answer
		}
	}
	var err error
	if !success {
		err = refused{status, cut(strings.Join(a.Errors, "; "))}
	}
	if handle == nil || !success && len(a.Data) == 0 {
		return err
	}
	return errors.Join(err, handle(a))
}

// cut makes words of Vault's fit for a log.
func cut(words string) string {
	if len(words) > maxWords {
		words = words[:maxWords]
	}
	return strconv.Quote(words)
}

// into makes a handler that reads the answer's data.
func into(data any) func(answer) error {
	return func(a answer) error {
		if json.Unmarshal(a.Data, data) != nil {
			return fmt.Errorf("%w: its answer has another form", errNotWell) // see interpret
		}
		return nil
	}
}

// Ping reports whether Vault answers and our login is good there.
func (c *Client) Ping(ctx context.Context) error {
	return c.do(ctx, call{method: http.MethodGet, path: "auth/token/lookup-self"}, nil)
}
