package anchor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/diamante/gateway/anchor/flow"
	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// maxRounds bounds how often a withdrawal's payout is tried: an EndToEndId holds one digit of it.
const maxRounds = 9

// order names a withdrawal's current payout: its id, which is also its EndToEndId.
func (t row) order() string {
	if t.round == 1 {
		return "W" + t.ID
	}
	return fmt.Sprintf("W%s.%d", t.ID, t.round)
}

// inRound names a withdrawal with the round it is in, for the job and the origin of its payout.
func (t row) inRound() string {
	if t.round == 1 {
		return t.ID
	}
	return fmt.Sprintf("%s/%d", t.ID, t.round)
}

// payoutWithdrawal returns the withdrawal that a payout's origin names.
func payoutWithdrawal(ctx context.Context, r audit.Reader, origin string) (row, error) {
	_, rest, _ := strings.Cut(origin, "/")
	id, _, _ := strings.Cut(rest, "/")
	return findRow(ctx, r, `id = $1`, id)
}

// payoutRow is a payout as stored.
type payoutRow struct{ id, origin, transfer, units, state string }

func findPayout(ctx context.Context, r audit.Reader, id string, codes ...string) (p payoutRow, err error) {
	return p, missing(r.QueryRow(ctx, `SELECT id, origin, transfer, units::text, state FROM anchor.payout WHERE id = $1 AND asset = ANY($2)`, id, codes).
		Scan(&p.id, &p.origin, &p.transfer, &p.units, &p.state), "payout")
}

func (p payoutRow) isWithdrawal() bool { return strings.HasPrefix(p.origin, "withdrawal/") }

// become stores a payout's new state.
func (p payoutRow) become(ctx context.Context, tx *audit.Tx, state string, data map[string]any) error {
	if _, err := tx.Exec(ctx, `UPDATE anchor.payout SET state = $2 WHERE id = $1`, p.id, state); err != nil {
		return fmt.Errorf("anchor: payout %s: %w", p.id, err)
	}
	data["transfer"] = p.transfer
	_, err := tx.Record(ctx, audit.Event{Action: "payout." + state, Subject: p.id, Data: data})
	return err
}

// RefusePayout carries out that the bank will not make a payout, and has not: the money is ours and the debt stands. The
// bank's word counts; should it pay all the same, that is the payment unless a person has decided otherwise by then. Errors: ErrNotFound,
// ErrInvalid, ErrConflict when it is paid or refused already.
func (s *Service) RefusePayout(ctx context.Context, who audit.Actor, partner string, r PayoutRefusal) error {
	if why := strings.TrimSpace(r.Reason); why == "" || len(why) > maxDetail {
		return fmt.Errorf("%w: a reason of at most %d bytes is needed", ErrInvalid, maxDetail)
	}
	return audit.Do(ctx, s.DB, who, func(ctx context.Context, tx *audit.Tx) error {
		p, err := findPayout(ctx, tx, r.ID, s.assetsOf(partner)...)
		if err != nil {
			return err
		}
		if p.state != "written" {
			return fmt.Errorf("%w: the payout is %s", ErrConflict, p.state)
		}
		why := clean(strings.TrimSpace(r.Reason))
		if err := p.become(ctx, tx, "refused", map[string]any{"reason": why}); err != nil {
			return err
		}
		if !p.isWithdrawal() {
			return s.returnRefused(ctx, tx, p, why)
		}
		return s.bounce(ctx, tx, p, flow.Unpaid, step{ref: p.transfer})
	})
}

// bounce takes a withdrawal back from the bank.
func (s *Service) bounce(ctx context.Context, tx *audit.Tx, p payoutRow, event flow.Event, with step) error {
	t, err := payoutWithdrawal(ctx, tx, p.origin)
	if err != nil {
		return err
	}
	var effects []flow.Effect
	if t.state, effects, err = flow.Step(flow.Withdrawal, t.state, event); err != nil {
		return err
	}
	if err := s.perform(ctx, tx, effects, with); err != nil {
		return err
	}
	t.message = "The bank could not pay to the account. The payment is being looked at."
	if err := updateRow(ctx, tx, t); err != nil {
		return err
	}
	_, err = tx.Record(ctx, audit.Event{Action: "withdrawal.bounced", Subject: t.ID, Data: map[string]any{"payout": p.id, "why": string(event)}})
	return err
}

