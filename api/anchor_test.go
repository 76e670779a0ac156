package api_test

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/keypair"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
	"github.com/diamante/gateway/node/protocol"
)

// fakeAnchor answers from memory.
type fakeAnchor struct {
	customer protocol.AccountID
	asset    protocol.Asset

	mu       sync.Mutex
	imported map[string]int
	enrolled []anchor.Enrolment
	resolved []anchor.Resolution
	decided  []any
	actors   []audit.Actor
	err      error
}

func newFakeAnchor(t testing.TB) *fakeAnchor {
	t.Helper()
	id, err := protocol.ParseAccountID(keypair.MustRandom().Address())
	if err != nil {
		t.Fatal(err)
	}
	asset, err := protocol.NewCredit("USD", id)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeAnchor{customer: id, asset: asset, imported: map[string]int{}}
}

func (f *fakeAnchor) ImportStatement(_ context.Context, who audit.Actor, _ string, statement []byte) (anchor.Imported, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.actors = append(f.actors, who)
	f.imported[string(statement)]++
	return anchor.Imported{Statement: "s1", Entries: 3, Booked: 3, Matched: 1, Quarantined: 2, Again: f.imported[string(statement)] > 1}, f.err
}

func (f *fakeAnchor) Payouts(_ context.Context, _ string, p anchor.Page) (out []anchor.Payout, err error) {
	amount, _ := protocol.ParseAmount("12.34")
	for i := range p.Limit {
		out = append(out, anchor.Payout{ID: fmt.Sprintf("p%03d", i), State: "open", Asset: f.asset, Amount: amount, Created: time.Unix(1700000000, 0)})
	}
	return out, f.err
}

func (f *fakeAnchor) PayoutFile(_ context.Context, _, id string) (anchor.File, error) {
	if id != "p001" {
		return anchor.File{}, anchor.ErrNotFound
	}
	return anchor.File{Name: "p001.xml", Body: []byte("<Document/>")}, f.err
}

func (f *fakeAnchor) Quarantine(context.Context, string, anchor.Page) ([]anchor.Held, error) {
	return []anchor.Held{{ID: "q1", Reason: "no_reference"}}, f.err
}

func (f *fakeAnchor) ResolveQuarantine(_ context.Context, who audit.Actor, _ string, r anchor.Resolution) (anchor.Held, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.actors, f.resolved = append(f.actors, who), append(f.resolved, r)
	return anchor.Held{ID: r.ID, Resolution: r.Action}, f.err
}

func (f *fakeAnchor) Enrol(_ context.Context, who audit.Actor, e anchor.Enrolment) (anchor.Customer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.actors, f.enrolled = append(f.actors, who), append(f.enrolled, e)
	return anchor.Customer{Account: e.Account, Partner: e.Partner, Ref: e.Ref, Status: "active"}, f.err
}

func (f *fakeAnchor) Customer(_ context.Context, _ string, account protocol.AccountID) (anchor.Customer, error) {
	if account != f.customer {
		return anchor.Customer{}, anchor.ErrNotFound
	}
	return anchor.Customer{Account: account, Ref: "c-1", Status: "active"}, f.err
}

func (f *fakeAnchor) PartnerTransactions(context.Context, string, anchor.Page) ([]anchor.Transaction, error) {
	return []anchor.Transaction{{ID: "t1", Kind: anchor.Deposit, Account: f.customer, Asset: f.asset}}, f.err
}

func (f *fakeAnchor) RegisterAsset(_ context.Context, _ audit.Actor, code string) (anchor.Asset, error) {
	if code != "USD" {
		return anchor.Asset{}, anchor.ErrUnknownAsset
	}
	return anchor.Asset{Asset: f.asset, Distribution: f.customer}, f.err
}

func (f *fakeAnchor) Invariants(context.Context) ([]anchor.Invariant, error) {
	return []anchor.Invariant{{Name: "book", OK: true}}, f.err
}

func (f *fakeAnchor) LedgerTransactions(context.Context, anchor.Page) ([]anchor.LedgerTx, error) {
	return []anchor.LedgerTx{{ID: "1"}}, f.err
}

func (f *fakeAnchor) ResolveParked(_ context.Context, who audit.Actor, r anchor.ParkedResolution) (anchor.Parked, error) {
	f.decide(who, r)
	return anchor.Parked{Hash: r.Hash, Op: r.Op, From: f.customer, State: r.Action}, f.err
}

