package pkcs11

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"sort"
	"unsafe"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
)

// MaxKeys bounds how many keys List reads of one token.
const MaxKeys = 4096

// The two encodings of Ed25519 in CKA_EC_PARAMS: the object identifier of RFC 8410, which current devices take, and the
// curve's name of the PKCS#11 3.0 text, which some older ones insist on.
var (
	paramsOID  = []byte{0x06, 0x03, 0x2b, 0x65, 0x70}
	paramsName = append([]byte{0x13, 0x0c}, "edwards25519"...)
)

// key is a key of the token, with a handle that is good for one epoch.
type key struct {
	private object
	public  [ed25519.PublicKeySize]byte
}

// find looks the key up, once for each epoch.
func (k *Keyring) find(e *epoch, s session, id keymgmt.KeyID) (key, error) {
	if id.IsZero() {
		return key{}, fmt.Errorf("%w: no key named", keymgmt.ErrUnknownKey)
	}
	k.mu.Lock()
	frozen := k.frozen[id]
	k.mu.Unlock()
	if frozen {
		return key{}, fmt.Errorf("%w: %w: %s made a signature that does not verify", keymgmt.ErrUnknownKey, ErrKeyRefused, id)
	}
	e.mu.Lock()
	found, ok := e.keys[id]
	e.mu.Unlock()
	if ok {
		return found, nil
	}
	found, err := k.lookUp(e, s, id)
	if err != nil {
		return key{}, k.vanished(id, err)
	}
	if !k.recognise(id, found.public) {
		return key{}, refusal(id, errors.New("another key has its label now"))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keys[id] = found
	return found, nil
}

// recognise reports whether public is what id meant when it was seen first.
func (k *Keyring) recognise(id keymgmt.KeyID, public [ed25519.PublicKeySize]byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if before, seen := k.known[id]; seen && before != public {
		return false
	}
	k.known[id] = public
	delete(k.lost, id)
	return true
}

// vanished reads the absence of a key that was there before as a device that lost its mind, once: a token that goes and
// comes back can look whole and be empty until the library is restarted. Absent after that, too, it was deleted.
func (k *Keyring) vanished(id keymgmt.KeyID, err error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, seen := k.known[id]; !seen || k.lost[id] || !errors.Is(err, errIncomplete) {
		return err
	}
	k.lost[id] = true
	return fmt.Errorf("%w: %s", errVanished, id)
}

var (
	// errIncomplete: not exactly one private and one public object.
	errIncomplete = errors.New("pkcs11: need exactly one private and one public object of the label")
	// errVanished: a key that was there is not, and the token does not say why.
	errVanished = errors.New("pkcs11: a key has vanished")
)

func refusal(id keymgmt.KeyID, why error) error {
	return fmt.Errorf("%w: %w: %s: %w", keymgmt.ErrUnknownKey, ErrKeyRefused, id, why)
}

// lookUp finds exactly one private and one public object, and refuses a key that could leave the token.
func (k *Keyring) lookUp(e *epoch, s session, id keymgmt.KeyID) (key, error) {
	private, err := k.lib.search(s, labelled(p11.CKO_PRIVATE_KEY, id.String()), 2)
	if err != nil {
		return key{}, err
	}
	public, err := k.lib.search(s, labelled(p11.CKO_PUBLIC_KEY, id.String()), 2)
	if err != nil {
		return key{}, err
	}
	if len(private) != 1 || len(public) != 1 {
		if err := k.confirm(e, s); err != nil {
			return key{}, err
		}
	}
	switch {
	case len(private) == 0 && len(public) == 0:
		return key{}, fmt.Errorf("%w: %s: %w", keymgmt.ErrUnknownKey, id, errIncomplete)
	case len(private) != 1 || len(public) != 1:
		return key{}, refusal(id, errIncomplete)
	}
	if err := k.lib.guarded(s, private[0]); err != nil {
		return key{}, because(id, err)
	}
	found := key{private: private[0]}
	found.public, err = k.lib.point(s, public[0])
	if err != nil {
		return key{}, because(id, err)
	}
	return found, nil
}

// errUnfit: the object is not what a key of ours must be.
var errUnfit = errors.New("pkcs11: unfit")

// because turns a verdict on the key into a refusal, and leaves a failed call to be classified.
func because(id keymgmt.KeyID, err error) error {
	if errors.Is(err, errUnfit) {
		return refusal(id, err)
	}
	return err
}

func labelled(class uint, label string) []*p11.Attribute {
	return []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, class), p11.NewAttribute(p11.CKA_LABEL, label)}
}

