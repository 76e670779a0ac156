package pkcs11

import (
	"errors"
	"fmt"
	"slices"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
)

// Use is what a key is for. It is for nothing else: a key that both decrypts and wraps gives every key it wraps away.
type Use uint8

// The uses. Zero is invalid.
const (
	Signing  Use = iota + 1 // a pair, of any algorithm
	Sealing                 // AES-256, encrypts and decrypts
	Wrapping                // AES-256, takes other keys out of the token encrypted, and in
)

// wanted is what is looked for.
type wanted struct {
	id  keymgmt.KeyID
	use Use
}

// key is a key of the token, with a handle that is good for one epoch.
type key struct {
	private object
	public  keymgmt.PublicKey // zero unless it signs
}

// find looks a signing key up.
func (k *Keyring) find(e *epoch, s session, id keymgmt.KeyID) (key, error) {
	return k.findFor(e, s, wanted{id, Signing})
}

// findFor looks a key up, once for each epoch.
func (k *Keyring) findFor(e *epoch, s session, w wanted) (key, error) {
	if w.id.IsZero() {
		return key{}, fmt.Errorf("%w: no key named", keymgmt.ErrUnknownKey)
	}
	k.mu.Lock()
	frozen := k.frozen[w.id]
	k.mu.Unlock()
	if frozen {
		return key{}, fmt.Errorf("%w: %w: %s made a signature that does not verify", keymgmt.ErrUnknownKey, ErrKeyRefused, w.id)
	}
	e.mu.Lock()
	found, ok := e.keys[w]
	e.mu.Unlock()
	if ok {
		return found, nil
	}
	var err error
	if w.use == Signing {
		found, err = k.lookUp(e, s, w.id)
	} else {
		found, err = k.lookUpSecret(e, s, w)
	}
	if err != nil {
		return key{}, k.vanished(w, err)
	}
	if !k.recognise(w, found.public) {
		return key{}, refusal(w.id, errors.New("another key has its label now"))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keys[w] = found
	return found, nil
}

// recognise reports whether public is what the id meant when it was seen first.
func (k *Keyring) recognise(w wanted, public keymgmt.PublicKey) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if before, seen := k.known[w]; seen && before != public {
		return false
	}
	k.known[w] = public
	delete(k.lost, w)
	return true
}

// vanished reads the absence of a key that was there before as a device that lost its mind, once: a token that goes and
// comes back can look whole and be empty until the library is restarted. Absent after that, too, it was deleted.
func (k *Keyring) vanished(w wanted, err error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, seen := k.known[w]; !seen || k.lost[w] || !errors.Is(err, errIncomplete) {
		return err
	}
	k.lost[w] = true
	return fmt.Errorf("%w: %s", errVanished, w.id)
}

var (
	// errIncomplete: not exactly the objects that make a key.
	errIncomplete = errors.New("pkcs11: need exactly one private and one public object of the label, or one secret one")
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
	found := key{private: private[0]}
	if found.public, err = k.lib.public(s, public[0]); err != nil {
		return key{}, because(id, err)
	}
	keyType := curves[found.public.Algorithm()].keyType
	if err := k.lib.assert(s, found.private, keyType, k.demands(wanted{id, Signing})); err != nil {
		return key{}, because(id, err)
	}
	return found, nil
}

