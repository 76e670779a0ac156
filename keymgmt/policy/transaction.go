package policy

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
)

// maxHorizon bounds how far ahead a policy may let a transaction live: one that nobody submitted must die while those
// who asked for it still remember it.
const maxHorizon = 7 * 24 * time.Hour

// TransactionRule says which transactions a key may sign. The source of the transaction and of each operation is always
// the key's own account. An operation without a section is denied, and some never have one: see never.
type TransactionRule struct {
	MaxFee        Quantity `toml:"max_fee"`     // DIAM for one transaction
	FeeWindows    []Window `toml:"fee_window"`  // DIAM for all transactions
	MaxSeconds    int64    `toml:"max_seconds"` // how far ahead of now a transaction may still be valid
	MaxOperations int      `toml:"max_operations"`
	// Conditions are the preconditions that a transaction may have besides its time bounds: ledger_bounds,
	// min_sequence_age, min_sequence_ledger_gap, extra_signers, min_sequence. Optional.
	Conditions []string `toml:"conditions,omitempty"`
	// Limits bound what leaves by any operation, per asset, at the most that it can be. An asset without a limit can't leave.
	Limits []Limit `toml:"limit"`
	// Approvals say what needs people's approval besides. Optional.
	Approvals []ApprovalRule `toml:"approval,omitempty"`
	// Reserves say what must stand behind what the key issues. Optional.
	Reserves []ReserveRule `toml:"reserve,omitempty"`
	// Liens say whose collateral the account holds. Optional.
	Liens []LienRule `toml:"lien,omitempty"`

	CreateAccount     *CreateAccountRule     `toml:"create_account,omitempty"`
	Payments          []PaymentRule          `toml:"payment,omitempty"` // any one of them allows
	ChangeTrust       *ChangeTrustRule       `toml:"change_trust,omitempty"`
	SetOptions        *SetOptionsRule        `toml:"set_options,omitempty"`
	SetTrustLineFlags *SetTrustLineFlagsRule `toml:"set_trust_line_flags,omitempty"`
	ManageData        *ManageDataRule        `toml:"manage_data,omitempty"`
	Clawback          *ClawbackRule          `toml:"clawback,omitempty"`
	PathPayments      []PathPaymentRule      `toml:"path_payment,omitempty"` // any one of them allows
	Offers            []OfferRule            `toml:"offer,omitempty"`        // any one of them allows
	SetAside          *SetAsideRule          `toml:"create_claimable_balance,omitempty"`
	ClaimBalances     bool                   `toml:"claim_claimable_balance,omitempty"` // what comes in is not limited
}

// Limit bounds the amount of one asset.
type Limit struct {
	Asset          protocol.Asset `toml:"asset"`           // "native" or CODE:ISSUER
	PerTransaction Quantity       `toml:"per_transaction"` // sum over a transaction's operations
	Windows        []Window       `toml:"window"`          // sum over transactions
}

// CreateAccountRule allows create_account.
type CreateAccountRule struct {
	Destinations []Party  `toml:"destinations"`
	MaxStarting  Quantity `toml:"max_starting_balance"`
}

// PaymentRule allows payment of any of Assets to any of Destinations.
type PaymentRule struct {
	Assets       []protocol.Asset `toml:"assets"`
	Destinations []Party          `toml:"destinations"`
}

// ChangeTrustRule allows change_trust.
type ChangeTrustRule struct {
	Assets []protocol.Asset `toml:"assets"`
}

// SetOptionsRule allows set_options to do what is listed. Every list is optional.
type SetOptionsRule struct {
	SetFlags         []string `toml:"set_flags,omitempty"` // auth_required, auth_revocable, auth_immutable, auth_clawback_enabled
	ClearFlags       []string `toml:"clear_flags,omitempty"`
	HomeDomains      []string `toml:"home_domains,omitempty"`
	MasterWeights    []uint32 `toml:"master_weights,omitempty"`
	LowThresholds    []uint32 `toml:"low_thresholds,omitempty"`
	MediumThresholds []uint32 `toml:"medium_thresholds,omitempty"`
	HighThresholds   []uint32 `toml:"high_thresholds,omitempty"`
	// Rotation allows the account's signers to be changed. Optional: never.
	Rotation *RotationRule `toml:"rotation,omitempty"`
}

