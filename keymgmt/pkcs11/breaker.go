package pkcs11

import (
	"fmt"
	"time"

	"github.com/diamante/gateway/keymgmt"
)

// breaker keeps callers from a device that failed. Its owner guards it.
type breaker struct {
	err     error         // why the device is away; nil while it is not
	until   time.Time     // no try before
	pause   time.Duration // after the next failure
	probing bool          // somebody is trying
	refused error         // the PIN was refused: sticky
	closed  bool
}

// Pauses between tries to get the device back.
const (
	minPause = 50 * time.Millisecond
	maxPause = 5 * time.Second
)

// enter asks to try the device. An error says that it must not be tried now.
func (b *breaker) enter(now time.Time) error {
	switch {
	case b.closed || b.refused != nil:
		return b.gone()
	case b.err != nil && (b.probing || now.Before(b.until)):
		return fmt.Errorf("%w: token is away: %w", keymgmt.ErrUnavailable, b.err)
	}
	b.probing = true
	return nil
}

// gone says why the device is not to be tried at all.
func (b *breaker) gone() error {
	if b.closed {
		return fmt.Errorf("%w: keyring is closed", keymgmt.ErrUnavailable)
	}
	return b.refused
}

// leave says how the try ended.
func (b *breaker) leave(now time.Time, err error) {
	b.probing = false
	if err == nil {
		b.err, b.pause = nil, 0
		return
	}
	b.trip(now, err)
}

func (b *breaker) trip(now time.Time, err error) {
	b.pause = min(max(2*b.pause, minPause), maxPause)
	b.err, b.until = err, now.Add(b.pause)
}

// close reports whether it was closed before.
func (b *breaker) close() (before bool) {
	before, b.closed = b.closed, true
	return before
}
