package sep_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stellar/go-stellar-sdk/keypair"
	"github.com/stellar/go-stellar-sdk/txnbuild"

	"github.com/diamante/gateway/api"
	"github.com/diamante/gateway/api/sep"
	"github.com/diamante/gateway/api/trail"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
)

func TestMain(m *testing.M) { schematest.Main(m) }

const (
	passphrase = protocol.Passphrase("Test of SEPs ; 2026")
	origin     = "https://anchor.test:8443"
	homeDomain = "anchor.test"
	webDomain  = "anchor.test:8443"
)

// signer reads what it signs as the key-management instance does.
type signer struct {
	kind keymgmt.Kind
	key  ed25519.PrivateKey
	mu   sync.Mutex
	refs map[string][]byte
	err  error // returned instead of a signature
}

func newSigner(kind keymgmt.Kind) *signer {
	_, key, _ := ed25519.GenerateKey(nil)
	return &signer{kind: kind, key: key, refs: map[string][]byte{}}
}

func (s *signer) public() ed25519.PublicKey { return s.key.Public().(ed25519.PublicKey) }

func (s *signer) Sign(_ context.Context, body []byte, ref string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	id, _ := keymgmt.ParseKeyID("anchor/x")
	if err := (keymgmt.Request{Key: id, Kind: s.kind, Body: body, Ref: ref}).Validate(); err != nil {
		return nil, err
	}
	meaning, err := payload.Decode(s.kind, body)
	if err != nil {
		return nil, err
	}
	if old, used := s.refs[ref]; used && !bytes.Equal(old, body) {
		return nil, keymgmt.ErrRefUsed
	}
	s.refs[ref] = body
	public, err := keymgmt.NewPublicKey(keymgmt.Ed25519, s.key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	return ed25519.Sign(s.key, meaning.Messages(public)[0]), nil
}

func (s *signer) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

type ledger struct {
	accounts map[protocol.AccountID]protocol.Account
	err      error
}

func (l *ledger) Account(_ context.Context, id protocol.AccountID) (protocol.Account, error) {
	if l.err != nil {
		return protocol.Account{}, l.err
	}
	a, ok := l.accounts[id]
	if !ok {
		return protocol.Account{}, fmt.Errorf("account: %w", protocol.ErrNotFound)
	}
	return a, nil
}

// fixture is a server with everything around it that a test may break.
type fixture struct {
	challenges, tokens *signer
	ledger             *ledger
	anchor             *fakeAnchor
	db                 *audit.DB
	dbURL              string
	server             account
	*http.Client
	url string
}

type account = protocol.AccountID

func accountOf(t testing.TB, key []byte) account {
	t.Helper()
	id, err := protocol.AccountIDFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (f *fixture) config() sep.Config {
	return sep.Config{Origin: origin, HomeDomain: homeDomain, Passphrase: passphrase, SigningKey: f.server, TokenKey: f.tokens.public(),
		Challenge: 15 * time.Minute, Token: time.Hour, Organization: sep.Organization{Name: "Test Bank"}}
}

func newFixture(t *testing.T) *fixture { return newFixtureOn(t, schematest.New(t, schema.Gateway)) }

func newFixtureOn(t *testing.T, dbURL string) *fixture {
	t.Helper()
	f := &fixture{challenges: newSigner(keymgmt.KindChallenge), tokens: newSigner(keymgmt.KindJWT),
		ledger: &ledger{accounts: map[account]protocol.Account{}}, dbURL: dbURL}
	f.server = accountOf(t, f.challenges.public())
	f.anchor = newFakeAnchor(t)
	db, err := audit.Open(context.Background(), f.dbURL, 10)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	f.db = db
	s, err := sep.New(f.config(), sep.Parts{DB: db, Challenges: f.challenges, Tokens: f.tokens, Ledger: f.ledger, Anchor: f.anchor, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := web.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	rate := web.Rate{Every: time.Microsecond, Burst: 1000}
	site, err := web.New(web.Config{Name: "public", Log: slog.New(slog.DiscardHandler), Metrics: metrics, Table: api.Table(), CORS: true,
		Address: rate, Caller: rate, Keys: trail.Keys{DB: db}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	mux := site.Router()
	s.Mount(site, mux)
	srv := httptest.NewTLSServer(mux)
	t.Cleanup(srv.Close)
	f.Client, f.url = srv.Client(), srv.URL
	return f
}

func (f *fixture) do(t testing.TB, method, path, contentType, body string, header http.Header) (*http.Response, map[string]any) {
	t.Helper()
	req, err := http.NewRequest(method, f.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := f.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if strings.Contains(res.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
	}
	if res.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%s %s: a browser may not read the answer", method, path)
	}
	if res.StatusCode >= 400 && (v["error"] == nil || v["error"] == "") {
		t.Errorf("%s %s: %d without the member error: %v", method, path, res.StatusCode, v)
	}
	return res, v
}

func (f *fixture) challenge(t testing.TB, client string) *txnbuild.Transaction {
	t.Helper()
	res, v := f.do(t, "GET", "/auth?account="+client+"&client_domain=wallet.test&home_domain="+homeDomain, "", "", nil)
	if res.StatusCode != 200 || len(v) != 2 || v["network_passphrase"] != string(passphrase) {
		t.Fatalf("%d %v", res.StatusCode, v)
	}
	// As a wallet does, with an SDK that we did not write.
	tx, id, domain, memo, err := txnbuild.ReadChallengeTx(v["transaction"].(string), f.server.String(), string(passphrase), webDomain, []string{homeDomain})
	if err != nil || id != client || domain != homeDomain || memo != nil {
		t.Fatalf("%s %s %v %v", id, domain, memo, err)
	}
	return tx
}

func (f *fixture) post(t testing.TB, tx *txnbuild.Transaction) (int, map[string]any) {
	t.Helper()
	text, err := tx.Base64()
	if err != nil {
		t.Fatal(err)
	}
	return f.postText(t, text)
}

func (f *fixture) postText(t testing.TB, text string) (int, map[string]any) {
	t.Helper()
	body, _ := json.Marshal(map[string]string{"transaction": text})
	res, v := f.do(t, "POST", "/auth", "application/json", string(body), nil)
	return res.StatusCode, v
}

func sign(t testing.TB, tx *txnbuild.Transaction, keys ...*keypair.Full) *txnbuild.Transaction {
	t.Helper()
	tx, err := tx.Sign(string(passphrase), keys...)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// login returns a token of the account.
func (f *fixture) login(t testing.TB, key *keypair.Full) string {
	t.Helper()
	status, v := f.post(t, sign(t, f.challenge(t, key.Address()), key))
	if status != 200 {
		t.Fatalf("%d %v", status, v)
	}
	return v["token"].(string)
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func (f *fixture) records(t testing.TB, action string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), f.dbURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(context.Background(), `SELECT count(*) FROM audit.record WHERE action = $1`, action).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (f *fixture) exec(t testing.TB, sql string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), f.dbURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Fatal(err)
	}
}