// paidLate carries out that the bank has made a payout that it had refused. As long as nobody has decided what becomes of the
// withdrawal it is paid with that; after that the money is gone for a reason that is not known.
func (s *Service) paidLate(ctx context.Context, tx *audit.Tx, a AssetConfig, p payoutRow, amount money.Amount) (refused string, err error) {
	const late = "paid-after-refusal"
	if !p.isWithdrawal() || p.units != amount.Numeric() {
		return late, nil
	}
	t, err := payoutWithdrawal(ctx, tx, p.origin)
	if err != nil {
		return "", err
	}
	covered, err := s.covered(ctx, tx, a.bank(), amount)
	if err != nil || !covered || t.order() != p.id {
		return late, err
	}
	next, effects, err := flow.Step(flow.Withdrawal, t.state, flow.Debited)
	if err != nil {
		return late, nil
	}
	if err := s.perform(ctx, tx, effects, step{ref: "late/" + p.id, asset: a, amount: amount}); err != nil {
		return "", err
	}
	if err := p.become(ctx, tx, "paid", map[string]any{"late": true}); err != nil {
		return "", err
	}
	t.state, t.message = next, ""
	if err := updateRow(ctx, tx, t); err != nil {
		return "", err
	}
	_, err = tx.Record(ctx, audit.Event{Action: "withdrawal.completed", Subject: t.ID, Data: map[string]any{"transfer": "late/" + p.id}})
	return "", err
}

// returnRefused puts money that the bank would not send back to its payer where it was: it waits for a person again.
func (s *Service) returnRefused(ctx context.Context, tx *audit.Tx, p payoutRow, why string) error {
	if err := s.perform(ctx, tx, []flow.Effect{flow.VoidPayout}, step{ref: p.transfer}); err != nil {
		return err
	}
	_, before, _ := strings.Cut(p.origin, "/")
	held := heldEntry{statement: "payout " + p.id, reason: "return-refused", detail: why, booked: true}
	var units string
	err := tx.QueryRow(ctx, `SELECT partner, account, reference, asset, units::text, payer, payer_name, payer_bic, deposit FROM anchor.quarantine WHERE id = $1`, before).
		Scan(&held.partner, &held.account, &held.reference, &held.asset, &units, &held.payer, &held.payerName, &held.payerBIC, &held.deposit)
	if err := missing(err, "entry"); err != nil {
		return err
	}
	a, err := s.configOf(held.asset)
	if err != nil {
		return err
	}
	if held.amount, err = a.units(&units); err != nil {
		return err
	}
	return s.quarantine(ctx, tx, held)
}

// cameBack carries out that the money of a payout is in suspense again: whoever it was for is still owed it. It returns why
// the money cannot be that.
func (s *Service) cameBack(ctx context.Context, tx *audit.Tx, a AssetConfig, id string, amount money.Amount) (refused string, err error) {
	p, err := findPayout(ctx, tx, id, a.Code)
	switch {
	case errors.Is(err, ErrNotFound):
		return "returned", nil
	case err != nil:
		return "", err
	case p.state != "paid" || p.units != amount.Numeric() || !p.isWithdrawal():
		return "returned", nil
	}
	if err := p.become(ctx, tx, "returned", map[string]any{}); err != nil {
		return "", err
	}
	return "", s.bounce(ctx, tx, p, flow.CameBack, step{ref: "recover/" + p.id, asset: a, amount: amount})
}

// recoverHeld says that an entry's money is a payout's that came back.
func (s *Service) recoverHeld(ctx context.Context, tx *audit.Tx, r Resolution, h stored) error {
	a, amount, err := s.inSuspense(h)
	if err != nil {
		return err
	}
	refused, err := s.cameBack(ctx, tx, a, r.Transaction, amount)
	if err == nil && refused != "" {
		err = fmt.Errorf("%w: it is not the money of a payout to a customer that the bank has made", ErrInvalid)
	}
	return err
}

