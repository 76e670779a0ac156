package remote_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

// TestAttestationsTravel: what proves itself is delivered by whoever may connect, and what comes of it comes back.
func TestAttestationsTravel(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	treasury, err := keymgmt.NewPublicKey(keymgmt.Ed25519, public)
	if err != nil {
		t.Fatal(err)
	}
	issuing, issuer, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := protocol.AccountIDFromKey(issuing)
	if err != nil {
		t.Fatal(err)
	}
	usd, err := protocol.NewCredit("USD", id)
	if err != nil {
		t.Fatal(err)
	}
	svc, _ := openWith(t, map[string]policy.Key{gateway + " anchor/usd/issuing": {Transaction: reserveRule(t, usd, policy.PublicKey{PublicKey: treasury})}}, issuer)
	a := newAuthority(t)
	client := newClient(t, serve(t, a, svc), a.client(gateway))
	word, err := policy.SignAttestation(protocol.Passphrase("Remote Test Network").NetworkID(), keymgmt.Attestation{Asset: usd.String(), Reserve: "5.0000000",
		Outstanding: "0.0000000", Ledger: 3, Closed: started, Issued: started, Attestor: "treasury"}, private)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first answer might have been lost
		if err := client.Attest(t.Context(), word); err != nil {
			t.Fatal(err)
		}
	}
	word.Reserve = "6.0000000"
	if err := client.Attest(t.Context(), word); !errors.Is(err, keymgmt.ErrDenied) || !strings.Contains(err.Error(), "transaction.reserve.signature") {
		t.Error(err)
	}
	word.Reserve = "6"
	if err := client.Attest(t.Context(), word); !errors.Is(err, keymgmt.ErrMalformed) {
		t.Error(err)
	}
}

func reserveRule(t *testing.T, asset protocol.Asset, treasury policy.PublicKey) *policy.TransactionRule {
	t.Helper()
	one, err := policy.ParseQuantity("1")
	if err != nil {
		t.Fatal(err)
	}
	return &policy.TransactionRule{MaxFee: one, FeeWindows: policy.Day(one), MaxSeconds: 60, MaxOperations: 1,
		Reserves: []policy.ReserveRule{{Asset: asset, MaxAge: policy.Duration(time.Hour), Attestors: []policy.Signatory{{Name: "treasury", Public: treasury}}}}}
}

// heard keeps the last request that reached it.
type heard struct {
	picky
	last keymgmt.Request
}

func (h *heard) For(string) keymgmt.Signer { return h }
func (h *heard) Sign(_ context.Context, r keymgmt.Request) (keymgmt.Signature, error) {
	h.last = r
	return keymgmt.Signature{}, keymgmt.ErrDenied
}

// TestTheLargestRequestTravels with all the people who may have a word in it.
func TestTheLargestRequestTravels(t *testing.T) {
	long := strings.Repeat("w", 64)
	r := keymgmt.Request{Key: key(t, strings.Repeat("k", keymgmt.MaxKeyID)), Kind: keymgmt.KindTransaction, Body: make([]byte, keymgmt.MaxBody), Ref: strings.Repeat("r", keymgmt.MaxRef), Initiator: long}
	for range keymgmt.MaxConsents {
		r.Consents = append(r.Consents, keymgmt.Consent{Officer: long, Nonce: keymgmt.NewNonce(), Expires: started.UTC(), Signature: make([]byte, 64)})
	}
	for range keymgmt.MaxDischarges {
		r.Discharges = append(r.Discharges, keymgmt.Discharge{Lien: long, Asset: strings.Repeat("A", 80), Amount: strings.Repeat("9", 38) + ".0000000",
			Destination: strings.Repeat("G", 56), Nonce: keymgmt.NewNonce(), Expires: started.UTC(), Holder: long, Signature: make([]byte, 64)})
	}
	a, h := newAuthority(t), &heard{picky: picky{t}}
	client := newClient(t, serve(t, a, h), a.client(gateway))
	if _, err := client.Sign(t.Context(), r); !errors.Is(err, keymgmt.ErrDenied) {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(h.last, r) {
		t.Error("something was lost on the way")
	}
	r.Discharges = append(r.Discharges, r.Discharges[0])
	if _, err := client.Sign(t.Context(), r); !errors.Is(err, keymgmt.ErrMalformed) {
		t.Errorf("one discharge too many: %v", err)
	}
}
