// Package web is how every HTTP handler of ours behaves, whatever it is about; it knows nothing of the rest.
//
// A handler returns an error; one table, given by the caller, turns errors into RFC 7807 problems, and what is not in
// it is a 500 without a word about the cause. A Site is one listener: its limits, its log, its metrics. A Route cannot
// be mounted without saying who may use it, and one that creates something cannot without saying what an Idempotency-Key
// means to it:
//
//	site, err := web.New(web.Config{...})
//	mux := site.Router()
//	site.Mount(mux, web.Route{Method: "POST", Pattern: "/v1/things", Access: partner, Keys: web.KeyOptional, Serve: makeThing})
//
// Serve reads with ReadJSON, ReadForm, StrictQuery or ReadBody, all of which have limits, and writes with WriteJSON.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
)

// The limits of a route that names none of its own, and of every request.
const (
	DefaultMaxBody = 64 << 10
	DefaultTimeout = 20 * time.Second
	MaxQuery       = 8 << 10 // bytes of a query string
	bodyTimeout    = 15 * time.Second
	writeGrace     = 15 * time.Second // after the handler's own time, for the answer to leave
)

// Handler serves a request or says why not. After it has begun to write an answer it can only abort, see Site.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Config is what a Site needs.
type Config struct {
	Name    string       // of the listener, in logs and metrics: "public"
	Log     *slog.Logger // where requests and the causes of 5xx answers go, once each
	Metrics *Metrics     // shared by the sites of a program
	Table   Table        // the one table of errors
	CORS    bool         // any web page may call: true for protocols that wallets in a browser use
	Address Rate         // bounds the requests of one remote address
	Caller  Rate         // bounds the requests of one proven caller, from wherever they come
	Keys    KeyStore     // where answers to keyed requests are kept; nil: no route may be keyed
	Now     func() time.Time
}

// Validate says what is missing.
func (c Config) Validate() error {
	switch {
	case c.Name == "" || c.Log == nil || c.Metrics == nil || c.Now == nil:
		return errors.New("web: a site needs a name, a log, metrics and a clock")
	case len(c.Table) == 0:
		return errors.New("web: a site needs a table of errors")
	case !c.Address.valid() || !c.Caller.valid():
		return fmt.Errorf("web: rates %+v and %+v must be positive", c.Address, c.Caller)
	}
	return nil
}

// Site is one listener's manners. It is safe for concurrent use.
type Site struct {
	cfg       Config
	byAddress *limiter
	byCaller  *limiter
	patience  time.Duration // how long a body may take to arrive
}

// New makes a Site.
func New(cfg Config) (*Site, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Site{cfg: cfg, byAddress: newLimiter(cfg.Address, cfg.Now), byCaller: newLimiter(cfg.Caller, cfg.Now), patience: bodyTimeout}, nil
}

// Keys says what an Idempotency-Key means to a route. Zero is invalid for every method that may change something.
type Keys uint8

// The ways of treating an Idempotency-Key.
const (
	// KeyNone: the header is ignored, since asking twice does no more than asking once.
	KeyNone Keys = iota + 1
	// KeyOptional: a key is honoured; without one each request stands for itself.
	KeyOptional
	// KeyRequired: a request without a key is refused.
	KeyRequired
)

// Route is one method on one pattern.
type Route struct {
	Method  string
	Pattern string  // in chi's syntax
	Access  Access  // required
	Keys    Keys    // required unless Method is GET
	Dialect Dialect // how problems look here; nil: as they are
	MaxBody int64   // bytes; 0: DefaultMaxBody
	Timeout time.Duration
	Serve   Handler
}

// Endpoint is a mounted Route: what chi.Walk finds, so that a test can ask each for its Access.
type Endpoint struct {
	site *Site
	Route
}

// Router makes the site's outermost handler: everything below it is named, counted, logged and limited.
func (s *Site) Router() *chi.Mux {
	mux := chi.NewRouter()
	mux.Use(s.frame)
	mux.NotFound(func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, nil, ErrNoRoute) })
	mux.MethodNotAllowed(s.methodNotAllowed)
	return mux
}

// Mount adds routes. It panics on one that is not fully described, which a program notices when it starts.
func (s *Site) Mount(r chi.Router, routes ...Route) {
	for _, route := range routes {
		switch {
		case route.Access.check == nil:
			panic("web: route " + route.Pattern + " does not say who may use it")
		case route.Serve == nil:
			panic("web: route " + route.Pattern + " has no handler")
		case route.Keys == 0 && route.Method != http.MethodGet:
			panic("web: route " + route.Pattern + " does not say what an Idempotency-Key means to it")
		case route.Keys > KeyNone && s.cfg.Keys == nil:
			panic("web: route " + route.Pattern + " is keyed, but the site has nowhere to keep answers")
		}
		if route.MaxBody == 0 {
			route.MaxBody = DefaultMaxBody
		}
		if route.Timeout == 0 {
			route.Timeout = DefaultTimeout
		}
		r.Method(route.Method, route.Pattern, &Endpoint{site: s, Route: route})
	}
}

// ServeHTTP runs the route: limits, who is it, limits of his, key, handler, problem.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), e.Timeout)
	defer cancel()
	r = r.WithContext(ctx)
	if err := e.serve(w, r); err != nil {
		e.site.fail(w, r, e.Dialect, err)
	}
}

func (e *Endpoint) serve(w http.ResponseWriter, r *http.Request) error {
	if len(r.URL.RawQuery) > MaxQuery {
		return ErrURITooLong
	}
	e.setDeadlines(w, r)
	r.Body = http.MaxBytesReader(w, r.Body, e.MaxBody)
	caller, err := e.Access.check(r)
	if err != nil {
		return err
	}
	x := exchangeOf(r.Context())
	x.caller.Kind, x.caller.Name = caller.Kind, caller.Name
	if caller.Name != "" {
		if wait := e.site.byCaller.take(caller.Kind + "/" + caller.Name); wait > 0 {
			return &limitedError{wait}
		}
	}
	if e.Keys == KeyOptional || e.Keys == KeyRequired {
		return e.keyed(w, r)
	}
	return e.Serve(w, r)
}

// setDeadlines bounds how long a body may trickle in and an answer may take to leave. net/http lifts the first when the
// body is there. Without a body there is nothing to lift it: it would break the read by which net/http notices a client
// that leaves, and cut a handler short that waits for a ledger. A connection that cannot have deadlines is a test's recorder.
func (e *Endpoint) setDeadlines(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	now := time.Now()
	if r.Body != nil && r.Body != http.NoBody {
		_ = rc.SetReadDeadline(now.Add(e.site.patience))
	}
	_ = rc.SetWriteDeadline(now.Add(e.Timeout + writeGrace))
}

// methods are those that a route can have here.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

func (s *Site) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	allowed := ""
	if rctx := chi.RouteContext(r.Context()); rctx != nil && rctx.Routes != nil {
		for _, m := range methods {
			if rctx.Routes.Match(chi.NewRouteContext(), m, r.URL.Path) {
				if allowed != "" {
					allowed += ", "
				}
				allowed += m
			}
		}
	}
	w.Header().Set("Allow", allowed)
	s.fail(w, r, nil, ErrMethod)
}
