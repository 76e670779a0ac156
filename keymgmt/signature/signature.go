// Package signature brings the signatures of every key home into the one form that the key-management instance hands
// out, and verifies them before anyone else sees them.
//
// Devices differ: half of their ECDSA signatures have an s above half the group's order, which Bitcoin and Ethereum
// refuse and which lets a stranger make a second valid signature of the first, and none of them gives the recovery id
// that Ethereum needs. A keyring gives what its device made to Check or FromECDSA and passes on the Verified that it gets;
// the service asks that what it is Of. So each signature is verified once, and none gets past that.
package signature

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"math/big"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secpecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/diamante/gateway/keymgmt"
)

const (
	digestSize = 32
	scalarSize = 32
)

// ErrInvalid: this is no signature of that digest by that key, so the device used another key or is broken.
var ErrInvalid = errors.New("signature: does not verify")

// Verified is a signature that was verified. Only Check and FromECDSA make one, and it cannot be changed; the zero value is
// a signature of nothing.
type Verified struct {
	public  keymgmt.PublicKey
	message [sha256.Size]byte // its hash
	bytes   string
}

// Check verifies a signature, in the form that Verify accepts. ErrInvalid when it is not of message by public.
func Check(public keymgmt.PublicKey, message, sig []byte) (Verified, error) {
	if !Verify(public, message, sig) {
		return Verified{}, ErrInvalid
	}
	return Verified{public, sha256.Sum256(message), string(sig)}, nil
}

// Of reports whether v is the signature of message by public.
func (v Verified) Of(public keymgmt.PublicKey, message []byte) bool {
	return !public.IsZero() && v.public == public && v.message == sha256.Sum256(message)
}

// Bytes returns the signature, in the form of the key's algorithm.
func (v Verified) Bytes() []byte { return []byte(v.bytes) }

// Verify reports whether sig is the signature of message in the one form there is for the key's algorithm: for ECDSA,
// message is a digest of 32 bytes, s is low, and for secp256k1 the recovery id gives back the public key.
func Verify(public keymgmt.PublicKey, message, sig []byte) bool {
	if public.IsZero() || len(sig) != public.Algorithm().SignatureSize() {
		return false
	}
	switch public.Algorithm() {
	case keymgmt.Ed25519:
		return ed25519.Verify(public.Bytes(), message, sig)
	case keymgmt.Secp256k1:
		return verifySecp256k1(public, message, sig)
	case keymgmt.P256:
		return verifyP256(public, message, sig)
	}
	return false
}

// FromECDSA turns r and s, 32 bytes each, as a device returns them into the form that Verify accepts. ErrInvalid when
// they are not a signature of digest by public.
func FromECDSA(public keymgmt.PublicKey, digest, rs []byte) (Verified, error) {
	if len(digest) != digestSize || len(rs) != 2*scalarSize {
		return Verified{}, ErrInvalid
	}
	switch public.Algorithm() {
	case keymgmt.Secp256k1:
		low := lowS(rs, secp256k1.Params().N)
		for recovery := range byte(4) {
			if v, err := Check(public, digest, append(low[:len(low):len(low)], recovery)); err == nil {
				return v, nil
			}
		}
	case keymgmt.P256:
		return Check(public, digest, lowS(rs, elliptic.P256().Params().N))
	}
	return Verified{}, ErrInvalid
}

// lowS replaces an s above half the order by its negative, which is as valid. The values are public.
func lowS(rs []byte, order *big.Int) []byte {
	low := append([]byte(nil), rs...)
	s := new(big.Int).SetBytes(rs[scalarSize:])
	if s.Cmp(new(big.Int).Rsh(order, 1)) > 0 && s.Cmp(order) < 0 {
		s.Sub(order, s).FillBytes(low[scalarSize:])
	}
	return low
}

func isLow(s []byte, order *big.Int) bool {
	return new(big.Int).SetBytes(s).Cmp(new(big.Int).Rsh(order, 1)) <= 0
}

func verifySecp256k1(public keymgmt.PublicKey, digest, sig []byte) bool {
	recovery := sig[2*scalarSize]
	if len(digest) != digestSize || recovery > 3 || !isLow(sig[scalarSize:2*scalarSize], secp256k1.Params().N) {
		return false
	}
	// The library's compact form begins with 27 + recovery id, and 4 more for a compressed key.
	const compactCompressed = 27 + 4
	found, _, err := secpecdsa.RecoverCompact(append([]byte{compactCompressed + recovery}, sig[:2*scalarSize]...), digest)
	return err == nil && string(found.SerializeCompressed()) == string(public.Bytes())
}

func verifyP256(public keymgmt.PublicKey, digest, sig []byte) bool {
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), public.Bytes())
	if x == nil || len(digest) != digestSize || !isLow(sig[scalarSize:], elliptic.P256().Params().N) {
		return false
	}
	point := make([]byte, 1+2*scalarSize)
	point[0] = 4 // uncompressed
	x.FillBytes(point[1 : 1+scalarSize])
	y.FillBytes(point[1+scalarSize:])
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	return err == nil && ecdsa.Verify(key, digest, new(big.Int).SetBytes(sig[:scalarSize]), new(big.Int).SetBytes(sig[scalarSize:]))
}
