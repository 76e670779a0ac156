package pkcs11

import (
	"context"
	"sort"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
)

// MaxKeys bounds how many keys List reads of one token.
const MaxKeys = 4096

// Listed is one key of the token.
type Listed struct {
	Label  string            // as the token has it
	Key    keymgmt.KeyID     // zero when the label is no key id
	Use    Use               // zero when the key is refused
	Public keymgmt.PublicKey // zero when the key is refused or does not sign
	Fault  error             // why it cannot be used; nil when it can
}

// List returns the token's signing keys, by label. Keys that this keyring would refuse are listed with the reason.
func (k *Keyring) List(ctx context.Context) ([]Listed, error) {
	return k.list(ctx, p11.CKO_PRIVATE_KEY, Signing)
}

// ListSecrets returns the token's keys for sealing and wrapping, in the same way.
func (k *Keyring) ListSecrets(ctx context.Context) ([]Listed, error) {
	return k.list(ctx, p11.CKO_SECRET_KEY, Sealing, Wrapping)
}

func (k *Keyring) list(ctx context.Context, class uint, uses ...Use) ([]Listed, error) {
	return with(ctx, k, func(e *epoch, s session) ([]Listed, error) {
		objects, err := k.lib.search(s, []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, class)}, MaxKeys)
		if err != nil {
			return nil, err
		}
		if err := k.confirm(e, s); err != nil {
			return nil, err
		}
		list := make([]Listed, 0, len(objects))
		for _, o := range objects {
			values, err := k.lib.attributes(s, o, p11.CKA_LABEL)
			if err != nil {
				return nil, err
			}
			item := Listed{Label: string(values[0])}
			item.Key, item.Fault = keymgmt.ParseKeyID(item.Label)
			if item.Fault == nil {
				if err := k.describe(e, s, &item, uses); err != nil {
					return nil, err
				}
			}
			list = append(list, item)
		}
		sort.Slice(list, func(i, j int) bool { return list[i].Label < list[j].Label })
		return list, nil
	})
}

// describe says what the key is good for, or why for nothing; its own error is of the token.
func (k *Keyring) describe(e *epoch, s session, item *Listed, uses []Use) error {
	for _, use := range uses {
		found, err := k.findFor(e, s, wanted{item.Key, use})
		if err == nil {
			item.Use, item.Public, item.Fault = use, found.public, nil
			return nil
		}
		if classify(err) != classAnswer {
			return err
		}
		item.Fault = err
	}
	return nil
}
