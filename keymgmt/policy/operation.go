package policy

import (
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
)

// PathPaymentRule allows both kinds of path payment, of any of Send for any of Receive at any of Destinations. What counts
// against the limits is the most that can be sent; what lies between is the network's business.
type PathPaymentRule struct {
	Send         []protocol.Asset `toml:"send"`
	Receive      []protocol.Asset `toml:"receive"`
	Destinations []Party          `toml:"destinations"`
}

// OfferRule allows offers of Selling for Buying at a price, and to withdraw them. What counts against the limits is all that
// is offered, each time an offer is made or changed.
type OfferRule struct {
	Selling protocol.Asset `toml:"selling"`
	Buying  protocol.Asset `toml:"buying"`
	// MinPrice is the least of Buying that a unit of Selling may be given for.
	MinPrice Quantity `toml:"min_price"`
}

// SetAsideRule allows create_claimable_balance, of any of Assets for claimants who are all listed.
type SetAsideRule struct {
	Assets    []protocol.Asset `toml:"assets"`
	Claimants []Party          `toml:"claimants"`
}

// never says why no policy can allow an operation. Whoever needs one needs another program, not another policy.
func never(op payload.Operation) (name, why string) {
	switch op.(type) {
	case payload.AccountMerge:
		return "account_merge", "never signed here: it gives away all that there is, which no limit counts"
	case payload.ClawbackBalance:
		return "clawback_claimable_balance", "never signed here: it does not say of what asset it destroys how much"
	case payload.PoolDeposit:
		return "liquidity_pool_deposit", "never signed here: it does not name the assets that leave"
	case payload.PoolWithdraw:
		return "liquidity_pool_withdraw", "never signed here: what is put into pools is not signed here either"
	case payload.ChangeTrustPool:
		return "change_trust_pool", "never signed here: what is put into pools is not signed here either"
	case payload.BeginSponsoring, payload.EndSponsoring, payload.RevokeSponsorship:
		return "sponsorship", "never signed here: it binds reserves for as long as others like, which no limit counts"
	case payload.BumpSequence:
		return "bump_sequence", "never signed here: it kills what was signed before, and can stop the account for ever"
	case payload.Inflation, payload.SetOptionsInflation:
		return "inflation", "never signed here: no ledger pays inflation"
	case payload.AllowTrust:
		return "allow_trust", "never signed here: set_trust_line_flags says the same more exactly"
	}
	return "", ""
}

// conditions checks what a transaction asks for besides its time bounds. All but min_sequence only narrow what it can do.
func (r *TransactionRule) conditions(c *payload.Conditions) error {
	if c == nil {
		return nil
	}
	for name, asked := range conditions(c) {
		if asked && !slices.Contains(r.Conditions, name) {
			return deny("transaction.conditions", "precondition %s is not allowed", name)
		}
	}
	return nil
}

// minSequence is the one precondition that does not narrow what a transaction can do.
const minSequence = "min_sequence"

func conditions(c *payload.Conditions) map[string]bool {
	return map[string]bool{"ledger_bounds": c.Ledgers != nil, minSequence: c.MinSequence != nil, "min_sequence_age": c.MinAge != 0,
		"min_sequence_ledger_gap": c.MinLedgerGap != 0, "extra_signers": len(c.ExtraSigners) > 0}
}

func (p *Policy) pathPayment(rules []PathPaymentRule, c payload.Conversion) error {
	if len(rules) == 0 {
		return deny("transaction.operation", "path payments are not allowed")
	}
	err := deny("transaction.path_payment.assets", "%s for %s is not allowed", c.SendAsset, c.DestAsset)
	for _, r := range rules {
		if !slices.Contains(r.Send, c.SendAsset) || !slices.Contains(r.Receive, c.DestAsset) {
			continue
		}
		if err = p.destination("transaction.path_payment.destinations", r.Destinations, c.Destination); err == nil {
			return nil
		}
	}
	return err
}

