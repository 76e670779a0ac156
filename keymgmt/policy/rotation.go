package policy

import (
	"errors"
	"fmt"
	"slices"

	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
)

// RotationRule allows an account's signers to be changed, so that a key is replaced without the account: the new one is
// added, then the old one removed or left without weight. Only keys that are listed, and never a hash or a transaction
// that needs no signature.
type RotationRule struct {
	Signers []SignerRule `toml:"signer"`
	// Needs are who must approve every change of a signer, of the master key's weight and of the thresholds, besides all
	// other approvals.
	Needs []Need `toml:"need"`
}

// SignerRule is a key that may become a signer, or end being one.
type SignerRule struct {
	Account protocol.AccountID `toml:"account"`
	Weights []uint32           `toml:"weights"` // that it may be given; 0 removes it
}

// maxWeight is the greatest weight that the ledger knows.
const maxWeight = 255

func (r *RotationRule) decide(s *payload.Signer) error {
	if s == nil {
		return nil
	}
	const rule = "transaction.set_options.rotation"
	if r == nil {
		return deny(rule, "signers can't be changed")
	}
	if s.Key.Kind != payload.SignerAccount {
		return deny(rule, "signer %s is not a key", s.Key)
	}
	i := slices.IndexFunc(r.Signers, func(l SignerRule) bool { return l.Account == s.Key.Account })
	if i < 0 || !slices.Contains(r.Signers[i].Weights, s.Weight) {
		return deny(rule, "signer %s with weight %d is not allowed", s.Key, s.Weight)
	}
	return nil
}

// approved asks for the approvals of a rotation.
func (r *SetOptionsRule) approved(t *payload.Transaction, given []Officer) error {
	if r == nil || r.Rotation == nil {
		return nil
	}
	for _, op := range t.Operations {
		if seizes(op) && !satisfied(r.Rotation.Needs, given) {
			return &Denial{Rule: "transaction.set_options.rotation.need", Reason: "needs the approval of " + needsText(r.Rotation.Needs), needsApproval: true}
		}
	}
	return nil
}

func (r *RotationRule) validate() error {
	if r == nil {
		return nil
	}
	if len(r.Signers) == 0 || len(r.Needs) == 0 {
		return errors.New("transaction.set_options.rotation needs signers, and somebody to approve")
	}
	seen := map[protocol.AccountID]bool{}
	for _, s := range r.Signers {
		if s.Account.IsZero() || seen[s.Account] || len(s.Weights) == 0 || slices.ContainsFunc(s.Weights, func(w uint32) bool { return w > maxWeight }) {
			return fmt.Errorf("transaction.set_options.rotation: signer %s is there twice, or has no weights or too great ones", s.Account)
		}
		seen[s.Account] = true
	}
	return nil
}

func (r *RotationRule) explain(say func(format string, args ...any)) {
	if r == nil {
		return
	}
	for _, s := range r.Signers {
		say("gives signer %s one of the weights %v, with the approval of %s", s.Account, s.Weights, needsText(r.Needs))
	}
}
