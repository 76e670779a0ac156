package payload

import (
	"fmt"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// Conditions are what a transaction asks for besides its time bounds (CAP-21).
type Conditions struct {
	Ledgers *LedgerBounds
	// MinSequence lets the transaction be applied at any sequence number of its source from here on and below its own;
	// the numbers between are then lost, and with them whatever was built with those. Nil: only right below its own.
	MinSequence *int64
	// MinAge and MinLedgerGap are how long ago, in seconds and in ledgers, the source's sequence number must have
	// changed.
	MinAge       uint64
	MinLedgerGap uint32
	ExtraSigners []SignerKey // who must sign besides those who must anyway
}

// LedgerBounds are the ledgers that may apply a transaction: from From, and before Before unless that is 0.
type LedgerBounds struct{ From, Before uint32 }

// preconditions reads them all into t. Time bounds are required, with an end.
func (r *reader) preconditions(t *Transaction, x xdr.Preconditions) {
	bounds := x.TimeBounds
	if x.Type == xdr.PreconditionTypePrecondV2 && x.V2 != nil {
		bounds = x.V2.TimeBounds
		t.Conditions = r.conditions(t.Sequence, *x.V2)
	}
	switch {
	case bounds == nil:
		r.fail("no time bounds")
	case bounds.MaxTime == 0 || bounds.MaxTime > maxTime || bounds.MinTime > bounds.MaxTime:
		r.fail("time bounds %d to %d: need an end, and not before the beginning", bounds.MinTime, bounds.MaxTime)
	default:
		t.MinTime, t.MaxTime = time.Unix(int64(bounds.MinTime), 0).UTC(), time.Unix(int64(bounds.MaxTime), 0).UTC()
	}
}

func (r *reader) conditions(sequence int64, x xdr.PreconditionsV2) *Conditions {
	c := &Conditions{MinSequence: (*int64)(x.MinSeqNum), MinAge: uint64(x.MinSeqAge), MinLedgerGap: uint32(x.MinSeqLedgerGap)}
	if b := x.LedgerBounds; b != nil {
		c.Ledgers = &LedgerBounds{uint32(b.MinLedger), uint32(b.MaxLedger)}
		if b.MaxLedger != 0 && b.MinLedger >= b.MaxLedger {
			r.fail("no ledger is from %d on and before %d", b.MinLedger, b.MaxLedger)
		}
	}
	if c.MinSequence != nil && (*c.MinSequence < 0 || *c.MinSequence >= sequence) {
		r.fail("least sequence number %d with sequence number %d", *c.MinSequence, sequence)
	}
	seen := map[SignerKey]bool{}
	for _, s := range x.ExtraSigners {
		k := r.signerKey(s)
		if seen[k] {
			r.fail("extra signer %s twice", k)
		}
		seen[k] = true
		c.ExtraSigners = append(c.ExtraSigners, k)
	}
	if c.Ledgers == nil && c.MinSequence == nil && c.MinAge == 0 && c.MinLedgerGap == 0 && len(c.ExtraSigners) == 0 {
		r.fail("preconditions that are no more than time bounds, in a form for more")
	}
	return c
}

func (c *Conditions) words() (w []string) {
	if b := c.Ledgers; b != nil {
		line := fmt.Sprintf("only from ledger %d on", b.From)
		if b.Before != 0 {
			line += fmt.Sprintf(" and before ledger %d", b.Before)
		}
		w = append(w, line)
	}
	if c.MinSequence != nil {
		w = append(w, fmt.Sprintf("at any sequence number from %d on, whatever is lost by that", *c.MinSequence))
	}
	if c.MinAge != 0 {
		w = append(w, fmt.Sprintf("only %d seconds after the sequence number last changed", c.MinAge))
	}
	if c.MinLedgerGap != 0 {
		w = append(w, fmt.Sprintf("only %d ledgers after the sequence number last changed", c.MinLedgerGap))
	}
	for _, k := range c.ExtraSigners {
		w = append(w, fmt.Sprintf("only if signed by %s too", k))
	}
	return w
}
