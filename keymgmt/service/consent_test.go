package service_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/node/protocol"
)

// TestApprovalsAreUsedOnce: what needs people is refused as such, signed once they have approved, recorded with their
// names, and their approvals are gone.
func TestApprovalsAreUsedOnce(t *testing.T) {
	r := newRig(t)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := protocol.AccountIDFromKey(public)
	if err != nil {
		t.Fatal(err)
	}
	cfg := r.config()
	cfg.Policy = r.policy(func(f *policy.File) {
		f.Officers = []policy.Officer{{Name: "carol", Public: policy.Ledger(id), Groups: []string{"treasury"}}}
		for i := range f.Keys {
			if f.Keys[i].ID == keyIssuing {
				f.Keys[i].Transaction.Approvals = []policy.ApprovalRule{{Needs: []policy.Need{{Group: "treasury", Count: 1}}}}
			}
		}
	})
	svc, err := service.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	request := r.pay("tx/1", "5", r.account(keyDistribution))
	request.Initiator = "erin"
	if _, err := svc.For(gateway).Sign(t.Context(), request); !errors.Is(err, keymgmt.ErrApprovalNeeded) || !strings.Contains(err.Error(), "1 of treasury") {
		t.Fatal(err)
	}
	m, err := payload.Decode(request.Kind, request.Body)
	if err != nil {
		t.Fatal(err)
	}
	intent, err := policy.IntentOf(request, m, cfg.Policy.Version())
	if err != nil {
		t.Fatal(err)
	}
	consent, err := intent.Approve(keymgmt.Consent{Officer: "carol", Nonce: keymgmt.NewNonce(), Expires: r.clock.now().Add(time.Hour)}, private)
	if err != nil {
		t.Fatal(err)
	}
	request.Consents = []keymgmt.Consent{consent}
	first, err := svc.For(gateway).Sign(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	again, err := svc.For(gateway).Sign(t.Context(), request)
	if err != nil || string(again.Bytes) != string(first.Bytes) {
		t.Errorf("asked again: %v", err)
	}
	var officer, data string
	if r.query(&officer, `SELECT officer FROM signer.consent WHERE nonce = '`+consent.Nonce+`'`); officer != "carol" {
		t.Errorf("officer %q", officer)
	}
	if r.query(&data, `SELECT convert_from(body, 'UTF8') FROM audit.record WHERE action = 'approval.used'`); !strings.Contains(data, `"officer":"carol"`) || !strings.Contains(data, `"nonce":"`+consent.Nonce) || !strings.Contains(data, `"initiator":"erin"`) {
		t.Errorf("record %s", data)
	}
	other := r.pay("tx/2", "5", r.account(keyDistribution))
	other.Initiator, other.Consents = "erin", request.Consents
	if _, err := svc.For(gateway).Sign(t.Context(), other); !errors.Is(err, keymgmt.ErrDenied) {
		t.Errorf("the approval of another request: %v", err)
	}
}
