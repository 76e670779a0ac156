// Package keytest is the conformance suite of key management: every Signer passes TestSigner, whether it is in the same
// process or behind a connection, and every keyring passes TestKeyring, whether its keys are in an HSM or in memory.
//
// An implementation's own test hands over a function that makes a fresh one:
//
//	func TestConformance(t *testing.T) {
//		keytest.TestSigner(t, func(t *testing.T) keytest.SignerFixture { ... })
//	}
package keytest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload/bitcoin"
	"github.com/diamante/gateway/keymgmt/payload/ethereum"
)

// patience bounds every call the suite makes: a call that takes longer hangs.
const patience = 30 * time.Second

// message is what the signature of r is over, for the one key of the suite's: the digest for what goes on a ledger or
// names ES256, the body for the rest. A PSBT of the suite's spends one output.
func message(r keymgmt.Request) []byte {
	digest := sha256.Sum256(r.Body)
	switch r.Kind {
	case keymgmt.KindTransaction, keymgmt.KindChallenge:
		return digest[:]
	case keymgmt.KindJWT:
		header, _, _ := strings.Cut(string(r.Body), ".")
		if text, err := base64.RawURLEncoding.DecodeString(header); err == nil && strings.Contains(string(text), `"alg":"ES256"`) {
			return digest[:]
		}
	case keymgmt.KindBitcoin, keymgmt.KindLitecoin, keymgmt.KindBitcoinCash:
		chain := map[keymgmt.Kind]bitcoin.Chain{keymgmt.KindBitcoin: bitcoin.Bitcoin, keymgmt.KindLitecoin: bitcoin.Litecoin,
			keymgmt.KindBitcoinCash: bitcoin.BitcoinCash}[r.Kind]
		if t, err := bitcoin.Decode(chain, r.Body); err == nil && len(t.Inputs) == 1 {
			return t.Inputs[0].Digest[:]
		}
		return nil
	case keymgmt.KindEthereum:
		digest = ethereum.Keccak256(r.Body)
		return digest[:]
	}
	return r.Body
}

// verify fails the test unless sig is a signature of r.
func verify(t *testing.T, r keymgmt.Request, sig keymgmt.Signature) {
	t.Helper()
	if !valid(r, sig) {
		t.Fatal("the signature does not verify")
	}
}

// contractErrors are all that a caller may have to tell apart. Each answer is exactly one of them.
var contractErrors = []error{keymgmt.ErrMalformed, keymgmt.ErrUnknownKey, keymgmt.ErrDenied, keymgmt.ErrApprovalNeeded, keymgmt.ErrNotYet, keymgmt.ErrRefUsed, keymgmt.ErrUnavailable}

// wantError fails the test unless err is want and none of the other errors of the contract: an answer that is two of
// them would be handled differently by two callers.
func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
	for _, other := range contractErrors {
		if other != want && errors.Is(err, other) {
			t.Fatalf("error %v is both %v and %v", err, want, other)
		}
	}
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
