package policy

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

// maxSignatories bounds who may attest a reserve or discharge a lien.
const maxSignatories = 20

// Signatory is somebody outside who speaks for himself, with a key that is in nobody else's hands.
type Signatory struct {
	Name   string    `toml:"name"`
	Public PublicKey `toml:"public"` // Ed25519
}

// signText signs a text with somebody's own key.
func signText(key crypto.Signer, text []byte) ([]byte, error) {
	if _, ok := key.Public().(ed25519.PublicKey); !ok {
		return nil, errors.New("the key is not an Ed25519 key")
	}
	return key.Sign(nil, text, crypto.Hash(0))
}

// validateSignatories checks the keys of people outside: none is one of ours, which the gateway can ask for signatures.
func (f *File) validateSignatories() error {
	ours := map[PublicKey]bool{}
	for _, k := range f.Keys {
		ours[k.Public] = true
	}
	good := func(what string, list []Signatory) error {
		if len(list) == 0 || len(list) > maxSignatories {
			return fmt.Errorf("%s has %d, need 1 to %d", what, len(list), maxSignatories)
		}
		names, publics := map[string]bool{}, map[PublicKey]bool{}
		for _, s := range list {
			if s.Name == "" || (keymgmt.Request{Initiator: s.Name}).ValidPeople() != nil || names[s.Name] || publics[s.Public] || ours[s.Public] ||
				s.Public.Algorithm() != keymgmt.Ed25519 {
				return fmt.Errorf("%s %.80q has no good name, or his name or key is there twice, or it is one of the policy's or no Ed25519 key", what, s.Name)
			}
			names[s.Name], publics[s.Public] = true, true
		}
		return nil
	}
	for i := range f.Keys {
		k := &f.Keys[i]
		if k.Transaction == nil {
			continue
		}
		if err := k.Transaction.validateLiens(); err != nil {
			return fmt.Errorf("key %s: %w", k.ID, err)
		}
		for _, l := range k.Transaction.Liens {
			if err := good("transaction.lien.holder", l.Holders); err != nil {
				return fmt.Errorf("key %s: %w", k.ID, err)
			}
		}
		seen := map[protocol.Asset]bool{}
		for _, r := range k.Transaction.Reserves {
			if seen[r.Asset] {
				return fmt.Errorf("key %s: transaction.reserve of %s is there twice", k.ID, r.Asset)
			}
			seen[r.Asset] = true
			if err := errors.Join(r.validate(k), good("transaction.reserve.attestor", r.Attestors)); err != nil {
				return fmt.Errorf("key %s: %w", k.ID, err)
			}
		}
	}
	return nil
}

func signatories(list []Signatory) string {
	var names []string
	for _, s := range list {
		names = append(names, fmt.Sprintf("%s (%s)", s.Name, s.Public.account()))
	}
	return strings.Join(names, " or ")
}
