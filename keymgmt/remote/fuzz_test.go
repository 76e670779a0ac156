package remote_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/remote"
)

// picky signs nothing and insists that what reaches it has the shape of a request.
type picky struct{ t *testing.T }

func (p picky) For(string) keymgmt.Signer { return p }
func (p picky) Order(_ context.Context, _ string, o keymgmt.Order) error {
	if err := o.Validate(); err != nil {
		return err
	}
	return keymgmt.ErrDenied
}
func (p picky) Attest(_ context.Context, _ string, a keymgmt.Attestation) error {
	if err := a.Validate(); err != nil {
		return err
	}
	return keymgmt.ErrDenied
}
func (p picky) Health(context.Context) map[string]error { return nil }
func (p picky) Sign(_ context.Context, r keymgmt.Request) (keymgmt.Signature, error) {
	if len(r.Body) > 2*keymgmt.MaxBody {
		p.t.Fatalf("a body of %d bytes came through", len(r.Body))
	}
	if err := r.Validate(); err != nil {
		return keymgmt.Signature{}, err
	}
	return keymgmt.Signature{}, keymgmt.ErrDenied
}

// FuzzHandler feeds the server what a client with a good certificate and bad manners might send.
func FuzzHandler(f *testing.F) {
	f.Add([]byte(`{"key":"audit/log","kind":"checkpoint","body":"AAAA","ref":"r"}`))
	f.Add([]byte(`{"key":"audit/log","kind":"digest","body":"AAAA","ref":"r"}`))
	f.Add([]byte(`{"key":null,"kind":null,"body":null,"ref":null}`))
	f.Add([]byte(`{"key":"escrow/usd","kind":"transaction","body":"AAAA","ref":"r","discharges":[{"lien":"l","asset":"native","amount":"1.0000000","destination":"G","nonce":"","expires":"2026-01-01T00:00:00Z","holder":"h","signature":"AA=="}]}`))
	f.Add([]byte(`[]`))
	chain := []*x509.Certificate{{DNSNames: []string{gateway}}}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/v1/sign", bytes.NewReader(body))
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{chain}}
		w := httptest.NewRecorder()
		remote.Handler(picky{t}, discard).ServeHTTP(w, r)
		var out map[string]any
		if w.Code != http.StatusBadRequest && w.Code != http.StatusForbidden || json.Unmarshal(w.Body.Bytes(), &out) != nil || out["error"] == nil {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	})
}

func TestHandlerWithoutACertificate(t *testing.T) {
	for name, state := range map[string]*tls.ConnectionState{
		"no TLS": nil, "not verified": {PeerCertificates: []*x509.Certificate{{DNSNames: []string{gateway}}}},
	} {
		for method, path := range map[string]string{http.MethodPost: "/v1/sign", http.MethodGet: "/health"} {
			r := httptest.NewRequest(method, path, nil)
			r.TLS = state
			w := httptest.NewRecorder()
			remote.Handler(picky{t}, discard).ServeHTTP(w, r)
			if w.Code != http.StatusUnauthorized {
				t.Errorf("%s, %s: status %d", name, path, w.Code)
			}
		}
	}
}
