package book

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/money"
)

// The two statements that move money, exported so that the bench package can give PostgreSQL's own tool the same.
const (
	// InsertTransfer makes a pending transfer: id, debit, credit, currency, units, ref.
	InsertTransfer = `INSERT INTO book.transfer (id, debit, credit, currency, amount, ref) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING`

	// InsertResolution ends one: transfer, outcome. It selects the transfer, because an unknown one then inserts nothing
	// instead of failing on the foreign key and taking the transaction with it.
	InsertResolution = `INSERT INTO book.resolution (transfer, outcome) SELECT t.id, $2 FROM book.transfer t WHERE t.id = $1 ON CONFLICT (transfer) DO NOTHING`
)

const (
	insertAccount = `INSERT INTO book.account (code, currency, normal, overdraw) VALUES ($1, $2, $3, $4) ON CONFLICT (code) DO NOTHING`

	selectBalance = `SELECT code, currency, normal, overdraw, debits_pending::text, debits_posted::text, credits_pending::text, credits_posted::text FROM book.account`

	selectEntry = `SELECT t.id, t.n, t.debit, t.credit, t.currency, t.amount::text, t.ref, t.created, coalesce(r.outcome, 'pending'), r.at
FROM book.transfer t LEFT JOIN book.resolution r ON r.transfer = t.id`
)

// OpenAccount makes an account with nothing in it. changed is false where it exists already with the same content;
// other content is ErrConflict.
func OpenAccount(ctx context.Context, tx *audit.Tx, a Account) (changed bool, err error) {
	if err := a.validate(); err != nil {
		return false, err
	}
	tag, err := tx.Exec(ctx, insertAccount, string(a.Code), a.Currency, a.Normal.String(), a.MayOverdraw)
	if err != nil || tag.RowsAffected() == 1 {
		return err == nil, explain(err, "open", string(a.Code))
	}
	have, err := FindBalance(ctx, tx, a.Code)
	if err != nil {
		return false, err
	}
	if have.Account != a {
		return false, fmt.Errorf("%w: account %s", ErrConflict, a.Code)
	}
	return false, nil
}

// Hold makes the transfer, pending. changed is false where it was made before with the same content, whatever became
// of it since; other content is ErrConflict. Further errors: ErrInvalid, ErrInsufficient, ErrNotFound, ErrRange.
func Hold(ctx context.Context, tx *audit.Tx, t Transfer) (changed bool, err error) {
	if err := t.validate(); err != nil {
		return false, err
	}
	tag, err := tx.Exec(ctx, InsertTransfer, string(t.ID), string(t.Debit), string(t.Credit), t.Amount.Currency(), t.Amount.Numeric(), t.Ref)
	if err != nil || tag.RowsAffected() == 1 {
		return err == nil, explain(err, "hold", string(t.ID))
	}
	have, err := Find(ctx, tx, t.ID)
	if err != nil {
		return false, err
	}
	if have.Transfer != t {
		return false, fmt.Errorf("%w: transfer %s", ErrConflict, t.ID)
	}
	return false, nil
}

// Post makes a pending transfer final. changed is false where it was posted before. Errors: ErrNotFound, ErrResolved
// where it was voided.
func Post(ctx context.Context, tx *audit.Tx, id TransferID) (changed bool, err error) {
	return resolve(ctx, tx, id, Posted)
}

// Void undoes a pending transfer. changed is false where it was voided before. Errors: ErrNotFound, ErrResolved where
// it was posted.
func Void(ctx context.Context, tx *audit.Tx, id TransferID) (changed bool, err error) {
	return resolve(ctx, tx, id, Voided)
}

func resolve(ctx context.Context, tx *audit.Tx, id TransferID, outcome State) (bool, error) {
	if !printable(string(id)) {
		return false, fmt.Errorf("%w: transfer id %.200q", ErrInvalid, id)
	}
	tag, err := tx.Exec(ctx, InsertResolution, string(id), outcome.String())
	if err != nil || tag.RowsAffected() == 1 {
		return err == nil, explain(err, outcome.String(), string(id))
	}
	have, err := Find(ctx, tx, id)
	if err != nil {
		return false, err
	}
	if have.State != outcome {
		return false, fmt.Errorf("%w: transfer %s is %s, not %s", ErrResolved, id, have.State, outcome)
	}
	return false, nil
}

