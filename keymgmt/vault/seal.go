package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	"github.com/diamante/gateway/keymgmt"
)

// Bounds of sealing. Sizes are in bytes.
const (
	MaxPlaintext = 8 << 10
	MaxAAD       = 1 << 10
	MaxBatch     = 256      // items of SealAll and OpenAll
	maxSealed    = 12 << 10 // MaxPlaintext with IV and tag in base64, and the prefix
)

// Item is one thing to seal or to open, with the additional data that binds it to its place.
type Item struct {
	Data, AAD []byte
}

// Seal encrypts 1 to MaxPlaintext bytes by AES-256-GCM inside Vault, so that only Open with the same key and additional
// data gets them back.
func (k *Keyring) Seal(ctx context.Context, id keymgmt.KeyID, plaintext, aad []byte) ([]byte, error) {
	sealed, err := k.SealAll(ctx, id, []Item{{plaintext, aad}})
	if err != nil {
		return nil, err
	}
	return sealed[0], nil
}

// Open decrypts what Seal made. ErrNotSealed says that it is not that.
func (k *Keyring) Open(ctx context.Context, id keymgmt.KeyID, sealed, aad []byte) ([]byte, error) {
	opened, err := k.OpenAll(ctx, id, []Item{{sealed, aad}})
	if err != nil {
		return nil, err
	}
	return opened[0], nil
}

// sealItem is the engine's word for one thing to seal or to open.
type sealItem struct {
	Plaintext  []byte `json:"plaintext,omitempty"`
	Ciphertext string `json:"ciphertext,omitempty"`
	AAD        []byte `json:"associated_data,omitempty"`
	Version    int    `json:"key_version,omitempty"`
}

// sealResults are the answers, in the order of the questions.
type sealResults struct {
	Results []struct {
		Plaintext  []byte `json:"plaintext"`
		Ciphertext string `json:"ciphertext"`
		Error      string `json:"error"`
	} `json:"batch_results"`
}

// sealedPattern is what Vault makes; the version is the first group.
var sealedPattern = regexp.MustCompile(`^vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/]+={0,2}$`)

// SealAll seals up to MaxBatch items in one request: all or none.
func (k *Keyring) SealAll(ctx context.Context, id keymgmt.KeyID, items []Item) ([][]byte, error) {
	p, err := k.sealing(ctx, id)
	if err != nil {
		return nil, err
	}
	batch := make([]sealItem, len(items))
	for i, item := range items {
		if len(item.Data) == 0 || len(item.Data) > MaxPlaintext || len(item.AAD) > MaxAAD {
			return nil, fmt.Errorf("%w: %d bytes to seal with %d bytes of additional data", keymgmt.ErrMalformed, len(item.Data), len(item.AAD))
		}
		batch[i] = sealItem{Plaintext: item.Data, AAD: item.AAD, Version: p.version}
	}
	got, err := k.batch(ctx, p, "encrypt", batch)
	if err != nil {
		return nil, err
	}
	sealed := make([][]byte, len(items))
	for i, r := range got.Results {
		found := sealedPattern.FindStringSubmatch(r.Ciphertext)
		if r.Error != "" || found == nil || found[1] != strconv.Itoa(p.version) {
			k.forget(id)
			return nil, refusal(id, fmt.Sprintf("does not seal with version %d: %s", p.version, cut(r.Error)))
		}
		sealed[i] = []byte(r.Ciphertext)
	}
	return sealed, nil
}

// OpenAll opens up to MaxBatch items in one request: all or none. The caller wipes what he gets.
func (k *Keyring) OpenAll(ctx context.Context, id keymgmt.KeyID, items []Item) ([][]byte, error) {
	p, err := k.sealing(ctx, id)
	if err != nil {
		return nil, err
	}
	batch := make([]sealItem, len(items))
	for i, item := range items {
		if len(item.Data) > maxSealed || len(item.AAD) > MaxAAD || !sealedPattern.Match(item.Data) {
			return nil, fmt.Errorf("%w: no sealed text of this form and size", ErrNotSealed)
		}
		batch[i] = sealItem{Ciphertext: string(item.Data), AAD: item.AAD}
	}
	got, err := k.batch(ctx, p, "decrypt", batch)
	if err != nil {
		return nil, err
	}
	opened := make([][]byte, len(items))
	for i, r := range got.Results {
		opened[i] = r.Plaintext
		if r.Error != "" || len(r.Plaintext) == 0 {
			err = fmt.Errorf("%w: item %d: %s", ErrNotSealed, i, cut(r.Error))
		}
	}
	if err != nil {
		wipe(opened)
		return nil, err
	}
	return opened, nil
}

// batch asks the engine. It answers a batch with one bad item by a refusal that carries the results of all items.
func (k *Keyring) batch(ctx context.Context, p pin, verb string, items []sealItem) (got sealResults, err error) {
	if len(items) == 0 || len(items) > MaxBatch {
		return got, fmt.Errorf("%w: batch of %d, need 1 to %d", keymgmt.ErrMalformed, len(items), MaxBatch)
	}
	body := struct {
		Batch []sealItem `json:"batch_input"`
	}{items}
	err = k.client.do(ctx, call{method: http.MethodPost, path: k.cfg.Transit + "/" + verb + "/" + p.name, body: body}, into(&got))
	if errors.Is(err, errBadRequest) && len(got.Results) == len(items) {
		return got, nil
	}
	if errors.Is(err, errBadRequest) || errors.Is(err, errAbsent) {
		k.forget(p.id)
		return got, refusal(p.id, fmt.Sprintf("does not %s any more: %v", verb, err))
	}
	if err == nil && len(got.Results) != len(items) {
		err = unavailable(fmt.Errorf("vault: %d answers to %d items", len(got.Results), len(items)))
	}
	return got, err
}

// sealing returns the key of an id that can seal.
func (k *Keyring) sealing(ctx context.Context, id keymgmt.KeyID) (pin, error) {
	p, ok := k.pins[id]
	if !ok || p.algorithm.String() != "" {
		return pin{}, k.unknown(ctx, id)
	}
	_, err := k.find(ctx, p)
	return p, err
}

func wipe(texts [][]byte) {
	for _, t := range texts {
		clear(t)
	}
}
