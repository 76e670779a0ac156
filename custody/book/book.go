// Package book is the double-entry book: what is whose, to the last minor unit.
//
// An account has one currency and a normal side: an asset of ours (money at a bank) grows by debits, a liability (credit
// in circulation, money to be paid out) by credits. A Transfer debits one account and credits another with the same
// amount. It is pending when made, and then posted or voided, once; nothing else ever happens to it. Pending amounts
// count against what is there at once and for the other side only when posted, so a balance cannot go below zero: the
// database refuses it.
//
// The caller names each transfer. The same transfer again is no error and changes nothing; another transfer under a
// used name is ErrConflict. Inside a transaction an error of the database ends it: the caller returns the error from
// audit.Do's function and everything is undone.
package book

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/money"
)

var (
	// ErrInvalid: a code, id, side or amount is missing or malformed.
	ErrInvalid = errors.New("book: invalid")
	// ErrInsufficient: an account does not hold enough that is not held already.
	ErrInsufficient = errors.New("book: insufficient balance")
	// ErrNotFound: no such account or transfer.
	ErrNotFound = errors.New("book: not found")
	// ErrConflict: the id or code belongs to something else.
	ErrConflict = errors.New("book: already there with another content")
	// ErrResolved: the transfer was posted or voided before, the other way.
	ErrResolved = errors.New("book: already resolved")
)

// Side is debit or credit. Zero is invalid.
type Side uint8

// The sides.
const (
	Debit Side = iota + 1
	Credit
)

var sideNames = map[Side]string{Debit: "debit", Credit: "credit"}

// String returns "debit" or "credit".
func (s Side) String() string { return sideNames[s] }

// Account names an account, such as "issued/USD".
type Account struct{ code string }

var accountPattern = regexp.MustCompile(`^[a-z0-9-]+(/[A-Za-z0-9-]+)+$`)

// ParseAccount reads an account's code: two or more segments joined by slashes, the first in lower case.
func ParseAccount(code string) (Account, error) {
	if len(code) > 128 || !accountPattern.MatchString(code) {
		return Account{}, fmt.Errorf("%w: account code %.140q", ErrInvalid, code)
	}
	return Account{code}, nil
}

// String returns the code.
func (a Account) String() string { return a.code }

// State says where a transfer stands. Zero is invalid.
type State uint8

// The states of a transfer.
const (
	Pending State = iota + 1
	Posted
	Voided
)

var stateNames = map[State]string{Pending: "pending", Posted: "posted", Voided: "voided"}

// String returns the state's name.
func (s State) String() string { return stateNames[s] }

// Transfer moves Amount from the credit side of one account's counterpart to another: it debits Debit and credits
// Credit. State and At are set on what is read, and ignored on what is written.
type Transfer struct {
	ID     string // 1 to 128 printable characters without blanks; unique for ever
	Debit  Account
	Credit Account
	Amount money.Amount
	State  State
	At     time.Time
}

var idPattern = regexp.MustCompile(`^[!-~]{1,128}$`)

func (t Transfer) validate() error {
	if !idPattern.MatchString(t.ID) || t.Debit.code == "" || t.Credit.code == "" || t.Debit == t.Credit || t.Amount.IsZero() {
		return fmt.Errorf("%w: transfer %.140q from %s to %s of %s", ErrInvalid, t.ID, t.Debit, t.Credit, t.Amount)
	}
	return nil
}

// OpenAccount makes an account with nothing in it. One that exists with the same currency and side stays as it is.
func OpenAccount(ctx context.Context, tx *audit.Tx, a Account, c money.Currency, normal Side) error {
	if a.code == "" || c.IsZero() || sideNames[normal] == "" {
		return fmt.Errorf("%w: account %q of %q", ErrInvalid, a.code, c)
	}
	tag, err := tx.Exec(ctx, `INSERT INTO book.account (code, currency, normal) VALUES ($1, $2, $3) ON CONFLICT (code) DO NOTHING`,
		a.code, c.String(), normal.String())
	if err != nil {
		return fmt.Errorf("book: open %s: %w", a, err)
	}
	if tag.RowsAffected() == 1 {
		_, err := tx.Record(ctx, audit.Event{Action: "account.opened", Subject: a.code,
			Data: map[string]any{"currency": c.String(), "normal": normal.String()}})
		return err
	}
	var currency, side string
	if err := tx.QueryRow(ctx, `SELECT currency, normal FROM book.account WHERE code = $1`, a.code).Scan(&currency, &side); err != nil {
		return fmt.Errorf("book: open %s: %w", a, err)
	}
	if currency != c.String() || side != normal.String() {
		return fmt.Errorf("%w: account %s is a %s account of %s", ErrConflict, a, side, currency)
	}
	return nil
}

