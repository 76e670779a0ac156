package book

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/money"
)

const transferColumns = `t.id, t.debit, t.credit, t.currency, t.units::text, coalesce(r.outcome, 'pending'), t.at
	FROM book.transfer t LEFT JOIN book.resolution r ON r.transfer = t.id`

// Find returns a transfer, or ErrNotFound.
func Find(ctx context.Context, r audit.Reader, id string) (Transfer, error) {
	t, err := scanTransfer(r.QueryRow(ctx, `SELECT `+transferColumns+` WHERE t.id = $1`, id))
	if err != nil {
		return Transfer{}, notFound(err, "transfer "+id)
	}
	return t, nil
}

// Transfers lists transfers in the order in which they were made.
func Transfers(ctx context.Context, r audit.Reader, p Page) ([]Transfer, error) {
	if p.Limit < 1 || p.Limit > MaxPage {
		return nil, fmt.Errorf("%w: page of %d", ErrInvalid, p.Limit)
	}
	rows, err := r.Query(ctx, `SELECT `+transferColumns+`
		WHERE $1 = '' OR (t.at, t.id) > (SELECT at, id FROM book.transfer WHERE id = $1) ORDER BY t.at, t.id LIMIT $2`, p.After, p.Limit)
	if err != nil {
		return nil, fmt.Errorf("book: transfers: %w", err)
	}
	return collect(rows, scanTransfer)
}

func scanTransfer(row pgx.Row) (Transfer, error) {
	var t Transfer
	var currency money.Currency
	var units, outcome string
	if err := row.Scan(&t.ID, &t.Debit.code, &t.Credit.code, &currency, &units, &outcome, &t.At); err != nil {
		return Transfer{}, err
	}
	for state, name := range stateNames {
		if name == outcome {
			t.State = state
		}
	}
	var err error
	t.Amount, err = money.FromNumeric(currency, units)
	return t, err
}

const balanceColumns = `code, currency, normal, debits_pending::text, debits_posted::text, credits_pending::text, credits_posted::text
	FROM book.account`

// BalanceOf returns where an account stands, or ErrNotFound.
func BalanceOf(ctx context.Context, r audit.Reader, a Account) (Balance, error) {
	b, err := scanBalance(r.QueryRow(ctx, `SELECT `+balanceColumns+` WHERE code = $1`, a.code))
	if err != nil {
		return Balance{}, notFound(err, "account "+a.code)
	}
	return b, nil
}

// Balances returns where all accounts stand, by code.
func Balances(ctx context.Context, r audit.Reader) ([]Balance, error) {
	rows, err := r.Query(ctx, `SELECT `+balanceColumns+` ORDER BY code`)
	if err != nil {
		return nil, fmt.Errorf("book: balances: %w", err)
	}
	return collect(rows, scanBalance)
}

func scanBalance(row pgx.Row) (Balance, error) {
	var b Balance
	var currency money.Currency
	var normal string
	var units [4]string
	if err := row.Scan(&b.Account.code, &currency, &normal, &units[0], &units[1], &units[2], &units[3]); err != nil {
		return Balance{}, err
	}
	b.Normal = Debit
	if normal == Credit.String() {
		b.Normal = Credit
	}
	for i, to := range []*money.Amount{&b.DebitsPending, &b.DebitsPosted, &b.CreditsPending, &b.CreditsPosted} {
		var err error
		if *to, err = money.FromNumeric(currency, units[i]); err != nil {
			return Balance{}, err
		}
	}
	return b, nil
}

// Trial adds up all accounts, by currency.
func Trial(ctx context.Context, r audit.Reader) ([]Sum, error) {
	rows, err := r.Query(ctx, `SELECT currency, sum(debits_pending)::text, sum(debits_posted)::text, sum(credits_pending)::text,
		sum(credits_posted)::text FROM book.account GROUP BY currency ORDER BY currency`)
	if err != nil {
		return nil, fmt.Errorf("book: trial balance: %w", err)
	}
	return collect(rows, scanSum)
}

func scanSum(row pgx.Row) (Sum, error) {
	var s Sum
	var units [4]string
	if err := row.Scan(&s.Currency, &units[0], &units[1], &units[2], &units[3]); err != nil {
		return Sum{}, err
	}
	for i, to := range []*money.Amount{&s.DebitsPending, &s.DebitsPosted, &s.CreditsPending, &s.CreditsPosted} {
		var err error
		if *to, err = money.FromNumeric(s.Currency, units[i]); err != nil {
			return Sum{}, err
		}
	}
	return s, nil
}

func collect[T any](rows pgx.Rows, scan func(pgx.Row) (T, error)) ([]T, error) {
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (T, error) { return scan(row) })
	if err != nil {
		return nil, fmt.Errorf("book: %w", err)
	}
	return out, nil
}
