package sep_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/keypair"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/node/protocol"
)

func asJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestInfo(t *testing.T) {
	f := newFixture(t)
	res, v := f.do(t, "GET", "/sep6/info", "", "", nil)
	want := `{"deposit":{"USD":{"authentication_required":true,"enabled":true,"fee_fixed":0,"fee_percent":0,"funding_methods":["WIRE"],"max_amount":10000,"min_amount":0.01}},` +
		`"deposit-exchange":{},"features":{"account_creation":false,"claimable_balances":false},"fee":{"enabled":false},` +
		`"transaction":{"authentication_required":true,"enabled":true},"transactions":{"authentication_required":true,"enabled":true},` +
		`"withdraw":{"USD":{"authentication_required":true,"enabled":true,"fee_fixed":0,"fee_percent":0,"funding_methods":["WIRE"],"max_amount":500,` +
		`"types":{"bank_account":{"fields":{"dest":{"description":"IBAN of the account to pay to","optional":false},` +
		`"dest_extra":{"description":"Name of the account's holder","optional":false}}}}}},"withdraw-exchange":{}}`
	if got := asJSON(t, v); res.StatusCode != 200 || got != want {
		t.Errorf("%d\n%s\n%s", res.StatusCode, got, want)
	}
}

func TestDepositAndWithdraw(t *testing.T) {
	f := newFixture(t)
	key := keypair.MustRandom()
	auth := bearer(f.login(t, key))
	res, v := f.do(t, "GET", "/sep6/deposit?asset_code=USD&account="+key.Address()+"&funding_method=WIRE&amount=100.50&lang=en&wallet_name=x", "", "", auth)
	if res.StatusCode != 200 || v["id"] != "tx1" || !strings.Contains(v["how"].(string), "D0000001") {
		t.Errorf("%d %v", res.StatusCode, v)
	}
	if in := v["instructions"].(map[string]any)["organization.bank_account_number"].(map[string]any); in["value"] != "DE02120300000000202051" {
		t.Errorf("%v", in)
	}
	res, v = f.do(t, "GET", "/sep6/withdraw?asset_code=USD&type=bank_account&amount=10", "", "", auth)
	if res.StatusCode != 200 || v["id"] != "tx2" || v["account_id"] != f.anchor.distribution.String() || v["memo_type"] != "id" || v["memo"] != "2" {
		t.Errorf("%d %v", res.StatusCode, v)
	}
	// Somebody else sees nothing of it, and cannot find out that it is there.
	stranger := bearer(f.login(t, keypair.MustRandom()))
	for _, path := range []string{"/sep6/transaction?id=tx1", "/sep6/transaction?id=nothing"} {
		if res, v := f.do(t, "GET", path, "", "", stranger); res.StatusCode != 404 || !strings.HasSuffix(v["type"].(string), "not-found") {
			t.Errorf("%s: %d %v", path, res.StatusCode, v)
		}
	}
	if _, v := f.do(t, "GET", "/sep6/transactions?asset_code=USD", "", "", stranger); asJSON(t, v) != `{"transactions":[]}` {
		t.Errorf("%v", v)
	}
	if _, v := f.do(t, "GET", "/sep6/transactions?asset_code=USD&kind=deposit-exchange", "", "", auth); asJSON(t, v) != `{"transactions":[]}` {
		t.Errorf("%v", v)
	}
	_, v = f.do(t, "GET", "/sep6/transactions?asset_code=USD&kind=deposit&kind=withdrawal,withdrawal-exchange&limit=1&no_older_than=2020-01-01T00:00:00Z", "", "", auth)
	want := `{"transactions":[{"from":"` + key.Address() + `","id":"tx2","kind":"withdrawal","started_at":"2023-11-14T22:13:20Z","status":"pending_user_transfer_start",` +
		`"withdraw_anchor_account":"` + f.anchor.distribution.String() + `","withdraw_memo":"2","withdraw_memo_type":"id"}]}`
	if got := asJSON(t, v); got != want {
		t.Errorf("\n%s\n%s", got, want)
	}
	f.anchor.mu.Lock()
	f.anchor.txs[0].Status, f.anchor.txs[0].LedgerTx = "completed", protocol.Hash{1}
	f.anchor.txs[0].AmountIn, _ = protocol.ParseAmount("100.5")
	f.anchor.txs[0].AmountOut = f.anchor.txs[0].AmountIn
	f.anchor.txs[0].Completed = time.Unix(1700000100, 0)
	f.anchor.mu.Unlock()
	_, v = f.do(t, "GET", "/sep6/transaction?stellar_transaction_id=01"+strings.Repeat("0", 62), "", "", auth)
	tx := v["transaction"].(map[string]any)
	for k, want := range map[string]any{"id": "tx1", "status": "completed", "amount_in": "100.5000000", "amount_out": "100.5000000", "amount_fee": "0.0000000",
		"completed_at": "2023-11-14T22:15:00Z", "to": key.Address()} {
		if tx[k] != want {
			t.Errorf("%s = %v, want %v", k, tx[k], want)
		}
	}
}

