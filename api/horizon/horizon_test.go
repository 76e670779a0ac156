package horizon_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stellar/go-stellar-sdk/keypair"
	"github.com/stellar/go-stellar-sdk/txnbuild"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/api"
	"github.com/diamante/gateway/api/horizon"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/node/protocol"
)

const passphrase = protocol.Passphrase("Test of Horizon ; 2026")

// network is a node whose ledgers the test closes by hand.
type network struct {
	mu       sync.Mutex
	closed   []xdr.LedgerCloseMeta
	more     chan struct{} // closed and replaced at each ledger
	accounts map[protocol.AccountID]protocol.Account
	submit   func(env xdr.TransactionEnvelope) (protocol.Submission, error)
	down     bool
	breaks   int // how many times Closes ends with an error after one ledger
}

func newNetwork() *network {
	n := &network{more: make(chan struct{}), accounts: map[protocol.AccountID]protocol.Account{}}
	n.close()
	return n
}

// close closes a ledger of transactions with the given results. The results are in the opposite order of the set.
func (n *network) close(txs ...appliedTx) {
	n.mu.Lock()
	defer n.mu.Unlock()
	v0 := xdr.LedgerCloseMetaV0{}
	v0.LedgerHeader.Header.LedgerSeq = xdr.Uint32(len(n.closed) + 1)
	v0.LedgerHeader.Header.MaxTxSetSize = 100
	v0.LedgerHeader.Header.ScpValue.CloseTime = xdr.TimePoint(1700000000 + 5*len(n.closed))
	for _, tx := range txs {
		v0.TxSet.Txs = append(v0.TxSet.Txs, tx.env)
		hash, err := passphrase.TxHash(tx.env)
		if err != nil {
			panic(err)
		}
		pair := xdr.TransactionResultPair{TransactionHash: xdr.Hash(hash), Result: tx.result}
		meta := xdr.TransactionResultMeta{Result: pair, TxApplyProcessing: xdr.TransactionMeta{V: 0, Operations: &[]xdr.OperationMeta{}}}
		v0.TxProcessing = append([]xdr.TransactionResultMeta{meta}, v0.TxProcessing...)
	}
	n.closed = append(n.closed, xdr.LedgerCloseMeta{V: 0, V0: &v0})
	close(n.more)
	n.more = make(chan struct{})
}

type appliedTx struct {
	env    xdr.TransactionEnvelope
	result xdr.TransactionResult
}

func (n *network) Submit(_ context.Context, env xdr.TransactionEnvelope) (protocol.Submission, error) {
	s, err := n.submit(env)
	s.Hash, _ = passphrase.TxHash(env)
	return s, err
}

func (n *network) Closes(ctx context.Context, from uint32) iter.Seq2[xdr.LedgerCloseMeta, error] {
	return func(yield func(xdr.LedgerCloseMeta, error) bool) {
		for i := int(from) - 1; ; i++ {
			for {
				n.mu.Lock()
				more, have := n.more, i < len(n.closed)
				n.mu.Unlock()
				if have {
					break
				}
				select {
				case <-more:
				case <-ctx.Done():
					yield(xdr.LedgerCloseMeta{}, ctx.Err())
					return
				}
			}
			if !yield(n.closed[i], nil) {
				return
			}
			n.mu.Lock()
			broken := n.breaks > 0
			if broken {
				n.breaks--
			}
			n.mu.Unlock()
			if broken {
				yield(xdr.LedgerCloseMeta{}, protocol.ErrUnavailable)
				return
			}
		}
	}
}

func (n *network) Account(_ context.Context, id protocol.AccountID) (protocol.Account, error) {
	if n.down {
		return protocol.Account{}, fmt.Errorf("account: %w", protocol.ErrUnavailable)
	}
	a, ok := n.accounts[id]
	if !ok {
		return protocol.Account{}, protocol.ErrNotFound
	}
	return a, nil
}