// SetTrustLineFlagsRule allows set_trust_line_flags, on assets that the key's account issues.
type SetTrustLineFlagsRule struct {
	Assets   []protocol.Asset `toml:"assets"`
	Trustors []Party          `toml:"trustors"`
	Set      []string         `toml:"set,omitempty"` // authorized, authorized_to_maintain_liabilities, clawback_enabled
	Clear    []string         `toml:"clear,omitempty"`
}

// ManageDataRule allows manage_data on entries of these names.
type ManageDataRule struct {
	Names []string `toml:"names"`
}

// ClawbackRule allows clawback, on assets that the key's account issues.
type ClawbackRule struct {
	Assets []protocol.Asset `toml:"assets"`
	From   []Party          `toml:"from"`
}

// transaction decides on t for the key of k, and says what it uses up of the limits.
//
// A transaction that has expired is no reason to deny: it can't do anything, and a worker that comes back after a crash
// is better told so by the ledger, whose clock counts, than by the signer's.
func (p *Policy) transaction(k *Key, t *payload.Transaction, given []Officer, facts Facts) ([]Reservation, error) {
	if facts.Spent == nil {
		return nil, deny("facts", "the counters are not known")
	}
	out, err := p.effects(k, t, facts.Now)
	if err != nil {
		return nil, err
	}
	reserve, err := k.Transaction.reserve(t.Fee, out, facts)
	if err != nil {
		return nil, err
	}
	if err := p.gates(k, t, facts); err != nil {
		return reserve, err
	}
	if err := k.Transaction.approved(out, given); err != nil { // last: people are asked only for what the rules allow
		return reserve, err
	}
	return reserve, k.Transaction.SetOptions.approved(t, given)
}

// effects judges t by the rules of its source's key, and returns the most of each asset that leaves.
func (p *Policy) effects(k *Key, t *payload.Transaction, now time.Time) (map[protocol.Asset]*big.Int, error) {
	rule := k.Transaction
	switch {
	case t.Network != p.network:
		return nil, deny("network", "the transaction is for network %s", t.Network)
	case t.Source != k.account():
		return nil, deny("transaction.source", "source %s is not the key's account", t.Source)
	case rule.MaxFee.over(t.Fee, protocol.Decimals):
		return nil, deny("transaction.max_fee", "fee %s is over %s", payload.Decimal(t.Fee), rule.MaxFee)
	case len(t.Operations) > rule.MaxOperations:
		return nil, deny("transaction.max_operations", "%d operations are over %d", len(t.Operations), rule.MaxOperations)
	case t.MaxTime.After(now.Add(time.Duration(rule.MaxSeconds) * time.Second)):
		return nil, deny("transaction.max_seconds", "valid until %s, over %d seconds from now", t.MaxTime.Format(time.RFC3339), rule.MaxSeconds)
	}
	if err := rule.conditions(t.Conditions); err != nil {
		return nil, err
	}
	for i, op := range t.Operations {
		if op.Origin() != k.account() {
			return nil, deny("transaction.source", "source %s of operation %d is not the key's account", op.Origin(), i)
		}
		if err := p.operation(k, op); err != nil {
			return nil, err
		}
	}
	out, err := outflows(t)
	if err != nil {
		return nil, err
	}
	return out, rule.perTransaction(out)
}

// outflows returns the most of each asset that leaves.
func outflows(t *payload.Transaction) (map[protocol.Asset]*big.Int, error) {
	out := map[protocol.Asset]*big.Int{}
	for i, op := range t.Operations {
		for _, o := range op.Outflows() {
			if o.Asset.IsZero() || o.Amount == nil {
				return nil, deny("transaction.limit", "what operation %d lets leave can't be counted", i)
			}
			if out[o.Asset] == nil {
				out[o.Asset] = new(big.Int)
			}
			out[o.Asset].Add(out[o.Asset], o.Amount)
		}
	}
	return out, nil
}

