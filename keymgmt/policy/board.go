package policy

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What an officer's signature is over begins with what the file is, so that his key signs nothing else by that.
const (
	policyPrefix = "diamante signer policy\n"
	listPrefix   = "diamante signer list\n"
)

// Board says who decides what the policy is: how many of which officers must sign a file. It is part of the signer's own
// configuration, so that no policy can change who makes policies.
type Board struct {
	Officers []ed25519.PublicKey
	Quorum   int
}

// Alone is a board of one.
func Alone(officer ed25519.PublicKey) Board { return Board{[]ed25519.PublicKey{officer}, 1} }

// MaxBoard bounds the officers of a board.
const MaxBoard = 20

// Validate checks that there are at least as many officers as must sign, and each once.
func (b Board) Validate() error {
	seen := map[string]bool{}
	for _, o := range b.Officers {
		if len(o) != ed25519.PublicKeySize || seen[string(o)] {
			return fmt.Errorf("%w: an officer of the board has no key, or is there twice", ErrInvalid)
		}
		seen[string(o)] = true
	}
	if b.Quorum < 1 || b.Quorum > len(b.Officers) || len(b.Officers) > MaxBoard {
		return fmt.Errorf("%w: a board of %d of whom %d must sign", ErrInvalid, len(b.Officers), b.Quorum)
	}
	return nil
}

// verify checks a signature file: one line for each officer who signed, what prefix says it is. Lines of nobody's are
// refused, since whoever put them there expected them to count.
func (b Board) verify(prefix string, file, sigs []byte) error {
	if b.Validate() != nil {
		return ErrSignature
	}
	text, ended := strings.CutSuffix(string(sigs), "\n")
	lines := strings.Split(text, "\n")
	if !ended || len(lines) > len(b.Officers) {
		return ErrSignature
	}
	signed := make([]bool, len(b.Officers))
	message, count := append([]byte(prefix), file...), 0
	for _, line := range lines {
		raw, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil {
			return ErrSignature
		}
		who := slices.IndexFunc(b.Officers, func(o ed25519.PublicKey) bool { return ed25519.Verify(o, message, raw) })
		if who < 0 || signed[who] {
			return ErrSignature
		}
		signed[who] = true
		count++
	}
	if count < b.Quorum {
		return fmt.Errorf("%w: %d of %d officers have signed", ErrSignature, count, b.Quorum)
	}
	return nil
}

// Sign returns one officer's line of the detached signature file for a policy file, in base64. The file holds the lines of
// all who signed. The officer's key need not be in this process; any crypto.Signer with an Ed25519 key will do.
func Sign(file []byte, officer crypto.Signer) ([]byte, error) {
	return sign(policyPrefix, file, officer)
}

// SignList does so for the file of a list.
func SignList(file []byte, officer crypto.Signer) ([]byte, error) {
	return sign(listPrefix, file, officer)
}

func sign(prefix string, file []byte, officer crypto.Signer) ([]byte, error) {
	if _, ok := officer.Public().(ed25519.PublicKey); !ok {
		return nil, errors.New("policy: the officer's key is not an Ed25519 key")
	}
	sig, err := officer.Sign(nil, append([]byte(prefix), file...), crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("policy: sign: %w", err)
	}
	return []byte(base64.StdEncoding.EncodeToString(sig) + "\n"), nil
}
