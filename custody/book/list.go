package book

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
)

// MaxPage bounds how many transfers one call returns.
const MaxPage = 200

// Filter says which transfers are wanted; what is zero does not narrow.
type Filter struct {
	Account Code // debited or credited
	Ref     string
	State   State
}

// Page says which part of a list is wanted.
type Page struct {
	After int64 // N of the last entry of the page before; 0 for the first page
	Limit int   // 1 to MaxPage
}

// Transfers returns transfers in the order of N.
func Transfers(ctx context.Context, r audit.Reader, f Filter, p Page) ([]Entry, error) {
	if p.Limit < 1 || p.Limit > MaxPage || p.After < 0 {
		return nil, fmt.Errorf("%w: page %+v", ErrInvalid, p)
	}
	// The statement is put together from fixed parts, so that each combination gets a plan with its own index.
	where, args := []string{"t.n > $1"}, []any{p.After}
	arg := func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	if f.Account != "" {
		n := arg(string(f.Account))
		where = append(where, "(t.debit = "+n+" OR t.credit = "+n+")")
	}
	if f.Ref != "" {
		where = append(where, "t.ref = "+arg(f.Ref))
	}
	switch {
	case f.State == Pending:
		where = append(where, "r.transfer IS NULL")
	case f.State != 0:
		where = append(where, "r.outcome = "+arg(f.State.String()))
	}
	sql := selectEntry + ` WHERE ` + strings.Join(where, " AND ") + ` ORDER BY t.n LIMIT ` + arg(p.Limit)
	rows, err := r.Query(ctx, sql, args...)
	if err != nil {
		return nil, wrap(err, "list", "transfers")
	}
	entries, err := pgx.CollectRows(rows, scanEntry)
	return entries, wrap(err, "list", "transfers")
}