// perTransaction checks the sums against the limits for one transaction.
func (r *TransactionRule) perTransaction(out map[protocol.Asset]*big.Int) error {
	for _, asset := range slices.SortedFunc(maps.Keys(out), byName) {
		limit := r.limit(asset)
		switch {
		case limit == nil:
			return deny("transaction.limit", "no limit lets %s leave", asset)
		case limit.PerTransaction.over(out[asset], protocol.Decimals):
			return deny("transaction.limit.per_transaction", "%s of %s is over %s", payload.Decimal(out[asset]), asset, limit.PerTransaction)
		}
	}
	return nil
}

func byName(a, b protocol.Asset) int { return strings.Compare(a.String(), b.String()) }

func (r *TransactionRule) limit(asset protocol.Asset) *Limit {
	i := slices.IndexFunc(r.Limits, func(l Limit) bool { return l.Asset == asset })
	if i < 0 {
		return nil
	}
	return &r.Limits[i]
}

// reserve checks the sums against the windows.
func (r *TransactionRule) reserve(fee *big.Int, out map[protocol.Asset]*big.Int, facts Facts) ([]Reservation, error) {
	list, err := count(use{"transaction.fee_window", FeeCounter, fee, protocol.Decimals}, r.FeeWindows, facts)
	if err != nil {
		return nil, err
	}
	for _, asset := range slices.SortedFunc(maps.Keys(out), byName) {
		more, err := count(use{"transaction.limit.window", asset.String(), out[asset], protocol.Decimals}, r.limit(asset).Windows, facts)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return facts.Holder.takeOver(list), nil
}

func (p *Policy) operation(k *Key, op payload.Operation) error {
	rule, own := k.Transaction, k.account()
	switch op := op.(type) {
	case payload.CreateAccount:
		return p.createAccount(rule.CreateAccount, op)
	case payload.Payment:
		return p.payment(rule.Payments, op)
	case payload.PathPaymentStrictReceive:
		return p.pathPayment(rule.PathPayments, op.Conversion)
	case payload.PathPaymentStrictSend:
		return p.pathPayment(rule.PathPayments, op.Conversion)
	case payload.ManageSellOffer:
		return offer(rule.Offers, op.Selling, op.Buying, sold(op.Price, op.Amount))
	case payload.CreatePassiveSellOffer:
		return offer(rule.Offers, op.Selling, op.Buying, sold(op.Price, op.Amount))
	case payload.ManageBuyOffer:
		return offer(rule.Offers, op.Selling, op.Buying, bought(op.Price, op.Amount))
	case payload.CreateBalance:
		return p.setAside(rule.SetAside, op)
	case payload.ClaimBalance:
		if !rule.ClaimBalances {
			return deny("transaction.operation", "claim_claimable_balance is not allowed")
		}
		return nil
	case payload.ChangeTrust:
		return rule.ChangeTrust.decide(op)
	case payload.SetOptions:
		return rule.SetOptions.decide(op)
	case payload.SetTrustLineFlags:
		return p.lineFlags(rule.SetTrustLineFlags, own, op)
	case payload.ManageData:
		return rule.ManageData.decide(op)
	case payload.Clawback:
		return p.clawback(rule.Clawback, own, op)
	}
	if name, why := never(op); name != "" {
		return deny("transaction.never."+name, "%s", why)
	}
	return deny("transaction.operation", "operation %T is not known", op)
}

// destination denies what the whole policy denies, before any rule allows it.
func (p *Policy) destination(rule string, allowed []Party, to protocol.AccountID) error {
	if slices.Contains(p.file.DenyDestinations, to) {
		return deny("deny_destinations", "%s gets nothing", to)
	}
	if !p.allows(allowed, to) {
		return deny(rule, "destination %s is not allowed", to)
	}
	return nil
}

func (p *Policy) createAccount(r *CreateAccountRule, op payload.CreateAccount) error {
	if r == nil {
		return deny("transaction.operation", "create_account is not allowed")
	}
	if r.MaxStarting.over(op.Starting, protocol.Decimals) {
		return deny("transaction.create_account.max_starting_balance", "%s is over %s", payload.Decimal(op.Starting), r.MaxStarting)
	}
	return p.destination("transaction.create_account.destinations", r.Destinations, op.Destination)
}

func (p *Policy) payment(rules []PaymentRule, op payload.Payment) error {
	if len(rules) == 0 {
		return deny("transaction.operation", "payment is not allowed")
	}
	err := deny("transaction.payment.assets", "payment of %s is not allowed", op.Asset)
	for _, r := range rules {
		if !slices.Contains(r.Assets, op.Asset) {
			continue
		}
		if err = p.destination("transaction.payment.destinations", r.Destinations, op.Destination); err == nil {
			return nil
		}
	}
	return err
}

func (r *ChangeTrustRule) decide(op payload.ChangeTrust) error {
	if r == nil {
		return deny("transaction.operation", "change_trust is not allowed")
	}
	if !slices.Contains(r.Assets, op.Asset) {
		return deny("transaction.change_trust.assets", "trust in %s is not allowed", op.Asset)
	}
	return nil
}

func (r *SetOptionsRule) decide(op payload.SetOptions) error {
	if r == nil {
		return deny("transaction.operation", "set_options is not allowed")
	}
	if err := r.Rotation.decide(op.Signer); err != nil {
		return err
	}
	if err := names("transaction.set_options.set_flags", r.SetFlags, payload.AccountFlagNames(op.SetFlags)); err != nil {
		return err
	}
	if err := names("transaction.set_options.clear_flags", r.ClearFlags, payload.AccountFlagNames(op.ClearFlags)); err != nil {
		return err
	}
	if op.HomeDomain != nil && !slices.Contains(r.HomeDomains, *op.HomeDomain) {
		return deny("transaction.set_options.home_domains", "home domain %q is not allowed", *op.HomeDomain)
	}
	weights := []struct {
		rule    string
		allowed []uint32
		value   *uint32
	}{{"master_weights", r.MasterWeights, op.MasterWeight}, {"low_thresholds", r.LowThresholds, op.LowThreshold},
		{"medium_thresholds", r.MediumThresholds, op.MediumThreshold}, {"high_thresholds", r.HighThresholds, op.HighThreshold}}
	for _, w := range weights {
		if w.value != nil && !slices.Contains(w.allowed, *w.value) {
			return deny("transaction.set_options."+w.rule, "%d is not allowed", *w.value)
		}
	}
	return nil
}

func (p *Policy) lineFlags(r *SetTrustLineFlagsRule, own protocol.AccountID, op payload.SetTrustLineFlags) error {
	if r == nil {
		return deny("transaction.operation", "set_trust_line_flags is not allowed")
	}
	if op.Asset.Issuer() != own || !slices.Contains(r.Assets, op.Asset) {
		return deny("transaction.set_trust_line_flags.assets", "flags of %s are not allowed", op.Asset)
	}
	if !p.allows(r.Trustors, op.Trustor) {
		return deny("transaction.set_trust_line_flags.trustors", "trustor %s is not allowed", op.Trustor)
	}
	if err := names("transaction.set_trust_line_flags.set", r.Set, payload.LineFlagNames(op.Set)); err != nil {
		return err
	}
	return names("transaction.set_trust_line_flags.clear", r.Clear, payload.LineFlagNames(op.Clear))
}

func (r *ManageDataRule) decide(op payload.ManageData) error {
	if r == nil {
		return deny("transaction.operation", "manage_data is not allowed")
	}
	if !slices.Contains(r.Names, op.Name) {
		return deny("transaction.manage_data.names", "data %q is not allowed", op.Name)
	}
	return nil
}

func (p *Policy) clawback(r *ClawbackRule, own protocol.AccountID, op payload.Clawback) error {
	if r == nil {
		return deny("transaction.operation", "clawback is not allowed")
	}
	if op.Asset.Issuer() != own || !slices.Contains(r.Assets, op.Asset) {
		return deny("transaction.clawback.assets", "clawback of %s is not allowed", op.Asset)
	}
	if !p.allows(r.From, op.From) {
		return deny("transaction.clawback.from", "clawback from %s is not allowed", op.From)
	}
	return nil
}

func names(rule string, allowed, asked []string) error {
	for _, name := range asked {
		if !slices.Contains(allowed, name) {
			return deny(rule, "flag %s is not allowed", name)
		}
	}
	return nil
}

func (r *TransactionRule) validate() error {
	switch {
	case r.MaxFee.IsZero():
		return errors.New("transaction needs max_fee")
	case r.MaxSeconds < 1 || r.MaxSeconds > int64(maxHorizon/time.Second):
		return fmt.Errorf("transaction.max_seconds is %d", r.MaxSeconds)
	case r.MaxOperations < 1 || r.MaxOperations > xdr.MaxOpsPerTx:
		return fmt.Errorf("transaction.max_operations is %d", r.MaxOperations)
	}
	errs := []error{validWindows("transaction.fee_window", protocol.Decimals, r.FeeWindows), countable("transaction.max_fee", protocol.Decimals, r.MaxFee)}
	seen := map[protocol.Asset]bool{}
	for _, l := range r.Limits {
		if l.Asset.IsZero() || seen[l.Asset] || l.PerTransaction.IsZero() {
			return fmt.Errorf("transaction.limit of %s is there twice or not complete", l.Asset)
		}
		seen[l.Asset] = true
		errs = append(errs, validWindows("transaction.limit of "+l.Asset.String(), protocol.Decimals, l.Windows), countable("transaction.limit", protocol.Decimals, l.PerTransaction))
	}
	if c := r.CreateAccount; c != nil {
		errs = append(errs, validParties("transaction.create_account.destinations", c.Destinations))
		if c.MaxStarting.IsZero() {
			errs = append(errs, errors.New("transaction.create_account needs max_starting_balance"))
		}
		errs = append(errs, countable("transaction.create_account.max_starting_balance", protocol.Decimals, c.MaxStarting))
	}
	for _, pay := range r.Payments {
		errs = append(errs, validParties("transaction.payment.destinations", pay.Destinations), someAssets("payment", pay.Assets))
	}
	if c := r.ChangeTrust; c != nil {
		errs = append(errs, someAssets("change_trust", c.Assets))
	}
	if s := r.SetOptions; s != nil {
		errs = append(errs, accountFlags(s.SetFlags), accountFlags(s.ClearFlags), s.Rotation.validate())
	}
	if s := r.SetTrustLineFlags; s != nil {
		errs = append(errs, validParties("transaction.set_trust_line_flags.trustors", s.Trustors),
			someAssets("set_trust_line_flags", s.Assets), lineFlags(s.Set), lineFlags(s.Clear))
	}
	if m := r.ManageData; m != nil && len(m.Names) == 0 {
		errs = append(errs, errors.New("transaction.manage_data.names is empty"))
	}
	if c := r.Clawback; c != nil {
		errs = append(errs, validParties("transaction.clawback.from", c.From), someAssets("clawback", c.Assets))
	}
	errs = append(errs, r.validateMore())
	return errors.Join(errs...)
}

func someAssets(section string, list []protocol.Asset) error {
	if len(list) == 0 {
		return fmt.Errorf("transaction.%s.assets is empty", section)
	}
	return nil
}

func accountFlags(list []string) error {
	for _, name := range list {
		if payload.AccountFlag(name) == 0 {
			return fmt.Errorf("account flag %.40q does not exist", name)
		}
	}
	return nil
}

func lineFlags(list []string) error {
	for _, name := range list {
		if payload.LineFlag(name) == 0 {
			return fmt.Errorf("trustline flag %.40q does not exist", name)
		}
	}
	return nil
}