func (n *network) Status(context.Context) (protocol.Status, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return protocol.Status{}, protocol.ErrUnavailable
	}
	return protocol.Status{Passphrase: passphrase, Ledger: uint32(len(n.closed)), BaseFee: 100, Protocol: 22, ClosedAt: time.Unix(1700000000, 0)}, nil
}

// door is a running server, seen from outside.
type door struct {
	*http.Client
	url string
}

// serve starts the server and its follower.
func serve(t *testing.T, n *network, wait time.Duration) door {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := horizon.New(horizon.Config{Origin: "https://horizon.test", Passphrase: passphrase, Wait: wait, Log: log}, n)
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := web.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	rate := web.Rate{Every: time.Microsecond, Burst: 1000}
	site, err := web.New(web.Config{Name: "public", Log: log, Metrics: metrics, Table: api.Table(), CORS: true, Address: rate, Caller: rate, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	mux := site.Router()
	s.Mount(site, mux)
	srv := httptest.NewTLSServer(mux)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	return door{srv.Client(), srv.URL}
}

func fetch(t *testing.T, res *http.Response, err error) (int, map[string]any) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var v map[string]any
	if err := json.NewDecoder(res.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, v
}

func (d door) get(t *testing.T, path string) (int, map[string]any) {
	t.Helper()
	res, err := d.Get(d.url + path)
	return fetch(t, res, err)
}

func (d door) post(t *testing.T, path, tx string) (int, map[string]any) {
	t.Helper()
	res, err := d.PostForm(d.url+path, url.Values{"tx": {tx}})
	return fetch(t, res, err)
}

// transaction makes a signed transaction as a wallet's SDK would.
func transaction(t *testing.T, memo txnbuild.Memo) (xdr.TransactionEnvelope, string, protocol.Hash) {
	t.Helper()
	key := keypair.MustRandom()
	tx, err := txnbuild.NewTransaction(txnbuild.TransactionParams{
		SourceAccount: &txnbuild.SimpleAccount{AccountID: key.Address(), Sequence: 7}, IncrementSequenceNum: true, BaseFee: 100, Memo: memo,
		Operations:    []txnbuild.Operation{&txnbuild.Payment{Destination: key.Address(), Amount: "1", Asset: txnbuild.NativeAsset{}}},
		Preconditions: txnbuild.Preconditions{TimeBounds: txnbuild.NewTimeout(300)}})
	if err != nil {
		t.Fatal(err)
	}
	if tx, err = tx.Sign(string(passphrase), key); err != nil {
		t.Fatal(err)
	}
	text, err := tx.Base64()
	if err != nil {
		t.Fatal(err)
	}
	hash, err := tx.Hash(string(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	return tx.ToXDR(), text, hash
}

func result(code xdr.TransactionResultCode, ops ...xdr.OperationResult) xdr.TransactionResult {
	r := xdr.TransactionResult{FeeCharged: 100, Result: xdr.TransactionResultResult{Code: code}}
	if code == xdr.TransactionResultCodeTxSuccess || code == xdr.TransactionResultCodeTxFailed {
		r.Result.Results = &ops
	}
	return r
}

func payment(code xdr.PaymentResultCode) xdr.OperationResult {
	return xdr.OperationResult{Code: xdr.OperationResultCodeOpInner,
		Tr: &xdr.OperationResultTr{Type: xdr.OperationTypePayment, PaymentResult: &xdr.PaymentResult{Code: code}}}
}

func TestSubmit(t *testing.T) {
	success := result(xdr.TransactionResultCodeTxSuccess, payment(xdr.PaymentResultCodePaymentSuccess))
	badSeq := result(xdr.TransactionResultCodeTxBadSeq)
	underfunded := result(xdr.TransactionResultCodeTxFailed, payment(xdr.PaymentResultCodePaymentSrcNoTrust))
	tests := []struct {
		name    string
		answer  protocol.Submission
		err     error
		applied *xdr.TransactionResult
		status  int
		typ     string
		codes   string
	}{
		{"applied", protocol.Submission{Status: protocol.SubmissionPending}, nil, &success, 200, "", ""},
		{"was in the queue", protocol.Submission{Status: protocol.SubmissionDuplicate}, nil, &success, 200, "", ""},
		{"failed in the ledger", protocol.Submission{Status: protocol.SubmissionPending}, nil, &underfunded, 400, "transaction_failed", `{"operations":["op_src_no_trust"],"transaction":"tx_failed"}`},
		{"refused", protocol.Submission{Status: protocol.SubmissionError, Result: &badSeq}, nil, nil, 400, "transaction_failed", `{"transaction":"tx_bad_seq"}`},
		{"refused since it was applied", protocol.Submission{Status: protocol.SubmissionError, Result: &badSeq}, nil, &success, 200, "", ""},
		{"never seen", protocol.Submission{Status: protocol.SubmissionPending}, nil, nil, 504, "transaction_submission_timeout", ""},
		{"queue full", protocol.Submission{Status: protocol.SubmissionTryAgainLater}, nil, nil, 503, "server_over_capacity", ""},
		{"node down", protocol.Submission{}, protocol.ErrUnavailable, nil, 503, "service_unavailable", ""},
		{"node mad", protocol.Submission{}, nil, nil, 500, "server_error", ""},
		{"refused without a word", protocol.Submission{Status: protocol.SubmissionError}, nil, nil, 500, "server_error", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork()
			env, text, hash := transaction(t, txnbuild.MemoText("\xff rent"))
			applied := make(chan struct{})
			n.submit = func(xdr.TransactionEnvelope) (protocol.Submission, error) {
				if tt.applied != nil {
					other, _, _ := transaction(t, nil)
					n.close(appliedTx{other, success}, appliedTx{env, *tt.applied})
					if tt.answer.Status == protocol.SubmissionError {
						<-applied
					}
				}
				return tt.answer, tt.err
			}
			d := serve(t, n, time.Second)
			if tt.answer.Status == protocol.SubmissionError && tt.applied != nil {
				go func() { // as by another request
					defer close(applied)
					for {
						res, err := d.Get(d.url + "/transactions/" + hash.String())
						if err != nil {
							return
						}
						res.Body.Close()
						if res.StatusCode == 200 {
							return
						}
					}
				}()
			}
			status, v := d.post(t, "/transactions", text)
			if status != tt.status {
				t.Fatalf("status %d, want %d: %v", status, tt.status, v)
			}
			if tt.typ != "" {
				if v["type"] != "https://stellar.org/horizon-errors/"+tt.typ {
					t.Errorf("type %v", v["type"])
				}
				extras := v["extras"].(map[string]any)
				if tt.codes != "" {
					if codes, _ := json.Marshal(extras["result_codes"]); string(codes) != tt.codes {
						t.Errorf("codes %s", codes)
					}
				}
				if tt.typ == "transaction_submission_timeout" && (extras["hash"] != hash.String() || extras["envelope_xdr"] != text) {
					t.Errorf("extras %v", extras)
				}
				return
			}
			want := map[string]any{"hash": hash.String(), "id": hash.String(), "successful": true, "ledger": 2.0, "envelope_xdr": text, "memo_type": "text",
				"memo": "\uFFFD rent", "memo_bytes": "/yByZW50", "fee_charged": "100", "max_fee": "100", "source_account_sequence": "8", "operation_count": 1.0,
				"paging_token": "8589938688", "created_at": "2023-11-14T22:13:25Z"}
			for k, x := range want {
				if v[k] != x {
					t.Errorf("%s: %v, want %v", k, v[k], x)
				}
			}
			// Submitted again, and asked for by hash, it is the same.
			status, again := d.post(t, "/transactions", text)
			if status != 200 || again["result_xdr"] != v["result_xdr"] {
				t.Errorf("again: %d %v", status, again)
			}
			if status, by := d.get(t, "/transactions/"+hash.String()); status != 200 || by["paging_token"] != v["paging_token"] {
				t.Errorf("by hash: %d %v", status, by)
			}
		})
	}
}

func TestFollowerGoesOnWhereItWas(t *testing.T) {
	n := newNetwork()
	n.breaks = 3
	success := result(xdr.TransactionResultCodeTxSuccess, payment(xdr.PaymentResultCodePaymentSuccess))
	n.submit = func(env xdr.TransactionEnvelope) (protocol.Submission, error) {
		n.close()
		n.close()
		n.close(appliedTx{env, success})
		return protocol.Submission{Status: protocol.SubmissionPending}, nil
	}
	d := serve(t, n, 20*time.Second)
	_, text, _ := transaction(t, nil)
	if status, v := d.post(t, "/transactions", text); status != 200 || v["ledger"] != 4.0 {
		t.Errorf("%d %v", status, v)
	}
}

func TestSubmitAsync(t *testing.T) {
	badAuth := result(xdr.TransactionResultCodeTxBadAuth)
	for _, tt := range []struct {
		answer protocol.Submission
		status int
		word   string
	}{
		{protocol.Submission{Status: protocol.SubmissionPending}, 201, "PENDING"},
		{protocol.Submission{Status: protocol.SubmissionDuplicate}, 409, "DUPLICATE"},
		{protocol.Submission{Status: protocol.SubmissionError, Result: &badAuth}, 400, "ERROR"},
		{protocol.Submission{Status: protocol.SubmissionTryAgainLater}, 503, "TRY_AGAIN_LATER"},
	} {
		n := newNetwork()
		n.submit = func(xdr.TransactionEnvelope) (protocol.Submission, error) { return tt.answer, nil }
		_, text, hash := transaction(t, nil)
		status, v := serve(t, n, time.Second).post(t, "/transactions_async", text)
		if status != tt.status || v["tx_status"] != tt.word || v["hash"] != hash.String() || (v["error_result_xdr"] != nil) != (tt.answer.Result != nil) {
			t.Errorf("%d %v", status, v)
		}
	}
}

func TestMalformedSubmissions(t *testing.T) {
	n := newNetwork()
	n.submit = func(xdr.TransactionEnvelope) (protocol.Submission, error) {
		t.Error("it was submitted")
		return protocol.Submission{}, errors.New("no")
	}
	d := serve(t, n, time.Second)
	_, good, _ := transaction(t, nil)
	for name, tt := range map[string]struct {
		contentType, body string
		status            int
		typ               string
	}{
		"no tx":       {"application/x-www-form-urlencoded", "", 400, "bad_request"},
		"twice":       {"application/x-www-form-urlencoded", "tx=a&tx=b", 400, "bad_request"},
		"not base64":  {"application/x-www-form-urlencoded", "tx=****", 400, "transaction_malformed"},
		"not XDR":     {"application/x-www-form-urlencoded", "tx=AAAA", 400, "transaction_malformed"},
		"trailing":    {"application/x-www-form-urlencoded", "tx=" + strings.ReplaceAll(strings.TrimRight(good, "="), "+", "%2B") + "AAAAAAAA", 400, "transaction_malformed"},
		"large":       {"application/x-www-form-urlencoded", "tx=" + strings.Repeat("A", 80<<10), 400, "transaction_malformed"},
		"very large":  {"application/x-www-form-urlencoded", "tx=" + strings.Repeat("A", 200<<10), 413, "bad_request"},
		"json":        {"application/json", `{"tx":"AAAA"}`, 415, "unsupported_media_type"},
		"no type":     {"", "tx=AAAA", 415, "unsupported_media_type"},
		"bad escapes": {"application/x-www-form-urlencoded", "tx=%zz", 400, "bad_request"},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := d.Post(d.url+"/transactions", tt.contentType, strings.NewReader(tt.body))
			status, v := fetch(t, res, err)
			if status != tt.status || v["type"] != "https://stellar.org/horizon-errors/"+tt.typ {
				t.Errorf("%d %v", status, v)
			}
		})
	}
}

func TestAccount(t *testing.T) {
	n := newNetwork()
	id, err := protocol.ParseAccountID(keypair.MustRandom().Address())
	if err != nil {
		t.Fatal(err)
	}
	issuer, _ := protocol.ParseAccountID(keypair.MustRandom().Address())
	usd, _ := protocol.NewCredit("USD", issuer)
	amount, _ := protocol.ParseAmount("12.5")
	limit, _ := protocol.AmountFromStroops(math.MaxInt64)
	n.accounts[id] = protocol.Account{ID: id, Ledger: 9, Balance: amount, Sequence: 1 << 60, HomeDomain: "a.test", Thresholds: xdr.Thresholds{1, 2, 3, 4},
		Flags: xdr.AccountFlags(xdr.AccountFlagsAuthRequiredFlag), SubEntries: 2, Data: []protocol.DataEntry{{Name: "config.memo_required", Value: []byte("1")}},
		Trustlines: []protocol.Trustline{{Asset: usd, Balance: amount, Limit: limit, Flags: 5}},
		Signers:    []xdr.Signer{{Key: xdr.MustSigner(issuer.String()), Weight: 7}}}
	d := serve(t, n, time.Second)
	status, v := d.get(t, "/accounts/"+id.String())
	got, _ := json.Marshal(map[string]any{"s": v["sequence"], "b": v["balances"], "k": v["signers"], "t": v["thresholds"], "d": v["data"], "h": v["home_domain"]})
	want := fmt.Sprintf(`{"b":[{"asset_code":"USD","asset_issuer":"%[2]s","asset_type":"credit_alphanum4","balance":"12.5000000","buying_liabilities":"0.0000000",`+
		`"is_authorized":true,"is_authorized_to_maintain_liabilities":true,"is_clawback_enabled":true,"last_modified_ledger":9,"limit":"922337203685.4775807","selling_liabilities":"0.0000000"},`+
		`{"asset_type":"native","balance":"12.5000000","buying_liabilities":"0.0000000","selling_liabilities":"0.0000000"}],"d":{"config.memo_required":"MQ=="},"h":"a.test",`+
		`"k":[{"key":"%[2]s","type":"ed25519_public_key","weight":7},{"key":"%[1]s","type":"ed25519_public_key","weight":1}],"s":"1152921504606846976",`+
		`"t":{"high_threshold":4,"low_threshold":2,"med_threshold":3}}`, id, issuer)
	if status != 200 || string(got) != want {
		t.Errorf("%d\n%s\n%s", status, got, want)
	}
	for path, tt := range map[string]struct {
		status int
		typ    string
	}{
		"/accounts/" + issuer.String(): {404, "not_found"},
		"/accounts/GABC":               {400, "bad_request"},
		"/accounts/MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUQ": {400, "bad_request"},
		"/transactions/abc":                        {400, "bad_request"},
		"/transactions/" + strings.Repeat("0", 64): {404, "not_found"},
	} {
		if status, v := d.get(t, path); status != tt.status || v["type"] != "https://stellar.org/horizon-errors/"+tt.typ {
			t.Errorf("%s: %d %v", path, status, v)
		}
	}
	if status, v := d.get(t, "/"); status != 200 || v["network_passphrase"] != string(passphrase) || v["history_latest_ledger"] != 1.0 {
		t.Errorf("%d %v", status, v)
	}
	if status, v := d.get(t, "/fee_stats"); status != 200 || v["last_ledger_base_fee"] != "100" || v["ledger_capacity_usage"] != "0.00" {
		t.Errorf("%d %v", status, v)
	}
	n.mu.Lock()
	n.down = true
	n.mu.Unlock()
	res, err := d.Get(d.url + "/accounts/" + id.String())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !strings.Contains(string(b), "node-unavailable") {
		t.Errorf("%d %s", res.StatusCode, b)
	}
}
