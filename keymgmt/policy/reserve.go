package policy

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
)

// ReserveRule lets an issuer's key issue its asset only while what is issued stays within an attested reserve: what was
// outstanding on the attested ledger, plus all that was signed and may have been applied after it, plus this. There is no
// way around it. Offers to sell the asset, which would issue it later, and changes of who may sign for the account are
// denied besides.
//
//	[[key.transaction.reserve]]
//	asset    = "USD:G..."
//	max_age  = "24h"
//	attestor = [{name = "treasury", public = "G..."}]
type ReserveRule struct {
	Asset     protocol.Asset `toml:"asset"`    // that the key's account issues
	MaxAge    Duration       `toml:"max_age"`  // how old the newest attestation may be; a minute to 31 days
	Attestors []Signatory    `toml:"attestor"` // the word of any one of them counts
}

// Backing is what a decision about an issuance depends on.
type Backing struct {
	// Newest is the newest attestation by one of the asset's attestors.
	Newest keymgmt.Attestation
	// Since is the sum of what was signed and may have been applied after the attested ledger, of each sequence number the
	// largest. The transaction's own sequence number is left out; Same is the largest of that, nil when there is none.
	Since, Same *big.Int
}

// AttestationText is what an attestor signs, one fact a line.
func AttestationText(network protocol.Hash, a keymgmt.Attestation) []byte {
	return fmt.Appendf(nil, "diamante attestation 1\nnetwork %s\nasset %s\nreserve %s\noutstanding %s\nledger %d\nclosed %s\nsequence %d\nissued %s\nattestor %s\n",
		network, a.Asset, a.Reserve, a.Outstanding, a.Ledger, a.Closed.UTC().Format(time.RFC3339), a.Sequence, a.Issued.UTC().Format(time.RFC3339), a.Attestor)
}

// SignAttestation is an attestor's side. Any crypto.Signer with an Ed25519 key will do; it need not be in this process.
func SignAttestation(network protocol.Hash, a keymgmt.Attestation, key crypto.Signer) (keymgmt.Attestation, error) {
	a.Closed, a.Issued = a.Closed.UTC().Truncate(time.Second), a.Issued.UTC().Truncate(time.Second)
	sig, err := signText(key, AttestationText(network, a))
	if err != nil {
		return keymgmt.Attestation{}, fmt.Errorf("policy: attest: %w", err)
	}
	a.Signature = sig
	return a, a.Validate()
}

// Attestors returns the addresses of those whose word on an asset's reserve counts, none when no rule asks for one.
func (p *Policy) Attestors(asset protocol.Asset) (addresses []protocol.AccountID) {
	if rule := p.reserve(asset); rule != nil {
		for _, a := range rule.Attestors {
			addresses = append(addresses, a.Public.account())
		}
	}
	return addresses
}

// reserve returns the rule for an asset. The issuer's account belongs to one key, so there is one at most.
func (p *Policy) reserve(asset protocol.Asset) *ReserveRule {
	for i := range p.file.Keys {
		if t := p.file.Keys[i].Transaction; t != nil {
			if at := slices.IndexFunc(t.Reserves, func(r ReserveRule) bool { return r.Asset == asset }); at >= 0 {
				return &t.Reserves[at]
			}
		}
	}
	return nil
}

// Attestation checks one that was delivered, and returns its asset and the attestor's address. Newer says whether it
// may take the place of another one. The error is a *Denial, or wraps
// keymgmt.ErrMalformed.
func (p *Policy) Attestation(a keymgmt.Attestation, now time.Time) (protocol.Asset, protocol.AccountID, error) {
	if err := a.Validate(); err != nil {
		return protocol.Asset{}, protocol.AccountID{}, err
	}
	asset, err := protocol.ParseAsset(a.Asset)
	if err != nil || asset.String() != a.Asset {
		return protocol.Asset{}, protocol.AccountID{}, fmt.Errorf("%w: asset %.100q", keymgmt.ErrMalformed, a.Asset)
	}
	rule := p.reserve(asset)
	if rule == nil {
		return protocol.Asset{}, protocol.AccountID{}, deny("transaction.reserve.asset", "nobody asks for a reserve of %s", asset)
	}
	address, err := rule.trusts(p.network, a, now)
	if err == nil && rule.old(a, now) {
		err = deny("transaction.reserve.max_age", "it was attested at %s, over %s ago", a.Issued.UTC().Format(time.RFC3339), time.Duration(rule.MaxAge))
	}
	return asset, address, err
}

