package herder

import (
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Consensus makes the validators agree on one value for each slot; slot n decides ledger n.
// Federated is one.
//
// Both methods are called from Herder.Step, one at a time, with the same clock that the herder was stepped with: an
// implementation needs no clock, goroutine or lock of its own for them. What comes in from other validators at other
// times it keeps until the next Tick, and calls Driver.Wake. Decisions leave through Driver.Externalized, which may be
// called at any time and from any goroutine, also from within these methods.
type Consensus interface {
	// Propose enters this validator's own choice for a slot. It is called once for each slot, in increasing order,
	// after the slot before was applied. It does not wait for the decision. An error stops the validator.
	Propose(p Proposal) error
	// Tick lets time pass and returns when the next timer of the consensus is due, zero if there is none. An error
	// stops the validator.
	Tick(now time.Time) (next time.Time, err error)
}

// Proposal is a validator's choice for one slot.
type Proposal struct {
	Slot     uint32
	Value    xdr.StellarValue // signed; its transaction set is held by the Driver
	Previous xdr.StellarValue // what slot-1 decided
	Now      time.Time
}

// Driver is what a Consensus is given by the herder. It is safe for concurrent use.
type Driver interface {
	// Validate reports whether this validator may vote for a value at a slot: signed, in time, with a transaction set
	// that it holds and finds valid. It is asked within Propose and Tick only.
	Validate(slot uint32, value xdr.StellarValue) error
	// Externalized says that value was decided at slot, for good. It is called exactly once for each slot. The herder
	// only notes it; the ledger closes in Step, in the order of slots.
	Externalized(slot uint32, value xdr.StellarValue)
	// Keep remembers a transaction set until its slot is closed.
	Keep(slot uint32, set xdr.GeneralizedTransactionSet)
	// Set returns a transaction set that is remembered.
	Set(hash protocol.Hash) (xdr.GeneralizedTransactionSet, bool)
	// Wake makes the herder step soon.
	Wake()
}
