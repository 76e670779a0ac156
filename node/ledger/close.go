package ledger

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/apply"
	"github.com/diamante/gateway/node/protocol"
)

// closing is a ledger that has been computed and not yet stored.
type closing struct {
	header  xdr.LedgerHeader
	meta    *xdr.LedgerCloseMeta // nil for ledger 1
	changed []change
}

// Close applies the transaction set of a decided value and makes the result durable before it returns. An error of the
// store means that nothing is known of what is on disk; the ledger closes no more, and a new process may look.
func (l *Ledger) Close(set xdr.GeneralizedTransactionSet, value xdr.StellarValue) (xdr.LedgerCloseMeta, error) {
	if l.broken != nil {
		return xdr.LedgerCloseMeta{}, l.broken
	}
	header, hash := l.Header()
	txs, fee, err := l.readSet(set, value, header, hash)
	if err != nil {
		return xdr.LedgerCloseMeta{}, err
	}
	seq := uint32(header.LedgerSeq) + 1
	// 1. Take all fees, then apply, over a layer that nobody else sees.
	delta := apply.NewDelta(l.state, seq)
	processing, collected := l.process(delta, txs, fee, l.context(header, seq, uint64(value.CloseTime)))
	// 2. Say what it led to.
	next, err := nextHeader(header, hash, value, processing)
	if err != nil {
		return xdr.LedgerCloseMeta{}, err
	}
	next.FeePool += xdr.Int64(collected)
	changed, err := encodeChanges(delta)
	if err != nil {
		return xdr.LedgerCloseMeta{}, err
	}
	next.BucketListHash = xdr.Hash(commitment(protocol.Hash(header.BucketListHash), changed))
	// 3. Check before anything is stored.
	if err := checkInvariants(l.state, delta, txs, processing, collected); err != nil {
		l.broken = fmt.Errorf("%w: ledger %d: %w", ErrInvariant, seq, err)
		return xdr.LedgerCloseMeta{}, l.broken
	}
	entry, err := headerEntry(next)
	if err != nil {
		return xdr.LedgerCloseMeta{}, err
	}
	meta := xdr.LedgerCloseMeta{V: 1, V1: &xdr.LedgerCloseMetaV1{LedgerHeader: entry, TxSet: set, TxProcessing: processing,
		UpgradesProcessing: []xdr.UpgradeEntryMeta{}, ScpInfo: []xdr.ScpHistoryEntry{}}}
	// 4. Store, then show.
	if err := l.persist(delta, closing{header: next, meta: &meta, changed: changed}); err != nil {
		l.broken = err
		return xdr.LedgerCloseMeta{}, err
	}
	return meta, nil
}

// readSet checks that the set belongs to the value and follows the last ledger, and returns its transactions in the
// order in which they are applied, with the fee that each operation pays.
func (l *Ledger) readSet(set xdr.GeneralizedTransactionSet, value xdr.StellarValue, header xdr.LedgerHeader, last protocol.Hash) ([]apply.Tx, uint32, error) {
	refuse := func(format string, args ...any) ([]apply.Tx, uint32, error) {
		return nil, 0, fmt.Errorf("%w: "+format, append([]any{ErrSet}, args...)...)
	}
	raw, err := set.MarshalBinary()
	if err != nil {
		return refuse("%v", err)
	}
	hash := protocol.Hash(sha256.Sum256(raw))
	switch {
	case hash != protocol.Hash(value.TxSetHash):
		return refuse("its hash is %s, decided was %x", hash, value.TxSetHash)
	case set.V1TxSet == nil || protocol.Hash(set.V1TxSet.PreviousLedgerHash) != last:
		return refuse("it does not follow ledger %d", header.LedgerSeq)
	case value.CloseTime <= header.ScpValue.CloseTime:
		return refuse("close time %d is not after %d", value.CloseTime, header.ScpValue.CloseTime)
	case len(value.Upgrades) > 0:
		return refuse("upgrades are not supported")
	}
	fee := uint32(header.BaseFee)
	var txs []apply.Tx
	for i, phase := range set.V1TxSet.Phases {
		if phase.V0Components == nil {
			return refuse("phase %d is not a list of components", i)
		}
		for _, component := range *phase.V0Components {
			c := component.TxsMaybeDiscountedFee
			if i > 0 || c == nil || len(*phase.V0Components) > 1 {
				return refuse("phase %d has more than one component of classic transactions", i)
			}
			if c.BaseFee != nil {
				if *c.BaseFee < xdr.Int64(fee) || *c.BaseFee > 1<<31 {
					return refuse("base fee %d is out of range", *c.BaseFee)
				}
				fee = uint32(*c.BaseFee)
			}
			if txs, err = l.readEnvelopes(c.Txs); err != nil {
				return refuse("%v", err)
			}
		}
	}
	return applyOrder(txs, hash), fee, nil
}

