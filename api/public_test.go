package api_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stellar/go-stellar-sdk/keypair"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/api"
	"github.com/diamante/gateway/api/horizon"
	"github.com/diamante/gateway/api/sep"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
	"github.com/diamante/gateway/node/protocol"
)

const passphrase = protocol.Passphrase("Test of the API ; 2026")

// fakeNode closes a ledger for every transaction, which always succeeds.
type fakeNode struct {
	mu       sync.Mutex
	accounts map[protocol.AccountID]protocol.Account
	closed   []xdr.LedgerCloseMeta
	more     chan struct{}
}

func (n *fakeNode) Submit(_ context.Context, env xdr.TransactionEnvelope) (protocol.Submission, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	hash, err := passphrase.TxHash(env)
	if err != nil {
		return protocol.Submission{}, err
	}
	v0 := xdr.LedgerCloseMetaV0{TxSet: xdr.TransactionSet{Txs: []xdr.TransactionEnvelope{env}}}
	v0.LedgerHeader.Header.LedgerSeq = xdr.Uint32(len(n.closed) + 1)
	success := xdr.TransactionResult{FeeCharged: 100, Result: xdr.TransactionResultResult{Code: xdr.TransactionResultCodeTxSuccess, Results: &[]xdr.OperationResult{}}}
	v0.TxProcessing = []xdr.TransactionResultMeta{{Result: xdr.TransactionResultPair{TransactionHash: xdr.Hash(hash), Result: success},
		TxApplyProcessing: xdr.TransactionMeta{V: 0, Operations: &[]xdr.OperationMeta{}}}}
	n.closed = append(n.closed, xdr.LedgerCloseMeta{V: 0, V0: &v0})
	close(n.more)
	n.more = make(chan struct{})
	return protocol.Submission{Hash: hash, Status: protocol.SubmissionPending}, nil
}

func (n *fakeNode) Closes(ctx context.Context, from uint32) iter.Seq2[xdr.LedgerCloseMeta, error] {
	return func(yield func(xdr.LedgerCloseMeta, error) bool) {
		for i := int(from) - 1; ; {
			n.mu.Lock()
			more, closed := n.more, n.closed
			n.mu.Unlock()
			for ; i < len(closed); i++ {
				if !yield(closed[i], nil) {
					return
				}
			}
			select {
			case <-more:
			case <-ctx.Done():
				yield(xdr.LedgerCloseMeta{}, ctx.Err())
				return
			}
		}
	}
}

func (n *fakeNode) Account(_ context.Context, id protocol.AccountID) (protocol.Account, error) {
	a, ok := n.accounts[id]
	if !ok {
		return a, protocol.ErrNotFound
	}
	return a, nil
}

func (n *fakeNode) Status(context.Context) (protocol.Status, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return protocol.Status{Passphrase: passphrase, Ledger: uint32(len(n.closed)), BaseFee: 100, Protocol: 22}, nil
}

// plainSigner signs without reading, which only a test may do.
type plainSigner struct {
	key    ed25519.PrivateKey
	hashed bool
}

func (s plainSigner) Sign(_ context.Context, body []byte, _ string) ([]byte, error) {
	if s.hashed {
		sum := sha256.Sum256(body)
		body = sum[:]
	}
	return ed25519.Sign(s.key, body), nil
}

// public is the public listener with everything around it.
type public struct {
	*doors
	node       *fakeNode
	tokens     plainSigner
	signingKey protocol.AccountID
}

