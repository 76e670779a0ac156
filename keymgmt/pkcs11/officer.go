package pkcs11

import (
	"context"
	"fmt"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
)

// SignIntent signs an officer's approval with a key of his in the token. It takes an intent, which only policy.IntentOf
// makes, from the bytes that it read: there is no way to have a digest signed. No Approval is spent, since the key is not
// one of the signer's, and the text begins as nothing that a signer's key signs.
func (k *Keyring) SignIntent(ctx context.Context, key keymgmt.KeyID, i policy.Intent, c keymgmt.Consent) ([]byte, error) {
	return k.signText(ctx, key, i.Message(c))
}

// SignOrder signs an officer's order with a key of his in the token.
func (k *Keyring) SignOrder(ctx context.Context, key keymgmt.KeyID, o keymgmt.Order) ([]byte, error) {
	return k.signText(ctx, key, policy.OrderText(o))
}

func (k *Keyring) signText(ctx context.Context, key keymgmt.KeyID, text []byte) ([]byte, error) {
	public, err := k.Public(ctx, key)
	if err != nil {
		return nil, err
	}
	if public.Algorithm() != keymgmt.Ed25519 {
		return nil, fmt.Errorf("%w: the officer's key %s is a %s key", keymgmt.ErrMalformed, key, public.Algorithm())
	}
	sig, err := k.sign(ctx, key, text)
	if err != nil {
		return nil, err
	}
	return sig.Bytes(), nil
}
