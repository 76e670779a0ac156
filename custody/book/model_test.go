package book_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

// model is the book as one would write it on paper, in memory: what the database must agree with after every step.
type model struct {
	accounts  map[book.Code]*sums
	transfers map[book.TransferID]*paper
}

type sums struct {
	normal   book.Side
	overdraw bool
	// by side: pending and posted units
	pending, posted map[book.Side]*big.Int
}

type paper struct {
	book.Transfer
	state book.State
}

func (s *sums) covered() bool {
	out := book.Debit
	if s.normal == book.Debit {
		out = book.Credit
	}
	gone := new(big.Int).Add(s.pending[out], s.posted[out])
	return s.overdraw || gone.Cmp(s.posted[s.normal]) <= 0
}

func (m *model) move(t book.Transfer, pending, posted *big.Int) {
	for code, side := range map[book.Code]book.Side{t.Debit: book.Debit, t.Credit: book.Credit} {
		a := m.accounts[code]
		a.pending[side].Add(a.pending[side], pending)
		a.posted[side].Add(a.posted[side], posted)
	}
}

func (m *model) hold(t book.Transfer) (bool, error) {
	if have, ok := m.transfers[t.ID]; ok {
		if have.Transfer != t {
			return false, book.ErrConflict
		}
		return false, nil
	}
	units, none := t.Amount.Units(), new(big.Int)
	m.move(t, units, none)
	if !m.accounts[t.Debit].covered() || !m.accounts[t.Credit].covered() {
		m.move(t, new(big.Int).Neg(units), none)
		return false, book.ErrInsufficient
	}
	m.transfers[t.ID] = &paper{t, book.Pending}
	return true, nil
}

func (m *model) resolve(id book.TransferID, to book.State) (bool, error) {
	have, ok := m.transfers[id]
	switch {
	case !ok:
		return false, book.ErrNotFound
	case have.state == to:
		return false, nil
	case have.state != book.Pending:
		return false, book.ErrResolved
	}
	units := have.Amount.Units()
	posted := new(big.Int)
	if to == book.Posted {
		posted.Set(units)
	}
	m.move(have.Transfer, new(big.Int).Neg(units), posted)
	have.state = to
	return true, nil
}

func TestModel(t *testing.T) {
	url := schematest.New(t, schema.Gateway)
	db := open(t, url)
	usd := currency(t, "USD/2")
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++ // each run has accounts and ids of its own in the one database
		m := &model{accounts: map[book.Code]*sums{}, transfers: map[book.TransferID]*paper{}}
		var codes []book.Code
		for i, normal := range []book.Side{book.Debit, book.Credit, book.Credit, book.Debit} {
			a := book.Account{Code: book.Code(fmt.Sprintf("run%d/%d", run, i)), Currency: usd, Normal: normal, MayOverdraw: i == 3}
			if _, err := do(db, func(ctx context.Context, tx *audit.Tx) (bool, error) { return book.OpenAccount(ctx, tx, a) }); err != nil {
				t.Fatal(err)
			}
			zero := func() map[book.Side]*big.Int {
				return map[book.Side]*big.Int{book.Debit: new(big.Int), book.Credit: new(big.Int)}
			}
			m.accounts[a.Code] = &sums{normal: normal, overdraw: a.MayOverdraw, pending: zero(), posted: zero()}
			codes = append(codes, a.Code)
		}
		id := rapid.Custom(func(t *rapid.T) book.TransferID {
			return book.TransferID(fmt.Sprintf("run%d-%d", run, rapid.IntRange(0, 9).Draw(t, "id")))
		})
		compare := func(t *rapid.T, got, want bool, gotErr, wantErr error) {
			if got != want || !errors.Is(gotErr, wantErr) {
				t.Fatalf("the database gave %v, %v; the model %v, %v", got, gotErr, want, wantErr)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"hold": func(t *rapid.T) {
				from := rapid.IntRange(0, 3).Draw(t, "debit")
				to := (from + rapid.IntRange(1, 3).Draw(t, "credit")) % 4
				a, err := money.FromInt(usd, rapid.Int64Range(1, 3).Draw(t, "cents"))
				if err != nil {
					t.Fatal(err)
				}
				tr := book.Transfer{ID: id.Draw(t, "id"), Debit: codes[from], Credit: codes[to], Amount: a}
				tr.Ref = string(tr.ID)
				got, gotErr := hold(db, tr)
				want, wantErr := m.hold(tr)
				compare(t, got, want, gotErr, wantErr)
			},
			"post": func(t *rapid.T) {
				which := id.Draw(t, "id")
				got, gotErr := post(db, which)
				want, wantErr := m.resolve(which, book.Posted)
				compare(t, got, want, gotErr, wantErr)
			},
			"void": func(t *rapid.T) {
				which := id.Draw(t, "id")
				got, gotErr := void(db, which)
				want, wantErr := m.resolve(which, book.Voided)
				compare(t, got, want, gotErr, wantErr)
			},
			"": func(t *rapid.T) { m.check(t, db) },
		})
	})
	trial(t, db)
}

func (m *model) check(t *rapid.T, db *audit.DB) {
	for code, want := range m.accounts {
		got, err := book.FindBalance(context.Background(), db.Reader(), code)
		if err != nil {
			t.Fatal(err)
		}
		for _, pair := range []struct {
			got  money.Amount
			want *big.Int
		}{
			{got.DebitsPending, want.pending[book.Debit]}, {got.DebitsPosted, want.posted[book.Debit]},
			{got.CreditsPending, want.pending[book.Credit]}, {got.CreditsPosted, want.posted[book.Credit]},
		} {
			if pair.got.Units().Cmp(pair.want) != 0 {
				t.Fatalf("account %s: %+v, the model has %+v", code, got, want)
			}
		}
	}
}
