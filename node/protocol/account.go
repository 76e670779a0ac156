package protocol

import (
	"errors"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// The errors of the node's door, the same in process and through node/client.
var (
	// ErrNotFound: the ledger holds no such account.
	ErrNotFound = errors.New("protocol: not found")
	// ErrUnavailable: the node cannot be reached or is not ready; try again.
	ErrUnavailable = errors.New("protocol: node unavailable")
)

// Account is one account as of ledger Ledger, with its trustlines and data entries, each sorted by asset or name.
type Account struct {
	ID         AccountID
	Ledger     uint32 // the last closed ledger when it was read
	Balance    Amount // DIAM
	Sequence   int64
	Flags      xdr.AccountFlags
	HomeDomain string
	Thresholds xdr.Thresholds // master weight, low, medium, high
	Signers    []xdr.Signer   // without the master key
	SubEntries uint32
	Trustlines []Trustline
	Data       []DataEntry
}

// Trustline is what an account holds of one credit.
type Trustline struct {
	Asset   Asset
	Balance Amount
	Limit   Amount
	Flags   xdr.TrustLineFlags
}

// DataEntry is one named value of an account.
type DataEntry struct {
	Name  string
	Value []byte
}

// Trustline returns the account's line to asset, and whether it has one.
func (a Account) Trustline(asset Asset) (Trustline, bool) {
	for _, t := range a.Trustlines {
		if t.Asset == asset {
			return t, true
		}
	}
	return Trustline{}, false
}

// SubmissionStatus says what the node did with a transaction that was handed to it. Zero is invalid.
type SubmissionStatus uint8

// What the node can answer at once. None of them says that a transaction was applied: that is learned from a closed
// ledger, by hash, and from nothing else.
const (
	// SubmissionPending: accepted into the queue.
	SubmissionPending SubmissionStatus = iota + 1
	// SubmissionDuplicate: in the queue already.
	SubmissionDuplicate
	// SubmissionError: refused; Result says why. It may still be applied if it was accepted before.
	SubmissionError
	// SubmissionTryAgainLater: the queue is full, or the source account has another transaction in it.
	SubmissionTryAgainLater
)

var submissionNames = map[SubmissionStatus]string{SubmissionPending: "PENDING", SubmissionDuplicate: "DUPLICATE",
	SubmissionError: "ERROR", SubmissionTryAgainLater: "TRY_AGAIN_LATER"}

// String returns the status as Horizon's asynchronous submission names it.
func (s SubmissionStatus) String() string { return submissionNames[s] }

// Submission is the node's immediate answer.
type Submission struct {
	Hash   Hash
	Status SubmissionStatus
	Result *xdr.TransactionResult // set with SubmissionError
}

// Status is where a node stands.
type Status struct {
	Passphrase Passphrase
	Ledger     uint32    // last closed
	Hash       Hash      // its header's hash
	ClosedAt   time.Time // its close time
	BaseFee    uint32    // stroops for an operation
	Reserve    uint32    // base reserve, stroops
	Protocol   uint32
	Queued     int // transactions waiting
}
