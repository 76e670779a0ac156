package apply

import (
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// sequenceShift: an account begins with the number of the ledger that created it, shifted by this.
const sequenceShift = 32

// valid makes the checks that do not depend on the operations, in the order of the deployed protocol, but for the
// account's balance, which comes last and differs between checking and applying. It says also whether the sequence
// number is used up, whatever else is wrong. pays is false for a transaction whose fee somebody else bumps.
func valid(d *Delta, tx Tx, c Context, signatures *checker, pays bool) (code xdr.TransactionResultCode, usesSequence bool) {
	conditions := tx.inner.Tx.Cond
	if code := wellFormed(tx, conditions); code != xdr.TransactionResultCodeTxSuccess {
		return code, false
	}
	if code := timely(conditions, c); code != xdr.TransactionResultCodeTxSuccess {
		return code, false
	}
	if pays && tx.Bid() < tx.MinFee(c.BaseFee) {
		return xdr.TransactionResultCodeTxInsufficientFee, false
	}
	source := d.account(tx.Source())
	if source == nil {
		return xdr.TransactionResultCodeTxNoAccount, false
	}
	account := source.account()
	if badSequence(account, tx, c) {
		return xdr.TransactionResultCodeTxBadSeq, false
	}
	switch {
	case tooEarlyFor(account, conditions, c):
		return xdr.TransactionResultCodeTxBadMinSeqAgeOrGap, true
	case !signatures.check(accountSigners(account), int32(account.ThresholdLow())),
		!signatures.checkExtra(conditions):
		return xdr.TransactionResultCodeTxBadAuth, true
	}
	return xdr.TransactionResultCodeTxSuccess, true
}

// wellFormed checks what the transaction says of itself.
func wellFormed(tx Tx, conditions xdr.Preconditions) xdr.TransactionResultCode {
	if v2 := conditions.V2; v2 != nil {
		if len(v2.ExtraSigners) == 2 && v2.ExtraSigners[0].Equals(v2.ExtraSigners[1]) {
			return xdr.TransactionResultCodeTxMalformed
		}
		for _, s := range v2.ExtraSigners {
			if emptyPayload(s) {
				return xdr.TransactionResultCodeTxMalformed
			}
		}
	}
	switch {
	case len(tx.inner.Tx.Operations) == 0:
		return xdr.TransactionResultCodeTxMissingOperation
	case tx.inner.Tx.Ext.V != 0: // resources of a smart contract on a classic transaction
		return xdr.TransactionResultCodeTxMalformed
	}
	return xdr.TransactionResultCodeTxSuccess
}

func emptyPayload(key xdr.SignerKey) bool {
	return key.Type == xdr.SignerKeyTypeSignerKeyTypeEd25519SignedPayload && len(key.Ed25519SignedPayload.Payload) == 0
}

func timely(conditions xdr.Preconditions, c Context) xdr.TransactionResultCode {
	times, ledgers := conditions.TimeBounds, (*xdr.LedgerBounds)(nil)
	if v2 := conditions.V2; v2 != nil {
		times, ledgers = v2.TimeBounds, v2.LedgerBounds
	}
	switch {
	case times != nil && uint64(times.MinTime) > c.CloseTime, ledgers != nil && uint32(ledgers.MinLedger) > c.Seq:
		return xdr.TransactionResultCodeTxTooEarly
	case times != nil && times.MaxTime != 0 && uint64(times.MaxTime) < c.CloseTime,
		ledgers != nil && ledgers.MaxLedger != 0 && uint32(ledgers.MaxLedger) <= c.Seq:
		return xdr.TransactionResultCodeTxTooLate
	}
	return xdr.TransactionResultCodeTxSuccess
}

func badSequence(account *xdr.AccountEntry, tx Tx, c Context) bool {
	want, have := tx.Sequence(), int64(account.SeqNum)
	if want <= have || want == int64(c.Seq)<<sequenceShift { // the number that an account created in this ledger starts with
		return true
	}
	if v2 := tx.inner.Tx.Cond.V2; v2 != nil && v2.MinSeqNum != nil {
		return have < int64(*v2.MinSeqNum)
	}
	return have != want-1
}

func tooEarlyFor(account *xdr.AccountEntry, conditions xdr.Preconditions, c Context) bool {
	v2 := conditions.V2
	if v2 == nil {
		return false
	}
	age, gap := uint64(v2.MinSeqAge), uint32(v2.MinSeqLedgerGap)
	return age > c.CloseTime || uint64(account.SeqTime()) > c.CloseTime-age ||
		gap > c.Seq || uint32(account.SeqLedger()) > c.Seq-gap
}

// useSequence stores the transaction's sequence number and when it was used.
func useSequence(d *Delta, tx Tx, c Context) {
	e := d.account(tx.Source())
	account := e.account()
	account.SeqNum = tx.inner.Tx.SeqNum
	v2 := extensionV2(account)
	v2.Ext = xdr.AccountEntryExtensionV2Ext{V: 3, V3: &xdr.AccountEntryExtensionV3{
		SeqLedger: xdr.Uint32(c.Seq), SeqTime: xdr.TimePoint(c.CloseTime)}}
	d.put(e)
}

// extensionV2 returns the account's second extension, made if it is not there.
func extensionV2(account *xdr.AccountEntry) *xdr.AccountEntryExtensionV2 {
	if account.Ext.V1 == nil {
		account.Ext = xdr.AccountEntryExt{V: 1, V1: &xdr.AccountEntryExtensionV1{}}
	}
	v1 := account.Ext.V1
	if v1.Ext.V2 == nil {
		v1.Ext = xdr.AccountEntryExtensionV1Ext{V: 2, V2: &xdr.AccountEntryExtensionV2{
			SignerSponsoringIDs: make([]xdr.SponsorshipDescriptor, len(account.Signers))}}
	}
	return v1.Ext.V2
}

// dropOneTimeSigners removes the signers that pre-authorised this transaction from all its source accounts. That is so
// also when the transaction fails: it can be tried once.
func dropOneTimeSigners(d *Delta, tx Tx) {
	dropOneTimeSigner(d, tx.Source(), tx.innerHash)
	for _, op := range tx.inner.Tx.Operations {
		if op.SourceAccount != nil {
			dropOneTimeSigner(d, op.SourceAccount.ToAccountId(), tx.innerHash)
		}
	}
}

func dropOneTimeSigner(d *Delta, id xdr.AccountId, hash protocol.Hash) {
	key := AccountKey(id)
	have := d.Get(key)
	if have == nil {
		return
	}
	for i, s := range have.Data.Account.Signers {
		if s.Key.Type == xdr.SignerKeyTypeSignerKeyTypePreAuthTx && *s.Key.PreAuthTx == xdr.Uint256(hash) {
			e := d.load(key)
			removeSigner(e.account(), i)
			d.put(e)
			return
		}
	}
}
