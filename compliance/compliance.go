// Package compliance decides whether money may move. Nothing of the book moves without its Clearance.
//
// Gate.Check judges one Movement inside the transaction that makes it, and stores its decision there. Cleared, it gives
// a *Clearance bound to that movement, which the book spends; held, it gives a *Refusal that says why. The decision is
// for ever: asking again under the same Ref, after a crash or on purpose, gives the first answer. Whoever wants a
// refused movement judged anew asks under a new Ref.
//
//	c, err := gate.Check(ctx, tx, compliance.Movement{Ref: "deposit/" + id, Kind: compliance.Deposit, Subject: who, Amount: a})
//	var refusal *compliance.Refusal
//	switch {
//	case errors.As(err, &refusal): // put it on hold with refusal.Reason, and commit: the decision is part of it
//	case err != nil:               // return err
//	}
//	err = custody.Hold(ctx, tx, c, ...) // calls c.SpendIn
//
// Customers are enrolled by a partner (Enrol) and can be frozen (SetStatus).
package compliance

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/node/protocol"
)

var (
	// ErrRefused: the movement is held; every *Refusal is one.
	ErrRefused = errors.New("compliance: movement refused")
	// ErrInvalid: the movement, the customer or the configuration is malformed. A fault of the caller.
	ErrInvalid = errors.New("compliance: invalid")
	// ErrRefUsed: the movement's Ref was decided for another movement. A fault of the caller.
	ErrRefUsed = errors.New("compliance: ref was decided for another movement")
	// ErrClearance: the clearance is for another movement, was spent, or outlived its transaction.
	ErrClearance = errors.New("compliance: no valid clearance")
)

// MaxRef bounds Movement.Ref and the names of customers, in bytes.
const MaxRef = 128

// MovementKind says why money moves. Zero is invalid.
type MovementKind uint8

// The kinds of movement.
const (
	// Receipt: money arrived at our bank. It did so whatever we think of it, so it always clears.
	Receipt MovementKind = iota + 1
	// Deposit: received money becomes a customer's credit.
	Deposit
	// Withdrawal: a customer's credit becomes a debt to pay out.
	Withdrawal
	// Payout: the debt is paid through the bank.
	Payout
	// Refund: what came in goes back to where it came from.
	Refund
)

var kindNames = map[MovementKind]string{Receipt: "receipt", Deposit: "deposit", Withdrawal: "withdrawal", Payout: "payout", Refund: "refund"}

// String returns the kind's name in decisions and configuration, "" for an invalid one.
func (k MovementKind) String() string { return kindNames[k] }

// MarshalText returns the name; an invalid kind is an error.
func (k MovementKind) MarshalText() ([]byte, error) {
	if kindNames[k] == "" {
		return nil, fmt.Errorf("%w: movement kind %d", ErrInvalid, k)
	}
	return []byte(kindNames[k]), nil
}

// UnmarshalText reads a name.
func (k *MovementKind) UnmarshalText(b []byte) error {
	for kind, name := range kindNames {
		if name == string(b) {
			*k = kind
			return nil
		}
	}
	return fmt.Errorf("%w: movement kind %.40q", ErrInvalid, b)
}

// Movement is one movement of money, about to be made.
type Movement struct {
	Ref     string // unique name of this one movement, such as "deposit/<id>"; printable ASCII without blanks
	Kind    MovementKind
	Subject protocol.AccountID // the customer; zero only for a Receipt, and a Payout to none
	Amount  money.Amount       // positive
}

func (m Movement) validate() error {
	if kindNames[m.Kind] == "" {
		return fmt.Errorf("%w: movement kind %d", ErrInvalid, m.Kind)
	}
	if err := validName("ref", m.Ref); err != nil {
		return err
	}
	if m.Amount.Currency().IsZero() || m.Amount.IsZero() {
		return fmt.Errorf("%w: movement %s of nothing", ErrInvalid, m.Ref)
	}
	if m.Subject.IsZero() && m.Kind != Receipt && m.Kind != Payout {
		return fmt.Errorf("%w: %s %s has no subject", ErrInvalid, m.Kind, m.Ref)
	}
	return nil
}

func validName(what, s string) error {
	if len(s) == 0 || len(s) > MaxRef {
		return fmt.Errorf("%w: %s of %d bytes, need 1 to %d", ErrInvalid, what, len(s), MaxRef)
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return fmt.Errorf("%w: %s %q has a character that is not printable ASCII", ErrInvalid, what, s)
		}
	}
	return nil
}

