// Package ceremony makes, brings back, backs up and destroys keys in front of witnesses, and leaves a transcript that shows
// afterwards, to anybody and without the device, what was done.
//
//	plan, err := ceremony.ParsePlan(raw)                       // what is to be done, in a file that people agreed on
//	t, line, err := ceremony.Begin(plan, now)                  // the transcript, with a nonce of its own
//	line, err = t.Witness("alice", aliceKey, now)              // on her machine: she has read the plan, and adds a nonce of hers
//	err = ceremony.Run(ctx, t, ceremony.Config{...})           // with enough witnesses: does what is left to do
//	line, err = t.Witness("alice", aliceKey, now)              // and what came of it
//	t, _, err = ceremony.Parse(file); report := t.Report()     // what an auditor does
//
// A transcript is lines of JSON, each with the SHA-256 of the one before. Reading it replays it: a line that does not follow
// from those before is refused, so Run, which goes on from where a transcript ends, and an auditor, who reads it to its end,
// apply the same rules. Each line is durable before the next step: what is about to be done stands there before it is done.
//
// What makes it fresh: each witness signs the transcript up to his line, with a nonce of his own, so before there were
// enough of them nobody could know the line by which a step begins. The hash of that line is the challenge that the step's
// key signs (keymgmt.Possession): the proof was made after the witnesses spoke, by a key that the device holds.
//
// What it cannot show is that the device tells the truth about itself (that a key was made inside, and cannot leave):
// attestation by the maker of the device is not part of PKCS#11. For that there are the witnesses, who see which device it
// is. They sign the end, too: a transcript without their second signatures is the operator's word alone.
package ceremony

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/diamante/gateway/keymgmt"
)

var (
	// ErrTranscript: the transcript was changed, or a line does not follow from those before.
	ErrTranscript = errors.New("ceremony: bad transcript")
	// ErrWitness: no such witness, not his key, or he has signed.
	ErrWitness = errors.New("ceremony: witness refused")
	// ErrExists: the device has a key of that name. For a Device to return.
	ErrExists = errors.New("ceremony: key exists already")
	// ErrCannotWrap: the key may not leave the device, or the device has no way to let it. For a Device to return.
	ErrCannotWrap = errors.New("ceremony: key cannot be wrapped")
	// ErrWaiting: too few witnesses have signed.
	ErrWaiting = errors.New("ceremony: waiting for witnesses")
	// ErrStep: a step failed. The transcript says so, and Run goes on with it when it is called again.
	ErrStep = errors.New("ceremony: step failed")
)

// New is a key to make. Without an algorithm it is a wrapping key.
type New struct {
	Key       keymgmt.KeyID
	Algorithm keymgmt.Algorithm
	Wrappable bool
}

// Proof is what a key says of itself and the device of it.
type Proof struct {
	Public    keymgmt.PublicKey `json:"public"`
	Traits    keymgmt.Traits    `json:"traits"`
	Signature []byte            `json:"signature"` // of a keymgmt.Possession
}

// Device is where the keys are.
type Device interface {
	// Generate makes a key inside. ErrExists when something has its name; then nothing is made.
	Generate(ctx context.Context, n New) error
	// Prove has a signing key sign a keymgmt.Possession of the challenge; keymgmt.ErrUnknownKey when there is none.
	Prove(ctx context.Context, key keymgmt.KeyID, challenge [sha256.Size]byte) (Proof, error)
	// Wrap returns the key encrypted; ErrCannotWrap when that is not to be.
	Wrap(ctx context.Context, key, wrapping keymgmt.KeyID) ([]byte, error)
	// Unwrap brings back what Wrap made, under the name; ErrExists as for Generate.
	Unwrap(ctx context.Context, key keymgmt.KeyID, wrapped []byte) error
	// Destroy removes the key and makes sure that it is gone; keymgmt.ErrUnknownKey when there is none.
	Destroy(ctx context.Context, key keymgmt.KeyID) error
}
