package keymgmt

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Bounds of the people in a Request.
const (
	MaxConsents = 16
	maxPerson   = 64 // bytes of a name
	nonceSize   = 16
	consentSize = 64 // bytes of a consent's signature
)

// Consent is one officer's approval of one request: his Ed25519 signature over the intent that the signer derives from
// the request by itself, so that what he saw is what is signed. It counts once.
type Consent struct {
	Officer   string    `json:"officer"`   // his name in the policy
	Nonce     string    `json:"nonce"`     // 32 hex digits, random
	Expires   time.Time `json:"expires"`   // in whole seconds
	Signature []byte    `json:"signature"` // 64 bytes, base64
}

// NewNonce returns a nonce for a Consent.
func NewNonce() string {
	var raw [nonceSize]byte
	rand.Read(raw[:]) // never fails: the program ends instead
	return hex.EncodeToString(raw[:])
}

// nonce reports whether s is one, in its one form.
func nonce(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == nonceSize && hex.EncodeToString(raw) == s
}

func (c Consent) validate() error {
	switch {
	case !person(c.Officer):
		return fmt.Errorf("%w: officer %.80q", ErrMalformed, c.Officer)
	case !nonce(c.Nonce):
		return fmt.Errorf("%w: nonce %.80q", ErrMalformed, c.Nonce)
	case c.Expires.IsZero() || c.Expires.Nanosecond() != 0:
		return fmt.Errorf("%w: an approval expires at a whole second", ErrMalformed)
	case len(c.Signature) != consentSize:
		return fmt.Errorf("%w: approval of %d bytes", ErrMalformed, len(c.Signature))
	}
	return nil
}

// person reports whether s can name somebody: letters, digits, points and dashes of ASCII.
func person(s string) bool {
	return s != "" && len(s) <= maxPerson && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '@'
	})
}

// ValidPeople checks who asks for a request and who approves it.
func (r Request) ValidPeople() error {
	if r.Initiator != "" && !person(r.Initiator) {
		return fmt.Errorf("%w: initiator %.80q", ErrMalformed, r.Initiator)
	}
	if len(r.Consents) > MaxConsents {
		return fmt.Errorf("%w: %d approvals, at most %d", ErrMalformed, len(r.Consents), MaxConsents)
	}
	for _, c := range r.Consents {
		if err := c.validate(); err != nil {
			return err
		}
	}
	return nil
}
