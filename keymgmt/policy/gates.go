package policy

import (
	"slices"

	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
)

// gates are the rules that look beyond a key's own limits: at what stands behind what it issues, and at who has a right to
// what it holds.
func (p *Policy) gates(k *Key, t *payload.Transaction, facts Facts) error {
	if err := p.reserved(k, t, facts); err != nil {
		return err
	}
	return p.released(k, t, facts)
}

// Transaction returns the ledger transaction that m is, with preconditions or without, nil when it is none. A fee bump is
// none: what is in it was signed, and judged, before.
func Transaction(m payload.Meaning) *payload.Transaction {
	if m.Conditional != nil {
		return m.Conditional
	}
	return m.Transaction
}

func (r *TransactionRule) explainGates(say func(format string, args ...any)) {
	for _, rule := range r.Reserves {
		rule.explain(say)
	}
	for _, lien := range r.Liens {
		lien.explain(say)
	}
}

// lintGates warns of credit that is issued on nobody's word but the gateway's.
func (k *Key) lintGates(warn func(format string, args ...any)) {
	var named []protocol.Asset
	for _, p := range k.Transaction.Payments {
		for _, a := range p.Assets {
			if a.Issuer() == k.account() && !k.Transaction.hasReserve(a) && !slices.Contains(named, a) {
				named = append(named, a)
				warn("issues %s without an attested reserve behind it", a)
			}
		}
	}
}
