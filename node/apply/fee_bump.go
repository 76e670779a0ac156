package apply

import (
	"math"
	"math/bits"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// validBump checks what a fee bump adds to the transaction inside it: that it bids enough, more for each operation than
// the inner one does, and that the account that pays has signed and can pay. It returns the fee to be named with a
// refusal. It is asked before a transaction is queued and not again when it is applied, as in the deployed protocol.
func validBump(state State, tx Tx, c Context) (code xdr.TransactionResultCode, fee int64) {
	fee = tx.MinFee(c.BaseFee)
	bid := tx.Bid()
	switch {
	case bid < 0:
		return xdr.TransactionResultCodeTxMalformed, 0
	case bid < fee:
		return xdr.TransactionResultCodeTxInsufficientFee, fee
	}
	if needed := outbid(tx, c); needed > bid {
		return xdr.TransactionResultCodeTxInsufficientFee, needed
	}
	source := NewDelta(state, c.Seq).account(tx.FeeSource())
	if source == nil {
		return xdr.TransactionResultCodeTxNoAccount, fee
	}
	account := source.account()
	signatures := newChecker(tx.Hash, tx.bump.Signatures, c)
	switch {
	case !signatures.check(accountSigners(account), int32(account.ThresholdLow())):
		return xdr.TransactionResultCodeTxBadAuth, fee
	case Available(account, c) < bid:
		return xdr.TransactionResultCodeTxInsufficientBalance, fee
	case !signatures.allUsed():
		return xdr.TransactionResultCodeTxBadAuthExtra, fee
	}
	return xdr.TransactionResultCodeTxSuccess, fee
}

// outbid returns the least bid of the fee bump that pays for each operation as much as the inner transaction bids:
// inner bid * outer operations / inner operations, rounded up.
func outbid(tx Tx, c Context) int64 {
	hi, lo := bits.Mul64(uint64(tx.inner.Tx.Fee), uint64(tx.MinFee(c.BaseFee)))
	by := uint64(tx.innerMinFee(c.BaseFee))
	if hi >= by {
		return math.MaxInt64
	}
	q, rest := bits.Div64(hi, lo, by)
	if rest > 0 {
		q++
	}
	return int64(min(q, math.MaxInt64))
}
