package book

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/money"
)

// TrialBalance is every account at one moment, with the sums that must agree.
type TrialBalance struct {
	Balances []Balance // by code
	Sums     []Sum     // by currency
}

// Sum adds up all accounts of one currency.
type Sum struct {
	Currency       money.Currency
	DebitsPending  money.Amount
	DebitsPosted   money.Amount
	CreditsPending money.Amount
	CreditsPosted  money.Amount
}

// Balanced reports whether debits equal credits, pending and posted each.
func (s Sum) Balanced() bool {
	return s.DebitsPending == s.CreditsPending && s.DebitsPosted == s.CreditsPosted
}

// Check returns ErrUnbalanced, naming the first currency whose debits and credits differ.
func (t TrialBalance) Check() error {
	for _, s := range t.Sums {
		if !s.Balanced() {
			return fmt.Errorf("%w: %s: debits %s (pending %s), credits %s (pending %s)", ErrUnbalanced, s.Currency,
				s.DebitsPosted.Decimal(), s.DebitsPending.Decimal(), s.CreditsPosted.Decimal(), s.CreditsPending.Decimal())
		}
	}
	return nil
}

// Trial reads all balances in one statement, hence as of one moment, and adds them up.
func Trial(ctx context.Context, r audit.Reader) (TrialBalance, error) {
	rows, err := r.Query(ctx, selectBalance+` ORDER BY split_part(currency, '/', 1), length(currency), currency, code`)
	if err != nil {
		return TrialBalance{}, wrap(err, "read", "trial balance")
	}
	balances, err := pgx.CollectRows(rows, scanBalance)
	if err != nil {
		return TrialBalance{}, wrap(err, "read", "trial balance")
	}
	t := TrialBalance{Balances: balances}
	for _, b := range balances {
		if len(t.Sums) == 0 || t.Sums[len(t.Sums)-1].Currency != b.Currency {
			zero := money.Zero(b.Currency)
			t.Sums = append(t.Sums, Sum{b.Currency, zero, zero, zero, zero})
		}
		if err := t.Sums[len(t.Sums)-1].add(b); err != nil {
			return TrialBalance{}, wrap(err, "add up", b.Currency.String())
		}
	}
	return t, nil
}

func (s *Sum) add(b Balance) error {
	var errs [4]error
	s.DebitsPending, errs[0] = s.DebitsPending.Add(b.DebitsPending)
	s.DebitsPosted, errs[1] = s.DebitsPosted.Add(b.DebitsPosted)
	s.CreditsPending, errs[2] = s.CreditsPending.Add(b.CreditsPending)
	s.CreditsPosted, errs[3] = s.CreditsPosted.Add(b.CreditsPosted)
	return errors.Join(errs[:]...)
}

// One row per account whose stored sums differ from those of its transfers.
const selectDrift = `
WITH leg AS (
    SELECT t.debit AS code, t.amount AS debit, 0 AS credit, r.outcome FROM book.transfer t LEFT JOIN book.resolution r ON r.transfer = t.id
    UNION ALL
    SELECT t.credit, 0, t.amount, r.outcome FROM book.transfer t LEFT JOIN book.resolution r ON r.transfer = t.id
), total AS (
    SELECT code,
        sum(debit)  FILTER (WHERE outcome IS NULL)     AS debits_pending,
        sum(debit)  FILTER (WHERE outcome = 'posted')  AS debits_posted,
        sum(credit) FILTER (WHERE outcome IS NULL)     AS credits_pending,
        sum(credit) FILTER (WHERE outcome = 'posted')  AS credits_posted
    FROM leg GROUP BY code
)
SELECT a.code FROM book.account a LEFT JOIN total USING (code)
WHERE (a.debits_pending, a.debits_posted, a.credits_pending, a.credits_posted) IS DISTINCT FROM
    (coalesce(total.debits_pending, 0), coalesce(total.debits_posted, 0), coalesce(total.credits_pending, 0), coalesce(total.credits_posted, 0))
ORDER BY a.code LIMIT 10`

// Recount adds up every transfer anew and compares with the balances: ErrUnbalanced names the accounts that differ. It
// reads the whole book.
func Recount(ctx context.Context, r audit.Reader) error {
	rows, err := r.Query(ctx, selectDrift)
	if err != nil {
		return wrap(err, "recount", "accounts")
	}
	codes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return wrap(err, "recount", "accounts")
	}
	if len(codes) > 0 {
		return fmt.Errorf("%w: transfers do not give the balances of %q", ErrUnbalanced, codes)
	}
	return nil
}
