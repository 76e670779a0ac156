package keymgmt

import (
	"errors"
	"fmt"
	"time"
)

// ErrNotYet: the policy allows it later. NotBefore says when to ask again, with the same Ref and Body.
var ErrNotYet = errors.New("keymgmt: not yet")

// Early is an ErrNotYet that says when to ask again.
type Early struct{ NotBefore time.Time }

// Error tells the time.
func (e *Early) Error() string {
	return fmt.Sprintf("%v: ask again at %s", ErrNotYet, e.NotBefore.UTC().Format(time.RFC3339))
}

// Unwrap returns ErrNotYet.
func (e *Early) Unwrap() error { return ErrNotYet }

// NotBefore returns when to ask again after err. Not ok: err does not say so.
func NotBefore(err error) (at time.Time, ok bool) {
	var early *Early
	if !errors.As(err, &early) {
		return time.Time{}, false
	}
	return early.NotBefore, true
}