// recover books that what came back is owed to its customer again.
func (s *Service) recover(ctx context.Context, tx *audit.Tx, with step) error {
	return s.fact(ctx, tx, book.Transfer{Debit: with.asset.suspense(), Credit: with.asset.payable(), Amount: with.amount, Ref: with.ref})
}

// Bounced lists withdrawals that the bank did not pay and that wait for a person, oldest first.
func (s *Service) Bounced(ctx context.Context, p Page) ([]Transaction, error) {
	rows, err := listRows(ctx, s.DB.Reader(), `kind = 'withdrawal' AND state = 'bounced'
		AND n > coalesce((SELECT n FROM anchor.transaction WHERE id = $1), 0) ORDER BY n LIMIT $2`, p.After, p.limit())
	if err != nil {
		return nil, err
	}
	var out []Transaction
	for _, t := range rows {
		shown, err := s.view(t)
		if err != nil {
			return nil, err
		}
		out = append(out, shown)
	}
	return out, nil
}

// ResolveBounced decides about a withdrawal that the bank did not pay: "again" asks the bank once more to pay the same
// account, "reissue" gives the customer his credit back, with which he may withdraw to another account. Errors: ErrNotFound,
// ErrInvalid, ErrConflict when it does not wait, or compliance does not let the credit go back.
func (s *Service) ResolveBounced(ctx context.Context, who audit.Actor, r BouncedResolution) (Transaction, error) {
	if note := strings.TrimSpace(r.Note); note == "" || len(note) > maxDetail {
		return Transaction{}, fmt.Errorf("%w: a note of at most %d bytes must say why", ErrInvalid, maxDetail)
	}
	event, ok := map[string]flow.Event{"again": flow.Again, "reissue": flow.Reissue}[r.Action]
	if !ok {
		return Transaction{}, fmt.Errorf("%w: action is again or reissue", ErrInvalid)
	}
	var out row
	err := audit.Do(ctx, s.DB, who, func(ctx context.Context, tx *audit.Tx) error {
		t, err := findRow(ctx, tx, `id = $1 AND kind = 'withdrawal'`, r.ID)
		if err != nil {
			return err
		}
		var effects []flow.Effect
		before := t.state
		if t.state, effects, err = flow.Step(flow.Withdrawal, t.state, event); err != nil {
			return fmt.Errorf("%w: the withdrawal is %s", ErrConflict, before)
		}
		if t.round++; t.round > maxRounds && event == flow.Again {
			return fmt.Errorf("%w: the bank was asked %d times", ErrConflict, maxRounds)
		}
		with := step{id: t.inRound()}
		if event == flow.Reissue {
			if with, err = s.clearReissue(ctx, tx, t); err != nil {
				return err
			}
		}
		if err := s.perform(ctx, tx, effects, with); err != nil {
			return err
		}
		t.message = ""
		if err := updateRow(ctx, tx, t); err != nil {
			return err
		}
		out = t
		_, err = tx.Record(ctx, audit.Event{Action: "withdrawal.resolved", Subject: t.ID, Data: map[string]any{"action": r.Action, "note": clean(strings.TrimSpace(r.Note))}})
		return err
	})
	if err != nil {
		return Transaction{}, err
	}
	return s.view(out)
}

// reissueRef names the movement, the transfer and the job of giving a withdrawal's credit back in its current round.
func (t row) reissueRef() string { return "reissue/" + t.ID + "/" + strconv.Itoa(t.round) }

// clearReissue asks compliance whether a customer's credit may go back to him.
func (s *Service) clearReissue(ctx context.Context, tx *audit.Tx, t row) (step, error) {
	a, err := s.configOf(t.asset)
	if err != nil {
		return step{}, err
	}
	with := step{ref: t.reissueRef(), id: t.ID, asset: a}
	if with.amount, err = a.units(t.amount); err != nil {
		return with, err
	}
	with.clearance, err = s.Gate.Check(ctx, tx, compliance.Movement{Ref: with.ref, Kind: compliance.Refund, Subject: t.account, Amount: with.amount})
	var refusal *compliance.Refusal
	if errors.As(err, &refusal) {
		err = fmt.Errorf("%w: compliance refuses it: %s", ErrConflict, refusal.Reason)
	}
	return with, err
}

