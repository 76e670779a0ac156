package pkcs11

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/pkcs11/internal/relay"
	"github.com/diamante/gateway/keymgmt/signature"
)

var algorithms = []keymgmt.Algorithm{keymgmt.Ed25519, keymgmt.Secp256k1, keymgmt.P256}

func TestParsePoint(t *testing.T) {
	raw := bytes.Repeat([]byte{7}, 32)
	likeDER := append([]byte{4, 32}, bytes.Repeat([]byte{9}, 30)...)
	for name, c := range map[string]struct{ in, want []byte }{
		"raw":                    {raw, raw},
		"DER":                    {append([]byte{4, 32}, raw...), raw},
		"raw that begins as DER": {likeDER, likeDER},
		"DER of that":            {append([]byte{4, 32}, likeDER...), likeDER},
	} {
		if got, err := parsePoint(keymgmt.Ed25519, c.in); err != nil || !bytes.Equal(got.Bytes(), c.want) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	for name, in := range map[string][]byte{"empty": nil, "short": raw[:31], "long": append(raw, 1), "other tag": append([]byte{3, 32}, raw...),
		"other length": append([]byte{4, 33}, raw...), "rest": append(append([]byte{4, 32}, raw...), 0)} {
		if _, err := parsePoint(keymgmt.Ed25519, in); !errors.Is(err, errUnfit) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParsePointOfECDSA(t *testing.T) {
	pair, err := secp256k1.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	nist, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := nist.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for a, c := range map[keymgmt.Algorithm]struct{ point, compressed []byte }{
		keymgmt.Secp256k1: {pair.PubKey().SerializeUncompressed(), pair.PubKey().SerializeCompressed()},
		keymgmt.P256:      {other, elliptic.MarshalCompressed(elliptic.P256(), nist.X, nist.Y)},
	} {
		der := append([]byte{4, 65}, c.point...)
		for name, in := range map[string][]byte{"raw": c.point, "DER": der} {
			if got, err := parsePoint(a, in); err != nil || got.Algorithm() != a || !bytes.Equal(got.Bytes(), c.compressed) {
				t.Errorf("%s %s: %s, %v", a, name, got, err)
			}
		}
		off := bytes.Clone(c.point)
		off[64] ^= 1
		hybrid := bytes.Clone(c.point)
		hybrid[0] = 6 + hybrid[64]&1
		for name, in := range map[string][]byte{"empty": nil, "short": c.point[:64], "not on the curve": off, "hybrid": hybrid,
			"compressed": c.compressed, "rest": append(bytes.Clone(der), 0), "other length": append([]byte{4, 66}, c.point...)} {
			if _, err := parsePoint(a, in); !errors.Is(err, errUnfit) {
				t.Errorf("%s %s: %v", a, name, err)
			}
		}
	}
}

// A curve that comes with its parameters could have a generator whose logarithm somebody knows.
func TestAlgorithmOf(t *testing.T) {
	for a, c := range curves {
		for _, params := range c.params {
			if got := algorithmOf(ulong(c.keyType), params); got != a {
				t.Errorf("%s: %s", a, got)
			}
		}
		if got := algorithmOf(ulong(0xdead), c.params[0]); got.String() != "" {
			t.Errorf("%s with another key type is %s", a, got)
		}
	}
	explicit := []byte{0x30, 0x81, 0xe0, 0x02, 0x01, 0x01}
	if got := algorithmOf(ulong(curves[keymgmt.P256].keyType), explicit); got.String() != "" {
		t.Errorf("explicit parameters are %s", got)
	}
}

func TestEveryAlgorithm(t *testing.T) {
	ring, _ := newRing(t)
	for _, a := range algorithms {
		t.Run(a.String(), func(t *testing.T) {
			id := keytest.Key(t, "keys/"+a.String())
			public, err := ring.Generate(t.Context(), id, a)
			if err != nil {
				t.Fatal(err)
			}
			if public.Algorithm() != a {
				t.Fatalf("public key %s", public)
			}
			for n := range 8 {
				digest := sha256.Sum256(fmt.Append(nil, n))
				if err := trySign(t.Context(), ring, id, digest[:]); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	list, err := ring.List(t.Context())
	if err != nil || len(list) != len(algorithms) {
		t.Fatal(list, err)
	}
	for _, item := range list {
		if item.Fault != nil || "keys/"+item.Public.Algorithm().String() != item.Label {
			t.Errorf("listed %+v", item)
		}
	}
	if _, err := ring.Generate(t.Context(), keytest.Key(t, "none"), 0); !errors.Is(err, keymgmt.ErrMalformed) {
		t.Errorf("a key of no algorithm: %v", err)
	}
}

// An ECDSA key signs digests; what else it is given never reaches the device.
func TestOnlyDigestsForECDSA(t *testing.T) {
	ring, _ := newRing(t)
	for _, a := range []keymgmt.Algorithm{keymgmt.Secp256k1, keymgmt.P256} {
		id := keytest.Key(t, a.String())
		if _, err := ring.Generate(t.Context(), id, a); err != nil {
			t.Fatal(err)
		}
		calls := failing(ring, "C_SignInit", 0, 0)
		for _, size := range []int{0, 1, 20, 31, 33, 64} {
			if _, err := ring.sign(t.Context(), id, make([]byte, size)); !errors.Is(err, keymgmt.ErrMalformed) {
				t.Errorf("%s, %d bytes: %v", a, size, err)
			}
		}
		if calls.Load() != 0 {
			t.Errorf("%s: the device was asked", a)
		}
	}
	id := keytest.Key(t, "ed25519")
	if _, err := ring.Generate(t.Context(), id, keymgmt.Ed25519); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.sign(t.Context(), id, make([]byte, keymgmt.MaxBody+1)); !errors.Is(err, keymgmt.ErrMalformed) {
		t.Errorf("an endless message: %v", err)
	}
}

// The device makes high s half of the time; none comes out.
func TestHighSIsNormalised(t *testing.T) {
	ring, _ := newRing(t)
	for _, a := range []keymgmt.Algorithm{keymgmt.Secp256k1, keymgmt.P256} {
		t.Run(a.String(), func(t *testing.T) { lowSOnly(t, ring, a) })
	}
}

func lowSOnly(t *testing.T, ring *Keyring, a keymgmt.Algorithm) {
	id := keytest.Key(t, a.String())
	public, err := ring.Generate(t.Context(), id, a)
	if err != nil {
		t.Fatal(err)
	}
	order := elliptic.P256().Params().N
	if a == keymgmt.Secp256k1 {
		order = secp256k1.Params().N
	}
	half := new(big.Int).Rsh(order, 1)
	const enough = 64 // that none of them is high has a chance of 2^-64
	high := 0
	for n := range enough {
		digest := sha256.Sum256(fmt.Append(nil, n))
		raw, err := with(t.Context(), ring, func(e *epoch, s session) ([]byte, error) {
			found, err := ring.find(e, s, id)
			if err != nil {
				return nil, err
			}
			return ring.lib.sign(s, found, digest[:])
		})
		if err != nil {
			t.Fatal(err)
		}
		if new(big.Int).SetBytes(raw[32:]).Cmp(half) > 0 {
			high++
		}
		made, err := relay.Finish(public, digest[:], raw)
		if err != nil {
			t.Fatal(err)
		}
		sig := made.Bytes()
		if new(big.Int).SetBytes(sig[32:64]).Cmp(half) > 0 || !signature.Verify(public, digest[:], sig) {
			t.Fatalf("high or wrong: %x", sig)
		}
		raw[40] ^= 1
		if _, err := relay.Finish(public, digest[:], raw); !errors.Is(err, relay.ErrMismatch) {
			t.Fatalf("a damaged signature: %v", err)
		}
	}
	if high == 0 {
		t.Error("the device made no high s, so nothing was tested")
	}
}

// ulong is a CK_ULONG as a library writes it.
func ulong(n uint) []byte { return p11.NewAttribute(p11.CKA_KEY_TYPE, n).Value }
