package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
)

// MaxKeys bounds how many keys List reads of one token.
const MaxKeys = 4096

// key is a key of the token, with a handle that is good for one epoch.
type key struct {
	private object
	public  keymgmt.PublicKey
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
func (k *Keyring) recognise(id keymgmt.KeyID, public keymgmt.PublicKey) bool {
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
	found := key{private: private[0]}
	if found.public, err = k.lib.public(s, public[0]); err != nil {
		return key{}, because(id, err)
	}
	if err := k.guarded(s, id, found); err != nil {
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

// assertion is what a boolean attribute must be.
type assertion struct {
	attribute uint
	name      string
	value     bool
}

// Attributes that every key of ours has, those that say where it has been, and that of one which can sign.
var (
	kept = []assertion{
		{p11.CKA_PRIVATE, "CKA_PRIVATE", true},
		{p11.CKA_SENSITIVE, "CKA_SENSITIVE", true},
		{p11.CKA_EXTRACTABLE, "CKA_EXTRACTABLE", false},
	}
	born = []assertion{
		{p11.CKA_ALWAYS_SENSITIVE, "CKA_ALWAYS_SENSITIVE", true},
		{p11.CKA_NEVER_EXTRACTABLE, "CKA_NEVER_EXTRACTABLE", true},
		{p11.CKA_LOCAL, "CKA_LOCAL", true},
	}
	signs = []assertion{{p11.CKA_SIGN, "CKA_SIGN", true}}
)

// guarded refuses a private key that ever was, or could get, outside the token, unless the configuration says that it
// was brought in.
func (k *Keyring) guarded(s session, id keymgmt.KeyID, found key) error {
	want := slices.Concat(kept, signs)
	if !slices.Contains(k.cfg.Imported, id) {
		want = slices.Concat(want, born)
	}
	return k.lib.assert(s, found.private, curves[found.public.Algorithm()].keyType, want)
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
					item.Public = found.public
				}
			}
			list = append(list, item)
		}
		sort.Slice(list, func(i, j int) bool { return list[i].Label < list[j].Label })
		return list, nil
	})
}
