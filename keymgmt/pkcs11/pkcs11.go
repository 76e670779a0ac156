// Package pkcs11 is the keyring whose keys live in a hardware security module, reached through its PKCS#11 library. It
// links C, and a vendor's library can take the process down, so only diamante-signer links it, and package child runs it
// in a process of its own.
//
//	ring, err := pkcs11.Open(pkcs11.Config{Module: "/usr/lib/softhsm/libsofthsm2.so", TokenLabel: "diamante", PIN: readPIN, MaxSessions: 8})
//	signatures, err := ring.Sign(ctx, approval)      // Ed25519, secp256k1, P-256
//	sealed, err := ring.Seal(ctx, key, secret, aad)  // AES-256-GCM
//	profile, err := pkcs11.Doctor(ctx, config)       // what the device can do, before it is put to use
//
// What makes a keyring survive its device (package layout follows these):
//
//   - The token is found by label, and serial if given; slot numbers change between starts.
//   - A PIN is tried once. A refused PIN is remembered, here and by the token, until an operator acts: a loop that
//     retries a PIN locks the token and with it every key.
//   - One session, never lent, holds the login: when the last session of a process closes, the login and all handles
//     of private objects die with it.
//   - Sessions come from a bounded pool, last in first out. A session that saw any error is closed, never reused. The
//     pool shrinks while the token has no room, and grows again.
//   - Object handles are good for one epoch only. After a new login they are looked up again, since a stale handle can
//     address another object. For the same reason every signature is verified before it is handed out.
//   - A key is refused that ever was, or could get, outside the token, unless Config names it. Each key has one use.
//   - When the device fails, a breaker answers at once and lets one caller at a time try a restart of the library. What
//     a bad text makes a device say is told apart from that, so that nobody can stop all signing with one.
//
// C calls cannot be cancelled. A caller whose context ends stops waiting; the call ends when it ends, and holds its
// place in the pool until then. A call that never ends is what package child is for.
package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11/internal/relay"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/signature"
)

// Limits of Config.
const (
	MaxSessions   = 1024
	maxTokenLabel = 32 // PKCS#11 pads labels to this
)

// The errors an operator meets. Callers of a Signer see them as keymgmt.ErrUnavailable or keymgmt.ErrUnknownKey, which
// they wrap.
var (
	// ErrPIN: the token refused the PIN, now or before, and it is not tried again. An operator corrects the PIN and
	// allows one more try.
	ErrPIN = errors.New("pkcs11: PIN refused")
	// ErrToken: no token of that label and serial, or more than one.
	ErrToken = errors.New("pkcs11: token not found")
	// ErrKeyRefused: the key is there but must not be used: several objects under one label, attributes that would let
	// the private key leave the token, or signatures that do not verify.
	ErrKeyRefused = errors.New("pkcs11: key refused")
	// ErrCannotWrap: the key may not leave the token, or the device has no way to let it, as SoftHSM with Ed25519. Such a
	// key is backed up by cloning the token, where the vendor offers that, or not at all.
	ErrCannotWrap = errors.New("pkcs11: key cannot be wrapped")
	// ErrNotSealed: the sealed text does not open: another key, other additional data, or damaged.
	ErrNotSealed = errors.New("pkcs11: sealed text does not open")
	// ErrExists: a token or a key of that label is there already; nothing was changed.
	ErrExists = errors.New("pkcs11: exists already")
)

// Config says where the keys are.
type Config struct {
	// Module is the absolute path of the PKCS#11 library.
	Module string
	// TokenLabel is the token's label, at most 32 characters.
	TokenLabel string
	// TokenSerial is the token's serial number; needed when several tokens have the label.
	TokenSerial string
	// PIN reads the user's PIN, once for each login. The bytes are wiped after use.
	PIN func() ([]byte, error)
	// LoggedIn, if not nil, is told how each try of the PIN ended. It must return at once.
	LoggedIn func(err error)
	// MaxSessions is how many signatures may be in the making at once, 1 to 1024. The token must allow two more
	// sessions: one that holds the login and one for generating keys.
	MaxSessions int
	// RetryPIN allows one try of the PIN although the token remembers that the last one tried was wrong. Only for an
	// operator's command: set in a service, it would lock the token after some restarts.
	RetryPIN bool
	// Imported are keys that were made elsewhere and brought to the token, or back to it from a backup. Only of these it
	// is not asked that they never were outside (CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE).
	Imported []keymgmt.KeyID
	// Wrappable are keys that may leave the token encrypted by a wrapping key, as a backup. Only of these it is not asked
	// that they cannot (CKA_EXTRACTABLE false).
	Wrappable []keymgmt.KeyID
}

// Validate reports what is missing or out of range.
func (c Config) Validate() error {
	switch {
	case !filepath.IsAbs(c.Module):
		return fmt.Errorf("pkcs11: module %q is not an absolute path", c.Module)
	case c.TokenLabel == "" || len(c.TokenLabel) > maxTokenLabel:
		return fmt.Errorf("pkcs11: token label %q must have 1 to %d characters", c.TokenLabel, maxTokenLabel)
	case c.PIN == nil:
		return errors.New("pkcs11: no source of the PIN")
	case c.MaxSessions < 1 || c.MaxSessions > MaxSessions:
		return fmt.Errorf("pkcs11: max sessions %d must be 1 to %d", c.MaxSessions, MaxSessions)
	case slices.ContainsFunc(slices.Concat(c.Imported, c.Wrappable), keymgmt.KeyID.IsZero):
		return errors.New("pkcs11: an imported or wrappable key without a name")
	}
	return nil
}

