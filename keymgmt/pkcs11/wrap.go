package pkcs11

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11/internal/relay"
)

// MaxWrapped bounds the encrypted key in a Wrapped, in bytes.
const MaxWrapped = 4 << 10

// Wrapped is a key outside the token, encrypted by a wrapping key inside. It can be stored anywhere: it is secret by the
// wrapping key alone, and what Unwrap makes of it is checked against Public or Proof.
type Wrapped struct {
	Key       keymgmt.KeyID     `json:"key"`             // what it was called
	Wrapping  keymgmt.KeyID     `json:"wrapping"`        // the key that encrypted it
	Mechanism string            `json:"mechanism"`       // as PKCS#11 names it, without CKM_
	Public    keymgmt.PublicKey `json:"public,omitzero"` // of a signing key
	Proof     []byte            `json:"proof,omitempty"` // something that a sealing key sealed
	Bytes     []byte            `json:"bytes"`
}

// wrapMechanism is a way to encrypt a key.
type wrapMechanism struct {
	name string
	code uint
}

// wrapMechanisms, best first: the padding of the second was read in two ways before PKCS#11 named the first, RFC 5649,
// apart from it, so that a key wrapped by it may only come back to a device of the same make.
var wrapMechanisms = []wrapMechanism{{"AES_KEY_WRAP_KWP", ckmAESKeyWrapKWP}, {"AES_KEY_WRAP_PAD", p11.CKM_AES_KEY_WRAP_PAD}}

// proven is what a sealing key seals to be known again.
var proven = []byte("diamante wrapped key")

// Wrap takes target out of the token, encrypted by wrapping. ErrCannotWrap says that it may not leave, or that the device
// has no way to let it. Wrapping keys themselves stay where they are.
func (k *Keyring) Wrap(ctx context.Context, wrapping, target keymgmt.KeyID) (Wrapped, error) {
	if !slices.Contains(k.cfg.Wrappable, target) {
		return Wrapped{}, fmt.Errorf("%w: %s: %w", ErrCannotWrap, target, errNotWrappable)
	}
	return with(ctx, k, func(e *epoch, s session) (Wrapped, error) {
		w := Wrapped{Key: target, Wrapping: wrapping}
		kek, err := k.findFor(e, s, wanted{wrapping, Wrapping})
		if err != nil {
			return Wrapped{}, err
		}
		found, err := k.find(e, s, target)
		if errors.Is(err, errIncomplete) && !errors.Is(err, ErrKeyRefused) { // no pair at all, so perhaps a secret
			if found, err = k.findFor(e, s, wanted{target, Sealing}); err == nil {
				w.Proof, err = k.seal(s, found, proven, nil)
			}
		}
		if err != nil {
			return Wrapped{}, err
		}
		w.Public = found.public
		w.Mechanism, w.Bytes, err = k.lib.wrap(s, kek.private, found.private)
		return w, err
	})
}

// cannotWrap are the answers of a device that does not let this key out, or not in this way.
var cannotWrap = map[p11.Error]bool{p11.CKR_KEY_NOT_WRAPPABLE: true, p11.CKR_KEY_UNEXTRACTABLE: true, p11.CKR_MECHANISM_INVALID: true,
	p11.CKR_MECHANISM_PARAM_INVALID: true, p11.CKR_KEY_SIZE_RANGE: true, p11.CKR_KEY_TYPE_INCONSISTENT: true,
	p11.CKR_WRAPPING_KEY_TYPE_INCONSISTENT: true, p11.CKR_WRAPPING_KEY_SIZE_RANGE: true, p11.CKR_FUNCTION_NOT_SUPPORTED: true,
	p11.CKR_KEY_FUNCTION_NOT_PERMITTED: true}

// wrap tries the ways in turn.
func (l *library) wrap(s session, kek, target object) (mechanism string, wrapped []byte, err error) {
	for _, m := range wrapMechanisms {
		wrapped, err = l.wrapBy(s, m.code, kek, target)
		var code p11.Error
		switch {
		case err == nil && len(wrapped) > MaxWrapped:
			return "", nil, fmt.Errorf("%w: %d bytes", ErrCannotWrap, len(wrapped))
		case err == nil:
			return m.name, wrapped, nil
		case !errors.As(err, &code) || !cannotWrap[code]:
			return "", nil, err
		}
	}
	return "", nil, fmt.Errorf("%w: %v", ErrCannotWrap, err)
}