// guarded refuses a private key that ever was, or could get, outside the token.
func (l *library) guarded(s session, o object) error {
	want := []struct {
		attribute uint
		name      string
		value     bool
	}{
		{p11.CKA_PRIVATE, "CKA_PRIVATE", true},
		{p11.CKA_SENSITIVE, "CKA_SENSITIVE", true},
		{p11.CKA_ALWAYS_SENSITIVE, "CKA_ALWAYS_SENSITIVE", true},
		{p11.CKA_EXTRACTABLE, "CKA_EXTRACTABLE", false},
		{p11.CKA_NEVER_EXTRACTABLE, "CKA_NEVER_EXTRACTABLE", true},
		{p11.CKA_LOCAL, "CKA_LOCAL", true},
		{p11.CKA_SIGN, "CKA_SIGN", true},
	}
	names := []uint{p11.CKA_KEY_TYPE}
	for _, w := range want {
		names = append(names, w.attribute)
	}
	values, err := l.attributes(s, o, names...)
	if err != nil {
		return err
	}
	if !isEdwards(values[0]) {
		return fmt.Errorf("%w: private key is not of the Edwards type", errUnfit)
	}
	for i, w := range want {
		if v := values[i+1]; len(v) != 1 || (v[0] != 0) != w.value {
			return fmt.Errorf("%w: %s is not %t", errUnfit, w.name, w.value)
		}
	}
	return nil
}

// point reads the public key of a public object.
func (l *library) point(s session, o object) (public [ed25519.PublicKeySize]byte, err error) {
	values, err := l.attributes(s, o, p11.CKA_KEY_TYPE, p11.CKA_EC_PARAMS, p11.CKA_EC_POINT)
	if err != nil {
		return public, err
	}
	if !isEdwards(values[0]) || !bytes.Equal(values[1], paramsOID) && !bytes.Equal(values[1], paramsName) {
		return public, fmt.Errorf("%w: public key is not Ed25519", errUnfit)
	}
	return parsePoint(values[2])
}

// parsePoint reads CKA_EC_POINT as devices write it: 32 raw bytes, or a DER OCTET STRING of them.
func parsePoint(b []byte) (public [ed25519.PublicKeySize]byte, err error) {
	raw := bytes.TrimPrefix(b, []byte{0x04, ed25519.PublicKeySize})
	if len(b) == ed25519.PublicKeySize {
		raw = b // a raw key may begin with those two bytes, too
	}
	if len(raw) != ed25519.PublicKeySize {
		return public, fmt.Errorf("%w: CKA_EC_POINT of %d bytes", errUnfit, len(b))
	}
	return [ed25519.PublicKeySize]byte(raw), nil
}

// isEdwards reads a CK_ULONG in the machine's own order and size, as the library writes it.
func isEdwards(value []byte) bool {
	want := uint(ckkECEdwards)
	return bytes.Equal(value, unsafe.Slice((*byte)(unsafe.Pointer(&want)), unsafe.Sizeof(want)))
}

// Generate makes an Ed25519 key pair inside the token and returns its public key. ErrExists says that the label is
// taken, also by half a key or by another kind of key: then nothing is made.
func (k *Keyring) Generate(ctx context.Context, id keymgmt.KeyID) (keymgmt.PublicKey, error) {
	if id.IsZero() {
		return keymgmt.PublicKey{}, fmt.Errorf("%w: no key named", keymgmt.ErrMalformed)
	}
	_, err := with(ctx, k, func(e *epoch, s session) (struct{}, error) {
		// Locked in here, where a caller that stopped waiting does not unlock it under a call in flight.
		k.generating.Lock()
		defer k.generating.Unlock()
		return struct{}{}, k.generateOnce(e, s, id)
	})
	if err != nil {
		return keymgmt.PublicKey{}, err
	}
	return k.Public(ctx, id)
}

func (k *Keyring) generateOnce(e *epoch, s session, id keymgmt.KeyID) error {
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
	return k.generate(e, id)
}