// Keyring signs with keys of one token. It is safe for concurrent use.
type Keyring struct {
	cfg   Config
	lib   *library
	seats *seats // one place for each call in the making

	// login is held for reading while sessions are used and for writing while the login changes, so that sessions are
	// never closed and the library is never finalised under a call in flight.
	login sync.RWMutex
	epoch *epoch // guarded by login; nil while not logged in

	mu      sync.Mutex // guards what follows; never held during a C call
	breaker breaker
	known   map[wanted]keymgmt.PublicKey // public keys seen, for the life of the process
	frozen  map[keymgmt.KeyID]bool       // keys whose signatures did not verify twice in a row
	lost    map[wanted]bool              // known keys that were absent at the last look
	stats   Stats

	deviceIV   atomic.Bool // the device chooses the IVs of AES-GCM
	generating sync.Mutex  // one at a time, so that two cannot both find a label free
}

// Open loads the library. It does not talk to the token: that happens at the first use, so that a signer starts, and
// says what is wrong, while its device is away. A process can have one keyring for each library at a time.
func Open(cfg Config) (*Keyring, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	lib, err := load(cfg.Module)
	if err != nil {
		return nil, err
	}
	return &Keyring{cfg: cfg, lib: lib, seats: newSeats(cfg.MaxSessions),
		known: map[wanted]keymgmt.PublicKey{}, frozen: map[keymgmt.KeyID]bool{}, lost: map[wanted]bool{}}, nil
}

// Close logs out and releases the library. It waits for calls in flight.
func (k *Keyring) Close() error {
	k.login.Lock()
	defer k.login.Unlock()
	k.mu.Lock()
	closed := k.breaker.close()
	k.mu.Unlock()
	if closed {
		return nil
	}
	k.epoch = nil
	return k.lib.release()
}

// Public returns the public key of key.
func (k *Keyring) Public(ctx context.Context, key keymgmt.KeyID) (keymgmt.PublicKey, error) {
	return with(ctx, k, func(e *epoch, s session) (keymgmt.PublicKey, error) {
		found, err := k.find(e, s, key)
		return found.public, err
	})
}

// Home is the device, whatever key it is of.
func (k *Keyring) Home(keymgmt.KeyID) keymgmt.Home { return keymgmt.Hardware }

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
	signatures := make([]signature.Verified, len(messages))
	for i, m := range messages {
		if signatures[i], err = k.sign(ctx, a.Key(), m); err != nil {
			return nil, err
		}
	}
	return signatures, nil
}

// SignSpent makes what a device makes of messages whose Approval another process spent, the one that started this one for
// the sake of the device. It is not verified and not in its final form: relay.Finish does both, over there.
func (k *Keyring) SignSpent(ctx context.Context, id keymgmt.KeyID, messages relay.Messages) ([][]byte, error) {
	return with(ctx, k, func(e *epoch, s session) ([][]byte, error) {
		found, err := k.find(e, s, id)
		if err != nil {
			return nil, err
		}
		raw := make([][]byte, len(messages.List()))
		for i, m := range messages.List() {
			if err := fits(found.public.Algorithm(), m); err != nil {
				return nil, err
			}
			if raw[i], err = k.lib.sign(s, found, m); err != nil {
				return nil, err
			}
		}
		return raw, nil
	})
}

func (k *Keyring) sign(ctx context.Context, id keymgmt.KeyID, message []byte) (signature.Verified, error) {
	sig, err := with(ctx, k, func(e *epoch, s session) (none signature.Verified, err error) {
		found, err := k.find(e, s, id)
		if err != nil {
			return none, err
		}
		if err := fits(found.public.Algorithm(), message); err != nil {
			return none, err
		}
		raw, err := k.lib.sign(s, found, message)
		if err != nil {
			return none, err
		}
		return relay.Finish(found.public, message, raw)
	})
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		k.stats.Signatures++
	case errors.Is(err, relay.ErrMismatch):
		k.frozen[id] = true // with fresh handles, too: a fault or an attack, not ours to retry
		k.stats.Mismatches++
	}
	return sig, err
}

// Ping reports whether the token is there and logged in, trying to get it back if it is not.
func (k *Keyring) Ping(ctx context.Context) error {
	_, err := with(ctx, k, func(e *epoch, s session) (struct{}, error) { return struct{}{}, k.confirm(e, s) })
	return err
}

// Stats counts what happened since Open.
type Stats struct {
	Signatures uint64 // made and verified
	Opened     uint64 // sessions opened for the pool
	Evicted    uint64 // sessions closed because a call on them failed
	Logins     uint64 // epochs begun
	Trips      uint64 // times that the breaker opened
	Mismatches uint64 // keys frozen because their signatures did not verify: look at once
	Shrinks    uint64 // times that the token had no room, and the pool gave some up
	Idle       int    // sessions in the pool now
	InUse      int    // calls in the making now
	Places     int    // how many there can be now; MaxSessions unless the pool has shrunk
}

// Stats returns the counts, for metrics.
func (k *Keyring) Stats() Stats {
	k.login.RLock()
	e := k.epoch
	k.login.RUnlock()
	k.mu.Lock()
	s := k.stats
	k.mu.Unlock()
	if e != nil {
		s.Idle = e.idleCount()
	}
	s.Places, s.InUse = k.seats.counts()
	return s
}

func (k *Keyring) count(f func(*Stats)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(&k.stats)
}