func (f *fakeAnchor) SetStatus(_ context.Context, who audit.Actor, c anchor.StatusChange) error {
	f.decide(who, c)
	return f.err
}

func (f *fakeAnchor) RefusePayout(_ context.Context, who audit.Actor, _ string, r anchor.PayoutRefusal) error {
	f.decide(who, r)
	return f.err
}

func (f *fakeAnchor) Bounced(context.Context, anchor.Page) ([]anchor.Transaction, error) {
	return []anchor.Transaction{{Account: f.customer, Asset: f.asset}}, f.err
}

func (f *fakeAnchor) ResolveBounced(_ context.Context, who audit.Actor, r anchor.BouncedResolution) (anchor.Transaction, error) {
	f.decide(who, r)
	return anchor.Transaction{ID: r.ID, Account: f.customer, Asset: f.asset}, f.err
}

func (f *fakeAnchor) GiveUpDeposit(_ context.Context, who audit.Actor, id, note string) (anchor.Transaction, error) {
	f.decide(who, id+" "+note)
	return anchor.Transaction{ID: id, Account: f.customer, Asset: f.asset}, f.err
}

func (f *fakeAnchor) Approvals(_ context.Context, all bool, _ anchor.Page) ([]anchor.ApprovalRequest, error) {
	x, err := f.Approval(context.Background(), "1")
	if all {
		return []anchor.ApprovalRequest{x, x}, err
	}
	return []anchor.ApprovalRequest{x}, err
}

func (f *fakeAnchor) Approval(_ context.Context, id string) (anchor.ApprovalRequest, error) {
	return anchor.ApprovalRequest{ID: id, Key: "a/b", Kind: "transaction", Body: []byte{1, 2}, Ref: "issue/1/1", State: "open",
		Given: []anchor.GivenConsent{{Officer: "carol", State: "refused", Reason: "expired"}}}, f.err
}

func (f *fakeAnchor) Approve(_ context.Context, who audit.Actor, id string, c anchor.Consent) error {
	f.decide(who, c)
	return f.err
}

func (f *fakeAnchor) Decline(_ context.Context, who audit.Actor, id, note string) error {
	f.decide(who, id+" "+note)
	return f.err
}

func (f *fakeAnchor) decide(who audit.Actor, what any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.actors, f.decided = append(f.actors, who), append(f.decided, what)
}

func (f *fakeAnchor) Jobs(context.Context, anchor.Page) ([]anchor.Job, error) {
	return []anchor.Job{{Kind: "payout", Ref: "withdrawal/1", Failing: "refused"}}, f.err
}

func (f *fakeAnchor) Parked(context.Context, anchor.Page) ([]anchor.Parked, error) {
	return []anchor.Parked{{From: f.customer}}, f.err
}

