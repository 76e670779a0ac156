package story

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/anchor/rails/iso20022"
	"github.com/diamante/gateway/custody/money"
)

const bankIBAN = "CH9300762011623852957"

// TestStatement has the gateway's reader read what the story's bank writes.
func TestStatement(t *testing.T) {
	for _, version := range []string{Camt02, Camt08} {
		bank := &Bank{IBAN: bankIBAN, BIC: "ABNACHZ8XXX"}
		raw, err := bank.Statement(version,
			BankEntry{Reference: "B-1", Amount: "100.00", Currency: "USD", Remittance: "R1 <&>", Party: "Alice & Co", PartyIBAN: CustomerIBAN},
			BankEntry{Reference: "P-1", Amount: "2.50", Currency: "USD", Debit: true, EndToEndID: "W1", Party: "Bob", PartyIBAN: CustomerIBAN})
		if err != nil {
			t.Fatal(err)
		}
		statements, err := iso20022.ParseStatement(raw)
		if err != nil || len(statements) != 1 || len(statements[0].Defects) != 0 || len(statements[0].Entries) != 2 {
			t.Fatalf("%s: %+v %v", version, statements, err)
		}
		in, out := statements[0].Entries[0], statements[0].Entries[1]
		if !in.Credit || in.Ref != "B-1" || in.Amount.Decimal() != "100.00" || strings.Join(in.Remittance, "") != "R1 <&>" ||
			in.Debtor.Name != "Alice & Co" || in.Debtor.Account.IBAN != CustomerIBAN {
			t.Errorf("%s: credit %+v", version, in)
		}
		if out.Credit || out.EndToEndID != "W1" || out.Creditor.Name != "Bob" {
			t.Errorf("%s: debit %+v", version, out)
		}
	}
}

// TestExecute has the story's bank read what the gateway's writer writes, and refuse what is not for it.
func TestExecute(t *testing.T) {
	usd, err := rails.BankCurrency("USD")
	if err != nil {
		t.Fatal(err)
	}
	amount, err := money.FromInt(usd, 250)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	raw, err := iso20022.WritePayout(rails.Payout{MessageID: "W1", CreatedAt: at, ExecuteOn: at,
		Debtor: rails.Party{Name: "Example Bank", Account: rails.Account{IBAN: bankIBAN}, BIC: "ABNACHZ8XXX"},
		Items: []rails.PayoutItem{{EndToEndID: "W1", Amount: amount, Remittance: "Withdrawal",
			Creditor: rails.Party{Name: "Bob", Account: rails.Account{IBAN: CustomerIBAN}}}}})
	if err != nil {
		t.Fatal(err)
	}
	orders, err := (&Bank{IBAN: bankIBAN}).Execute(raw)
	want := Order{EndToEndID: "W1", Amount: "2.50", Currency: "USD", Creditor: "Bob", IBAN: CustomerIBAN, Remittance: "Withdrawal"}
	if err != nil || len(orders) != 1 || orders[0] != want {
		t.Errorf("orders %+v %v", orders, err)
	}
	if _, err := (&Bank{IBAN: CustomerIBAN}).Execute(raw); err == nil {
		t.Error("a file that debits another's account is carried out")
	}
	for _, bad := range []string{"", "<a/>", "nothing", strings.Replace(string(raw), "pain.001.001.09", "pain.001.001.03", 1),
		`<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"/>`} {
		if _, err := (&Bank{IBAN: bankIBAN}).Execute([]byte(bad)); err == nil {
			t.Errorf("carried out: %q", bad)
		}
	}
}

// TestAnswered says which answers end a call and which have it made again.
func TestAnswered(t *testing.T) {
	for _, tt := range []struct {
		err  error
		done bool
		end  bool
	}{
		{nil, true, false},
		{errors.New("connection refused"), false, false},
		{&Problem{Status: 500}, false, false},
		{&Problem{Status: 503}, false, false},
		{&Problem{Status: http.StatusTooManyRequests}, false, false},
		{fmt.Errorf("call: %w", &Problem{Status: 409, Type: "https://diamante.network/problems/idempotency-key-in-use"}), false, false},
		{&Problem{Status: 409, Type: "https://diamante.network/problems/conflict"}, false, true},
		{fmt.Errorf("call: %w", &Problem{Status: 400}), false, true},
	} {
		if done, err := answered(tt.err); done != tt.done || (err != nil) != tt.end {
			t.Errorf("%v: %v %v", tt.err, done, err)
		}
	}
}

// TestCall reads answers and problems.
func TestCall(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/good":
			fmt.Fprintf(w, `{"key": %q, "token": %q}`, r.Header.Get("Idempotency-Key"), r.Header.Get("Authorization"))
		case "/problem":
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"status": 1, "type": "t", "title": "No"}`)
		default:
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, "not JSON")
		}
	}))
	defer srv.Close()
	var good struct{ Key, Token string }
	err := call(t.Context(), srv.Client(), request{Method: http.MethodGet, URL: srv.URL + "/good", Key: "k", Token: "t"}, &good)
	if err != nil || good.Key != "k" || good.Token != "Bearer t" {
		t.Errorf("%+v %v", good, err)
	}
	for path, want := range map[string]Problem{"/problem": {Status: 409, Type: "t", Title: "No"}, "/other": {Status: 502}} {
		var p *Problem
		err := call(t.Context(), srv.Client(), request{Method: http.MethodGet, URL: srv.URL + path}, nil)
		if !errors.As(err, &p) || *p != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestReport is well only if there are steps and invariants and all of them are.
func TestReport(t *testing.T) {
	step, holds := Step{Name: "a step", OK: true, Detail: "as told"}, Invariant{Name: "holds", OK: true}
	good := Report{Steps: []Step{step}, Invariants: []Invariant{holds}}
	for _, tt := range []struct {
		report Report
		want   bool
	}{
		{good, true},
		{Report{}, false},
		{Report{Steps: []Step{step}}, false},
		{Report{Steps: []Step{step, {}}, Invariants: []Invariant{holds}}, false},
		{Report{Steps: []Step{step}, Invariants: []Invariant{holds, {}}}, false},
	} {
		if tt.report.OK() != tt.want {
			t.Errorf("%+v", tt.report)
		}
	}
	path := filepath.Join(t.TempDir(), "story.json")
	if err := good.Write(path); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(raw, &back); err != nil || !back.OK() {
		t.Errorf("%s %v", raw, err)
	}
	var shown strings.Builder
	if err := good.Print(&shown); err != nil || !strings.Contains(shown.String(), "a step") || !strings.Contains(shown.String(), "as told") {
		t.Errorf("%s %v", &shown, err)
	}
}

// TestEventually ends with the first yes, the first failure, or its time.
func TestEventually(t *testing.T) {
	boom := errors.New("boom")
	asked := 0
	if err := eventually(t.Context(), time.Minute, func() (bool, error) { asked++; return asked == 2, nil }); err != nil || asked != 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	if err := eventually(t.Context(), time.Minute, func() (bool, error) { return false, boom }); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := eventually(ctx, time.Minute, func() (bool, error) { return false, nil }); err == nil {
		t.Error("waited in vain without an error")
	}
}
