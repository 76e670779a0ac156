package anchor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/anchor/flow"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

// row is a deposit or a withdrawal as stored.
type row struct {
	ID, kind  string
	state     flow.State
	account   protocol.AccountID
	asset     string  // code
	expected  *string // book units
	amount    *string
	reference *string
	memo      *int64
	iban      string
	name      string
	key       string
	round     int
	ledgerTx  string
	external  string
	message   string
	created   time.Time
	updated   time.Time
	completed *time.Time
}

const rowColumns = `id, kind, state, account, asset, expected::text, amount::text, reference, memo, iban, name, key, round, ledger_tx,
	external, message, created, updated, completed FROM anchor.transaction`

func scanRow(r pgx.Row) (t row, err error) {
	err = r.Scan(&t.ID, &t.kind, &t.state, &t.account, &t.asset, &t.expected, &t.amount, &t.reference, &t.memo, &t.iban, &t.name, &t.key,
		&t.round, &t.ledgerTx, &t.external, &t.message, &t.created, &t.updated, &t.completed)
	return t, err
}

// findRow returns the one row that matches a condition, or ErrNotFound.
func findRow(ctx context.Context, r audit.Reader, where string, args ...any) (row, error) {
	t, err := scanRow(r.QueryRow(ctx, `SELECT `+rowColumns+` WHERE `+where, args...))
	return t, missing(err, "transaction")
}

func listRows(ctx context.Context, r audit.Reader, where string, args ...any) ([]row, error) {
	rows, err := r.Query(ctx, `SELECT `+rowColumns+` WHERE `+where, args...)
	return collect(rows, err, "transactions", func(r pgx.CollectableRow) (row, error) { return scanRow(r) })
}

// missing names what was not found, or not read.
func missing(err error, what string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("%w: %s", ErrNotFound, what)
	}
	return fmt.Errorf("anchor: %s: %w", what, err)
}

func collect[T any](rows pgx.Rows, err error, what string, scan func(pgx.CollectableRow) (T, error)) ([]T, error) {
	if err == nil {
		var out []T
		if out, err = pgx.CollectRows(rows, scan); err == nil {
			return out, nil
		}
	}
	return nil, fmt.Errorf("anchor: %s: %w", what, err)
}

func insertRow(ctx context.Context, tx *audit.Tx, t row) error {
	_, err := tx.Exec(ctx, `INSERT INTO anchor.transaction (id, kind, state, account, asset, expected, reference, memo, iban, name, key)
		VALUES ($1, $2, $3, $4, $5, $6::numeric, $7, $8, $9, $10, $11)`,
		t.ID, t.kind, string(t.state), t.account, t.asset, t.expected, t.reference, t.memo, t.iban, t.name, t.key)
	if err != nil {
		return fmt.Errorf("anchor: %s: %w", t.kind, err)
	}
	return nil
}

// updateRow stores what can change of a transaction.
func updateRow(ctx context.Context, tx *audit.Tx, t row) error {
	_, err := tx.Exec(ctx, `UPDATE anchor.transaction SET state = $2, amount = $3::numeric, round = $4, ledger_tx = $5, external = $6, message = $7,
		updated = now(), completed = CASE WHEN $2 IN ('completed', 'refunded') THEN now() END WHERE id = $1`,
		t.ID, string(t.state), t.amount, t.round, t.ledgerTx, t.external, t.message)
	if err != nil {
		return fmt.Errorf("anchor: %s %s: %w", t.kind, t.ID, err)
	}
	return nil
}

// units reads an amount of the book's units of an asset.
func (a AssetConfig) units(s *string) (money.Amount, error) {
	if s == nil {
		return money.Zero(a.currency()), nil
	}
	return money.FromNumeric(a.currency(), *s)
}

// initiator is on whose word a transaction of the database is made, as the signer wants to know it: that of a person who
// could be asked to approve what follows from it. "" when it is nobody's.
func initiator(tx *audit.Tx) string {
	who := tx.Actor()
	if (who.Kind != "staff" && who.Kind != "partner") || (keymgmt.Request{Initiator: who.Name}).ValidPeople() != nil {
		return ""
	}
	return who.Name
}

// openJob adds a job on the word of whoever makes the change, if it is not there.
func openJob(ctx context.Context, tx *audit.Tx, kind jobKind, ref string) error {
	return openJobFor(ctx, tx, kind, ref, initiator(tx))
}

func openJobFor(ctx context.Context, tx *audit.Tx, kind jobKind, ref, who string) error {
	tag, err := tx.Exec(ctx, `INSERT INTO anchor.job (kind, ref, initiator) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, string(kind), ref, who)
	if err != nil {
		return fmt.Errorf("anchor: job %s %s: %w", kind, ref, err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	_, err = tx.Record(ctx, audit.Event{Action: "job.opened", Subject: ref, Data: map[string]any{"kind": string(kind), "initiator": who}})
	return err
}

// closeJob says that a job is done.
func closeJob(ctx context.Context, tx *audit.Tx, kind jobKind, ref string) error {
	tag, err := tx.Exec(ctx, `UPDATE anchor.job SET done = true WHERE kind = $1 AND ref = $2 AND NOT done`, string(kind), ref)
	if err != nil {
		return fmt.Errorf("anchor: job %s %s: %w", kind, ref, err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	_, err = tx.Record(ctx, audit.Event{Action: "job.done", Subject: ref, Data: map[string]any{"kind": string(kind)}})
	return err
}

// reopenJob is openJob for what may have to be done again.
func reopenJob(ctx context.Context, tx *audit.Tx, kind jobKind, ref string) error {
	return reopenJobFor(ctx, tx, kind, ref, initiator(tx))
}

func reopenJobFor(ctx context.Context, tx *audit.Tx, kind jobKind, ref, who string) error {
	tag, err := tx.Exec(ctx, `UPDATE anchor.job SET done = false, initiator = $3 WHERE kind = $1 AND ref = $2 AND done`, string(kind), ref, who)
	if err != nil {
		return fmt.Errorf("anchor: job %s %s: %w", kind, ref, err)
	}
	if tag.RowsAffected() == 0 {
		return openJobFor(ctx, tx, kind, ref, who)
	}
	_, err = tx.Record(ctx, audit.Event{Action: "job.reopened", Subject: ref, Data: map[string]any{"kind": string(kind), "initiator": who}})
	return err
}

func jobOpen(ctx context.Context, r audit.Reader, j job) (open bool, err error) {
	err = missing(r.QueryRow(ctx, `SELECT NOT done FROM anchor.job WHERE kind = $1 AND ref = $2`, string(j.kind), j.ref).Scan(&open), "job")
	return open, err
}

// stillOpen returns audit.ErrUnchanged for a job that somebody has done in the meantime.
func stillOpen(ctx context.Context, tx *audit.Tx, j job) error {
	open, err := jobOpen(ctx, tx, j)
	if err == nil && !open {
		err = audit.ErrUnchanged
	}
	return err
}

// openJobs returns the jobs after the n-th that are to be done, oldest first.
func openJobs(ctx context.Context, r audit.Reader, after int64, limit int) ([]job, error) {
	rows, err := r.Query(ctx, `SELECT n, kind, ref, initiator, created FROM anchor.job WHERE NOT done AND n > $1 ORDER BY n LIMIT $2`, after, limit)
	return collect(rows, err, "jobs", func(r pgx.CollectableRow) (j job, err error) {
		return j, r.Scan(&j.n, &j.kind, &j.ref, &j.initiator, &j.created)
	})
}
