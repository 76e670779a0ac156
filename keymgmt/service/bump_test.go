package service_test

import (
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// feeBump wraps a transaction, with a signature that nobody has made.
func feeBump(base []byte, payer protocol.AccountID, fee int64) ([]byte, error) {
	var p xdr.TransactionSignaturePayload
	if err := p.UnmarshalBinary(base); err != nil {
		return nil, err
	}
	id := payer.XDR()
	p.TaggedTransaction = xdr.TransactionSignaturePayloadTaggedTransaction{Type: xdr.EnvelopeTypeEnvelopeTypeTxFeeBump, FeeBump: &xdr.FeeBumpTransaction{
		FeeSource: id.ToMuxedAccount(), Fee: xdr.Int64(fee), InnerTx: xdr.FeeBumpTransactionInnerTx{Type: xdr.EnvelopeTypeEnvelopeTypeTx,
			V1: &xdr.TransactionV1Envelope{Tx: *p.TaggedTransaction.Tx, Signatures: []xdr.DecoratedSignature{{Signature: make([]byte, 64)}}}}}}
	return p.MarshalBinary()
}
