package apply

import (
	"fmt"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Tx is a transaction that is ready to be applied: decoded, hashed, of one of the two supported envelope types.
type Tx struct {
	Envelope xdr.TransactionEnvelope
	Hash     protocol.Hash // on its network; of a fee bump the outer one

	inner     *xdr.TransactionV1Envelope
	innerHash protocol.Hash                   // what the inner signatures sign; Hash when there is no fee bump
	bump      *xdr.FeeBumpTransactionEnvelope // nil when there is none
}

// NewTx prepares an envelope for the network with this passphrase. Envelopes of other types than transactions and fee
// bumps of version 1 are errors: they cannot be hashed.
func NewTx(passphrase protocol.Passphrase, env xdr.TransactionEnvelope) (Tx, error) {
	hash, err := passphrase.TxHash(env)
	if err != nil {
		return Tx{}, err
	}
	tx := Tx{Envelope: env, Hash: hash, innerHash: hash, inner: env.V1}
	if env.Type != xdr.EnvelopeTypeEnvelopeTypeTxFeeBump {
		return tx, nil
	}
	tx.bump = env.FeeBump
	if tx.inner = tx.bump.Tx.InnerTx.V1; tx.inner == nil {
		return Tx{}, fmt.Errorf("%w: fee bump without an inner transaction", protocol.ErrInvalid)
	}
	tx.innerHash, err = passphrase.TxHash(xdr.TransactionEnvelope{Type: xdr.EnvelopeTypeEnvelopeTypeTx, V1: tx.inner})
	return tx, err
}

// Source returns the account whose sequence number is used.
func (t Tx) Source() xdr.AccountId { return t.inner.Tx.SourceAccount.ToAccountId() }

// FeeSource returns the account that pays the fee.
func (t Tx) FeeSource() xdr.AccountId {
	if t.bump != nil {
		return t.bump.Tx.FeeSource.ToAccountId()
	}
	return t.Source()
}

// Sequence returns the sequence number that the transaction uses.
func (t Tx) Sequence() int64 { return int64(t.inner.Tx.SeqNum) }

// Bid returns the most that the transaction pays, in stroops.
func (t Tx) Bid() int64 {
	if t.bump != nil {
		return int64(t.bump.Tx.Fee)
	}
	return int64(t.inner.Tx.Fee)
}

// Operations returns how many operations the transaction counts for: a fee bump is one more.
func (t Tx) Operations() int {
	if t.bump != nil {
		return len(t.inner.Tx.Operations) + 1
	}
	return len(t.inner.Tx.Operations)
}

// MinFee returns what it must bid at least in a ledger with the given base fee.
func (t Tx) MinFee(baseFee uint32) int64 { return int64(baseFee) * int64(max(1, t.Operations())) }

func (t Tx) innerMinFee(baseFee uint32) int64 {
	return int64(baseFee) * int64(max(1, len(t.inner.Tx.Operations)))
}

// Fees are what a transaction's result says of fees, in stroops.
type Fees struct {
	Charged int64
	Inner   int64 // of the inner transaction of a fee bump: what it would have been charged
}

// Charge takes the fee from the account that pays it, or what is there of it. rate is what the transaction's part of the
// set pays for each operation; nil means that it pays what it bid. The account must be there: who puts the set together
// sees to it.
func Charge(d *Delta, tx Tx, rate *xdr.Int64) Fees {
	fees := Fees{Charged: tx.Bid()}
	if tx.bump != nil {
		fees.Inner = int64(tx.inner.Tx.Fee)
	}
	if rate != nil {
		fees.Charged = min(fees.Charged, int64(*rate)*int64(max(1, tx.Operations())))
		fees.Inner = min(fees.Inner, int64(*rate)*int64(max(1, len(tx.inner.Tx.Operations))))
	}
	source := d.account(tx.FeeSource())
	if source == nil {
		panic("apply: fee charged to an account that is not there; the transaction set was not checked")
	}
	fees.Charged = max(0, min(fees.Charged, int64(source.account().Balance)))
	source.account().Balance -= xdr.Int64(fees.Charged)
	d.put(source)
	return fees
}

// result puts a verdict into the form of the wire. Of a fee bump it is the inner transaction's.
func (t Tx) result(v verdict, fees Fees) xdr.TransactionResult {
	var results *[]xdr.OperationResult
	if v.code == xdr.TransactionResultCodeTxSuccess || v.code == xdr.TransactionResultCodeTxFailed {
		results = &v.results
	}
	r := xdr.TransactionResult{FeeCharged: xdr.Int64(fees.Charged)}
	if t.bump == nil {
		r.Result = xdr.TransactionResultResult{Code: v.code, Results: results}
		return r
	}
	outer := xdr.TransactionResultCodeTxFeeBumpInnerFailed
	if v.code == xdr.TransactionResultCodeTxSuccess {
		outer = xdr.TransactionResultCodeTxFeeBumpInnerSuccess
	}
	r.Result = xdr.TransactionResultResult{Code: outer, InnerResultPair: &xdr.InnerTransactionResultPair{
		TransactionHash: xdr.Hash(t.innerHash), Result: xdr.InnerTransactionResult{FeeCharged: xdr.Int64(fees.Inner),
			Result: xdr.InnerTransactionResultResult{Code: v.code, Results: results}}}}
	return r
}
