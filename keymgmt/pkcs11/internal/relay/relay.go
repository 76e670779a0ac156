// Package relay is what a keyring in one process and its device in another share: the messages on their way, and what is
// done with the signatures that come back.
//
// A message gets here only after the Approval for it was spent, by the process that holds the policy. The process with
// the device signs on that one's word. Since this package is internal to keymgmt/pkcs11, nobody outside can make a
// Messages, and so nobody else can use the door that takes them.
package relay

import (
	"errors"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/signature"
)

// ErrMismatch: the device's signature is none of that message by that key.
var ErrMismatch = errors.New("pkcs11: signature does not verify")

// Messages are what an Approval was spent for. The zero value holds none.
type Messages struct{ list [][]byte }

// New takes messages that an Approval was spent for. They must not change afterwards.
func New(spent [][]byte) Messages { return Messages{spent} }

// List returns the messages, in order.
func (m Messages) List() [][]byte { return m.list }

// Finish brings what a device made into the one form there is for the key's algorithm, and verifies it.
func Finish(public keymgmt.PublicKey, message, raw []byte) (signature.Verified, error) {
	finish := signature.FromECDSA
	if public.Algorithm() == keymgmt.Ed25519 {
		finish = signature.Check
	}
	finished, err := finish(public, message, raw)
	if err != nil {
		return signature.Verified{}, ErrMismatch
	}
	return finished, nil
}
