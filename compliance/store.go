package compliance

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
)

// decided returns the earlier decision about m: nil for yes; pgx.ErrNoRows when there is none.
func decided(ctx context.Context, tx *audit.Tx, m Movement) (*Refusal, error) {
	var kind, subject, amount, reason, detail string
	err := tx.QueryRow(ctx, `SELECT kind, subject, amount, reason, detail FROM compliance.decision WHERE ref = $1`, m.Ref).
		Scan(&kind, &subject, &amount, &reason, &detail)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("compliance: decision: %w", err)
	}
	if kind != m.Kind.String() || subject != m.Subject.String() || amount != m.Amount.String() {
		return nil, fmt.Errorf("%w: %s was decided as a %s of %s for %q", ErrSpent, m.Ref, kind, amount, subject)
	}
	if reason == "" {
		return nil, nil
	}
	return &Refusal{Reason: reason, Detail: detail}, nil
}

func storeDecision(ctx context.Context, tx *audit.Tx, m Movement, r *Refusal) error {
	verdict, action := Refusal{}, "movement.cleared"
	data := map[string]any{"kind": m.Kind.String(), "amount": m.Amount.String()}
	if !m.Subject.IsZero() {
		data["account"] = m.Subject.String()
	}
	if r != nil {
		verdict, action = *r, "movement.refused"
		data["reason"] = r.Reason
	}
	_, err := tx.Exec(ctx, `INSERT INTO compliance.decision (ref, kind, subject, amount, reason, detail) VALUES ($1, $2, $3, $4, $5, $6)`,
		m.Ref, m.Kind.String(), m.Subject.String(), m.Amount.String(), verdict.Reason, verdict.Detail)
	if err != nil {
		return fmt.Errorf("compliance: decision: %w", err)
	}
	_, err = tx.Record(ctx, audit.Event{Action: action, Subject: m.Ref, Data: data})
	return err
}
