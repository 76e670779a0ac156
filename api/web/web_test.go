package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

var errDomain = errors.New("domain: no such thing")

var testTable = Table{
	{Is: ErrMalformed, Status: 400, Name: "malformed-request", Title: "Malformed", Show: true},
	{Is: ErrTooLarge, Status: 413, Name: "body-too-large", Title: "Too large"},
	{Is: ErrURITooLong, Status: 414, Name: "uri-too-long", Title: "Too long"},
	{Is: ErrMediaType, Status: 415, Name: "unsupported-media-type", Title: "Media type", Show: true},
	{Is: ErrSlow, Status: 408, Name: "request-timeout", Title: "Slow"},
	{Is: ErrNoRoute, Status: 404, Name: "no-such-path", Title: "No such path"},
	{Is: ErrMethod, Status: 405, Name: "method-not-allowed", Title: "Method"},
	{Is: ErrUnauthenticated, Status: 401, Name: "authentication-required", Title: "Who are you"},
	{Is: ErrForbidden, Status: 403, Name: "forbidden", Title: "No"},
	{Is: ErrLimited, Status: 429, Name: "too-many-requests", Title: "Slow down"},
	{Is: ErrKeyMissing, Status: 400, Name: "key-missing", Title: "Key missing"},
	{Is: ErrKeyUsed, Status: 422, Name: "key-used", Title: "Key used"},
	{Is: ErrKeyBusy, Status: 409, Name: "key-busy", Title: "Key busy", Retry: time.Second},
	{Is: errDomain, Status: 404, Name: "not-found", Title: "Not found", Detail: "there is no such thing"},
}

type testSite struct {
	*Site
	log bytes.Buffer
	reg *prometheus.Registry
}

func newSite(t *testing.T, change func(*Config)) *testSite {
	t.Helper()
	s := &testSite{reg: prometheus.NewRegistry()}
	m, err := NewMetrics(s.reg)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Name: "test", Metrics: m, Table: testTable, Address: Rate{time.Millisecond, 10000},
		Caller: Rate{time.Millisecond, 10000}, Keys: newMemoryKeys(), Now: time.Now}
	cfg.Log = slog.New(slog.NewJSONHandler(&lockedWriter{w: &s.log}, nil))
	if change != nil {
		change(&cfg)
	}
	if s.Site, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return s
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (s *testSite) serve(routes ...Route) http.Handler {
	mux := s.Router()
	s.Mount(mux, routes...)
	return mux
}

func get(access Access, serve Handler) Route {
	return Route{Method: "GET", Pattern: "/thing/{id}", Access: access, Serve: serve}
}

func call(h http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func problemOf(t *testing.T, res *http.Response) map[string]any {
	t.Helper()
	if ct := res.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Fatalf("content type %q of status %d", ct, res.StatusCode)
	}
	var p map[string]any
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if int(p["status"].(float64)) != res.StatusCode {
		t.Errorf("status %v in the problem, %d on the wire", p["status"], res.StatusCode)
	}
	if p["request_id"] != res.Header.Get("X-Request-Id") || p["request_id"] == "" {
		t.Errorf("request id %v, header %q", p["request_id"], res.Header.Get("X-Request-Id"))
	}
	return p
}

func TestErrorsBecomeProblems(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		status int
		typ    string
		detail any
		logged bool
	}{
		{"listed", fmt.Errorf("deep inside: %w", errDomain), 404, "not-found", "there is no such thing", false},
		{"shown", Malformed("amount", "negative"), 400, "malformed-request", "malformed request: amount: negative", false},
		{"unlisted", errors.New("pq: password authentication failed for user bob"), 500, "internal-error", nil, true},
		{"canceled", context.Canceled, 500, "internal-error", nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, nil)
			h := s.serve(get(Anyone(), func(http.ResponseWriter, *http.Request) error { return tt.err }))
			res := call(h, httptest.NewRequest("GET", "/thing/7", nil))
			p := problemOf(t, res)
			if res.StatusCode != tt.status || p["type"] != TypeBase+tt.typ || p["detail"] != tt.detail {
				t.Errorf("got %d %v", res.StatusCode, p)
			}
			if got := strings.Count(s.log.String(), "request failed"); (got == 1) != tt.logged {
				t.Errorf("%d lines of failure in %s", got, s.log.String())
			}
		})
	}
}