// Hold makes t pending and reports whether it is new.
func Hold(ctx context.Context, tx *audit.Tx, t Transfer) (fresh bool, err error) {
	if err := t.validate(); err != nil {
		return false, err
	}
	before, err := Find(ctx, tx, t.ID)
	if err == nil {
		if before.Debit != t.Debit || before.Credit != t.Credit || before.Amount != t.Amount {
			return false, fmt.Errorf("%w: transfer %s", ErrConflict, t.ID)
		}
		return false, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return false, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO book.transfer (id, debit, credit, currency, units) VALUES ($1, $2, $3, $4, $5::numeric)`,
		t.ID, t.Debit.code, t.Credit.code, t.Amount.Currency().String(), t.Amount.Numeric())
	if err != nil {
		return false, fmt.Errorf("book: hold %s: %w", t.ID, translate(err))
	}
	return true, nil
}

// Post makes a pending transfer final and reports whether it was not before.
func Post(ctx context.Context, tx *audit.Tx, id string) (fresh bool, err error) {
	return resolve(ctx, tx, id, Posted)
}

// Void undoes a pending transfer and reports whether it was not undone before.
func Void(ctx context.Context, tx *audit.Tx, id string) (fresh bool, err error) {
	return resolve(ctx, tx, id, Voided)
}

func resolve(ctx context.Context, tx *audit.Tx, id string, to State) (bool, error) {
	t, err := Find(ctx, tx, id)
	if err != nil {
		return false, err
	}
	if t.State == to {
		return false, nil
	}
	if t.State != Pending {
		return false, fmt.Errorf("%w: transfer %s is %s", ErrResolved, id, t.State)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO book.resolution (transfer, outcome) VALUES ($1, $2)`, id, to.String()); err != nil {
		return false, fmt.Errorf("book: %s is to be %s: %w", id, to, translate(err))
	}
	return true, nil
}

// translate gives the database's refusals their names here.
func translate(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch {
	case pg.ConstraintName == "sufficient":
		return fmt.Errorf("%w: %s", ErrInsufficient, pg.Detail)
	case pg.Code == "23503": // foreign key: no such account, or not in this currency
		return fmt.Errorf("%w: %s", ErrNotFound, pg.Detail)
	case pg.Code == "22003": // numeric overflow
		return fmt.Errorf("%w: %s", money.ErrRange, pg.Message)
	}
	return err
}

// Balance is where an account stands.
type Balance struct {
	Account                       Account
	Normal                        Side
	DebitsPending, DebitsPosted   money.Amount
	CreditsPending, CreditsPosted money.Amount
}

// Posted returns what is there: the posted amounts of the normal side less those of the other.
func (b Balance) Posted() (money.Amount, error) {
	if b.Normal == Debit {
		return b.DebitsPosted.Sub(b.CreditsPosted)
	}
	return b.CreditsPosted.Sub(b.DebitsPosted)
}

// Available returns what is there and not held.
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

// Sum is the trial balance of one currency: debits must equal credits, posted and pending each.
type Sum struct {
	Currency                      money.Currency
	DebitsPending, DebitsPosted   money.Amount
	CreditsPending, CreditsPosted money.Amount
}

// Balanced reports whether the currency sums to zero.
func (s Sum) Balanced() bool {
	return s.DebitsPending == s.CreditsPending && s.DebitsPosted == s.CreditsPosted
}

// Page bounds a listing of transfers: those after the transfer After, in the order in which they were made.
type Page struct {
	After string // id of the last transfer of the page before; empty for the first page
	Limit int    // 1 to MaxPage
}

// MaxPage bounds a page.
const MaxPage = 200

// notFound tells an empty answer from a failed query.
func notFound(err error, what string) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("%w: %s", ErrNotFound, what)
	}
	return fmt.Errorf("book: %s: %w", what, err)
}
