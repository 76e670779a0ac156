package ledger

import (
	"bytes"
	"fmt"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// readUpgrades decodes the upgrades of a decided value: of the base fee, the size of transaction sets and the base
// reserve, each at most once and in the order of their types. Others are not supported.
func readUpgrades(value xdr.StellarValue) ([]xdr.LedgerUpgrade, error) {
	var upgrades []xdr.LedgerUpgrade
	for _, raw := range value.Upgrades {
		var u xdr.LedgerUpgrade
		if err := u.UnmarshalBinary(raw); err != nil {
			return nil, fmt.Errorf("%w: upgrade: %v", ErrSet, err)
		}
		if again, err := u.MarshalBinary(); err != nil || !bytes.Equal(again, raw) {
			return nil, fmt.Errorf("%w: upgrade %x is not in its canonical encoding", ErrSet, raw)
		}
		if n := len(upgrades); n > 0 && upgrades[n-1].Type >= u.Type {
			return nil, fmt.Errorf("%w: upgrades are not in order", ErrSet)
		}
		switch {
		case u.Type == xdr.LedgerUpgradeTypeLedgerUpgradeBaseFee && *u.NewBaseFee > 0,
			u.Type == xdr.LedgerUpgradeTypeLedgerUpgradeMaxTxSetSize && *u.NewMaxTxSetSize > 0,
			u.Type == xdr.LedgerUpgradeTypeLedgerUpgradeBaseReserve && *u.NewBaseReserve > 0:
			upgrades = append(upgrades, u)
		default:
			return nil, fmt.Errorf("%w: upgrade %s is zero or not supported", ErrSet, u.Type)
		}
	}
	return upgrades, nil
}

// upgrade changes the header of the ledger that decided on upgrades; they hold from the next ledger on.
func upgrade(h *xdr.LedgerHeader, upgrades []xdr.LedgerUpgrade) []xdr.UpgradeEntryMeta {
	metas := make([]xdr.UpgradeEntryMeta, 0, len(upgrades))
	for _, u := range upgrades {
		switch u.Type {
		case xdr.LedgerUpgradeTypeLedgerUpgradeBaseFee:
			h.BaseFee = *u.NewBaseFee
		case xdr.LedgerUpgradeTypeLedgerUpgradeMaxTxSetSize:
			h.MaxTxSetSize = *u.NewMaxTxSetSize
		case xdr.LedgerUpgradeTypeLedgerUpgradeBaseReserve:
			h.BaseReserve = *u.NewBaseReserve
		}
		metas = append(metas, xdr.UpgradeEntryMeta{Upgrade: u, Changes: xdr.LedgerEntryChanges{}})
	}
	return metas
}