func TestBadRequests(t *testing.T) {
	f := newFixture(t)
	key := keypair.MustRandom()
	auth := bearer(f.login(t, key))
	other := keypair.MustRandom().Address()
	tests := map[string]struct {
		path   string
		status int
	}{
		"no asset":              {"deposit?", 400},
		"unknown asset":         {"deposit?asset_code=EUR", 400},
		"asset too long":        {"deposit?asset_code=ABCDEFGHIJKLM", 400},
		"asset twice":           {"deposit?asset_code=USD&asset_code=EUR", 400},
		"other account":         {"deposit?asset_code=USD&account=" + other, 400},
		"muxed account":         {"deposit?asset_code=USD&account=MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUQ", 400},
		"amount zero":           {"deposit?asset_code=USD&amount=0", 400},
		"amount 0.0000000":      {"deposit?asset_code=USD&amount=0.0000000", 400},
		"amount negative":       {"deposit?asset_code=USD&amount=-1", 400},
		"amount, 8 decimals":    {"deposit?asset_code=USD&amount=0.00000001", 400},
		"amount, huge":          {"deposit?asset_code=USD&amount=922337203685.4775808", 400},
		"amount, exponent":      {"deposit?asset_code=USD&amount=1E%2B500000000", 400},
		"amount, comma":         {"deposit?asset_code=USD&amount=1,50", 400},
		"amount, hex":           {"deposit?asset_code=USD&amount=0x10", 400},
		"amount, NaN":           {"deposit?asset_code=USD&amount=NaN", 400},
		"amount, blank":         {"deposit?asset_code=USD&amount=%201", 400},
		"amount, other digits":  {"deposit?asset_code=USD&amount=%D9%A1", 400},
		"deposit memo":          {"deposit?asset_code=USD&memo=7&memo_type=id", 400},
		"funding method":        {"deposit?asset_code=USD&funding_method=CASH", 400},
		"type":                  {"deposit?asset_code=USD&type=crypto", 400},
		"withdraw, amount zero": {"withdraw?asset_code=USD&amount=0", 400},
		"withdraw, refund memo": {"withdraw?asset_code=USD&refund_memo=7&refund_memo_type=id", 400},
		"withdraw, account":     {"withdraw?asset_code=USD&account=" + other, 400},
		"which transaction":     {"transaction", 400},
		"hash":                  {"transaction?stellar_transaction_id=xyz", 400},
		"id too long":           {"transaction?id=" + strings.Repeat("a", 129), 400},
		"id twice":              {"transaction?id=a&id=b", 400},
		"list, no asset":        {"transactions", 400},
		"list, other account":   {"transactions?asset_code=USD&account=" + other, 400},
		"list, limit 0":         {"transactions?asset_code=USD&limit=0", 400},
		"list, limit 101":       {"transactions?asset_code=USD&limit=101", 400},
		"list, kind":            {"transactions?asset_code=USD&kind=everything", 400},
		"list, time":            {"transactions?asset_code=USD&no_older_than=yesterday", 400},
		"list, paging id":       {"transactions?asset_code=USD&paging_id=" + strings.Repeat("a", 129), 400},
		"long query":            {"deposit?asset_code=USD&x=" + strings.Repeat("a", 9000), 414},
		"unknown path":          {"fee?asset_code=USD", 404},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequest("GET", f.url+"/sep6/"+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = auth.Clone()
			res, err := f.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != tt.status || res.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%d %s", res.StatusCode, res.Header.Get("Content-Type"))
			}
		})
	}
	if n := f.anchor.count(); n != 0 {
		t.Errorf("%d transactions were made", n)
	}
}

