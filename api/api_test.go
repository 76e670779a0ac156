package api_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/diamante/gateway/api"
	"github.com/diamante/gateway/api/partner"
	"github.com/diamante/gateway/api/staff"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/compliance/export"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

func TestMain(m *testing.M) { schematest.Main(m) }

// authority issues certificates for the tests, of clients and servers.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) issue(t testing.TB, notAfter time.Time, dns ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "x"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter,
		DNSNames: dns, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// doors are the partners' and the staff's listeners, with a client for each credential.
type doors struct {
	ca      *authority
	anchor  *fakeAnchor
	parts   *partsDown
	db      *audit.DB
	url     map[string]string // by listener
	mux     map[string]*chi.Mux
	exports *fakeExporter
}

type partsDown struct {
	mu   sync.Mutex
	down map[string]error
}

func (p *partsDown) check(name string) func(context.Context) error {
	return func(context.Context) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.down[name]
	}
}

type fakeExporter struct {
	mu   sync.Mutex
	got  []export.Request
	err  error
	late error // after some bytes
}

func (f *fakeExporter) Export(_ context.Context, q export.Request, w io.Writer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	f.got = append(f.got, q)
	if _, err := w.Write(bytes.Repeat([]byte("tar"), 200_000)); err != nil {
		return err
	}
	return f.late
}

func open(t *testing.T, dbURL string) *doors {
	t.Helper()
	db, err := audit.Open(context.Background(), dbURL, 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	d := &doors{ca: newAuthority(t, "diamante test"), anchor: newFakeAnchor(t), parts: &partsDown{down: map[string]error{}}, db: db,
		url: map[string]string{}, mux: map[string]*chi.Mux{}, exports: &fakeExporter{}}
	reg := prometheus.NewRegistry()
	metrics, err := api.NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	p, err := partner.New(partner.Config{Names: map[string]string{"paycircle.partner.test": "paycircle"}, DB: db, Bank: d.anchor, Payouts: d.anchor, Customers: d.anchor})
	if err != nil {
		t.Fatal(err)
	}
	var parts []staff.Part
	for _, name := range []string{"database", "signer", "node", "observer", "audit"} {
		parts = append(parts, staff.Part{Name: name, Check: d.parts.check(name)})
	}
	s, err := staff.New(staff.Config{Names: map[string]string{"alice.staff.test": "alice"}, Parts: parts, LogKey: "log+abc+key", Gatherer: reg, DB: db,
		Anchor: d.anchor, Desk: d.anchor, Stuck: d.anchor, People: d.anchor, Exports: d.exports, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	rate := web.Rate{Every: time.Microsecond, Burst: 1000}
	common := api.Common{DB: db, Log: slog.New(slog.DiscardHandler), Metrics: metrics, Now: time.Now}
	if d.mux["partner"], err = api.Partner(common, api.Rates{Address: rate, Caller: rate}, p); err != nil {
		t.Fatal(err)
	}
	if d.mux["staff"], err = api.Staff(common, api.Rates{Address: rate, Caller: rate}, s); err != nil {
		t.Fatal(err)
	}
	for name, mux := range d.mux {
		d.serve(t, name, mux)
	}
	return d
}

// serve listens as the programs do, except that a client without a certificate gets as far as the handlers: they must
// refuse him too.
func (d *doors) serve(t *testing.T, name string, h http.Handler) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{d.ca.issue(t, time.Now().Add(time.Hour), "gateway.test")},
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: d.ca.pool()}
	srv := web.NewServer(h, config, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(l, "", "") }()
	d.url[name] = "https://" + l.Addr().String()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

func (d *doors) client(certs ...tls.Certificate) *http.Client {
	config := &tls.Config{RootCAs: d.ca.pool()}
	if len(certs) > 0 { // sent whatever authorities the server names
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certs[0], nil }
	}
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}}
}

// as returns a client with a good certificate of the name.
func (d *doors) as(t testing.TB, dns ...string) *http.Client {
	t.Helper()
	return d.client(d.ca.issue(t, time.Now().Add(time.Hour), dns...))
}

func (d *doors) partner(t testing.TB) *http.Client { return d.as(t, "paycircle.partner.test") }
func (d *doors) staff(t testing.TB) *http.Client   { return d.as(t, "alice.staff.test") }

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) members(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v: %.200s", err, a.body)
	}
	return v
}