func (s *Service) planReissue(ctx context.Context, j job) (plan, finish, error) {
	t, err := withdrawalOf(ctx, s.DB.Reader(), j.ref)
	if err != nil {
		return plan{}, nil, err
	}
	a, amount, err := s.amountOf(t)
	if err != nil {
		return plan{}, nil, err
	}
	paid, err := protocol.ParseHash(t.ledgerTx)
	return plan{a.Issuing, a.IssuingKey, protocol.ReturnMemo(paid),
		[]txbuild.Operation{txbuild.Payment{Destination: t.account, Asset: a.asset(), Amount: amount}}}, nil, err
}

// reissued carries out what became of a withdrawal's credit on its way back.
func (s *Service) reissued(ctx context.Context, tx *audit.Tx, ref string, event flow.Event) error {
	t, err := withdrawalOf(ctx, tx, ref)
	if err != nil {
		return err
	}
	var effects []flow.Effect
	if t.state, effects, err = flow.Step(flow.Withdrawal, t.state, event); err != nil {
		return err
	}
	if err := s.perform(ctx, tx, effects, step{ref: ref, id: t.ID}); err != nil {
		return err
	}
	if t.message = "The bank could not pay to the account. The credit was given back."; event != flow.Success {
		t.message = "The bank could not pay to the account, and the ledger did not take the credit back. The payment is being looked at."
	}
	if err := updateRow(ctx, tx, t); err != nil {
		return err
	}
	_, err = tx.Record(ctx, audit.Event{Action: "withdrawal." + string(t.state), Subject: t.ID, Data: map[string]any{"transfer": ref}})
	return err
}

// GiveUpDeposit ends the wait for a customer who opens no line to his credit: the money waits in quarantine, where the
// partner returns it. Errors: ErrNotFound, ErrInvalid, ErrConflict when the deposit does not wait for a line, or its credit
// is on its way.
func (s *Service) GiveUpDeposit(ctx context.Context, who audit.Actor, id, note string) (Transaction, error) {
	if note = strings.TrimSpace(note); note == "" || len(note) > maxDetail {
		return Transaction{}, fmt.Errorf("%w: a note of at most %d bytes must say why", ErrInvalid, maxDetail)
	}
	var out row
	err := audit.Do(ctx, s.DB, who, func(ctx context.Context, tx *audit.Tx) error {
		t, err := findRow(ctx, tx, `id = $1 AND kind = 'deposit'`, id)
		if err != nil {
			return err
		}
		if t.state != flow.NeedsLine {
			return fmt.Errorf("%w: the deposit is %s", ErrConflict, t.state)
		}
		var under bool
		const way = `SELECT EXISTS (SELECT FROM anchor.ledger_tx WHERE kind = $1 AND ref = $2 AND state IN ('built', 'signed', 'blocked'))`
		if err := tx.QueryRow(ctx, way, string(jobIssue), depositRef(&t)).Scan(&under); err != nil {
			return fmt.Errorf("anchor: ledger transactions: %w", err)
		}
		if under {
			return fmt.Errorf("%w: the credit is on its way", ErrConflict)
		}
		if err := s.notIssued(ctx, tx, depositRef(&t), "given up: "+clean(note)); err != nil {
			return err
		}
		if err := closeJob(ctx, tx, jobIssue, depositRef(&t)); err != nil {
			return err
		}
		if out, err = findRow(ctx, tx, `id = $1`, id); err != nil {
			return err
		}
		_, err = tx.Record(ctx, audit.Event{Action: "deposit.given-up", Subject: id, Data: map[string]any{"note": clean(note)}})
		return err
	})
	if err != nil {
		return Transaction{}, err
	}
	return s.view(out)
}

// placeReturn finds the payout whose money a returned payment is, or says that nobody knows.
func (s *Service) placeReturn(ctx context.Context, tx *audit.Tx, a AssetConfig, e rails.Entry, amount money.Amount) (string, error) {
	if e.EndToEndID == "" || e.Details > 1 {
		return "returned", nil
	}
	return s.cameBack(ctx, tx, a, e.EndToEndID, amount)
}
