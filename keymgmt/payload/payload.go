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
//
// Coins are read by the packages bitcoin and ethereum below this one. Statement.After says what a validator may sign
// after what it has signed.
package payload

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload/bitcoin"
	"github.com/diamante/gateway/keymgmt/payload/ethereum"
)

// Meaning is a body that was read. Exactly one of the pointers is set, the one of its kind and form. Only Decode makes a
// Meaning; the zero value means nothing and matches no body.
type Meaning struct {
	// KindTransaction has three: a plain transaction; one with preconditions besides its time bounds, whose Conditions
	// are set; a fee bump around either. They are told apart here so that a policy which does not know of the latter
	// two denies them.
	Transaction *Transaction
	Conditional *Transaction
	FeeBump     *FeeBump

	Challenge  *Challenge
	Checkpoint *Checkpoint
	JWT        *JWT
	Statement  *Statement
	SCPValue   *SCPValue
	AuthCert   *AuthCert
	Bitcoin    *bitcoin.Transaction // of all three chains
	Ethereum   *ethereum.Transaction

	kind  keymgmt.Kind
	body  [sha256.Size]byte
	sign  func(keymgmt.PublicKey) [][]byte // what Messages returns, to be copied
	words []string
}

// Kind returns the kind that the body was read as, zero for the zero Meaning.
func (m Meaning) Kind() keymgmt.Kind { return m.kind }

// Messages returns the exact bytes that a key is given to sign, each by itself: the message for Ed25519, digests of 32
// bytes for ECDSA. None means that there is nothing here for this key, or for a key of its algorithm.
func (m Meaning) Messages(public keymgmt.PublicKey) (messages [][]byte) {
	if m.sign == nil {
		return nil
	}
	for _, message := range m.sign(public) {
		messages = append(messages, bytes.Clone(message))
	}
	return messages
}

// only gives the one message to every key of that algorithm.
func only(a keymgmt.Algorithm, message []byte) func(keymgmt.PublicKey) [][]byte {
	message = bytes.Clone(message)
	return func(public keymgmt.PublicKey) [][]byte {
		if public.Algorithm() != a {
			return nil
		}
		return [][]byte{message}
	}
}

func ed25519Only(message []byte) func(keymgmt.PublicKey) [][]byte {
	return only(keymgmt.Ed25519, message)
}

// Words returns the effects in words, one a line, fit to be shown and to be kept in a log: printable, with everything
// that came from outside quoted or in a checked form.
func (m Meaning) Words() []string { return append([]string(nil), m.words...) }

// Bounds of what Brief returns.
const (
	briefLines = 40
	briefLine  = 512 // bytes
)

// Brief returns the words as a log's record has them: so many lines, and so much of each, that the record stays small. A
// hundred operations of a batch are told by the body's hash.
func (m Meaning) Brief() (lines []string) {
	for _, w := range m.words[:min(len(m.words), briefLines)] {
		lines = append(lines, strings.ToValidUTF8(w[:min(len(w), briefLine)], ""))
	}
	if len(m.words) > briefLines {
		lines = append(lines, "and more")
	}
	return lines
}

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
		err = m.readLedger(body)
	case keymgmt.KindChallenge:
		err = m.readChallenge(body)
	case keymgmt.KindCheckpoint:
		err = m.readCheckpoint(body)
	case keymgmt.KindJWT:
		err = m.readJWT(body)
	case keymgmt.KindStatement:
		err = m.readStatement(body)
	case keymgmt.KindSCPValue:
		err = m.readSCPValue(body)
	case keymgmt.KindAuthCert:
		err = m.readAuthCert(body)
	case keymgmt.KindBitcoin:
		err = m.readBitcoin(bitcoin.Bitcoin, body)
	case keymgmt.KindLitecoin:
		err = m.readBitcoin(bitcoin.Litecoin, body)
	case keymgmt.KindBitcoinCash:
		err = m.readBitcoin(bitcoin.BitcoinCash, body)
	case keymgmt.KindEthereum:
		err = m.readEthereum(body)
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
