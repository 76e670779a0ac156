package policy

import (
	"errors"
	"fmt"
)

// CoinApprovalRule asks for people's approval of what a key for coins pays. Every rule that applies must be satisfied.
// Keys of ledger accounts have ApprovalRule.
type CoinApprovalRule struct {
	// Above says which payments it applies to: those that let more than that leave. Without it, all of them. Optional.
	Above *Amount `toml:"above,omitempty"`
	Needs []Need  `toml:"need"`
}

// approved checks the approvals of a payment that reserves so much.
func (k *Key) approved(reserve []Reservation, given []Officer) error {
	for _, rule := range k.Approvals {
		if applies := rule.Above == nil || k.above(*rule.Above, reserve); applies && !satisfied(rule.Needs, given) {
			return &Denial{Rule: "approval.need", Reason: "needs the approval of " + needsText(rule.Needs), needsApproval: true}
		}
	}
	return nil
}

func (f *File) validateCoinApprovals(k *Key) error {
	for _, rule := range k.Approvals {
		if k.Bitcoin == nil && k.Ethereum == nil {
			return errors.New("approval beside a section is for keys for coins")
		}
		if rule.Above != nil {
			if err := k.validAmount(*rule.Above); err != nil {
				return fmt.Errorf("approval: %w", err)
			}
		}
		if err := f.validateNeeds(ApprovalRule{Needs: rule.Needs}); err != nil {
			return err
		}
	}
	return nil
}

func (k *Key) explainCoinApprovals(say func(format string, args ...any)) {
	for _, rule := range k.Approvals {
		above := "for everything"
		if rule.Above != nil {
			above = fmt.Sprintf("for more than %s of %s", rule.Above.Amount, rule.Above.Of)
		}
		say("needs the approval of %s %s", needsText(rule.Needs), above)
	}
}
