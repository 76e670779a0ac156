package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts requests by route pattern; no label names a customer.
type Metrics struct {
	requests *prometheus.CounterVec
	problems *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// NewMetrics makes and registers the metrics that a program's sites share.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "http_requests_total",
			Help: "Requests answered."}, []string{"listener", "method", "route", "status"}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "http_problems_total",
			Help: "Problem documents sent, by the last part of their type."}, []string{"listener", "problem"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "http_request_duration_seconds",
			Help: "Time from the request's header to the end of the answer.", Buckets: prometheus.DefBuckets}, []string{"listener", "method", "route"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.problems, m.seconds} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("web: metrics: %w", err)
		}
	}
	return m, nil
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status int // 0 until the header is written
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// frame is around everything: id, headers, address limit, panics, log line and metrics.
func (s *Site) frame(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		x := &exchange{w: rec, caller: Caller{Kind: "anyone", Address: address(r), Request: newRequestID()}}
		r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
		s.headers(w.Header(), x.caller.Request)
		aborted := true
		defer func() { s.finish(r, x, start, aborted) }()
		func() {
			defer func() {
				if v := recover(); v != nil {
					s.recovered(rec, r, v)
				}
			}()
			s.route(rec, r, next)
		}()
		aborted = false
	})
}

func (s *Site) route(w *recorder, r *http.Request, next http.Handler) {
	x := exchangeOf(r.Context())
	if wait := s.byAddress.take(network(x.caller.Address)); wait > 0 {
		s.fail(w, r, nil, &limitedError{wait})
		return
	}
	if s.cfg.CORS && r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	next.ServeHTTP(w, r)
}

// headers are the same on every answer. Nothing here is to be kept, framed, sniffed or run as a page.
func (s *Site) headers(h http.Header, request string) {
	h.Set("X-Request-Id", request)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Strict-Transport-Security", "max-age=63072000; includeSubDomains")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	if s.cfg.CORS {
		// Credentials are bearer tokens that a page must hold itself, so any origin may be let in.
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, X-Client-Name, X-Client-Version, X-App-Name, X-App-Version")
		h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After, Idempotent-Replay, Date")
		h.Set("Access-Control-Max-Age", "600")
	}
}

// recovered answers for a handler that panicked, and lets through the one panic that means "break the connection".
func (s *Site) recovered(rec *recorder, r *http.Request, v any) {
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	s.fail(rec, r, nil, fmt.Errorf("web: handler panicked: %v\n%s", v, debug.Stack()))
}

// finish writes the access log's line. Paths, queries, bodies, tokens and customers' names stay out of it: a request is
// found again by its id, which audit records carry too.
func (s *Site) finish(r *http.Request, x *exchange, start time.Time, aborted bool) {
	took := time.Since(start)
	route := x.route(r)
	status := x.w.status
	if status == 0 && !aborted {
		status = http.StatusOK
	}
	name := x.caller.Name
	if x.caller.Kind == "customer" {
		name = ""
	}
	s.cfg.Log.Info("request", "req", x.caller.Request, "listener", s.cfg.Name, "method", method(r), "route", route, "status", status,
		"aborted", aborted, "bytes", x.w.bytes, "ms", took.Milliseconds(), "from", x.caller.Address, "kind", x.caller.Kind, "name", name)
	s.cfg.Metrics.requests.WithLabelValues(s.cfg.Name, method(r), route, strconv.Itoa(status)).Inc()
	s.cfg.Metrics.seconds.WithLabelValues(s.cfg.Name, method(r), route).Observe(took.Seconds())
}

// method returns the method if it is one we know: clients can make up any number, and a label lives for ever.
func method(r *http.Request) string {
	for _, m := range append(methods, http.MethodHead, http.MethodOptions) {
		if r.Method == m {
			return m
		}
	}
	return "other"
}