func TestFrame(t *testing.T) {
	s := newSite(t, func(c *Config) { c.CORS = true })
	h := s.serve(
		get(Anyone(), func(w http.ResponseWriter, _ *http.Request) error { return WriteJSON(w, 200, 1) }),
		Route{Method: "POST", Pattern: "/panics", Access: Anyone(), Keys: KeyNone, Serve: func(http.ResponseWriter, *http.Request) error { panic("secret") }})
	tests := []struct {
		method, path string
		status       int
		typ          string
	}{
		{"GET", "/thing/1", 200, ""},
		{"OPTIONS", "/thing/1", 204, ""},
		{"GET", "/nothing", 404, "no-such-path"},
		{"PUT", "/thing/1", 405, "method-not-allowed"},
		{"TRACE", "/thing/1", 405, "method-not-allowed"},
		{"BREW", "/thing/1", 405, "method-not-allowed"},
		{"POST", "/panics", 500, "internal-error"},
		{"GET", "/thing/1?" + strings.Repeat("a", MaxQuery+1), 414, "uri-too-long"},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.path[:min(12, len(tt.path))], func(t *testing.T) {
			res := call(h, httptest.NewRequest(tt.method, tt.path, nil))
			if res.StatusCode != tt.status {
				t.Fatalf("status %d, want %d", res.StatusCode, tt.status)
			}
			for k, v := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Access-Control-Allow-Origin": "*"} {
				if res.Header.Get(k) != v {
					t.Errorf("%s: %q", k, res.Header.Get(k))
				}
			}
			if res.Header.Get("Strict-Transport-Security") == "" || res.Header.Get("Content-Security-Policy") == "" || res.Header.Get("Server") != "" {
				t.Errorf("headers %v", res.Header)
			}
			if tt.typ != "" && problemOf(t, res)["type"] != TypeBase+tt.typ {
				t.Errorf("want type %s", tt.typ)
			}
			if tt.status == 405 && res.Header.Get("Allow") != "GET" {
				t.Errorf("Allow: %q", res.Header.Get("Allow"))
			}
		})
	}
	if strings.Contains(s.log.String(), "/thing/1") || !strings.Contains(s.log.String(), "/thing/{id}") {
		t.Errorf("the log names paths, not patterns: %s", s.log.String())
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(s.reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		`http_requests_total{listener="test",method="GET",route="/thing/{id}",status="200"} 1`,
		`http_requests_total{listener="test",method="other",route="none",status="405"} 2`,
		`http_problems_total{listener="test",problem="no-such-path"} 1`,
	} {
		if !strings.Contains(w.Body.String(), line) {
			t.Errorf("no %s in %s", line, w.Body.String())
		}
	}
}

func TestAnAnswerThatBreaksOffIsNotTakenForWhole(t *testing.T) {
	s := newSite(t, nil)
	srv := httptest.NewServer(s.serve(get(Anyone(), func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = w.Write(bytes.Repeat([]byte("x"), 64<<10))
		return errors.New("the rest is lost")
	})))
	defer srv.Close()
	res, err := http.Get(srv.URL + "/thing/1")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("the client read to a clean end")
	}
}

func TestMountRefuses(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Keys = nil })
	nop := func(http.ResponseWriter, *http.Request) error { return nil }
	for name, route := range map[string]Route{
		"no access":    {Method: "GET", Pattern: "/x", Serve: nop},
		"no handler":   {Method: "GET", Pattern: "/x", Access: Anyone()},
		"no keys":      {Method: "POST", Pattern: "/x", Access: Anyone(), Serve: nop},
		"no key store": {Method: "POST", Pattern: "/x", Access: Anyone(), Serve: nop, Keys: KeyOptional},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("mounted")
				}
			}()
			s.Mount(s.Router(), route)
		})
	}
}

