package pkcs11

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"fmt"
	"unsafe"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
)

// curve is how devices speak of an algorithm.
type curve struct {
	keyType  uint // CKA_KEY_TYPE
	generate uint // the mechanism that makes a pair
	sign     uint // the mechanism that signs
	// params are the encodings of the curve in CKA_EC_PARAMS, first the one that current devices take: its object
	// identifier, and then the curve's name of the PKCS#11 3.0 text, which some insist on. Curves given by explicit
	// parameters are not among them: whoever chooses the generator can sign without the key.
	params [][]byte
	// point is the length of an encoded public point without its DER envelope.
	point int
}

// The points of ECDSA are uncompressed: 4, x and y.
const (
	coordinateSize   = 32
	uncompressedSize = 1 + 2*coordinateSize
	uncompressed     = 4
	digestSize       = 32 // of what ECDSA keys sign
)

var curves = map[keymgmt.Algorithm]curve{
	keymgmt.Ed25519: {keyType: ckkECEdwards, generate: ckmECEdwardsKeyPairGen, sign: ckmEdDSA, point: ed25519.PublicKeySize,
		params: [][]byte{{0x06, 0x03, 0x2b, 0x65, 0x70}, curveName("edwards25519")}},
	keymgmt.Secp256k1: {keyType: p11.CKK_EC, generate: p11.CKM_EC_KEY_PAIR_GEN, sign: p11.CKM_ECDSA, point: uncompressedSize,
		params: [][]byte{{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a}, curveName("secp256k1")}},
	keymgmt.P256: {keyType: p11.CKK_EC, generate: p11.CKM_EC_KEY_PAIR_GEN, sign: p11.CKM_ECDSA, point: uncompressedSize,
		params: [][]byte{{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}, curveName("secp256r1")}},
}

// curveName is the DER of a PrintableString.
func curveName(name string) []byte { return append([]byte{0x13, byte(len(name))}, name...) }

// algorithmOf reads CKA_KEY_TYPE and CKA_EC_PARAMS; zero when no key of ours has them.
func algorithmOf(keyType, params []byte) keymgmt.Algorithm {
	for a, c := range curves {
		for _, p := range c.params {
			if isUint(keyType, c.keyType) && bytes.Equal(params, p) {
				return a
			}
		}
	}
	return 0
}

// isUint reads a CK_ULONG in the machine's own order and size, as the library writes it.
func isUint(value []byte, want uint) bool {
	return bytes.Equal(value, unsafe.Slice((*byte)(unsafe.Pointer(&want)), unsafe.Sizeof(want)))
}

// parsePoint reads CKA_EC_POINT as devices write it: the raw point, or a DER OCTET STRING of it.
func parsePoint(a keymgmt.Algorithm, b []byte) (keymgmt.PublicKey, error) {
	size := curves[a].point
	raw := b // a raw Ed25519 key may begin as the DER does, so the length decides
	if len(b) == size+2 && bytes.HasPrefix(b, octetString(size)) {
		raw = b[2:]
	}
	if size == 0 || len(raw) != size {
		return keymgmt.PublicKey{}, fmt.Errorf("%w: CKA_EC_POINT of %d bytes", errUnfit, len(b))
	}
	if a == keymgmt.Ed25519 {
		return keymgmt.NewPublicKey(a, raw)
	}
	if !onCurve(a, raw) {
		return keymgmt.PublicKey{}, fmt.Errorf("%w: CKA_EC_POINT is not an uncompressed point of %s", errUnfit, a)
	}
	parity := raw[uncompressedSize-1] & 1
	return keymgmt.NewPublicKey(a, append([]byte{2 + parity}, raw[1:1+coordinateSize]...))
}

// octetString is how the DER of a short OCTET STRING begins.
func octetString(size int) []byte { return []byte{0x04, byte(size)} }

func onCurve(a keymgmt.Algorithm, point []byte) bool {
	if len(point) != uncompressedSize || point[0] != uncompressed {
		return false
	}
	var err error
	switch a {
	case keymgmt.Secp256k1:
		_, err = secp256k1.ParsePubKey(point)
	case keymgmt.P256:
		_, err = ecdh.P256().NewPublicKey(point)
	default:
		return false
	}
	return err == nil
}

// fits reports whether a key of the algorithm can sign the message: ECDSA keys sign digests only.
func fits(a keymgmt.Algorithm, message []byte) error {
	if len(message) > keymgmt.MaxBody || a != keymgmt.Ed25519 && len(message) != digestSize {
		return fmt.Errorf("%w: message of %d bytes for a %s key", keymgmt.ErrMalformed, len(message), a)
	}
	return nil
}