// rate is how much of what is bought an offer asks for a unit of what it sells; nil when it is withdrawn.
type rate struct{ buying, selling int64 }

func sold(p payload.Price, amount *big.Int) *rate {
	if amount.Sign() == 0 {
		return nil
	}
	return &rate{int64(p.N), int64(p.D)}
}

func bought(p payload.Price, amount *big.Int) *rate {
	if amount.Sign() == 0 {
		return nil
	}
	return &rate{int64(p.D), int64(p.N)}
}

func offer(rules []OfferRule, selling, buying protocol.Asset, asked *rate) error {
	if len(rules) == 0 {
		return deny("transaction.operation", "offers are not allowed")
	}
	err := deny("transaction.offer.assets", "%s for %s is not allowed", selling, buying)
	for _, r := range rules {
		if r.Selling != selling || r.Buying != buying {
			continue
		}
		if asked == nil || !asked.under(r.MinPrice) {
			return nil
		}
		err = deny("transaction.offer.min_price", "%d/%d is under %s", asked.buying, asked.selling, r.MinPrice)
	}
	return err
}

// under reports whether r is less than q says.
func (r *rate) under(q Quantity) bool {
	one := new(big.Int).Exp(big.NewInt(10), big.NewInt(maxDecimals), nil)
	return q.atto == nil || one.Mul(one, big.NewInt(r.buying)).Cmp(new(big.Int).Mul(q.atto, big.NewInt(r.selling))) < 0
}

func (p *Policy) setAside(r *SetAsideRule, op payload.CreateBalance) error {
	if r == nil {
		return deny("transaction.operation", "create_claimable_balance is not allowed")
	}
	if !slices.Contains(r.Assets, op.Asset) {
		return deny("transaction.create_claimable_balance.assets", "a balance of %s is not allowed", op.Asset)
	}
	for _, c := range op.Claimants {
		if err := p.destination("transaction.create_claimable_balance.claimants", r.Claimants, c.Account); err != nil {
			return err
		}
	}
	return nil
}

func (r *TransactionRule) validateMore() error {
	var errs []error
	known := conditions(&payload.Conditions{})
	for i, name := range r.Conditions {
		if _, ok := known[name]; !ok || slices.Contains(r.Conditions[:i], name) {
			errs = append(errs, fmt.Errorf("transaction.conditions: %.40q does not exist or is there twice", name))
		}
	}
	for _, pay := range r.PathPayments {
		errs = append(errs, validParties("transaction.path_payment.destinations", pay.Destinations), someAssets("path_payment", pay.Send), someAssets("path_payment", pay.Receive))
	}
	for _, o := range r.Offers {
		if o.Selling.IsZero() || o.Buying.IsZero() || o.Selling == o.Buying || o.MinPrice.IsZero() {
			errs = append(errs, errors.New("transaction.offer needs selling, buying and min_price"))
		}
	}
	if s := r.SetAside; s != nil {
		errs = append(errs, validParties("transaction.create_claimable_balance.claimants", s.Claimants), someAssets("create_claimable_balance", s.Assets))
	}
	return errors.Join(errs...)
}

func (r *TransactionRule) explainMore(say func(format string, args ...any)) {
	for _, name := range r.Conditions {
		say("signs transactions with the precondition %s, too", name)
	}
	for _, p := range r.PathPayments {
		say("pays with %s, so that %s get %s", assets(p.Send), parties(p.Destinations), assets(p.Receive))
	}
	for _, o := range r.Offers {
		say("offers %s for %s, at %s for each or more", o.Selling, o.Buying, o.MinPrice)
	}
	if s := r.SetAside; s != nil {
		say("sets aside %s, to be claimed by %s", assets(s.Assets), parties(s.Claimants))
	}
	if r.ClaimBalances {
		say("claims claimable balances")
	}
	if s := r.SetOptions; s != nil {
		s.Rotation.explain(say)
	}
}
