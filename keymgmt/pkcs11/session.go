package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
)

// How often a call is repeated while the token has no room, and the pause before the first repetition; it doubles.
const (
	capacityTries = 6
	capacityPause = 5 * time.Millisecond
)

// errLoggedOut: the session is there, but not the login.
var errLoggedOut = errors.New("pkcs11: not logged in")

// epoch is what one login gives: sessions and handles are good for as long as it lasts.
type epoch struct {
	slot     uint
	sentinel session // holds the login; never lent

	mu   sync.Mutex // guards what follows
	idle []session
	keys map[wanted]key
}

func (e *epoch) idleCount() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.idle)
}

// borrow takes the session that was used last, which is the likeliest to be alive, or opens one. fresh insists on a new
// one: where one session of the pool has died, the others probably have, too.
func (k *Keyring) borrow(e *epoch, fresh bool) (session, error) {
	e.mu.Lock()
	if n := len(e.idle); n > 0 && !fresh {
		s := e.idle[n-1]
		e.idle = e.idle[:n-1]
		e.mu.Unlock()
		return s, nil
	}
	e.mu.Unlock()
	s, err := k.lib.openSession(e.slot, 0)
	if err == nil {
		k.count(func(s *Stats) { s.Opened++ })
	}
	return s, err
}

// giveBack returns a session. After any failed call it is closed instead: an operation may still be active on it.
func (k *Keyring) giveBack(e *epoch, s session, err error) {
	if err != nil && classify(err) != classAnswer {
		k.lib.closeSession(s)
		k.count(func(s *Stats) { s.Evicted++ })
		return
	}
	places, _ := k.seats.counts()
	e.mu.Lock()
	full := len(e.idle) >= places
	if !full {
		e.idle = append(e.idle, s)
	}
	e.mu.Unlock()
	if full { // the pool has shrunk
		k.lib.closeSession(s)
	}
}

