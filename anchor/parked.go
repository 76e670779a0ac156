package anchor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/anchor/flow"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// incoming is a payment that came, and what becomes of it.
type incoming struct {
	hash   protocol.Hash
	op     int
	from   protocol.AccountID
	asset  protocol.Asset
	amount protocol.Amount
	state  flow.State
	reason string
	owed   bool // it was paid to the issuer, and the book has it as a debt
	round  int
	at     time.Time
}

func (in incoming) ref() string { return fmt.Sprintf("%s/%d", in.hash, in.op) }

// backRef names the movement, and the transfer if there is one, of the round in which a payment goes back.
func (in incoming) backRef() string {
	if in.round == 0 {
		return "refund/" + in.ref()
	}
	return fmt.Sprintf("refund/%s/%d", in.ref(), in.round)
}

const incomingColumns = `hash, op, payer, asset, units::text, state, reason, owed, round, at FROM anchor.incoming`

func scanIncoming(r pgx.Row) (in incoming, err error) {
	var units, state string
	if err := r.Scan(&in.hash, &in.op, &in.from, &in.asset, &units, &state, &in.reason, &in.owed, &in.round, &in.at); err != nil {
		return in, err
	}
	in.state = flow.State(state)
	in.amount, err = ledgerUnits(in.asset.Code(), units)
	return in, err
}

func findIncoming(ctx context.Context, r audit.Reader, ref string) (incoming, error) {
	hash, op, _ := strings.Cut(ref, "/")
	in, err := scanIncoming(r.QueryRow(ctx, `SELECT `+incomingColumns+` WHERE hash = $1 AND op = $2::integer`, hash, op))
	return in, missing(err, "payment")
}

func setIncoming(ctx context.Context, tx *audit.Tx, in incoming) error {
	_, err := tx.Exec(ctx, `UPDATE anchor.incoming SET state = $3, reason = $4, owed = $5, round = $6 WHERE hash = $1 AND op = $2`,
		in.hash, in.op, string(in.state), in.reason, in.owed, in.round)
	if err != nil {
		return fmt.Errorf("anchor: payment %s: %w", in.hash, err)
	}
	_, err = tx.Record(ctx, audit.Event{Action: "payment." + string(in.state), Subject: in.hash.String(), Data: map[string]any{
		"op": in.op, "from": in.from.String(), "amount": in.amount.String(), "reason": in.reason, "ledger_tx": in.hash.String()}})
	return err
}

func (s *Service) planRefund(ctx context.Context, j job) (plan, finish, error) {
	in, a, err := s.incomingOf(ctx, j.ref)
	return plan{a.Distribution, a.DistributionKey, protocol.ReturnMemo(in.hash),
		[]txbuild.Operation{txbuild.Payment{Destination: in.from, Asset: in.asset, Amount: in.amount}}}, nil, err
}

func (s *Service) planReturn(ctx context.Context, j job) (plan, finish, error) {
	in, a, err := s.incomingOf(ctx, j.ref)
	return plan{a.Issuing, a.IssuingKey, protocol.ReturnMemo(in.hash),
		[]txbuild.Operation{txbuild.Payment{Destination: in.from, Asset: in.asset, Amount: in.amount}}}, nil, err
}

// incomingOf returns a payment of one of our credits, and the credit's configuration.
func (s *Service) incomingOf(ctx context.Context, ref string) (incoming, AssetConfig, error) {
	in, err := findIncoming(ctx, s.DB.Reader(), ref)
	if err != nil {
		return in, AssetConfig{}, err
	}
	a, ours := s.assetOf(in.asset)
	if !ours {
		return in, a, fmt.Errorf("%w: %s", ErrUnknownAsset, in.asset)
	}
	return in, a, nil
}

// refunded carries out what became of a payment's way back.
func (s *Service) refunded(ctx context.Context, tx *audit.Tx, ref string, event flow.Event, why string) error {
	in, err := findIncoming(ctx, tx, ref)
	if err != nil {
		return err
	}
	var effects []flow.Effect
	if in.state, effects, err = flow.Step(flow.Incoming, in.state, event); err != nil {
		return err
	}
	if err := s.perform(ctx, tx, effects, step{ref: in.backRef(), id: in.ref()}); err != nil {
		return err
	}
	if why != "" {
		in.reason = clean(in.reason + ", " + why)
	}
	return setIncoming(ctx, tx, in)
}

