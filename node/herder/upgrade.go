package herder

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// Upgrades are what a validator's operator wants of the network. A validator proposes and nominates what it wants itself and
// nothing else; what a quorum has agreed on it follows. Zero: nothing is wanted.
type Upgrades struct {
	BaseFee      uint32 // stroops for each operation
	MaxTxSetSize uint32 // operations in one ledger
	BaseReserve  uint32 // stroops for each entry
	// At is when the operators have agreed to vote, and For how long a vote is worth casting: validators that begin apart
	// from each other agree on nothing. Zero For means UpgradeLife.
	At  time.Time
	For time.Duration
}

// UpgradeLife is for how long a validator votes for what its operator wants, if he does not say.
const UpgradeLife = 15 * time.Minute

// maxUpgrades is how many upgrades fit into a value.
const maxUpgrades = 6

// wanted returns the upgrades to vote for at a time, in the order of their types: those that would change something.
func (u Upgrades) wanted(h xdr.LedgerHeader, now time.Time) (out []xdr.LedgerUpgrade) {
	life := u.For
	if life == 0 {
		life = UpgradeLife
	}
	if now.Before(u.At) || now.After(u.At.Add(life)) {
		return nil
	}
	for _, one := range []struct {
		to, is xdr.Uint32
		make   func(to xdr.Uint32) xdr.LedgerUpgrade
	}{
		{xdr.Uint32(u.BaseFee), h.BaseFee, func(to xdr.Uint32) xdr.LedgerUpgrade {
			return xdr.LedgerUpgrade{Type: xdr.LedgerUpgradeTypeLedgerUpgradeBaseFee, NewBaseFee: &to}
		}},
		{xdr.Uint32(u.MaxTxSetSize), h.MaxTxSetSize, func(to xdr.Uint32) xdr.LedgerUpgrade {
			return xdr.LedgerUpgrade{Type: xdr.LedgerUpgradeTypeLedgerUpgradeMaxTxSetSize, NewMaxTxSetSize: &to}
		}},
		{xdr.Uint32(u.BaseReserve), h.BaseReserve, func(to xdr.Uint32) xdr.LedgerUpgrade {
			return xdr.LedgerUpgrade{Type: xdr.LedgerUpgradeTypeLedgerUpgradeBaseReserve, NewBaseReserve: &to}
		}},
	} {
		if one.to != 0 && one.to != one.is {
			out = append(out, one.make(one.to))
		}
	}
	return out
}

// encodeUpgrades is the form in which a value holds upgrades.
func encodeUpgrades(list []xdr.LedgerUpgrade) []xdr.UpgradeType {
	out := make([]xdr.UpgradeType, 0, len(list))
	for _, u := range list {
		out = append(out, xdr.UpgradeType(mustEncode(u)))
	}
	return out
}

// decodeUpgrades reads the upgrades of a value: canonical, in ascending order of their types, and of a type that this version
// can carry out.
func decodeUpgrades(raw []xdr.UpgradeType) ([]xdr.LedgerUpgrade, error) {
	if len(raw) > maxUpgrades {
		return nil, fmt.Errorf("%w: %d upgrades", ErrBadValue, len(raw))
	}
	var out []xdr.LedgerUpgrade
	for _, r := range raw {
		var u xdr.LedgerUpgrade
		if err := u.UnmarshalBinary(r); err != nil {
			return nil, fmt.Errorf("%w: upgrade: %v", ErrBadValue, err)
		}
		if again, err := u.MarshalBinary(); err != nil || !bytes.Equal(again, r) {
			return nil, fmt.Errorf("%w: upgrade %x is not in its canonical encoding", ErrBadValue, r)
		}
		if n := len(out); n > 0 && out[n-1].Type >= u.Type {
			return nil, fmt.Errorf("%w: upgrades are not in order", ErrBadValue)
		}
		if to, err := upgradeTo(u); err != nil || to == 0 {
			return nil, errors.Join(fmt.Errorf("%w: an upgrade to zero", ErrBadValue), err)
		}
		out = append(out, u)
	}
	return out, nil
}

// upgradeTo returns what an upgrade would set.
func upgradeTo(u xdr.LedgerUpgrade) (uint32, error) {
	switch u.Type {
	case xdr.LedgerUpgradeTypeLedgerUpgradeBaseFee:
		return uint32(*u.NewBaseFee), nil
	case xdr.LedgerUpgradeTypeLedgerUpgradeMaxTxSetSize:
		return uint32(*u.NewMaxTxSetSize), nil
	case xdr.LedgerUpgradeTypeLedgerUpgradeBaseReserve:
		return uint32(*u.NewBaseReserve), nil
	}
	return 0, fmt.Errorf("%w: upgrade %s is not supported", ErrBadValue, u.Type)
}

// mergeUpgrades makes one list of several: of each type the highest.
func mergeUpgrades(lists ...[]xdr.LedgerUpgrade) []xdr.LedgerUpgrade {
	best := map[xdr.LedgerUpgradeType]xdr.LedgerUpgrade{}
	for _, list := range lists {
		for _, u := range list {
			now, known := best[u.Type]
			to, _ := upgradeTo(u)
			if before, _ := upgradeTo(now); !known || to > before {
				best[u.Type] = u
			}
		}
	}
	out := make([]xdr.LedgerUpgrade, 0, len(best))
	for _, u := range best {
		out = append(out, u)
	}
	slices.SortFunc(out, func(a, b xdr.LedgerUpgrade) int { return cmp.Compare(a.Type, b.Type) })
	return out
}

// onlyWanted leaves out what is not among wanted.
func onlyWanted(list, wanted []xdr.LedgerUpgrade) []xdr.LedgerUpgrade {
	want := map[string]bool{}
	for _, u := range wanted {
		want[string(mustEncode(u))] = true
	}
	var out []xdr.LedgerUpgrade
	for _, u := range list {
		if want[string(mustEncode(u))] {
			out = append(out, u)
		}
	}
	return out
}
