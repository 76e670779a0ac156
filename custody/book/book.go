// Package book is the double-entry book, in PostgreSQL.
//
// Money moves from one account to another by a Transfer: it debits one and credits the other by the same amount, so
// debits equal credits in every currency at all times. A transfer is held first and then either posted or voided, once:
//
//	changed, err := book.Hold(ctx, tx, book.Transfer{ID: "deposit/42", Debit: "suspense/USD", Credit: "issued/USD", ...})
//	changed, err = book.Post(ctx, tx, "deposit/42")
//
// A held amount is pending: it can no longer be spent from the account that it leaves, and cannot be spent yet from the
// account it goes to. An account's Normal side says where its balance lies: Debit for what is ours (money at a bank),
// Credit for what we owe (customers' credit). Unless it MayOverdraw, the balance less what is held on it is never
// negative. The database keeps that by a constraint and moves balances only in its own triggers, so neither concurrency
// nor a program that has gone wrong can break it.
//
// The caller chooses a transfer's ID. The same transfer under the same ID again is no second transfer: changed is false
// and err is nil. The same holds for Post and Void. So whoever does not know whether something was committed does it
// again.
//
// Every error of Hold but ErrInvalid means that PostgreSQL may refuse everything else in the same transaction: give the
// transaction up. Post and Void leave it usable after ErrInvalid, ErrNotFound and ErrResolved.
//
// An account is one row, so transfers over the same account are made one after another, and under SERIALIZABLE the ones
// that meet begin again (audit.Do does that). Whoever has many at once makes them in one transaction.
//
// Nothing here asks whether a movement is allowed: package custody does, and is the door to this one.
package book

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/diamante/gateway/custody/money"
)

var (
	// ErrInvalid: an account or a transfer is malformed. A fault of the caller.
	ErrInvalid = errors.New("book: invalid")
	// ErrInsufficient: the account that the money should leave does not have it, or has it held.
	ErrInsufficient = errors.New("book: insufficient balance")
	// ErrNotFound: there is no such transfer, or no such account in the transfer's currency.
	ErrNotFound = errors.New("book: not found")
	// ErrConflict: the account or the transfer exists with other content, or the ref has another transfer.
	ErrConflict = errors.New("book: exists with other content")
	// ErrResolved: the transfer was posted and is to be voided, or the other way round.
	ErrResolved = errors.New("book: transfer was resolved the other way")
	// ErrRange: a balance would need more digits than money.MaxDigits.
	ErrRange = errors.New("book: balance out of range")
	// ErrUnbalanced: the book does not add up. Nothing should be done with it before a person knows why.
	ErrUnbalanced = errors.New("book: does not add up")
)

// MaxName bounds account codes, transfer ids and refs, in bytes.
const MaxName = 128

// Code names an account, such as "issued/USD": lower case first, then parts separated by slashes.
type Code string

var codeForm = regexp.MustCompile(`^[a-z][a-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)+$`)

// Side is debit or credit. Zero is invalid.
type Side uint8

// The sides.
const (
	Debit Side = iota + 1
	Credit
)

var sideNames = map[Side]string{Debit: "debit", Credit: "credit"}

// String returns "debit" or "credit", "" for an invalid side.
func (s Side) String() string { return sideNames[s] }

// Account is a place where money can be.
type Account struct {
	Code        Code
	Currency    money.Currency
	Normal      Side // where its balance lies
	MayOverdraw bool // its balance may lie on the other side
}

func (a Account) validate() error {
	if len(a.Code) > MaxName || !codeForm.MatchString(string(a.Code)) {
		return fmt.Errorf("%w: account code %.200q", ErrInvalid, a.Code)
	}
	if a.Currency.IsZero() || sideNames[a.Normal] == "" {
		return fmt.Errorf("%w: account %s has no currency or no normal side", ErrInvalid, a.Code)
	}
	return nil
}

// TransferID names a transfer: printable ASCII without blanks, chosen by the caller.
type TransferID string

// Transfer moves an amount from the balance of one account to another's.
type Transfer struct {
	ID     TransferID
	Debit  Code
	Credit Code
	Amount money.Amount // positive, in the currency of both accounts
	Ref    string       // the movement that compliance cleared; it has this one transfer
}

func (t Transfer) validate() error {
	if !printable(string(t.ID)) || !printable(t.Ref) {
		return fmt.Errorf("%w: transfer %.200q needs an id and a ref of 1 to %d printable characters", ErrInvalid, t.ID, MaxName)
	}
	if !printable(string(t.Debit)) || !printable(string(t.Credit)) || t.Debit == t.Credit {
		return fmt.Errorf("%w: transfer %s needs two accounts", ErrInvalid, t.ID)
	}
	if t.Amount.Currency().IsZero() || t.Amount.IsZero() {
		return fmt.Errorf("%w: transfer %s of nothing", ErrInvalid, t.ID)
	}
	return nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= MaxName
}

// State says where a transfer stands. Zero is invalid.
type State uint8

// The states of a transfer. Posted and Voided are for ever.
const (
	Pending State = iota + 1
	Posted
	Voided
)

var stateNames = map[State]string{Pending: "pending", Posted: "posted", Voided: "voided"}

// String returns the state's name, "" for an invalid one.
func (s State) String() string { return stateNames[s] }

// Entry is a transfer as it stands in the book.
type Entry struct {
	Transfer
	N        int64 // its place in the book, for paging; not the order of commits
	State    State
	Created  time.Time
	Resolved time.Time // zero while pending
}

// Balance is an account with its four sums. Pending sums are of transfers that are neither posted nor voided.
type Balance struct {
	Account
	DebitsPending  money.Amount
	DebitsPosted   money.Amount
	CreditsPending money.Amount
	CreditsPosted  money.Amount
}

// Posted returns the balance on the account's normal side without regard to what is held. It wraps money.ErrRange when
// the account is overdrawn.
func (b Balance) Posted() (money.Amount, error) {
	if b.Normal == Debit {
		return b.DebitsPosted.Sub(b.CreditsPosted)
	}
	return b.CreditsPosted.Sub(b.DebitsPosted)
}

// Available returns what can be taken from the account: Posted less what is held on it.
func (b Balance) Available() (money.Amount, error) {
	posted, err := b.Posted()
	if err != nil {
		return money.Amount{}, err
	}
	if b.Normal == Debit {
		return posted.Sub(b.CreditsPending)
	}
	return posted.Sub(b.DebitsPending)
}
