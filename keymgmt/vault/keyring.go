package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/signature"
)

// MaxKeys bounds the keys of one keyring.
const MaxKeys = 1024

// recheck is how long it is believed that a key is as it was: somebody can make it exportable at any time.
const recheck = time.Minute

// Key pins one signing key.
type Key struct {
	// ID is how the rest of the system calls it.
	ID keymgmt.KeyID
	// Algorithm is how it signs. Ed25519 and P256 keys live in Vault's transit engine; a Secp256k1 key lives in the store,
	// sealed.
	Algorithm keymgmt.Algorithm
	// Name is the name in the transit engine, if it is not the id with points for slashes. Not for Secp256k1.
	Name string
	// Version is the one version of the transit key that signs. Not for Secp256k1, which has one only.
	Version int
	// Public is the public key, once it is known; anything else is refused then. Zero takes the first one seen for the
	// life of the process.
	Public keymgmt.PublicKey
	// Imported says that the key was made elsewhere or restored from a backup, so that copies may exist outside Vault.
	// Without it such a key is refused.
	Imported bool
}

// SealingKey pins one AES-256-GCM key of the transit engine. What other versions sealed can be opened, too.
type SealingKey struct {
	// ID is how the rest of the system calls it.
	ID keymgmt.KeyID
	// Name is the name in the transit engine, if it is not the id with points for slashes.
	Name string
	// Version is the version that seals.
	Version int
}

// KeyringConfig says which keys there are. Any other key is unknown, whatever Vault holds.
type KeyringConfig struct {
	// Transit is where the transit engine is mounted.
	Transit string
	// Keys sign.
	Keys []Key
	// Sealing are the keys of Seal and Open.
	Sealing []SealingKey
	// Sealer is which of Sealing seals the Secp256k1 keys, and Store is where they are. Needed if there are any.
	Sealer keymgmt.KeyID
	Store  Store
}

// Validate reports what is missing or does not fit together.
func (c KeyringConfig) Validate() error {
	if !validPath(c.Transit) {
		return fmt.Errorf("vault: transit mount %.100q", c.Transit)
	}
	if len(c.Keys)+len(c.Sealing) > MaxKeys {
		return fmt.Errorf("vault: %d keys, more than %d", len(c.Keys)+len(c.Sealing), MaxKeys)
	}
	ids, names := map[keymgmt.KeyID]bool{}, map[string]bool{}
	unique := func(p pin) error {
		inTransit := p.algorithm != keymgmt.Secp256k1
		if p.id.IsZero() || ids[p.id] || inTransit && names[p.name] {
			return fmt.Errorf("vault: key %q without an id, or there twice", p.id)
		}
		if inTransit && (!namePattern(p.name) || p.version < 1) {
			return fmt.Errorf("vault: key %s needs a name for the transit engine, not %.100q, and a version, not %d", p.id, p.name, p.version)
		}
		ids[p.id], names[p.name] = true, names[p.name] || inTransit
		return nil
	}
	for _, k := range c.Sealing {
		if err := unique(k.pin()); err != nil {
			return err
		}
	}
	for _, k := range c.Keys {
		if k.Algorithm.String() == "" || !k.Public.IsZero() && k.Public.Algorithm() != k.Algorithm {
			return fmt.Errorf("vault: key %s has no algorithm, or a public key of another one", k.ID)
		}
		if k.Algorithm == keymgmt.Secp256k1 && (c.Store == nil || !c.seals(c.Sealer) || k.Name != "" || k.Version != 0) {
			return fmt.Errorf("vault: key %s needs a store and a sealer from among the sealing keys, and neither name nor version", k.ID)
		}
		if err := unique(k.pin()); err != nil {
			return err
		}
	}
	return nil
}

func (c KeyringConfig) seals(id keymgmt.KeyID) bool {
	for _, k := range c.Sealing {
		if k.ID == id {
			return true
		}
	}
	return false
}

// namePattern is what Vault takes as the name of a transit key.
func namePattern(name string) bool {
	return validPath(name) && !strings.Contains(name, "/") && !strings.ContainsAny(name[len(name)-1:], "-.")
}