// Reason says in one stable word why a movement is held. It is stored and shown.
type Reason string

// The reasons of this version.
const (
	ReasonNotEnrolled Reason = "not_enrolled" // the subject is no customer
	ReasonFrozen      Reason = "frozen"       // the subject is frozen
	ReasonOverLimit   Reason = "over_limit"   // more than one movement of this kind may be
	ReasonNoLimit     Reason = "no_limit"     // no limit is configured for this kind and currency, so nothing is allowed
)

// Refusal is the error of a movement that is held. errors.Is(err, ErrRefused) holds for it.
type Refusal struct {
	Ref    string
	Reason Reason
}

// Error says what was refused and why.
func (r *Refusal) Error() string { return fmt.Sprintf("%v: %s: %s", ErrRefused, r.Ref, r.Reason) }

// Unwrap returns ErrRefused.
func (r *Refusal) Unwrap() error { return ErrRefused }

// Limit is the most that one movement of a kind may be, in one currency.
type Limit struct {
	Kind     MovementKind   `toml:"kind"`     // "deposit", "withdrawal", "payout" or "refund"; a receipt has no limit
	Currency money.Currency `toml:"currency"` // as the book counts it, "USD/7"
	Max      string         `toml:"max"`      // plain decimal notation, "10000.00"
}

// Config says how strict the gate is.
type Config struct {
	// Limits has one entry for each kind and currency that may move; what has none may not.
	Limits []Limit `toml:"limit"`
}

// Validate checks that every limit can be read and that no two are about the same thing.
func (c Config) Validate() error {
	_, err := c.read()
	return err
}

type limitKey struct {
	kind     MovementKind
	currency money.Currency
}

func (c Config) read() (map[limitKey]money.Amount, error) {
	limits := make(map[limitKey]money.Amount, len(c.Limits))
	for _, l := range c.Limits {
		if kindNames[l.Kind] == "" || l.Kind == Receipt || l.Currency.IsZero() {
			return nil, fmt.Errorf("%w: limit on kind %q, currency %q", ErrInvalid, l.Kind, l.Currency)
		}
		most, err := money.Parse(l.Currency, l.Max)
		if err != nil {
			return nil, fmt.Errorf("%w: limit of %s: %w", ErrInvalid, l.Kind, err)
		}
		key := limitKey{l.Kind, l.Currency}
		if _, twice := limits[key]; twice {
			return nil, fmt.Errorf("%w: two limits on %s of %s", ErrInvalid, l.Kind, l.Currency)
		}
		limits[key] = most
	}
	return limits, nil
}

// Gate judges movements. It is safe for concurrent use and holds no state but its configuration.
type Gate struct {
	limits map[limitKey]money.Amount
}

// NewGate makes a gate.
func NewGate(cfg Config) (*Gate, error) {
	limits, err := cfg.read()
	if err != nil {
		return nil, err
	}
	return &Gate{limits: limits}, nil
}

// Check decides on m, or finds what was decided before, and stores and records the decision in tx.
//
// Errors: *Refusal (ErrRefused) when m is held, after which the transaction is sound and is to be committed together
// with what is made of the refusal; ErrInvalid and ErrRefUsed for faults of the caller; else the database's.
func (g *Gate) Check(ctx context.Context, tx *audit.Tx, m Movement) (*Clearance, error) {
	if err := m.validate(); err != nil {
		return nil, err
	}
	reason, err := g.judge(ctx, tx, m)
	if err != nil {
		return nil, err
	}
	reason, err = decide(ctx, tx, m, reason)
	if err != nil {
		return nil, err
	}
	if reason != "" {
		return nil, &Refusal{Ref: m.Ref, Reason: reason}
	}
	return &Clearance{tx: tx, ref: m.Ref, amount: m.Amount}, nil
}

// judge applies the rules to m as things stand and returns why it is held, "" if it is not.
func (g *Gate) judge(ctx context.Context, tx *audit.Tx, m Movement) (Reason, error) {
	if m.Kind == Receipt {
		return "", nil
	}
	if !m.Subject.IsZero() {
		customer, err := CustomerByAccount(ctx, tx, m.Subject)
		switch {
		case errors.Is(err, ErrUnknownCustomer):
			return ReasonNotEnrolled, nil
		case err != nil:
			return "", err
		case customer.Status != StatusActive:
			return ReasonFrozen, nil
		}
	}
	most, ok := g.limits[limitKey{m.Kind, m.Amount.Currency()}]
	if !ok {
		return ReasonNoLimit, nil
	}
	cmp, err := m.Amount.Cmp(most)
	if err != nil {
		return "", fmt.Errorf("compliance: limit: %w", err)
	}
	if cmp > 0 {
		return ReasonOverLimit, nil
	}
	return "", nil
}

