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
	MaxTime    time.Time
	Memo       protocol.Memo
	Operations []Operation
}

// readTransaction understands a transaction that could be applied to a ledger.
func (m *Meaning) readTransaction(body []byte) error {
	network, tx, err := decodeBase(body)
	if err != nil {
		return err
	}
	if tx.SeqNum <= 0 {
		return malformed("sequence number %d: a transaction has a positive one, and a challenge is of another kind", tx.SeqNum)
	}
	t, err := header(network, tx)
	if err != nil {
		return err
	}
	for i, x := range tx.Operations {
		op, err := readOperation(t.Source, x)
		if err != nil {
			return fmt.Errorf("operation %d: %w", i, err)
		}
		t.Operations = append(t.Operations, op)
	}
	hash := sha256.Sum256(body)
	m.Transaction, m.message, m.words = t, hash[:], t.words()
	return nil
}

// decodeBase reads the one encoding of a signature base of a version 1 transaction.
func decodeBase(body []byte) (protocol.Hash, xdr.Transaction, error) {
	var p xdr.TransactionSignaturePayload
	if err := p.UnmarshalBinary(body); err != nil {
		return protocol.Hash{}, xdr.Transaction{}, malformed("XDR: %v", err)
	}
	again, err := p.MarshalBinary()
	if err != nil || !bytes.Equal(again, body) {
		return protocol.Hash{}, xdr.Transaction{}, malformed("XDR: not the canonical encoding, or bytes follow it")
	}
	if p.TaggedTransaction.Type != xdr.EnvelopeTypeEnvelopeTypeTx || p.TaggedTransaction.Tx == nil {
		return protocol.Hash{}, xdr.Transaction{}, malformed("envelope type %s is not signed here", p.TaggedTransaction.Type)
	}
	return protocol.Hash(p.NetworkId), *p.TaggedTransaction.Tx, nil
}

// header reads everything but the operations and the sequence number's sign.
func header(network protocol.Hash, tx xdr.Transaction) (*Transaction, error) {
	source, err := account(tx.SourceAccount)
	if err != nil {
		return nil, err
	}
	if tx.Ext.V != 0 {
		return nil, malformed("transaction extension %d", tx.Ext.V)
	}
	if tx.Cond.Type != xdr.PreconditionTypePrecondTime || tx.Cond.TimeBounds == nil {
		return nil, malformed("preconditions must be time bounds and nothing else")
	}
	bounds := tx.Cond.TimeBounds
	if bounds.MaxTime == 0 || bounds.MaxTime > maxTime || bounds.MinTime > bounds.MaxTime {
		return nil, malformed("time bounds %d to %d: need an end, and not before the beginning", bounds.MinTime, bounds.MaxTime)
	}
	if len(tx.Operations) == 0 || len(tx.Operations) > xdr.MaxOpsPerTx {
		return nil, malformed("%d operations", len(tx.Operations))
	}
	memo, err := protocol.MemoFromXDR(tx.Memo)
	if err != nil {
		return nil, malformed("%v", err)
	}
	return &Transaction{Network: network, Source: source, Sequence: int64(tx.SeqNum), Fee: big.NewInt(int64(tx.Fee)),
		MinTime: time.Unix(int64(bounds.MinTime), 0).UTC(), MaxTime: time.Unix(int64(bounds.MaxTime), 0).UTC(), Memo: memo}, nil
}

// account reads an account that has no sub-account id: what an id in a muxed address means is not known here, so such
// an address is not understood.
func account(x xdr.MuxedAccount) (protocol.AccountID, error) {
	if x.Type != xdr.CryptoKeyTypeKeyTypeEd25519 || x.Ed25519 == nil {
		return protocol.AccountID{}, malformed("account of type %s", x.Type)
	}
	id, err := protocol.AccountIDFromKey(x.Ed25519[:])
	if err != nil {
		return protocol.AccountID{}, malformed("%v", err)
	}
	return id, nil
}

func (t *Transaction) words() []string {
	var w []string
	for _, op := range t.Operations {
		w = append(w, op.Words()+", from "+op.Origin().String())
	}
	w = append(w, fmt.Sprintf("fee at most %s %s, paid by %s", Decimal(t.Fee), protocol.NativeCode, t.Source))
	if t.Memo.Kind() != protocol.MemoNone {
		w = append(w, fmt.Sprintf("memo %s %q", t.Memo.Kind(), t.Memo))
	}
	return append(w, fmt.Sprintf("sequence number %d", t.Sequence),
		fmt.Sprintf("valid from %s to %s", t.MinTime.Format(time.RFC3339), t.MaxTime.Format(time.RFC3339)),
		"on network "+t.Network.String())
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

// amount reads a number of stroops that must be at least least.
func amount(x xdr.Int64, least int64) (*big.Int, error) {
	if int64(x) < least {
		return nil, malformed("amount %d is under %d", x, least)
	}
	return big.NewInt(int64(x)), nil
}
