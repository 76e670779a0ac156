// Package apply is what one transaction does to the ledger: fees, sequence numbers, signatures and operations, with the
// semantics and the result codes of Stellar's protocol 22 for classic operations.
//
// It is pure: a State is read, a Delta collects the changes, nothing else is touched. Charge takes the fee, Apply does
// the rest, Check says whether a transaction could be applied next. One file holds one operation; what no file exists
// for gives opNOT_SUPPORTED. Preconditions (CAP-21), all kinds of signers, muxed accounts and fee bumps are supported.
package apply

import (
	"github.com/stellar/go-stellar-sdk/xdr"
)

// Context is what the ledger being closed gives to every transaction in it.
type Context struct {
	Seq         uint32 // of the ledger being closed
	CloseTime   uint64
	BaseFee     uint32
	BaseReserve uint32
	Verify      func(key, message, signature []byte) bool // single Ed25519 verification, cached or not
}

// Outcome is what applying a transaction led to.
type Outcome struct {
	Result     xdr.TransactionResult
	Before     xdr.LedgerEntryChanges // sequence number and one-time signers
	Operations []xdr.OperationMeta    // of a successful transaction; empty otherwise
}

// verdict is a transaction's result before the fees are written to it. results are those of its operations.
type verdict struct {
	code    xdr.TransactionResultCode
	results []xdr.OperationResult
}

// Apply applies tx, whose fee was charged, to the layer d. Failed operations leave nothing behind but the fee and the
// sequence number.
func Apply(d *Delta, tx Tx, c Context, charged Fees) Outcome {
	before := NewDelta(d, c.Seq)
	if tx.bump != nil {
		dropOneTimeSigner(before, tx.FeeSource(), tx.Hash)
	}
	v, ready := prepare(before, tx, c)
	out := Outcome{Before: before.Commit(), Operations: []xdr.OperationMeta{}}
	if ready {
		v, out.Operations = runAll(d, tx, c)
	}
	out.Result = tx.result(v, charged)
	return out
}

// prepare does what comes before the operations, and reports whether they are to be applied.
func prepare(d *Delta, tx Tx, c Context) (verdict, bool) {
	signatures := newChecker(tx.innerHash, tx.inner.Signatures, c)
	code, usesSequence := valid(d, tx, c, signatures, tx.bump == nil)
	if code == xdr.TransactionResultCodeTxSuccess && Available(d.account(tx.Source()).account(), c) < 0 && tx.bump == nil {
		// The fee was taken from what the account must keep.
		code = xdr.TransactionResultCodeTxInsufficientBalance
	}
	if usesSequence {
		useSequence(d, tx, c)
	}
	if code != xdr.TransactionResultCodeTxSuccess {
		dropOneTimeSigners(d, tx)
		return verdict{code: code}, false
	}
	results := make([]xdr.OperationResult, len(tx.inner.Tx.Operations))
	authorised := true
	for i := range results {
		op := newOperation(d, tx, i, c)
		if results[i] = op.authorise(signatures); results[i].Code != xdr.OperationResultCodeOpInner {
			authorised = false
		}
	}
	dropOneTimeSigners(d, tx)
	switch {
	case !authorised:
		return verdict{xdr.TransactionResultCodeTxFailed, results}, false
	case !signatures.allUsed():
		return verdict{code: xdr.TransactionResultCodeTxBadAuthExtra}, false
	}
	return verdict{}, true
}

// runAll applies the operations in order. All are tried even when one has failed, so that each has its result; then
// nothing is kept.
func runAll(d *Delta, tx Tx, c Context) (verdict, []xdr.OperationMeta) {
	all := NewDelta(d, c.Seq)
	v := verdict{xdr.TransactionResultCodeTxSuccess, make([]xdr.OperationResult, len(tx.inner.Tx.Operations))}
	metas := make([]xdr.OperationMeta, 0, len(v.results))
	for i := range v.results {
		one := NewDelta(all, c.Seq)
		op := newOperation(one, tx, i, c)
		v.results[i] = op.run()
		if !succeeded(v.results[i]) {
			v.code = xdr.TransactionResultCodeTxFailed
			continue
		}
		metas = append(metas, xdr.OperationMeta{Changes: one.Commit()})
	}
	if v.code != xdr.TransactionResultCodeTxSuccess {
		return v, []xdr.OperationMeta{}
	}
	all.Merge()
	return v, metas
}

// Check says whether tx could be applied to the state as it is: what a node asks before it queues a transaction. The
// result carries the fee that the transaction must bid at least.
func Check(state State, tx Tx, c Context) xdr.TransactionResult {
	fees := Fees{Charged: tx.MinFee(c.BaseFee)}
	if tx.bump != nil {
		if code, fee := validBump(state, tx, c); code != xdr.TransactionResultCodeTxSuccess {
			return xdr.TransactionResult{FeeCharged: xdr.Int64(fee), Result: xdr.TransactionResultResult{Code: code}}
		}
	}
	return tx.result(check(state, tx, c), fees)
}

func check(state State, tx Tx, c Context) verdict {
	d := NewDelta(state, c.Seq)
	signatures := newChecker(tx.innerHash, tx.inner.Signatures, c)
	pays := tx.bump == nil
	code, _ := valid(d, tx, c, signatures, pays)
	if code == xdr.TransactionResultCodeTxSuccess && pays && Available(d.account(tx.Source()).account(), c) < tx.Bid() {
		code = xdr.TransactionResultCodeTxInsufficientBalance
	}
	if code != xdr.TransactionResultCodeTxSuccess {
		return verdict{code: code}
	}
	v := verdict{xdr.TransactionResultCodeTxSuccess, make([]xdr.OperationResult, len(tx.inner.Tx.Operations))}
	for i := range v.results {
		op := newOperation(d, tx, i, c)
		if v.results[i] = op.authorise(signatures); v.results[i].Code == xdr.OperationResultCodeOpInner {
			v.results[i] = op.valid()
		}
		if !succeeded(v.results[i]) {
			v.code = xdr.TransactionResultCodeTxFailed
		}
	}
	if v.code == xdr.TransactionResultCodeTxSuccess && !signatures.allUsed() {
		return verdict{code: xdr.TransactionResultCodeTxBadAuthExtra}
	}
	return v
}