// with runs f with a session of a logged-in epoch, again where a failure is of a class that another session or another
// login can mend. The work is done by a goroutine of its own, since C calls know nothing of contexts; the number of
// goroutines is bounded by the seats.
func with[T any](ctx context.Context, k *Keyring, f func(*epoch, session) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if err := k.seats.take(ctx, time.Now()); err != nil {
		return none, err
	}
	if ctx.Done() == nil { // a caller who waits to the end needs nobody to wait for him
		defer func() { k.seats.leave(time.Now()) }()
		return repeat(ctx, k, f)
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := repeat(ctx, k, f)
		k.seats.leave(time.Now()) // before the answer: who has it can count on the place being free
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// repeat allows one repetition for a lost session and one for a lost login, since the second often shows only after the
// first, and a few for a lack of room.
func repeat[T any](ctx context.Context, k *Keyring, f func(*epoch, session) (T, error)) (T, error) {
	var none T
	var sessions, logins, waits int
	for {
		if err := ctx.Err(); err != nil {
			return none, err
		}
		used, value, err := once(k, sessions > 0, f)
		if err == nil {
			return value, nil
		}
		switch c := classify(err); {
		case c == classSession && sessions == 0:
			sessions++
		case c == classLogin && logins == 0:
			logins++
			if err := k.renew(used); err != nil {
				return none, answer(err)
			}
		case c == classCapacity && waits < capacityTries:
			k.makeRoom(used)
			if err := pause(ctx, capacityPause<<waits); err != nil {
				return none, err
			}
			waits++
		case c == classDevice:
			k.trip(used, err)
			return none, answer(err)
		default:
			return none, answer(err)
		}
	}
}

// makeRoom gives the token back what it can do without, and keeps callers from asking for it again at once.
func (k *Keyring) makeRoom(e *epoch) {
	k.seats.shrink(time.Now())
	k.count(func(s *Stats) { s.Shrinks++ })
	k.login.RLock()
	defer k.login.RUnlock()
	if e == nil || k.epoch != e {
		return
	}
	e.mu.Lock()
	idle := e.idle
	e.idle = nil
	e.mu.Unlock()
	for _, s := range idle {
		k.lib.closeSession(s)
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// once runs f with one session and says in which epoch.
func once[T any](k *Keyring, fresh bool, f func(*epoch, session) (T, error)) (used *epoch, value T, err error) {
	k.login.RLock()
	if k.epoch == nil {
		k.login.RUnlock()
		if err := k.connect(); err != nil {
			return nil, value, err
		}
		k.login.RLock()
	}
	defer k.login.RUnlock()
	e := k.epoch
	if e == nil {
		return nil, value, fmt.Errorf("%w: token went away again", keymgmt.ErrUnavailable)
	}
	s, err := k.borrow(e, fresh)
	if err != nil {
		return e, value, err
	}
	value, err = f(e, s)
	k.giveBack(e, s, err)
	return e, value, err
}

// connect restarts the library and logs in, unless somebody else has, or the breaker says not to try.
func (k *Keyring) connect() error {
	k.mu.Lock()
	away := k.breaker.err != nil || k.breaker.refused != nil || k.breaker.closed
	if away { // no waiting for the login lock while a device is known to be away
		if err := k.breaker.enter(time.Now()); err != nil {
			k.mu.Unlock()
			return err
		}
	}
	k.mu.Unlock()

	k.login.Lock()
	defer k.login.Unlock()
	if k.epoch != nil {
		k.left(away, nil)
		return nil
	}
	k.mu.Lock()
	err := k.breaker.gone()
	if err == nil && !away { // others may have failed while this one waited
		err = k.breaker.enter(time.Now())
	}
	k.mu.Unlock()
	if err != nil {
		return err
	}
	err = k.lib.restart()
	if err == nil {
		var slot uint
		if slot, err = k.lib.token(k.cfg.TokenLabel, k.cfg.TokenSerial); err == nil {
			err = k.begin(slot)
		}
	}
	k.left(true, err)
	if err != nil {
		return answer(err)
	}
	return nil
}

func (k *Keyring) left(entered bool, err error) {
	if !entered {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.breaker.leave(time.Now(), err)
	if err != nil {
		k.stats.Trips++
	}
}

// renew ends the epoch and logs in again, unless somebody else has already.
func (k *Keyring) renew(old *epoch) error {
	k.login.Lock()
	defer k.login.Unlock()
	if k.epoch != old || old == nil {
		return nil
	}
	k.epoch = nil
	err := k.lib.closeAllSessions(old.slot)
	if err == nil {
		err = k.begin(old.slot)
	}
	if err != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.breaker.trip(time.Now(), err)
		k.stats.Trips++
	}
	return err
}

// trip ends the epoch and opens the breaker, unless the failure is of an epoch that has ended already.
func (k *Keyring) trip(old *epoch, err error) {
	k.login.Lock()
	defer k.login.Unlock()
	if k.epoch != old || old == nil {
		return
	}
	k.epoch = nil
	k.mu.Lock()
	defer k.mu.Unlock()
	k.breaker.trip(time.Now(), err)
	k.stats.Trips++
}

// begin logs in and begins an epoch. The caller holds the login lock.
func (k *Keyring) begin(slot uint) error {
	info, err := k.lib.tokenInfo(slot)
	if err != nil {
		return err
	}
	if info.Flags&p11.CKF_USER_PIN_LOCKED != 0 {
		return k.refuse(errors.New("the PIN is locked"))
	}
	// The token remembers a wrong PIN across our restarts; without this a service that is restarted in a loop would
	// lock it.
	if info.Flags&(p11.CKF_USER_PIN_COUNT_LOW|p11.CKF_USER_PIN_FINAL_TRY) != 0 && !k.cfg.RetryPIN {
		return k.refuse(errors.New("the token remembers that the last PIN tried was wrong"))
	}
	sentinel, err := k.lib.openSession(slot, 0)
	if err != nil {
		return err
	}
	if err := k.logIn(sentinel); err != nil {
		k.lib.closeSession(sentinel)
		return err
	}
	k.epoch = &epoch{slot: slot, sentinel: sentinel, keys: map[wanted]key{}}
	k.count(func(s *Stats) { s.Logins++ })
	return nil
}

func (k *Keyring) logIn(s session) error {
	pin, err := k.cfg.PIN()
	defer clear(pin)
	if err != nil {
		return fmt.Errorf("%w: reading the PIN: %w", keymgmt.ErrUnavailable, err)
	}
	if len(pin) == 0 {
		return fmt.Errorf("%w: reading the PIN: it is empty", keymgmt.ErrUnavailable)
	}
	err = k.lib.logIn(s, p11.CKU_USER, pin)
	if k.cfg.LoggedIn != nil {
		k.cfg.LoggedIn(answer(err))
	}
	if err != nil && classify(err) == classPIN {
		return k.refuse(err)
	}
	return err
}

// refuse remembers that the PIN was refused, so that it is not tried again for the life of this keyring.
func (k *Keyring) refuse(why error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.breaker.refused = fmt.Errorf("%w: %w: %w; it is not tried again until an operator allows it", keymgmt.ErrUnavailable, ErrPIN, why)
	return k.breaker.refused
}

// confirm reports whether the token is there and the session logged in. Without it, an absent token and a lost login
// look like a token without the key.
func (k *Keyring) confirm(e *epoch, s session) error {
	in, err := k.lib.loggedIn(s)
	if err != nil {
		return err
	}
	if !in {
		return errLoggedOut
	}
	info, err := k.lib.tokenInfo(e.slot)
	if err != nil {
		return err
	}
	if !isToken(info, k.cfg.TokenLabel, k.cfg.TokenSerial) {
		return fmt.Errorf("%w: the slot holds %q now", ErrToken, strings.TrimRight(info.Label, " "))
	}
	return nil
}