// Parked lists payments that came to us and matched nothing, oldest first, with what became of them.
func (s *Service) Parked(ctx context.Context, p Page) ([]Parked, error) {
	rows, err := s.DB.Reader().Query(ctx, `SELECT `+incomingColumns+`
		WHERE state <> 'matched' AND n > coalesce((SELECT n FROM anchor.incoming WHERE hash || '/' || op = $1), 0) ORDER BY n LIMIT $2`, p.After, p.limit())
	return collect(rows, err, "payments", func(r pgx.CollectableRow) (Parked, error) {
		in, err := scanIncoming(r)
		return in.shown(), err
	})
}

func (in incoming) shown() Parked {
	return Parked{ID: in.ref(), Hash: in.hash, Op: in.op, From: in.from, Amount: in.amount.String() + " " + in.asset.Code(), State: string(in.state), Reason: in.reason, At: in.at}
}

// ResolveParked decides about a payment that waits for a person: "give-back" sends credit to whoever paid it, "reissue"
// issues credit again to whoever destroyed it by paying its issuer, "dismiss" says that it was seen to otherwise. Errors:
// ErrNotFound, ErrInvalid, ErrConflict when it does not wait.
func (s *Service) ResolveParked(ctx context.Context, who audit.Actor, r ParkedResolution) (Parked, error) {
	if note := strings.TrimSpace(r.Note); note == "" || len(note) > maxDetail {
		return Parked{}, fmt.Errorf("%w: a note of at most %d bytes must say why", ErrInvalid, maxDetail)
	}
	event, ok := map[string]flow.Event{"give-back": flow.GiveBack, "reissue": flow.Reissue, "dismiss": flow.Dismiss}[r.Action]
	if !ok {
		return Parked{}, fmt.Errorf("%w: action is give-back, reissue or dismiss", ErrInvalid)
	}
	var out Parked
	err := audit.Do(ctx, s.DB, who, func(ctx context.Context, tx *audit.Tx) error {
		in, err := findIncoming(ctx, tx, incoming{hash: r.Hash, op: r.Op}.ref())
		if err != nil {
			return err
		}
		var effects []flow.Effect
		if in.state, effects, err = flow.Step(flow.Incoming, in.state, event); err != nil {
			return fmt.Errorf("%w: the payment is %s", ErrConflict, in.state)
		}
		in.round++
		in.reason = clean(in.reason + ", " + r.Action + ": " + strings.TrimSpace(r.Note))
		with := step{ref: in.backRef(), id: in.ref()}
		if event != flow.Dismiss {
			if err := s.clearBack(ctx, tx, in, event, &with); err != nil {
				return err
			}
		}
		if err := s.perform(ctx, tx, effects, with); err != nil {
			return err
		}
		out = in.shown()
		return setIncoming(ctx, tx, in)
	})
	return out, err
}

// clearBack asks compliance whether a payment may go back, after checking that this is a way for it.
func (s *Service) clearBack(ctx context.Context, tx *audit.Tx, in incoming, event flow.Event, with *step) error {
	a, ours := s.assetOf(in.asset)
	if !ours {
		return fmt.Errorf("%w: %s is none of our credits: it cannot be sent from here", ErrInvalid, in.asset)
	}
	if in.owed != (event == flow.Reissue) || strings.HasPrefix(in.reason, paidToIssuer) != (event == flow.Reissue) {
		return fmt.Errorf("%w: credit that was destroyed is reissued if the book owes it, and other credit is given back", ErrInvalid)
	}
	var err error
	with.asset = a
	if with.amount, err = money.FromLedger(a.Code, in.amount); err != nil {
		return err
	}
	movement := compliance.Movement{Ref: with.ref, Kind: compliance.Refund, Subject: in.from, Amount: with.amount}
	with.clearance, err = s.Gate.Check(ctx, tx, movement)
	var refusal *compliance.Refusal
	if errors.As(err, &refusal) {
		return fmt.Errorf("%w: compliance refuses it: %s", ErrConflict, refusal.Reason)
	}
	if err == nil && event == flow.GiveBack { // it moves on the ledger only, not in the book
		err = with.clearance.SpendIn(tx, movement.Ref, with.amount)
	}
	return err
}
