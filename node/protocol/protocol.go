// Package protocol holds the values of the ledger network: account ids, assets, amounts, memos, hashes and network ids.
//
// Each is its own comparable type, parsed once at the edge of the program and carried typed from there on. The wire
// form is Stellar's XDR; this package only wraps go-stellar-sdk's generated types and strkeys, and has no encoding of
// its own. The zero value of every type is invalid, so that forgetting to set one fails closed.
//
// Start with ParseAccountID, ParseAsset and ParseAmount; XDR methods lead to the wire types and ...FromXDR lead back.
package protocol

import (
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/stellar/go-stellar-sdk/strkey"
	"github.com/stellar/go-stellar-sdk/xdr"
)

// ErrInvalid is wrapped by every parse error of this package.
var ErrInvalid = errors.New("protocol: invalid value")

// AccountID names an account of the network: an Ed25519 public key, shown as a strkey that starts with G.
// It is comparable; the zero value names no account.
type AccountID struct{ key [32]byte }

// ParseAccountID reads a G... strkey. Muxed (M...) addresses are refused: the caller must decide what the id in them means.
func ParseAccountID(s string) (AccountID, error) {
	raw, err := strkey.Decode(strkey.VersionByteAccountID, s)
	if err != nil {
		return AccountID{}, fmt.Errorf("%w: account id: %v", ErrInvalid, err)
	}
	return AccountIDFromKey(raw)
}

// AccountIDFromKey makes an AccountID of a 32-byte Ed25519 public key.
func AccountIDFromKey(key []byte) (AccountID, error) {
	var a AccountID
	if len(key) != len(a.key) {
		return a, fmt.Errorf("%w: account key has %d bytes, not 32", ErrInvalid, len(key))
	}
	copy(a.key[:], key)
	if a.IsZero() {
		return a, fmt.Errorf("%w: account key is all zero", ErrInvalid)
	}
	return a, nil
}

// AccountIDFromXDR reads the wire form.
func AccountIDFromXDR(x xdr.AccountId) (AccountID, error) {
	if x.Type != xdr.PublicKeyTypePublicKeyTypeEd25519 || x.Ed25519 == nil {
		return AccountID{}, fmt.Errorf("%w: account key type %d", ErrInvalid, x.Type)
	}
	return AccountIDFromKey(x.Ed25519[:])
}

// IsZero reports whether a names no account.
func (a AccountID) IsZero() bool { return a == AccountID{} }

// Key returns the 32 bytes of the Ed25519 public key.
func (a AccountID) Key() []byte { return append([]byte(nil), a.key[:]...) }

// Hint returns the last four bytes of the key, as signatures on the wire carry them.
func (a AccountID) Hint() [4]byte { return [4]byte(a.key[28:]) }

// String returns the G... strkey, or "" for the zero value.
func (a AccountID) String() string {
	if a.IsZero() {
		return ""
	}
	return strkey.MustEncode(strkey.VersionByteAccountID, a.key[:])
}

// XDR returns the wire form.
func (a AccountID) XDR() xdr.AccountId {
	k := xdr.Uint256(a.key)
	return xdr.AccountId{Type: xdr.PublicKeyTypePublicKeyTypeEd25519, Ed25519: &k}
}

// Muxed returns the wire form used for sources and destinations, without a sub-account id.
func (a AccountID) Muxed() xdr.MuxedAccount {
	k := xdr.Uint256(a.key)
	return xdr.MuxedAccount{Type: xdr.CryptoKeyTypeKeyTypeEd25519, Ed25519: &k}
}

// MarshalText returns the strkey; the zero value is an error.
func (a AccountID) MarshalText() ([]byte, error) {
	if a.IsZero() {
		return nil, fmt.Errorf("%w: empty account id", ErrInvalid)
	}
	return []byte(a.String()), nil
}

// UnmarshalText reads a strkey.
func (a *AccountID) UnmarshalText(b []byte) (err error) {
	*a, err = ParseAccountID(string(b))
	return err
}

// Value stores the strkey.
func (a AccountID) Value() (driver.Value, error) {
	b, err := a.MarshalText()
	return string(b), err
}

// Scan loads a strkey.
func (a *AccountID) Scan(src any) error { return scanText(src, a) }

// Hash is a SHA-256 digest: of a transaction, a ledger header, a transaction set. Shown in lower-case hex.
type Hash [32]byte

// ParseHash reads 64 hex digits.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != 2*len(h) {
		return h, fmt.Errorf("%w: hash of %d characters, not 64", ErrInvalid, len(s))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("%w: hash: %v", ErrInvalid, err)
	}
	return h, nil
}

// IsZero reports whether h was never set.
func (h Hash) IsZero() bool { return h == Hash{} }

// String returns 64 lower-case hex digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText returns hex.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads hex.
func (h *Hash) UnmarshalText(b []byte) (err error) { *h, err = ParseHash(string(b)); return err }

// Value stores hex.
func (h Hash) Value() (driver.Value, error) { return h.String(), nil }

// Scan loads hex.
func (h *Hash) Scan(src any) error { return scanText(src, h) }

// MaxPassphrase bounds a network passphrase, in bytes.
const MaxPassphrase = 256

// Passphrase names a network; every signature is bound to it through NetworkID.
type Passphrase string

// Validate refuses an empty or over-long passphrase.
func (p Passphrase) Validate() error {
	if p == "" || len(p) > MaxPassphrase {
		return fmt.Errorf("%w: network passphrase must have 1 to %d bytes", ErrInvalid, MaxPassphrase)
	}
	return nil
}

// NetworkID is SHA-256 of the passphrase, the first 32 bytes of everything that is signed.
func (p Passphrase) NetworkID() Hash { return sha256.Sum256([]byte(p)) }

// TxHash returns the hash that identifies env on this network and that its signatures cover. For a fee bump it is the
// outer hash.
func (p Passphrase) TxHash(env xdr.TransactionEnvelope) (Hash, error) {
	base, err := p.SignatureBase(env)
	if err != nil {
		return Hash{}, err
	}
	return sha256.Sum256(base), nil
}

// SignatureBase returns the XDR of the TransactionSignaturePayload of env: the bytes whose SHA-256 is signed. A signer
// is given these bytes, not their digest, so that it can read what it signs.
func (p Passphrase) SignatureBase(env xdr.TransactionEnvelope) ([]byte, error) {
	payload := xdr.TransactionSignaturePayload{NetworkId: xdr.Hash(p.NetworkID())}
	switch env.Type {
	case xdr.EnvelopeTypeEnvelopeTypeTx:
		payload.TaggedTransaction = xdr.TransactionSignaturePayloadTaggedTransaction{Type: env.Type, Tx: &env.V1.Tx}
	case xdr.EnvelopeTypeEnvelopeTypeTxFeeBump:
		payload.TaggedTransaction = xdr.TransactionSignaturePayloadTaggedTransaction{Type: env.Type, FeeBump: &env.FeeBump.Tx}
	default:
		return nil, fmt.Errorf("%w: envelope type %s has no signature base here", ErrInvalid, env.Type)
	}
	b, err := payload.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("%w: signature base: %v", ErrInvalid, err)
	}
	return b, nil
}

type textUnmarshaler interface{ UnmarshalText([]byte) error }

func scanText(src any, dst textUnmarshaler) error {
	switch v := src.(type) {
	case string:
		return dst.UnmarshalText([]byte(v))
	case []byte:
		return dst.UnmarshalText(v)
	}
	return fmt.Errorf("%w: cannot load %T", ErrInvalid, src)
}
