package anchor

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"

	"github.com/diamante/gateway/anchor/flow"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/node/protocol"
)

// A reference is referencePrefix and 16 characters of base32: 80 random bits, that nobody guesses and a person can type.
const (
	referencePrefix = "DIAM"
	referenceBytes  = 10
)

func newReference() string {
	var raw [referenceBytes]byte
	rand.Read(raw[:]) // never fails: the program ends instead
	return referencePrefix + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw[:])
}

// referencesIn returns what could be references in the text of a bank transfer, whatever blanks, dashes and case people
// and banks put into it.
func referencesIn(lines []string) []string {
	text := strings.ToUpper(strings.Join(lines, ""))
	text = strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '2' && r <= '7' {
			return r
		}
		return -1
	}, text)
	var found []string
	for i := 0; ; {
		at := strings.Index(text[i:], referencePrefix)
		if at < 0 {
			return found
		}
		start := i + at
		if end := start + len(referencePrefix) + 16; end <= len(text) {
			found = append(found, text[start:end])
		}
		i = start + 1
	}
}

// customer checks that the account is a customer's, as far as asking for a transaction goes; the gate decides about money.
func (s *Service) customer(ctx context.Context, r audit.Reader, account protocol.AccountID) error {
	c, err := compliance.CustomerByAccount(ctx, r, account)
	if errors.Is(err, compliance.ErrUnknownCustomer) {
		return fmt.Errorf("%w: %s", ErrNotEnrolled, account)
	}
	if err == nil && c.Status != compliance.StatusActive {
		return fmt.Errorf("%w: the account is %s", ErrInvalid, c.Status)
	}
	return err
}

// ready returns the configuration of an asset that the ledger agrees with.
func (s *Service) ready(ctx context.Context, r audit.Reader, code string) (AssetConfig, error) {
	a, err := s.configOf(code)
	if err != nil {
		return a, err
	}
	var ready bool
	err = missing(r.QueryRow(ctx, `SELECT ready FROM anchor.asset WHERE code = $1`, code).Scan(&ready), "asset")
	if errors.Is(err, ErrNotFound) || err == nil && !ready {
		return a, fmt.Errorf("%w: %s is not registered yet", ErrUnknownAsset, code)
	}
	return a, err
}

// expectedUnits checks what a customer says he will pay. Zero says nothing.
func (a AssetConfig) expectedUnits(amount, least, most protocol.Amount) (*string, error) {
	if amount.IsZero() {
		return nil, nil
	}
	if amount.Cmp(least) < 0 || amount.Cmp(most) > 0 {
		return nil, fmt.Errorf("%w: an amount is from %s to %s %s", ErrInvalid, least, most, a.Code)
	}
	m, err := money.FromLedger(a.Code, amount)
	if err != nil {
		return nil, err
	}
	if _, err := a.cents(m); err != nil {
		return nil, fmt.Errorf("%w: banks know no fraction of the last digit: %s", ErrInvalid, amount)
	}
	units := m.Numeric()
	return &units, nil
}

// Deposit makes a deposit and says how to pay it. Errors: ErrInvalid, ErrUnknownAsset, ErrNotEnrolled.
func (s *Service) Deposit(ctx context.Context, r DepositRequest) (Transaction, error) {
	a, err := s.ready(ctx, s.DB.Reader(), r.Asset)
	if err != nil {
		return Transaction{}, err
	}
	reference := newReference()
	t := row{ID: newID(), kind: Deposit.String(), state: flow.Awaiting, account: r.Account, asset: r.Asset, key: r.Key, reference: &reference}
	if t.expected, err = a.expectedUnits(r.Amount, a.MinDeposit, a.MaxDeposit); err != nil {
		return Transaction{}, err
	}
	return s.create(ctx, t)
}

