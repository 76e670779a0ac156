// Package custody is the guarded door to the book: money moves only through Service, and Service asks for a Clearance.
//
// Hold spends the clearance of the movement and makes the transfer pending; Post or Void ends it. Each writes its audit
// record in the caller's transaction. Post and Void need no clearance of their own: they finish what was cleared.
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

// Hold makes t pending. The clearance must be for the movement whose Ref is t.ID and whose amount is t.Amount. A
// transfer that is there already, the same, is left as it is.
func (s *Service) Hold(ctx context.Context, tx *audit.Tx, c *compliance.Clearance, t book.Transfer) error {
	if err := c.Spend(t.ID, t.Amount); err != nil {
		return fmt.Errorf("custody: %w", err)
	}
	fresh, err := book.Hold(ctx, tx, t)
	if err != nil || !fresh {
		return err
	}
	return record(ctx, tx, "transfer.held", t)
}

// Post makes a pending transfer final. One that was posted already is left as it is.
func (s *Service) Post(ctx context.Context, tx *audit.Tx, id string) error {
	return finish(ctx, tx, id, "transfer.posted", book.Post)
}

// Void undoes a pending transfer. One that was voided already is left as it is.
func (s *Service) Void(ctx context.Context, tx *audit.Tx, id string) error {
	return finish(ctx, tx, id, "transfer.voided", book.Void)
}

type resolver func(ctx context.Context, tx *audit.Tx, id string) (fresh bool, err error)

func finish(ctx context.Context, tx *audit.Tx, id, action string, how resolver) error {
	fresh, err := how(ctx, tx, id)
	if err != nil || !fresh {
		return err
	}
	t, err := book.Find(ctx, tx, id)
	if err != nil {
		return err
	}
	return record(ctx, tx, action, t)
}

func record(ctx context.Context, tx *audit.Tx, action string, t book.Transfer) error {
	_, err := tx.Record(ctx, audit.Event{Action: action, Subject: t.ID, Data: map[string]any{
		"debit": t.Debit.String(), "credit": t.Credit.String(), "amount": t.Amount.String()}})
	return err
}