func TestReading(t *testing.T) {
	type body struct {
		Name string `json:"name"`
		N    int64  `json:"n"`
		In   any    `json:"in"`
	}
	read := func(w http.ResponseWriter, r *http.Request) error {
		var b body
		if err := ReadJSON(r, &b); err != nil {
			return err
		}
		return WriteJSON(w, 200, b)
	}
	h := newSite(t, nil).serve(Route{Method: "POST", Pattern: "/x", Access: Anyone(), Keys: KeyNone, MaxBody: 1000, Serve: read})
	const j = "application/json"
	tests := []struct {
		name, contentType, body string
		status                  int
	}{
		{"good", j, `{"name":"a","n":1}`, 200},
		{"charset", j + "; charset=UTF-8", `{}`, 200},
		{"other charset", j + "; charset=latin1", `{}`, 415},
		{"no type", "", `{}`, 415},
		{"form", "application/x-www-form-urlencoded", `{}`, 415},
		{"xml", "text/xml", `<a/>`, 415},
		{"empty", j, ``, 400},
		{"not json", j, `name=a`, 400},
		{"array", j, `[]`, 400},
		{"null", j, `null`, 400},
		{"unknown member", j, `{"name":"a","admin":true}`, 400},
		{"twice", j, `{"name":"a","name":"b"}`, 400},
		{"twice in another case", j, `{"name":"a","Name":"b"}`, 400},
		{"twice inside", j, `{"in":{"a":1,"a":2}}`, 400},
		{"trailing object", j, `{}{}`, 400},
		{"trailing text", j, `{} x`, 400},
		{"cut", j, `{"name":"a"`, 400},
		{"cut inside", j, `{"in":[1,`, 400},
		{"wrong type", j, `{"n":"1"}`, 400},
		{"fraction", j, `{"n":1.5}`, 400},
		{"overflow", j, `{"n":9223372036854775808}`, 400},
		{"deep", j, `{"in":` + strings.Repeat("[", 17) + strings.Repeat("]", 17) + `}`, 400},
		{"deep objects", j, strings.Repeat(`{"in":`, 20) + "1" + strings.Repeat("}", 20), 400},
		{"deep enough", j, `{"in":` + strings.Repeat("[", 15) + strings.Repeat("]", 15) + `}`, 200},
		{"not UTF-8", j, "{\"name\":\"\xff\"}", 400},
		{"too large", j, `{"name":"` + strings.Repeat("a", 1000) + `"}`, 413},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/x", strings.NewReader(tt.body))
			if tt.contentType != "" {
				r.Header.Set("Content-Type", tt.contentType)
			}
			res := call(h, r)
			if res.StatusCode != tt.status {
				t.Errorf("status %d, want %d", res.StatusCode, tt.status)
			}
		})
	}
}