// Newer reports, as a nil error, that an attestation may take the place of another one.
func Newer(a, than keymgmt.Attestation) error {
	if a.Ledger <= than.Ledger || !a.Closed.After(than.Closed) || !a.Issued.After(than.Issued) || a.Sequence < than.Sequence {
		return deny("transaction.reserve.attestation", "ledger %d closed at %s, attested at %s, is not after ledger %d closed at %s, attested at %s", a.Ledger,
			a.Closed.Format(time.RFC3339), a.Issued.Format(time.RFC3339), than.Ledger, than.Closed.Format(time.RFC3339), than.Issued.Format(time.RFC3339))
	}
	return nil
}

// trusts checks who signed an attestation, and when. It does so whenever one is used: a journal can be written to by a thief.
func (r *ReserveRule) trusts(network protocol.Hash, a keymgmt.Attestation, now time.Time) (protocol.AccountID, error) {
	at := slices.IndexFunc(r.Attestors, func(s Signatory) bool { return s.Name == a.Attestor })
	switch {
	case at < 0:
		return protocol.AccountID{}, deny("transaction.reserve.attestor", "%q does not attest the reserve of %s", a.Attestor, r.Asset)
	case !ed25519.Verify(r.Attestors[at].Public.Bytes(), AttestationText(network, a), a.Signature):
		return protocol.AccountID{}, deny("transaction.reserve.signature", "the signature of %s is not for this attestation", a.Attestor)
	case a.Issued.After(now.Add(skew)) || a.Closed.After(a.Issued.Add(skew)):
		return protocol.AccountID{}, deny("transaction.reserve.issued", "attested at %s of a ledger closed at %s, which is to come", a.Issued.UTC().Format(time.RFC3339), a.Closed.UTC().Format(time.RFC3339))
	}
	return r.Attestors[at].Public.account(), nil
}

// Issued returns what a transaction issues of its operations' own assets. What an issuer claws back it destroys.
func Issued(t *payload.Transaction) map[protocol.Asset]*big.Int {
	issued := map[protocol.Asset]*big.Int{}
	for _, op := range t.Operations {
		if destroys(op) {
			continue
		}
		for _, o := range op.Outflows() {
			if o.Asset.IsZero() || o.Asset.Issuer() != op.Origin() || o.Amount == nil || o.Amount.Sign() == 0 {
				continue
			}
			if issued[o.Asset] == nil {
				issued[o.Asset] = new(big.Int)
			}
			issued[o.Asset].Add(issued[o.Asset], o.Amount)
		}
	}
	return issued
}

func destroys(op payload.Operation) bool {
	switch op.(type) {
	case payload.Clawback, payload.ClawbackBalance:
		return true
	}
	return false
}

// reserved checks a transaction of k against the reserves of what it issues.
func (p *Policy) reserved(k *Key, t *payload.Transaction, facts Facts) error {
	if len(k.Transaction.Reserves) == 0 {
		return nil
	}
	for _, op := range t.Operations {
		if err := k.Transaction.countable(op); err != nil {
			return err
		}
	}
	issued := Issued(t)
	for _, asset := range slices.SortedFunc(maps.Keys(issued), byName) {
		rule := p.reserve(asset)
		if rule == nil {
			continue
		}
		if t.Source != asset.Issuer() { // whose sequence numbers tell what is over
			return deny("transaction.reserve.source", "%s is issued with a sequence number of %s", asset, t.Source)
		}
		if err := rule.covers(p.network, issued[asset], facts.Backing[asset], facts.Now); err != nil {
			return err
		}
	}
	return nil
}

// countable denies what would issue at another time than the transaction does, without saying how much, or by another's
// signature.
func (r *TransactionRule) countable(op payload.Operation) error {
	if seizes(op) {
		return deny("transaction.reserve.signers", "who may sign for an issuer with a reserve can't be changed: it %s", op.Words())
	}
	if destroys(op) {
		return nil
	}
	for _, o := range op.Outflows() {
		switch op.(type) {
		case payload.PoolWithdraw: // shares leave, and assets come
			continue
		case payload.ManageSellOffer, payload.ManageBuyOffer, payload.CreatePassiveSellOffer:
			if o.Amount.Sign() > 0 && r.hasReserve(o.Asset) {
				return deny("transaction.reserve.offer", "an offer of %s would issue it when somebody takes it", o.Asset)
			}
		}
		if o.Asset.IsZero() || o.Amount == nil && r.hasReserve(o.Asset) {
			return deny("transaction.reserve.amount", "it does not say how much is issued: it %s", op.Words())
		}
	}
	return nil
}