func TestStatements(t *testing.T) {
	d := open(t, schematest.New(t, schema.Gateway))
	c, url := d.partner(t), d.url["partner"]+"/v1/statements"
	const xml = "application/xml"
	if got := ask(t, c, "POST", url, xml, "<Document/>"); got.status != 200 || got.members(t)["matched"] != 1.0 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := ask(t, c, "POST", url, "text/xml; charset=utf-8", strings.Repeat("x", 1<<20)); got.status != 200 {
		t.Errorf("a megabyte: %d %s", got.status, got.body)
	}
	for name, tt := range map[string]struct {
		contentType, body string
		status            int
	}{
		"empty": {xml, "", 400}, "JSON": {"application/json", "{}", 415}, "no type": {"", "<Document/>", 415}, "latin": {"text/xml; charset=latin1", "<Document/>", 415},
		"huge": {xml, strings.Repeat("x", 16<<20+1), 413},
	} {
		if got := ask(t, c, "POST", url, tt.contentType, tt.body); got.status != tt.status {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if len(d.anchor.imported) != 2 {
		t.Errorf("%d statements", len(d.anchor.imported))
	}
	// Under a key the statement is imported once and answered twice.
	for range 2 {
		if got := ask(t, c, "POST", url, xml, "<Keyed/>", "Idempotency-Key", "k"); got.status != 200 || got.members(t)["imported_before"] != false {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	if d.anchor.imported["<Keyed/>"] != 1 {
		t.Errorf("imported %d times", d.anchor.imported["<Keyed/>"])
	}
	if who := d.anchor.actors[0]; who.Kind != "partner" || who.Name != "paycircle" || who.From != "127.0.0.1" || who.Req == "" {
		t.Errorf("%+v", who)
	}
}

func TestPartnerReadsAreRecorded(t *testing.T) {
	d := open(t, schematest.New(t, schema.Gateway))
	c, url := d.partner(t), d.url["partner"]
	for i, path := range []string{"/v1/payouts", "/v1/payouts/p001/file", "/v1/transactions", "/v1/quarantine", "/v1/customers/" + d.anchor.customer.String()} {
		if got := ask(t, c, "GET", url+path, "", ""); got.status != 200 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
		if n := d.records(t); n != i+1 {
			t.Errorf("%s: %d records, want %d", path, n, i+1)
		}
	}
	away := open(t, "host=/nonexistent user=nobody dbname=none")
	for _, path := range []string{"/v1/payouts", "/v1/payouts/p001/file", "/v1/transactions", "/v1/quarantine", "/v1/customers/" + away.anchor.customer.String()} {
		got := ask(t, away.partner(t), "GET", away.url["partner"]+path, "", "")
		if got.status != 503 || got.members(t)["type"] != web.TypeBase+"database-unavailable" || got.header.Get("Retry-After") == "" {
			t.Errorf("%s without a log to record it in: %d %s", path, got.status, got.body)
		}
	}
}

func (d *doors) records(t testing.TB) (n int) {
	t.Helper()
	if err := d.db.Reader().QueryRow(context.Background(), `SELECT count(*) FROM audit.record`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPages(t *testing.T) {
	d := open(t, schematest.New(t, schema.Gateway))
	c, url := d.partner(t), d.url["partner"]+"/v1/payouts"
	if got := ask(t, c, "GET", url+"?limit=2", "", "").members(t); got["next"] != "p001" || len(got["records"].([]any)) != 2 {
		t.Errorf("%v", got)
	}
	for _, query := range []string{"limit=0", "limit=201", "limit=x", "order=asc", "limit=1&limit=2", "cursor=" + strings.Repeat("c", 200)} {
		if got := ask(t, c, "GET", url+"?"+query, "", ""); got.status != 400 {
			t.Errorf("%s: %d", query, got.status)
		}
	}
}

func TestPartnerRefusesPayout(t *testing.T) {
	d := open(t, schematest.New(t, schema.Gateway))
	c, url := d.partner(t), d.url["partner"]+"/v1/payouts/W1/refuse"
	for _, bad := range []string{`{}`, `{"reason":"` + strings.Repeat("x", 501) + `"}`, `{"reason":"AC04","amount":"1"}`} {
		if got := ask(t, c, "POST", url, "application/json", bad); got.status != 400 || len(d.anchor.decided) != 0 {
			t.Errorf("%.60s: %d %s", bad, got.status, got.body)
		}
	}
	if got := ask(t, c, "POST", url, "application/json", `{"reason":"AC04"}`); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if !reflect.DeepEqual(d.anchor.decided, []any{anchor.PayoutRefusal{ID: "W1", Reason: "AC04"}}) || d.anchor.actors[0].Name != "paycircle" {
		t.Errorf("%+v by %+v", d.anchor.decided, d.anchor.actors)
	}
}

func TestPartnerRequests(t *testing.T) {
	d := open(t, schematest.New(t, schema.Gateway))
	c, url := d.partner(t), d.url["partner"]
	account := d.anchor.customer.String()
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
	}{
		"enrol":               {"POST", "/v1/customers", `{"account":"` + account + `","ref":"c-1"}`, 200},
		"enrol, partner":      {"POST", "/v1/customers", `{"account":"` + account + `","ref":"c-1","partner":"other"}`, 400},
		"enrol, no ref":       {"POST", "/v1/customers", `{"account":"` + account + `"}`, 400},
		"enrol, bad account":  {"POST", "/v1/customers", `{"account":"GABC","ref":"c-1"}`, 400},
		"resolve":             {"POST", "/v1/quarantine/q1/resolve", `{"action":"match","transaction":"t1","note":"called the customer"}`, 200},
		"resolve, no note":    {"POST", "/v1/quarantine/q1/resolve", `{"action":"match","transaction":"t1"}`, 400},
		"resolve, long note":  {"POST", "/v1/quarantine/q1/resolve", `{"action":"match","note":"` + strings.Repeat("n", 501) + `"}`, 400},
		"resolve, bad id":     {"POST", "/v1/quarantine/%00/resolve", `{"action":"match","note":"x"}`, 400},
		"no such customer":    {"GET", "/v1/customers/" + keypair.MustRandom().Address(), "", 404},
		"customer, malformed": {"GET", "/v1/customers/bob", "", 400},
		"no such payout":      {"GET", "/v1/payouts/p999/file", "", 404},
		"long id":             {"GET", "/v1/payouts/" + strings.Repeat("p", 129) + "/file", "", 400},
		"traversal":           {"GET", "/v1/payouts/..%2f..%2fetc/file", "", 404},
	} {
		if got := ask(t, c, tt.method, url+tt.path, map[bool]string{true: "application/json"}[tt.method == "POST"], tt.body); got.status != tt.status {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if len(d.anchor.enrolled) != 1 || d.anchor.enrolled[0].Partner != "paycircle" || len(d.anchor.resolved) != 1 {
		t.Errorf("%v %v", d.anchor.enrolled, d.anchor.resolved)
	}
}

func (f *fakeAnchor) Assets(context.Context) ([]anchor.Asset, error) {
	return []anchor.Asset{{Asset: f.asset, Distribution: f.customer}}, f.err
}

func (f *fakeAnchor) Deposit(_ context.Context, r anchor.DepositRequest) (anchor.Transaction, error) {
	return anchor.Transaction{ID: "d1", Kind: anchor.Deposit, Account: r.Account, Asset: f.asset}, f.err
}

func (f *fakeAnchor) Withdraw(_ context.Context, r anchor.WithdrawRequest) (anchor.Transaction, error) {
	return anchor.Transaction{ID: "w1", Kind: anchor.Withdrawal, Account: r.Account, Asset: f.asset, Memo: protocol.IDMemo(1)}, f.err
}

func (f *fakeAnchor) Transaction(context.Context, anchor.Lookup) (anchor.Transaction, error) {
	return anchor.Transaction{}, anchor.ErrNotFound
}

func (f *fakeAnchor) Transactions(context.Context, anchor.Query) ([]anchor.Transaction, error) {
	return nil, f.err
}

func TestStaffViews(t *testing.T) {
	d := open(t, schematest.New(t, schema.Gateway))
	c, url := d.staff(t), d.url["staff"]
	for path, want := range map[string]string{
		"/v1/invariants":          `{"invariants":[{"name":"book","ok":true,"detail":""}],"ok":true}`,
		"/v1/ledger-transactions": `{"next":"","records":[{"attempt":0,"created_at":"0001-01-01T00:00:00Z","hash":"` + strings.Repeat("0", 64) + `","id":"1","purpose":"","state":""}]}`,
		"/v1/parked":              `{"next":"","records":[{"amount":"","at":"0001-01-01T00:00:00Z","from":"` + d.anchor.customer.String() + `","ledger_tx":"` + strings.Repeat("0", 64) + `","operation":0,"reason":"","state":""}]}`,
		"/v1/jobs":                `{"next":"","records":[{"created_at":"0001-01-01T00:00:00Z","failing":"refused","kind":"payout","ref":"withdrawal/1"}]}`,
	} {
		if got := ask(t, c, "GET", url+path, "", ""); got.status != 200 || strings.TrimSpace(got.body) != want {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if n := d.records(t); n != 3 {
		t.Errorf("%d records of three reads that concern customers", n)
	}
	if got := ask(t, c, "GET", url+"/v1/ledger-transactions?limit=1", "", "").members(t); got["next"] != "1" {
		t.Errorf("%v", got)
	}
	if got := ask(t, c, "GET", url+"/v1/parked?from=x", "", ""); got.status != 400 {
		t.Errorf("%d", got.status)
	}
	if got := ask(t, c, "POST", url+"/v1/assets/USD", "", ""); got.status != 202 || got.members(t)["issuer"] != d.anchor.asset.Issuer().String() {
		t.Errorf("%d %s", got.status, got.body)
	}
	for _, code := range []string{"EUR", "ABCDEFGHIJKLM"} {
		if got := ask(t, c, "POST", url+"/v1/assets/"+code, "", ""); got.status != 400 {
			t.Errorf("%s: %d %s", code, got.status, got.body)
		}
	}
}

func TestStaffDecide(t *testing.T) {
	d := open(t, schematest.New(t, schema.Gateway))
	c, url := d.staff(t), d.url["staff"]
	hash := strings.Repeat("ab", 32)
	for _, bad := range []struct{ path, body string }{
		{"/v1/parked/" + hash + "/0/resolve", `{"action":"dismiss","note":" "}`}, {"/v1/parked/" + hash + "/-1/resolve", `{"action":"dismiss","note":"x"}`},
		{"/v1/parked/zz/0/resolve", `{"action":"dismiss","note":"x"}`}, {"/v1/parked/" + hash + "/0/resolve", `{"action":"dismiss","note":"x","more":1}`},
		{"/v1/customers/G/status", `{"status":"frozen","note":"x"}`}, {"/v1/customers/" + d.anchor.customer.String() + "/status", `{"status":"dead","note":"x"}`},
		{"/v1/customers/" + d.anchor.customer.String() + "/status", `{"status":"frozen"}`},
		{"/v1/withdrawals/w/resolve", `{"action":"again","note":""}`}, {"/v1/withdrawals/w/resolve", `{"action":"again","note":"x","iban":"x"}`},
		{"/v1/deposits/d/give-up", `{}`},
	} {
		if got := ask(t, c, "POST", url+bad.path, "application/json", bad.body); got.status != 400 || len(d.anchor.decided) != 0 {
			t.Errorf("%s %s: %d %s", bad.path, bad.body, got.status, got.body)
		}
	}
	if got := ask(t, c, "POST", url+"/v1/parked/"+hash+"/3/resolve", "application/json", `{"action":"give-back","note":"his"}`); got.status != 200 || got.members(t)["operation"] != 3.0 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := ask(t, c, "POST", url+"/v1/customers/"+d.anchor.customer.String()+"/status", "application/json", `{"status":"frozen","note":"a court"}`); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := ask(t, c, "POST", url+"/v1/withdrawals/w/resolve", "application/json", `{"action":"again","note":"asked him"}`); got.status != 200 || got.members(t)["id"] != "w" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := ask(t, c, "POST", url+"/v1/deposits/d/give-up", "application/json", `{"note":"no answer"}`); got.status != 200 || got.members(t)["id"] != "d" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := ask(t, c, "GET", url+"/v1/withdrawals/bounced", "", ""); got.status != 200 || len(got.members(t)["records"].([]any)) != 1 {
		t.Errorf("%d %s", got.status, got.body)
	}
	want := []any{anchor.ParkedResolution{Hash: protocol.Hash(bytes.Repeat([]byte{0xab}, 32)), Op: 3, Action: "give-back", Note: "his"},
		anchor.StatusChange{Account: d.anchor.customer, Frozen: true, Why: "a court"},
		anchor.BouncedResolution{ID: "w", Action: "again", Note: "asked him"}, "d no answer"}
	if !reflect.DeepEqual(d.anchor.decided, want) || d.anchor.actors[0].Name != "alice" {
		t.Errorf("%+v by %+v", d.anchor.decided, d.anchor.actors)
	}
}

// TestApprovals: staff see what waits for officers, with the bytes to read, and hand approvals in, which nobody believes here.
func TestApprovals(t *testing.T) {
	d := open(t, schematest.New(t, schema.Gateway))
	c, url := d.staff(t), d.url["staff"]+"/v1/approvals"
	if got := ask(t, c, "GET", url+"?state=all", "", ""); got.status != 200 || strings.Count(got.body, `"ref":"issue/1/1"`) != 2 || !strings.Contains(got.body, `"body":"AQI="`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := ask(t, c, "GET", url+"/1", "", ""); got.status != 200 || !strings.Contains(got.body, `"reason":"expired"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	const good = `{"officer":"carol","nonce":"00112233445566778899aabbccddeeff","expires":"2026-01-01T00:00:00Z","signature":"AAAA"}`
	for name, tt := range map[string]struct {
		path, body string
		status     int
	}{
		"an approval": {"/1/consents", good, 202}, "unknown member": {"/1/consents", strings.Replace(good, "{", `{"more":1,`, 1), 400},
		"officer twice": {"/1/consents", strings.Replace(good, "{", `{"officer":"dan",`, 1), 400}, "declined": {"/1/decline", `{"note":"no"}`, 200},
		"declined without a reason": {"/1/decline", `{"note":" "}`, 400},
	} {
		if got := ask(t, c, "POST", url+tt.path, "application/json", tt.body); got.status != tt.status {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if got := ask(t, c, "GET", url+"?state=closed", "", ""); got.status != 400 {
		t.Errorf("%d %s", got.status, got.body)
	}
}
