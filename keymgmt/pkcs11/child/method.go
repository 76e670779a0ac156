package child

import (
	"context"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11"
)

// The arguments and results of the calls that are not in a hurry, as JSON.
type (
	keyCall struct {
		Key keymgmt.KeyID `json:"key,omitzero"`
	}
	generateCall struct {
		Key       keymgmt.KeyID     `json:"key,omitzero"`
		Algorithm keymgmt.Algorithm `json:"algorithm"`
	}
	textCall struct {
		Key  keymgmt.KeyID `json:"key,omitzero"`
		Text []byte        `json:"text"`
		AAD  []byte        `json:"aad"`
	}
	noCall       struct{}
	publicResult struct {
		Public keymgmt.PublicKey `json:"public"`
	}
	textResult struct {
		Text []byte `json:"text"`
	}
	markCall struct {
		Mark keymgmt.Mark `json:"mark,omitzero"`
	}
	markResult struct {
		Mark keymgmt.Mark `json:"mark"`
	}
	listResult struct {
		Keys []listed `json:"keys"`
	}
	listed struct {
		Label  string            `json:"label"`
		Key    keymgmt.KeyID     `json:"key,omitzero"`
		Use    pkcs11.Use        `json:"use"`
		Public keymgmt.PublicKey `json:"public,omitzero"`
		Fault  []byte            `json:"fault"` // a status
	}
)

// methods are the calls that are answered in JSON. Each is a call of the keyring and nothing more: this side decides
// nothing.
var methods = map[method]func(ctx context.Context, ring *pkcs11.Keyring, body []byte) (any, error){
	methodPublic: handler(func(ctx context.Context, ring *pkcs11.Keyring, c keyCall) (any, error) {
		public, err := ring.Public(ctx, c.Key)
		return publicResult{public}, err
	}),
	methodPing: handler(func(ctx context.Context, ring *pkcs11.Keyring, _ noCall) (any, error) {
		return noCall{}, ring.Ping(ctx)
	}),
	methodGenerate: handler(func(ctx context.Context, ring *pkcs11.Keyring, c generateCall) (any, error) {
		public, err := ring.Generate(ctx, c.Key, c.Algorithm)
		return publicResult{public}, err
	}),
	methodList: handler(func(ctx context.Context, ring *pkcs11.Keyring, _ noCall) (any, error) {
		list, err := ring.List(ctx)
		result := listResult{Keys: make([]listed, len(list))}
		for i, l := range list {
			result.Keys[i] = listed{Label: l.Label, Key: l.Key, Use: l.Use, Public: l.Public, Fault: appendStatus(nil, l.Fault)}
		}
		return result, err
	}),
	methodSeal: handler(func(ctx context.Context, ring *pkcs11.Keyring, c textCall) (any, error) {
		text, err := ring.Seal(ctx, c.Key, c.Text, c.AAD)
		return textResult{text}, err
	}),
	methodOpen: handler(func(ctx context.Context, ring *pkcs11.Keyring, c textCall) (any, error) {
		text, err := ring.Open(ctx, c.Key, c.Text, c.AAD)
		return textResult{text}, err
	}),
	methodMark: handler(func(ctx context.Context, ring *pkcs11.Keyring, _ noCall) (any, error) {
		mark, err := ring.Mark(ctx)
		return markResult{mark}, err
	}),
	methodRaiseMark: handler(func(ctx context.Context, ring *pkcs11.Keyring, c markCall) (any, error) {
		mark, err := ring.RaiseMark(ctx, c.Mark)
		return markResult{mark}, err
	}),
	methodStats: handler(func(_ context.Context, ring *pkcs11.Keyring, _ noCall) (any, error) { return ring.Stats(), nil }),
}

func handler[C any](do func(context.Context, *pkcs11.Keyring, C) (any, error)) func(context.Context, *pkcs11.Keyring, []byte) (any, error) {
	return func(ctx context.Context, ring *pkcs11.Keyring, body []byte) (any, error) {
		var c C
		if err := strictJSON(body, &c); err != nil {
			return nil, err
		}
		return do(ctx, ring, c)
	}
}