func (r *TransactionRule) hasReserve(asset protocol.Asset) bool {
	return slices.ContainsFunc(r.Reserves, func(rule ReserveRule) bool { return rule.Asset == asset })
}

// seizes reports whether an operation changes who may sign for its account: whoever could then would not have to ask.
func seizes(op payload.Operation) bool {
	if i, ok := op.(payload.SetOptionsInflation); ok {
		op = i.SetOptions
	}
	o, ok := op.(payload.SetOptions)
	return ok && (o.Signer != nil || o.MasterWeight != nil || o.LowThreshold != nil || o.MediumThreshold != nil || o.HighThreshold != nil)
}

func (r *ReserveRule) old(a keymgmt.Attestation, now time.Time) bool {
	return now.Sub(a.Issued) > time.Duration(r.MaxAge)
}

// nextWord is how long to wait before asking again when only an attestor's next word can help. That may come at any time.
const nextWord = 15 * time.Second

// missing is what one of the attestors can mend with his next word: until then the request waits, and is not refused for
// ever, which would turn a late word into a lost deposit.
func (r *ReserveRule) missing(now time.Time, rule, format string, args ...any) error {
	return &Denial{Rule: rule, Reason: fmt.Sprintf(format, args...) + ": it needs the word of " + signatories(r.Attestors), notBefore: now.Add(nextWord)}
}

// covers reports, as a nil error, that an amount more may be issued.
func (r *ReserveRule) covers(network protocol.Hash, amount *big.Int, b *Backing, now time.Time) error {
	if b == nil || b.Since == nil {
		return r.missing(now, "transaction.reserve", "nobody has attested the reserve of %s", r.Asset)
	}
	if _, err := r.trusts(network, b.Newest, now); err != nil {
		return err
	}
	if r.old(b.Newest, now) {
		return r.missing(now, "transaction.reserve.max_age", "the reserve of %s was attested at %s, over %s ago", r.Asset, b.Newest.Issued.UTC().Format(time.RFC3339), time.Duration(r.MaxAge))
	}
	reserve, err1 := stroops(b.Newest.Reserve)
	total, err2 := stroops(b.Newest.Outstanding)
	if err := errors.Join(err1, err2); err != nil || b.Newest.Asset != r.Asset.String() {
		return deny("transaction.reserve", "the attestation of %s cannot be read", r.Asset)
	}
	outstanding := new(big.Int).Set(total)
	total.Add(total, b.Since)
	if b.Same != nil && b.Same.Cmp(amount) > 0 {
		amount = b.Same
	}
	if total.Add(total, amount).Cmp(reserve) > 0 {
		return r.missing(now, "transaction.reserve", "%s would be issued of %s at ledger %d, %s since and this, over the attested reserve of %s",
			payload.Decimal(total), payload.Decimal(outstanding), b.Newest.Ledger, payload.Decimal(b.Since), payload.Decimal(reserve))
	}
	return nil
}

// stroops reads an amount in the form of the contract: a point and seven digits.
func stroops(s string) (*big.Int, error) {
	n, ok := new(big.Int).SetString(strings.Replace(s, ".", "", 1), 10)
	if !ok || payload.Decimal(n) != s {
		return nil, fmt.Errorf("%w: amount %.60q", keymgmt.ErrMalformed, s)
	}
	return n, nil
}

func (r *ReserveRule) validate(k *Key) error {
	if r.Asset.IsZero() || r.Asset.IsNative() || r.Asset.Issuer() != k.account() {
		return fmt.Errorf("transaction.reserve.asset %s is not the key's to issue", r.Asset)
	}
	if o := k.Transaction.SetOptions; o != nil && o.Rotation != nil {
		return errors.New("transaction.reserve: signers of an issuer with a reserve are not rotated")
	}
	if age := time.Duration(r.MaxAge); age < minWindow || age > maxWindow {
		return fmt.Errorf("transaction.reserve.max_age is %s, need %s to %s", age, minWindow, maxWindow)
	}
	return nil
}

func (r *ReserveRule) explain(say func(format string, args ...any)) {
	say("issues %s only while all of it stays within the reserve that %s has attested, no longer than %s ago", r.Asset, signatories(r.Attestors), time.Duration(r.MaxAge))
}