// pin is a key of either kind. The algorithm is zero for one that seals.
type pin struct {
	id        keymgmt.KeyID
	algorithm keymgmt.Algorithm
	name      string
	version   int
	public    keymgmt.PublicKey
	imported  bool
}

func (k Key) pin() pin {
	return pin{k.ID, k.Algorithm, nameOf(k.ID, k.Name), k.Version, k.Public, k.Imported}
}

func (k SealingKey) pin() pin {
	return pin{id: k.ID, name: nameOf(k.ID, k.Name), version: k.Version}
}

func nameOf(id keymgmt.KeyID, name string) string {
	if name != "" {
		return name
	}
	return strings.ReplaceAll(id.String(), "/", ".") // an id has no points, so no two ids get one name
}

// Keyring signs and seals with keys in Vault. It is safe for concurrent use.
type Keyring struct {
	client *Client
	cfg    KeyringConfig
	pins   map[keymgmt.KeyID]pin

	mu     sync.Mutex // guards what follows
	seen   map[keymgmt.KeyID]state
	frozen map[keymgmt.KeyID]bool              // keys whose signatures did not verify
	known  map[keymgmt.KeyID]keymgmt.PublicKey // for the life of the process
}

// state is what a key was like when it was looked at.
type state struct {
	public  keymgmt.PublicKey // zero for one that seals
	latest  int               // version
	sealed  string            // the private key, for Secp256k1
	checked time.Time
}

// NewKeyring makes a keyring. It does not talk to Vault: that happens at the first use, or Check.
func NewKeyring(client *Client, cfg KeyringConfig) (*Keyring, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	k := &Keyring{client: client, cfg: cfg, pins: map[keymgmt.KeyID]pin{}, seen: map[keymgmt.KeyID]state{},
		frozen: map[keymgmt.KeyID]bool{}, known: map[keymgmt.KeyID]keymgmt.PublicKey{}}
	for _, key := range cfg.Keys {
		k.pins[key.ID] = key.pin()
	}
	for _, key := range cfg.Sealing {
		k.pins[key.ID] = key.pin()
	}
	return k, nil
}

// Public returns the public key of key.
func (k *Keyring) Public(ctx context.Context, key keymgmt.KeyID) (keymgmt.PublicKey, error) {
	_, s, err := k.signing(ctx, key)
	return s.public, err
}

// Sign spends the approval and returns the signatures of its messages, verified.
func (k *Keyring) Sign(ctx context.Context, a *policy.Approval) ([]signature.Verified, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if a == nil {
		return nil, policy.ErrSpent
	}
	messages, err := a.Spend(a.Key())
	if err != nil {
		return nil, err
	}
	return k.sign(ctx, a.Key(), messages)
}

// digestSize is the length of what ECDSA keys sign.
const digestSize = 32

func (k *Keyring) sign(ctx context.Context, id keymgmt.KeyID, messages [][]byte) ([]signature.Verified, error) {
	p, s, err := k.signing(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if len(m) > keymgmt.MaxBody || p.algorithm != keymgmt.Ed25519 && len(m) != digestSize {
			return nil, fmt.Errorf("%w: message of %d bytes for a %s key", keymgmt.ErrMalformed, len(m), p.algorithm)
		}
	}
	if p.algorithm == keymgmt.Secp256k1 {
		return k.signSealed(ctx, p, s, messages)
	}
	signatures, err := k.signTransit(ctx, p, s, messages)
	if errors.Is(err, errMismatch) { // once more: a fault, or an attack
		signatures, err = k.signTransit(ctx, p, s, messages)
	}
	if errors.Is(err, errMismatch) {
		err = k.freeze(id)
	}
	return signatures, err
}

// errMismatch: what came back does not verify under the key's public key.
var errMismatch = errors.New("vault: signature does not verify")

// freeze keeps a key from being used until an operator has looked and the program was started again.
func (k *Keyring) freeze(id keymgmt.KeyID) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frozen[id] = true
	return refusal(id, frozen)
}

const frozen = "is frozen: a signature of it did not verify"