// decide stores reason as the decision on m, unless there is one already, and returns the one that holds.
//
// It inserts before it looks: a look first would make movements that have nothing to do with each other roll back,
// since the database notices reads of a small table by the page.
func decide(ctx context.Context, tx *audit.Tx, m Movement, reason Reason) (Reason, error) {
	outcome := "cleared"
	if reason != "" {
		outcome = "refused"
	}
	var subject *string
	if !m.Subject.IsZero() {
		s := m.Subject.String()
		subject = &s
	}
	const insert = `INSERT INTO compliance.decision (ref, kind, subject, currency, units, outcome, reason)
		VALUES ($1, $2, $3, $4, $5::text::numeric, $6, $7) ON CONFLICT (ref) DO NOTHING`
	tag, err := tx.Exec(ctx, insert, m.Ref, m.Kind.String(), subject, m.Amount.Currency().String(), m.Amount.Numeric(), outcome, string(reason))
	if err != nil {
		return "", fmt.Errorf("compliance: decision on %s: %w", m.Ref, err)
	}
	if tag.RowsAffected() == 0 {
		return decided(ctx, tx, m)
	}
	data := map[string]any{"kind": m.Kind.String(), "amount": m.Amount.Decimal(), "currency": m.Amount.Currency().String()}
	if subject != nil {
		data["subject"] = *subject
	}
	if reason != "" {
		data["reason"] = string(reason)
	}
	_, err = tx.Record(ctx, audit.Event{Action: "movement." + outcome, Subject: m.Ref, Data: data})
	return reason, err
}

// decided returns the stored decision on m, after making sure that it is about the same movement.
func decided(ctx context.Context, tx *audit.Tx, m Movement) (Reason, error) {
	var kind, currency, units, subject, reason string
	const query = `SELECT kind, currency, units::text, coalesce(subject, ''), reason FROM compliance.decision WHERE ref = $1`
	err := tx.QueryRow(ctx, query, m.Ref).Scan(&kind, &currency, &units, &subject, &reason)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) { // no row cannot be: the table is append-only
		return "", fmt.Errorf("compliance: decision on %s: %w", m.Ref, err)
	}
	if kind != m.Kind.String() || currency != m.Amount.Currency().String() || units != m.Amount.Numeric() || subject != m.Subject.String() {
		return "", fmt.Errorf("%w: %s was %s of %s %s for %q", ErrRefUsed, m.Ref, kind, units, currency, subject)
	}
	return Reason(reason), nil
}

// Clearance is the permission to make one movement, in the transaction it was given in. Only Check makes one.
type Clearance struct {
	tx     *audit.Tx
	ref    string
	amount money.Amount

	mu    sync.Mutex
	spent bool // guarded by mu
}

// SpendIn uses the clearance up for the movement of amount named ref, which is made in tx. It fails with ErrClearance,
// and uses nothing up, if that is not what was cleared, if it was spent before, or if tx is not the transaction that it
// was given in, still open: the decision would not commit together with the movement.
func (c *Clearance) SpendIn(tx *audit.Tx, ref string, amount money.Amount) error {
	if c != nil && c.tx != nil && c.tx != tx {
		return fmt.Errorf("%w: %s was given in another transaction", ErrClearance, c.ref)
	}
	return c.Spend(ref, amount)
}

// Spend is SpendIn for whoever makes the movement in the very function that asked Check, and so in its transaction.
func (c *Clearance) Spend(ref string, amount money.Amount) error {
	if c == nil || c.tx == nil {
		return fmt.Errorf("%w: %s has none", ErrClearance, ref)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case ref != c.ref || amount != c.amount:
		return fmt.Errorf("%w: it is for %s of %s, not for %s of %s", ErrClearance, c.ref, c.amount, ref, amount)
	case c.spent:
		return fmt.Errorf("%w: %s is spent", ErrClearance, c.ref)
	case c.tx.Ended():
		return fmt.Errorf("%w: %s outlived its transaction", ErrClearance, c.ref)
	}
	c.spent = true
	return nil
}
