package policy

import (
	"cmp"
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

const (
	// maxDischarge bounds how long a discharge may lie before it is used.
	maxDischarge = 31 * 24 * time.Hour
	maxLiens     = 20
)

// LienRule makes an account one that holds collateral: what leaves it needs the word of the lien's holder, who names asset,
// amount and destination, besides everything else that the policy asks for. Whatever could let something leave in another
// way, later or by another's signature, is denied. Of several liens each must be discharged. Fees are not collateral:
// max_fee bounds them.
//
//	[[key.transaction.lien]]
//	id     = "loan-1"
//	holder = [{name = "lender", public = "G..."}]
type LienRule struct {
	ID      string      `toml:"id"`
	Holders []Signatory `toml:"holder"` // the word of any one of them counts
}

// DischargeText is what a lien's holder signs, one fact a line. account is the one that holds the collateral.
func DischargeText(network protocol.Hash, account protocol.AccountID, d keymgmt.Discharge) []byte {
	return fmt.Appendf(nil, "diamante lien discharge 1\nnetwork %s\nlien %s\naccount %s\nasset %s\namount %s\ndestination %s\nnonce %s\nexpires %s\nholder %s\n",
		network, d.Lien, account, d.Asset, d.Amount, d.Destination, d.Nonce, d.Expires.UTC().Format(time.RFC3339), d.Holder)
}

// SignDischarge is a holder's side. Any crypto.Signer with an Ed25519 key will do; it need not be in this process.
func SignDischarge(network protocol.Hash, account protocol.AccountID, d keymgmt.Discharge, key crypto.Signer) (keymgmt.Discharge, error) {
	d.Expires = d.Expires.UTC().Truncate(time.Second)
	sig, err := signText(key, DischargeText(network, account, d))
	if err != nil {
		return keymgmt.Discharge{}, fmt.Errorf("policy: discharge: %w", err)
	}
	d.Signature = sig
	return d, d.Validate()
}

// release is what leaves an account for another one.
type release struct{ asset, destination string }

// released checks what leaves the account of k against the discharges that the request brought. One that is not good, or
// for more than leaves, denies the whole: it is an attack, or a mistake that its holder should hear of.
func (p *Policy) released(k *Key, t *payload.Transaction, facts Facts) error {
	liens := k.Transaction.Liens
	if len(liens) == 0 {
		return nil // Decide has made sure that there are no discharges
	}
	leaves := map[release]*big.Int{}
	for _, op := range t.Operations {
		to, amount, err := leaving(op)
		if err != nil {
			return err
		}
		if amount != nil {
			leaves[to] = add(leaves[to], amount)
		}
	}
	discharged, err := p.discharged(k, facts)
	if err != nil {
		return err
	}
	byText := func(a, b release) int {
		return cmp.Or(strings.Compare(a.asset, b.asset), strings.Compare(a.destination, b.destination))
	}
	for _, lien := range liens {
		for _, to := range slices.SortedFunc(maps.Keys(leaves), byText) {
			given := add(new(big.Int), discharged[lien.ID][to])
			if c := given.Cmp(leaves[to]); c != 0 {
				return &Denial{Rule: "transaction.lien", needsApproval: c < 0, Reason: fmt.Sprintf("%s of %s would leave for %s, of which %s are discharged from lien %s of %s",
					payload.Decimal(leaves[to]), to.asset, to.destination, payload.Decimal(given), lien.ID, signatories(lien.Holders))}
			}
			delete(discharged[lien.ID], to)
		}
		for to := range discharged[lien.ID] {
			return deny("transaction.lien.destination", "nothing of %s would leave for %s, and lien %s is discharged for it", to.asset, to.destination, lien.ID)
		}
	}
	return nil
}

// leaving returns what an operation lets leave, nil when it lets nothing leave now or later. It names what it allows: an
// operation that nobody thought of is denied.
func leaving(op payload.Operation) (release, *big.Int, error) {
	switch o := op.(type) {
	case payload.Payment:
		return release{o.Asset.String(), o.Destination.String()}, o.Amount, nil
	case payload.CreateAccount:
		return release{protocol.Native().String(), o.Destination.String()}, o.Starting, nil
	case payload.SetOptions:
		if !seizes(op) {
			return release{}, nil, nil
		}
	case payload.ManageSellOffer, payload.ManageBuyOffer:
		if out := op.Outflows(); len(out) == 1 && out[0].Amount != nil && out[0].Amount.Sign() == 0 {
			return release{}, nil, nil // an offer is withdrawn
		}
	case payload.ChangeTrust, payload.SetTrustLineFlags, payload.ManageData, payload.ClaimBalance, payload.Clawback:
		return release{}, nil, nil
	}
	return release{}, nil, deny("transaction.lien.operation", "an account under a lien only pays, against a discharge; this one %s", op.Words())
}

// discharged returns the sums of the discharges by lien, once all of them are good.
func (p *Policy) discharged(k *Key, facts Facts) (map[string]map[release]*big.Int, error) {
	sums, seen := map[string]map[release]*big.Int{}, map[string]bool{}
	for _, d := range facts.discharges {
		i := slices.IndexFunc(k.Transaction.Liens, func(l LienRule) bool { return l.ID == d.Lien })
		if i < 0 {
			return nil, deny("transaction.lien.id", "there is no lien %q on key %s", d.Lien, k.ID)
		}
		holders := k.Transaction.Liens[i].Holders
		at := slices.IndexFunc(holders, func(s Signatory) bool { return s.Name == d.Holder })
		switch {
		case at < 0:
			return nil, deny("transaction.lien.holder", "%q does not hold lien %s", d.Holder, d.Lien)
		case seen[d.Nonce] || facts.Discharged[d.Nonce]:
			return nil, deny("transaction.lien.nonce", "the discharge of %s was used before", d.Holder)
		case !facts.Now.Before(d.Expires):
			return nil, deny("transaction.lien.expires", "the discharge of %s has expired", d.Holder)
		case d.Expires.After(facts.Now.Add(maxDischarge + skew)):
			return nil, deny("transaction.lien.expires", "the discharge of %s is good for longer than %s", d.Holder, maxDischarge)
		case !ed25519.Verify(holders[at].Public.Bytes(), DischargeText(p.network, k.account(), d), d.Signature):
			return nil, deny("transaction.lien.signature", "the signature of %s is not for this discharge of account %s", d.Holder, k.account())
		}
		amount, err := stroops(d.Amount)
		if err != nil {
			return nil, deny("transaction.lien.amount", "%v", err)
		}
		seen[d.Nonce] = true
		if sums[d.Lien] == nil {
			sums[d.Lien] = map[release]*big.Int{}
		}
		to := release{d.Asset, d.Destination}
		sums[d.Lien][to] = add(sums[d.Lien][to], amount)
	}
	return sums, nil
}

// add returns a and b together; nil is nothing.
func add(a, b *big.Int) *big.Int {
	sum := new(big.Int)
	for _, n := range []*big.Int{a, b} {
		if n != nil {
			sum.Add(sum, n)
		}
	}
	return sum
}

// pledged reports whether there is a lien on the key's account.
func (k *Key) pledged() bool { return k.Transaction != nil && len(k.Transaction.Liens) > 0 }

func (r *TransactionRule) validateLiens() error {
	if len(r.Liens) > maxLiens {
		return fmt.Errorf("transaction.lien: %d, at most %d", len(r.Liens), maxLiens)
	}
	seen := map[string]bool{}
	for _, l := range r.Liens {
		if l.ID == "" || (keymgmt.Request{Initiator: l.ID}).ValidPeople() != nil || seen[l.ID] {
			return fmt.Errorf("transaction.lien %.80q has no good id, or is there twice", l.ID)
		}
		seen[l.ID] = true
	}
	if len(r.Liens) > 0 && (r.SetOptions != nil && r.SetOptions.Rotation != nil) {
		return errors.New("transaction.lien: signers of an account under a lien are not rotated")
	}
	return nil
}

func (l *LienRule) explain(say func(format string, args ...any)) {
	say("lets nothing leave without the discharge of lien %s by %s, who names asset, amount and destination", l.ID, signatories(l.Holders))
}
