package policy

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/diamante/gateway/keymgmt"
)

// maxOrder bounds how long an order may be on its way.
const maxOrder = 24 * time.Hour

// OrderText is what officers sign for an order, one fact a line.
func OrderText(o keymgmt.Order) []byte {
	return fmt.Appendf(nil, "diamante order 2\nnetwork %s\n%s %s\nnonce %s\nissued %s\nreason %s\n", o.Network, o.Action, o.Key, o.Nonce, o.Issued.UTC().Format(time.RFC3339), o.Reason)
}

// SignOrder is an officer's side: it adds his signature to an order.
func SignOrder(o keymgmt.Order, officer string, key crypto.Signer) (keymgmt.Order, error) {
	if _, ok := key.Public().(ed25519.PublicKey); !ok {
		return o, errors.New("policy: the officer's key is not an Ed25519 key")
	}
	sig, err := key.Sign(nil, OrderText(o), crypto.Hash(0))
	if err != nil {
		return o, fmt.Errorf("policy: order: %w", err)
	}
	o.Signers = append(slices.Clone(o.Signers), keymgmt.OrderSignature{Officer: officer, Signature: sig})
	return o, nil
}

// Order checks an order: any officer of the roster freezes; those whom the policy names for it thaw, as long as it is
// Current. The error is a *Denial, or that of Current, or wraps keymgmt.ErrMalformed.
func (p *Policy) Order(o keymgmt.Order, now time.Time) error {
	if err := o.Validate(); err != nil {
		return err
	}
	if o.Action == keymgmt.Thaw {
		if err := p.Current(now); err != nil {
			return err
		}
	}
	if o.Network != p.network.String() {
		return deny("order.network", "the order is for network %s", o.Network)
	}
	if o.Issued.After(now.Add(skew)) || now.Sub(o.Issued) > maxOrder {
		return deny("order.issued", "the order was issued at %s", o.Issued.UTC().Format(time.RFC3339))
	}
	var given []Officer
	for _, s := range o.Signers {
		at := slices.IndexFunc(p.file.Officers, func(officer Officer) bool { return officer.Name == s.Officer })
		switch {
		case at < 0:
			return deny("order.officer", "%q is no officer", s.Officer)
		case slices.ContainsFunc(given, func(g Officer) bool { return g.Name == s.Officer }):
			return deny("order.officer", "%s signs twice", s.Officer)
		}
		if err := p.file.signed(p.file.Officers[at], OrderText(o), proof{s.Signature, s.Passkey}); err != nil {
			return deny("order.signature", "the signature of %s is not for this order: %v", s.Officer, err)
		}
		given = append(given, p.file.Officers[at])
	}
	if o.Action == keymgmt.Thaw && (len(p.file.Thaw) == 0 || !satisfied(p.file.Thaw, given)) {
		return &Denial{Rule: "thaw", Reason: "to thaw needs " + needsText(p.file.Thaw), needsApproval: true}
	}
	return nil
}

// Ends reports, as a nil error, that a thaw may end a freeze that was carried out at a time. One that was signed before knows
// nothing of it: whoever delivers orders may have kept it from the freeze before.
func Ends(o keymgmt.Order, frozen time.Time) error {
	if o.Issued.Before(frozen.Truncate(time.Second)) {
		return deny("order.issued", "the order was issued at %s, before it was frozen at %s", o.Issued.UTC().Format(time.RFC3339), frozen.UTC().Format(time.RFC3339))
	}
	return nil
}