func openPublic(t *testing.T) *public {
	t.Helper()
	d := open(t, schematest.New(t, schema.Gateway))
	_, challengeKey, _ := ed25519.GenerateKey(nil)
	_, tokenKey, _ := ed25519.GenerateKey(nil)
	signingKey, err := protocol.AccountIDFromKey(challengeKey.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	p := &public{doors: d, node: &fakeNode{accounts: map[protocol.AccountID]protocol.Account{}, more: make(chan struct{})}, tokens: plainSigner{key: tokenKey}, signingKey: signingKey}
	s, err := sep.New(sep.Config{Origin: "https://anchor.test", HomeDomain: "anchor.test", Passphrase: passphrase, SigningKey: signingKey,
		TokenKey: tokenKey.Public().(ed25519.PublicKey), Challenge: time.Minute, Token: time.Hour, Organization: sep.Organization{Name: "Test"}},
		sep.Parts{DB: d.db, Challenges: plainSigner{challengeKey, true}, Tokens: p.tokens, Ledger: p.node, Anchor: d.anchor, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	h, err := horizon.New(horizon.Config{Origin: "https://anchor.test", Passphrase: passphrase, Wait: 10 * time.Second, Log: log}, p.node)
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := api.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	rate := web.Rate{Every: time.Microsecond, Burst: 1000}
	mux, err := api.Public(api.Common{DB: d.db, Log: log, Metrics: metrics, Now: time.Now}, api.Rates{Address: rate, Caller: rate}, s, h)
	if err != nil {
		t.Fatal(err)
	}
	d.mux = map[string]*chi.Mux{"public": mux}
	d.serve(t, "public", mux)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

// token makes a customer's token.
func (p *public) token(t testing.TB, account string) string {
	t.Helper()
	now := time.Now()
	part := base64.RawURLEncoding.EncodeToString
	input := part([]byte(`{"alg":"EdDSA","typ":"JWT"}`)) + "." + part(fmt.Appendf(nil, `{"iss":"https://anchor.test","sub":"%s","iat":%d,"exp":%d,"jti":"1"}`,
		account, now.Unix(), now.Unix()+60))
	return input + "." + part(ed25519.Sign(p.tokens.key, []byte(input)))
}

func TestEveryPublicRouteHasItsCredential(t *testing.T) {
	p := openPublic(t)
	want := map[string]string{
		"GET /.well-known/stellar.toml": "anyone", "GET /auth": "anyone", "POST /auth": "anyone", "GET /sep6/info": "anyone",
		"GET /sep6/deposit": "customer token", "GET /sep6/withdraw": "customer token", "GET /sep6/transaction": "customer token", "GET /sep6/transactions": "customer token",
		"GET /": "anyone", "GET /accounts/{id}": "anyone", "GET /fee_stats": "anyone", "GET /transactions/{hash}": "anyone",
		"POST /transactions": "anyone", "POST /transactions_async": "anyone",
	}
	token := p.token(t, p.anchor.customer.String())
	// A certificate of staff or of a partner opens nothing here.
	clients := []*http.Client{p.client(), p.staff(t), p.partner(t)}
	err := chi.Walk(p.mux["public"], func(method, pattern string, h http.Handler, _ ...func(http.Handler) http.Handler) error {
		route := method + " " + pattern
		endpoint, ok := h.(*web.Endpoint)
		if !ok || want[route] == "" || endpoint.Access.String() != want[route] {
			return fmt.Errorf("%s is a %T, want %q", route, h, want[route])
		}
		delete(want, route)
		path := strings.NewReplacer("{id}", "x", "{hash}", "x").Replace(pattern)
		for _, client := range clients {
			got := ask(t, client, method, p.url["public"]+path, "", "")
			if refused := got.status == 401 || got.status == 403; refused != (endpoint.Access.String() != "anyone") {
				t.Errorf("%s: %d %s", route, got.status, got.body)
			}
			if got := ask(t, client, method, p.url["public"]+path, "", "", "Authorization", "Bearer "+token); got.status == 401 || got.status == 403 {
				t.Errorf("%s with a token: %d %s", route, got.status, got.body)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for route := range want {
		t.Errorf("%s is in the table and not mounted", route)
	}
}

// TestInterop needs Node.js and the SDK for it, which nothing else here does: it runs where DIAMANTE_STELLAR_SDK names a
// folder into which @stellar/stellar-sdk 15 was installed.
func TestInterop(t *testing.T) {
	sdk := os.Getenv("DIAMANTE_STELLAR_SDK")
	if sdk == "" {
		t.Skip("DIAMANTE_STELLAR_SDK does not name a folder with @stellar/stellar-sdk")
	}
	p := openPublic(t)
	key := keypair.MustRandom()
	id, err := protocol.ParseAccountID(key.Address())
	if err != nil {
		t.Fatal(err)
	}
	balance, err := protocol.ParseAmount("100")
	if err != nil {
		t.Fatal(err)
	}
	p.node.accounts[id] = protocol.Account{ID: id, Ledger: 1, Sequence: 41, Balance: balance, Thresholds: xdr.Thresholds{1},
		Data: []protocol.DataEntry{{Name: "config.x", Value: []byte("1")}}}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.ca.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "testdata/interop.mjs", p.url["public"], key.Seed(), p.signingKey.String(), string(passphrase), "anchor.test", "anchor.test")
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+ca)
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Errorf("%v: %s", err, out)
	}
}