// explain turns what PostgreSQL says about a constraint into the package's errors and leaves all else as it is, so that
// the transaction's owner still sees what is worth another try.
func explain(err error, verb, subject string) error {
	var pg *pgconn.PgError
	if err == nil || !errors.As(err, &pg) {
		return wrap(err, verb, subject)
	}
	switch {
	case pg.ConstraintName == "account_covered":
		return fmt.Errorf("%w: %s %s", ErrInsufficient, verb, subject)
	case pg.ConstraintName == "transfer_debit" || pg.ConstraintName == "transfer_credit":
		return fmt.Errorf("%w: %s %s: no such account in this currency", ErrNotFound, verb, subject)
	case pg.ConstraintName == "transfer_ref":
		return fmt.Errorf("%w: %s %s: its ref has another transfer", ErrConflict, verb, subject)
	case pg.Code == "22003": // numeric_value_out_of_range
		return fmt.Errorf("%w: %s %s", ErrRange, verb, subject)
	}
	return wrap(err, verb, subject)
}

func wrap(err error, verb, subject string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("book: %s %s: %w", verb, subject, err)
}

// Find returns one transfer, or ErrNotFound.
func Find(ctx context.Context, r audit.Reader, id TransferID) (Entry, error) {
	rows, err := r.Query(ctx, selectEntry+` WHERE t.id = $1`, string(id))
	if err != nil {
		return Entry{}, wrap(err, "find", string(id))
	}
	e, err := pgx.CollectExactlyOneRow(rows, scanEntry)
	if errors.Is(err, pgx.ErrNoRows) {
		return Entry{}, fmt.Errorf("%w: transfer %s", ErrNotFound, id)
	}
	return e, wrap(err, "find", string(id))
}

// FindBalance returns one account with its sums, or ErrNotFound.
func FindBalance(ctx context.Context, r audit.Reader, code Code) (Balance, error) {
	rows, err := r.Query(ctx, selectBalance+` WHERE code = $1`, string(code))
	if err != nil {
		return Balance{}, wrap(err, "find", string(code))
	}
	b, err := pgx.CollectExactlyOneRow(rows, scanBalance)
	if errors.Is(err, pgx.ErrNoRows) {
		return Balance{}, fmt.Errorf("%w: account %s", ErrNotFound, code)
	}
	return b, wrap(err, "find", string(code))
}

func scanEntry(row pgx.CollectableRow) (Entry, error) {
	var e Entry
	var currency money.Currency
	var amount, state string
	var resolved *time.Time
	err := row.Scan(&e.ID, &e.N, &e.Debit, &e.Credit, &currency, &amount, &e.Ref, &e.Created, &state, &resolved)
	if err != nil {
		return Entry{}, err
	}
	if resolved != nil {
		e.Resolved = *resolved
	}
	for s, name := range stateNames {
		if name == state {
			e.State = s
		}
	}
	e.Amount, err = money.FromNumeric(currency, amount)
	return e, err
}

func scanBalance(row pgx.CollectableRow) (Balance, error) {
	var b Balance
	var normal string
	var sums [4]string
	err := row.Scan(&b.Code, &b.Currency, &normal, &b.MayOverdraw, &sums[0], &sums[1], &sums[2], &sums[3])
	if err != nil {
		return Balance{}, err
	}
	b.Normal = Credit
	if normal == Debit.String() {
		b.Normal = Debit
	}
	for i, into := range []*money.Amount{&b.DebitsPending, &b.DebitsPosted, &b.CreditsPending, &b.CreditsPosted} {
		if *into, err = money.FromNumeric(b.Currency, sums[i]); err != nil {
			return Balance{}, err
		}
	}
	return b, nil
}
