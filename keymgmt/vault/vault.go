// Package vault is the keyring whose private keys live in Vault (or OpenBao), and what else the gateway has of Vault:
// sealing of data under keys that stay there, and the programs' own certificates.
//
//	client, err := vault.New(vault.Config{Address: "https://vault.example:8200", CAFile: "vault-ca.pem", ...})
//	ring, err := vault.NewKeyring(client, vault.KeyringConfig{Transit: "transit", Keys: keys})
//	go client.Run(ctx) // logs in, renews, logs in again; until then everything is unavailable
//	err = ring.Check(ctx)
//	signatures, err := ring.Sign(ctx, approval)
//
// How it is made safe:
//
//   - A signing key is pinned: the configuration names its version and, once it is known, its public key. When someone
//     rotates it in Vault, the pinned version goes on signing, and Status says that there is a newer one: on a ledger a
//     new key is a new signer, which is for people to decide.
//   - Keys that could leave Vault (exportable, allow_plaintext_backup, backed up before, imported without saying so) or
//     vanish (deletion_allowed) are refused, at start and as long as the program runs: they are read again every minute.
//   - Every signature is verified against the known public key before it is handed out.
//   - Vault has no secp256k1. Such a key is made here, sealed by a key in Vault with its id and public key as additional
//     data, unsealed for one approval and wiped. Home says so, and policy gives such keys less.
//   - Vault sealed, in standby, overloaded or away is keymgmt.ErrUnavailable, never a refusal. So is a login that fails.
//
// Requests go through Vault's own client, which is kept from what it does by itself: it is given no environment, no
// redirects, no second tries and no token of its own, its answers are bounded, and bodies pass it by, so that they can be
// wiped. Wiping covers every copy that this package makes, not those in the buffers of TLS and HTTP. The login's own token
// is a string and stays in memory until it is collected.
//
// Vault's policy for the role needs, beside "default": update on transit/sign/NAME/*, transit/encrypt/NAME and
// transit/decrypt/NAME, and read on transit/keys/NAME, for the keys used; create, update and read on KV/data/PREFIX/* for
// sealed keys kept in a key-value engine; update on PKI/sign/ROLE for certificates. Nothing else: above all not update on
// transit/keys/NAME/config or anything of transit/export and transit/backup.
package vault

import (
	"errors"
	"fmt"

	"github.com/diamante/gateway/keymgmt"
)

// The errors an operator meets. Callers see them wrapped in keymgmt.ErrUnavailable or keymgmt.ErrUnknownKey.
var (
	// ErrKeyRefused: the key is there but must not be used: it could leave Vault or vanish, is of another type or not
	// the one that is pinned, does not open, or made a signature that does not verify.
	ErrKeyRefused = errors.New("vault: key refused")
	// ErrForbidden: Vault denies the login, or the request even after a fresh login.
	ErrForbidden = errors.New("vault: permission denied")
	// ErrWrappingToken: ALARM. The wrapping token of the secret id is spent or expired, or was made elsewhere than it
	// should be, and not we used it: somebody else may have the secret id and be logged in with it. Destroy the role's
	// secret ids, find out who unwrapped it, and only then make a new one.
	ErrWrappingToken = errors.New("vault: ALARM: the wrapping token was used by somebody else, expired, or is not ours")
	// ErrNoSecretID: a login needs a new wrapped secret id, and there is none; an operator or deployment must put it there.
	ErrNoSecretID = errors.New("vault: no unused wrapping token for a secret id")
	// ErrNotSealed: the sealed text does not open: another key, other additional data, or damaged.
	ErrNotSealed = errors.New("vault: sealed text does not open")
	// ErrExists: a key of that name is there already; nothing was changed.
	ErrExists = errors.New("vault: exists already")
)

// errAbsent: nothing at that path.
var errAbsent = errors.New("vault: not found")

// refusal is the answer for a key that an operator must look at.
func refusal(id keymgmt.KeyID, why string) error {
	return fmt.Errorf("%w: %w: key %s %s", keymgmt.ErrUnknownKey, ErrKeyRefused, id, why)
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", keymgmt.ErrUnavailable, err) }
