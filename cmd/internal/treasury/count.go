package treasury

import (
	"fmt"
	"math/big"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Count is how much of an asset is out, as of one closed ledger. Only Add changes it.
type Count struct {
	Asset       protocol.Asset
	Ledger      uint32
	Closed      time.Time
	Outstanding *big.Int // stroops: in trustlines, claimable balances and pools
	Sequence    int64    // of the issuing account, 0 before it exists
}

// NewCount is the count before the first ledger.
func NewCount(asset protocol.Asset) *Count { return &Count{Asset: asset, Outstanding: new(big.Int)} }

// Add goes on by one ledger, the next.
func (c *Count) Add(meta xdr.LedgerCloseMeta) error {
	v1 := meta.V1
	if v1 == nil {
		return fmt.Errorf("treasury: meta of version %d", meta.V)
	}
	header := v1.LedgerHeader.Header
	if c.Ledger != 0 && uint32(header.LedgerSeq) != c.Ledger+1 {
		return fmt.Errorf("treasury: ledger %d after ledger %d", header.LedgerSeq, c.Ledger)
	}
	next := Count{c.Asset, uint32(header.LedgerSeq), time.Unix(int64(header.ScpValue.CloseTime), 0).UTC(), new(big.Int).Set(c.Outstanding), c.Sequence}
	for _, p := range v1.TxProcessing { // the fees of all are taken before the first is applied
		next.all(p.FeeProcessing)
	}
	for _, p := range v1.TxProcessing {
		v3 := p.TxApplyProcessing.V3
		if v3 == nil {
			return fmt.Errorf("treasury: transaction meta of version %d", p.TxApplyProcessing.V)
		}
		next.all(v3.TxChangesBefore)
		for _, op := range v3.Operations {
			next.all(op.Changes)
		}
		next.all(v3.TxChangesAfter)
	}
	for _, u := range v1.UpgradesProcessing {
		next.all(u.Changes)
	}
	*c = next
	return nil
}

// all adds changes up: the state of an entry before it changes takes away what the next change adds.
func (c *Count) all(changes xdr.LedgerEntryChanges) {
	for _, change := range changes {
		switch change.Type {
		case xdr.LedgerEntryChangeTypeLedgerEntryState:
			c.Outstanding.Sub(c.Outstanding, c.in(change.State))
		case xdr.LedgerEntryChangeTypeLedgerEntryCreated:
			c.Outstanding.Add(c.Outstanding, c.in(change.Created))
		case xdr.LedgerEntryChangeTypeLedgerEntryUpdated:
			c.Outstanding.Add(c.Outstanding, c.in(change.Updated))
		}
	}
}

// in returns how much of the asset is in an entry, and looks at the issuer's own on the way.
func (c *Count) in(e *xdr.LedgerEntry) *big.Int {
	held := new(big.Int)
	add := func(asset xdr.Asset, amount xdr.Int64) {
		if got, err := protocol.AssetFromXDR(asset); err == nil && got == c.Asset {
			held.Add(held, big.NewInt(int64(amount)))
		}
	}
	switch e.Data.Type {
	case xdr.LedgerEntryTypeAccount:
		if id, err := protocol.AccountIDFromXDR(e.Data.Account.AccountId); err == nil && id == c.Asset.Issuer() {
			c.Sequence = int64(e.Data.Account.SeqNum)
		}
	case xdr.LedgerEntryTypeTrustline:
		if line := e.Data.TrustLine; line.Asset.Type != xdr.AssetTypeAssetTypePoolShare {
			add(line.Asset.ToAsset(), line.Balance)
		}
	case xdr.LedgerEntryTypeClaimableBalance:
		add(e.Data.ClaimableBalance.Asset, e.Data.ClaimableBalance.Amount)
	case xdr.LedgerEntryTypeLiquidityPool:
		if p := e.Data.LiquidityPool.Body.ConstantProduct; p != nil {
			add(p.Params.AssetA, p.ReserveA)
			add(p.Params.AssetB, p.ReserveB)
		}
	}
	return held
}