// Ping reports whether signing can be expected to work now.
func (k *Keyring) Ping(ctx context.Context) error { return k.client.Ping(ctx) }

// Home says where the private key is when it signs. Zero for a key that is not configured, or signs nothing.
func (k *Keyring) Home(key keymgmt.KeyID) keymgmt.Home {
	switch p, ok := k.pins[key]; {
	case !ok || p.algorithm.String() == "":
		return 0
	case p.algorithm == keymgmt.Secp256k1:
		return keymgmt.SoftwareSealed
	default:
		return keymgmt.Vault
	}
}

// KeyStatus is what there is to know of one key.
type KeyStatus struct {
	ID      keymgmt.KeyID
	Public  keymgmt.PublicKey // zero for one that seals
	Version int               // the one that is used; 0 for Secp256k1
	Latest  int               // the newest in Vault: more than Version when somebody rotated the key
	Err     error             // why it cannot be used
}

// Status looks at every key now, in the order of the configuration, those that seal first.
func (k *Keyring) Status(ctx context.Context) []KeyStatus {
	var all []KeyStatus
	look := func(p pin) {
		k.forget(p.id)
		s, err := k.find(ctx, p)
		all = append(all, KeyStatus{ID: p.id, Public: s.public, Version: p.version, Latest: s.latest, Err: err})
	}
	for _, key := range k.cfg.Sealing {
		look(key.pin())
	}
	for _, key := range k.cfg.Keys {
		look(key.pin())
	}
	return all
}

// Check reports every key that cannot be used. A program calls it before it starts to serve.
func (k *Keyring) Check(ctx context.Context) error {
	var errs []error
	for _, s := range k.Status(ctx) {
		errs = append(errs, s.Err)
	}
	return errors.Join(errs...)
}

// signing returns the key of an id that can sign.
func (k *Keyring) signing(ctx context.Context, id keymgmt.KeyID) (pin, state, error) {
	p, ok := k.pins[id]
	if !ok || p.algorithm.String() == "" {
		return pin{}, state{}, k.unknown(ctx, id)
	}
	s, err := k.find(ctx, p)
	return p, s, err
}

// unknown is the answer for a key that is not configured, while Vault is there: whoever cannot reach Vault should hear
// that, and not that somebody has to change something.
func (k *Keyring) unknown(ctx context.Context, id keymgmt.KeyID) error {
	if err := k.Ping(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%w: %q", keymgmt.ErrUnknownKey, id)
}

// find returns the state of a key that can be used, and looks at it again when that was long ago.
func (k *Keyring) find(ctx context.Context, p pin) (state, error) {
	if err := ctx.Err(); err != nil {
		return state{}, err
	}
	k.mu.Lock()
	s, ok := k.seen[p.id]
	isFrozen := k.frozen[p.id]
	k.mu.Unlock()
	if isFrozen {
		return state{}, refusal(p.id, frozen)
	}
	if at := time.Now(); ok && at.Before(s.checked.Add(recheck)) {
		return s, nil
	}
	s, err := k.look(ctx, p)
	if errors.Is(err, errAbsent) {
		return state{}, fmt.Errorf("%w: %s: %w", keymgmt.ErrUnknownKey, p.id, err)
	}
	if err != nil {
		return state{}, err
	}
	return s, k.remember(p, s)
}

func (k *Keyring) look(ctx context.Context, p pin) (state, error) {
	asked := time.Now()
	read := k.readTransit
	if p.algorithm == keymgmt.Secp256k1 {
		read = k.readSealed
	}
	s, err := read(ctx, p)
	s.checked = asked
	return s, err
}

// remember stores what was seen, unless an id would change its key.
func (k *Keyring) remember(p pin, s state) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if was, ok := k.known[p.id]; ok && was != s.public || !p.public.IsZero() && p.public != s.public {
		return refusal(p.id, "has another public key than before or than configured: "+s.public.String())
	}
	if !s.public.IsZero() {
		k.known[p.id] = s.public
	}
	k.seen[p.id] = s
	return nil
}

func (k *Keyring) forget(id keymgmt.KeyID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.seen, id)
}
