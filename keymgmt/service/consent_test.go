package service_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/keymgmt/signature"
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

// TestPasskeysAreJournalled: an approval by passkey is used once, and what is kept of it proves it again.
func TestPasskeysAreJournalled(t *testing.T) {
	r := newRig(t)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := keymgmt.NewPublicKey(keymgmt.P256, elliptic.MarshalCompressed(elliptic.P256(), private.X, private.Y))
	if err != nil {
		t.Fatal(err)
	}
	cfg := r.config()
	cfg.Policy = r.policy(func(f *policy.File) {
		f.PasskeyOrigins = []string{"http://localhost:7465"}
		f.Officers = []policy.Officer{{Name: "petra", Public: policy.PublicKey{PublicKey: public}, Groups: []string{"treasury"}, Passkey: &policy.Passkey{RP: "localhost", Credential: "AQ"}}}
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
	m, err := payload.Decode(request.Kind, request.Body)
	if err != nil {
		t.Fatal(err)
	}
	intent, err := policy.IntentOf(request, m, cfg.Policy.Version())
	if err != nil {
		t.Fatal(err)
	}
	c := keymgmt.Consent{Officer: "petra", Nonce: keymgmt.NewNonce(), Expires: r.clock.now().Add(time.Hour).UTC().Truncate(time.Second)}
	challenge, rp := sha256.Sum256(intent.Message(c)), sha256.Sum256([]byte("localhost"))
	c.Passkey = &keymgmt.Passkey{Authenticator: append(rp[:], 5, 0, 0, 0, 0), Client: []byte(`{"type":"webauthn.get","challenge":"` +
		base64.RawURLEncoding.EncodeToString(challenge[:]) + `","origin":"http://localhost:7465"}`)}
	client := sha256.Sum256(c.Passkey.Client)
	digest := sha256.Sum256(append(append([]byte(nil), c.Passkey.Authenticator...), client[:]...))
	x, y, err := ecdsa.Sign(rand.Reader, private, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	made, err := signature.FromECDSA(public, digest[:], append(x.FillBytes(make([]byte, 32)), y.FillBytes(make([]byte, 32))...))
	if err != nil {
		t.Fatal(err)
	}
	c.Signature = made.Bytes()
	request.Consents = []keymgmt.Consent{c}
	if _, err := svc.For(gateway).Sign(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	other := r.pay("tx/2", "5", r.account(keyDistribution))
	other.Consents = request.Consents
	if _, err := svc.For(gateway).Sign(t.Context(), other); !errors.Is(err, keymgmt.ErrDenied) {
		t.Errorf("the approval of another request: %v", err)
	}
	var kept []keymgmt.Consent
	if err := service.Export(t.Context(), cfg.DB.Reader(), func(p policy.Past) error { kept = append(kept, p.Consents...); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(kept) != 1 || !kept[0].Expires.Equal(c.Expires) || string(kept[0].Signature) != string(c.Signature) || string(kept[0].Passkey.Authenticator) != string(c.Passkey.Authenticator) ||
		string(kept[0].Passkey.Client) != string(c.Passkey.Client) {
		t.Errorf("kept %+v", kept)
	}
}
