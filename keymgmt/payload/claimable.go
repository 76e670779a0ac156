package payload

import (
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// maxPredicateDepth is how deep predicates may nest on the ledger.
const maxPredicateDepth = 4

// CreateBalance sets Amount of Asset aside, for whoever of the claimants claims it first.
type CreateBalance struct {
	By
	Asset     protocol.Asset
	Amount    *big.Int
	Claimants []Claimant
}

// Claimant may claim a balance when the predicate holds.
type Claimant struct {
	Account   protocol.AccountID
	Predicate Predicate
}

// ClaimBalance claims a claimable balance.
type ClaimBalance struct {
	By
	Balance protocol.Hash
}

// ClawbackBalance destroys a claimable balance of an asset of its source. The body does not say how much there is.
type ClawbackBalance struct {
	By
	Balance protocol.Hash
}

// PredicateKind says how a predicate is to be read. Zero is invalid.
type PredicateKind uint8

// The kinds of predicates.
const (
	Always PredicateKind = 1 + iota
	And                  // both of Of
	Or                   // one of Of, or both
	Not                  // the one of Of does not hold
	Before               // the ledger closes before Time
	Within               // the ledger closes within Seconds of the balance's creation
)

// Predicate is a condition on the time of a claim.
type Predicate struct {
	Kind    PredicateKind
	Of      []Predicate // two for And and Or, one for Not
	Time    time.Time
	Seconds int64
}

func (r *reader) createBalance(x *xdr.CreateClaimableBalanceOp) Operation {
	o := CreateBalance{By: r.by, Asset: r.asset(x.Asset), Amount: r.amount(x.Amount, 1)}
	if len(x.Claimants) == 0 {
		r.fail("a balance that nobody can claim")
	}
	seen := map[protocol.AccountID]bool{}
	for _, c := range x.Claimants {
		if c.Type != xdr.ClaimantTypeClaimantTypeV0 || c.V0 == nil {
			r.fail("claimant of type %d", c.Type)
			return nil
		}
		claimant := Claimant{r.accountID(c.V0.Destination), r.predicate(c.V0.Predicate, 1)}
		if seen[claimant.Account] {
			r.fail("claimant %s twice", claimant.Account)
		}
		seen[claimant.Account] = true
		o.Claimants = append(o.Claimants, claimant)
	}
	return o
}

func (r *reader) predicate(x xdr.ClaimPredicate, depth int) Predicate {
	if depth > maxPredicateDepth {
		r.fail("predicates more than %d deep", maxPredicateDepth)
		return Predicate{}
	}
	switch {
	case x.Type == xdr.ClaimPredicateTypeClaimPredicateUnconditional:
		return Predicate{Kind: Always}
	case x.Type == xdr.ClaimPredicateTypeClaimPredicateAnd && len(*x.AndPredicates) == 2:
		return r.both(And, *x.AndPredicates, depth)
	case x.Type == xdr.ClaimPredicateTypeClaimPredicateOr && len(*x.OrPredicates) == 2:
		return r.both(Or, *x.OrPredicates, depth)
	case x.Type == xdr.ClaimPredicateTypeClaimPredicateNot && *x.NotPredicate != nil:
		return Predicate{Kind: Not, Of: []Predicate{r.predicate(**x.NotPredicate, depth+1)}}
	case x.Type == xdr.ClaimPredicateTypeClaimPredicateBeforeAbsoluteTime && *x.AbsBefore >= 0 && *x.AbsBefore <= maxTime:
		return Predicate{Kind: Before, Time: time.Unix(int64(*x.AbsBefore), 0).UTC()}
	case x.Type == xdr.ClaimPredicateTypeClaimPredicateBeforeRelativeTime && *x.RelBefore >= 0:
		return Predicate{Kind: Within, Seconds: int64(*x.RelBefore)}
	}
	r.fail("predicate %s", x.Type)
	return Predicate{}
}

func (r *reader) both(kind PredicateKind, of []xdr.ClaimPredicate, depth int) Predicate {
	return Predicate{Kind: kind, Of: []Predicate{r.predicate(of[0], depth+1), r.predicate(of[1], depth+1)}}
}

func (r *reader) balance(x xdr.ClaimableBalanceId) protocol.Hash {
	if x.Type != xdr.ClaimableBalanceIdTypeClaimableBalanceIdTypeV0 || x.V0 == nil {
		r.fail("claimable balance of type %d", x.Type)
		return protocol.Hash{}
	}
	return protocol.Hash(*x.V0)
}

// Outflows returns the amount.
func (o CreateBalance) Outflows() []Outflow { return outflow(o.Asset, o.Amount) }

// Outflows returns what the body does not say: some amount of some asset of the source's.
func (o ClawbackBalance) Outflows() []Outflow { return []Outflow{{}} }

// Words returns the effect in words.
func (o CreateBalance) Words() string {
	var w []string
	for _, c := range o.Claimants {
		w = append(w, c.Account.String()+" "+c.Predicate.String())
	}
	return fmt.Sprintf("sets aside %s, to be claimed by %s", sum(o.Amount, o.Asset), strings.Join(w, ", or by "))
}

// Words returns the effect in words.
func (o ClaimBalance) Words() string { return "claims " + balanceWords(o.Balance) }

// Words returns the effect in words.
func (o ClawbackBalance) Words() string { return "claws back ALL of " + balanceWords(o.Balance) }

// balanceWords names a balance as Horizon does, with its type in front.
func balanceWords(id protocol.Hash) string { return "claimable balance 00000000" + id.String() }

// String returns the condition in words.
func (p Predicate) String() string {
	switch p.Kind {
	case Always:
		return "at any time"
	case And:
		return fmt.Sprintf("(%s and %s)", p.Of[0], p.Of[1])
	case Or:
		return fmt.Sprintf("(%s or %s)", p.Of[0], p.Of[1])
	case Not:
		return fmt.Sprintf("not %s", p.Of[0])
	case Before:
		return "before " + p.Time.Format(time.RFC3339)
	case Within:
		return fmt.Sprintf("within %d seconds", p.Seconds)
	}
	return fmt.Sprintf("under a condition of kind %d", p.Kind)
}
