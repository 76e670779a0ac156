package payload

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/big"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// maxTime bounds points in time, in seconds since 1970: the last one that a Go time prints with a four-digit year.
const maxTime = 253402300799

// Transaction is a ledger transaction in figures.
type Transaction struct {
	Network    protocol.Hash
	Source     protocol.AccountID
	Sequence   int64
	Fee        *big.Int // stroops, the most that can be charged for the whole transaction
	MinTime    time.Time
	MaxTime    time.Time // always there: a transaction that never ends can never be known to be dead
	Conditions *Conditions
	Memo       protocol.Memo
	Operations []Operation
}

// readLedger understands a transaction that could be applied to a ledger.
func (m *Meaning) readLedger(body []byte) error {
	network, tagged, err := decodeBase(body)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(body)
	m.sign = ed25519Only(hash[:])
	if tagged.Type == xdr.EnvelopeTypeEnvelopeTypeTxFeeBump {
		m.FeeBump, err = readFeeBump(network, *tagged.FeeBump)
		if err == nil {
			m.words = m.FeeBump.words()
		}
		return err
	}
	t, err := readTransaction(network, *tagged.Tx)
	if err != nil {
		return err
	}
	m.words = t.words()
	if t.Conditions != nil {
		m.Conditional = t
	} else {
		m.Transaction = t
	}
	return nil
}

func readTransaction(network protocol.Hash, tx xdr.Transaction) (*Transaction, error) {
	if tx.SeqNum <= 0 {
		return nil, malformed("sequence number %d: a transaction has a positive one, and a challenge is of another kind", tx.SeqNum)
	}
	t, err := header(network, tx)
	if err != nil {
		return nil, err
	}
	for i, x := range tx.Operations {
		op, err := readOperation(t.Source, x)
		if err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
		t.Operations = append(t.Operations, op)
	}
	return t, nil
}

// decodeBase reads the one encoding of a signature base of a version 1 transaction or of a fee bump.
func decodeBase(body []byte) (protocol.Hash, xdr.TransactionSignaturePayloadTaggedTransaction, error) {
	var p xdr.TransactionSignaturePayload
	if err := decodeXDR(body, &p); err != nil {
		return protocol.Hash{}, p.TaggedTransaction, err
	}
	switch tagged := p.TaggedTransaction; {
	case tagged.Type == xdr.EnvelopeTypeEnvelopeTypeTx && tagged.Tx != nil,
		tagged.Type == xdr.EnvelopeTypeEnvelopeTypeTxFeeBump && tagged.FeeBump != nil:
		return protocol.Hash(p.NetworkId), tagged, nil
	}
	return protocol.Hash{}, p.TaggedTransaction, malformed("envelope type %s is not signed here", p.TaggedTransaction.Type)
}

// encoded is what every type of XDR can do.
type encoded interface {
	MarshalBinary() ([]byte, error)
	UnmarshalBinary([]byte) error
}

// decodeXDR reads the one encoding of x, and nothing after it.
func decodeXDR(b []byte, x encoded) error {
	if err := x.UnmarshalBinary(b); err != nil {
		return malformed("XDR: %v", err)
	}
	again, err := x.MarshalBinary()
	if err != nil || !bytes.Equal(again, b) {
		return malformed("XDR: not the canonical encoding, or bytes follow it")
	}
	return nil
}

// header reads everything but the operations and the sequence number's sign.
func header(network protocol.Hash, tx xdr.Transaction) (*Transaction, error) {
	r := new(reader)
	t := &Transaction{Network: network, Source: r.account(tx.SourceAccount), Sequence: int64(tx.SeqNum), Fee: big.NewInt(int64(tx.Fee))}
	if tx.Ext.V != 0 {
		r.fail("transaction extension %d", tx.Ext.V)
	}
	r.preconditions(t, tx.Cond)
	if len(tx.Operations) == 0 || len(tx.Operations) > xdr.MaxOpsPerTx {
		r.fail("%d operations", len(tx.Operations))
	}
	memo, err := protocol.MemoFromXDR(tx.Memo)
	if err != nil {
		r.fail("%v", err)
	}
	t.Memo = memo
	if r.err != nil {
		return nil, r.err
	}
	return t, nil
}

func (t *Transaction) words() []string {
	var w []string
	for _, op := range t.Operations {
		w = append(w, op.Words()+", from "+op.Origin().String())
	}
	w = append(w, fmt.Sprintf("fee at most %s, paid by %s", sum(t.Fee, protocol.Native()), t.Source))
	if t.Memo.Kind() != protocol.MemoNone {
		w = append(w, fmt.Sprintf("memo %s %q", t.Memo.Kind(), t.Memo))
	}
	w = append(w, fmt.Sprintf("sequence number %d", t.Sequence),
		fmt.Sprintf("valid from %s to %s", t.MinTime.Format(time.RFC3339), t.MaxTime.Format(time.RFC3339)))
	if t.Conditions != nil {
		w = append(w, t.Conditions.words()...)
	}
	return append(w, "on network "+t.Network.String())
}

// Decimal shows a number of stroops in decimal notation with seven digits.
func Decimal(stroops *big.Int) string {
	sign, abs := "", new(big.Int).Abs(stroops)
	if stroops.Sign() < 0 {
		sign = "-"
	}
	whole, frac := new(big.Int).QuoRem(abs, big.NewInt(protocol.One), new(big.Int))
	return fmt.Sprintf("%s%s.%07d", sign, whole, frac.Int64())
}
