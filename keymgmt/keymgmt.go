// Package keymgmt is the contract of the key-management instance: what is asked of it and how it answers.
//
// A caller names a key and hands over the full bytes of what is to be signed, with their kind, never a digest. Inside
// the key-management instance the bytes are decoded (keymgmt/payload), judged (keymgmt/policy), journalled, signed and
// verified (keymgmt/service). Callers cannot tell whether the Signer they hold is in this process or behind
// keymgmt/remote; the suite in keymgmt/keytest holds for both.
package keymgmt

import (
	"context"
	"errors"
	"fmt"
	"regexp"
)

// KeyID names a key of the key-management instance, as "anchor/usd/issuing". The same id always means the same key.
type KeyID struct{ id string }

var keyIDPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*){0,5}$`)

// MaxKeyID bounds a key id, in bytes.
const MaxKeyID = 96

// ParseKeyID reads one to six segments of lower-case letters, digits and dashes, joined by slashes.
func ParseKeyID(s string) (KeyID, error) {
	if len(s) > MaxKeyID || !keyIDPattern.MatchString(s) {
		return KeyID{}, fmt.Errorf("%w: key id %.100q", ErrMalformed, s)
	}
	return KeyID{s}, nil
}

// String returns the id, "" for the zero value.
func (k KeyID) String() string { return k.id }

// IsZero reports whether k names no key.
func (k KeyID) IsZero() bool { return k == KeyID{} }

// MarshalText returns the id; the zero value is an error.
func (k KeyID) MarshalText() ([]byte, error) {
	if k.IsZero() {
		return nil, fmt.Errorf("%w: empty key id", ErrMalformed)
	}
	return []byte(k.id), nil
}

// UnmarshalText reads an id.
func (k *KeyID) UnmarshalText(b []byte) (err error) { *k, err = ParseKeyID(string(b)); return err }

// Kind says how Request.Body is to be read. Zero is invalid.
type Kind uint8

// The kinds of things that can be signed.
const (
	// KindTransaction: the XDR of a TransactionSignaturePayload, perhaps of a fee bump; the SHA-256 of it is signed.
	KindTransaction Kind = iota + 1
	// KindChallenge: the same encoding of a SEP-10 challenge (sequence number 0, manage data operations only).
	KindChallenge
	// KindCheckpoint: the text of a C2SP tlog checkpoint; the text is signed.
	KindCheckpoint
	// KindJWT: the signing input of a JWT, header and claims in base64url joined by a point. A header with EdDSA is for
	// Ed25519, which signs the input; one with ES256 for P256, which signs the SHA-256 of it.
	KindJWT
	// KindStatement: what a validator signs of an SCP envelope, the XDR of network id, ENVELOPE_TYPE_SCP and statement;
	// the body is signed.
	KindStatement
	// KindSCPValue: what a validator signs of a value that it proposes, the XDR of network id, ENVELOPE_TYPE_SCPVALUE,
	// transaction set hash and close time; the body is signed.
	KindSCPValue
	// KindAuthCert: what a validator signs so that its peers know the key of its transport, the XDR of network id,
	// ENVELOPE_TYPE_AUTH, expiration and key; the SHA-256 of the body is signed.
	KindAuthCert
	// KindBitcoin, KindLitecoin, KindBitcoinCash: a PSBT as keymgmt/payload/bitcoin describes it; the digest of each
	// input of the key's is signed, in the order of the inputs.
	KindBitcoin
	KindLitecoin
	KindBitcoinCash
	// KindEthereum: an unsigned transaction, EIP-1559 or EIP-155; its Keccak-256 is signed.
	KindEthereum
)

var kindNames = map[Kind]string{KindTransaction: "transaction", KindChallenge: "challenge", KindCheckpoint: "checkpoint", KindJWT: "jwt",
	KindStatement: "scp-statement", KindSCPValue: "scp-value", KindAuthCert: "auth-cert", KindBitcoin: "bitcoin", KindLitecoin: "litecoin",
	KindBitcoinCash: "bitcoin-cash", KindEthereum: "ethereum"}

// String returns the kind's name in policies, journals and on the wire.
func (k Kind) String() string { return kindNames[k] }

// MarshalText returns the name; an invalid kind is an error.
func (k Kind) MarshalText() ([]byte, error) {
	if kindNames[k] == "" {
		return nil, fmt.Errorf("%w: kind %d", ErrMalformed, k)
	}
	return []byte(kindNames[k]), nil
}

// UnmarshalText reads a name.
func (k *Kind) UnmarshalText(b []byte) error {
	for kind, name := range kindNames {
		if name == string(b) {
			*k = kind
			return nil
		}
	}
	return fmt.Errorf("%w: kind %.40q", ErrMalformed, b)
}

// MaxBody bounds Request.Body; MaxRef bounds Request.Ref. In bytes.
const (
	MaxBody = 64 << 10
	MaxRef  = 128
)

// Request asks for one signature.
type Request struct {
	Key  KeyID
	Kind Kind
	Body []byte
	// Ref is the caller's name for this one signature, unique per key: 1 to MaxRef printable ASCII characters without
	// blanks. Asking again with the same Ref and Body gives the same answer, so a lost answer costs nothing; another
	// Body under a used Ref is refused.
	Ref string
	// Initiator is the person on whose word the caller asks, "" when there is none. He cannot approve it.
	Initiator string
	// Consents are people's approvals, where the policy needs them. They are no part of what Ref names: a request may be
	// asked again with more of them.
	Consents []Consent
	// Discharges are lien holders' words, where what leaves is collateral. They are no part of what Ref names either.
	Discharges []Discharge
}

// Validate checks the shape of the request, not its meaning.
func (r Request) Validate() error {
	if r.Key.IsZero() {
		return fmt.Errorf("%w: no key", ErrMalformed)
	}
	if kindNames[r.Kind] == "" {
		return fmt.Errorf("%w: kind %d", ErrMalformed, r.Kind)
	}
	if len(r.Body) == 0 || len(r.Body) > MaxBody {
		return fmt.Errorf("%w: body of %d bytes, need 1 to %d", ErrMalformed, len(r.Body), MaxBody)
	}
	if len(r.Ref) == 0 || len(r.Ref) > MaxRef {
		return fmt.Errorf("%w: ref of %d characters, need 1 to %d", ErrMalformed, len(r.Ref), MaxRef)
	}
	for i := range len(r.Ref) {
		if r.Ref[i] <= ' ' || r.Ref[i] > '~' {
			return fmt.Errorf("%w: ref %q has a character that is not printable ASCII", ErrMalformed, r.Ref)
		}
	}
	if err := r.validDischarges(); err != nil {
		return err
	}
	return r.ValidPeople()
}

// Signature is the answer: what was signed with which public key. Bytes holds one signature after the other, one for
// each message that the body has for this key (a Bitcoin transaction has one for each of its inputs, everything else
// has one), each Public.Algorithm().SignatureSize() bytes long.
type Signature struct {
	Public PublicKey
	Bytes  []byte
}

// Signer signs what it can read and its policy allows.
//
// Sign is safe for concurrent use. Before it returns a signature, the request and the signature are durable: the same
// Ref and Body give the same signature for ever, also after a crash, and after a change of policy. Errors are those of
// this package, told apart with errors.Is on both sides of a connection. Only ErrUnavailable and the context's own
// error leave it unknown whether a signature was made; the caller may ask again with the same Ref and Body.
type Signer interface {
	Sign(ctx context.Context, r Request) (Signature, error)
}

// The errors of a Signer.
var (
	// ErrMalformed: the request or its body cannot be read, or is not in canonical form. Final.
	ErrMalformed = errors.New("keymgmt: malformed request")
	// ErrUnknownKey: no such key, or not one this caller may know of. Final until an operator acts.
	ErrUnknownKey = errors.New("keymgmt: unknown key")
	// ErrDenied: the policy does not allow it. Final for this request; the message names the rule.
	ErrDenied = errors.New("keymgmt: denied by policy")
	// ErrApprovalNeeded: the policy allows it once the people whom the message names have approved it. Ask again with the
	// same Ref and Body, and their Consents.
	ErrApprovalNeeded = errors.New("keymgmt: approval needed")
	// ErrRefUsed: the Ref was used with another Body. Final, and a fault of the caller.
	ErrRefUsed = errors.New("keymgmt: ref already used for another body")
	// ErrUnavailable: the key's home, the journal or the connection is down. Try again with the same Ref.
	ErrUnavailable = errors.New("keymgmt: unavailable")
)