func ask(t testing.TB, c *http.Client, method, url, contentType, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

// policy is who may use which route. A route that is missing here fails TestEveryRouteHasItsCredential, and so does one
// that is here and nowhere else.
var policy = map[string]map[string]string{
	"partner": {
		"POST /v1/statements": "partner certificate", "GET /v1/payouts": "partner certificate", "GET /v1/payouts/{id}/file": "partner certificate", "POST /v1/payouts/{id}/refuse": "partner certificate",
		"GET /v1/transactions": "partner certificate", "GET /v1/quarantine": "partner certificate", "POST /v1/quarantine/{id}/resolve": "partner certificate",
		"POST /v1/customers": "partner certificate", "GET /v1/customers/{account}": "partner certificate",
	},
	"staff": {
		"POST /v1/assets/{code}": "staff certificate", "POST /v1/exports": "staff certificate", "GET /v1/invariants": "staff certificate",
		"GET /v1/ledger-transactions": "staff certificate", "GET /v1/parked": "staff certificate", "GET /v1/jobs": "staff certificate", "GET /v1/quarantine": "staff certificate",
		"POST /v1/quarantine/{id}/dismiss":    "staff certificate",
		"POST /v1/parked/{hash}/{op}/resolve": "staff certificate", "POST /v1/customers/{account}/status": "staff certificate",
		"GET /v1/approvals": "staff certificate", "GET /v1/approvals/{id}": "staff certificate", "POST /v1/approvals/{id}/consents": "staff certificate", "POST /v1/approvals/{id}/decline": "staff certificate",
		"GET /v1/withdrawals/bounced": "staff certificate", "POST /v1/withdrawals/{id}/resolve": "staff certificate", "POST /v1/deposits/{id}/give-up": "staff certificate", "GET /v1/log/key": "staff certificate",
		"GET /livez": "staff certificate", "GET /readyz": "staff certificate", "GET /metrics": "staff certificate",
	},
}

func TestEveryRouteHasItsCredential(t *testing.T) {
	d := open(t, schematest.New(t, schema.Gateway))
	stranger := newAuthority(t, "somebody else")
	credentials := map[string]*http.Client{
		"none": d.client(), "partner": d.partner(t), "staff": d.staff(t), "other name": d.as(t, "eve.staff.test"),
		"second name": d.as(t, "eve.test", "alice.staff.test", "paycircle.partner.test"), "no name": d.as(t),
	}
	for name, mux := range d.mux {
		seen := map[string]bool{}
		err := chi.Walk(mux, func(method, pattern string, h http.Handler, _ ...func(http.Handler) http.Handler) error {
			route := method + " " + pattern
			seen[route] = true
			endpoint, ok := h.(*web.Endpoint)
			if !ok || policy[name][route] == "" || endpoint.Access.String() != policy[name][route] {
				return fmt.Errorf("%s: %s is a %T for %v, want %q", name, route, h, endpoint, policy[name][route])
			}
			path := strings.NewReplacer("{id}", "x", "{code}", "USD", "{hash}", strings.Repeat("0", 64), "{op}", "0", "{account}", d.anchor.customer.String()).Replace(pattern)
			for who, client := range credentials {
				got := ask(t, client, method, d.url[name]+path, "", "", "Authorization", "Bearer x.y.z", "X-User", "alice", "X-Forwarded-For", "10.0.0.1")
				want := http.StatusForbidden
				if who == "none" {
					want = http.StatusUnauthorized
				}
				if refused := got.status == 401 || got.status == 403; refused != (who != name) || refused && got.status != want {
					t.Errorf("%s: %s as %s: %d %s", name, route, who, got.status, got.body)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		for route := range policy[name] {
			if !seen[route] {
				t.Errorf("%s: %s is in the table and not mounted", name, route)
			}
		}
		for who, cert := range map[string]tls.Certificate{"expired": d.ca.issue(t, time.Now().Add(-time.Minute), "alice.staff.test", "paycircle.partner.test"),
			"another authority's": stranger.issue(t, time.Now().Add(time.Hour), "alice.staff.test")} {
			if res, err := d.client(cert).Get(d.url[name] + "/livez"); err == nil {
				res.Body.Close()
				t.Errorf("%s: a certificate that is %s was accepted: %d", name, who, res.StatusCode)
			}
		}
	}
}

func TestReadiness(t *testing.T) {
	d := open(t, schematest.New(t, schema.Gateway))
	alice := d.staff(t)
	if got := ask(t, alice, "GET", d.url["staff"]+"/readyz", "", ""); got.status != 200 || got.members(t)["ready"] != true {
		t.Errorf("%d %s", got.status, got.body)
	}
	for _, part := range []string{"database", "signer", "node", "observer", "audit"} {
		d.parts.mu.Lock()
		d.parts.down = map[string]error{part: errors.New("it is away")}
		d.parts.mu.Unlock()
		got := ask(t, alice, "GET", d.url["staff"]+"/readyz", "", "")
		if want := fmt.Sprintf(`{"name":"%s","ok":false,"error":"it is away"}`, part); got.status != 503 || strings.Count(got.body, `"ok":false`) != 1 || !strings.Contains(got.body, want) {
			t.Errorf("%s down: %d %s", part, got.status, got.body)
		}
		if got := ask(t, alice, "GET", d.url["staff"]+"/livez", "", ""); got.status != 200 {
			t.Errorf("%s down: not live: %d", part, got.status)
		}
	}
	if got := ask(t, alice, "GET", d.url["staff"]+"/metrics", "", ""); got.status != 200 || !strings.Contains(got.body, `http_requests_total{listener="staff",method="GET",route="/readyz",status="503"} 5`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := ask(t, alice, "GET", d.url["staff"]+"/v1/log/key", "", ""); got.body != "log+abc+key\n" {
		t.Errorf("%q", got.body)
	}
}

func TestExports(t *testing.T) {
	d := open(t, schematest.New(t, schema.Gateway))
	alice, url := d.staff(t), d.url["staff"]+"/v1/exports"
	const good = `{"from":"2026-01-01T00:00:00Z","to":"2026-02-01T01:00:00+01:00","purpose":"yearly audit"}`
	got := ask(t, alice, "POST", url, "application/json", good)
	if got.status != 200 || len(got.body) != 600_000 || got.header.Get("Content-Type") != "application/x-tar" ||
		!strings.HasPrefix(got.header.Get("Content-Disposition"), `attachment; filename="diamante-export-20260101-20260201-`) {
		t.Fatalf("%d %d bytes %v", got.status, len(got.body), got.header)
	}
	r := d.exports.got[0]
	if r.By.Kind != "staff" || r.By.Name != "alice" || r.By.From != "127.0.0.1" || len(r.By.Req) != 24 || r.Purpose != "yearly audit" {
		t.Errorf("%+v", r)
	}
	for name, body := range map[string]string{
		"dates": `{"from":"2026-01-01","to":"2026-02-01","purpose":"x"}`, "no end": `{"from":"2026-01-01T00:00:00Z","purpose":"x"}`,
		"unknown": `{"from":"2026-01-01T00:00:00Z","to":"2026-02-01T00:00:00Z","purpose":"x","all":true}`, "empty": ``} {
		if got := ask(t, alice, "POST", url, "application/json", body); got.status != 400 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	for err, status := range map[error]int{export.ErrRequest: 400, export.ErrTooLarge: 422, export.ErrNotSigned: 503} {
		d.exports.err = err
		if got := ask(t, alice, "POST", url, "application/json", good); got.status != status || got.header.Get("Content-Disposition") != "" {
			t.Errorf("%v: %d %s", err, got.status, got.body)
		}
	}
	if len(d.exports.got) != 1 {
		t.Errorf("%d exports", len(d.exports.got))
	}
	d.exports.err = errors.New("disk full at /var/lib/secret")
	if got := ask(t, alice, "POST", url, "application/json", good); got.status != 500 || got.header.Get("Content-Type") != "application/problem+json" ||
		strings.Contains(got.body, "secret") || got.header.Get("Content-Disposition") != "" {
		t.Errorf("%d %s", got.status, got.body)
	}
	d.exports.err, d.exports.late = nil, errors.New("the log went away")
	req, err := http.NewRequest("POST", url, strings.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := alice.Do(req)
	if err == nil {
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	if err == nil {
		t.Error("half a package was taken for a whole one")
	}
}
