package anchor

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/node/protocol"
)

// maxDetail bounds what is kept of other people's text, in bytes.
const maxDetail = 500

// clean makes other people's text fit to be stored and shown: valid, without control characters, bounded.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	if len(s) > maxDetail {
		s = strings.ToValidUTF8(s[:maxDetail], "")
	}
	return s
}

// heldEntry is something that a person must look at.
type heldEntry struct {
	statement, reason, detail, reference string
	asset                                string       // set when the money is in suspense
	amount                               money.Amount // in the book's units, with asset
	raw                                  money.Amount // as the bank said, without
	payer, payerName, payerBIC           string
	deposit                              string
}

// quarantine stores h.
func (s *Service) quarantine(ctx context.Context, tx *audit.Tx, h heldEntry) error {
	id := newID()
	shown := h.raw
	var units *string
	if h.asset != "" {
		shown = h.amount
		n := h.amount.Numeric()
		units = &n
	}
	amount, currency := "", ""
	if !shown.Currency().IsZero() {
		amount, currency = shown.Decimal(), shown.Currency().Code()
	}
	_, err := tx.Exec(ctx, `INSERT INTO anchor.quarantine (id, statement, reason, detail, reference, amount, currency, asset, units, payer, payer_name, deposit, payer_bic)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::numeric, $10, $11, $12, $13)`, id, clean(h.statement), h.reason, clean(h.detail), clean(h.reference),
		amount, currency, h.asset, units, clean(h.payer), clean(h.payerName), h.deposit, clean(h.payerBIC))
	if err != nil {
		return fmt.Errorf("anchor: quarantine: %w", err)
	}
	_, err = tx.Record(ctx, audit.Event{Action: "entry.quarantined", Subject: id, Data: map[string]any{"reason": h.reason, "reference": clean(h.reference),
		"statement": clean(h.statement), "amount": amount, "currency": currency}})
	return err
}

const heldColumns = `id, statement, reason, detail, reference, amount, currency, at, resolution FROM anchor.quarantine`

func scanHeld(r pgx.Row) (h Held, err error) {
	return h, r.Scan(&h.ID, &h.Statement, &h.Reason, &h.Detail, &h.Reference, &h.Amount, &h.Currency, &h.At, &h.Resolution)
}

// Quarantine lists what could not be placed, oldest first, resolved or not.
func (s *Service) Quarantine(ctx context.Context, p Page) ([]Held, error) {
	rows, err := s.DB.Reader().Query(ctx, `SELECT `+heldColumns+` WHERE n > coalesce((SELECT n FROM anchor.quarantine WHERE id = $1), 0)
		ORDER BY n LIMIT $2`, p.After, p.limit())
	return collect(rows, err, "quarantine", func(r pgx.CollectableRow) (Held, error) { return scanHeld(r) })
}

// ResolveQuarantine decides about an entry: match it to a deposit, return the money to its sender, or dismiss it with a
// note. Errors: ErrNotFound, ErrInvalid, ErrConflict when it was decided before.
func (s *Service) ResolveQuarantine(ctx context.Context, who audit.Actor, r Resolution) (Held, error) {
	if note := strings.TrimSpace(r.Note); note == "" || len(note) > maxDetail {
		return Held{}, fmt.Errorf("%w: a note of at most %d bytes must say why", ErrInvalid, maxDetail)
	}
	var out Held
	err := audit.Do(ctx, s.DB, who, func(ctx context.Context, tx *audit.Tx) error {
		h, err := scanHeld(tx.QueryRow(ctx, `SELECT `+heldColumns+` WHERE id = $1`, r.ID))
		if err := missing(err, "entry"); err != nil {
			return err
		}
		if h.Resolution != "" {
			return fmt.Errorf("%w: the entry was resolved: %s", ErrConflict, h.Resolution)
		}
		var asset, deposit string
		var units *string
		if err := tx.QueryRow(ctx, `SELECT asset, units::text, deposit FROM anchor.quarantine WHERE id = $1`, r.ID).Scan(&asset, &units, &deposit); err != nil {
			return fmt.Errorf("anchor: quarantine: %w", err)
		}
		switch r.Action {
		case "match":
			err = s.matchHeld(ctx, tx, r, h, units)
		case "return":
			err = s.returnHeld(ctx, tx, r, units)
		case "dismiss":
			if units != nil {
				err = fmt.Errorf("%w: there is money in suspense for it: match or return it", ErrInvalid)
			}
		default:
			err = fmt.Errorf("%w: action is match, return or dismiss", ErrInvalid)
		}
		if err != nil {
			return err
		}
		h.Resolution = r.Action + ": " + clean(strings.TrimSpace(r.Note))
		if _, err := tx.Exec(ctx, `UPDATE anchor.quarantine SET resolution = $2 WHERE id = $1`, r.ID, h.Resolution); err != nil {
			return fmt.Errorf("anchor: quarantine: %w", err)
		}
		out = h
		_, err = tx.Record(ctx, audit.Event{Action: "entry.resolved", Subject: r.ID, Data: map[string]any{"resolution": h.Resolution, "transaction": r.Transaction}})
		return err
	})
	return out, err
}

