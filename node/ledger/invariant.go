package ledger

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/apply"
	"github.com/diamante/gateway/node/protocol"
)

// credit names an asset that somebody issues.
type credit struct {
	code   [12]byte
	issuer [32]byte
}

// String returns CODE:ISSUER.
func (c credit) String() string {
	issuer, err := protocol.AccountIDFromKey(c.issuer[:])
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimRight(c.code[:], "\x00")) + ":" + issuer.String()
}

func creditOf(a xdr.Asset) credit {
	var c credit
	switch a.Type {
	case xdr.AssetTypeAssetTypeCreditAlphanum4:
		copy(c.code[:], a.AlphaNum4.AssetCode[:])
		c.issuer = *a.AlphaNum4.Issuer.Ed25519
	case xdr.AssetTypeAssetTypeCreditAlphanum12:
		copy(c.code[:], a.AlphaNum12.AssetCode[:])
		c.issuer = *a.AlphaNum12.Issuer.Ed25519
	default:
		panic("ledger: an asset of type " + a.Type.String() + " is no credit")
	}
	return c
}

// checkFee checks that a fee takes what it says and changes nothing else.
func checkFee(below apply.State, layer *apply.Delta, fees apply.Fees) error {
	native := int64(0)
	for _, key := range layer.Keys() {
		native += balanceOf(layer.Get(key)) - balanceOf(below.Get(key))
	}
	if len(layer.Keys()) != 1 || native != -fees.Charged {
		return fmt.Errorf("%d entries and %d stroops of DIAM change for a fee of %d", len(layer.Keys()), native, fees.Charged)
	}
	return nil
}

// checkSupply checks that the DIAM on all accounts, as a ledger leaves them, and in its fee pool are all there are.
func checkSupply(s *state, delta *apply.Delta, next xdr.LedgerHeader) error {
	held := s.native
	for _, key := range delta.Keys() {
		held += balanceOf(delta.Get(key)) - balanceOf(s.Get(key))
	}
	if held+int64(next.FeePool) != int64(next.TotalCoins) {
		return fmt.Errorf("accounts hold %d stroops of DIAM and the fee pool %d, but there are %d", held, next.FeePool, next.TotalCoins)
	}
	return nil
}

// checkTransaction checks what a transaction is about to change: DIAM is neither made nor lost, credit is made and ended
// by its issuer only, every entry is one that could exist, and accounts count what they own.
func checkTransaction(below apply.State, layer *apply.Delta, tx apply.Tx, out apply.Outcome, seq uint32) error {
	native, held, owned := int64(0), map[credit]int64{}, map[string]int{}
	for _, key := range layer.Keys() {
		before, after := below.Get(key), layer.Get(key)
		native += balanceOf(after) - balanceOf(before)
		for i, e := range []*xdr.LedgerEntry{before, after} {
			if e == nil {
				continue
			}
			sign := 2*i - 1
			switch e.Data.Type {
			case xdr.LedgerEntryTypeAccount:
				owned[key] -= sign * (int(e.Data.Account.NumSubEntries) - len(e.Data.Account.Signers))
			case xdr.LedgerEntryTypeTrustline:
				held[creditOf(e.Data.TrustLine.Asset.ToAsset())] += int64(sign) * int64(e.Data.TrustLine.Balance)
			}
			if owner := ownerKey(*e); owner != "" {
				owned[owner] += sign
			}
		}
		if after == nil {
			continue
		}
		if err := validEntry(after, seq); err != nil {
			return err
		}
	}
	if native != 0 {
		return fmt.Errorf("accounts change by %d stroops of DIAM", native)
	}
	if err := checkCredit(held, issuedBy(tx, out.Result)); err != nil {
		return err
	}
	if err := checkClawback(out.Operations); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(owned)) {
		if owned[key] != 0 {
			return fmt.Errorf("an account owns %d entries more than it counts in addition: %s", owned[key], name(layer, below, key))
		}
	}
	return nil
}

// name returns the address of the account with a key, for a message.
func name(layer *apply.Delta, below apply.State, key string) string {
	for _, e := range []*xdr.LedgerEntry{layer.Get(key), below.Get(key)} {
		if e != nil {
			return e.Data.Account.AccountId.Address()
		}
	}
	return "one that does not exist"
}

func checkCredit(held, issued map[credit]int64) error {
	for c, by := range issued {
		held[c] -= by
	}
	for c, by := range held { // in any order: one that does not add up is enough
		if by != 0 {
			return fmt.Errorf("holders of %s have %d stroops more than issued", c, by)
		}
	}
	return nil
}

