// Package payload reads what is to be signed.
//
// Decode turns the bytes of a request into a Meaning: the exact message for the key, the effects in words that a person
// can check, and typed figures that a policy can judge. It accepts one encoding of each thing and nothing it does not
// understand completely: no trailing bytes, no unknown field, no operation that has no entry here. What cannot be read
// cannot be signed.
//
//	m, err := payload.Decode(keymgmt.KindTransaction, body)
//	m.Words()      // "pays 3.0000000 USD issued by G... to G... from G..."
//	m.Transaction  // figures for the policy
//	m.Messages(k)  // what key k is given to sign
package payload

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/diamante/gateway/keymgmt"
)

// Meaning is a body that was read. Exactly one of the pointers is set, the one of its kind. Only Decode makes a
// Meaning; the zero value means nothing and matches no body.
type Meaning struct {
	Transaction *Transaction
	Challenge   *Challenge
	Checkpoint  *Checkpoint
	JWT         *JWT

	kind    keymgmt.Kind
	body    [sha256.Size]byte
	message []byte
	words   []string
}

// Kind returns the kind that the body was read as, zero for the zero Meaning.
func (m Meaning) Kind() keymgmt.Kind { return m.kind }

// Messages returns the exact bytes that a key is given to sign, each by itself: the message for Ed25519, digests of 32
// bytes for ECDSA. None means that there is nothing here for this key, or for a key of its algorithm.
func (m Meaning) Messages(public keymgmt.PublicKey) [][]byte {
	if m.message == nil || public.Algorithm() != keymgmt.Ed25519 {
		return nil
	}
	return [][]byte{bytes.Clone(m.message)}
}

// Words returns the effects in words, one a line, fit to be shown and to be kept in a log: printable, with everything
// that came from outside quoted or in a checked form.
func (m Meaning) Words() []string { return append([]string(nil), m.words...) }

// Is reports whether m is what kind and body mean.
func (m Meaning) Is(kind keymgmt.Kind, body []byte) bool {
	return m.kind != 0 && m.kind == kind && m.body == sha256.Sum256(body)
}

// Decode reads body as kind says. Every error wraps keymgmt.ErrMalformed.
func Decode(kind keymgmt.Kind, body []byte) (Meaning, error) {
	if len(body) == 0 || len(body) > keymgmt.MaxBody {
		return Meaning{}, malformed("body of %d bytes, need 1 to %d", len(body), keymgmt.MaxBody)
	}
	m := Meaning{kind: kind, body: sha256.Sum256(body)}
	var err error
	switch kind {
	case keymgmt.KindTransaction:
		err = m.readTransaction(body)
	case keymgmt.KindChallenge:
		err = m.readChallenge(body)
	case keymgmt.KindCheckpoint:
		err = m.readCheckpoint(body)
	case keymgmt.KindJWT:
		err = m.readJWT(body)
	default:
		err = malformed("kind %d", kind)
	}
	if err != nil {
		return Meaning{}, err
	}
	return m, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", keymgmt.ErrMalformed, fmt.Sprintf(format, args...))
}

// printable reports whether s is UTF-8 of 1 to limit bytes that shows as what it is: no control or formatting
// characters, which could make a line of a log read as something else.
func printable(s string, limit int) bool {
	if s == "" || len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