func TestDomainErrors(t *testing.T) {
	f := newFixture(t)
	auth := bearer(f.login(t, keypair.MustRandom()))
	for err, status := range map[error]int{anchor.ErrNotEnrolled: 400, anchor.ErrInvalid: 400, fmt.Errorf("anchor: %w", protocol.ErrUnavailable): 503,
		fmt.Errorf("anchor: a secret"): 500} {
		f.anchor.err = err
		if res, v := f.do(t, "GET", "/sep6/deposit?asset_code=USD", "", "", auth); res.StatusCode != status || strings.Contains(asJSON(t, v), "secret") {
			t.Errorf("%v: %d %v", err, res.StatusCode, v)
		}
	}
}

// TestOneTransactionForAKey is the promise of the key: one effect, and one answer, however often and however many at once.
func TestOneTransactionForAKey(t *testing.T) {
	f := newFixture(t)
	auth := bearer(f.login(t, keypair.MustRandom()))
	keyed := func(key string) http.Header {
		h := auth.Clone()
		h.Set("Idempotency-Key", key)
		return h
	}
	var wg sync.WaitGroup
	ids := make([]any, 8)
	for i := range ids {
		wg.Go(func() {
			for {
				res, v := f.do(t, "GET", "/sep6/deposit?asset_code=USD&amount=1", "", "", keyed("k"))
				if res.StatusCode == 409 {
					continue // the first is being answered
				}
				if res.StatusCode != 200 {
					t.Errorf("%d %v", res.StatusCode, v)
				}
				ids[i] = v["id"]
				return
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("ids %v", ids)
		}
	}
	if n := f.anchor.count(); n != 1 {
		t.Fatalf("%d transactions", n)
	}
	if res, _ := f.do(t, "GET", "/sep6/deposit?asset_code=USD&amount=2", "", "", keyed("k")); res.StatusCode != 422 {
		t.Errorf("another request under the key: %d", res.StatusCode)
	}
	// Another customer's key of the same name is another key.
	auth = bearer(f.login(t, keypair.MustRandom()))
	if res, v := f.do(t, "GET", "/sep6/deposit?asset_code=USD&amount=1", "", "", keyed("k")); res.StatusCode != 200 || v["id"] == ids[0] {
		t.Errorf("%d %v", res.StatusCode, v)
	}
	// It happened, and then we died: the handler breaks off after the anchor made the transaction.
	before := f.anchor.count()
	f.anchor.after = func() { panic(http.ErrAbortHandler) }
	req, _ := http.NewRequest("GET", f.url+"/sep6/deposit?asset_code=USD&amount=3", nil)
	req.Header = keyed("crash")
	if res, err := f.Do(req); err == nil { // net/http asks again by itself when it sees the header, and meets the claim
		res.Body.Close()
		if res.StatusCode != 409 {
			t.Fatalf("the request was answered with %d", res.StatusCode)
		}
	}
	f.anchor.after = nil
	f.exec(t, `UPDATE api.idempotency SET claimed_until = now()`) // its time is over
	res, v := f.do(t, "GET", "/sep6/deposit?asset_code=USD&amount=3", "", "", keyed("crash"))
	if res.StatusCode != 200 || f.anchor.count() != before+1 {
		t.Errorf("%d %v, %d transactions", res.StatusCode, v, f.anchor.count()-before)
	}
}
