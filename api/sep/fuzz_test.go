package sep

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/node/protocol"
)

func url64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// The seeds are made from fixed keys, which guard nothing.
func fuzzKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func fuzzServer(t testing.TB) *Server {
	t.Helper()
	server, err := protocol.AccountIDFromKey(fuzzKey("challenges").Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Origin: "https://anchor.test", HomeDomain: "anchor.test", Passphrase: "fuzz", SigningKey: server,
		TokenKey: fuzzKey("tokens").Public().(ed25519.PublicKey), Challenge: time.Minute, Token: time.Hour, Organization: Organization{Name: "x"}}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return &Server{cfg: cfg, host: "anchor.test", Parts: Parts{Now: time.Now}}
}

// FuzzAnswer feeds POST /auth, up to where the ledger and the database are asked: without a server's signature, which the
// fuzzer does not have, nothing may get that far.
func FuzzAnswer(f *testing.F) {
	s := fuzzServer(f)
	client, err := protocol.AccountIDFromKey(fuzzKey("client").Public().(ed25519.PublicKey))
	if err != nil {
		f.Fatal(err)
	}
	env, err := s.buildChallenge(client)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := env.MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	good := base64.StdEncoding.EncodeToString(raw)
	f.Add("application/json", `{"transaction":"`+good+`"}`)
	f.Add("application/x-www-form-urlencoded", "transaction="+strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(good))
	f.Add("application/json", `{"transaction":"","transaction":""}`)
	f.Add("text/plain", good)
	f.Fuzz(func(t *testing.T, contentType, body string) {
		r := httptest.NewRequest("POST", "/auth", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		encoded, err := readAnswer(r)
		if err == nil {
			_, err = s.verify(t.Context(), encoded)
		}
		if !errors.Is(err, ErrChallenge) && !errors.Is(err, web.ErrMalformed) && !errors.Is(err, web.ErrMediaType) {
			t.Errorf("%q %q: %v", contentType, body, err)
		}
	})
}

// FuzzToken holds that only what the token key signed is let in.
func FuzzToken(f *testing.F) {
	s := fuzzServer(f)
	sign := func(input string) string {
		return input + "." + url64(ed25519.Sign(fuzzKey("tokens"), []byte(input)))
	}
	input := url64([]byte(`{"alg":"EdDSA","typ":"JWT"}`)) + "." + url64([]byte(`{"iss":"https://anchor.test","exp":9999999999}`))
	f.Add("Bearer " + sign(input))
	f.Add("Bearer " + url64([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + url64([]byte(`{}`)) + ".")
	f.Add("Bearer a.b.c")
	f.Add("Basic eDp5")
	parser := s.parser()
	f.Fuzz(func(t *testing.T, header string) {
		if account, err := s.authenticate(parser, []string{header}); err == nil {
			t.Errorf("%q is a token of %s", header, account)
		}
	})
}

// FuzzTransferQuery holds that what is read of a query is within its bounds.
func FuzzTransferQuery(f *testing.F) {
	for _, q := range []string{"asset_code=USD&amount=1.5", "asset_code=USD&kind=deposit,withdrawal&limit=3&no_older_than=2026-01-01T00:00:00Z", "amount=1E9", "%", "a=b&a=c"} {
		f.Add(q)
	}
	me, err := protocol.AccountIDFromKey(fuzzKey("client").Public().(ed25519.PublicKey))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.RawQuery = query
		r = r.WithContext(web.WithCaller(r.Context(), web.Caller{Kind: "customer", Name: me.String()}))
		if req, err := readRequest(r); err == nil && (req.customer != me || req.asset == "") {
			t.Errorf("%q: %+v", query, req)
		} else if err != nil && !errors.Is(err, web.ErrMalformed) {
			t.Errorf("%q: %v", query, err)
		}
		if q, err := readQuery(r); err == nil && (q.Account != me || q.Limit < 1 || q.Limit > pages.Max || len(q.Before) > 128) {
			t.Errorf("%q: %+v", query, q)
		} else if err != nil && !errors.Is(err, web.ErrMalformed) {
			t.Errorf("%q: %v", query, err)
		}
	})
}
