package anchor

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/diamante/gateway/anchor/flow"
	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/node/protocol"
)

// maxName bounds the name of who gets a payout, in bytes: what a payment file can carry.
const maxName = 70

// newMemo returns a random positive number below 2^63, so that it fits everybody's integers. Two that are equal meet the
// unique constraint of the table.
func newMemo() int64 {
	var raw [8]byte
	for {
		rand.Read(raw[:]) // never fails: the program ends instead
		if n := int64(binary.BigEndian.Uint64(raw[:]) & math.MaxInt64); n > 0 {
			return n
		}
	}
}

// Withdraw makes a withdrawal and says how to pay it. Errors: ErrInvalid, ErrUnknownAsset, ErrNotEnrolled.
func (s *Service) Withdraw(ctx context.Context, r WithdrawRequest) (Transaction, error) {
	a, err := s.ready(ctx, s.DB.Reader(), r.Asset)
	if err != nil {
		return Transaction{}, err
	}
	iban, err := rails.ParseIBAN(r.Dest)
	if err != nil {
		return Transaction{}, fmt.Errorf("%w: dest is not an IBAN", ErrInvalid)
	}
	if iban == a.Bank.Account.IBAN {
		return Transaction{}, fmt.Errorf("%w: dest is the anchor's own account", ErrInvalid)
	}
	name := strings.TrimSpace(r.DestExtra)
	if name == "" || len(name) > maxName {
		return Transaction{}, fmt.Errorf("%w: dest_extra must be the name of who has the account, at most %d bytes", ErrInvalid, maxName)
	}
	memo := newMemo()
	t := row{ID: newID(), kind: Withdrawal.String(), state: flow.Awaiting, account: r.Account, asset: r.Asset, key: r.Key, memo: &memo,
		iban: string(iban), name: name}
	if t.expected, err = a.expectedUnits(r.Amount, a.MinWithdrawal, a.MaxWithdrawal); err != nil {
		return Transaction{}, err
	}
	// A name that no payment file can carry is refused now, not when the money is here.
	if _, err := s.WritePayout(a.payout(payoutOrder{id: t.ID, amount: money.Zero(a.currency()), account: rails.Account{IBAN: iban}, name: name, probe: true})); err != nil {
		return Transaction{}, fmt.Errorf("%w: the bank cannot pay to that account and name: %w", ErrInvalid, err)
	}
	return s.create(ctx, t)
}

// cents returns an amount as the bank counts it, or money.ErrInexact.
func (a AssetConfig) cents(m money.Amount) (money.Amount, error) {
	c, err := rails.BankCurrency(a.Code)
	if err != nil {
		return money.Amount{}, err
	}
	return m.Rescale(c)
}

// paid carries out that credit came to the distribution account with a withdrawal's memo. It returns why the payment is
// not accepted: then it goes back and the withdrawal stays as it is.
func (s *Service) paid(ctx context.Context, tx *audit.Tx, p payment) (refused string, err error) {
	a := p.asset
	if p.memo.Kind() != protocol.MemoID || p.memo.ID() > math.MaxInt64 {
		return "no-memo", nil
	}
	t, err := findRow(ctx, tx, `memo = $1 AND asset = $2`, int64(p.memo.ID()), a.Code)
	if errors.Is(err, ErrNotFound) {
		return "unknown-memo", nil
	}
	if err != nil {
		return "", err
	}
	next, effects, err := flow.Step(flow.Withdrawal, t.state, flow.Paid)
	if err != nil {
		return "withdrawal-closed", nil
	}
	if p.amount.Cmp(a.MinWithdrawal) < 0 || p.amount.Cmp(a.MaxWithdrawal) > 0 {
		return "out-of-limits", nil
	}
	amount, err := money.FromLedger(a.Code, p.amount)
	if err != nil {
		return "", err
	}
	if _, err := a.cents(amount); err != nil {
		return "not-whole-cents", nil
	}
	if t.expected != nil && *t.expected != amount.Numeric() {
		return "amount-differs", nil
	}
	if covered, err := s.covered(ctx, tx, a.issued(), amount); err != nil || !covered {
		return "not-in-the-book", err
	}
	// Somebody else may pay for a customer's withdrawal, if he is one too. The gate asks about the customer alone.
	payer, err := compliance.CustomerByAccount(ctx, tx, p.from)
	switch {
	case errors.Is(err, compliance.ErrUnknownCustomer):
		return "payer-not-enrolled", nil
	case err != nil:
		return "", err
	case payer.Status != compliance.StatusActive:
		return "payer-" + payer.Status.String(), nil
	}
	movement := compliance.Movement{Ref: withdrawalRef(t.ID, p), Kind: compliance.Withdrawal, Subject: t.account, Amount: amount}
	clearance, err := s.Gate.Check(ctx, tx, movement)
	var refusal *compliance.Refusal
	if errors.As(err, &refusal) {
		return "refused:" + string(refusal.Reason), nil
	}
	if err != nil {
		return "", err
	}
	if err := s.perform(ctx, tx, effects, step{ref: movement.Ref, id: t.ID, asset: a, amount: amount, clearance: clearance}); err != nil {
		return "", err
	}
	units := amount.Numeric()
	t.state, t.amount, t.ledgerTx = next, &units, p.hash.String()
	if err := updateRow(ctx, tx, t); err != nil {
		return "", err
	}
	_, err = tx.Record(ctx, audit.Event{Action: "withdrawal.received", Subject: t.ID, Data: map[string]any{
		"amount": amount.String(), "transfer": movement.Ref, "ledger_tx": p.hash.String()}})
	return "", err
}

// withdrawalRef names the movement, the transfer and the job of the payment that came for a withdrawal.
func withdrawalRef(id string, p payment) string {
	return fmt.Sprintf("withdrawal/%s/%s/%d", id, p.hash.String()[:16], p.op)
}

func withdrawalOf(ctx context.Context, r audit.Reader, ref string) (row, error) {
	parts := strings.Split(ref, "/")
	if len(parts) < 2 {
		return row{}, fmt.Errorf("anchor: ref %q names no withdrawal", ref)
	}
	return findRow(ctx, r, `id = $1`, parts[1])
}

// burned carries out that the credit of a withdrawal is with its issuer again.
func (s *Service) burned(ctx context.Context, tx *audit.Tx, ref string) error {
	t, err := withdrawalOf(ctx, tx, ref)
	if err != nil {
		return err
	}
	var effects []flow.Effect
	if t.state, effects, err = flow.Step(flow.Withdrawal, t.state, flow.Burned); err != nil {
		return err
	}
	if err := s.perform(ctx, tx, effects, step{ref: ref, id: t.inRound()}); err != nil {
		return err
	}
	if err := updateRow(ctx, tx, t); err != nil {
		return err
	}
	_, err = tx.Record(ctx, audit.Event{Action: "withdrawal.redeemed", Subject: t.ID, Data: map[string]any{"transfer": ref}})
	return err
}
