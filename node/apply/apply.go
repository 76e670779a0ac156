// Package apply is what one transaction does to the ledger: fees, sequence numbers, signatures and operations, with the
// semantics and the result codes of Stellar's protocol 22 for classic operations.
//
// It is pure: a State is read, a Delta collects the changes, nothing else is touched. Charge takes the fee, Apply does
// the rest, Check says whether a transaction could be applied next. One file holds one operation; what a file does not
// exist for gives opNOT_SUPPORTED. Fee bump transactions are not supported in this version (txNOT_SUPPORTED).
package apply

import (
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Context is what the ledger being closed gives to every transaction in it.
type Context struct {
	Network     protocol.Hash // id of the network, the first part of what is signed
	Seq         uint32        // of the ledger being closed
	CloseTime   uint64
	BaseFee     uint32
	BaseReserve uint32
	Verify      func(key, message, signature []byte) bool // single Ed25519 verification, cached or not
}

// Tx is a transaction that is ready to be applied: decoded, hashed, of the one supported envelope type.
type Tx struct {
	Envelope xdr.TransactionEnvelope
	Hash     protocol.Hash
	v1       *xdr.TransactionV1Envelope // nil when the envelope's type is not supported
}

// NewTx prepares an envelope. hash is the transaction's on its network.
func NewTx(env xdr.TransactionEnvelope, hash protocol.Hash) Tx {
	tx := Tx{Envelope: env, Hash: hash}
	if env.Type == xdr.EnvelopeTypeEnvelopeTypeTx {
		tx.v1 = env.V1
	}
	return tx
}

// Source returns the account that pays the fee and whose sequence number is used.
func (t Tx) Source() xdr.AccountId { m := t.Envelope.SourceAccount(); return m.ToAccountId() }

// Fee returns what the transaction bids, in stroops.
func (t Tx) Fee() int64 {
	if t.v1 == nil {
		return 0
	}
	return int64(t.v1.Tx.Fee)
}

// MinFee returns what it must bid at least in a ledger with the given base fee.
func (t Tx) MinFee(baseFee uint32) int64 {
	return int64(baseFee) * int64(max(1, len(t.Envelope.Operations())))
}

// Charge takes the fee from the source account, or what is there of it, and returns it.
func Charge(d *Delta, tx Tx, c Context) int64 {
	source := d.account(tx.Source())
	if source == nil {
		panic("apply: fee charged to an account that is not there; the transaction set was not checked")
	}
	fee := min(tx.MinFee(c.BaseFee), tx.Fee(), int64(source.account().Balance))
	source.account().Balance -= xdr.Int64(fee)
	d.put(source)
	return fee
}

// Outcome is what applying a transaction led to.
type Outcome struct {
	Result     xdr.TransactionResult
	Before     xdr.LedgerEntryChanges // sequence number and one-time signers
	Operations []xdr.OperationMeta    // of a successful transaction; empty otherwise
}

// Apply applies tx, whose fee was charged. Failed operations leave nothing behind but the fee and the sequence number.
func Apply(ledger *Delta, tx Tx, c Context, charged int64) Outcome {
	out := Outcome{Operations: []xdr.OperationMeta{}}
	finish := func(code xdr.TransactionResultCode, ops []xdr.OperationResult) Outcome {
		out.Result = result(code, charged, ops)
		return out
	}
	before := NewDelta(ledger, c.Seq)
	signatures := newChecker(tx, c)
	code, stage := common(before, tx, c, signatures, applying)
	if stage >= updateSequence {
		useSequence(before, tx, c)
	}
	if code != xdr.TransactionResultCodeTxSuccess {
		dropOneTimeSigners(before, tx)
		out.Before = before.commit()
		return finish(code, nil)
	}
	results := make([]xdr.OperationResult, len(tx.Envelope.Operations()))
	authorised := true
	for i := range results {
		op := newOperation(before, tx, i, c)
		if results[i] = op.authorise(signatures, applying); results[i].Code != xdr.OperationResultCodeOpInner {
			authorised = false
		} else {
			results[i] = op.success() // an operation that was not reached would have succeeded so far
		}
	}
	dropOneTimeSigners(before, tx)
	out.Before = before.commit()
	switch {
	case !authorised:
		return finish(xdr.TransactionResultCodeTxFailed, results)
	case !signatures.allUsed():
		return finish(xdr.TransactionResultCodeTxBadAuthExtra, nil)
	}
	whole := NewDelta(ledger, c.Seq)
	ok := true
	var metas []xdr.OperationMeta
	for i := range results {
		single := NewDelta(whole, c.Seq)
		op := newOperation(single, tx, i, c)
		results[i] = op.run()
		if !succeeded(results[i]) {
			ok = false
			continue
		}
		metas = append(metas, xdr.OperationMeta{Changes: single.commit()})
	}
	if !ok {
		return finish(xdr.TransactionResultCodeTxFailed, results)
	}
	whole.commit()
	out.Operations = metas
	return finish(xdr.TransactionResultCodeTxSuccess, results)
}

// Check says whether tx could be applied to the state as it is: what a node asks before it queues a transaction. The
// result carries the fee that the transaction would be charged at least.
func Check(state State, tx Tx, c Context) xdr.TransactionResult {
	d := NewDelta(state, c.Seq)
	fee := tx.MinFee(c.BaseFee)
	signatures := newChecker(tx, c)
	code, _ := common(d, tx, c, signatures, checking)
	if code != xdr.TransactionResultCodeTxSuccess {
		return result(code, fee, nil)
	}
	results := make([]xdr.OperationResult, len(tx.Envelope.Operations()))
	ok := true
	for i := range results {
		op := newOperation(d, tx, i, c)
		if results[i] = op.authorise(signatures, checking); results[i].Code == xdr.OperationResultCodeOpInner {
			results[i] = op.valid()
		}
		ok = ok && succeeded(results[i])
	}
	switch {
	case !ok:
		return result(xdr.TransactionResultCodeTxFailed, fee, results)
	case !signatures.allUsed():
		return result(xdr.TransactionResultCodeTxBadAuthExtra, fee, nil)
	}
	return result(xdr.TransactionResultCodeTxSuccess, fee, results)
}

func result(code xdr.TransactionResultCode, fee int64, ops []xdr.OperationResult) xdr.TransactionResult {
	r := xdr.TransactionResult{FeeCharged: xdr.Int64(fee), Result: xdr.TransactionResultResult{Code: code}}
	if code == xdr.TransactionResultCodeTxSuccess || code == xdr.TransactionResultCodeTxFailed {
		r.Result.Results = &ops
	}
	return r
}