func TestPages(t *testing.T) {
	pages := Pages{Default: 10, Max: 200}
	tests := []struct {
		query string
		want  Page
		bad   bool
	}{
		{"", Page{"", 10}, false},
		{"limit=200&cursor=abc", Page{"abc", 200}, false},
		{"limit=0", Page{}, true},
		{"limit=-1", Page{}, true},
		{"limit=+1", Page{}, true},
		{"limit=%2B1", Page{}, true},
		{"limit=201", Page{}, true},
		{"limit=1e2", Page{}, true},
		{"limit=99999999999999999999", Page{}, true},
		{"limit=1&limit=2", Page{}, true},
		{"cursor=" + strings.Repeat("a", 129), Page{}, true},
		{"sort=asc", Page{}, true},
		{"limit=1;cursor=2", Page{}, true},
		{"cursor=%zz", Page{}, true},
		{"cursor=%ff", Page{}, true},
		{"cursor=%00", Page{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.query[:min(20, len(tt.query))], func(t *testing.T) {
			v, err := StrictQuery(httptest.NewRequest("GET", "/?"+tt.query, nil), "cursor", "limit")
			var p Page
			if err == nil {
				p, err = pages.Page(v)
			}
			if tt.bad != errors.Is(err, ErrMalformed) || !tt.bad && p != tt.want {
				t.Errorf("got %+v, %v", p, err)
			}
		})
	}
}

// reading serves a handler that reads its body and then takes its time, on a site with little patience.
func reading(t *testing.T, done chan<- error) net.Conn {
	t.Helper()
	s := newSite(t, nil)
	s.patience = 20 * time.Millisecond
	serve := func(w http.ResponseWriter, r *http.Request) error {
		_, err := ReadBody(r, "application/json")
		if err == nil {
			timer := time.NewTimer(5 * s.patience)
			defer timer.Stop()
			select {
			case <-r.Context().Done():
				err = r.Context().Err()
			case <-timer.C:
			}
		}
		done <- err
		return err
	}
	srv := httptest.NewServer(s.serve(Route{Method: "POST", Pattern: "/x", Access: Anyone(), Keys: KeyNone, Serve: serve},
		Route{Method: "GET", Pattern: "/x", Access: Anyone(), Serve: serve}))
	t.Cleanup(srv.Close)
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestSlowBody(t *testing.T) {
	done := make(chan error, 1)
	conn := reading(t, done)
	fmt.Fprintf(conn, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	if err := <-done; !errors.Is(err, ErrSlow) {
		t.Fatalf("got %v, want ErrSlow", err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
		t.Errorf("got %q, %v", answer, err)
	}
}

func TestSlowHandlersAreNotTakenForSlowBodies(t *testing.T) {
	for _, request := range []string{"POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
		"GET /x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\r\n"} {
		done := make(chan error, 1)
		fmt.Fprint(reading(t, done), request)
		if err := <-done; err != nil {
			t.Errorf("%.4s: the handler was cut short: %v", request, err)
		}
	}
}

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(Rate{Every: time.Second, Burst: 3}, time.Now)
		for i := range 3 {
			if wait := l.take("a"); wait != 0 {
				t.Fatalf("request %d waits %s", i, wait)
			}
		}
		if wait := l.take("a"); wait != time.Second {
			t.Fatalf("waits %s, want 1s", wait)
		}
		if wait := l.take("b"); wait != 0 {
			t.Fatal("another name waits")
		}
		<-time.After(time.Second)
		if wait := l.take("a"); wait != 0 {
			t.Fatalf("waits %s after the wait", wait)
		}
		l.max = 10
		for i := range 1000 {
			l.take(fmt.Sprint(i))
		}
		if n := len(l.young) + len(l.old); n > 20 {
			t.Errorf("%d names remembered", n)
		}
	})
}

func TestRates(t *testing.T) {
	customer := NewAccess("customer", func(r *http.Request) (Caller, error) {
		return Caller{Kind: "customer", Name: r.Header.Get("X-Name")}, nil
	})
	s := newSite(t, func(c *Config) {
		c.Address = Rate{time.Hour, 4}
		c.Caller = Rate{time.Hour, 2}
	})
	h := s.serve(get(customer, func(w http.ResponseWriter, _ *http.Request) error { return WriteJSON(w, 200, 1) }))
	ask := func(name, from string) *http.Response {
		r := httptest.NewRequest("GET", "/thing/1", nil)
		r.Header.Set("X-Name", name)
		r.Header.Set("X-Forwarded-For", fmt.Sprint(time.Now().UnixNano())) // must not matter
		r.RemoteAddr = from
		return call(h, r)
	}
	for i, tt := range []struct {
		name, from string
		status     int
	}{
		{"a", "192.0.2.1:1", 200}, {"a", "192.0.2.1:2", 200}, {"a", "192.0.2.1:3", 429}, // the caller's
		{"b", "192.0.2.1:4", 200}, {"c", "192.0.2.1:5", 429}, // the address's
		{"a", "192.0.2.2:1", 429}, {"d", "[2001:db8::1]:1", 200}, {"e", "[2001:db8::2]:1", 200},
		{"f", "[2001:db8::3]:1", 200}, {"g", "[2001:db8::4]:1", 200}, {"h", "[2001:db8::5]:1", 429}, {"h", "[2001:db8:0:1::5]:1", 200},
	} {
		res := ask(tt.name, tt.from)
		if res.StatusCode != tt.status {
			t.Fatalf("request %d: status %d, want %d", i, res.StatusCode, tt.status)
		}
		if tt.status == 429 && res.Header.Get("Retry-After") != "3600" {
			t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
		}
	}
}
