// Package horizon is as much of Horizon's HTTP interface as a wallet needs to load its account and submit a transaction:
// the root, one account, fee statistics, a recent transaction, and both ways of submitting.
//
// Nothing is stored. Accounts come from the node; submitted transactions are recognised, by hash, in the ledgers that
// one follower (Server.Run) reads as they close, and are remembered for a while. Paths, JSON and problem types are
// Horizon's, so that SDKs work by URL and passphrase.
package horizon

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/node/protocol"
)

// MaxEnvelope bounds a submitted transaction's XDR, in bytes.
const MaxEnvelope = 50 << 10

// maxWait bounds Config.Wait.
const maxWait = 2 * time.Minute

var (
	// ErrTransactionMalformed: what was submitted is not base64 of an envelope.
	ErrTransactionMalformed = errors.New("horizon: malformed transaction")
	// ErrTransactionFailed: the ledger refused the transaction, or applied it without success.
	ErrTransactionFailed = errors.New("horizon: transaction failed")
	// ErrSubmissionTimeout: the transaction was handed to the network and has not been seen in a ledger yet.
	ErrSubmissionTimeout = errors.New("horizon: transaction not seen in a ledger in time")
	// ErrBusy: the network takes no transaction now, or too many wait already.
	ErrBusy = errors.New("horizon: try again later")
)

// Network is the node's door, in this process or another. Every method is safe for concurrent use; protocol.ErrNotFound
// and protocol.ErrUnavailable are told apart.
type Network interface {
	// Submit hands a transaction over. Its answer says nothing about whether it is applied.
	Submit(ctx context.Context, env xdr.TransactionEnvelope) (protocol.Submission, error)
	// Closes yields every ledger from the given one on without a gap, waiting for the next, until ctx ends; one error
	// ends it.
	Closes(ctx context.Context, from uint32) iter.Seq2[xdr.LedgerCloseMeta, error]
	// Account reads an account as of the last closed ledger.
	Account(ctx context.Context, id protocol.AccountID) (protocol.Account, error)
	// Status says where the node stands.
	Status(ctx context.Context) (protocol.Status, error)
}

// Config is what the server is told.
type Config struct {
	Origin     string // https://host[:port] for links
	Passphrase protocol.Passphrase
	Wait       time.Duration // how long a submission waits to be seen in a ledger
	Log        *slog.Logger  // where the follower reports
}

// Validate says what is missing.
func (c Config) Validate() error {
	switch {
	case !strings.HasPrefix(c.Origin, "https://") || strings.HasSuffix(c.Origin, "/"):
		return fmt.Errorf("horizon: origin %q is not https://host[:port]", c.Origin)
	case c.Passphrase.Validate() != nil:
		return errors.New("horizon: no network passphrase")
	case c.Wait < time.Second || c.Wait > maxWait:
		return fmt.Errorf("horizon: wait of %s, need 1s to %s", c.Wait, maxWait)
	case c.Log == nil:
		return errors.New("horizon: no log")
	}
	return nil
}

// Server answers. It is safe for concurrent use; Run must run for submissions to be seen.
type Server struct {
	cfg      Config
	network  Network
	follower follower
}

// New makes a Server.
func New(cfg Config, network Network) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if network == nil {
		return nil, errors.New("horizon: no network")
	}
	return &Server{cfg: cfg, network: network, follower: newFollower()}, nil
}

// Mount adds the routes.
func (s *Server) Mount(site *web.Site, mux chi.Router) {
	anyone := web.Anyone()
	// A transaction's hash is its own idempotency key: it can be applied once, and the same answer is found again.
	submit := web.Route{Method: http.MethodPost, Pattern: "/transactions", Access: anyone, Keys: web.KeyNone, Dialect: dialect,
		MaxBody: 3 * MaxEnvelope, Timeout: s.cfg.Wait + 10*time.Second, Serve: s.submit}
	async := submit
	async.Pattern, async.Timeout, async.Serve = "/transactions_async", 0, s.submitAsync
	site.Mount(mux, submit, async,
		web.Route{Method: http.MethodGet, Pattern: "/", Access: anyone, Dialect: dialect, Serve: s.root},
		web.Route{Method: http.MethodGet, Pattern: "/accounts/{id}", Access: anyone, Dialect: dialect, Serve: s.account},
		web.Route{Method: http.MethodGet, Pattern: "/fee_stats", Access: anyone, Dialect: dialect, Serve: s.feeStats},
		web.Route{Method: http.MethodGet, Pattern: "/transactions/{hash}", Access: anyone, Dialect: dialect, Serve: s.transaction},
	)
}

// typeBase begins the type URI of Horizon's problems.
const typeBase = "https://stellar.org/horizon-errors/"

// names are Horizon's words for problems that it has too, where they are not ours with underscores.
var names = map[string]string{
	"malformed-request": "bad_request", "body-too-large": "bad_request", "uri-too-long": "bad_request",
	"too-many-requests": "rate_limit_exceeded", "internal-error": "server_error",
	"node-unavailable": "service_unavailable", "database-unavailable": "service_unavailable",
	"request-timeout": "timeout", "deadline-exceeded": "timeout", "try-again-later": "server_over_capacity",
}

// dialect gives a problem Horizon's type; ours stays readable in the extras.
func dialect(p *web.Problem) {
	name, ok := names[p.Name]
	if !ok {
		name = strings.ReplaceAll(p.Name, "-", "_")
	}
	extras, _ := p.Extra["extras"].(map[string]any)
	if extras == nil {
		extras = map[string]any{}
	}
	if ok {
		extras["problem"] = p.Type
	}
	if name == "bad_request" {
		field, reason, _ := strings.Cut(strings.TrimPrefix(p.Detail, web.ErrMalformed.Error()+": "), ": ")
		extras["invalid_field"], extras["reason"] = field, reason
	}
	p.Type = typeBase + name
	p.Extra = map[string]any{"extras": extras}
}

// problem is an error with Horizon's extras.
type problem struct {
	err    error
	extras map[string]any
}

func (p *problem) Error() string          { return p.err.Error() }
func (p *problem) Unwrap() error          { return p.err }
func (p *problem) Extend() map[string]any { return map[string]any{"extras": p.extras} }

// hal answers with a resource.
func hal(w http.ResponseWriter, status int, ledger uint32, v any) error {
	w.Header().Set("Content-Type", "application/hal+json; charset=utf-8")
	if ledger > 0 {
		w.Header().Set("Latest-Ledger", fmt.Sprint(ledger))
	}
	return web.WriteJSON(w, status, v)
}
