// Package custody is the guarded door to the book: money moves only through Service, and Service asks for a Clearance.
//
// Hold spends the clearance of the movement and makes the transfer pending; Post or Void ends it. Each writes its audit
// record in the caller's transaction and returns the record's id. Post and Void need no clearance of their own: they
// finish what was cleared. Reading goes through Service as well, or straight to package book.
package custody

import (
	"context"
	"fmt"

	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
)

// Service moves money in the book. It holds no state and is safe for concurrent use.
type Service struct{}

// New makes the service.
func New() *Service { return &Service{} }

// OpenAccount makes an account with nothing in it. The record's id is "" where the same account exists already. Errors:
// book.ErrInvalid, book.ErrConflict.
func (s *Service) OpenAccount(ctx context.Context, tx *audit.Tx, a book.Account) (audit.RecordID, error) {
	changed, err := book.OpenAccount(ctx, tx, a)
	if err != nil || !changed {
		return "", err
	}
	return tx.Record(ctx, audit.Event{Action: "account.opened", Subject: string(a.Code), Data: map[string]any{
		"currency": a.Currency.String(), "normal": a.Normal.String(), "overdraw": a.MayOverdraw}})
}

// Hold makes t pending and spends c, which must be for the movement t.Ref of t.Amount, made in the same transaction.
// The record's id is "" where the same transfer was held before: nothing is changed and nothing recorded. Errors:
// compliance.ErrClearance and those of book.Hold.
func (s *Service) Hold(ctx context.Context, tx *audit.Tx, c *compliance.Clearance, t book.Transfer) (audit.RecordID, error) {
	if err := c.SpendIn(tx, t.Ref, t.Amount); err != nil {
		return "", fmt.Errorf("custody: hold %s: %w", t.ID, err)
	}
	changed, err := book.Hold(ctx, tx, t)
	if err != nil || !changed {
		return "", err
	}
	return record(ctx, tx, "transfer.held", t)
}

// Post makes a pending transfer final. The record's id is "" where it was posted before. Errors: those of book.Post.
func (s *Service) Post(ctx context.Context, tx *audit.Tx, id book.TransferID) (audit.RecordID, error) {
	changed, err := book.Post(ctx, tx, id)
	if err != nil || !changed {
		return "", err
	}
	return recordEnd(ctx, tx, "transfer.posted", id)
}

// Void undoes a pending transfer. The record's id is "" where it was voided before. Errors: those of book.Void.
func (s *Service) Void(ctx context.Context, tx *audit.Tx, id book.TransferID) (audit.RecordID, error) {
	changed, err := book.Void(ctx, tx, id)
	if err != nil || !changed {
		return "", err
	}
	return recordEnd(ctx, tx, "transfer.voided", id)
}

// Balance returns one account with its sums, or book.ErrNotFound.
func (s *Service) Balance(ctx context.Context, r audit.Reader, code book.Code) (book.Balance, error) {
	return book.FindBalance(ctx, r, code)
}

// Trial returns all accounts as of one moment, with the sums that must agree.
func (s *Service) Trial(ctx context.Context, r audit.Reader) (book.TrialBalance, error) {
	return book.Trial(ctx, r)
}

func recordEnd(ctx context.Context, tx *audit.Tx, action string, id book.TransferID) (audit.RecordID, error) {
	e, err := book.Find(ctx, tx, id)
	if err != nil {
		return "", err
	}
	return record(ctx, tx, action, e.Transfer)
}

// record tells the whole transfer each time: whoever reads one record of the log needs no other to understand it.
func record(ctx context.Context, tx *audit.Tx, action string, t book.Transfer) (audit.RecordID, error) {
	return tx.Record(ctx, audit.Event{Action: action, Subject: string(t.ID), Data: map[string]any{
		"debit": string(t.Debit), "credit": string(t.Credit), "amount": t.Amount.Decimal(),
		"currency": t.Amount.Currency().String(), "ref": t.Ref}})
}
