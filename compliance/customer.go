package compliance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/node/protocol"
)

var (
	// ErrUnknownCustomer: no customer has this account.
	ErrUnknownCustomer = errors.New("compliance: unknown customer")
	// ErrEnrolled: the account is enrolled under another name, or the name for another account.
	ErrEnrolled = errors.New("compliance: customer is enrolled differently")
)

// Status says whether a customer may move money. Zero is invalid.
type Status uint8

// The statuses of a customer.
const (
	StatusActive Status = iota + 1
	StatusFrozen        // every movement of his is held
)

var statusNames = map[Status]string{StatusActive: "active", StatusFrozen: "frozen"}

// String returns the status' name in the database and the API, "" for an invalid one.
func (s Status) String() string { return statusNames[s] }

// MarshalText returns the name; an invalid status is an error.
func (s Status) MarshalText() ([]byte, error) {
	if statusNames[s] == "" {
		return nil, fmt.Errorf("%w: status %d", ErrInvalid, s)
	}
	return []byte(statusNames[s]), nil
}

// UnmarshalText reads a name.
func (s *Status) UnmarshalText(b []byte) error {
	for status, name := range statusNames {
		if name == string(b) {
			*s = status
			return nil
		}
	}
	return fmt.Errorf("%w: status %.40q", ErrInvalid, b)
}

// Customer is somebody whom a partner vouches for, and his account on the ledger.
type Customer struct {
	Account protocol.AccountID
	Partner string // who enrolled him
	Ref     string // the partner's own name of him, unique with the partner
	Status  Status
	Created time.Time
}

const customerColumns = `account, partner, ref, status, created`

func scanCustomer(row pgx.Row) (Customer, error) {
	var c Customer
	var status string
	if err := row.Scan(&c.Account, &c.Partner, &c.Ref, &status, &c.Created); err != nil {
		return Customer{}, err
	}
	c.Created = c.Created.UTC()
	return c, c.Status.UnmarshalText([]byte(status))
}

// Enrol makes c a customer, active from now on, and records it. Enrolling him again in the same way changes and records
// nothing and returns him as he is, with isNew false; differently is ErrEnrolled. Status and Created of c are ignored.
func Enrol(ctx context.Context, tx *audit.Tx, c Customer) (stored Customer, isNew bool, err error) {
	if c.Account.IsZero() {
		return Customer{}, false, fmt.Errorf("%w: customer without an account", ErrInvalid)
	}
	if err := errors.Join(validName("partner", c.Partner), validName("customer ref", c.Ref)); err != nil {
		return Customer{}, false, err
	}
	const insert = `INSERT INTO compliance.customer (account, partner, ref, status) VALUES ($1, $2, $3, 'active')
		ON CONFLICT DO NOTHING RETURNING ` + customerColumns
	stored, err = scanCustomer(tx.QueryRow(ctx, insert, c.Account, c.Partner, c.Ref))
	if errors.Is(err, pgx.ErrNoRows) {
		stored, err = CustomerByAccount(ctx, tx, c.Account)
		if errors.Is(err, ErrUnknownCustomer) || err == nil && (stored.Partner != c.Partner || stored.Ref != c.Ref) {
			return Customer{}, false, fmt.Errorf("%w: account %s, %s of %s", ErrEnrolled, c.Account, c.Ref, c.Partner)
		}
		return stored, false, err
	}
	if err != nil {
		return Customer{}, false, fmt.Errorf("compliance: enrol: %w", err)
	}
	_, err = tx.Record(ctx, audit.Event{Action: "customer.enrolled", Subject: c.Account.String(),
		Data: map[string]any{"partner": c.Partner, "ref": c.Ref}})
	return stored, true, err
}

// CustomerByAccount returns the customer who has account, or ErrUnknownCustomer.
func CustomerByAccount(ctx context.Context, r audit.Reader, account protocol.AccountID) (Customer, error) {
	if account.IsZero() {
		return Customer{}, fmt.Errorf("%w: no account", ErrUnknownCustomer)
	}
	const query = `SELECT ` + customerColumns + ` FROM compliance.customer WHERE account = $1`
	c, err := scanCustomer(r.QueryRow(ctx, query, account))
	if errors.Is(err, pgx.ErrNoRows) {
		return Customer{}, fmt.Errorf("%w: account %s", ErrUnknownCustomer, account)
	}
	if err != nil {
		return Customer{}, fmt.Errorf("compliance: customer: %w", err)
	}
	return c, nil
}

// SetStatus freezes or unfreezes a customer, for a reason that is recorded. It returns audit.ErrUnchanged, which Do
// takes as success, if he has that status already, and ErrUnknownCustomer if there is no such customer.
func SetStatus(ctx context.Context, tx *audit.Tx, account protocol.AccountID, s Status, why string) error {
	if statusNames[s] == "" || why == "" {
		return fmt.Errorf("%w: status %d needs a name and a reason", ErrInvalid, s)
	}
	c, err := CustomerByAccount(ctx, tx, account)
	if err != nil {
		return err
	}
	if c.Status == s {
		return audit.ErrUnchanged
	}
	const update = `UPDATE compliance.customer SET status = $2 WHERE account = $1`
	if _, err := tx.Exec(ctx, update, account, s.String()); err != nil {
		return fmt.Errorf("compliance: status: %w", err)
	}
	verb := map[Status]string{StatusActive: "customer.unfrozen", StatusFrozen: "customer.frozen"}[s]
	_, err = tx.Record(ctx, audit.Event{Action: verb, Subject: account.String(), Data: map[string]any{"reason": why}})
	return err
}

// MaxPage bounds a page of customers.
const MaxPage = 200

// Page asks for a part of a partner's customers, in the order of their accounts.
type Page struct {
	Partner string             // whose customers; "" for everybody's, which is for staff only
	After   protocol.AccountID // the last one of the page before; zero for the first page
	Limit   int                // 1 to MaxPage
}

// Customers returns one page of customers.
func Customers(ctx context.Context, r audit.Reader, p Page) ([]Customer, error) {
	if p.Limit < 1 || p.Limit > MaxPage {
		return nil, fmt.Errorf("%w: page of %d customers, need 1 to %d", ErrInvalid, p.Limit, MaxPage)
	}
	const query = `SELECT ` + customerColumns + ` FROM compliance.customer
		WHERE ($1 = '' OR partner = $1) AND account > $2 ORDER BY account LIMIT $3`
	rows, err := r.Query(ctx, query, p.Partner, p.After.String(), p.Limit)
	if err != nil {
		return nil, fmt.Errorf("compliance: customers: %w", err)
	}
	customers, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Customer, error) { return scanCustomer(row) })
	if err != nil {
		return nil, fmt.Errorf("compliance: customers: %w", err)
	}
	return customers, nil
}
