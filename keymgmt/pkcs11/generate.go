package pkcs11

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
)

// Generate makes a key pair inside the token and returns its public key. ErrExists says that the label is taken, also by
// half a key or by another kind of key: then nothing is made.
func (k *Keyring) Generate(ctx context.Context, id keymgmt.KeyID, a keymgmt.Algorithm) (keymgmt.PublicKey, error) {
	if id.IsZero() || a.String() == "" {
		return keymgmt.PublicKey{}, fmt.Errorf("%w: no key or no algorithm named", keymgmt.ErrMalformed)
	}
	_, err := with(ctx, k, func(e *epoch, s session) (struct{}, error) {
		// Locked in here, where a caller that stopped waiting does not unlock it under a call in flight.
		k.generating.Lock()
		defer k.generating.Unlock()
		return struct{}{}, k.free(e, s, id, func(s session) error { return k.lib.generate(s, pairTemplate(id, a)) })
	})
	if err != nil {
		return keymgmt.PublicKey{}, err
	}
	return k.Public(ctx, id)
}

// free runs do, with a session that can write, if nothing on the token has the label.
func (k *Keyring) free(e *epoch, s session, id keymgmt.KeyID, do func(s session) error) error {
	taken, err := k.lib.search(s, []*p11.Attribute{p11.NewAttribute(p11.CKA_LABEL, id.String())}, 1)
	if err != nil {
		return err
	}
	if len(taken) > 0 {
		return fmt.Errorf("%w: key %s", ErrExists, id)
	}
	if err := k.confirm(e, s); err != nil { // a token that is away looks empty
		return err
	}
	writer, err := k.lib.openSession(e.slot, p11.CKF_RW_SESSION) // those of the pool cannot write
	if err != nil {
		return err
	}
	defer k.lib.closeSession(writer)
	return do(writer)
}

// otherParams are the answers of devices that know the curve under its other name.
var otherParams = map[p11.Error]bool{p11.CKR_DOMAIN_PARAMS_INVALID: true, p11.CKR_ATTRIBUTE_VALUE_INVALID: true,
	p11.CKR_TEMPLATE_INCONSISTENT: true, p11.CKR_CURVE_NOT_SUPPORTED: true, p11.CKR_MECHANISM_PARAM_INVALID: true,
	p11.CKR_GENERAL_ERROR: true, p11.CKR_FUNCTION_FAILED: true}

// template is what a new pair is to be.
type template struct {
	mechanism       uint
	params          [][]byte // encodings of the curve to try
	public, private []*p11.Attribute
}

// pairTemplate: signing only, for ever inside the token, its attributes not to be changed.
func pairTemplate(id keymgmt.KeyID, a keymgmt.Algorithm) template {
	c := curves[a]
	both := slices.Concat(named(id), []*p11.Attribute{p11.NewAttribute(p11.CKA_KEY_TYPE, c.keyType), p11.NewAttribute(p11.CKA_DERIVE, false)})
	return template{mechanism: c.generate, params: c.params,
		public: slices.Concat(both, []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, uint(p11.CKO_PUBLIC_KEY)),
			p11.NewAttribute(p11.CKA_PRIVATE, false), p11.NewAttribute(p11.CKA_VERIFY, true),
			p11.NewAttribute(p11.CKA_ENCRYPT, false), p11.NewAttribute(p11.CKA_WRAP, false)}),
		private: slices.Concat(both, []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, uint(p11.CKO_PRIVATE_KEY)),
			p11.NewAttribute(p11.CKA_PRIVATE, true), p11.NewAttribute(p11.CKA_SENSITIVE, true),
			p11.NewAttribute(p11.CKA_EXTRACTABLE, false), p11.NewAttribute(p11.CKA_SIGN, true),
			p11.NewAttribute(p11.CKA_DECRYPT, false), p11.NewAttribute(p11.CKA_UNWRAP, false)})}
}

// named are the attributes by which an object that stays is known. Some devices want CKA_ID to be unique; we never look
// for it.
func named(id keymgmt.KeyID) []*p11.Attribute {
	ckaID := make([]byte, 16)
	_, _ = rand.Read(ckaID) // never fails
	return []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_LABEL, id.String()),
		p11.NewAttribute(p11.CKA_ID, ckaID), p11.NewAttribute(p11.CKA_MODIFIABLE, false)}
}

// generate tries the names of the curve in turn, while the device says that it does not know them.
func (l *library) generate(s session, t template) (err error) {
	mechanism := []*p11.Mechanism{p11.NewMechanism(t.mechanism, nil)}
	for _, params := range t.params {
		public := append(slices.Clip(t.public), p11.NewAttribute(p11.CKA_EC_PARAMS, params))
		err = l.call("C_GenerateKeyPair", func() error {
			_, _, err := l.ctx.GenerateKeyPair(s, mechanism, public, t.private)
			return err
		})
		var code p11.Error
		if !errors.As(err, &code) || !otherParams[code] {
			return err
		}
	}
	return err
}
