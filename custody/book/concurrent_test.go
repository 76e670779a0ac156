package book_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

// insist repeats what lost to others too often: that is its caller's part, and not what these tests are about.
func insist(fn func() (bool, error)) (bool, error) {
	for {
		if changed, err := fn(); !errors.Is(err, audit.ErrContention) {
			return changed, err
		}
	}
}

// at runs fn n times at once and returns the errors, in no order.
func at(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = fn(i)
		})
	}
	close(start)
	all.Wait()
	return errs
}

func fund(t testing.TB, db *audit.DB, number string) {
	t.Helper()
	tr := book.Transfer{ID: "fund", Debit: "bank/USD", Credit: "suspense/USD", Amount: amount(t, number+" USD/7"), Ref: "fund"}
	if _, err := hold(db, tr); err != nil {
		t.Fatal(err)
	}
	if _, err := post(db, "fund"); err != nil {
		t.Fatal(err)
	}
}

func TestOneOfAHundredTakesTheWholeBalance(t *testing.T) {
	db := open(t, schematest.New(t, schema.Gateway))
	chart(t, db)
	fund(t, db, "100")
	whole := amount(t, "100 USD/7")
	won := 0
	for _, err := range at(100, func(i int) error {
		name := fmt.Sprintf("h%d", i)
		_, err := insist(func() (bool, error) {
			return hold(db, book.Transfer{ID: book.TransferID(name), Debit: "suspense/USD", Credit: "issued/USD", Amount: whole, Ref: name})
		})
		return err
	}) {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, book.ErrInsufficient):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d holds took the whole balance", won)
	}
	if got := trial(t, db); got != "bank/USD 100.0000000 (0.0000000) 0.0000000 (0.0000000)\n"+
		"issued/USD 0.0000000 (0.0000000) 0.0000000 (100.0000000)\nsuspense/USD 0.0000000 (100.0000000) 100.0000000 (0.0000000)" {
		t.Error(got)
	}
}

func TestTheSameTransferFromManySidesIsOne(t *testing.T) {
	db := open(t, schematest.New(t, schema.Gateway))
	chart(t, db)
	tr := book.Transfer{ID: "r1", Debit: "bank/USD", Credit: "suspense/USD", Amount: amount(t, "5 USD/7"), Ref: "r1"}
	for _, step := range []func() (bool, error){
		func() (bool, error) { return hold(db, tr) },
		func() (bool, error) { return post(db, "r1") },
	} {
		var mu sync.Mutex
		fresh := 0
		for _, err := range at(20, func(int) error {
			changed, err := insist(step)
			mu.Lock()
			defer mu.Unlock()
			if changed {
				fresh++
			}
			return err
		}) {
			if err != nil {
				t.Error(err)
			}
		}
		if fresh != 1 {
			t.Errorf("%d of 20 changed something", fresh)
		}
	}
	trial(t, db)
}

func TestPostOrVoidButNotBoth(t *testing.T) {
	db := open(t, schematest.New(t, schema.Gateway))
	chart(t, db)
	for round := range 10 {
		name := fmt.Sprintf("r%d", round)
		if _, err := hold(db, book.Transfer{ID: book.TransferID(name), Debit: "bank/USD", Credit: "suspense/USD", Amount: amount(t, "1 USD/7"), Ref: name}); err != nil {
			t.Fatal(err)
		}
		errs := at(8, func(i int) error {
			_, err := insist(func() (bool, error) {
				if i%2 == 0 {
					return post(db, book.TransferID(name))
				}
				return void(db, book.TransferID(name))
			})
			return err
		})
		lost := 0
		for _, err := range errs {
			if errors.Is(err, book.ErrResolved) {
				lost++
			} else if err != nil {
				t.Error(err)
			}
		}
		if lost != 4 {
			t.Errorf("round %d: %d of 8 came too late, want the 4 of one kind", round, lost)
		}
	}
	trial(t, db)
}

// Many clients move money in a circle at once, with holds, posts and voids; nothing appears and nothing is lost.
func TestMoneyInACircle(t *testing.T) {
	db := open(t, schematest.New(t, schema.Gateway))
	chart(t, db)
	fund(t, db, "10")
	circle := []book.Code{"suspense/USD", "issued/USD", "payable/USD", "suspense/USD"}
	for _, err := range at(12, func(client int) error {
		for i := range 12 {
			name := fmt.Sprintf("c%d-%d", client, i)
			from := (client + i) % 3
			tr := book.Transfer{ID: book.TransferID(name), Debit: circle[from], Credit: circle[from+1], Amount: amount(t, "3 USD/7"), Ref: name}
			_, err := insist(func() (bool, error) { return hold(db, tr) })
			if errors.Is(err, book.ErrInsufficient) {
				continue
			}
			if err != nil {
				return err
			}
			end := post
			if i%4 == 3 {
				end = void
			}
			if _, err := insist(func() (bool, error) { return end(db, tr.ID) }); err != nil {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Error(err)
		}
	}
	trial(t, db)
	tb, err := book.Trial(context.Background(), db.Reader())
	if err != nil {
		t.Fatal(err)
	}
	left := amount(t, "0 USD/7")
	for _, b := range tb.Balances {
		if b.Normal == book.Credit && b.Currency == left.Currency() {
			available, err := b.Available()
			if err == nil {
				left, err = left.Add(available)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if left != amount(t, "10 USD/7") {
		t.Errorf("10 went round, %s are left", left)
	}
}

// The server cuts the connection after the hold and before the commit.
func TestABrokenConnectionLeavesNothing(t *testing.T) {
	url, owner := schematest.NewWithOwner(t, schema.Gateway)
	db := open(t, url)
	chart(t, db)
	ctx := context.Background()
	killer, err := pgx.Connect(ctx, owner)
	if err != nil {
		t.Fatal(err)
	}
	defer killer.Close(ctx)
	tr := book.Transfer{ID: "r1", Debit: "bank/USD", Credit: "suspense/USD", Amount: amount(t, "5 USD/7"), Ref: "r1"}
	cut := func(ctx context.Context, tx *audit.Tx) (bool, error) {
		changed, err := book.Hold(ctx, tx, tr)
		if err != nil {
			return false, err
		}
		var pid int
		if err := tx.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			return false, err
		}
		_, err = killer.Exec(ctx, `SELECT pg_terminate_backend($1, 10000)`, pid)
		return changed, err
	}
	if _, err := do(db, cut); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("gave %v", err)
	}
	if got := trial(t, db); got != "" {
		t.Errorf("left\n%s", got)
	}
	if changed, err := hold(db, tr); err != nil || !changed {
		t.Errorf("again: %v, %v", changed, err)
	}
}
