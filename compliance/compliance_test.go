package compliance_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stellar/go-stellar-sdk/keypair"

	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
	"github.com/diamante/gateway/node/protocol"
)

func TestMain(m *testing.M) { schematest.Main(m) }

var partner = audit.Actor{Kind: "partner", Name: "test"}

func account(t *testing.T) protocol.AccountID {
	t.Helper()
	id, err := protocol.ParseAccountID(keypair.MustRandom().Address())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func usd(t *testing.T, s string) money.Amount {
	t.Helper()
	c, err := money.NewCurrency("USD", 7)
	if err != nil {
		t.Fatal(err)
	}
	a, err := money.Parse(c, s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func open(t *testing.T) *audit.DB {
	t.Helper()
	db, err := audit.Open(context.Background(), schematest.New(t, schema.Gateway), 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func TestGate(t *testing.T) {
	ctx, db := context.Background(), open(t)
	gate, err := compliance.NewGate(compliance.Config{Limits: []compliance.Limit{{Kind: compliance.Deposit, Currency: usd(t, "1").Currency(), Max: "1000"}}})
	if err != nil {
		t.Fatal(err)
	}
	known, frozen, stranger := account(t), account(t), account(t)
	err = audit.Do(ctx, db, partner, func(ctx context.Context, tx *audit.Tx) error {
		for i, a := range []protocol.AccountID{known, frozen} {
			if _, _, err := compliance.Enrol(ctx, tx, compliance.Customer{Account: a, Partner: "p", Ref: string(rune('a' + i))}); err != nil {
				return err
			}
		}
		return compliance.SetStatus(ctx, tx, frozen, compliance.StatusFrozen, "test")
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		m      compliance.Movement
		reason compliance.Reason
	}{
		{"customer", compliance.Movement{Ref: "d/1", Kind: compliance.Deposit, Subject: known, Amount: usd(t, "1000")}, ""},
		{"over limit", compliance.Movement{Ref: "d/2", Kind: compliance.Deposit, Subject: known, Amount: usd(t, "1000.0000001")}, compliance.ReasonOverLimit},
		{"no limit, no movement", compliance.Movement{Ref: "w/1", Kind: compliance.Withdrawal, Subject: known, Amount: usd(t, "2")}, compliance.ReasonNoLimit},
		{"frozen", compliance.Movement{Ref: "d/3", Kind: compliance.Deposit, Subject: frozen, Amount: usd(t, "1")}, compliance.ReasonFrozen},
		{"stranger", compliance.Movement{Ref: "w/2", Kind: compliance.Withdrawal, Subject: stranger, Amount: usd(t, "1")}, compliance.ReasonNotEnrolled},
		{"receipt", compliance.Movement{Ref: "r/1", Kind: compliance.Receipt, Amount: usd(t, "99999")}, ""},
		{"the same again", compliance.Movement{Ref: "d/2", Kind: compliance.Deposit, Subject: known, Amount: usd(t, "1000.0000001")}, compliance.ReasonOverLimit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := audit.Do(ctx, db, partner, func(ctx context.Context, tx *audit.Tx) error {
				c, err := gate.Check(ctx, tx, tt.m)
				var refusal *compliance.Refusal
				if errors.As(err, &refusal) != (tt.reason != "") || refusal != nil && refusal.Reason != tt.reason {
					t.Errorf("got %v, want reason %q", err, tt.reason)
				}
				if (c != nil) != (tt.reason == "") {
					t.Errorf("clearance %v", c)
				}
				if c != nil && (c.Spend("other", tt.m.Amount) == nil || c.Spend(tt.m.Ref, usd(t, "7")) == nil ||
					c.Spend(tt.m.Ref, tt.m.Amount) != nil || c.Spend(tt.m.Ref, tt.m.Amount) == nil) {
					t.Error("a clearance must cover its own movement, once")
				}
				_, err = tx.Record(ctx, audit.Event{Action: "test.done", Subject: tt.name})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestGateRefusesUnclearMovements(t *testing.T) {
	ctx, db := context.Background(), open(t)
	gate, err := compliance.NewGate(compliance.Config{})
	if err != nil {
		t.Fatal(err)
	}
	a := account(t)
	for name, m := range map[string]compliance.Movement{
		"no ref":      {Kind: compliance.Receipt, Amount: usd(t, "1")},
		"blank ref":   {Ref: "a b", Kind: compliance.Receipt, Amount: usd(t, "1")},
		"no kind":     {Ref: "x", Subject: a, Amount: usd(t, "1")},
		"no customer": {Ref: "x", Kind: compliance.Deposit, Amount: usd(t, "1")},
		"no amount":   {Ref: "x", Kind: compliance.Deposit, Subject: a},
		"zero":        {Ref: "x", Kind: compliance.Deposit, Subject: a, Amount: usd(t, "0")},
	} {
		err := audit.Do(ctx, db, partner, func(ctx context.Context, tx *audit.Tx) error {
			_, err := gate.Check(ctx, tx, m)
			return err
		})
		if err == nil {
			t.Errorf("%s: cleared", name)
		}
	}
}

// TestOneRefOneMovement: a ref that was decided cannot be used for another amount.
func TestOneRefOneMovement(t *testing.T) {
	ctx, db := context.Background(), open(t)
	gate, err := compliance.NewGate(compliance.Config{})
	if err != nil {
		t.Fatal(err)
	}
	check := func(amount string) error {
		return audit.Do(ctx, db, partner, func(ctx context.Context, tx *audit.Tx) error {
			_, err := gate.Check(ctx, tx, compliance.Movement{Ref: "r", Kind: compliance.Receipt, Amount: usd(t, amount)})
			return err
		})
	}
	if err := check("1"); err != nil {
		t.Fatal(err)
	}
	if err := check("2"); !errors.Is(err, compliance.ErrRefUsed) {
		t.Errorf("got %v", err)
	}
}

func TestEnrolment(t *testing.T) {
	ctx, db := context.Background(), open(t)
	a, b := account(t), account(t)
	tests := []struct {
		name string
		c    compliance.Customer
		want error
	}{
		{"new", compliance.Customer{Account: a, Partner: "p", Ref: "1"}, nil},
		{"other id", compliance.Customer{Account: a, Partner: "p", Ref: "2"}, compliance.ErrEnrolled},
		{"other partner", compliance.Customer{Account: a, Partner: "q", Ref: "1"}, compliance.ErrEnrolled},
		{"id taken", compliance.Customer{Account: b, Partner: "p", Ref: "1"}, compliance.ErrEnrolled},
		{"no id", compliance.Customer{Account: b, Partner: "p"}, compliance.ErrInvalid},
	}
	for _, tt := range tests {
		err := audit.Do(ctx, db, partner, func(ctx context.Context, tx *audit.Tx) error {
			_, _, err := compliance.Enrol(ctx, tx, tt.c)
			return err
		})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}
