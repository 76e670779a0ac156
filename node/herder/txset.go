package herder

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// maxBaseFee bounds what surge pricing may ask for an operation: the ledger refuses sets that ask for more, and a
// validator must not propose what it would refuse, however much money bids.
const maxBaseFee = 1 << 31

// txSet is what a value's transaction set hash stands for.
type txSet struct {
	set  xdr.GeneralizedTransactionSet
	hash protocol.Hash
	txs  []protocol.Hash // hashes of its transactions
	slot uint32          // that it could close
}

// choose makes the transaction set to propose after the ledger with this header, for a ledger that closes at the given
// time: the best bids that fit, without those whose time has passed, which the ledger would have to refuse.
func (h *Herder) choose(header xdr.LedgerHeader, previous protocol.Hash, at uint64) txSet {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range slices.Clone(h.queue.lowest) {
		if expired(p.env, at) {
			h.queue.ban(p)
		}
	}
	chosen, all := h.queue.best(int(header.MaxTxSetSize))
	fee := int64(header.BaseFee)
	if !all && len(chosen) > 0 {
		// Surge pricing: everybody pays what the lowest of those who got in had to bid.
		lowest := chosen[len(chosen)-1]
		fee = max(fee, min(lowest.fee/int64(lowest.ops), maxBaseFee))
	}
	return newTxSet(previous, chosen, fee)
}

// expired reports whether a transaction's time bounds end before a close time.
func expired(env xdr.TransactionEnvelope, at uint64) bool {
	bounds := env.TimeBounds()
	return bounds != nil && bounds.MaxTime != 0 && uint64(bounds.MaxTime) < at
}

// newTxSet encodes a generalized transaction set: a phase of classic transactions in the order of their envelopes'
// hashes, with the base fee that all of them pay, and an empty phase for the others.
func newTxSet(previous protocol.Hash, chosen []*pending, baseFee int64) txSet {
	var s txSet
	type entry struct {
		key protocol.Hash
		env xdr.TransactionEnvelope
	}
	entries := make([]entry, 0, len(chosen))
	for _, p := range chosen {
		entries = append(entries, entry{sha256.Sum256(mustEncode(p.env)), p.env})
		s.txs = append(s.txs, p.hash)
	}
	slices.SortFunc(entries, func(a, b entry) int { return bytes.Compare(a.key[:], b.key[:]) })
	classic := []xdr.TxSetComponent{}
	if len(entries) > 0 {
		txs := make([]xdr.TransactionEnvelope, 0, len(entries))
		for _, e := range entries {
			txs = append(txs, e.env)
		}
		fee := xdr.Int64(baseFee)
		classic = append(classic, xdr.TxSetComponent{Type: xdr.TxSetComponentTypeTxsetCompTxsMaybeDiscountedFee,
			TxsMaybeDiscountedFee: &xdr.TxSetComponentTxsMaybeDiscountedFee{BaseFee: &fee, Txs: txs}})
	}
	s.set = xdr.GeneralizedTransactionSet{V: 1, V1TxSet: &xdr.TransactionSetV1{PreviousLedgerHash: xdr.Hash(previous),
		Phases: []xdr.TransactionPhase{{V: 0, V0Components: &classic}, {V: 0, V0Components: &[]xdr.TxSetComponent{}}}}}
	s.hash = sha256.Sum256(mustEncode(s.set))
	return s
}

// hashOf is the SHA-256 of an encoding.
func hashOf(v interface{ MarshalBinary() ([]byte, error) }) protocol.Hash {
	return sha256.Sum256(mustEncode(v))
}

// mustEncode encodes what was decoded before or made of such parts.
func mustEncode(v interface{ MarshalBinary() ([]byte, error) }) []byte {
	b, err := v.MarshalBinary()
	if err != nil {
		panic("herder: what was decoded does not encode: " + err.Error())
	}
	return b
}
