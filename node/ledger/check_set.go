package ledger

import (
	"fmt"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/apply"
)

// CheckSet says whether a value's transaction set could close the next ledger, with nothing in it that costs its source a
// fee and does nothing: ErrSet and why, or nil. A set holds one transaction of each source account at most, and every payer
// can pay all that it bids for. A validator votes for no other. It is called by the goroutine that calls Close.
func (l *Ledger) CheckSet(set xdr.GeneralizedTransactionSet, value xdr.StellarValue) error {
	txs, err := l.readSet(set, value)
	if err != nil {
		return err
	}
	header, _ := l.Header()
	c := l.context(header, uint32(header.LedgerSeq)+1, uint64(value.CloseTime))
	sources, owed := map[string]bool{}, map[string]int64{}
	for _, tx := range txs {
		source, payer := apply.AccountKey(tx.Source()), apply.AccountKey(tx.FeeSource())
		if sources[source] {
			return fmt.Errorf("%w: account %s has two transactions", ErrSet, tx.Source().Address())
		}
		sources[source] = true
		result := apply.Check(l.state, tx.Tx, c)
		if code := result.Result.Code; code != xdr.TransactionResultCodeTxSuccess && code != xdr.TransactionResultCodeTxFeeBumpInnerSuccess {
			return fmt.Errorf("%w: transaction %s: %s", ErrSet, tx.Hash, code)
		}
		owed[payer] += tx.Bid() // each is at most 2^63-1 and was found to be covered, so two do not overflow
		if entry := l.state.Get(payer); owed[payer] < 0 || entry == nil || owed[payer] > apply.Available(entry.Data.Account, c) {
			return fmt.Errorf("%w: account %s cannot pay for all that it bids for", ErrSet, tx.FeeSource().Address())
		}
	}
	return nil
}
