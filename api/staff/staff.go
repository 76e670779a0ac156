// Package staff is what the people who run the anchor reach: registration of assets, evidence, invariants, what the
// anchor does on the ledger, and the state of the program.
//
// Everyone here has a client certificate whose name is on the list of staff. What they read of customers' affairs is
// itself recorded before they see it.
package staff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/diamante/gateway/api/trail"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/compliance/export"
)

// exportTimeout bounds the making and sending of a package.
const exportTimeout = 5 * time.Minute

// Exporter makes evidence packages, as export.Build does.
type Exporter interface {
	// Export records the export and writes its package, a tar archive, to w. It writes nothing before the record is in
	// the signed log, so that an error without a byte written means that nothing left the house.
	Export(ctx context.Context, q export.Request, w io.Writer) error
}

// Config says who is staff and what they can see.
type Config struct {
	Names    map[string]string // first DNS name of a certificate to the name of who has it
	Parts    []Part            // for /readyz
	LogKey   string            // verifier key of the audit log, in the notation of signed notes
	Gatherer prometheus.Gatherer
	DB       *audit.DB
	Anchor   Anchor
	Desk     Desk
	Stuck    Stuck
	People   Approvals
	Exports  Exporter
	Now      func() time.Time
}

// Validate says what is missing.
func (c Config) Validate() error {
	if len(c.Names) == 0 || len(c.Parts) == 0 || c.LogKey == "" || c.Gatherer == nil || c.DB == nil || c.Anchor == nil || c.Desk == nil || c.Stuck == nil || c.People == nil || c.Exports == nil || c.Now == nil {
		return errors.New("staff: names, parts, the log's key, metrics, a database, an anchor, a desk, exports and a clock are needed")
	}
	return nil
}

// Server answers staff. It is safe for concurrent use.
type Server struct {
	cfg     Config
	metrics http.Handler
}

// New makes a Server.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Server{cfg: cfg, metrics: promhttp.HandlerFor(cfg.Gatherer, promhttp.HandlerOpts{})}, nil
}

// Mount adds the routes.
func (s *Server) Mount(site *web.Site, mux chi.Router) {
	staff := web.Certificates("staff", s.cfg.Names)
	get := func(pattern string, serve web.Handler) web.Route {
		return web.Route{Method: http.MethodGet, Pattern: pattern, Access: staff, Serve: serve}
	}
	post := func(pattern string, serve web.Handler) web.Route {
		return web.Route{Method: http.MethodPost, Pattern: pattern, Access: staff, Keys: web.KeyOptional, Serve: serve}
	}
	site.Mount(mux,
		// Registering converges the ledger to what the asset's configuration says: asking twice does no more than once.
		web.Route{Method: http.MethodPost, Pattern: "/v1/assets/{code}", Access: staff, Keys: web.KeyNone, Serve: s.registerAsset},
		web.Route{Method: http.MethodPost, Pattern: "/v1/exports", Access: staff, Keys: web.KeyOptional, Timeout: exportTimeout, Serve: s.export},
		get("/v1/invariants", s.invariants),
		get("/v1/ledger-transactions", s.ledgerTransactions),
		get("/v1/parked", s.parked),
		post("/v1/parked/{hash}/{op}/resolve", s.resolveParked),
		get("/v1/withdrawals/bounced", s.bounced),
		post("/v1/withdrawals/{id}/resolve", s.resolveBounced),
		post("/v1/deposits/{id}/give-up", s.giveUp),
		post("/v1/customers/{account}/status", s.setStatus),
		get("/v1/jobs", s.jobs),
		get("/v1/approvals", s.approvals),
		get("/v1/approvals/{id}", s.approval),
		post("/v1/approvals/{id}/consents", s.approve),
		post("/v1/approvals/{id}/decline", s.decline),
		get("/v1/quarantine", s.quarantine),
		post("/v1/quarantine/{id}/dismiss", s.dismiss),
		get("/v1/log/key", s.logKey),
		get("/livez", s.live),
		get("/readyz", s.ready),
		get("/metrics", func(w http.ResponseWriter, r *http.Request) error { s.metrics.ServeHTTP(w, r); return nil }),
	)
}

func (s *Server) logKey(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, s.cfg.LogKey) // the client is gone if this fails
	return nil
}

// export answers POST /v1/exports with the package itself.
func (s *Server) export(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		From    string `json:"from"`
		To      string `json:"to"`
		Purpose string `json:"purpose"`
	}
	if err := web.ReadJSON(r, &body); err != nil {
		return err
	}
	q := export.Request{Purpose: strings.TrimSpace(body.Purpose), By: trail.Actor(r.Context())}
	var err error
	if q.From, err = time.Parse(time.RFC3339, body.From); err != nil {
		return web.Malformed("from", "need a time such as 2026-01-31T15:04:05Z")
	}
	if q.To, err = time.Parse(time.RFC3339, body.To); err != nil {
		return web.Malformed("to", "need a time such as 2026-01-31T15:04:05Z")
	}
	name := fmt.Sprintf("diamante-export-%s-%s-%s.tar", q.From.UTC().Format("20060102"), q.To.UTC().Format("20060102"), q.By.Req)
	return s.cfg.Exports.Export(r.Context(), q, &attachment{w: w, name: name})
}

// attachment sets the headers of a download when its first byte comes, so that until then a problem can be answered.
type attachment struct {
	w     http.ResponseWriter
	name  string
	begun bool
}

func (a *attachment) Write(p []byte) (int, error) {
	if !a.begun {
		a.begun = true
		a.w.Header().Set("Content-Type", "application/x-tar")
		a.w.Header().Set("Content-Disposition", `attachment; filename="`+a.name+`"`)
	}
	return a.w.Write(p)
}