func (l *library) wrapBy(s session, mechanism uint, kek, target object) (wrapped []byte, err error) {
	err = l.call("C_WrapKey", func() (err error) {
		wrapped, err = l.ctx.WrapKey(s, []*p11.Mechanism{p11.NewMechanism(mechanism, nil)}, kek, target)
		return err
	})
	return wrapped, err
}

// Unwrap brings a wrapped key into the token as id, which the configuration must name as imported, and returns its public
// key, zero for a sealing key. The key is tried before it stays: one that is not what w says is removed again.
func (k *Keyring) Unwrap(ctx context.Context, w Wrapped, id keymgmt.KeyID) (keymgmt.PublicKey, error) {
	at := slices.IndexFunc(wrapMechanisms, func(m wrapMechanism) bool { return m.name == w.Mechanism })
	if id.IsZero() || at < 0 || len(w.Bytes) == 0 || len(w.Bytes) > MaxWrapped || w.Public.IsZero() == (len(w.Proof) == 0) {
		return keymgmt.PublicKey{}, fmt.Errorf("%w: no wrapped key", keymgmt.ErrMalformed)
	}
	if !slices.Contains(k.cfg.Imported, id) {
		return keymgmt.PublicKey{}, refusal(id, errNotImported)
	}
	err := k.make(ctx, id, func(e *epoch, s session) error {
		kek, err := k.findFor(e, s, wanted{w.Wrapping, Wrapping})
		if err != nil {
			return err
		}
		made, err := k.lib.unwrap(s, wrapMechanisms[at].code, kek.private, w, k.unwrapTemplate(w, id))
		if err != nil {
			return k.condemn(e, kek, err)
		}
		err = k.settle(s, made, w, id)
		if err != nil {
			_ = k.destroy(e, s, id) // what could not be settled is not used either way: half a key is refused
		}
		return err
	})
	if err != nil || w.Public.IsZero() {
		return keymgmt.PublicKey{}, err
	}
	return k.Public(ctx, id)
}

// errNotImported: an unwrapped key has been outside, which must have been allowed.
var errNotImported = errors.New("pkcs11: the configuration does not name it as imported")

// unwrapTemplate does not ask for CKA_MODIFIABLE false, as everywhere else: SoftHSM refuses that, and leaves an object
// without a name each time. What may be modified of a key is its label and its uses, never its secrecy.
func (k *Keyring) unwrapTemplate(w Wrapped, id keymgmt.KeyID) []*p11.Attribute {
	wrappable := slices.Contains(k.cfg.Wrappable, id)
	template := secretTemplate(id, Sealing, wrappable)
	if !w.Public.IsZero() {
		template = slices.Concat(named(id), privateAttributes(wrappable),
			[]*p11.Attribute{p11.NewAttribute(p11.CKA_KEY_TYPE, curves[w.Public.Algorithm()].keyType)})
	}
	return slices.DeleteFunc(template, func(a *p11.Attribute) bool { return a.Type == p11.CKA_MODIFIABLE })
}

func (l *library) unwrap(s session, mechanism uint, kek object, w Wrapped, t []*p11.Attribute) (made object, err error) {
	err = l.call("C_UnwrapKey", func() (err error) {
		made, err = l.ctx.UnwrapKey(s, []*p11.Mechanism{p11.NewMechanism(mechanism, nil)}, kek, w.Bytes, t)
		return err
	})
	return made, err
}

// condemn finds out whether the wrapped key or the device is at fault, as blame does.
func (k *Keyring) condemn(e *epoch, kek key, err error) error {
	var code p11.Error
	if !errors.As(err, &code) || !cannotUnwrap[code] && !cannotWrap[code] && !maybeSealed[code] {
		return err
	}
	if maybeSealed[code] {
		s, failed := k.lib.openSession(e.slot, 0)
		if failed != nil {
			return failed
		}
		defer k.lib.closeSession(s)
		if k.lib.tryWrapping(s, kek.private) != nil {
			return err
		}
	}
	return fmt.Errorf("%w: it does not unwrap: %v", ErrCannotWrap, err)
}

