package policy

import (
	"math"

	"github.com/diamante/gateway/keymgmt/payload"
)

// Counted reports whether m is of a kind that limits count.
func Counted(m payload.Meaning) bool {
	return m.Transaction != nil || m.Conditional != nil || m.FeeBump != nil || m.Bitcoin != nil || m.Ethereum != nil
}

// Sequence names what a ledger does once at most: of all messages of a key that share it, one can be applied, so they share
// one reservation (see Holder). For a transaction it is the source and its sequence number, for a fee bump those of the
// transaction in it, for one of Ethereum the chain and the nonce. Not ok: m shares its reservation with nothing.
func Sequence(m payload.Meaning) (source string, number int64, ok bool) {
	switch {
	case m.Transaction != nil:
		return m.Transaction.Source.String(), m.Transaction.Sequence, true
	case m.Conditional != nil:
		return m.Conditional.Source.String(), m.Conditional.Sequence, true
	case m.FeeBump != nil:
		return "bump:" + m.FeeBump.Inner.Source.String(), m.FeeBump.Inner.Sequence, true
	case m.Ethereum != nil && m.Ethereum.Nonce <= math.MaxInt64:
		return "ethereum:" + m.Ethereum.ChainID.String(), int64(m.Ethereum.Nonce), true
	}
	return "", 0, false
}
