package custody_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

func TestMain(m *testing.M) { schematest.Main(m) }

var worker = audit.Actor{Kind: "worker", Name: "test"}

// house is a service on a database of its own with two accounts.
type house struct {
	t    *testing.T
	db   *audit.DB
	gate *compliance.Gate
	*custody.Service
}

func newHouse(t *testing.T) *house {
	t.Helper()
	db, err := audit.Open(context.Background(), schematest.New(t, schema.Gateway), 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	gate, err := compliance.NewGate(compliance.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, db: db, gate: gate, Service: custody.New()}
	for code, normal := range map[book.Code]book.Side{"bank/USD": book.Debit, "suspense/USD": book.Credit} {
		h.must(func(ctx context.Context, tx *audit.Tx) (audit.RecordID, error) {
			return h.OpenAccount(ctx, tx, book.Account{Code: code, Currency: h.usd("1").Currency(), Normal: normal})
		})
	}
	return h
}

func (h *house) usd(s string) money.Amount {
	h.t.Helper()
	c, err := money.NewCurrency("USD", 7)
	if err != nil {
		h.t.Fatal(err)
	}
	a, err := money.Parse(c, s)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

type step = func(ctx context.Context, tx *audit.Tx) (audit.RecordID, error)

// do runs fn in a transaction and returns the record's id.
func (h *house) do(fn step) (id audit.RecordID, err error) {
	err = audit.Do(context.Background(), h.db, worker, func(ctx context.Context, tx *audit.Tx) error {
		if id, err = fn(ctx, tx); err != nil {
			return err
		}
		if id == "" {
			return audit.ErrUnchanged
		}
		return nil
	})
	return id, err
}

func (h *house) must(fn step) audit.RecordID {
	h.t.Helper()
	id, err := h.do(fn)
	if err != nil || id == "" {
		h.t.Fatalf("record %q, %v", id, err)
	}
	return id
}

// receive is a receipt of 5 as it should be made, except for what spoil does to the transfer.
func (h *house) receive(spoil func(t *book.Transfer)) step {
	return func(ctx context.Context, tx *audit.Tx) (audit.RecordID, error) {
		t := book.Transfer{ID: "r1", Debit: "bank/USD", Credit: "suspense/USD", Amount: h.usd("5"), Ref: "receipt/1"}
		c, err := h.gate.Check(ctx, tx, compliance.Movement{Ref: t.Ref, Kind: compliance.Receipt, Amount: t.Amount})
		if err != nil {
			return "", err
		}
		if spoil != nil {
			spoil(&t)
		}
		return h.Hold(ctx, tx, c, t)
	}
}

func (h *house) balance(code book.Code, pending, posted string) {
	h.t.Helper()
	b, err := h.Balance(context.Background(), h.db.Reader(), code)
	if err != nil || b.DebitsPending != h.usd(pending) || b.DebitsPosted != h.usd(posted) {
		h.t.Errorf("%s: %+v, %v, want %s pending and %s posted", code, b, err, pending, posted)
	}
}

func (h *house) recorded(id audit.RecordID, action, subject string) {
	h.t.Helper()
	var gotAction, body string
	err := h.db.Reader().QueryRow(context.Background(), `SELECT action, convert_from(body, 'UTF8') FROM audit.record WHERE id = $1`, string(id)).Scan(&gotAction, &body)
	if err != nil || gotAction != action {
		h.t.Fatalf("%s: %s, %v", action, gotAction, err)
	}
	want := `"action":"` + action + `","actor":{"kind":"worker","name":"test"},"at":"`
	data := `"data":{"amount":"5.0000000","credit":"suspense/USD","currency":"USD/7","debit":"bank/USD","ref":"receipt/1"}`
	for _, part := range []string{want, data, `"subject":"` + subject + `"`} {
		if !strings.Contains(body, part) {
			h.t.Errorf("no %s in %s", part, body)
		}
	}
}

func TestHoldAndPost(t *testing.T) {
	h := newHouse(t)
	h.recorded(h.must(h.receive(nil)), "transfer.held", "r1")
	h.balance("bank/USD", "5", "0")
	post := func(ctx context.Context, tx *audit.Tx) (audit.RecordID, error) { return h.Post(ctx, tx, "r1") }
	h.recorded(h.must(post), "transfer.posted", "r1")
	h.balance("bank/USD", "0", "5")
	for name, again := range map[string]step{"hold": h.receive(nil), "post": post} {
		if id, err := h.do(again); err != nil || id != "" {
			t.Errorf("%s again: record %q, %v", name, id, err)
		}
	}
	void := func(ctx context.Context, tx *audit.Tx) (audit.RecordID, error) { return h.Void(ctx, tx, "r1") }
	if _, err := h.do(void); !errors.Is(err, book.ErrResolved) {
		t.Errorf("void: %v", err)
	}
	tb, err := h.Trial(context.Background(), h.db.Reader())
	if err != nil || tb.Check() != nil || len(tb.Balances) != 2 {
		t.Errorf("%+v, %v", tb, err)
	}
}

func TestHoldAndVoid(t *testing.T) {
	h := newHouse(t)
	h.must(h.receive(nil))
	void := func(ctx context.Context, tx *audit.Tx) (audit.RecordID, error) { return h.Void(ctx, tx, "r1") }
	h.recorded(h.must(void), "transfer.voided", "r1")
	h.balance("bank/USD", "0", "0")
	if id, err := h.do(void); err != nil || id != "" {
		t.Errorf("again: record %q, %v", id, err)
	}
}

// Without the clearance of this very movement nothing moves.
func TestNoMoneyMovesWithoutAClearance(t *testing.T) {
	h := newHouse(t)
	bare := func(c *compliance.Clearance) step {
		return func(ctx context.Context, tx *audit.Tx) (audit.RecordID, error) {
			return h.Hold(ctx, tx, c, book.Transfer{ID: "r1", Debit: "bank/USD", Credit: "suspense/USD", Amount: h.usd("5"), Ref: "receipt/1"})
		}
	}
	var old *compliance.Clearance
	for name, fn := range map[string]step{
		"none":           bare(nil),
		"made by hand":   bare(&compliance.Clearance{}),
		"another amount": h.receive(func(t *book.Transfer) { t.Amount = h.usd("5.0000001") }),
		"another ref":    h.receive(func(t *book.Transfer) { t.Ref = "receipt/2" }),
		"twice": func(ctx context.Context, tx *audit.Tx) (audit.RecordID, error) {
			c, err := h.gate.Check(ctx, tx, compliance.Movement{Ref: "receipt/1", Kind: compliance.Receipt, Amount: h.usd("5")})
			if err != nil {
				return "", err
			}
			if _, err := bare(c)(ctx, tx); err != nil {
				return "", err
			}
			return h.Hold(ctx, tx, c, book.Transfer{ID: "r2", Debit: "bank/USD", Credit: "suspense/USD", Amount: h.usd("5"), Ref: "receipt/1"})
		},
		"from another transaction": func(ctx context.Context, tx *audit.Tx) (audit.RecordID, error) { return bare(old)(ctx, tx) },
	} {
		if name == "from another transaction" {
			_, err := h.do(func(ctx context.Context, tx *audit.Tx) (_ audit.RecordID, err error) {
				old, err = h.gate.Check(ctx, tx, compliance.Movement{Ref: "receipt/1", Kind: compliance.Receipt, Amount: h.usd("5")})
				return "", err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := h.do(fn); !errors.Is(err, compliance.ErrClearance) {
			t.Errorf("%s: %v", name, err)
		}
		h.balance("bank/USD", "0", "0")
	}
}

// A clearance of one open transaction moves nothing in another: the decision could roll back, and the money not.
func TestAClearanceStaysInItsTransaction(t *testing.T) {
	h := newHouse(t)
	gone := errors.New("rolled back")
	transfer := book.Transfer{ID: "r1", Debit: "bank/USD", Credit: "suspense/USD", Amount: h.usd("5"), Ref: "receipt/1"}
	_, err := h.do(func(ctx context.Context, outer *audit.Tx) (audit.RecordID, error) {
		c, err := h.gate.Check(ctx, outer, compliance.Movement{Ref: transfer.Ref, Kind: compliance.Receipt, Amount: transfer.Amount})
		if err != nil {
			return "", err
		}
		if _, err := h.do(func(ctx context.Context, inner *audit.Tx) (audit.RecordID, error) {
			return h.Hold(ctx, inner, c, transfer)
		}); !errors.Is(err, compliance.ErrClearance) {
			t.Errorf("in another open transaction: %v", err)
		}
		if err := c.SpendIn(nil, transfer.Ref, transfer.Amount); !errors.Is(err, compliance.ErrClearance) {
			t.Errorf("in none: %v", err)
		}
		if _, err := h.Hold(ctx, outer, c, transfer); err != nil {
			t.Errorf("in its own: %v", err) // what failed used nothing up
		}
		return "", gone
	})
	if !errors.Is(err, gone) {
		t.Fatal(err)
	}
	h.balance("bank/USD", "0", "0")
}

// A movement that was cleared again, after a crash that hid the first hold, moves nothing under another id.
func TestAMovementIsHeldOnce(t *testing.T) {
	h := newHouse(t)
	h.must(h.receive(nil))
	if _, err := h.do(h.receive(func(t *book.Transfer) { t.ID = "r2" })); !errors.Is(err, book.ErrConflict) {
		t.Errorf("gave %v", err)
	}
	h.balance("bank/USD", "5", "0")
}

func TestOpenAccountAgain(t *testing.T) {
	h := newHouse(t)
	again := func(normal book.Side) step {
		return func(ctx context.Context, tx *audit.Tx) (audit.RecordID, error) {
			return h.OpenAccount(ctx, tx, book.Account{Code: "bank/USD", Currency: h.usd("1").Currency(), Normal: normal})
		}
	}
	if id, err := h.do(again(book.Debit)); err != nil || id != "" {
		t.Errorf("again: record %q, %v", id, err)
	}
	if _, err := h.do(again(book.Credit)); !errors.Is(err, book.ErrConflict) {
		t.Errorf("on the other side: %v", err)
	}
}
