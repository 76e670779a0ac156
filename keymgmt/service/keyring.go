package service

import (
	"context"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/signature"
)

// Keyring is where private keys live: an HSM, Vault, or memory in tests. It is safe for concurrent use.
//
// Every error is one of these, told apart with errors.Is: keymgmt.ErrUnavailable when the keys' home cannot be reached
// or refuses for now (it may work later, and the service will ask again with a new Approval), keymgmt.ErrUnknownKey
// when there is no such key, or more than one (an operator must act), the context's own error, or that of
// Approval.Spend. A keyring may retry within one call, since nobody sees
// what the first try made; it never retries a PIN.
type Keyring interface {
	// Public returns the public key of key.
	Public(ctx context.Context, key keymgmt.KeyID) (keymgmt.PublicKey, error)
	// Sign spends the approval for the key it names and returns one signature for each of its messages, in their
	// order, each verified. The service makes sure that they are of the messages and the key that it means.
	Sign(ctx context.Context, a *policy.Approval) ([]signature.Verified, error)
	// Home says where the private key of key is when it signs, as far as the keyring knows without a look: it need not
	// check that there is such a key. Zero for one that it cannot have.
	Home(key keymgmt.KeyID) keymgmt.Home
	// Ping reports whether signing can be expected to work now. It is cheap enough for every health check.
	Ping(ctx context.Context) error
}
