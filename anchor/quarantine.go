package anchor

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/money"
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
	partner, account                     string // who keeps which account of ours; "" when it is for staff
	statement, reason, detail, reference string
	debit, booked                        bool         // money went out; the book has it
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
	_, err := tx.Exec(ctx, `INSERT INTO anchor.quarantine (id, statement, reason, detail, reference, amount, currency, asset, units, payer, payer_name, deposit,
		payer_bic, partner, account, debit, booked) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::numeric, $10, $11, $12, $13, $14, $15, $16, $17)`,
		id, clean(h.statement), h.reason, clean(h.detail), clean(h.reference), amount, currency, h.asset, units, clean(h.payer), clean(h.payerName), h.deposit,
		clean(h.payerBIC), h.partner, h.account, h.debit, h.booked)
	if err != nil {
		return fmt.Errorf("anchor: quarantine: %w", err)
	}
	_, err = tx.Record(ctx, audit.Event{Action: "entry.quarantined", Subject: id, Data: map[string]any{"reason": h.reason, "reference": clean(h.reference),
		"statement": clean(h.statement), "amount": amount, "currency": currency, "booked": h.booked}})
	return err
}

// stored is an entry in quarantine with what only the anchor needs.
type stored struct {
	Held
	partner, account string
	debit, booked    bool
	asset            string  // whose suspense account the money is in, "" when it is not
	units            *string // with asset
}

const heldColumns = `id, statement, reason, detail, reference, amount, currency, at, resolution, partner, account, debit, booked, asset, units::text FROM anchor.quarantine`

func scanHeld(r pgx.Row) (h stored, err error) {
	return h, r.Scan(&h.ID, &h.Statement, &h.Reason, &h.Detail, &h.Reference, &h.Amount, &h.Currency, &h.At, &h.Resolution, &h.partner, &h.account, &h.debit, &h.booked, &h.asset, &h.units)
}

// findHeld returns an entry that waits for this partner.
func findHeld(ctx context.Context, r audit.Reader, partner, id string) (stored, error) {
	h, err := scanHeld(r.QueryRow(ctx, `SELECT `+heldColumns+` WHERE id = $1 AND partner = $2`, id, partner))
	if err := missing(err, "entry"); err != nil {
		return h, err
	}
	if h.Resolution != "" {
		return h, fmt.Errorf("%w: the entry was resolved: %s", ErrConflict, h.Resolution)
	}
	return h, nil
}

// Quarantine lists what could not be placed of a partner's statements, oldest first, resolved or not.
func (s *Service) Quarantine(ctx context.Context, partner string, p Page) ([]Held, error) {
	rows, err := s.DB.Reader().Query(ctx, `SELECT `+heldColumns+` WHERE partner = $1 AND n > coalesce((SELECT n FROM anchor.quarantine WHERE id = $2), 0)
		ORDER BY n LIMIT $3`, partner, p.After, p.limit())
	return collect(rows, err, "quarantine", func(r pgx.CollectableRow) (Held, error) {
		h, err := scanHeld(r)
		return h.Held, err
	})
}

// ResolveQuarantine decides about an entry: give its money to a deposit ("match"), return the money to its sender
// ("return"), say which payout's money it is that came back ("recover"), book what the machine would not book ("book", after which it still waits), say by which other entry the bank
// took the money back ("offset"), or dismiss it with a note ("dismiss"). Errors: ErrNotFound, ErrInvalid, ErrConflict when
// it was decided before.
func (s *Service) ResolveQuarantine(ctx context.Context, who audit.Actor, partner string, r Resolution) (Held, error) {
	if note := strings.TrimSpace(r.Note); note == "" || len(note) > maxDetail {
		return Held{}, fmt.Errorf("%w: a note of at most %d bytes must say why", ErrInvalid, maxDetail)
	}
	var out Held
	err := audit.Do(ctx, s.DB, who, func(ctx context.Context, tx *audit.Tx) error {
		h, err := findHeld(ctx, tx, partner, r.ID)
		if err != nil {
			return err
		}
		switch r.Action {
		case "match":
			err = s.matchHeld(ctx, tx, r, h)
		case "return":
			err = s.returnHeld(ctx, tx, h)
		case "book":
			if err = s.bookHeld(ctx, tx, r, &h); err == nil && !h.debit { // the money is in suspense now, and waits
				out = h.Held
				return nil
			}
		case "offset":
			err = s.offsetHeld(ctx, tx, r, h)
		case "recover":
			err = s.recoverHeld(ctx, tx, r, h)
		case "dismiss":
			if h.units != nil {
				err = fmt.Errorf("%w: there is money in suspense for it: match, return or offset it", ErrInvalid)
			}
		default:
			err = fmt.Errorf("%w: action is match, return, recover, book, offset or dismiss", ErrInvalid)
		}
		if err != nil {
			return err
		}
		out, err = resolveHeld(ctx, tx, r, h)
		return err
	})
	return out, err
}

// resolveHeld writes down what was decided.
func resolveHeld(ctx context.Context, tx *audit.Tx, r Resolution, h stored) (Held, error) {
	h.Resolution = r.Action + ": " + clean(strings.TrimSpace(r.Note))
	if _, err := tx.Exec(ctx, `UPDATE anchor.quarantine SET resolution = $2 WHERE id = $1`, h.ID, h.Resolution); err != nil {
		return Held{}, fmt.Errorf("anchor: quarantine: %w", err)
	}
	_, err := tx.Record(ctx, audit.Event{Action: "entry.resolved", Subject: h.ID, Data: map[string]any{"resolution": h.Resolution, "transaction": r.Transaction}})
	return h.Held, err
}