// generate uses a session of its own: those of the pool cannot write.
func (k *Keyring) generate(e *epoch, id keymgmt.KeyID) error {
	s, err := k.lib.openSession(e.slot, p11.CKF_RW_SESSION)
	if err != nil {
		return err
	}
	defer k.lib.closeSession(s)
	ckaID := make([]byte, 16) // some devices want it unique; we never look for it
	_, _ = rand.Read(ckaID)   // never fails
	err = k.lib.generate(s, id.String(), ckaID, paramsOID)
	var code p11.Error
	if errors.As(err, &code) && otherParams[code] {
		err = k.lib.generate(s, id.String(), ckaID, paramsName)
	}
	return err
}

// otherParams are the answers of devices that know the curve under its other name.
var otherParams = map[p11.Error]bool{p11.CKR_DOMAIN_PARAMS_INVALID: true, p11.CKR_ATTRIBUTE_VALUE_INVALID: true,
	p11.CKR_TEMPLATE_INCONSISTENT: true, p11.CKR_CURVE_NOT_SUPPORTED: true, p11.CKR_MECHANISM_PARAM_INVALID: true,
	p11.CKR_GENERAL_ERROR: true, p11.CKR_FUNCTION_FAILED: true}

// generate makes the pair: signing only, for ever inside the token, its attributes not to be changed.
func (l *library) generate(s session, label string, ckaID, params []byte) error {
	mechanism := []*p11.Mechanism{p11.NewMechanism(ckmECEdwardsKeyPairGen, nil)}
	both := []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_LABEL, label),
		p11.NewAttribute(p11.CKA_ID, ckaID), p11.NewAttribute(p11.CKA_KEY_TYPE, uint(ckkECEdwards)),
		p11.NewAttribute(p11.CKA_MODIFIABLE, false), p11.NewAttribute(p11.CKA_DERIVE, false)}
	public := append(both[:len(both):len(both)], p11.NewAttribute(p11.CKA_CLASS, uint(p11.CKO_PUBLIC_KEY)),
		p11.NewAttribute(p11.CKA_EC_PARAMS, params), p11.NewAttribute(p11.CKA_PRIVATE, false),
		p11.NewAttribute(p11.CKA_VERIFY, true), p11.NewAttribute(p11.CKA_ENCRYPT, false), p11.NewAttribute(p11.CKA_WRAP, false))
	private := append(both[:len(both):len(both)], p11.NewAttribute(p11.CKA_CLASS, uint(p11.CKO_PRIVATE_KEY)),
		p11.NewAttribute(p11.CKA_PRIVATE, true), p11.NewAttribute(p11.CKA_SENSITIVE, true),
		p11.NewAttribute(p11.CKA_EXTRACTABLE, false), p11.NewAttribute(p11.CKA_SIGN, true),
		p11.NewAttribute(p11.CKA_DECRYPT, false), p11.NewAttribute(p11.CKA_UNWRAP, false))
	return l.call("C_GenerateKeyPair", func() error {
		_, _, err := l.ctx.GenerateKeyPair(s, mechanism, public, private)
		return err
	})
}

// Listed is one private key of the token.
type Listed struct {
	Label  string            // as the token has it
	Key    keymgmt.KeyID     // zero when the label is no key id
	Public keymgmt.PublicKey // zero when the key is refused
	Fault  error             // why it cannot be used; nil when it can
}

// List returns the token's private keys, by label. Keys that this keyring would refuse are listed with the reason.
func (k *Keyring) List(ctx context.Context) ([]Listed, error) {
	return with(ctx, k, func(e *epoch, s session) ([]Listed, error) {
		objects, err := k.lib.search(s, []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, uint(p11.CKO_PRIVATE_KEY))}, MaxKeys)
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
			if item.Key, item.Fault = keymgmt.ParseKeyID(item.Label); item.Fault == nil {
				var found key
				found, item.Fault = k.find(e, s, item.Key)
				if item.Fault != nil && classify(item.Fault) != classAnswer {
					return nil, item.Fault
				}
				if item.Fault == nil {
					if item.Public, err = keymgmt.NewPublicKey(keymgmt.Ed25519, found.public[:]); err != nil {
						return nil, err
					}
				}
			}
			list = append(list, item)
		}
		sort.Slice(list, func(i, j int) bool { return list[i].Label < list[j].Label })
		return list, nil
	})
}