// lookUpSecret finds exactly one secret object, and refuses a key that could leave the token or do more than its use.
func (k *Keyring) lookUpSecret(e *epoch, s session, w wanted) (key, error) {
	secret, err := k.lib.search(s, labelled(p11.CKO_SECRET_KEY, w.id.String()), 2)
	if err != nil {
		return key{}, err
	}
	if len(secret) != 1 {
		if err := k.confirm(e, s); err != nil {
			return key{}, err
		}
	}
	switch len(secret) {
	case 0:
		return key{}, fmt.Errorf("%w: %s: %w", keymgmt.ErrUnknownKey, w.id, errIncomplete)
	case 1:
	default:
		return key{}, refusal(w.id, errIncomplete)
	}
	if err := k.lib.assert(s, secret[0], p11.CKK_AES, k.demands(w)); err != nil {
		return key{}, because(w.id, err)
	}
	size, err := k.lib.attributes(s, secret[0], p11.CKA_VALUE_LEN)
	if err != nil {
		return key{}, err
	}
	// SoftHSM tells no length of a key that was unwrapped. Unwrap knows it to be the one that was wrapped, which had one.
	untold := isUint(size[0], 0) && slices.Contains(k.cfg.Imported, w.id)
	if !isUint(size[0], secretSize) && !untold {
		return key{}, refusal(w.id, fmt.Errorf("%w: not an AES-256 key", errUnfit))
	}
	return key{private: secret[0]}, nil
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

// assertion is what a boolean attribute must be.
type assertion struct {
	attribute uint
	name      string
	value     bool
}

// Attributes that every key of ours has, those that say where it has been, and those of each use.
var (
	kept = []assertion{{p11.CKA_PRIVATE, "CKA_PRIVATE", true}, {p11.CKA_SENSITIVE, "CKA_SENSITIVE", true}}
	born = []assertion{{p11.CKA_ALWAYS_SENSITIVE, "CKA_ALWAYS_SENSITIVE", true}, {p11.CKA_LOCAL, "CKA_LOCAL", true}}
	// inside is what a wrappable key is not.
	inside      = []assertion{{p11.CKA_EXTRACTABLE, "CKA_EXTRACTABLE", false}}
	neverOut    = []assertion{{p11.CKA_NEVER_EXTRACTABLE, "CKA_NEVER_EXTRACTABLE", true}}
	usedFor     = map[Use][]assertion{Signing: {{p11.CKA_SIGN, "CKA_SIGN", true}}, Sealing: secretUse(true), Wrapping: secretUse(false)}
	secretUses  = []uint{p11.CKA_ENCRYPT, p11.CKA_DECRYPT, p11.CKA_WRAP, p11.CKA_UNWRAP, p11.CKA_SIGN, p11.CKA_VERIFY, p11.CKA_DERIVE}
	secretNames = []string{"CKA_ENCRYPT", "CKA_DECRYPT", "CKA_WRAP", "CKA_UNWRAP", "CKA_SIGN", "CKA_VERIFY", "CKA_DERIVE"}
)

// secretUse says what a secret key may do: encrypt and decrypt, or wrap and unwrap, and nothing else.
func secretUse(seals bool) (list []assertion) {
	for i, attribute := range secretUses {
		want := i < 2
		if !seals {
			want = i == 2 || i == 3
		}
		list = append(list, assertion{attribute, secretNames[i], want})
	}
	return list
}

// demands is all that is asked of the attributes of a key: it never was, and cannot get, outside the token, unless the
// configuration says that it was brought in or may be wrapped.
func (k *Keyring) demands(w wanted) []assertion {
	brought, wrappable := slices.Contains(k.cfg.Imported, w.id), slices.Contains(k.cfg.Wrappable, w.id)
	want := slices.Concat(kept, usedFor[w.use])
	if !brought {
		want = append(want, born...)
	}
	if !wrappable {
		want = append(want, inside...)
	}
	if !brought && !wrappable {
		want = append(want, neverOut...)
	}
	return want
}

// assert holds the object to its type and attributes.
func (l *library) assert(s session, o object, keyType uint, want []assertion) error {
	names := []uint{p11.CKA_KEY_TYPE}
	for _, w := range want {
		names = append(names, w.attribute)
	}
	values, err := l.attributes(s, o, names...)
	if err != nil {
		return err
	}
	if !isUint(values[0], keyType) {
		return fmt.Errorf("%w: CKA_KEY_TYPE is not %#x", errUnfit, keyType)
	}
	for i, w := range want {
		if v := values[i+1]; len(v) != 1 || (v[0] != 0) != w.value {
			return fmt.Errorf("%w: %s is not %t", errUnfit, w.name, w.value)
		}
	}
	return nil
}

// public reads the public key of a public object.
func (l *library) public(s session, o object) (keymgmt.PublicKey, error) {
	values, err := l.attributes(s, o, p11.CKA_KEY_TYPE, p11.CKA_EC_PARAMS, p11.CKA_EC_POINT)
	if err != nil {
		return keymgmt.PublicKey{}, err
	}
	a := algorithmOf(values[0], values[1])
	if a.String() == "" {
		return keymgmt.PublicKey{}, fmt.Errorf("%w: public key is of no curve that is used here", errUnfit)
	}
	return parsePoint(a, values[2])
}