func (l *Ledger) readEnvelopes(envelopes []xdr.TransactionEnvelope) ([]apply.Tx, error) {
	txs := make([]apply.Tx, 0, len(envelopes))
	seen := make(map[protocol.Hash]bool, len(envelopes))
	for _, env := range envelopes {
		hash, err := l.genesis.Passphrase.TxHash(env)
		if err != nil {
			return nil, err
		}
		tx := apply.NewTx(env, hash)
		if seen[hash] || l.state.Get(apply.AccountKey(tx.Source())) == nil {
			return nil, fmt.Errorf("transaction %s is there twice or has no source account", hash)
		}
		seen[hash] = true
		txs = append(txs, tx)
	}
	return txs, nil
}

// applyOrder puts the transactions of each account in the order of their sequence numbers, and among accounts mixes
// them by their hashes and the set's, so that nobody can buy himself a place.
func applyOrder(txs []apply.Tx, set protocol.Hash) []apply.Tx {
	queues := map[string][]apply.Tx{}
	for _, tx := range txs {
		key := apply.AccountKey(tx.Source())
		queues[key] = append(queues[key], tx)
	}
	rounds := [][]apply.Tx{}
	for _, queue := range queues {
		slices.SortFunc(queue, func(a, b apply.Tx) int {
			if a.Envelope.SeqNum() < b.Envelope.SeqNum() {
				return -1
			}
			return 1
		})
		for i, tx := range queue {
			if i == len(rounds) {
				rounds = append(rounds, nil)
			}
			rounds[i] = append(rounds[i], tx)
		}
	}
	mixed := func(h protocol.Hash) []byte {
		for i := range h {
			h[i] ^= set[i]
		}
		return h[:]
	}
	ordered := make([]apply.Tx, 0, len(txs))
	for _, round := range rounds {
		slices.SortFunc(round, func(a, b apply.Tx) int { return bytes.Compare(mixed(a.Hash), mixed(b.Hash)) })
		ordered = append(ordered, round...)
	}
	return ordered
}

// process charges and applies, and returns the meta of each transaction and the fees collected.
func (l *Ledger) process(delta *apply.Delta, txs []apply.Tx, fee uint32, c apply.Context) ([]xdr.TransactionResultMeta, int64) {
	processing := make([]xdr.TransactionResultMeta, len(txs))
	charged := make([]int64, len(txs))
	total := int64(0)
	paying := c
	paying.BaseFee = fee
	for i, tx := range txs {
		layer := apply.NewDelta(delta, c.Seq)
		charged[i] = apply.Charge(layer, tx, paying)
		total += charged[i]
		processing[i].FeeProcessing = layer.Commit()
	}
	for i, tx := range txs {
		out := apply.Apply(delta, tx, c, charged[i])
		processing[i].Result = xdr.TransactionResultPair{TransactionHash: xdr.Hash(tx.Hash), Result: out.Result}
		processing[i].TxApplyProcessing = xdr.TransactionMeta{V: 3, V3: &xdr.TransactionMetaV3{
			TxChangesBefore: out.Before, Operations: out.Operations, TxChangesAfter: xdr.LedgerEntryChanges{}}}
	}
	return processing, total
}

// nextHeader makes the header that follows, but for the fee pool and the commitment to the state.
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
	next.SkipList = skipList(last)
	return next, nil
}

// skips are how many ledgers lie between the four hashes that a header keeps of older state commitments.
var skips = [4]xdr.Uint32{50, 5000, 50000, 500000}

// skipList returns the skip list of the ledger after last: at each multiple of 50 the last commitment moves in, and the
// older ones move on where the higher skips divide the sequence number too.
func skipList(last xdr.LedgerHeader) [4]xdr.Hash {
	list := last.SkipList
	if last.LedgerSeq%skips[0] != 0 {
		return list
	}
	if v := last.LedgerSeq - skips[1]; last.LedgerSeq > skips[1] && v%skips[1] == 0 {
		if v := last.LedgerSeq - skips[1] - skips[2]; last.LedgerSeq > skips[1]+skips[2] && v%skips[2] == 0 {
			if v := last.LedgerSeq - skips[1] - skips[2] - skips[3]; last.LedgerSeq > skips[1]+skips[2]+skips[3] && v%skips[3] == 0 {
				list[3] = list[2]
			}
			list[2] = list[1]
		}
		list[1] = list[0]
	}
	list[0] = last.BucketListHash
	return list
}

func headerEntry(h xdr.LedgerHeader) (xdr.LedgerHeaderHistoryEntry, error) {
	raw, err := h.MarshalBinary()
	if err != nil {
		return xdr.LedgerHeaderHistoryEntry{}, fmt.Errorf("ledger: header: %w", err)
	}
	return xdr.LedgerHeaderHistoryEntry{Hash: sha256.Sum256(raw), Header: h}, nil
}
