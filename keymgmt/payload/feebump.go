package payload

import (
	"crypto/sha256"
	"fmt"
	"math/big"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// FeeBump pays the fee of another transaction, which is signed already.
type FeeBump struct {
	Network    protocol.Hash
	Source     protocol.AccountID // who pays the fee
	Fee        *big.Int           // stroops, the most that can be charged for the whole; the inner fee is not charged
	Inner      *Transaction
	InnerHash  protocol.Hash // what the inner transaction's signers signed
	Signatures []InnerSignature
}

// InnerSignature is a signature of the inner transaction. Nobody has verified it: a fee bump around a signature that is
// not valid can't be applied.
type InnerSignature struct {
	Hint      [4]byte
	Signature []byte
}

func readFeeBump(network protocol.Hash, x xdr.FeeBumpTransaction) (*FeeBump, error) {
	r := new(reader)
	f := &FeeBump{Network: network, Source: r.account(x.FeeSource), Fee: r.amount(x.Fee, 1)}
	switch {
	case x.Ext.V != 0:
		r.fail("fee bump extension %d", x.Ext.V)
	case x.InnerTx.Type != xdr.EnvelopeTypeEnvelopeTypeTx || x.InnerTx.V1 == nil:
		r.fail("inner transaction of type %s", x.InnerTx.Type)
	case len(x.InnerTx.V1.Signatures) == 0:
		r.fail("inner transaction is not signed yet")
	}
	if r.err != nil {
		return nil, r.err
	}
	var err error
	if f.Inner, err = readTransaction(network, x.InnerTx.V1.Tx); err != nil {
		return nil, fmt.Errorf("inner transaction: %w", err)
	}
	base := xdr.TransactionSignaturePayload{NetworkId: xdr.Hash(network), TaggedTransaction: xdr.TransactionSignaturePayloadTaggedTransaction{
		Type: xdr.EnvelopeTypeEnvelopeTypeTx, Tx: &x.InnerTx.V1.Tx}}
	raw, err := base.MarshalBinary()
	if err != nil {
		return nil, malformed("inner transaction: %v", err)
	}
	f.InnerHash = sha256.Sum256(raw)
	for _, s := range x.InnerTx.V1.Signatures {
		f.Signatures = append(f.Signatures, InnerSignature{s.Hint, append([]byte(nil), s.Signature...)})
	}
	return f, nil
}

func (f *FeeBump) words() []string {
	w := []string{fmt.Sprintf("fee at most %s, paid by %s, for the inner transaction %s", sum(f.Fee, protocol.Native()), f.Source, f.InnerHash)}
	for _, line := range f.Inner.words() {
		w = append(w, "inner: "+line)
	}
	for _, s := range f.Signatures {
		w = append(w, fmt.Sprintf("signed, it is said, by a key that ends in %x: %x", s.Hint, s.Signature))
	}
	return w
}
