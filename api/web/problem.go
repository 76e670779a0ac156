package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"
)

// TypeBase begins the type URI of every problem.
const TypeBase = "https://diamante.network/problems/"

// The errors of this package, each a row of the caller's Table.
var (
	// ErrMalformed: the request cannot be read; the error's text says what is wrong with it.
	ErrMalformed = errors.New("malformed request")
	// ErrTooLarge: the body is larger than the route takes.
	ErrTooLarge = errors.New("web: body too large")
	// ErrURITooLong: the query is longer than MaxQuery.
	ErrURITooLong = errors.New("web: query too long")
	// ErrMediaType: the body is of a kind that the route does not read.
	ErrMediaType = errors.New("web: unsupported media type")
	// ErrSlow: the body did not arrive in time.
	ErrSlow = errors.New("web: the request took too long to arrive")
	// ErrNoRoute: nothing is at this path.
	ErrNoRoute = errors.New("web: no such path")
	// ErrMethod: something is at this path, but not for this method.
	ErrMethod = errors.New("web: method not allowed")
	// ErrUnauthenticated: the route is for callers who prove who they are.
	ErrUnauthenticated = errors.New("web: not authenticated")
	// ErrForbidden: the caller is known and may not use the route.
	ErrForbidden = errors.New("web: forbidden")
	// ErrLimited: the caller asks too often.
	ErrLimited = errors.New("web: too many requests")
	// ErrKeyMissing: the route wants an Idempotency-Key.
	ErrKeyMissing = errors.New("web: no Idempotency-Key")
	// ErrKeyUsed: the Idempotency-Key was used for another request.
	ErrKeyUsed = errors.New("web: Idempotency-Key used for another request")
	// ErrKeyBusy: the first request with this Idempotency-Key has not been answered yet.
	ErrKeyBusy = errors.New("web: a request with this Idempotency-Key is being answered")
)

// Malformed makes an ErrMalformed whose text, meant for the caller, names the field or parameter.
func Malformed(field, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrMalformed, field, fmt.Sprintf(format, args...))
}

// Row says how the errors that it matches are answered.
type Row struct {
	Is    error            // matched with errors.Is
	Match func(error) bool // instead of Is, for errors told apart by a predicate
	// Status and Name are the answer: Name ends the type URI.
	Status int
	Name   string
	Title  string
	Detail string        // the same for every such error
	Show   bool          // the error's own text was written for callers and becomes the detail
	Retry  time.Duration // for Retry-After; 0: none
}

// Table is searched from the top. An error that no row matches is a 500 and tells nothing.
type Table []Row

// Problem is an RFC 7807 problem document on its way out.
type Problem struct {
	Name   string // of its row
	Type   string // URI
	Title  string
	Status int
	Detail string
	Retry  time.Duration
	Extra  map[string]any // further members
}

// Dialect rewrites a problem to suit the clients of one protocol.
type Dialect func(p *Problem)

// Extender is an error that adds members to its problem.
type Extender interface {
	Extend() map[string]any
}

// limitedError is ErrLimited with the time after which it is over.
type limitedError struct{ wait time.Duration }

func (e *limitedError) Error() string        { return ErrLimited.Error() }
func (e *limitedError) Is(target error) bool { return target == ErrLimited }

// Problem looks err up.
func (t Table) Problem(err error) Problem {
	for _, row := range t {
		if row.Match == nil && !errors.Is(err, row.Is) || row.Match != nil && !row.Match(err) {
			continue
		}
		p := Problem{Name: row.Name, Type: TypeBase + row.Name, Title: row.Title, Status: row.Status, Detail: row.Detail, Retry: row.Retry}
		if row.Show {
			p.Detail = err.Error()
		}
		var x Extender
		if errors.As(err, &x) {
			p.Extra = x.Extend()
		}
		var limited *limitedError
		if errors.As(err, &limited) {
			p.Retry = limited.wait
		}
		return p
	}
	return Problem{Name: "internal-error", Type: TypeBase + "internal-error", Title: "Internal error",
		Status: http.StatusInternalServerError}
}

// translate gives the errors of net/http's body readers their names here.
func translate(err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, large.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrSlow
	}
	return err
}

// fail answers with err's problem and logs what a caller is not told. An answer that has begun cannot be taken back:
// the connection is broken, so that nobody takes a part for the whole.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, dialect Dialect, err error) {
	err = translate(err)
	p := s.cfg.Table.Problem(err)
	x := exchangeOf(r.Context())
	if p.Status >= http.StatusInternalServerError {
		level := slog.LevelError
		if p.Status != http.StatusInternalServerError {
			level = slog.LevelWarn // a part is away, and health says so too
		}
		s.cfg.Log.Log(r.Context(), level, "request failed", "req", x.caller.Request, "route", x.route(r), "problem", p.Name, "err", err)
	}
	if x.w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	if dialect != nil {
		dialect(&p)
	}
	s.cfg.Metrics.problems.WithLabelValues(s.cfg.Name, p.Name).Inc()
	p.write(w, x.caller.Request)
}

func (p Problem) write(w http.ResponseWriter, request string) {
	members := map[string]any{"type": p.Type, "title": p.Title, "status": p.Status, "request_id": request}
	if p.Detail != "" {
		members["detail"] = p.Detail
	}
	for k, v := range p.Extra {
		members[k] = v
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(members); err != nil {
		panic("web: a problem does not encode: " + err.Error())
	}
	if p.Retry > 0 {
		seconds := (p.Retry + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(body.Bytes()) // the client is gone if this fails, and the log line says how much he got
}
