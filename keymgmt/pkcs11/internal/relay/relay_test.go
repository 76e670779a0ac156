package relay

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/signature"
)

func TestFinish(t *testing.T) {
	digest := sha256.Sum256([]byte("message"))
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	coin, err := secp256k1.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	compact := ecdsa.SignCompact(coin, digest[:], true)
	for a, c := range map[keymgmt.Algorithm]struct{ public, raw []byte }{
		keymgmt.Ed25519:   {public, ed25519.Sign(private, digest[:])},
		keymgmt.Secp256k1: {coin.PubKey().SerializeCompressed(), compact[1:]},
	} {
		key, err := keymgmt.NewPublicKey(a, c.public)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := Finish(key, digest[:], c.raw)
		if err != nil || !sig.Of(key, digest[:]) || !signature.Verify(key, digest[:], sig.Bytes()) {
			t.Errorf("%s: %v", a, err)
		}
		bad := bytes.Clone(c.raw)
		bad[7] ^= 1
		for name, raw := range map[string][]byte{"damaged": bad, "short": c.raw[1:], "none": nil} {
			if sig, err := Finish(key, digest[:], raw); !errors.Is(err, ErrMismatch) || sig != (signature.Verified{}) {
				t.Errorf("%s, %s: %x, %v", a, name, sig.Bytes(), err)
			}
		}
	}
	if _, err := Finish(keymgmt.PublicKey{}, digest[:], compact[1:]); !errors.Is(err, ErrMismatch) {
		t.Errorf("no key: %v", err)
	}
}

func TestZeroHoldsNothing(t *testing.T) {
	if n := len((Messages{}).List()); n != 0 {
		t.Fatalf("%d messages", n)
	}
	if got := New([][]byte{{1}, {2}}).List(); len(got) != 2 || got[1][0] != 2 {
		t.Fatalf("%v", got)
	}
}
