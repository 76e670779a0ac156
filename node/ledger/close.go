package ledger

import (
	"crypto/sha256"
	"fmt"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/apply"
	"github.com/diamante/gateway/node/protocol"
)

// closing is a ledger that has been computed and not yet stored.
type closing struct {
	header  xdr.LedgerHeader
	meta    *xdr.LedgerCloseMeta // nil for ledger 1
	delta   *apply.Delta
	changed []change
	digest  digest // of the state as it will be
}

// Close applies the transaction set of a decided value and makes the result durable before it returns. Whoever decided
// has asked CheckValid of every transaction in the set: here a bad one costs its source a fee, and the signatures of a fee
// bump are not looked at again, as in the deployed protocol. A set or value that cannot follow the last ledger is ErrSet, and nothing has happened. After any other error the ledger closes no
// more: after ErrInvariant the store is as it was, after an error of the store nothing is known of what is on disk, and a
// new process may look. What is returned shares memory with the state: whoever wants to change it must copy it.
func (l *Ledger) Close(set xdr.GeneralizedTransactionSet, value xdr.StellarValue) (xdr.LedgerCloseMeta, error) {
	if l.broken != nil {
		return xdr.LedgerCloseMeta{}, l.broken
	}
	header, hash := l.Header()
	// 1. Read what was decided.
	txs, err := l.readSet(set, value)
	if err != nil {
		return xdr.LedgerCloseMeta{}, err
	}
	upgrades, err := readUpgrades(value)
	if err != nil {
		return xdr.LedgerCloseMeta{}, err
	}
	// 2. Take all fees, then apply, over a layer that nobody else sees, checking the invariants on the way.
	seq := uint32(header.LedgerSeq) + 1
	delta := apply.NewDelta(l.state, seq)
	processing, collected, err := process(delta, txs, l.context(header, seq, uint64(value.CloseTime)))
	if err != nil {
		return xdr.LedgerCloseMeta{}, l.breakDown(fmt.Errorf("%w: ledger %d: %w", ErrInvariant, seq, err))
	}
	// 3. Say what it led to.
	next, err := nextHeader(header, hash, value, processing)
	if err != nil {
		return xdr.LedgerCloseMeta{}, l.breakDown(err)
	}
	next.FeePool += xdr.Int64(collected)
	upgraded := upgrade(&next, upgrades)
	c := closing{delta: delta, meta: &xdr.LedgerCloseMeta{V: 1, V1: &xdr.LedgerCloseMetaV1{TxSet: set, TxProcessing: processing,
		UpgradesProcessing: upgraded, ScpInfo: []xdr.ScpHistoryEntry{}}}}
	if c.changed, err = encodeChanges(l.state, delta); err != nil {
		return xdr.LedgerCloseMeta{}, l.breakDown(err)
	}
	c.digest = l.digest.after(c.changed)
	next.BucketListHash = xdr.Hash(commitment(protocol.Hash(header.BucketListHash), c.changed, c.digest))
	next.SkipList = skipList(next)
	if err := checkSupply(l.state, delta, next); err != nil {
		return xdr.LedgerCloseMeta{}, l.breakDown(fmt.Errorf("%w: ledger %d: %w", ErrInvariant, seq, err))
	}
	// 4. Store, then show.
	c.header = next
	if c.meta.V1.LedgerHeader, err = headerEntry(next); err == nil {
		err = l.persist(c)
	}
	if err != nil {
		return xdr.LedgerCloseMeta{}, l.breakDown(err)
	}
	return *c.meta, nil
}

// breakDown makes every further Close fail with err.
func (l *Ledger) breakDown(err error) error {
	l.broken = err
	return err
}

// process charges and applies, and returns the meta of each transaction and the fees collected. The error is a broken
// invariant.
func process(delta *apply.Delta, txs []setTx, c apply.Context) ([]xdr.TransactionResultMeta, int64, error) {
	processing := make([]xdr.TransactionResultMeta, len(txs))
	fees := make([]apply.Fees, len(txs))
	collected := int64(0)
	for i, tx := range txs {
		layer := apply.NewDelta(delta, c.Seq)
		fees[i] = apply.Charge(layer, tx.Tx, tx.rate)
		collected += fees[i].Charged
		if err := checkFee(delta, layer, fees[i]); err != nil {
			return nil, 0, fmt.Errorf("fee of transaction %s: %w", tx.Hash, err)
		}
		processing[i].FeeProcessing = layer.Commit()
	}
	for i, tx := range txs {
		layer := apply.NewDelta(delta, c.Seq)
		out := apply.Apply(layer, tx.Tx, c, fees[i])
		if err := checkTransaction(delta, layer, tx.Tx, out, c.Seq); err != nil {
			return nil, 0, fmt.Errorf("transaction %s: %w", tx.Hash, err)
		}
		layer.Merge()
		processing[i].Result = xdr.TransactionResultPair{TransactionHash: xdr.Hash(tx.Hash), Result: out.Result}
		processing[i].TxApplyProcessing = xdr.TransactionMeta{V: 3, V3: &xdr.TransactionMetaV3{
			TxChangesBefore: out.Before, Operations: out.Operations, TxChangesAfter: xdr.LedgerEntryChanges{}}}
	}
	return processing, collected, nil
}

// nextHeader makes the header that follows, but for the fee pool, the upgrades and the commitment to the state.
func nextHeader(last xdr.LedgerHeader, hash protocol.Hash, value xdr.StellarValue, processing []xdr.TransactionResultMeta) (xdr.LedgerHeader, error) {
	results := xdr.TransactionResultSet{Results: make([]xdr.TransactionResultPair, len(processing))}
	for i, p := range processing {
		results.Results[i] = p.Result
	}
	raw, err := results.MarshalBinary()
	if err != nil {
		return xdr.LedgerHeader{}, fmt.Errorf("ledger: results: %w", err)
	}
	next := last
	next.LedgerSeq++
	next.PreviousLedgerHash = xdr.Hash(hash)
	next.ScpValue = value
	next.TxSetResultHash = sha256.Sum256(raw)
	return next, nil
}

// skips are how many ledgers lie between the four hashes that a header keeps of older state commitments.
var skips = [4]int64{50, 5000, 50000, 500000}

// skipList returns the skip list of a header whose other fields are made: at each multiple of 50 the new commitment
// moves in, and the older ones move on where the higher skips divide the sequence number too.
func skipList(h xdr.LedgerHeader) [4]xdr.Hash {
	list := h.SkipList
	seq := int64(h.LedgerSeq)
	if seq%skips[0] != 0 {
		return list
	}
	moves := 0 // how many of the older ones move on
	for left := seq - skips[0]; moves < 3 && left > 0 && left%skips[moves+1] == 0; left -= skips[moves] {
		moves++
	}
	for i := moves; i > 0; i-- {
		list[i] = list[i-1]
	}
	list[0] = h.BucketListHash
	return list
}

func headerEntry(h xdr.LedgerHeader) (xdr.LedgerHeaderHistoryEntry, error) {
	raw, err := h.MarshalBinary()
	if err != nil {
		return xdr.LedgerHeaderHistoryEntry{}, fmt.Errorf("ledger: header: %w", err)
	}
	return xdr.LedgerHeaderHistoryEntry{Hash: sha256.Sum256(raw), Header: h}, nil
}
