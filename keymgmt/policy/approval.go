package policy

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/diamante/gateway/keymgmt"
)

// The errors of Spend. Both are faults of the program that holds the Approval; neither ever reaches a caller as a
// refusal by policy.
var (
	// ErrSpent: the approval was used before, or was not made by Decide.
	ErrSpent = errors.New("policy: approval already spent")
	// ErrOtherKey: the approval is for another key. It is burnt all the same.
	ErrOtherKey = errors.New("policy: approval is for another key")
)

// Approval is the permission to sign the messages of one request with one key, once. Decide makes it and nothing else can; a keyring
// takes it instead of bytes, so there is no way to sign what was not decided. The zero value permits nothing.
type Approval struct {
	key      keymgmt.KeyID
	kind     keymgmt.Kind
	messages [][]byte
	reserve  []Reservation
	left     atomic.Int32 // 1 until spent; 0 in the zero value, which therefore is spent
}

// Key returns the key that may sign.
func (a *Approval) Key() keymgmt.KeyID { return a.key }

// Kind returns the kind of thing that is signed.
func (a *Approval) Kind() keymgmt.Kind { return a.kind }

// Reservations returns what must be counted against the limits before signing.
func (a *Approval) Reservations() []Reservation { return append([]Reservation(nil), a.reserve...) }

// Spend gives the exact bytes to sign to the keyring that holds key, once: one message or more, each to be signed by
// itself, a digest of 32 bytes when the key is ECDSA. A keyring may use them again while it retries within the one
// call, but not keep them. Spending for another key burns the approval: whoever does that is
// confused, and a confused program should not get a second try.
func (a *Approval) Spend(key keymgmt.KeyID) (messages [][]byte, err error) {
	if a == nil || !a.left.CompareAndSwap(1, 0) {
		return nil, ErrSpent
	}
	if key != a.key {
		return nil, fmt.Errorf("%w: %s, not %s", ErrOtherKey, a.key, key)
	}
	return clone(a.messages), nil
}

func clone(messages [][]byte) [][]byte {
	copied := make([][]byte, len(messages))
	for i, m := range messages {
		copied[i] = bytes.Clone(m)
	}
	return copied
}

func approve(key keymgmt.KeyID, kind keymgmt.Kind, messages [][]byte, reserve []Reservation) *Approval {
	a := &Approval{key: key, kind: kind, messages: clone(messages), reserve: reserve}
	a.left.Store(1)
	return a
}
