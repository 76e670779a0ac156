package apply

import (
	"github.com/stellar/go-stellar-sdk/xdr"
)

// mode says whether a transaction is checked for the queue or applied to a ledger.
type mode uint8

const (
	checking mode = iota + 1
	applying
)

// stage is how far the common checks came before they failed.
type stage uint8

const (
	invalid        stage = iota + 1 // nothing about the transaction can be relied on
	updateSequence                  // its sequence number is used up, whatever else is wrong
	postAuth                        // its signatures were good
	maybeValid                      // its operations are to be looked at
)

// MaxSequenceStart is how account sequence numbers begin: the ledger that created the account, shifted by this.
const sequenceShift = 32

// common makes the checks that do not depend on the operations, in the order of the deployed protocol.
func common(d *Delta, tx Tx, c Context, signatures *checker, m mode) (xdr.TransactionResultCode, stage) {
	if tx.v1 == nil {
		return xdr.TransactionResultCodeTxNotSupported, invalid
	}
	conditions := tx.v1.Tx.Cond
	if code := shape(tx, conditions); code != xdr.TransactionResultCodeTxSuccess {
		return code, invalid
	}
	if code := timely(conditions, c); code != xdr.TransactionResultCodeTxSuccess {
		return code, invalid
	}
	if tx.Fee() < tx.MinFee(c.BaseFee) {
		return xdr.TransactionResultCodeTxInsufficientFee, invalid
	}
	source := d.account(tx.Source())
	if source == nil {
		return xdr.TransactionResultCodeTxNoAccount, invalid
	}
	account := source.account()
	if badSequence(account, tx, conditions, c) {
		return xdr.TransactionResultCodeTxBadSeq, invalid
	}
	if tooEarlyFor(account, conditions, c) {
		return xdr.TransactionResultCodeTxBadMinSeqAgeOrGap, updateSequence
	}
	if !signatures.check(accountSigners(account), int32(account.ThresholdLow())) {
		return xdr.TransactionResultCodeTxBadAuth, updateSequence
	}
	if !signatures.checkExtra(conditions) {
		return xdr.TransactionResultCodeTxBadAuth, updateSequence
	}
	fee := int64(0) // when applying it was taken already
	if m == checking {
		fee = tx.Fee()
	}
	if available(account, c) < fee {
		return xdr.TransactionResultCodeTxInsufficientBalance, postAuth
	}
	return xdr.TransactionResultCodeTxSuccess, maybeValid
}

// shape checks what the transaction says of itself.
func shape(tx Tx, conditions xdr.Preconditions) xdr.TransactionResultCode {
	if tx.v1.Tx.Ext.V != 0 {
		return xdr.TransactionResultCodeTxMalformed // Soroban data on a classic transaction
	}
	if v2 := conditions.V2; v2 != nil {
		if len(v2.ExtraSigners) == 2 && v2.ExtraSigners[0].Equals(v2.ExtraSigners[1]) {
			return xdr.TransactionResultCodeTxMalformed
		}
		for _, s := range v2.ExtraSigners {
			if s.Type == xdr.SignerKeyTypeSignerKeyTypeEd25519SignedPayload && len(s.Ed25519SignedPayload.Payload) == 0 {
				return xdr.TransactionResultCodeTxMalformed
			}
		}
	}
	if len(tx.v1.Tx.Operations) == 0 {
		return xdr.TransactionResultCodeTxMissingOperation
	}
	return xdr.TransactionResultCodeTxSuccess
}

func timely(conditions xdr.Preconditions, c Context) xdr.TransactionResultCode {
	bounds := conditions.TimeBounds
	if v2 := conditions.V2; v2 != nil {
		bounds = v2.TimeBounds
		if v2.LedgerBounds != nil {
			if uint32(v2.LedgerBounds.MinLedger) > c.Seq {
				return xdr.TransactionResultCodeTxTooEarly
			}
			if v2.LedgerBounds.MaxLedger != 0 && uint32(v2.LedgerBounds.MaxLedger) <= c.Seq {
				return xdr.TransactionResultCodeTxTooLate
			}
		}
	}
	if bounds != nil {
		if uint64(bounds.MinTime) > c.CloseTime {
			return xdr.TransactionResultCodeTxTooEarly
		}
		if bounds.MaxTime != 0 && uint64(bounds.MaxTime) < c.CloseTime {
			return xdr.TransactionResultCodeTxTooLate
		}
	}
	return xdr.TransactionResultCodeTxSuccess
}

func badSequence(account *xdr.AccountEntry, tx Tx, conditions xdr.Preconditions, c Context) bool {
	want, have := int64(tx.v1.Tx.SeqNum), int64(account.SeqNum)
	if want < 0 || want == int64(c.Seq)<<sequenceShift { // the number that an account created in this ledger starts with
		return true
	}
	if v2 := conditions.V2; v2 != nil && v2.MinSeqNum != nil {
		return have < int64(*v2.MinSeqNum) || have >= want
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
	account.SeqNum = tx.v1.Tx.SeqNum
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

// dropOneTimeSigners removes the pre-authorised signers that stand for this transaction from all its source accounts.
func dropOneTimeSigners(d *Delta, tx Tx) {
	if tx.v1 == nil {
		return
	}
	sources := []xdr.AccountId{tx.Source()}
	for _, op := range tx.v1.Tx.Operations {
		if op.SourceAccount != nil {
			sources = append(sources, op.SourceAccount.ToAccountId())
		}
	}
	for _, id := range sources {
		e := d.account(id)
		if e == nil {
			continue
		}
		for i, s := range e.account().Signers {
			if s.Key.Type == xdr.SignerKeyTypeSignerKeyTypePreAuthTx && *s.Key.PreAuthTx == xdr.Uint256(tx.Hash) {
				removeSigner(e.account(), i)
				d.put(e)
				break
			}
		}
	}
}
