package vault

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/signature"
)

// transitTypes are the names that the engine has for what a pin says. The zero algorithm seals.
var transitTypes = map[keymgmt.Algorithm]string{0: "aes256-gcm96", keymgmt.Ed25519: "ed25519", keymgmt.P256: "ecdsa-p256"}

// transitKey is what the engine tells of a key. What must be false is a pointer: a server that stopped telling it must
// not pass for one that says no.
type transitKey struct {
	Type            string                     `json:"type"`
	Exportable      *bool                      `json:"exportable"`
	PlaintextBackup *bool                      `json:"allow_plaintext_backup"`
	Deletable       *bool                      `json:"deletion_allowed"`
	Derived         *bool                      `json:"derived"`
	Imported        bool                       `json:"imported_key"`
	Backup          json.RawMessage            `json:"backup_info"`
	Restored        json.RawMessage            `json:"restore_info"`
	Latest          int                        `json:"latest_version"`
	MinEncryption   int                        `json:"min_encryption_version"`
	Keys            map[string]json.RawMessage `json:"keys"`
}

// readTransit looks at a key and refuses one that must not be used.
func (k *Keyring) readTransit(ctx context.Context, p pin) (state, error) {
	var got transitKey
	err := k.client.do(ctx, call{method: http.MethodGet, path: k.cfg.Transit + "/keys/" + p.name}, into(&got))
	if err != nil {
		return state{}, err
	}
	if err := got.usable(p); err != nil {
		return state{}, err
	}
	version, ok := got.Keys[strconv.Itoa(p.version)]
	if !ok {
		return state{}, refusal(p.id, fmt.Sprintf("has no version %d", p.version))
	}
	s := state{latest: got.Latest}
	if p.algorithm.String() != "" {
		if s.public, err = publicOf(p.algorithm, version); err != nil {
			return state{}, refusal(p.id, "has no public key that can be read")
		}
	}
	return s, nil
}

func (t transitKey) usable(p pin) error {
	isFalse := func(b *bool) bool { return b != nil && !*b }
	switch {
	case t.Type != transitTypes[p.algorithm]:
		return refusal(p.id, fmt.Sprintf("has type %s, not %s", cut(t.Type), transitTypes[p.algorithm]))
	case !isFalse(t.Exportable):
		return refusal(p.id, "is exportable")
	case !isFalse(t.PlaintextBackup):
		return refusal(p.id, "allows a plaintext backup")
	case !isFalse(t.Deletable):
		return refusal(p.id, "may be deleted")
	case !isFalse(t.Derived):
		return refusal(p.id, "is one for deriving others")
	case !p.imported && (t.Imported || present(t.Backup) || present(t.Restored)):
		return refusal(p.id, "was imported, backed up or restored, so it may exist elsewhere")
	case t.MinEncryption > p.version:
		return refusal(p.id, fmt.Sprintf("may not be used in version %d any more, only from %d", p.version, t.MinEncryption))
	}
	return nil
}

func present(j json.RawMessage) bool { return len(j) > 0 && string(j) != "null" }

var errNoPublic = errors.New("vault: no public key")

// publicOf reads the public key of one version.
func publicOf(a keymgmt.Algorithm, version json.RawMessage) (keymgmt.PublicKey, error) {
	var key struct {
		Public string `json:"public_key"`
	}
	if err := json.Unmarshal(version, &key); err != nil {
		return keymgmt.PublicKey{}, errNoPublic
	}
	if a == keymgmt.Ed25519 {
		raw, err := base64.StdEncoding.Strict().DecodeString(key.Public)
		if err != nil {
			return keymgmt.PublicKey{}, errNoPublic
		}
		return keymgmt.NewPublicKey(a, raw)
	}
	block, _ := pem.Decode([]byte(key.Public))
	if block == nil {
		return keymgmt.PublicKey{}, errNoPublic
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	point, ok := parsed.(*ecdsa.PublicKey)
	if err != nil || !ok || point.Curve != elliptic.P256() {
		return keymgmt.PublicKey{}, errNoPublic
	}
	raw, err := point.Bytes() // 4, x and y
	if err != nil {
		return keymgmt.PublicKey{}, errNoPublic
	}
	const x, end = 1, 33
	return keymgmt.NewPublicKey(a, append([]byte{2 + raw[len(raw)-1]&1}, raw[x:end]...))
}

// signItem and signRequest are the engine's words. A []byte is base64 in JSON, as the engine wants it.
type signItem struct {
	Input []byte `json:"input"`
}

type signRequest struct {
	Batch      []signItem `json:"batch_input"`
	Version    int        `json:"key_version"`
	Prehashed  bool       `json:"prehashed,omitempty"`
	Hash       string     `json:"hash_algorithm,omitempty"`
	Marshaling string     `json:"marshaling_algorithm,omitempty"`
}

// signTransit lets Vault sign all messages in one request and verifies what comes back.
func (k *Keyring) signTransit(ctx context.Context, p pin, s state, messages [][]byte) ([]signature.Verified, error) {
	q := signRequest{Batch: make([]signItem, len(messages)), Version: p.version}
	for i, m := range messages {
		q.Batch[i].Input = m
	}
	if p.algorithm == keymgmt.P256 {
		q.Prehashed, q.Hash, q.Marshaling = true, "sha2-256", "jws"
	}
	var got struct {
		Results []struct {
			Signature string `json:"signature"`
			Error     string `json:"error"`
		} `json:"batch_results"`
	}
	err := k.client.do(ctx, call{method: http.MethodPost, path: k.cfg.Transit + "/sign/" + p.name, body: q}, into(&got))
	if errors.Is(err, errBadRequest) || errors.Is(err, errAbsent) {
		k.forget(p.id) // it is not as it was
		return nil, refusal(p.id, "does not sign any more: "+err.Error())
	}
	if err != nil {
		return nil, err
	}
	if len(got.Results) != len(messages) {
		return nil, unavailable(fmt.Errorf("vault: %d signatures of %d messages", len(got.Results), len(messages)))
	}
	signatures := make([]signature.Verified, len(messages))
	for i, r := range got.Results {
		if r.Error != "" {
			k.forget(p.id)
			return nil, refusal(p.id, "does not sign: "+cut(r.Error))
		}
		if signatures[i], err = finish(p, s.public, messages[i], r.Signature); err != nil {
			return nil, err
		}
	}
	return signatures, nil
}

// finish brings a signature, vault:vN:BASE64, into the one form there is, and verifies it.
func finish(p pin, public keymgmt.PublicKey, message []byte, text string) (sig signature.Verified, err error) {
	encoded, ok := strings.CutPrefix(text, fmt.Sprintf("vault:v%d:", p.version))
	if !ok {
		return sig, errMismatch // of another version
	}
	encoding, check := base64.StdEncoding, signature.Check
	if p.algorithm == keymgmt.P256 {
		encoding, check = base64.RawURLEncoding, signature.FromECDSA
	}
	raw, err := encoding.Strict().DecodeString(encoded)
	if err == nil {
		sig, err = check(public, message, raw)
	}
	if err != nil {
		return signature.Verified{}, errMismatch
	}
	return sig, nil
}
