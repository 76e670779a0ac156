package keymgmt

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Order stops keys or lets them sign again, on the word of officers. Any one officer can freeze; a quorum thaws. Whoever
// delivers it need not be trusted: it proves itself, and counts once.
type Order struct {
	Network string           `json:"network"` // the network's id in small hex digits, so that it is good for one installation
	Action  Action           `json:"action"`
	Key     string           `json:"key"`    // a key id, or EveryKey
	Nonce   string           `json:"nonce"`  // of NewNonce
	Issued  time.Time        `json:"issued"` // in whole seconds
	Reason  string           `json:"reason"` // for those who read the log
	Signers []OrderSignature `json:"signatures"`
}

// OrderSignature is one officer's signature over the order's text.
type OrderSignature struct {
	Officer   string   `json:"officer"`
	Signature []byte   `json:"signature"` // 64 bytes, base64, as in a Consent
	Passkey   *Passkey `json:"passkey,omitempty"`
}

// EveryKey stands for all keys of a signer, those of the future included.
const EveryKey = "*"

// Action is what an Order does. The empty action is invalid.
type Action string

// The actions.
const (
	Freeze Action = "freeze"
	Thaw   Action = "thaw"
)

// maxReason bounds an order's reason, in bytes.
const maxReason = 200

// Validate checks the shape of an order.
func (o Order) Validate() error {
	switch {
	case o.Action != Freeze && o.Action != Thaw:
		return fmt.Errorf("%w: action %.40q", ErrMalformed, o.Action)
	case !networkID(o.Network):
		return fmt.Errorf("%w: network %.80q", ErrMalformed, o.Network)
	case !nonce(o.Nonce):
		return fmt.Errorf("%w: nonce %.80q", ErrMalformed, o.Nonce)
	case o.Issued.IsZero() || o.Issued.Nanosecond() != 0:
		return fmt.Errorf("%w: an order is issued at a whole second", ErrMalformed)
	case len(o.Signers) == 0 || len(o.Signers) > MaxConsents:
		return fmt.Errorf("%w: %d signatures, need 1 to %d", ErrMalformed, len(o.Signers), MaxConsents)
	case len(o.Reason) > maxReason:
		return fmt.Errorf("%w: a reason of over %d bytes", ErrMalformed, maxReason)
	}
	for _, r := range o.Reason {
		if r < ' ' || r > '~' {
			return fmt.Errorf("%w: a reason that is not one line of printable ASCII", ErrMalformed)
		}
	}
	for _, s := range o.Signers {
		if !person(s.Officer) || len(s.Signature) != consentSize {
			return fmt.Errorf("%w: officer %.80q with a signature of %d bytes", ErrMalformed, s.Officer, len(s.Signature))
		}
		if err := s.Passkey.validate(); err != nil {
			return err
		}
	}
	if o.Key != EveryKey {
		_, err := ParseKeyID(o.Key)
		return err
	}
	return nil
}

// networkID reports whether s is the id of a network, in its one form.
func networkID(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == sha256.Size && hex.EncodeToString(raw) == s
}