// inSuspense returns the asset and the amount of an entry whose money is in suspense.
func (s *Service) inSuspense(h stored) (AssetConfig, money.Amount, error) {
	if h.units == nil {
		return AssetConfig{}, money.Amount{}, fmt.Errorf("%w: there is no money of ours in it", ErrInvalid)
	}
	a, err := s.configOf(h.asset)
	if err != nil {
		return a, money.Amount{}, err
	}
	amount, err := a.units(h.units)
	return a, amount, err
}

// matchHeld gives an entry's money to a deposit.
func (s *Service) matchHeld(ctx context.Context, tx *audit.Tx, r Resolution, h stored) error {
	a, amount, err := s.inSuspense(h)
	if err != nil {
		return err
	}
	t, err := findRow(ctx, tx, `id = $1 AND kind = 'deposit' AND asset = $2`, r.Transaction, a.Code)
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

// bookable are the reasons for which an entry of ours may not be in the book although its money moved.
var bookable = map[string]bool{"duplicate": true, "malformed": true, "unmatched": true, "reversal": true, "wrong-account": true, "paid-before": true, "payout-amount-differs": true, "paid-after-refusal": true}

// bookHeld books an entry on the word of the person who looked at the bank's own account: two bookings that the bank gave
// one reference, or one that no machine could read.
func (s *Service) bookHeld(ctx context.Context, tx *audit.Tx, r Resolution, h *stored) error {
	a, ours := s.accountOf(h.partner, h.account)
	if h.booked || !ours || !bookable[h.Reason] {
		return fmt.Errorf("%w: it is booked already, or it is no booking of our account", ErrInvalid)
	}
	c, err := rails.BankCurrency(a.Code)
	if err != nil {
		return err
	}
	cents, err := money.Parse(c, r.Amount)
	if err != nil || cents.IsZero() {
		return fmt.Errorf("%w: amount %.40q is not a positive amount of %s", ErrInvalid, r.Amount, a.Code)
	}
	if h.Amount != "" && (h.Currency != a.Code || h.Amount != cents.Decimal()) {
		return fmt.Errorf("%w: the entry says %s %s", ErrInvalid, h.Amount, h.Currency)
	}
	amount, err := cents.Rescale(a.currency())
	if err != nil {
		return err
	}
	if _, err := claim(ctx, tx, a, rails.Entry{Ref: h.Reference}, &heldEntry{statement: h.Statement}); err != nil {
		return err // whoever brings the entry again is told that it is here
	}
	ref := "booked/" + h.ID // once, whatever happens
	data := map[string]any{"amount": amount.String(), "transfer": ref, "note": clean(strings.TrimSpace(r.Note))}
	if _, err := tx.Record(ctx, audit.Event{Action: "entry.booked", Subject: h.ID, Data: data}); err != nil {
		return err
	}
	asset, units := "", (*string)(nil)
	if h.debit {
		booked, err := s.charge(ctx, tx, a, ref, amount)
		if err != nil {
			return err
		}
		if !booked {
			return fmt.Errorf("%w: the book has less than %s at the bank", ErrInvalid, amount)
		}
	} else {
		if err := s.receipt(ctx, tx, a, ref, amount); err != nil {
			return err
		}
		n := amount.Numeric()
		asset, units = a.Code, &n
	}
	_, err = tx.Exec(ctx, `UPDATE anchor.quarantine SET booked = true, asset = $2, units = $3::numeric WHERE id = $1`, h.ID, asset, units)
	if err != nil {
		return fmt.Errorf("anchor: quarantine: %w", err)
	}
	return nil
}

// offsetHeld takes an entry's money out of suspense because the bank took it back by another entry, which is unexplained
// until now. Both are resolved.
func (s *Service) offsetHeld(ctx context.Context, tx *audit.Tx, r Resolution, h stored) error {
	a, amount, err := s.inSuspense(h)
	if err != nil {
		return err
	}
	back, err := findHeld(ctx, tx, h.partner, r.Transaction)
	if err != nil {
		return err
	}
	if !back.debit || back.account != h.account || back.Currency != a.Code || !back.booked || !a.saidToBe(back.Amount, amount) {
		return fmt.Errorf("%w: the other entry is no debit of that amount on that account", ErrInvalid)
	}
	err = s.fact(ctx, tx, book.Transfer{Debit: a.suspense(), Credit: a.unexplained(), Amount: amount, Ref: "offset/" + h.ID})
	if err != nil {
		return err
	}
	_, err = resolveHeld(ctx, tx, Resolution{Action: "offset", Transaction: h.ID, Note: r.Note}, back)
	return err
}

// saidToBe reports whether what the bank said, in its own decimals, is an amount of the book.
func (a AssetConfig) saidToBe(said string, amount money.Amount) bool {
	cents, err := a.cents(amount)
	return err == nil && cents.Decimal() == said
}

// returnHeld opens the job that pays an entry's money back.
func (s *Service) returnHeld(ctx context.Context, tx *audit.Tx, h stored) error {
	if _, _, err := s.inSuspense(h); err != nil {
		return err
	}
	a, order, err := s.returnOrder(ctx, tx, h.ID)
	if err != nil {
		return err
	}
	order.probe = true // what no payment file can carry is refused now, while a person looks
	if _, err := s.WritePayout(a.payout(order)); err != nil {
		return fmt.Errorf("%w: the bank cannot pay it back to where it came from: %w", ErrInvalid, err)
	}
	return openJob(ctx, tx, jobPayout, "return/"+h.ID)
}

// maxReturned bounds the reference in the text of a return, in bytes, so that a payment file can carry the text.
const maxReturned = 100

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
	o.id, o.text = "R"+id, "Return of "+reference[:min(len(reference), maxReturned)]
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