// tryWrapping wraps a key that goes with the session.
func (l *library) tryWrapping(s session, kek object) error {
	template := []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, uint(p11.CKO_SECRET_KEY)), p11.NewAttribute(p11.CKA_KEY_TYPE, uint(p11.CKK_AES)),
		p11.NewAttribute(p11.CKA_TOKEN, false), p11.NewAttribute(p11.CKA_PRIVATE, true), p11.NewAttribute(p11.CKA_SENSITIVE, true),
		p11.NewAttribute(p11.CKA_EXTRACTABLE, true), p11.NewAttribute(p11.CKA_VALUE_LEN, uint(secretSize))}
	var o object
	err := l.call("C_GenerateKey", func() (err error) {
		o, err = l.ctx.GenerateKey(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_KEY_GEN, nil)}, template)
		return err
	})
	if err == nil {
		_, _, err = l.wrap(s, kek, o)
	}
	return err
}

// cannotUnwrap are the answers to what is no key wrapped by this one.
var cannotUnwrap = map[p11.Error]bool{p11.CKR_WRAPPED_KEY_INVALID: true, p11.CKR_WRAPPED_KEY_LEN_RANGE: true,
	p11.CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT: true, p11.CKR_UNWRAPPING_KEY_SIZE_RANGE: true, p11.CKR_ENCRYPTED_DATA_INVALID: true}

// settle makes sure that the key is the one that was wrapped, and gives a signing key its public half.
func (k *Keyring) settle(s session, made object, w Wrapped, id keymgmt.KeyID) error {
	found := key{private: made, public: w.Public}
	if w.Public.IsZero() {
		return k.check(s, found, w.Proof)
	}
	challenge := make([]byte, digestSize)
	_, _ = rand.Read(challenge) // never fails
	raw, err := k.lib.sign(s, found, challenge)
	if err != nil {
		return err
	}
	if _, err := relay.Finish(w.Public, challenge, raw); err != nil {
		return fmt.Errorf("%w: it is another key than it says", ErrCannotWrap)
	}
	c := curves[w.Public.Algorithm()]
	template := slices.Concat(named(id), []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, uint(p11.CKO_PUBLIC_KEY)),
		p11.NewAttribute(p11.CKA_KEY_TYPE, c.keyType), p11.NewAttribute(p11.CKA_PRIVATE, false), p11.NewAttribute(p11.CKA_VERIFY, true),
		p11.NewAttribute(p11.CKA_EC_PARAMS, c.params[0]), p11.NewAttribute(p11.CKA_EC_POINT, derPoint(w.Public))})
	return k.lib.call("C_CreateObject", func() error {
		_, err := k.lib.ctx.CreateObject(s, template)
		return err
	})
}

// check opens the proof.
func (k *Keyring) check(s session, found key, proof []byte) error {
	if len(proof) != len(proven)+sealExtra || proof[0] != sealVersion {
		return fmt.Errorf("%w: no proof of which key it is", ErrCannotWrap)
	}
	opened, err := k.lib.decrypt(s, found.private, gcm{proof[1 : 1+ivSize], nil}, proof[1+ivSize:])
	if code := p11.Error(0); err == nil && !bytes.Equal(opened, proven) || errors.As(err, &code) && (notSealed[code] || maybeSealed[code]) {
		return fmt.Errorf("%w: it is another key than it says", ErrCannotWrap)
	}
	return err
}

// derPoint is CKA_EC_POINT as PKCS#11 wants it: parsePoint's inverse. A point that is not on its curve gives nothing,
// which every device refuses.
func derPoint(p keymgmt.PublicKey) []byte {
	var raw []byte
	switch p.Algorithm() {
	case keymgmt.Ed25519:
		raw = p.Bytes()
	case keymgmt.Secp256k1:
		if point, err := secp256k1.ParsePubKey(p.Bytes()); err == nil {
			raw = point.SerializeUncompressed()
		}
	case keymgmt.P256:
		if x, y := elliptic.UnmarshalCompressed(elliptic.P256(), p.Bytes()); x != nil {
			raw = append([]byte{uncompressed}, x.FillBytes(make([]byte, coordinateSize))...)
			raw = append(raw, y.FillBytes(make([]byte, coordinateSize))...)
		}
	}
	if raw == nil {
		return nil
	}
	return append(octetString(len(raw)), raw...)
}
