package ethereum

import (
	"encoding/hex"
	"strings"
)

// Address is the address of an account or a contract. The zero value is nobody's.
type Address [20]byte

// ParseAddress reads 0x and forty hexadecimal digits. Letters of both cases are a checksum, which must hold (EIP-55);
// letters of one case are none.
func ParseAddress(s string) (Address, error) {
	var a Address
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok || len(digits) != 2*len(a) {
		return Address{}, malformed("address %.60q: need 0x and %d digits", s, 2*len(a))
	}
	if _, err := hex.Decode(a[:], []byte(digits)); err != nil {
		return Address{}, malformed("address %.60q: %v", s, err)
	}
	if digits != strings.ToLower(digits) && digits != strings.ToUpper(digits) && s != a.String() {
		return Address{}, malformed("address %q does not match its checksum", s)
	}
	return a, nil
}

// AddressOf returns the address of a secp256k1 public key, given as an uncompressed point (65 bytes, the first is 4).
func AddressOf(point []byte) (Address, error) {
	if len(point) != 65 || point[0] != 4 {
		return Address{}, malformed("public key of %d bytes is not an uncompressed point", len(point))
	}
	sum := Keccak256(point[1:])
	return Address(sum[12:]), nil
}

// String returns the address with its checksum (EIP-55): a letter is a capital when the hash of the digits says so.
func (a Address) String() string {
	out := []byte(hex.EncodeToString(a[:]))
	sum := Keccak256(out)
	for i, c := range out {
		nibble := sum[i/2] >> 4
		if i%2 == 1 {
			nibble = sum[i/2] & 0xf
		}
		if c >= 'a' && nibble >= 8 {
			out[i] = c - 'a' + 'A'
		}
	}
	return "0x" + string(out)
}

// IsZero reports whether a is the zero address.
func (a Address) IsZero() bool { return a == Address{} }

// MarshalText writes the address with its checksum.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what ParseAddress reads.
func (a *Address) UnmarshalText(text []byte) error {
	parsed, err := ParseAddress(string(text))
	if err != nil {
		return err
	}
	*a = parsed
	return nil
}
