package paper_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/cmd/internal/paper"
	"github.com/diamante/gateway/keymgmt"
)

// TestPaper: what is signed is read from the bytes, and what cannot be read, or is two things, is not signed.
func TestPaper(t *testing.T) {
	key, err := keymgmt.ParseKeyID("audit/log")
	if err != nil {
		t.Fatal(err)
	}
	when := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	order := &keymgmt.Order{Network: strings.Repeat("0a", 32), Action: keymgmt.Freeze, Key: "*", Nonce: keymgmt.NewNonce(), Issued: when, Reason: "a drill"}
	approve := func() *paper.Approval {
		return &paper.Approval{Request: paper.Request{Key: key, Kind: keymgmt.KindCheckpoint, Body: []byte("bank.example/audit\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"), Ref: "r"},
			Version: 3, Consent: keymgmt.Consent{Officer: "alice", Nonce: keymgmt.NewNonce(), Expires: when}}
	}
	for name, tt := range map[string]struct {
		paper paper.Paper
		want  string
	}{
		"an order": {paper.Paper{Order: order}, "freeze *\n"}, "an approval": {paper.Paper{Approve: approve()}, "policy 3\n"},
		"nothing": {}, "both": {paper.Paper{Order: order, Approve: approve()}, ""},
		"bytes that mean nothing": {paper.Paper{Approve: func() *paper.Approval { a := approve(); a.Request.Body = []byte("?"); return a }()}, ""},
		"a bare hash":             {paper.Paper{Approve: func() *paper.Approval { a := approve(); a.Request.Body = make([]byte, 32); return a }()}, ""},
		"no officer":              {paper.Paper{Approve: func() *paper.Approval { a := approve(); a.Consent.Officer = "a\nb"; return a }()}, ""},
		"an order of two lines":   {paper.Paper{Order: &keymgmt.Order{Network: strings.Repeat("0a", 32), Action: keymgmt.Freeze, Key: "*", Nonce: order.Nonce, Issued: when, Reason: "a\nb"}}, ""},
	} {
		raw, err := json.Marshal(tt.paper)
		if err != nil {
			t.Fatal(err)
		}
		read, err := paper.Read(strings.NewReader(string(raw)))
		if err != nil {
			t.Fatal(err)
		}
		message, err := read.Message()
		if (err == nil) != (tt.want != "") || !strings.Contains(string(message), tt.want) {
			t.Errorf("%s: %q %v", name, message, err)
		}
	}
	for name, raw := range map[string]string{"more": `{"digest":"AAAA"}`, "two": `{}{}`, "large": strings.Repeat(" ", paper.MaxPaper+1), "nothing": ""} {
		if p, err := paper.Read(strings.NewReader(raw)); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
}
