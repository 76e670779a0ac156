package pkcs11

import (
	"context"
	"crypto/sha256"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
)

// Proof is a key's proof that it is in the token, with what the token says of it.
type Proof struct {
	Public    keymgmt.PublicKey
	Traits    keymgmt.Traits
	Signature []byte // of a keymgmt.Possession, verified
}

// Prove has a key sign that it is here, and nothing else: the message is made of the key's own name, its public half and the
// challenge. It takes no Approval, since a policy names public keys and so comes after the ceremony that makes them; the
// process that serves has no way to it, which package child does not offer.
func (k *Keyring) Prove(ctx context.Context, id keymgmt.KeyID, challenge [sha256.Size]byte) (Proof, error) {
	var p Proof
	var err error
	if p.Public, err = k.Public(ctx, id); err != nil {
		return Proof{}, err
	}
	if p.Traits, err = k.traits(ctx, id); err != nil {
		return Proof{}, err
	}
	made, err := k.sign(ctx, id, keymgmt.Possession{Key: id, Public: p.Public, Challenge: challenge}.Message())
	if err != nil {
		return Proof{}, err
	}
	p.Signature = made.Bytes()
	return p, nil
}

// traits reads what the token says of a key.
func (k *Keyring) traits(ctx context.Context, id keymgmt.KeyID) (keymgmt.Traits, error) {
	return with(ctx, k, func(e *epoch, s session) (t keymgmt.Traits, err error) {
		found, err := k.find(e, s, id)
		if err != nil {
			return t, err
		}
		values, err := k.lib.attributes(s, found.private, p11.CKA_SENSITIVE, p11.CKA_ALWAYS_SENSITIVE, p11.CKA_LOCAL, p11.CKA_EXTRACTABLE, p11.CKA_NEVER_EXTRACTABLE)
		if err != nil {
			return t, err
		}
		for i, to := range []*bool{&t.Sensitive, &t.AlwaysSensitive, &t.Local, &t.Extractable, &t.NeverExtractable} {
			if len(values[i]) != 1 {
				return t, refusal(id, fmt.Errorf("%w: the token does not say where it has been", errUnfit))
			}
			*to = values[i][0] != 0
		}
		return t, nil
	})
}

// Identity is what tells one token from another.
type Identity struct{ Label, Serial, Manufacturer, Model string }

// Identify returns what the token says that it is.
func (k *Keyring) Identify(ctx context.Context) (Identity, error) {
	return with(ctx, k, func(e *epoch, _ session) (Identity, error) {
		info, err := k.lib.tokenInfo(e.slot)
		return Identity{trim(info.Label), trim(info.SerialNumber), trim(info.ManufacturerID), trim(info.Model)}, err
	})
}
