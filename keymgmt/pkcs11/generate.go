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
	return k.generatePair(ctx, id, a, false)
}

// GenerateWrappable makes a key pair that Wrap can back up. The configuration must name it as wrappable, since the key is
// then as safe as the PIN: whoever has that can make a wrapping key of his own.
func (k *Keyring) GenerateWrappable(ctx context.Context, id keymgmt.KeyID, a keymgmt.Algorithm) (keymgmt.PublicKey, error) {
	if !slices.Contains(k.cfg.Wrappable, id) {
		return keymgmt.PublicKey{}, refusal(id, errNotWrappable)
	}
	return k.generatePair(ctx, id, a, true)
}

// errNotWrappable: nobody decided that the key may leave, even encrypted.
var errNotWrappable = errors.New("pkcs11: the configuration does not name it as wrappable")

func (k *Keyring) generatePair(ctx context.Context, id keymgmt.KeyID, a keymgmt.Algorithm, wrappable bool) (keymgmt.PublicKey, error) {
	if id.IsZero() || a.String() == "" {
		return keymgmt.PublicKey{}, fmt.Errorf("%w: no key or no algorithm named", keymgmt.ErrMalformed)
	}
	err := k.make(ctx, id, func(_ *epoch, s session) error { return k.lib.generate(s, pairTemplate(id, a, wrappable)) })
	if err != nil {
		return keymgmt.PublicKey{}, err
	}
	return k.Public(ctx, id)
}

// GenerateSecret makes an AES-256 key inside the token, for one use. A key for sealing that the configuration names as
// wrappable can be backed up by Wrap.
func (k *Keyring) GenerateSecret(ctx context.Context, id keymgmt.KeyID, use Use) error {
	if id.IsZero() || use != Sealing && use != Wrapping {
		return fmt.Errorf("%w: no key named, or not one that is secret", keymgmt.ErrMalformed)
	}
	wrappable := use == Sealing && slices.Contains(k.cfg.Wrappable, id)
	return k.make(ctx, id, func(_ *epoch, s session) error {
		mechanism := []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_KEY_GEN, nil)}
		template := append(secretTemplate(id, use, wrappable), p11.NewAttribute(p11.CKA_VALUE_LEN, uint(secretSize)))
		return k.lib.call("C_GenerateKey", func() error {
			_, err := k.lib.ctx.GenerateKey(s, mechanism, template)
			return err
		})
	})
}

// secretSize is the length of an AES-256 key.
const secretSize = 32

func secretTemplate(id keymgmt.KeyID, use Use, wrappable bool) []*p11.Attribute {
	list := slices.Concat(named(id), []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, uint(p11.CKO_SECRET_KEY)),
		p11.NewAttribute(p11.CKA_KEY_TYPE, uint(p11.CKK_AES)), p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_SENSITIVE, true), p11.NewAttribute(p11.CKA_EXTRACTABLE, wrappable)})
	for _, a := range usedFor[use] {
		list = append(list, p11.NewAttribute(a.attribute, a.value))
	}
	return list
}

// make runs do, which makes the key, with a session that can write, if nothing on the token has the label.
func (k *Keyring) make(ctx context.Context, id keymgmt.KeyID, do func(e *epoch, s session) error) error {
	_, err := with(ctx, k, func(e *epoch, s session) (struct{}, error) {
		// Locked in here, where a caller that stopped waiting does not unlock it under a call in flight.
		k.generating.Lock()
		defer k.generating.Unlock()
		return struct{}{}, k.free(e, s, id, func(writer session) error { return do(e, writer) })
	})
	return err
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
	return k.writing(e, do)
}

// writing runs do with a session of its own: those of the pool cannot write.
func (k *Keyring) writing(e *epoch, do func(s session) error) error {
	s, err := k.lib.openSession(e.slot, p11.CKF_RW_SESSION)
	if err != nil {
		return err
	}
	defer k.lib.closeSession(s)
	return do(s)
}

// Destroy removes every object that has the key's label, and makes sure that none is left. There is no way back unless
// the key was wrapped. ErrUnknownKey says that there was nothing.
func (k *Keyring) Destroy(ctx context.Context, id keymgmt.KeyID) error {
	if id.IsZero() {
		return fmt.Errorf("%w: no key named", keymgmt.ErrMalformed)
	}
	_, err := with(ctx, k, func(e *epoch, _ session) (struct{}, error) {
		k.generating.Lock()
		defer k.generating.Unlock()
		return struct{}{}, k.writing(e, func(writer session) error { return k.destroy(e, writer, id) })
	})
	return err
}

// destroy wants a session that can write.
func (k *Keyring) destroy(e *epoch, s session, id keymgmt.KeyID) error {
	label := []*p11.Attribute{p11.NewAttribute(p11.CKA_LABEL, id.String())}
	objects, err := k.lib.search(s, label, MaxKeys)
	if err != nil {
		return err
	}
	if err := k.confirm(e, s); err != nil { // without a login only the public half would be found
		return err
	}
	if len(objects) == 0 {
		return fmt.Errorf("%w: %s", keymgmt.ErrUnknownKey, id)
	}
	k.forget(e, id)
	for _, o := range objects {
		if err := k.lib.call("C_DestroyObject", func() error { return k.lib.ctx.DestroyObject(s, o) }); err != nil {
			return err
		}
	}
	left, err := k.lib.search(s, label, 1)
	if err == nil && len(left) > 0 {
		err = refusal(id, errors.New("the token still has it"))
	}
	return err
}

// forget ends what is remembered of a key that somebody chose to remove: the id may get another one.
func (k *Keyring) forget(e *epoch, id keymgmt.KeyID) {
	e.mu.Lock()
	for _, use := range []Use{Signing, Sealing, Wrapping} {
		delete(e.keys, wanted{id, use})
	}
	e.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, use := range []Use{Signing, Sealing, Wrapping} {
		delete(k.known, wanted{id, use})
		delete(k.lost, wanted{id, use})
	}
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

// pairTemplate: signing only, for ever inside the token unless it may be wrapped, its attributes not to be changed.
func pairTemplate(id keymgmt.KeyID, a keymgmt.Algorithm, wrappable bool) template {
	c := curves[a]
	both := slices.Concat(named(id), []*p11.Attribute{p11.NewAttribute(p11.CKA_KEY_TYPE, c.keyType), p11.NewAttribute(p11.CKA_DERIVE, false)})
	return template{mechanism: c.generate, params: c.params,
		public: slices.Concat(both, []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, uint(p11.CKO_PUBLIC_KEY)),
			p11.NewAttribute(p11.CKA_PRIVATE, false), p11.NewAttribute(p11.CKA_VERIFY, true),
			p11.NewAttribute(p11.CKA_ENCRYPT, false), p11.NewAttribute(p11.CKA_WRAP, false)}),
		private: slices.Concat(both, privateAttributes(wrappable))}
}

func privateAttributes(wrappable bool) []*p11.Attribute {
	return []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, uint(p11.CKO_PRIVATE_KEY)),
		p11.NewAttribute(p11.CKA_PRIVATE, true), p11.NewAttribute(p11.CKA_SENSITIVE, true),
		p11.NewAttribute(p11.CKA_EXTRACTABLE, wrappable), p11.NewAttribute(p11.CKA_SIGN, true),
		p11.NewAttribute(p11.CKA_DECRYPT, false), p11.NewAttribute(p11.CKA_UNWRAP, false)}
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