// create stores a new transaction, or finds the one that was made for the same key.
func (s *Service) create(ctx context.Context, t row) (Transaction, error) {
	if t.account.IsZero() {
		return Transaction{}, fmt.Errorf("%w: no account", ErrNotEnrolled)
	}
	actor := audit.Actor{Kind: "customer", Name: t.account.String()}
	err := audit.Do(ctx, s.DB, actor, func(ctx context.Context, tx *audit.Tx) error {
		if err := s.customer(ctx, tx, t.account); err != nil {
			return err
		}
		if t.key != "" {
			before, err := findRow(ctx, tx, `account = $1 AND kind = $2 AND key = $3`, t.account, t.kind, t.key)
			if err == nil {
				if !before.asks(t) {
					return fmt.Errorf("%w: the key was used for another %s", ErrConflict, t.kind)
				}
				t = before
				return audit.ErrUnchanged
			}
			if !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		if err := insertRow(ctx, tx, t); err != nil {
			return err
		}
		_, err := tx.Record(ctx, audit.Event{Action: t.kind + ".created", Subject: t.ID, Data: map[string]any{"account": t.account.String(), "asset": t.asset}})
		return err
	})
	if err != nil {
		return Transaction{}, err
	}
	stored, err := findRow(ctx, s.DB.Reader(), `id = $1`, t.ID)
	if err != nil {
		return Transaction{}, err
	}
	return s.view(stored)
}

// asks reports whether another row is the same request.
func (t row) asks(other row) bool {
	same := t.expected == nil && other.expected == nil || t.expected != nil && other.expected != nil && *t.expected == *other.expected
	return same && t.asset == other.asset && t.iban == other.iban && t.name == other.name
}

// received carries out that money for a deposit is in suspense: held for it and on its way, or on hold with the reason.
// It reports whether the deposit could take it.
func (s *Service) received(ctx context.Context, tx *audit.Tx, t *row, amount money.Amount) (refused string, err error) {
	a, err := s.configOf(t.asset)
	if err != nil {
		return "", err
	}
	next, effects, err := flow.Step(flow.Deposit, t.state, flow.Received)
	if err != nil {
		return "deposit-closed", nil
	}
	if t.state == flow.OnHold {
		t.round++ // what was refused stays refused; this is another movement
	}
	ledger, err := amount.Ledger()
	if errors.Is(err, money.ErrRange) {
		return s.hold(ctx, tx, t, "out-of-limits")
	}
	if err != nil {
		return "", err
	}
	if ledger.Cmp(a.MinDeposit) < 0 || ledger.Cmp(a.MaxDeposit) > 0 {
		return s.hold(ctx, tx, t, "out-of-limits")
	}
	movement := compliance.Movement{Ref: depositRef(t), Kind: compliance.Deposit, Subject: t.account, Amount: amount}
	clearance, err := s.Gate.Check(ctx, tx, movement)
	var refusal *compliance.Refusal
	if errors.As(err, &refusal) {
		return s.hold(ctx, tx, t, "refused:"+string(refusal.Reason))
	}
	if err != nil {
		return "", err
	}
	if err := s.perform(ctx, tx, effects, step{ref: movement.Ref, id: t.ID, asset: a, amount: amount, clearance: clearance}); err != nil {
		return "", err
	}
	units := amount.Numeric()
	t.state, t.amount, t.message = next, &units, ""
	if err := updateRow(ctx, tx, *t); err != nil {
		return "", err
	}
	_, err = tx.Record(ctx, audit.Event{Action: "deposit.received", Subject: t.ID, Data: map[string]any{"amount": amount.String(), "transfer": movement.Ref}})
	return "", err
}

// hold puts a deposit on hold. The step's one effect, the quarantine, is the caller's, who has the bank's entry and puts it
// there with the reason that is returned.
func (s *Service) hold(ctx context.Context, tx *audit.Tx, t *row, reason string) (string, error) {
	state, _, err := flow.Step(flow.Deposit, t.state, flow.Refused)
	if err != nil {
		return "", err
	}
	t.state, t.message = state, "The payment is being looked at."
	if err := updateRow(ctx, tx, *t); err != nil {
		return "", err
	}
	_, err = tx.Record(ctx, audit.Event{Action: "deposit.held", Subject: t.ID, Data: map[string]any{"reason": reason}})
	return reason, err
}

// depositRef names the movement, the transfer and the job of a deposit's current round.
func depositRef(t *row) string { return fmt.Sprintf("deposit/%s/%d", t.ID, t.round) }

// depositOf returns the deposit that a ref of depositRef is about.
func depositOf(ctx context.Context, r audit.Reader, ref string) (row, error) {
	parts := strings.Split(ref, "/")
	if len(parts) != 3 {
		return row{}, fmt.Errorf("anchor: ref %q names no deposit", ref)
	}
	return findRow(ctx, r, `id = $1`, parts[1])
}

// issued carries out that the ledger has the credit.
func (s *Service) issued(ctx context.Context, tx *audit.Tx, ref string, hash protocol.Hash) error {
	t, err := depositOf(ctx, tx, ref)
	if err != nil {
		return err
	}
	var effects []flow.Effect
	if t.state, effects, err = flow.Step(flow.Deposit, t.state, flow.Issued); err != nil {
		return err
	}
	if err := s.perform(ctx, tx, effects, step{ref: ref, id: t.ID}); err != nil {
		return err
	}
	t.ledgerTx = hash.String()
	if err := updateRow(ctx, tx, t); err != nil {
		return err
	}
	_, err = tx.Record(ctx, audit.Event{Action: "deposit.completed", Subject: t.ID, Data: map[string]any{"transfer": ref, "ledger_tx": hash.String()}})
	return err
}

// notIssued carries out that the ledger refused the credit: the money goes back to suspense and a person decides.
func (s *Service) notIssued(ctx context.Context, tx *audit.Tx, ref, result string) error {
	t, err := depositOf(ctx, tx, ref)
	if err != nil {
		return err
	}
	var effects []flow.Effect
	if t.state, effects, err = flow.Step(flow.Deposit, t.state, flow.NotIssued); err != nil {
		return err
	}
	t.message = "The credit could not be given. The payment is being looked at."
	if err := updateRow(ctx, tx, t); err != nil {
		return err
	}
	a, err := s.configOf(t.asset)
	if err != nil {
		return err
	}
	amount, err := a.units(t.amount)
	if err != nil {
		return err
	}
	held := heldEntry{partner: a.Partner, account: a.Bank.Account.String(), booked: true, statement: "ledger", reason: "not-issued", detail: result, reference: t.external, asset: a.Code, amount: amount, deposit: t.ID}
	err = tx.QueryRow(ctx, `SELECT payer, payer_name, payer_bic FROM anchor.entry WHERE iban = $1 AND ref = $2`, a.Bank.Account.String(), t.external).
		Scan(&held.payer, &held.payerName, &held.payerBIC)
	if err := missing(err, "entry"); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return s.perform(ctx, tx, effects, step{ref: ref, id: t.ID, held: held})
}
