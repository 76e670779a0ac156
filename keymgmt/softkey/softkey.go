//go:build !release

package softkey

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"sync"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/signature"
)

// Keyring holds private keys in memory. It is safe for concurrent use.
type Keyring struct {
	mu   sync.RWMutex // guards what follows
	keys map[keymgmt.KeyID]ed25519.PrivateKey
	away error
}

// New returns a keyring with a new random key for each id.
func New(ids ...keymgmt.KeyID) *Keyring {
	k := &Keyring{keys: map[keymgmt.KeyID]ed25519.PrivateKey{}}
	for _, id := range ids {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			panic("softkey: the system has no randomness: " + err.Error())
		}
		k.keys[id] = private
	}
	return k
}

// Put adds or replaces the key of id, for tests that need the same key twice.
func (k *Keyring) Put(id keymgmt.KeyID, private ed25519.PrivateKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[id] = private
}

// Break makes every call fail with keymgmt.ErrUnavailable and the reason, until mend is called.
func (k *Keyring) Break(reason error) (mend func()) {
	set := func(err error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.away = err
	}
	set(fmt.Errorf("%w: %w", keymgmt.ErrUnavailable, reason))
	return func() { set(nil) }
}

func (k *Keyring) find(ctx context.Context, id keymgmt.KeyID) (ed25519.PrivateKey, error) {
	if err := k.Ping(ctx); err != nil {
		return nil, err
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	private, ok := k.keys[id]
	if !ok {
		return nil, fmt.Errorf("%w: %s", keymgmt.ErrUnknownKey, id)
	}
	return private, nil
}

// Public returns the public key of id.
func (k *Keyring) Public(ctx context.Context, id keymgmt.KeyID) (keymgmt.PublicKey, error) {
	private, err := k.find(ctx, id)
	if err != nil {
		return keymgmt.PublicKey{}, err
	}
	return keymgmt.NewPublicKey(keymgmt.Ed25519, private[ed25519.SeedSize:])
}

// Sign spends the approval and signs its messages.
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
	private, err := k.find(ctx, a.Key())
	if err != nil {
		return nil, err
	}
	public, err := keymgmt.NewPublicKey(keymgmt.Ed25519, private[ed25519.SeedSize:])
	if err != nil {
		return nil, err
	}
	signatures := make([]signature.Verified, len(messages))
	for i, m := range messages {
		if signatures[i], err = signature.Check(public, m, ed25519.Sign(private, m)); err != nil {
			return nil, err
		}
	}
	return signatures, nil
}

// Home claims to be hardware, which it stands in for in tests.
func (k *Keyring) Home(keymgmt.KeyID) keymgmt.Home { return keymgmt.Hardware }

// Ping reports whether the keyring was broken on purpose.
func (k *Keyring) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.away
}