// matchHeld gives an entry's money to a deposit.
func (s *Service) matchHeld(ctx context.Context, tx *audit.Tx, r Resolution, h Held, units *string) error {
	if units == nil {
		return fmt.Errorf("%w: there is no money of ours in it", ErrInvalid)
	}
	t, err := findRow(ctx, tx, `id = $1 AND kind = 'deposit' AND asset = $2`, r.Transaction, h.Currency)
	if err != nil {
		return err
	}
	a, err := s.configOf(t.asset)
	if err != nil {
		return err
	}
	amount, err := a.units(units)
	if err != nil {
		return err
	}
	t.external = h.Reference // the bank's reference of the entry
	refused, err := s.received(ctx, tx, &t, amount)
	if err != nil {
		return err
	}
	if refused != "" {
		return fmt.Errorf("%w: the deposit cannot take it: %s", ErrInvalid, refused)
	}
	return nil
}

// returnHeld opens the job that pays an entry's money back.
func (s *Service) returnHeld(ctx context.Context, tx *audit.Tx, r Resolution, units *string) error {
	if units == nil {
		return fmt.Errorf("%w: it has no money of ours", ErrInvalid)
	}
	a, order, err := s.returnOrder(ctx, tx, r.ID)
	if err != nil {
		return err
	}
	order.probe = true // what no payment file can carry is refused now, while a person looks
	if _, err := s.WritePayout(a.payout(order)); err != nil {
		return fmt.Errorf("%w: the bank cannot pay it back to where it came from: %w", ErrInvalid, err)
	}
	return openJob(ctx, tx, jobPayout, "return/"+r.ID)
}

// returnOrder says what is to be paid to return an entry's money.
func (s *Service) returnOrder(ctx context.Context, r audit.Reader, id string) (a AssetConfig, o payoutOrder, err error) {
	var asset, units, payer, reference string
	err = r.QueryRow(ctx, `SELECT asset, units::text, payer, payer_name, payer_bic, reference FROM anchor.quarantine WHERE id = $1`, id).
		Scan(&asset, &units, &payer, &o.name, &o.bic, &reference)
	if err := missing(err, "entry"); err != nil {
		return a, o, err
	}
	if a, err = s.configOf(asset); err != nil {
		return a, o, err
	}
	o.id, o.text = "R"+id, "Return of "+reference
	o.account = rails.Account{Other: payer}
	if iban, err := rails.ParseIBAN(payer); err == nil {
		o.account = rails.Account{IBAN: iban}
	}
	o.amount, err = a.units(&units)
	return a, o, err
}

// payReturn writes the payout of a return job.
func (s *Service) payReturn(ctx context.Context, tx *audit.Tx, j job, id string) error {
	a, order, err := s.returnOrder(ctx, tx, id)
	if err != nil {
		return err
	}
	return s.writePayout(ctx, tx, payoutJob{job: j, asset: a, order: order})
}

// Parked lists payments that came to us and matched nothing, oldest first, with what became of them.
func (s *Service) Parked(ctx context.Context, p Page) ([]Parked, error) {
	rows, err := s.DB.Reader().Query(ctx, `SELECT hash, payer, asset, units::text, state, reason, at FROM anchor.incoming
		WHERE state <> 'matched' AND (at, hash) > (SELECT coalesce(max(at), '-infinity'), coalesce(max(hash), '') FROM anchor.incoming WHERE hash = $1)
		ORDER BY at, hash, op LIMIT $2`, p.After, p.limit())
	return collect(rows, err, "payments", func(r pgx.CollectableRow) (out Parked, err error) {
		var asset protocol.Asset
		var units, state, reason string
		if err := r.Scan(&out.Hash, &out.From, &asset, &units, &state, &reason, &out.At); err != nil {
			return out, err
		}
		amount, err := ledgerUnits(asset.Code(), units)
		out.Amount, out.Reason = amount.String()+" "+asset.Code(), state+": "+reason
		return out, err
	})
}
