package book_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

func TestTransfers(t *testing.T) {
	db := open(t, schematest.New(t, schema.Gateway))
	chart(t, db)
	fund(t, db, "100")
	for i := range 9 {
		id := fmt.Sprintf("d%d", i)
		tr := book.Transfer{ID: book.TransferID(id), Debit: "suspense/USD", Credit: "issued/USD", Amount: amount(t, "1 USD/7"), Ref: "deposit/" + id}
		if _, err := hold(db, tr); err != nil {
			t.Fatal(err)
		}
		end := map[int]func(*audit.DB, book.TransferID) (bool, error){1: post, 2: void}[i%3]
		if end == nil {
			continue
		}
		if _, err := end(db, tr.ID); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		filter book.Filter
		want   string
	}{
		{book.Filter{}, "[fund d0 d1 d2 d3 d4 d5 d6 d7 d8]"},
		{book.Filter{Account: "bank/USD"}, "[fund]"},
		{book.Filter{Account: "issued/USD"}, "[d0 d1 d2 d3 d4 d5 d6 d7 d8]"},
		{book.Filter{Account: "issued/USD", State: book.Pending}, "[d0 d3 d6]"},
		{book.Filter{State: book.Posted}, "[fund d1 d4 d7]"},
		{book.Filter{State: book.Voided}, "[d2 d5 d8]"},
		{book.Filter{Ref: "deposit/d5"}, "[d5]"},
		{book.Filter{Ref: "deposit/d5", State: book.Pending}, "[]"},
		{book.Filter{Account: "nowhere/USD"}, "[]"},
	} {
		for _, limit := range []int{1, 3, book.MaxPage} {
			if got := fmt.Sprint(walk(t, db, c.filter, limit)); got != c.want {
				t.Errorf("%+v by %d: %s, want %s", c.filter, limit, got, c.want)
			}
		}
	}
	for _, p := range []book.Page{{}, {Limit: book.MaxPage + 1}, {Limit: -1}, {Limit: 1, After: -1}} {
		if _, err := book.Transfers(context.Background(), db.Reader(), book.Filter{}, p); !errors.Is(err, book.ErrInvalid) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// walk reads all pages.
func walk(t *testing.T, db *audit.DB, f book.Filter, limit int) []book.TransferID {
	t.Helper()
	ids := []book.TransferID{}
	p := book.Page{Limit: limit}
	for {
		entries, err := book.Transfers(context.Background(), db.Reader(), f, p)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			ids = append(ids, e.ID)
			p.After = e.N
			if (e.State == book.Pending) != e.Resolved.IsZero() || e.Created.IsZero() || e.Amount.IsZero() {
				t.Errorf("entry %+v", e)
			}
		}
		if len(entries) < limit {
			return ids
		}
	}
}

func TestOpenAccount(t *testing.T) {
	db := open(t, schematest.New(t, schema.Gateway))
	usd := currency(t, "USD/7")
	tryOpen := func(a book.Account) (bool, error) {
		return do(db, func(ctx context.Context, tx *audit.Tx) (bool, error) { return book.OpenAccount(ctx, tx, a) })
	}
	good := book.Account{Code: "issued/USD", Currency: usd, Normal: book.Credit}
	for i, want := range []bool{true, false} {
		if changed, err := tryOpen(good); err != nil || changed != want {
			t.Errorf("try %d: %v, %v", i, changed, err)
		}
	}
	for _, other := range []book.Account{
		{Code: "issued/USD", Currency: usd, Normal: book.Debit},
		{Code: "issued/USD", Currency: currency(t, "USD/2"), Normal: book.Credit},
		{Code: "issued/USD", Currency: usd, Normal: book.Credit, MayOverdraw: true},
	} {
		if _, err := tryOpen(other); !errors.Is(err, book.ErrConflict) {
			t.Errorf("%+v: %v", other, err)
		}
	}
	for _, bad := range []book.Account{
		{}, {Code: "issued", Currency: usd, Normal: book.Credit}, {Code: "Issued/USD", Currency: usd, Normal: book.Credit},
		{Code: "issued/", Currency: usd, Normal: book.Credit}, {Code: "issued/U SD", Currency: usd, Normal: book.Credit},
		{Code: "a/b", Normal: book.Credit}, {Code: "a/b", Currency: usd}, {Code: "a/b", Currency: usd, Normal: 3},
	} {
		if _, err := tryOpen(bad); !errors.Is(err, book.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := book.FindBalance(context.Background(), db.Reader(), "nowhere/USD"); !errors.Is(err, book.ErrNotFound) {
		t.Error(err)
	}
	if _, err := book.Find(context.Background(), db.Reader(), "nothing"); !errors.Is(err, book.ErrNotFound) {
		t.Error(err)
	}
}

// One cleared movement has one transfer, also under another id.
func TestARefHasOneTransfer(t *testing.T) {
	db := open(t, schematest.New(t, schema.Gateway))
	chart(t, db)
	fund(t, db, "100")
	second := book.Transfer{ID: "fund2", Debit: "bank/USD", Credit: "suspense/USD", Amount: amount(t, "100 USD/7"), Ref: "fund"}
	if _, err := hold(db, second); !errors.Is(err, book.ErrConflict) {
		t.Errorf("gave %v", err)
	}
	trial(t, db)
}
