package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/signature"
)

// sealedFormat is the first thing in a sealed key, for people and for later versions.
const sealedFormat = "diamante-sealed-key/1"

// maxSealedKey bounds the text of a sealed key, in bytes.
const maxSealedKey = 4 << 10

// sealedKey is a private key as it is stored. Everything in it may be read by anyone, and changing anything makes it
// useless.
type sealedKey struct {
	Format string            `json:"format"`
	Key    keymgmt.KeyID     `json:"key"`
	Public keymgmt.PublicKey `json:"public"`
	Sealed string            `json:"sealed"` // by the transit engine, with bound as additional data
}

// bound ties the sealed private key to its id and public key, so that it cannot be passed off as another.
func bound(id keymgmt.KeyID, public keymgmt.PublicKey) []byte {
	return fmt.Appendf(nil, "%s\n%s\n%s\n", sealedFormat, id, public)
}

// readSealed reads a sealed key from the store, without unsealing it.
func (k *Keyring) readSealed(ctx context.Context, p pin) (state, error) {
	if _, err := k.sealing(ctx, k.cfg.Sealer); err != nil {
		return state{}, err
	}
	text, err := k.cfg.Store.Load(ctx, p.id)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, fmt.Errorf("%w: %w", errAbsent, err)
	}
	if err != nil {
		return state{}, err
	}
	var stored sealedKey
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if len(text) > maxSealedKey || decoder.Decode(&stored) != nil || decoder.More() || stored.Format != sealedFormat {
		return state{}, refusal(p.id, "is stored in a form that is not "+sealedFormat)
	}
	if stored.Key != p.id || stored.Public.Algorithm() != p.algorithm {
		return state{}, refusal(p.id, fmt.Sprintf("is stored as %s with public key %s", stored.Key, stored.Public))
	}
	return state{public: stored.Public, sealed: stored.Sealed}, nil
}

// signSealed unseals the key, signs all messages of the one approval, and wipes it.
func (k *Keyring) signSealed(ctx context.Context, p pin, s state, messages [][]byte) ([]signature.Verified, error) {
	private, err := k.unseal(ctx, p, s)
	if err != nil {
		return nil, err
	}
	defer private.Zero()
	signatures := make([]signature.Verified, len(messages))
	for i, m := range messages {
		// The library's form is 27 + recovery id, 4 more for a compressed key, then r and s; s is low, and k is from
		// RFC 6979, so that no bad source of randomness can give the key away.
		const compactCompressed = 27 + 4
		compact := ecdsa.SignCompact(private, m, true)
		made := append(compact[1:len(compact):len(compact)], compact[0]-compactCompressed)
		if signatures[i], err = signature.Check(s.public, m, made); err != nil {
			return nil, k.freeze(p.id)
		}
	}
	return signatures, nil
}

// unseal gets the private key. The caller wipes it.
func (k *Keyring) unseal(ctx context.Context, p pin, s state) (*secp256k1.PrivateKey, error) {
	opened, err := k.OpenAll(ctx, k.cfg.Sealer, []Item{{[]byte(s.sealed), bound(p.id, s.public)}})
	if errors.Is(err, ErrNotSealed) {
		k.forget(p.id)
		return nil, refusal(p.id, "does not open as the key of that id and public key: "+err.Error())
	}
	if err != nil {
		return nil, err
	}
	defer wipe(opened)
	private := new(secp256k1.PrivateKey)
	outside := len(opened[0]) != secp256k1.PrivKeyBytesLen || private.Key.SetByteSlice(opened[0])
	if outside || private.Key.IsZero() || !bytes.Equal(private.PubKey().SerializeCompressed(), s.public.Bytes()) {
		private.Zero()
		k.forget(p.id)
		return nil, refusal(p.id, "was sealed with another private key")
	}
	return private, nil
}

// makeSealed makes a private key, and gives its sealed form to the store.
func (k *Keyring) makeSealed(ctx context.Context, p pin) error {
	private, err := secp256k1.GeneratePrivateKey()
	if err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	defer private.Zero()
	public, err := keymgmt.NewPublicKey(p.algorithm, private.PubKey().SerializeCompressed())
	if err != nil {
		return err
	}
	secret := private.Serialize()
	defer clear(secret)
	sealed, err := k.Seal(ctx, k.cfg.Sealer, secret, bound(p.id, public))
	if err != nil {
		return err
	}
	// Opened once before anybody learns the public key: money sent to a key that cannot be opened is gone.
	again, err := k.unseal(ctx, p, state{public: public, sealed: string(sealed)})
	if err != nil {
		return err
	}
	again.Zero()
	text, err := json.Marshal(sealedKey{sealedFormat, p.id, public, string(sealed)})
	if err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	err = k.cfg.Store.Save(ctx, p.id, text)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: key %s", ErrExists, p.id)
	}
	return err
}
