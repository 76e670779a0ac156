package ledger

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/apply"
	"github.com/diamante/gateway/node/protocol"
)

// maxRate bounds the base fee that a part of a set may ask of its transactions.
const maxRate = 1 << 31

// setTx is a transaction of a set.
type setTx struct {
	apply.Tx
	full protocol.Hash // SHA-256 of the envelope with its signatures: the order of the set, and mixed, of application
	rate *xdr.Int64    // what its part of the set pays for each operation; nil: what it bids
}

// readSet checks that the set belongs to the value and follows the last ledger, and returns its transactions in the
// order in which they are applied.
func (l *Ledger) readSet(set xdr.GeneralizedTransactionSet, value xdr.StellarValue) ([]setTx, error) {
	header, last := l.Header()
	raw, err := set.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrSet, err)
	}
	hash := protocol.Hash(sha256.Sum256(raw))
	switch {
	case hash != protocol.Hash(value.TxSetHash):
		return nil, fmt.Errorf("%w: its hash is %s, decided was %x", ErrSet, hash, value.TxSetHash)
	case set.V1TxSet == nil || protocol.Hash(set.V1TxSet.PreviousLedgerHash) != last:
		return nil, fmt.Errorf("%w: it does not follow ledger %d", ErrSet, header.LedgerSeq)
	case value.CloseTime <= header.ScpValue.CloseTime:
		return nil, fmt.Errorf("%w: close time %d is not after %d", ErrSet, value.CloseTime, header.ScpValue.CloseTime)
	}
	phases := set.V1TxSet.Phases
	if len(phases) != 2 || phases[0].V0Components == nil || phases[1].V0Components == nil || len(*phases[1].V0Components) != 0 {
		return nil, fmt.Errorf("%w: not a phase of classic transactions and an empty one", ErrSet)
	}
	txs, err := l.readComponents(*phases[0].V0Components, uint32(header.BaseFee))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrSet, err)
	}
	operations := 0
	for _, tx := range txs {
		operations += tx.Operations()
	}
	if operations > int(header.MaxTxSetSize) {
		return nil, fmt.Errorf("%w: %d operations, more than %d", ErrSet, operations, header.MaxTxSetSize)
	}
	return applyOrder(txs, hash), nil
}

// readComponents reads the parts of a phase: not empty, in the order of what they pay, first the one without a rate.
func (l *Ledger) readComponents(components []xdr.TxSetComponent, baseFee uint32) ([]setTx, error) {
	var txs []setTx
	seen := map[protocol.Hash]bool{}
	for i, component := range components {
		part := component.TxsMaybeDiscountedFee
		if part == nil || len(part.Txs) == 0 {
			return nil, fmt.Errorf("component %d is empty", i)
		}
		if rate := part.BaseFee; rate != nil && (*rate < xdr.Int64(baseFee) || *rate > maxRate) {
			return nil, fmt.Errorf("base fee %d is out of range", *rate)
		}
		if i > 0 && !ascending(components[i-1].TxsMaybeDiscountedFee.BaseFee, part.BaseFee) {
			return nil, fmt.Errorf("component %d is out of order", i)
		}
		start := len(txs)
		for _, env := range part.Txs {
			tx, err := l.readEnvelope(env)
			if err != nil {
				return nil, err
			}
			if n := len(txs); n > start && bytes.Compare(txs[n-1].full[:], tx.full[:]) >= 0 {
				return nil, fmt.Errorf("transaction %s is out of order", tx.Hash)
			}
			if seen[tx.Hash] {
				return nil, fmt.Errorf("transaction %s is there twice", tx.Hash)
			}
			seen[tx.Hash] = true
			tx.rate = part.BaseFee
			if least := max(int64(baseFee), rateOf(tx.rate)) * int64(max(1, tx.Operations())); tx.Bid() < least {
				return nil, fmt.Errorf("transaction %s bids %d, less than %d", tx.Hash, tx.Bid(), least)
			}
			txs = append(txs, tx)
		}
	}
	return txs, nil
}

func rateOf(rate *xdr.Int64) int64 {
	if rate == nil {
		return 0
	}
	return int64(*rate)
}

func ascending(a, b *xdr.Int64) bool { return b != nil && (a == nil || *a < *b) }

func (l *Ledger) readEnvelope(env xdr.TransactionEnvelope) (setTx, error) {
	raw, err := protocol.EncodeEnvelope(env)
	if err != nil {
		return setTx{}, err
	}
	tx, err := apply.NewTx(l.genesis.Passphrase, env)
	if err != nil {
		return setTx{}, err
	}
	for _, id := range []xdr.AccountId{tx.Source(), tx.FeeSource()} {
		if l.state.Get(apply.AccountKey(id)) == nil {
			return setTx{}, fmt.Errorf("transaction %s has a source that does not exist, %s", tx.Hash, id.Address())
		}
	}
	return setTx{Tx: tx, full: sha256.Sum256(raw)}, nil
}

// applyOrder puts the transactions of each account in the order of their sequence numbers, and among accounts mixes
// them by their hashes and the set's, so that nobody can buy himself a place. Rounds are formed: the first transaction
// of each account, then the second, and so on.
func applyOrder(txs []setTx, set protocol.Hash) []setTx {
	slices.SortFunc(txs, func(a, b setTx) int {
		return cmp.Or(cmp.Compare(a.Sequence(), b.Sequence()), bytes.Compare(a.full[:], b.full[:]))
	})
	rounds := [][]setTx{}
	round := map[string]int{} // of each account, the next
	for _, tx := range txs {
		key := apply.AccountKey(tx.Source())
		i := round[key]
		round[key]++
		if i == len(rounds) {
			rounds = append(rounds, nil)
		}
		rounds[i] = append(rounds[i], tx)
	}
	mixed := func(h protocol.Hash) []byte {
		for i := range h {
			h[i] ^= set[i]
		}
		return h[:]
	}
	ordered := make([]setTx, 0, len(txs))
	for _, r := range rounds {
		slices.SortFunc(r, func(a, b setTx) int { return bytes.Compare(mixed(a.full), mixed(b.full)) })
		ordered = append(ordered, r...)
	}
	return ordered
}
