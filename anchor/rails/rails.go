// Package rails holds the values that pass between the anchor and a bank, whatever format the bank speaks: what a
// statement says has happened on our account (Statement) and what we ask the bank to pay (Payout).
//
// The readers and writers of formats are packages below this one, such as iso20022. A reader never guesses: an entry it
// cannot take at its word becomes a Defect with a reason, which the caller quarantines, and the entries around it are
// read as if it were not there.
package rails

import (
	"errors"
	"fmt"
	"time"

	"github.com/diamante/gateway/custody/money"
)

// ErrInvalid is wrapped by every error about an account number, a BIC, a currency or a payout that no bank would take.
var ErrInvalid = errors.New("rails: invalid value")

// Account is a bank account's number: an IBAN, or a number in the bank's own scheme where there is no IBAN.
type Account struct {
	IBAN  IBAN   // without blanks; "" where Other is set
	Other string // at most MaxOther characters
}

// MaxOther bounds an account number that is not an IBAN, in characters.
const MaxOther = 34

// IsZero reports whether there is no number.
func (a Account) IsZero() bool { return a == Account{} }

// String returns the number, whichever it is.
func (a Account) String() string {
	if a.IBAN != "" {
		return string(a.IBAN)
	}
	return a.Other
}

// Validate checks that there is exactly one number and that it is well formed.
func (a Account) Validate() error {
	switch {
	case a.IBAN != "" && a.Other != "":
		return fmt.Errorf("%w: account %s has two numbers", ErrInvalid, a)
	case a.IBAN != "":
		_, err := ParseIBAN(string(a.IBAN))
		return err
	case a.Other == "" || len(a.Other) > MaxOther:
		return fmt.Errorf("%w: account number %.40q", ErrInvalid, a.Other)
	}
	for _, r := range a.Other {
		if r <= ' ' || r > '~' {
			return fmt.Errorf("%w: account number %q", ErrInvalid, a.Other)
		}
	}
	return nil
}

// Party is who is on the other side of an entry, as far as the bank tells.
type Party struct {
	Name    string
	Account Account
	BIC     string // of the party's bank
}

// Balance is a signed balance of an account: a bank account may be overdrawn.
type Balance struct {
	Amount money.Amount
	Debit  bool // the account owes the bank
}

// Statement is what a bank says about one account over some time.
type Statement struct {
	ID       string // the bank's, unique per account
	Account  Account
	Currency string    // the account's, "" where the bank does not say
	From, To time.Time // zero where the bank does not say
	Opening  *Balance  // booked, nil where the bank does not say
	Closing  *Balance
	Entries  []Entry  // in the bank's order
	Defects  []Defect // in the bank's order
}

// EntryStatus says how final an entry is. Zero is invalid.
type EntryStatus uint8

// The states of an entry. Only a booked entry is money.
const (
	Booked      EntryStatus = iota + 1
	Pending                 // announced; it may never be booked, and is reported again when it is
	Information             // never was nor will be money on this account
)

var statusNames = map[EntryStatus]string{Booked: "booked", Pending: "pending", Information: "information"}

// String returns the state's name, "" for an invalid one.
func (s EntryStatus) String() string { return statusNames[s] }

// Entry is one movement on the account. An entry that the bank booked for a batch of payments, with an amount for each,
// is one Entry per payment.
type Entry struct {
	Index int // position of the bank's entry within its statement, from 0; payments of a batch share it
	// Ref is the bank's reference of the entry. Within a batch it has "/1", "/2", ... appended. Where the bank gives none
	// it begins with "~" and is made of what the entry says, never of its place: the same booking has the same Ref in every
	// copy of the statement, also in one that was corrected. Banks are known to give two bookings the same reference all
	// the same, so equal Refs are for a person to judge.
	Ref string
	// Base is the Ref of the bank's whole entry, and Parts how many payments of it are told apart, each an Entry: a bank
	// that first reports a batch as one sum, and again with its payments, reports the same money. Base "" is Ref.
	Base     string
	Parts    int
	Amount   money.Amount // positive, at the currency's own scale: see BankCurrency
	Credit   bool         // money came in; false: it went out
	Status   EntryStatus
	Reversal bool // undoes an earlier entry; Credit says which way the money went now
	BookedAt time.Time
	ValueAt  time.Time

	Remittance  []string // what the payer wrote, line by line, as he wrote it
	CreditorRef []string // structured creditor references, such as RF18 539007547034
	EndToEndID  string   // the payer's id of the payment; "" also where the bank says NOTPROVIDED
	Debtor      Party
	Creditor    Party
	Return      string // reason code when this is a returned payment, such as AC04
	Info        string // what the bank adds for people
	// Details is how many payments the entry stands for: 1, or more for a batch of which the bank gives no single
	// amounts. Then Remittance and the like are empty, because no one payment's text may speak for the sum.
	Details int
}

// Defect is a part of a statement that could not be taken at its word.
type Defect struct {
	Index  int    // position of the bank's entry, as in Entry; -1 for the statement's own head
	Raw    string // the beginning of the bank's own text, at most MaxRaw bytes
	Reason string
}

// MaxRaw bounds Defect.Raw, in bytes.
const MaxRaw = 4096

// Payout asks the bank to pay out of one account.
type Payout struct {
	MessageID string    // unique for ever; the bank refuses a second file of the same
	CreatedAt time.Time // of the file
	ExecuteOn time.Time // the day on which the bank is to pay
	Debtor    Party     // us: name, account and BIC
	Items     []PayoutItem
}

// PayoutItem is one payment. All items of a payout have one currency.
type PayoutItem struct {
	EndToEndID string       // comes back in the statement's entry and must be unique
	Amount     money.Amount // positive, at the scale of BankCurrency
	Creditor   Party        // BIC may be empty where the account is an IBAN
	Remittance string       // what the creditor is to read; may be empty
}
