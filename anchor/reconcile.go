package anchor

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/compliance/audit"
)

// compare checks a file's statements as wholes: each must add up, and begin where the one before it ended. What does not
// is told, and shown to staff: an entry or a whole statement may be missing, or made up. Nothing is held up by it, since
// every entry stands by itself.
func (s *Service) compare(ctx context.Context, tx *audit.Tx, r reading) (warning string, err error) {
	var all []string
	for _, st := range r.statements {
		a, ours := s.accountOf(r.partner, st.Account.String())
		if !ours || st.Opening == nil || st.Closing == nil {
			continue
		}
		found, err := s.compareOne(ctx, tx, st)
		if err != nil {
			return "", err
		}
		for _, text := range found {
			held := heldEntry{statement: st.ID, reason: "does-not-add-up", detail: text, reference: st.ID, account: a.Bank.Account.String()}
			if err := s.quarantine(ctx, tx, held); err != nil {
				return "", err
			}
		}
		all = append(all, found...)
	}
	return clean(strings.Join(all, "; ")), nil
}

func (s *Service) compareOne(ctx context.Context, tx *audit.Tx, st rails.Statement) (found []string, err error) {
	opening, closing := signed(*st.Opening), signed(*st.Closing)
	sum, counted := new(big.Int).Set(opening), len(st.Defects) == 0
	for _, e := range st.Entries {
		if e.Status != rails.Booked {
			continue
		}
		counted = counted && e.Amount.Currency() == st.Closing.Amount.Currency()
		sum.Add(sum, signed(rails.Balance{Amount: e.Amount, Debit: !e.Credit}))
	}
	if counted && sum.Cmp(closing) != 0 {
		found = append(found, fmt.Sprintf("statement %s: opening balance and entries make %s, the closing balance is %s in units of %s", st.ID, sum, closing, st.Closing.Amount.Currency()))
	}
	account, currency := st.Account.String(), st.Closing.Amount.Currency().String()
	var last, name, code string
	var until time.Time
	err = tx.QueryRow(ctx, `SELECT closing::text, statement, currency, until FROM anchor.bank WHERE account = $1`, account).Scan(&last, &name, &code, &until)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return nil, fmt.Errorf("anchor: balances: %w", err)
	case st.To.Before(until):
		return found, nil // an older one, brought late
	case last != opening.String() && name != st.ID: // a copy of the same one begins where it began
		found = append(found, fmt.Sprintf("statement %s opens with %s, and statement %s before it closed with %s in units of %s", st.ID, opening, name, last, code))
	}
	_, err = tx.Exec(ctx, `INSERT INTO anchor.bank (account, statement, currency, closing, until) VALUES ($1, $2, $3, $4::numeric, $5)
		ON CONFLICT (account) DO UPDATE SET statement = $2, currency = $3, closing = $4::numeric, until = $5`, account, clean(st.ID), currency, closing.String(), st.To)
	if err != nil {
		return nil, fmt.Errorf("anchor: balances: %w", err)
	}
	return found, nil
}

// signed returns a balance in the currency's smallest unit.
func signed(b rails.Balance) *big.Int {
	n := b.Amount.Units()
	if b.Debit {
		n.Neg(n)
	}
	return n
}

// Invariants checks what must hold at every moment.
func (s *Service) Invariants(ctx context.Context) ([]Invariant, error) {
	trial, err := s.Custody.Trial(ctx, s.DB.Reader())
	if err != nil {
		return nil, err
	}
	var out []Invariant
	for _, sum := range trial.Sums {
		out = append(out, Invariant{"the book sums to zero: " + sum.Currency.Code(), sum.Balanced(),
			fmt.Sprintf("debits %s, credits %s", sum.DebitsPosted.Decimal(), sum.CreditsPosted.Decimal())})
	}
	for _, a := range s.cfg.Assets {
		for _, e := range equations {
			i, err := s.holds(ctx, a, e)
			if err != nil {
				return nil, err
			}
			out = append(out, i)
		}
	}
	return out, nil
}

// equation is two sums that must be equal, read in one statement and so at one moment. of.asset is the asset as the
// ledger has it, of.code its code.
type equation struct {
	name, left, right string // what is compared, and what the two sides are
	sql               string
}

var equations = []equation{
	{"credit on the ledger equals liabilities in the book", "ledger", "book", `SELECT
		(SELECT units FROM anchor.supply WHERE asset = of.asset), (SELECT credits_posted - debits_posted FROM book.account WHERE code = 'issued/' || of.code)`},
	// Money in suspense is an entry's that waits for a person, or one's that is to be returned and has no payment file yet.
	{"money in suspense belongs to entries that wait", "entries", "book", `SELECT
		(SELECT sum(units) FROM anchor.quarantine q WHERE asset = of.code AND (resolution = '' OR resolution LIKE 'return:%'
			AND NOT EXISTS (SELECT FROM anchor.payout WHERE origin = 'return/' || q.id))),
		(SELECT credits_posted - debits_posted - debits_pending FROM book.account WHERE code = 'suspense/' || of.code)`},
	// What is payable is a withdrawal's whose payment file is to be written or was of no use, or was destroyed by whoever is owed it.
	{"money payable is owed to somebody", "debts", "book", `SELECT
		(SELECT coalesce(sum(amount), 0) FROM anchor.transaction WHERE kind = 'withdrawal' AND asset = of.code AND state IN ('paying', 'withheld', 'bounced'))
			+ (SELECT coalesce(sum(units), 0) FROM anchor.incoming WHERE asset = of.asset AND owed AND state IN ('parked', 'closed')),
		(SELECT credits_posted - debits_posted - debits_pending FROM book.account WHERE code = 'payable/' || of.code)`},
}

func (s *Service) holds(ctx context.Context, a AssetConfig, e equation) (Invariant, error) {
	var left, right *string
	err := s.DB.Reader().QueryRow(ctx, `SELECT a::text, b::text FROM (SELECT $1::text AS asset, $2::text AS code) AS of, LATERAL (`+e.sql+`) AS sides (a, b)`, a.asset().String(), a.Code).Scan(&left, &right)
	if err != nil {
		return Invariant{}, fmt.Errorf("anchor: %s: %w", e.name, err)
	}
	one, err1 := a.units(left)
	two, err2 := a.units(right)
	return Invariant{e.name + ": " + a.Code, one == two, fmt.Sprintf("%s %s, %s %s", e.left, one.Decimal(), e.right, two.Decimal())}, errors.Join(err1, err2)
}
