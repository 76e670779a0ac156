// Package sep speaks the Stellar Ecosystem Proposals by which wallets and anchors work together, one file per proposal.
//
// A wallet finds the anchor by its stellar.toml (SEP-1), proves that it has its account's keys by signing a challenge and
// is given a token (SEP-10), and asks for deposits and withdrawals with it (SEP-6). The rest of the anchor's work is
// done elsewhere: this package parses into types, calls, and renders. Problems here carry a member "error" too, as these
// protocols want it.
//
//	server, err := sep.New(cfg, parts)
//	server.Mount(site, mux)
package sep

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/node/protocol"
)

var (
	// ErrSigner: the key-management instance cannot be reached. Implementations of Signer wrap it when asking again may
	// help; any other error of theirs is a fault of ours.
	ErrSigner = errors.New("sep: signer unavailable")
	// ErrChallenge: the answer to a SEP-10 challenge is not accepted; the error's text says why and is meant for the wallet.
	ErrChallenge = errors.New("challenge refused")
)

// Limits of lifetimes. A token cannot be taken back, so it must not live long.
const (
	MaxChallengeLife = 15 * time.Minute
	MaxTokenLife     = 24 * time.Hour
)

// Signer signs the bytes it is given, after reading them, under a name for this one signature. It is safe for concurrent
// use. Its signature is checked here against the configured key before anybody sees it.
type Signer interface {
	Sign(ctx context.Context, body []byte, ref string) (signature []byte, err error)
}

// Accounts reads accounts of the ledger: protocol.ErrNotFound and protocol.ErrUnavailable are told apart.
type Accounts interface {
	Account(ctx context.Context, id protocol.AccountID) (protocol.Account, error)
}

// Organization is who runs the anchor, for the stellar.toml.
type Organization struct {
	Name, DBA, URL, Description, Email string // Name is required
}

// Config is what wallets are told and how long things last.
type Config struct {
	// Origin is where wallets reach the public listener: https, host, port unless 443, no trailing slash. It is the iss of
	// the tokens, and its host the web_auth_domain of the challenges; the signer's policy must allow both.
	Origin string
	// HomeDomain is the host, with its port unless 443, whose stellar.toml this is.
	HomeDomain string
	Passphrase protocol.Passphrase
	SigningKey protocol.AccountID // of the key that signs challenges
	TokenKey   ed25519.PublicKey  // of the key that signs tokens, another one
	Challenge  time.Duration      // how long a wallet has to sign one; 15 minutes suit people with hardware wallets
	Token      time.Duration      // how long a token is good
	Organization
}

// Validate says what is wrong.
func (c Config) Validate() error {
	origin, err := url.Parse(c.Origin)
	switch {
	case err != nil || origin.Scheme != "https" || origin.Host == "" || c.Origin != "https://"+origin.Host:
		return fmt.Errorf("sep: origin %q is not https://host[:port]", c.Origin)
	case !isDomain(c.HomeDomain, maxData-len(authSuffix)):
		return fmt.Errorf("sep: home domain %q is not host[:port] in lower case, of at most %d characters", c.HomeDomain, maxData-len(authSuffix))
	case !isDomain(origin.Host, maxData):
		return fmt.Errorf("sep: the origin's host %q is not host[:port] in lower case, of at most %d characters", origin.Host, maxData)
	case c.Passphrase.Validate() != nil:
		return errors.New("sep: no network passphrase")
	case c.SigningKey.IsZero() || len(c.TokenKey) != ed25519.PublicKeySize || c.TokenKey.Equal(ed25519.PublicKey(c.SigningKey.Key())):
		return errors.New("sep: need a key for challenges and another for tokens")
	case c.Challenge < time.Second || c.Challenge > MaxChallengeLife || c.Token < time.Second || c.Token > MaxTokenLife:
		return fmt.Errorf("sep: a challenge lives 1s to %s and a token 1s to %s", MaxChallengeLife, MaxTokenLife)
	case c.Organization.Name == "":
		return errors.New("sep: no name of the organization")
	}
	return nil
}

// isDomain reports whether s is what a challenge may hold, which the signer checks too.
func isDomain(s string, limit int) bool {
	return s != "" && len(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == ':')
	})
}

// Parts are what the server works with.
type Parts struct {
	DB         *audit.DB
	Challenges Signer // with Config.SigningKey
	Tokens     Signer // with Config.TokenKey
	Ledger     Accounts
	Anchor     Anchor
	Now        func() time.Time
}

// Server answers wallets. It is safe for concurrent use.
type Server struct {
	cfg  Config
	host string // of the origin
	Parts
}

// New makes a Server.
func New(cfg Config, parts Parts) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if parts.DB == nil || parts.Challenges == nil || parts.Tokens == nil || parts.Ledger == nil || parts.Anchor == nil || parts.Now == nil {
		return nil, errors.New("sep: a part is missing")
	}
	return &Server{cfg: cfg, host: strings.TrimPrefix(cfg.Origin, "https://"), Parts: parts}, nil
}

// Mount adds the routes.
func (s *Server) Mount(site *web.Site, mux chi.Router) {
	customer := s.customer()
	anyone := web.Anyone()
	site.Mount(mux,
		web.Route{Method: http.MethodGet, Pattern: "/.well-known/stellar.toml", Access: anyone, Dialect: dialect, Serve: s.toml},
		web.Route{Method: http.MethodGet, Pattern: authPath, Access: anyone, Dialect: authDialect, Serve: s.challenge},
		// A challenge is good once, so a key could add nothing to it.
		web.Route{Method: http.MethodPost, Pattern: authPath, Access: anyone, Keys: web.KeyNone, Dialect: authDialect, MaxBody: maxAuthBody, Serve: s.token},
		web.Route{Method: http.MethodGet, Pattern: transferPath + "/info", Access: anyone, Dialect: dialect, Serve: s.info},
		web.Route{Method: http.MethodGet, Pattern: transferPath + "/deposit", Access: customer, Keys: web.KeyOptional, Dialect: transferDialect, Serve: s.deposit},
		web.Route{Method: http.MethodGet, Pattern: transferPath + "/withdraw", Access: customer, Keys: web.KeyOptional, Dialect: transferDialect, Serve: s.withdraw},
		web.Route{Method: http.MethodGet, Pattern: transferPath + "/transaction", Access: customer, Dialect: transferDialect, Serve: s.transaction},
		web.Route{Method: http.MethodGet, Pattern: transferPath + "/transactions", Access: customer, Dialect: transferDialect, Serve: s.transactions},
	)
}

// The paths that the stellar.toml names.
const (
	authPath     = "/auth"
	transferPath = "/sep6"
)

// dialect adds the member that wallets show to people.
func dialect(p *web.Problem) {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	if p.Extra == nil {
		p.Extra = map[string]any{}
	}
	p.Extra["error"] = text
}

// authDialect is SEP-10's: everything that is wrong with a request is a 400.
func authDialect(p *web.Problem) {
	switch p.Status {
	case http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusRequestURITooLong:
		p.Status = http.StatusBadRequest
	}
	dialect(p)
}

// transferDialect is SEP-6's: a caller without a good token gets 403 and this word as the type, which as a relative URI
// reference RFC 7807 allows too. Every other 403 has a meaning of its own there, so none is sent for anything else.
func transferDialect(p *web.Problem) {
	switch p.Status {
	case http.StatusUnauthorized:
		p.Status, p.Type = http.StatusForbidden, "authentication_required"
	case http.StatusForbidden:
		p.Status = http.StatusBadRequest
	}
	dialect(p)
}
