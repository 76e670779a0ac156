package anchor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/money"
)

// ImportStatement reads a bank statement and books what it can. Every good credit is booked as received, matched by its
// reference to a deposit or put into quarantine; a debit is matched to a payout. The same file again changes nothing.
// Error: ErrInvalid for a file that cannot be read at all.
func (s *Service) ImportStatement(ctx context.Context, who audit.Actor, file []byte) (Imported, error) {
	sum := sha256.Sum256(file)
	hash := hex.EncodeToString(sum[:])
	statements, err := s.ParseStatement(file)
	if err != nil {
		return Imported{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var out Imported
	err = audit.Do(ctx, s.DB, who, func(ctx context.Context, tx *audit.Tx) error {
		out = Imported{}
		var before []byte
		err := tx.QueryRow(ctx, `SELECT summary FROM anchor.statement WHERE hash = $1`, hash).Scan(&before)
		if err == nil {
			if err := json.Unmarshal(before, &out); err != nil {
				return fmt.Errorf("anchor: statement %s: %w", hash, err)
			}
			out.Again = true
			return audit.ErrUnchanged
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("anchor: statement: %w", err)
		}
		ids := make([]string, len(statements))
		for i, st := range statements {
			ids[i] = st.ID
			if err := s.importOne(ctx, tx, st, &out); err != nil {
				return fmt.Errorf("anchor: statement %s: %w", st.ID, err)
			}
		}
		out.Statement = strings.Join(ids, ",")
		return storeStatement(ctx, tx, hash, out)
	})
	return out, err
}

func storeStatement(ctx context.Context, tx *audit.Tx, hash string, out Imported) error {
	summary, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("anchor: statement: %w", err)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO anchor.statement (hash, id, summary) VALUES ($1, $2, $3)`, hash, clean(out.Statement), summary); err != nil {
		return fmt.Errorf("anchor: statement: %w", err)
	}
	_, err = tx.Record(ctx, audit.Event{Action: "statement.imported", Subject: hash, Data: map[string]any{"statement": out.Statement,
		"entries": out.Entries, "booked": out.Booked, "matched": out.Matched, "quarantined": out.Quarantined}})
	return err
}

// importOne places every entry of a statement, and shows every defect.
func (s *Service) importOne(ctx context.Context, tx *audit.Tx, st rails.Statement, out *Imported) error {
	a, ours := s.accountOf(st.Account)
	for _, d := range st.Defects {
		out.Entries++
		out.Quarantined++
		held := heldEntry{statement: st.ID, reason: "malformed", detail: d.Reason + ": " + d.Raw, reference: fmt.Sprintf("entry %d", d.Index)}
		if err := s.quarantine(ctx, tx, held); err != nil {
			return err
		}
	}
	for _, e := range st.Entries {
		out.Entries++
		held := heldEntry{statement: st.ID, reference: e.Ref, detail: strings.Join(e.Remittance, " "), payer: e.Debtor.Account.String(), payerName: e.Debtor.Name, payerBIC: e.Debtor.BIC,
			raw: e.Amount}
		var reason string
		var err error
		if !ours {
			reason = "wrong-account"
		} else if reason, err = s.placeEntry(ctx, tx, a, e, &held); err != nil {
			return err
		}
		switch {
		case reason == "":
			out.Matched++
		default:
			out.Quarantined++
			held.reason = reason
			if err := s.quarantine(ctx, tx, held); err != nil {
				return err
			}
		}
		if reason == "" || held.asset != "" {
			out.Booked++
		}
	}
	return nil
}

// accountOf returns the asset whose bank account a statement is about.
func (s *Service) accountOf(account rails.Account) (AssetConfig, bool) {
	for _, a := range s.cfg.Assets {
		if a.Bank.Account == account {
			return a, true
		}
	}
	return AssetConfig{}, false
}

// placeEntry books an entry and finds what it is for. It returns why it cannot be placed; held.asset is set when its money
// is in suspense.
func (s *Service) placeEntry(ctx context.Context, tx *audit.Tx, a AssetConfig, e rails.Entry, held *heldEntry) (reason string, err error) {
	switch {
	case e.Status != rails.Booked:
		return "not-booked", nil
	case e.Reversal:
		return "reversal", nil
	case e.Amount.Currency().Code() != a.Code:
		return "wrong-currency", nil
	}
	amount, err := e.Amount.Rescale(a.currency())
	if err != nil {
		return "malformed", nil
	}
	account := a.Bank.Account.String()
	tag, err := tx.Exec(ctx, `INSERT INTO anchor.entry (iban, ref, statement, payer, payer_name, payer_bic) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT DO NOTHING`, account, clean(e.Ref), clean(held.statement), clean(held.payer), clean(held.payerName), clean(held.payerBIC))
	if err != nil {
		return "", fmt.Errorf("anchor: entry %s: %w", e.Ref, err)
	}
	if tag.RowsAffected() == 0 {
		return "duplicate", nil
	}
	if !e.Credit {
		return s.debited(ctx, tx, a, e, amount)
	}
	if err := s.receipt(ctx, tx, a, e, amount); err != nil {
		return "", err
	}
	reason, deposit, err := s.matchEntry(ctx, tx, a, e, amount)
	if reason != "" {
		held.asset, held.amount, held.deposit = a.Code, amount, deposit
	}
	return reason, err
}

// receipt books that the bank has the money, whatever it is for.
func (s *Service) receipt(ctx context.Context, tx *audit.Tx, a AssetConfig, e rails.Entry, amount money.Amount) error {
	sum := sha256.Sum256([]byte(a.Bank.Account.String() + "\n" + e.Ref))
	ref := "receipt/" + hex.EncodeToString(sum[:16])
	clearance, err := s.Gate.Check(ctx, tx, compliance.Movement{Ref: ref, Kind: compliance.Receipt, Amount: amount})
	if err != nil {
		return err
	}
	transfer := book.Transfer{ID: book.TransferID(ref), Debit: a.bank(), Credit: a.suspense(), Amount: amount, Ref: ref}
	if _, err := s.Custody.Hold(ctx, tx, clearance, transfer); err != nil {
		return err
	}
	_, err = s.Custody.Post(ctx, tx, transfer.ID)
	return err
}

// matchEntry finds the deposit whose reference is in an entry's text, and lets it take the money.
func (s *Service) matchEntry(ctx context.Context, tx *audit.Tx, a AssetConfig, e rails.Entry, amount money.Amount) (reason, deposit string, err error) {
	if e.Details > 1 {
		return "batch", "", nil // one sum for several payments belongs to nobody in particular
	}
	var found []row
	seen := map[string]bool{}
	for _, reference := range referencesIn(append(append([]string{e.EndToEndID}, e.Remittance...), e.CreditorRef...)) {
		if seen[reference] {
			continue
		}
		seen[reference] = true
		t, err := findRow(ctx, tx, `reference = $1 AND asset = $2`, reference, a.Code)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return "", "", err
		}
		found = append(found, t)
	}
	switch len(found) {
	case 0:
		return "unmatched", "", nil
	case 1:
	default:
		return "ambiguous", "", nil
	}
	t := found[0]
	t.external = clean(e.Ref)
	reason, err = s.received(ctx, tx, &t, amount)
	return reason, t.ID, err
}
