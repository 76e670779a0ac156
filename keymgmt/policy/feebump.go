package policy

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
)

// FeeBumpRule makes a key pay the fees of transactions that others have signed, and sign nothing else: its account needs no
// more than what fees cost.
type FeeBumpRule struct {
	MaxFee     Quantity `toml:"max_fee"`     // DIAM for one transaction, all in all
	FeeWindows []Window `toml:"fee_window"`  // DIAM for all transactions
	MaxSeconds int64    `toml:"max_seconds"` // how far ahead of now the inner transaction may still be valid
	// Sources are whose transactions are paid for. One of an account of this policy's must be what that account's key
	// might sign; what an outside account does with its own is its own business.
	Sources []Party `toml:"sources"`
}

// feeBump decides on f. Of all fee bumps around the same sequence number one is applied at most, so they share one
// reservation.
func (p *Policy) feeBump(k *Key, f *payload.FeeBump, facts Facts) ([]Reservation, error) {
	rule := k.FeeBump
	switch {
	case facts.Spent == nil:
		return nil, deny("facts", "the counters are not known")
	case f.Network != p.network:
		return nil, deny("network", "the transaction is for network %s", f.Network)
	case f.Source != k.account():
		return nil, deny("fee_bump.source", "source %s is not the key's account", f.Source)
	case !p.allows(rule.Sources, f.Inner.Source):
		return nil, deny("fee_bump.sources", "the inner transaction is of %s", f.Inner.Source)
	case rule.MaxFee.over(f.Fee, protocol.Decimals):
		return nil, deny("fee_bump.max_fee", "fee %s is over %s", payload.Decimal(f.Fee), rule.MaxFee)
	case f.Inner.MaxTime.After(facts.Now.Add(time.Duration(rule.MaxSeconds) * time.Second)):
		return nil, deny("fee_bump.max_seconds", "valid until %s, over %d seconds from now", f.Inner.MaxTime.Format(time.RFC3339), rule.MaxSeconds)
	}
	if err := p.inner(f.Inner, facts.Now); err != nil {
		return nil, err
	}
	list, err := count(use{"fee_bump.fee_window", FeeCounter, f.Fee, protocol.Decimals}, rule.FeeWindows, facts)
	if err != nil {
		return nil, err
	}
	return facts.Holder.takeOver(list), nil
}

// inner judges what acts for accounts of this policy's. It has been counted and approved when it was signed.
func (p *Policy) inner(t *payload.Transaction, now time.Time) error {
	if own := p.owner(t.Source); own != nil {
		if own.Transaction == nil || own.Frozen {
			return deny("fee_bump.inner", "key %s signs no transactions", own.ID)
		}
		_, err := p.effects(own, t, now)
		return err
	}
	for i, op := range t.Operations {
		if own := p.owner(op.Origin()); own != nil {
			return deny("fee_bump.inner", "operation %d acts for key %s in another's transaction", i, own.ID)
		}
	}
	return nil
}

// owner returns the key whose account it is, nil when there is none.
func (p *Policy) owner(account protocol.AccountID) *Key {
	i := slices.IndexFunc(p.file.Keys, func(k Key) bool { return !account.IsZero() && k.account() == account })
	if i < 0 {
		return nil
	}
	return &p.file.Keys[i]
}

// Behind returns the key whose transaction m would pay for, zero when that is none of this policy's. While it is frozen,
// so is the payment.
func (p *Policy) Behind(m payload.Meaning) keymgmt.KeyID {
	if m.FeeBump == nil {
		return keymgmt.KeyID{}
	}
	if own := p.owner(m.FeeBump.Inner.Source); own != nil {
		return own.ID
	}
	return keymgmt.KeyID{}
}

func (r *FeeBumpRule) validate() error {
	switch {
	case r.MaxFee.IsZero():
		return errors.New("fee_bump needs max_fee")
	case r.MaxSeconds < 1 || r.MaxSeconds > int64(maxHorizon/time.Second):
		return fmt.Errorf("fee_bump.max_seconds is %d", r.MaxSeconds)
	}
	return errors.Join(validWindows("fee_bump.fee_window", protocol.Decimals, r.FeeWindows), countable("fee_bump.max_fee", protocol.Decimals, r.MaxFee),
		validParties("fee_bump.sources", r.Sources))
}

func (r *FeeBumpRule) explain(say func(format string, args ...any)) {
	say("pays fees of up to %s DIAM for transactions of %s, valid for %s at most, and signs nothing else", r.MaxFee, parties(r.Sources), seconds(r.MaxSeconds))
	explainWindows(say, "fees", r.FeeWindows)
}
