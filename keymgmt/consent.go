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

// Consent is one officer's approval of one request: his signature over the intent that the signer derives from the request
// by itself, so that what he saw is what is signed. It counts once.
type Consent struct {
	Officer   string    `json:"officer"`   // his name in the policy
	Nonce     string    `json:"nonce"`     // 32 hex digits, random
	Expires   time.Time `json:"expires"`   // in whole seconds
	Signature []byte    `json:"signature"` // 64 bytes, base64: Ed25519, or P-256 as keymgmt.P256 has it
	Passkey   *Passkey  `json:"passkey,omitempty"`
}

// Passkey is what else was signed when an officer's key is in a passkey (WebAuthn): the signature is over Authenticator and
// the SHA-256 of Client, in which the challenge is the SHA-256 of what an officer with another key would have signed.
type Passkey struct {
	Authenticator []byte `json:"authenticator_data"`
	Client        []byte `json:"client_data"`
}

// The size of Authenticator, which has no extensions, and a bound of Client, in bytes.
const (
	authenticatorSize = 37
	maxClient         = 512
)

func (p *Passkey) validate() error {
	if p != nil && (len(p.Authenticator) != authenticatorSize || len(p.Client) == 0 || len(p.Client) > maxClient) {
		return fmt.Errorf("%w: passkey with authenticator data of %d bytes and client data of %d", ErrMalformed, len(p.Authenticator), len(p.Client))
	}
	return nil
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
	return c.Passkey.validate()
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
