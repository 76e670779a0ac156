package compliance_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pelletier/go-toml/v2"
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

// TestEnrolmentIsRepeatable: the second time changes and records nothing.
func TestEnrolmentIsRepeatable(t *testing.T) {
	ctx, db := context.Background(), open(t)
	a := account(t)
	for i := range 3 {
		var c compliance.Customer
		var isNew bool
		err := audit.Do(ctx, db, partner, func(ctx context.Context, tx *audit.Tx) (err error) {
			if c, isNew, err = compliance.Enrol(ctx, tx, compliance.Customer{Account: a, Partner: "p", Ref: "1", Status: compliance.StatusFrozen}); !isNew {
				return errors.Join(err, audit.ErrUnchanged)
			}
			return err
		})
		if err != nil || isNew != (i == 0) || c.Status != compliance.StatusActive || c.Account != a || c.Partner != "p" || c.Ref != "1" || c.Created.IsZero() {
			t.Fatalf("%d: %+v, new %t, %v", i, c, isNew, err)
		}
	}
	if n := records(t, db, "customer.enrolled"); n != 1 {
		t.Errorf("%d records", n)
	}
}

func records(t *testing.T, db *audit.DB, action string) (n int) {
	t.Helper()
	if err := db.Reader().QueryRow(context.Background(), `SELECT count(*) FROM audit.record WHERE action = $1`, action).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func do(t *testing.T, db *audit.DB, fn func(ctx context.Context, tx *audit.Tx) error) error {
	t.Helper()
	return audit.Do(context.Background(), db, partner, fn)
}

func enrol(t *testing.T, db *audit.DB, partnerName, ref string) protocol.AccountID {
	t.Helper()
	a := account(t)
	err := do(t, db, func(ctx context.Context, tx *audit.Tx) error {
		_, _, err := compliance.Enrol(ctx, tx, compliance.Customer{Account: a, Partner: partnerName, Ref: ref})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestStatus(t *testing.T) {
	ctx, db := context.Background(), open(t)
	a := enrol(t, db, "p", "1")
	set := func(who protocol.AccountID, s compliance.Status, why string) error {
		return do(t, db, func(ctx context.Context, tx *audit.Tx) error { return compliance.SetStatus(ctx, tx, who, s, why) })
	}
	for _, step := range []struct {
		s    compliance.Status
		why  string
		want error
		is   compliance.Status
	}{
		{compliance.StatusActive, "already", nil, compliance.StatusActive},
		{compliance.StatusFrozen, "", compliance.ErrInvalid, compliance.StatusActive},
		{0, "zero", compliance.ErrInvalid, compliance.StatusActive},
		{compliance.StatusFrozen, "court order", nil, compliance.StatusFrozen},
		{compliance.StatusFrozen, "again", nil, compliance.StatusFrozen},
		{compliance.StatusActive, "lifted", nil, compliance.StatusActive},
	} {
		if err := set(a, step.s, step.why); !errors.Is(err, step.want) {
			t.Errorf("%s: %v", step.why, err)
		}
		if c, err := compliance.CustomerByAccount(ctx, db.Reader(), a); err != nil || c.Status != step.is {
			t.Errorf("%s: %+v, %v", step.why, c, err)
		}
	}
	if err := set(account(t), compliance.StatusFrozen, "stranger"); !errors.Is(err, compliance.ErrUnknownCustomer) {
		t.Errorf("stranger: %v", err)
	}
	if f, u := records(t, db, "customer.frozen"), records(t, db, "customer.unfrozen"); f != 1 || u != 1 {
		t.Errorf("%d frozen, %d unfrozen", f, u)
	}
	if _, err := compliance.CustomerByAccount(ctx, db.Reader(), protocol.AccountID{}); !errors.Is(err, compliance.ErrUnknownCustomer) {
		t.Errorf("nobody: %v", err)
	}
}

func TestCustomers(t *testing.T) {
	ctx, db := context.Background(), open(t)
	for i := range 5 {
		enrol(t, db, "p", string(rune('a'+i)))
	}
	enrol(t, db, "q", "a")
	var all []compliance.Customer
	for page := (compliance.Page{Partner: "p", Limit: 2}); ; {
		got, err := compliance.Customers(ctx, db.Reader(), page)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			break
		}
		all = append(all, got...)
		page.After = got[len(got)-1].Account
	}
	seen := map[protocol.AccountID]bool{}
	for _, c := range all {
		if c.Partner != "p" || seen[c.Account] {
			t.Errorf("%+v", c)
		}
		seen[c.Account] = true
	}
	if len(all) != 5 {
		t.Errorf("%d customers", len(all))
	}
	if got, err := compliance.Customers(ctx, db.Reader(), compliance.Page{Limit: compliance.MaxPage}); err != nil || len(got) != 6 {
		t.Errorf("%d customers in all, %v", len(got), err)
	}
	for _, limit := range []int{0, -1, compliance.MaxPage + 1} {
		if _, err := compliance.Customers(ctx, db.Reader(), compliance.Page{Limit: limit}); !errors.Is(err, compliance.ErrInvalid) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
}

// TestFirstAnswerStays: after a crash, a freeze, an unfreeze or a new limit, the same ref has the same answer.
func TestFirstAnswerStays(t *testing.T) {
	db := open(t)
	gate := newGate(t, "10")
	a := enrol(t, db, "p", "1")
	check := func(g *compliance.Gate, ref, amount string) error {
		return do(t, db, func(ctx context.Context, tx *audit.Tx) error {
			_, err := g.Check(ctx, tx, compliance.Movement{Ref: ref, Kind: compliance.Deposit, Subject: a, Amount: usd(t, amount)})
			if _, rerr := tx.Record(ctx, audit.Event{Action: "test.done", Subject: ref}); rerr != nil {
				return rerr
			}
			if errors.Is(err, compliance.ErrRefused) {
				isRefusal(t, err)
				return nil
			}
			return err
		})
	}
	status := func(s compliance.Status) {
		if err := do(t, db, func(ctx context.Context, tx *audit.Tx) error { return compliance.SetStatus(ctx, tx, a, s, "test") }); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []func() error{
		func() error { return check(gate, "d/1", "5") },
		func() error { status(compliance.StatusFrozen); return check(gate, "d/1", "5") },
		func() error { return check(gate, "d/2", "5") },
		func() error { status(compliance.StatusActive); return check(gate, "d/2", "5") },
		func() error { return check(newGate(t, "1"), "d/1", "5") },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if c, r := records(t, db, "movement.cleared"), records(t, db, "movement.refused"); c != 1 || r != 1 {
		t.Errorf("%d cleared, %d refused", c, r)
	}
	var reason string
	if err := db.Reader().QueryRow(context.Background(), `SELECT reason FROM compliance.decision WHERE ref = 'd/2'`).Scan(&reason); err != nil || reason != "frozen" {
		t.Errorf("%q, %v", reason, err)
	}
}

func isRefusal(t *testing.T, err error) {
	t.Helper()
	var refusal *compliance.Refusal
	if !errors.As(err, &refusal) || refusal.Reason == "" || refusal.Ref == "" {
		t.Errorf("%v is no refusal", err)
	}
}

func newGate(t *testing.T, limit string) *compliance.Gate {
	t.Helper()
	gate, err := compliance.NewGate(compliance.Config{Limits: []compliance.Limit{{Kind: compliance.Deposit, Currency: usd(t, "1").Currency(), Max: limit}}})
	if err != nil {
		t.Fatal(err)
	}
	return gate
}

// TestOneRefAtOnce: many ask about one ref at the same time; there is one decision, and all get it.
func TestOneRefAtOnce(t *testing.T) {
	db, gate := open(t), newGate(t, "10")
	a := enrol(t, db, "p", "1")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			err := do(t, db, func(ctx context.Context, tx *audit.Tx) error {
				c, err := gate.Check(ctx, tx, compliance.Movement{Ref: "d/1", Kind: compliance.Deposit, Subject: a, Amount: usd(t, "5")})
				if err != nil {
					return err
				}
				if _, err := tx.Record(ctx, audit.Event{Action: "test.done", Subject: string(rune('a' + i))}); err != nil {
					return err
				}
				return c.Spend("d/1", usd(t, "5"))
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := records(t, db, "movement.cleared"); n != 1 {
		t.Errorf("%d decisions", n)
	}
}

// TestClearanceDiesWithItsTransaction: kept for another one it is worth nothing, committed or not.
func TestClearanceDiesWithItsTransaction(t *testing.T) {
	db, gate := open(t), newGate(t, "10")
	for _, end := range []error{nil, errors.New("rolled back")} {
		var kept *compliance.Clearance
		m := compliance.Movement{Ref: "r/1", Kind: compliance.Receipt, Amount: usd(t, "5")}
		if err := do(t, db, func(ctx context.Context, tx *audit.Tx) (err error) {
			if kept, err = gate.Check(ctx, tx, m); err == nil {
				_, err = tx.Record(ctx, audit.Event{Action: "test.done", Subject: "x"})
			}
			return errors.Join(err, end)
		}); !errors.Is(err, end) {
			t.Fatal(err)
		}
		if err := kept.Spend(m.Ref, m.Amount); !errors.Is(err, compliance.ErrClearance) {
			t.Errorf("after %v: %v", end, err)
		}
	}
	var first *compliance.Clearance
	err := do(t, db, func(ctx context.Context, tx *audit.Tx) error {
		m := compliance.Movement{Ref: "r/2", Kind: compliance.Receipt, Amount: usd(t, "5")}
		if first == nil { // refused by the database, so that it is run again
			var err error
			if first, err = gate.Check(ctx, tx, m); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$`)
			return err
		}
		if err := first.SpendIn(tx, m.Ref, m.Amount); !errors.Is(err, compliance.ErrClearance) {
			t.Errorf("at the next try: %v", err)
		}
		if err := first.Spend(m.Ref, m.Amount); !errors.Is(err, compliance.ErrClearance) {
			t.Errorf("at the next try: %v", err)
		}
		c, err := gate.Check(ctx, tx, m)
		if err != nil {
			return err
		}
		return c.SpendIn(tx, m.Ref, m.Amount)
	})
	if err != nil {
		t.Error(err)
	}
	var none *compliance.Clearance
	for _, c := range []*compliance.Clearance{none, {}} {
		if err := c.Spend("r/1", usd(t, "5")); !errors.Is(err, compliance.ErrClearance) {
			t.Errorf("home-made: %v", err)
		}
	}
}

func TestConfig(t *testing.T) {
	u := usd(t, "1").Currency()
	for name, c := range map[string]compliance.Config{
		"no kind":     {Limits: []compliance.Limit{{Currency: u, Max: "1"}}},
		"receipt":     {Limits: []compliance.Limit{{Kind: compliance.Receipt, Currency: u, Max: "1"}}},
		"no currency": {Limits: []compliance.Limit{{Kind: compliance.Deposit, Max: "1"}}},
		"no amount":   {Limits: []compliance.Limit{{Kind: compliance.Deposit, Currency: u}}},
		"negative":    {Limits: []compliance.Limit{{Kind: compliance.Deposit, Currency: u, Max: "-1"}}},
		"too fine":    {Limits: []compliance.Limit{{Kind: compliance.Deposit, Currency: u, Max: "0.00000001"}}},
		"twice":       {Limits: []compliance.Limit{{Kind: compliance.Deposit, Currency: u, Max: "1"}, {Kind: compliance.Deposit, Currency: u, Max: "2"}}},
	} {
		if err := c.Validate(); !errors.Is(err, compliance.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := compliance.NewGate(c); err == nil {
			t.Errorf("%s makes a gate", name)
		}
	}
	var c compliance.Config
	text := "[[limit]]\nkind = \"deposit\"\ncurrency = \"USD/7\"\nmax = \"10000.00\"\n"
	if err := toml.Unmarshal([]byte(text), &c); err != nil || c.Validate() != nil || len(c.Limits) != 1 || c.Limits[0].Kind != compliance.Deposit {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestNames(t *testing.T) {
	for _, k := range []compliance.MovementKind{compliance.Receipt, compliance.Deposit, compliance.Withdrawal, compliance.Payout, compliance.Refund} {
		text, err := k.MarshalText()
		var back compliance.MovementKind
		if err != nil || back.UnmarshalText(text) != nil || back != k {
			t.Errorf("%d is %q is %d, %v", k, text, back, err)
		}
	}
	for _, s := range []compliance.Status{compliance.StatusActive, compliance.StatusFrozen} {
		text, err := s.MarshalText()
		var back compliance.Status
		if err != nil || back.UnmarshalText(text) != nil || back != s {
			t.Errorf("%d is %q is %d, %v", s, text, back, err)
		}
	}
	var k compliance.MovementKind
	var s compliance.Status
	_, kerr := k.MarshalText()
	_, serr := s.MarshalText()
	for _, err := range []error{kerr, serr, k.UnmarshalText([]byte("")), s.UnmarshalText([]byte("x"))} {
		if !errors.Is(err, compliance.ErrInvalid) {
			t.Errorf("got %v", err)
		}
	}
}

// TestRoleCannotUndo: with the program's database password decisions can't be changed and customers not removed.
func TestRoleCannotUndo(t *testing.T) {
	role, owner := schematest.NewWithOwner(t, schema.Gateway)
	for url, want := range map[string]string{role: "42501", owner: "P0001"} {
		conn, err := pgx.Connect(context.Background(), url)
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range []string{`UPDATE compliance.decision SET outcome = 'cleared'`, `DELETE FROM compliance.decision`, `TRUNCATE compliance.decision`,
			`DELETE FROM compliance.customer`, `TRUNCATE compliance.customer`} {
			_, err := conn.Exec(context.Background(), statement)
			var pg *pgconn.PgError
			if !errors.As(err, &pg) || pg.Code != want {
				t.Errorf("%s: %v, want %s", statement, err, want)
			}
		}
		_, err = conn.Exec(context.Background(), `INSERT INTO compliance.decision (ref, kind, currency, units, outcome, reason) VALUES ('x', 'receipt', 'USD/7', 'NaN', 'cleared', '')`)
		if pg := new(pgconn.PgError); !errors.As(err, &pg) || pg.Code != "23514" {
			t.Errorf("a decision on no number: %v", err)
		}
		_, err = conn.Exec(context.Background(), `UPDATE compliance.customer SET account = account`)
		if (err == nil) != (url == owner) {
			t.Errorf("%s changes an account: %v", url, err)
		}
		if err := conn.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}
