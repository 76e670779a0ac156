package policy

import (
	"errors"
	"fmt"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload/bitcoin"
)

// Move is the key and the home that an id had before. An id means one key for ever, unless the board says in a new version
// what it was and what it is.
type Move struct {
	Public PublicKey    `toml:"public"`
	Home   keymgmt.Home `toml:"home"`
}

// most is what may leave by a key at most.
type most struct{ perTransaction, perDay Quantity }

// softwareMost is the most that a key may let leave that is in the signer's own memory when it signs: about what a bank
// keeps in a till. Whoever reads that memory once has the key, so no policy can allow more. The assets of ledgers and the
// tokens that are not named are counted in their own units, whatever these are worth.
var softwareMost = map[string]most{
	bitcoin.Bitcoin.String():     {constant("0.5"), constant("2")},
	bitcoin.Litecoin.String():    {constant("250"), constant("1000")},
	bitcoin.BitcoinCash.String(): {constant("50"), constant("200")},
	etherCounter:                 {constant("10"), constant("40")},
}

// softwareElse is that for everything else.
var softwareElse = most{constant("10000"), constant("50000")}

// home returns where the key must be.
func (k *Key) home() keymgmt.Home {
	if k.Home == 0 {
		return keymgmt.Hardware
	}
	return k.Home
}

// Home returns where the policy wants the private key to be, zero when it does not know the key.
func (p *Policy) Home(key keymgmt.KeyID) keymgmt.Home {
	if rule := p.keys[key]; rule != nil {
		return rule.home()
	}
	return 0
}

// MovedFrom returns what key stood for before, if the policy says that it was something else.
func (p *Policy) MovedFrom(key keymgmt.KeyID) (public keymgmt.PublicKey, home keymgmt.Home, ok bool) {
	if rule := p.keys[key]; rule != nil && rule.MovedFrom != nil {
		return rule.MovedFrom.Public.PublicKey, rule.MovedFrom.Home, true
	}
	return keymgmt.PublicKey{}, 0, false
}

func (k *Key) validateHome() error {
	if k.home().String() == "" {
		return fmt.Errorf("home %d", k.Home)
	}
	if m := k.MovedFrom; m != nil {
		switch {
		case m.Public.IsZero() || m.Home.String() == "":
			return errors.New("moved_from needs the public key and the home that were")
		case m.Public == k.Public && m.Home == k.home():
			return errors.New("moved_from is what is: nothing has moved")
		}
	}
	if k.home() != keymgmt.SoftwareSealed {
		return nil
	}
	if t := k.Transaction; t != nil && t.SetOptions != nil && t.SetOptions.Rotation != nil {
		return errors.New("a software-sealed key can't rotate an account's signers")
	}
	for _, b := range k.bounds() {
		limit, named := softwareMost[k.counts(b)]
		if !named {
			limit = softwareElse
		}
		if b.most.more(limit.perTransaction) || !b.dayWithin(limit.perDay) {
			return fmt.Errorf("a software-sealed key may let %s of %s leave at most in one transaction, and %s in a day", limit.perTransaction, b.name, limit.perDay)
		}
	}
	return nil
}

// counts returns what b is a bound of. Fees are paid in what the key's ledger counts, and leave like any payment.
func (k *Key) counts(b bound) string {
	switch {
	case b.name == FeeCounter && k.Bitcoin != nil:
		return k.Bitcoin.Chain
	case b.name == FeeCounter && k.Ethereum != nil:
		return etherCounter
	}
	return b.name
}

// more reports whether q is more than limit. What was never set is more than anything.
func (q Quantity) more(limit Quantity) bool { return q.atto == nil || q.atto.Cmp(limit.atto) > 0 }

// dayWithin reports whether the windows of a day or less let no more than limit leave.
func (b bound) dayWithin(limit Quantity) bool {
	for _, w := range b.windows {
		if time.Duration(w.Length) == 24*time.Hour && !w.Max.more(limit) {
			return true
		}
	}
	return false
}