// issuedBy adds up, per credit, what its issuer sent less what came back to him or was clawed back.
func issuedBy(tx apply.Tx, r xdr.TransactionResult) map[credit]int64 {
	issued := map[credit]int64{}
	if !r.Successful() {
		return issued
	}
	for _, op := range tx.Envelope.Operations() {
		source := tx.Source()
		if op.SourceAccount != nil {
			source = op.SourceAccount.ToAccountId()
		}
		switch op.Body.Type {
		case xdr.OperationTypePayment:
			p := op.Body.PaymentOp
			if p.Asset.Type == xdr.AssetTypeAssetTypeNative {
				continue
			}
			c := creditOf(p.Asset)
			if *source.Ed25519 == c.issuer {
				issued[c] += int64(p.Amount)
			}
			if to := p.Destination.ToAccountId(); *to.Ed25519 == c.issuer {
				issued[c] -= int64(p.Amount)
			}
		case xdr.OperationTypeClawback:
			issued[creditOf(op.Body.ClawbackOp.Asset)] -= int64(op.Body.ClawbackOp.Amount)
		}
	}
	return issued
}

// checkClawback checks that no line became subject to clawback but by being opened. It looks at each operation: one may
// close a line, and the next open it again.
func checkClawback(operations []xdr.OperationMeta) error {
	const clawback = xdr.Uint32(xdr.TrustLineFlagsTrustlineClawbackEnabledFlag)
	for _, op := range operations {
		for i, c := range op.Changes {
			if c.Updated == nil || c.Updated.Data.TrustLine == nil {
				continue
			}
			is, was := c.Updated.Data.TrustLine, op.Changes[i-1].State.Data.TrustLine
			if is.Flags&^was.Flags&clawback != 0 {
				return fmt.Errorf("line of %s became subject to clawback", is.AccountId.Address())
			}
		}
	}
	return nil
}

// validEntry checks an entry by itself.
func validEntry(e *xdr.LedgerEntry, seq uint32) error {
	if uint32(e.LastModifiedLedgerSeq) != seq {
		return fmt.Errorf("an entry changed in ledger %d says that it was %d", seq, e.LastModifiedLedgerSeq)
	}
	switch e.Data.Type {
	case xdr.LedgerEntryTypeAccount:
		return validAccount(e.Data.Account)
	case xdr.LedgerEntryTypeTrustline:
		return validLine(e.Data.TrustLine)
	case xdr.LedgerEntryTypeData:
		if d := e.Data.Data; len(d.DataName) == 0 {
			return fmt.Errorf("a data entry of %s has no name", d.AccountId.Address())
		}
		return nil
	}
	return fmt.Errorf("an entry of type %s", e.Data.Type)
}

func validAccount(a *xdr.AccountEntry) error {
	l := a.Liabilities()
	switch {
	case a.Balance < 0, a.SeqNum < 0, len(a.Signers) > int(a.NumSubEntries), l.Buying < 0, l.Selling < 0,
		int64(a.Balance) < int64(l.Selling), a.Flags&^xdr.MaskAccountFlagsV17 != 0:
		return fmt.Errorf("account %s has balance %d, liabilities %d and %d, sequence %d, flags %d, %d signers, %d entries", a.AccountId.Address(),
			a.Balance, l.Buying, l.Selling, a.SeqNum, a.Flags, len(a.Signers), a.NumSubEntries)
	}
	for i, s := range a.Signers {
		if s.Weight == 0 || s.Weight > 255 || i > 0 && apply.CompareSigners(a.Signers[i-1].Key, s.Key) >= 0 {
			return fmt.Errorf("account %s has signer %d of weight %d, or out of order", a.AccountId.Address(), i, s.Weight)
		}
	}
	if v1 := a.Ext.V1; v1 != nil && v1.Ext.V2 != nil && len(v1.Ext.V2.SignerSponsoringIDs) != len(a.Signers) {
		return fmt.Errorf("account %s has %d signers and places for %d sponsors", a.AccountId.Address(), len(a.Signers), len(v1.Ext.V2.SignerSponsoringIDs))
	}
	return nil
}

func validLine(t *xdr.TrustLineEntry) error {
	l, flags := t.Liabilities(), xdr.TrustLineFlags(t.Flags)
	const auths = xdr.TrustLineFlagsAuthorizedFlag | xdr.TrustLineFlagsAuthorizedToMaintainLiabilitiesFlag
	if t.Asset.Type == xdr.AssetTypeAssetTypeNative || t.Balance < 0 || t.Limit <= 0 || t.Balance > t.Limit || l.Selling > t.Balance ||
		l.Buying > t.Limit-t.Balance || flags&auths == auths || flags&^xdr.TrustLineFlags(xdr.MaskTrustlineFlagsV17) != 0 {
		return fmt.Errorf("line of %s has balance %d, limit %d, liabilities %d and %d, flags %d", t.AccountId.Address(), t.Balance, t.Limit, l.Buying, l.Selling, flags)
	}
	return nil
}
