package signature_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"math/big"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secpecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/signature"
)

func public(t *testing.T, a keymgmt.Algorithm, b []byte) keymgmt.PublicKey {
	t.Helper()
	p, err := keymgmt.NewPublicKey(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// device signs as hardware does: r and s as they fall.
type device struct {
	public keymgmt.PublicKey
	order  *big.Int
	sign   func(digest []byte) (r, s *big.Int)
}

func devices(t *testing.T) map[string]device {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k1, err := secp256k1.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]device{
		"p256": {public(t, keymgmt.P256, elliptic.MarshalCompressed(elliptic.P256(), p256.X, p256.Y)), elliptic.P256().Params().N,
			func(digest []byte) (*big.Int, *big.Int) {
				r, s, err := ecdsa.Sign(rand.Reader, p256, digest)
				if err != nil {
					t.Fatal(err)
				}
				return r, s
			}},
		"secp256k1": {public(t, keymgmt.Secp256k1, k1.PubKey().SerializeCompressed()), secp256k1.Params().N,
			func(digest []byte) (*big.Int, *big.Int) {
				compact := secpecdsa.SignCompact(k1, digest, true)
				r, s := new(big.Int).SetBytes(compact[1:33]), new(big.Int).SetBytes(compact[33:])
				if digest[0]&1 == 1 { // the library gives low s only; a device half the time the other
					s.Sub(secp256k1.Params().N, s)
				}
				return r, s
			}},
	}
}

func TestECDSA(t *testing.T) {
	for name, d := range devices(t) {
		t.Run(name, func(t *testing.T) {
			for n := range 3 {
				digest := sha256.Sum256([]byte{byte(n)})
				r, s := d.sign(digest[:])
				raw := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
				made, err := signature.FromECDSA(d.public, digest[:], raw)
				sig := made.Bytes()
				if err != nil || !made.Of(d.public, digest[:]) || !signature.Verify(d.public, digest[:], sig) {
					t.Fatalf("%d: %v", n, err)
				}
				other := sha256.Sum256(digest[:])
				if _, err := signature.FromECDSA(d.public, other[:], raw); !errors.Is(err, signature.ErrInvalid) {
					t.Fatalf("signature of another digest: %v", err)
				}
				for i := range sig { // no bit of it can be changed
					for bit := range 8 {
						bad := append([]byte(nil), sig...)
						bad[i] ^= 1 << bit
						if signature.Verify(d.public, digest[:], bad) {
							t.Fatalf("verifies with bit %d of byte %d changed", bit, i)
						}
					}
				}
				// The same signature with the other s is as valid to mathematics, and refused.
				high := append([]byte(nil), sig...)
				new(big.Int).Sub(d.order, new(big.Int).SetBytes(sig[32:64])).FillBytes(high[32:64])
				if len(high) == 65 {
					high[64] ^= 1
				}
				if signature.Verify(d.public, digest[:], high) {
					t.Fatal("a signature with high s verifies")
				}
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("message")
	key, sig := public(t, keymgmt.Ed25519, pub), ed25519.Sign(private, message)
	if !signature.Verify(key, message, sig) {
		t.Error("a good signature does not verify")
	}
	for name, bad := range map[string][]byte{"none": nil, "short": sig[:63], "long": append(sig[:64:64], 0), "zeros": make([]byte, 64)} {
		if signature.Verify(key, message, bad) || signature.Verify(keymgmt.PublicKey{}, message, bad) {
			t.Errorf("%s verifies", name)
		}
	}
	made, err := signature.Check(key, message, sig)
	if err != nil || !made.Of(key, message) || !bytes.Equal(made.Bytes(), sig) {
		t.Errorf("a good signature: %v", err)
	}
	other, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if made.Of(key, []byte("massage")) || made.Of(public(t, keymgmt.Ed25519, other), message) {
		t.Error("of one message by one key, and of another, too")
	}
	if nothing, err := signature.Check(key, []byte("massage"), sig); !errors.Is(err, signature.ErrInvalid) || nothing != (signature.Verified{}) {
		t.Errorf("a signature of another message: %v", err)
	}
	if none := (signature.Verified{}); none.Of(key, message) || none.Of(keymgmt.PublicKey{}, nil) {
		t.Error("nothing is a signature of something")
	}
	copied := made.Bytes()
	copied[0] ^= 1
	if !bytes.Equal(made.Bytes(), sig) {
		t.Error("it can be changed from outside")
	}
	for _, d := range devices(t) {
		digest := sha256.Sum256(message)
		for name, rs := range map[string][]byte{"zeros": make([]byte, 64), "short": make([]byte, 63), "ones": append(d.order.Bytes(), d.order.Bytes()...)} {
			if _, err := signature.FromECDSA(d.public, digest[:], rs); !errors.Is(err, signature.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := signature.FromECDSA(d.public, message, make([]byte, 64)); !errors.Is(err, signature.ErrInvalid) {
			t.Errorf("a message that is no digest: %v", err)
		}
	}
}
