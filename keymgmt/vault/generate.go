package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/diamante/gateway/keymgmt"
)

// Generate makes the signing key of a configured id, in Vault or, for Secp256k1, here and sealed by Vault, and returns
// its public key. ErrExists says that there is one; nothing was changed then. It needs create on transit/keys/NAME beside
// what signing needs, so it is for the operator's ceremony and not for the program that signs.
func (k *Keyring) Generate(ctx context.Context, id keymgmt.KeyID) (keymgmt.PublicKey, error) {
	p, ok := k.pins[id]
	if !ok || p.algorithm.String() == "" {
		return keymgmt.PublicKey{}, k.unknown(ctx, id)
	}
	if err := k.make(ctx, p); err != nil {
		return keymgmt.PublicKey{}, err
	}
	return k.Public(ctx, id)
}

// GenerateSealing makes the sealing key of a configured id, as Generate does.
func (k *Keyring) GenerateSealing(ctx context.Context, id keymgmt.KeyID) error {
	p, ok := k.pins[id]
	if !ok || p.algorithm.String() != "" {
		return k.unknown(ctx, id)
	}
	if err := k.make(ctx, p); err != nil {
		return err
	}
	_, err := k.sealing(ctx, id)
	return err
}

func (k *Keyring) make(ctx context.Context, p pin) error {
	if p.algorithm == keymgmt.Secp256k1 { // what is wrong with the sealer must not be taken for a word on this key
		if _, err := k.sealing(ctx, k.cfg.Sealer); err != nil {
			return err
		}
	}
	switch _, err := k.look(ctx, p); {
	case err == nil || errors.Is(err, ErrKeyRefused):
		return fmt.Errorf("%w: key %s", ErrExists, p.id)
	case !errors.Is(err, errAbsent):
		return err
	case !p.public.IsZero():
		return refusal(p.id, "is configured with a public key, so it was made before, and is gone")
	}
	if p.algorithm == keymgmt.Secp256k1 {
		return k.makeSealed(ctx, p)
	}
	return k.makeTransit(ctx, p)
}

func (k *Keyring) makeTransit(ctx context.Context, p pin) error {
	body := struct {
		Type       string `json:"type"`
		Exportable bool   `json:"exportable"`
		Backup     bool   `json:"allow_plaintext_backup"`
		Derived    bool   `json:"derived"`
	}{Type: transitTypes[p.algorithm]}
	existed := false
	note := func(a answer) error {
		for _, w := range a.Warnings {
			existed = existed || strings.Contains(w, "already existed")
		}
		return nil
	}
	err := k.client.do(ctx, call{method: http.MethodPost, path: k.cfg.Transit + "/keys/" + p.name, body: body}, note)
	if err == nil && existed { // two at once; Vault made one key
		return fmt.Errorf("%w: key %s", ErrExists, p.id)
	}
	return err
}
