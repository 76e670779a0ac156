package keymgmt

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Traits are what a device says of where a private key has been and can get.
type Traits struct {
	Sensitive        bool `json:"sensitive"`         // its value is never shown
	AlwaysSensitive  bool `json:"always_sensitive"`  // and never could be
	Local            bool `json:"local"`             // it was made inside
	Extractable      bool `json:"extractable"`       // it can leave, encrypted by another key
	NeverExtractable bool `json:"never_extractable"` // and never could
}

// Possession is the proof that a key was in a device at a moment: the key's signature over a text that names the key, its
// public half, and a challenge that nobody could know before.
//
// The text is made here from those three values and nothing else, so that nobody can have anything else signed with it. It
// is no payload of any kind: it is longer than the digests that stand for transactions and coins; where they sign a text,
// its beginning, "diamante key possession 1", is neither the network id of a validator's statement, nor the base64url of a
// JWT, nor does a checkpoint have a second line that is not a number. For ECDSA its SHA-256 is signed, which is no payload's
// digest unless SHA-256 has a collision: payloads are hashed alone, twice or by Keccak.
type Possession struct {
	Key       KeyID
	Public    PublicKey
	Challenge [sha256.Size]byte
}

// Text returns what is proved, for people.
func (p Possession) Text() []byte {
	return fmt.Appendf(nil, "diamante key possession 1\nkey %s\npublic %s\nchallenge %s\n", p.Key, p.Public, hex.EncodeToString(p.Challenge[:]))
}

// Message returns what the key signs: the text, or for algorithms that sign digests, its SHA-256.
func (p Possession) Message() []byte {
	if p.Public.Algorithm() == Ed25519 {
		return p.Text()
	}
	sum := sha256.Sum256(p.Text())
	return sum[:]
}
