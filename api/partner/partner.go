// Package partner is what those reach who bring customers and bank files: enrolment, statements in, payouts out, the
// state of transactions, and what the anchor could not place.
//
// A partner is known by the first DNS name of his client certificate. Reading customers' affairs is recorded before
// anything is shown.
package partner

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/api/trail"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/node/protocol"
)

// Limits of what is read.
const (
	MaxStatement     = 16 << 20 // bytes of one bank statement
	statementTimeout = 2 * time.Minute
	maxID            = 128 // characters of an id in a path
	maxNote          = 500 // bytes of a note
)

// pages bounds every list.
var pages = web.Pages{Default: 50, Max: 200}

// Bank is the anchor's side of the bank's files. A partner sees and decides what concerns the accounts that he keeps.
type Bank interface {
	// ImportStatement reads a bank statement and books what it can. The same statement again changes nothing.
	ImportStatement(ctx context.Context, who audit.Actor, partner string, statement []byte) (anchor.Imported, error)
	Quarantine(ctx context.Context, partner string, p anchor.Page) ([]anchor.Held, error)
	ResolveQuarantine(ctx context.Context, who audit.Actor, partner string, r anchor.Resolution) (anchor.Held, error)
}

// Payouts is what a partner, as the bank, is asked to pay.
type Payouts interface {
	Payouts(ctx context.Context, partner string, p anchor.Page) ([]anchor.Payout, error)
	PayoutFile(ctx context.Context, partner, id string) (anchor.File, error)
	// RefusePayout says that the bank has not made a payout and will not.
	RefusePayout(ctx context.Context, who audit.Actor, partner string, r anchor.PayoutRefusal) error
}

// Customers is the anchor's side of a partner's customers.
type Customers interface {
	// Enrol makes an account a customer. The same enrolment again changes nothing.
	Enrol(ctx context.Context, who audit.Actor, e anchor.Enrolment) (anchor.Customer, error)
	// Customer returns a customer of the partner; another partner's does not exist.
	Customer(ctx context.Context, partner string, account protocol.AccountID) (anchor.Customer, error)
	// PartnerTransactions lists those of the partner's customers.
	PartnerTransactions(ctx context.Context, partner string, p anchor.Page) ([]anchor.Transaction, error)
}

// Config says who the partners are and what they work with.
type Config struct {
	Names     map[string]string // first DNS name of a certificate to the partner's name
	DB        *audit.DB
	Bank      Bank
	Payouts   Payouts
	Customers Customers
}

// Validate says what is missing.
func (c Config) Validate() error {
	if len(c.Names) == 0 || c.DB == nil || c.Bank == nil || c.Payouts == nil || c.Customers == nil {
		return errors.New("partner: names, a database, a bank and customers are needed")
	}
	return nil
}

// Server answers partners. It is safe for concurrent use.
type Server struct{ cfg Config }

// New makes a Server.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Server{cfg}, nil
}

// Mount adds the routes. What creates takes an Idempotency-Key; without one the domain's own names still keep a repeated
// request from doing anything twice: a statement's, a quarantined entry's, a customer's account.
func (s *Server) Mount(site *web.Site, mux chi.Router) {
	partner := web.Certificates("partner", s.cfg.Names)
	route := func(method, pattern string, serve web.Handler) web.Route {
		return web.Route{Method: method, Pattern: pattern, Access: partner, Keys: web.KeyOptional, Serve: serve}
	}
	get := func(pattern string, serve web.Handler) web.Route {
		return web.Route{Method: http.MethodGet, Pattern: pattern, Access: partner, Serve: serve}
	}
	statements := route(http.MethodPost, "/v1/statements", s.importStatement)
	statements.MaxBody, statements.Timeout = MaxStatement, statementTimeout
	site.Mount(mux, statements,
		get("/v1/payouts", s.payouts),
		get("/v1/payouts/{id}/file", s.payoutFile),
		route(http.MethodPost, "/v1/payouts/{id}/refuse", s.refusePayout),
		get("/v1/transactions", s.transactions),
		get("/v1/quarantine", s.quarantine),
		route(http.MethodPost, "/v1/quarantine/{id}/resolve", s.resolve),
		route(http.MethodPost, "/v1/customers", s.enrol),
		get("/v1/customers/{account}", s.customer),
	)
}

// page reads the parameters of a list; there are no others.
func page(r *http.Request) (anchor.Page, error) {
	q, err := web.StrictQuery(r, "cursor", "limit")
	if err != nil {
		return anchor.Page{}, err
	}
	p, err := pages.Page(q)
	return anchor.Page{After: p.Cursor, Limit: p.Limit}, err
}

// pathID reads the id in the path.
func pathID(r *http.Request) (string, error) {
	id := chi.URLParam(r, "id")
	if id == "" || len(id) > maxID || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", web.Malformed("id", "need 1 to %d printable characters", maxID)
	}
	return id, nil
}

// list answers with a page and the cursor of the next, "" at the end.
func list[T any](w http.ResponseWriter, items []T, limit int, cursor func(T) string) error {
	next := ""
	if len(items) == limit && limit > 0 {
		next = cursor(items[len(items)-1])
	}
	if items == nil {
		items = []T{}
	}
	return web.WriteJSON(w, http.StatusOK, map[string]any{"records": items, "next": next})
}

// read records that the caller is about to see n entries of what.
func (s *Server) read(ctx context.Context, what, subject string, n int) error {
	return trail.Read(ctx, s.cfg.DB, audit.Event{Action: what + ".read", Subject: subject, Data: map[string]any{"entries": n}})
}
