package ledger

import (
	"fmt"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/apply"
)

// checkInvariants looks at what a ledger is about to change: DIAM is neither made nor lost, credit is made and ended by
// its issuer only, and every entry is one that could exist. The error names the numbers.
func checkInvariants(before *state, delta *apply.Delta, txs []apply.Tx, processing []xdr.TransactionResultMeta, collected int64) error {
	native, credit := int64(0), map[string]int64{}
	touched := map[string]bool{}
	for _, key := range delta.Keys() {
		old, now := before.Get(key), delta.Get(key)
		for sign, e := range map[int64]*xdr.LedgerEntry{-1: old, 1: now} {
			if e == nil {
				continue
			}
			switch e.Data.Type {
			case xdr.LedgerEntryTypeAccount:
				native += sign * int64(e.Data.Account.Balance)
				touched[key] = true
			case xdr.LedgerEntryTypeTrustline:
				credit[assetName(e.Data.TrustLine.Asset.ToAsset())] += sign * int64(e.Data.TrustLine.Balance)
			}
		}
		if now != nil {
			if err := validEntry(now); err != nil {
				return err
			}
		}
	}
	if native+collected != 0 {
		return fmt.Errorf("accounts change by %d stroops of DIAM while %d in fees are collected", native, collected)
	}
	issued := issuedBy(txs, processing)
	for asset, by := range credit {
		if by != issued[asset] {
			return fmt.Errorf("holders of %s change by %d stroops, its issuer by %d", asset, by, issued[asset])
		}
	}
	return subentriesCount(before, delta, touched)
}

func assetName(a xdr.Asset) string { return a.StringCanonical() }

// issuedBy adds up, per credit, what its issuer sent less what came back to him or was clawed back.
func issuedBy(txs []apply.Tx, processing []xdr.TransactionResultMeta) map[string]int64 {
	issued := map[string]int64{}
	for i, tx := range txs {
		if !processing[i].Result.Result.Successful() {
			continue
		}
		for _, op := range tx.Envelope.Operations() {
			source := tx.Source()
			if op.SourceAccount != nil {
				source = op.SourceAccount.ToAccountId()
			}
			switch op.Body.Type {
			case xdr.OperationTypePayment:
				p := op.Body.MustPaymentOp()
				if p.Asset.Type == xdr.AssetTypeAssetTypeNative {
					continue
				}
				to := p.Destination.ToAccountId()
				if source.Address() == p.Asset.GetIssuer() {
					issued[assetName(p.Asset)] += int64(p.Amount)
				}
				if to.Address() == p.Asset.GetIssuer() {
					issued[assetName(p.Asset)] -= int64(p.Amount)
				}
			case xdr.OperationTypeClawback:
				c := op.Body.MustClawbackOp()
				issued[assetName(c.Asset)] -= int64(c.Amount)
			}
		}
	}
	return issued
}

// validEntry checks an entry by itself.
func validEntry(e *xdr.LedgerEntry) error {
	switch e.Data.Type {
	case xdr.LedgerEntryTypeAccount:
		a := e.Data.Account
		if a.Balance < 0 || a.SeqNum < 0 || len(a.Signers) > int(a.NumSubEntries) {
			return fmt.Errorf("account %s has balance %d, sequence %d, %d signers, %d entries", a.AccountId.Address(), a.Balance, a.SeqNum, len(a.Signers), a.NumSubEntries)
		}
	case xdr.LedgerEntryTypeTrustline:
		t := e.Data.TrustLine
		if t.Balance < 0 || t.Limit <= 0 || t.Balance > t.Limit {
			return fmt.Errorf("line of %s has balance %d, limit %d", t.AccountId.Address(), t.Balance, t.Limit)
		}
	}
	return nil
}

// subentriesCount checks that each account that was touched counts its lines, data entries and signers.
func subentriesCount(before *state, delta *apply.Delta, touched map[string]bool) error {
	owned := map[string]int{}
	for key := range touched {
		owned[key] = len(before.owned[key])
	}
	for _, key := range delta.Keys() {
		old, now := before.Get(key), delta.Get(key)
		switch {
		case old == nil && now != nil && ownerKey(*now) != "":
			owned[ownerKey(*now)]++
		case old != nil && now == nil && ownerKey(*old) != "":
			owned[ownerKey(*old)]--
		}
	}
	for key, n := range owned {
		e := delta.Get(key)
		if e == nil {
			return fmt.Errorf("an entry was changed whose account is not there")
		}
		a := e.Data.Account
		if int(a.NumSubEntries) != n+len(a.Signers) {
			return fmt.Errorf("account %s counts %d entries and has %d and %d signers", a.AccountId.Address(), a.NumSubEntries, n, len(a.Signers))
		}
	}
	return nil
}
