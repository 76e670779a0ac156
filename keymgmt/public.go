package keymgmt

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// Algorithm is how a key signs. Zero is invalid.
type Algorithm uint8

// The algorithms, with their public keys and signatures.
const (
	// Ed25519 (RFC 8032): public key of 32 bytes, signature of 64, of the message itself.
	Ed25519 Algorithm = iota + 1
	// Secp256k1, ECDSA (SEC 1): compressed public key of 33 bytes, signature of 65: r, s and the recovery id (0 to 3),
	// of a message that is a digest of 32 bytes. s is at most half the group's order (BIP 62, EIP-2).
	Secp256k1
	// P256, ECDSA (FIPS 186-5): compressed public key of 33 bytes, signature of 64: r and s, of a message that is a
	// digest of 32 bytes. s is at most half the group's order.
	P256
)

var algorithms = map[Algorithm]struct {
	name              string
	public, signature int
}{Ed25519: {"ed25519", 32, 64}, Secp256k1: {"secp256k1", 33, 65}, P256: {"p256", 33, 64}}

// String returns the algorithm's name, "" when it is invalid.
func (a Algorithm) String() string { return algorithms[a].name }

// PublicSize is the length of a public key in bytes, 0 when a is invalid.
func (a Algorithm) PublicSize() int { return algorithms[a].public }

// SignatureSize is the length of a signature in bytes, 0 when a is invalid.
func (a Algorithm) SignatureSize() int { return algorithms[a].signature }

// PublicKey is a public key with its algorithm. It can be compared; the zero value is no key. That the bytes are a point
// on the curve is for those to check who verify with it.
type PublicKey struct {
	algorithm Algorithm
	bytes     string
}

// NewPublicKey takes the bytes of a public key in the algorithm's one encoding.
func NewPublicKey(a Algorithm, b []byte) (PublicKey, error) {
	if a.PublicSize() == 0 || len(b) != a.PublicSize() {
		return PublicKey{}, fmt.Errorf("%w: public key of %d bytes for algorithm %q", ErrMalformed, len(b), a)
	}
	if a != Ed25519 && b[0] != 2 && b[0] != 3 {
		return PublicKey{}, fmt.Errorf("%w: public key is not a compressed point", ErrMalformed)
	}
	return PublicKey{a, string(b)}, nil
}

// Algorithm returns how the key signs.
func (p PublicKey) Algorithm() Algorithm { return p.algorithm }

// Bytes returns the key in the algorithm's encoding.
func (p PublicKey) Bytes() []byte { return []byte(p.bytes) }

// IsZero reports whether p is no key.
func (p PublicKey) IsZero() bool { return p == PublicKey{} }

// String returns "ALGORITHM:HEX", "" for the zero value.
func (p PublicKey) String() string {
	if p.IsZero() {
		return ""
	}
	return p.algorithm.String() + ":" + hex.EncodeToString([]byte(p.bytes))
}

// MarshalText returns what String does; the zero value is an error.
func (p PublicKey) MarshalText() ([]byte, error) {
	if p.IsZero() {
		return nil, fmt.Errorf("%w: no public key", ErrMalformed)
	}
	return []byte(p.String()), nil
}

// UnmarshalText reads ALGORITHM:HEX, in lower case.
func (p *PublicKey) UnmarshalText(text []byte) error {
	name, digits, _ := strings.Cut(string(text), ":")
	for a := range algorithms {
		if b, err := hex.DecodeString(digits); a.String() == name && err == nil && hex.EncodeToString(b) == digits {
			*p, err = NewPublicKey(a, b)
			return err
		}
	}
	return fmt.Errorf("%w: public key %.150q", ErrMalformed, text)
}
