package anchor

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/money"
)

const (
	// piece is how many entries are placed in one transaction: enough that the commit costs little, few enough that
	// others do not wait.
	piece = 25
	// abandoned is how long a statement lies half read before a worker reads on: whoever brought it is doing so himself.
	abandoned = 5 * time.Second
)

// ImportStatement reads a bank statement that a partner brings and books what it can. Every good credit is booked as
// received, matched by its reference to a deposit or put into quarantine; a debit is matched to a payout, or booked as
// unexplained and put into quarantine. The file is stored first and then placed piece by piece, so that one that is
// interrupted goes on where it was, when it is brought again or by itself. The same file again changes nothing.
// Error: ErrInvalid for a file that cannot be read at all.
func (s *Service) ImportStatement(ctx context.Context, who audit.Actor, partner string, file []byte) (Imported, error) {
	sum := sha256.Sum256(file)
	r, err := s.readingOf(partner, hex.EncodeToString(sum[:]), file)
	if err != nil {
		return Imported{}, err
	}
	if before, err := s.storeStatement(ctx, who, r, file); err != nil || before.Again {
		return before, err
	}
	for {
		s.Failpoint("statement.before")
		done, out, err := s.readOn(ctx, who, r)
		s.Failpoint("statement.after")
		if err != nil || done {
			return out, err
		}
	}
}

// reading is a statement file that is being read.
type reading struct {
	partner, hash string
	statements    []rails.Statement
	id            string // of the statements in it, as the bank has them
	items         []item
}

func (r reading) ref() string { return r.partner + "/" + r.hash }

// item is one entry of a file, or one defect, with the statement it is in. Exactly one of the two is set.
type item struct {
	statement *rails.Statement
	entry     *rails.Entry
	defect    *rails.Defect
}

// readingOf takes a file apart, always in the same order.
func (s *Service) readingOf(partner, hash string, file []byte) (reading, error) {
	statements, err := s.ParseStatement(file)
	if err != nil {
		return reading{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	r := reading{partner: partner, hash: hash, statements: statements}
	ids := make([]string, len(statements))
	for i := range statements {
		st := &statements[i]
		ids[i] = st.ID
		for d := range st.Defects {
			r.items = append(r.items, item{statement: st, defect: &st.Defects[d]})
		}
		for e := range st.Entries {
			r.items = append(r.items, item{statement: st, entry: &st.Entries[e]})
		}
	}
	r.id = clean(strings.Join(ids, ","))
	return r, nil
}

// storeStatement keeps the file, with a job to read it to its end. It returns what became of it, marked Again, when it was
// read to its end before.
func (s *Service) storeStatement(ctx context.Context, who audit.Actor, r reading, file []byte) (before Imported, err error) {
	err = audit.Do(ctx, s.DB, who, func(ctx context.Context, tx *audit.Tx) error {
		before = Imported{}
		p, err := findProgress(ctx, tx, r)
		switch {
		case err == nil:
			if p.done {
				before, before.Again = p.out, true
			}
			return audit.ErrUnchanged
		case !errors.Is(err, ErrNotFound):
			return err
		}
		summary, err := json.Marshal(Imported{Statement: r.id})
		if err != nil {
			return fmt.Errorf("anchor: statement: %w", err)
		}
		_, err = tx.Exec(ctx, `INSERT INTO anchor.statement (partner, hash, id, summary, file) VALUES ($1, $2, $3, $4, $5)`,
			r.partner, r.hash, r.id, summary, file)
		if err != nil {
			return fmt.Errorf("anchor: statement: %w", err)
		}
		if err := openJob(ctx, tx, jobStatement, r.ref()); err != nil {
			return err
		}
		_, err = tx.Record(ctx, audit.Event{Action: "statement.received", Subject: r.hash, Data: map[string]any{"partner": r.partner, "entries": len(r.items)}})
		return err
	})
	return before, err
}

// progress is how far a statement was read.
type progress struct {
	out  Imported
	next int
	done bool
}

func findProgress(ctx context.Context, r audit.Reader, of reading) (p progress, err error) {
	var summary []byte
	err = missing(r.QueryRow(ctx, `SELECT summary, next, done FROM anchor.statement WHERE partner IN ($1, '') AND hash = $2`, of.partner, of.hash). // '': read before partners were kept

																			Scan(&summary, &p.next, &p.done), "statement")
	if err == nil {
		err = json.Unmarshal(summary, &p.out)
	}
	return p, err
}

// readOn places the next piece of a statement. Two who read the same one get in each other's way and do no harm.
func (s *Service) readOn(ctx context.Context, who audit.Actor, r reading) (done bool, out Imported, err error) {
	err = audit.Do(ctx, s.DB, who, func(ctx context.Context, tx *audit.Tx) error {
		p, err := findProgress(ctx, tx, r)
		if err != nil {
			return err
		}
		if done, out = p.done, p.out; done { // somebody else has read it to its end
			out.Again = true
			return audit.ErrUnchanged
		}
		end := min(p.next+piece, len(r.items))
		for _, it := range r.items[p.next:end] {
			if err := s.placeItem(ctx, tx, r.partner, it, &p.out); err != nil {
				return fmt.Errorf("anchor: statement %s: %w", it.statement.ID, err)
			}
		}
		if done = end == len(r.items); done {
			if p.out.Warning, err = s.compare(ctx, tx, r); err != nil {
				return err
			}
		}
		out = p.out
		summary, err := json.Marshal(out)
		if err != nil {
			return fmt.Errorf("anchor: statement: %w", err)
		}
		_, err = tx.Exec(ctx, `UPDATE anchor.statement SET summary = $3, next = $4, done = $5, touched = now() WHERE partner = $1 AND hash = $2`,
			r.partner, r.hash, summary, end, done)
		if err != nil {
			return fmt.Errorf("anchor: statement: %w", err)
		}
		action := "statement.read"
		if done {
			action = "statement.imported"
			if err := closeJob(ctx, tx, jobStatement, r.ref()); err != nil {
				return err
			}
		}
		_, err = tx.Record(ctx, audit.Event{Action: action, Subject: r.hash, Data: map[string]any{"statement": out.Statement,
			"entries": out.Entries, "booked": out.Booked, "matched": out.Matched, "quarantined": out.Quarantined}})
		return err
	})
	return done, out, err
}

// resumeStatement reads on where whoever brought a statement was interrupted.
func (s *Service) resumeStatement(ctx context.Context, j job) error {
	partner, hash, _ := strings.Cut(j.ref, "/")
	var file []byte
	err := s.DB.Reader().QueryRow(ctx, `SELECT file FROM anchor.statement WHERE partner = $1 AND hash = $2 AND touched < now() - $3::interval`,
		partner, hash, abandoned).Scan(&file)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // somebody is at it
	}
	if err != nil {
		return fmt.Errorf("anchor: statement: %w", err)
	}
	r, err := s.readingOf(partner, hash, file)
	for done := false; err == nil && !done; {
		done, _, err = s.readOn(ctx, worker, r)
	}
	return err
}

// placeItem places one entry, or shows one defect.
func (s *Service) placeItem(ctx context.Context, tx *audit.Tx, partner string, it item, out *Imported) error {
	a, ours := s.accountOf(partner, it.statement.Account.String())
	out.Entries++
	held := heldEntry{partner: partner, statement: it.statement.ID, account: it.statement.Account.String()}
	var err error
	switch {
	case it.defect != nil:
		held.reason, held.detail, held.reference = "malformed", it.defect.Reason+": "+it.defect.Raw, fmt.Sprintf("entry %d", it.defect.Index)
	default:
		e := it.entry
		held.reference, held.detail, held.raw, held.debit = e.Ref, strings.Join(e.Remittance, " "), e.Amount, !e.Credit
		held.payer, held.payerName, held.payerBIC = e.Debtor.Account.String(), e.Debtor.Name, e.Debtor.BIC
		if held.reason = "wrong-account"; ours {
			held.reason, err = s.placeEntry(ctx, tx, a, *e, &held)
		}
	}
	if err != nil {
		return err
	}
	if held.reason == "" || held.booked {
		out.Booked++
	}
	if held.reason == "" {
		out.Matched++
		return nil
	}
	out.Quarantined++
	return s.quarantine(ctx, tx, held)
}

// accountOf returns the asset whose bank account a statement is about, when this partner keeps it.
func (s *Service) accountOf(partner, account string) (AssetConfig, bool) {
	for _, a := range s.cfg.Assets {
		if a.Bank.Account.String() == account && a.Partner == partner {
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
	case e.Amount.Currency().Code() != a.Code:
		return "wrong-currency", nil
	}
	amount, err := e.Amount.Rescale(a.currency())
	if err != nil {
		return "malformed", nil
	}
	isNew, err := claim(ctx, tx, a, e, held)
	if err != nil {
		return "", err
	}
	if !isNew {
		return "duplicate", nil
	}
	if !e.Credit {
		reason, held.booked, err = s.placeDebit(ctx, tx, a, e, amount)
		return reason, err
	}
	held.booked = true
	if err := s.receipt(ctx, tx, a, entryRef(a, e.Ref), amount); err != nil {
		return "", err
	}
	var deposit string
	switch {
	case e.Reversal:
		reason = "reversal"
	case e.Return != "":
		reason, err = s.placeReturn(ctx, tx, a, e, amount) // what we asked the bank to pay came back, perhaps with the text of somebody's deposit
	default:
		reason, deposit, err = s.matchEntry(ctx, tx, a, e, amount)
	}
	if reason != "" {
		held.asset, held.amount, held.deposit = a.Code, amount, deposit
	}
	return reason, err
}

// claim takes an entry's reference, once for ever, and reports whether it was free. A payment of a batch needs the batch's
// reference, too, for the same number of payments: its sum, or another split of it, is the same money.
func claim(ctx context.Context, tx *audit.Tx, a AssetConfig, e rails.Entry, held *heldEntry) (isNew bool, err error) {
	base, parts := cmp.Or(e.Base, e.Ref), max(1, e.Parts)
	take := func(ref string, parts int) (bool, error) {
		tag, err := tx.Exec(ctx, `INSERT INTO anchor.entry (iban, ref, statement, payer, payer_name, payer_bic, parts) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT DO NOTHING`, a.Bank.Account.String(), clean(ref), clean(held.statement), clean(held.payer), clean(held.payerName), clean(held.payerBIC), parts)
		if err != nil {
			return false, fmt.Errorf("anchor: entry %s: %w", ref, err)
		}
		return tag.RowsAffected() == 1, nil
	}
	isNew, err = take(base, parts)
	if err != nil || base == e.Ref {
		return isNew, err
	}
	var before int
	if err := tx.QueryRow(ctx, `SELECT parts FROM anchor.entry WHERE iban = $1 AND ref = $2`, a.Bank.Account.String(), clean(base)).Scan(&before); err != nil {
		return false, fmt.Errorf("anchor: entry %s: %w", base, err)
	}
	if before != parts {
		return false, nil
	}
	return take(e.Ref, 0)
}

// placeDebit finds the payout that a debit is, or books that the money is gone for a reason that nobody knows yet.
func (s *Service) placeDebit(ctx context.Context, tx *audit.Tx, a AssetConfig, e rails.Entry, amount money.Amount) (reason string, booked bool, err error) {
	if reason = "reversal"; !e.Reversal {
		if reason, err = s.debited(ctx, tx, a, e, amount); err != nil || reason == "" {
			return "", true, err
		}
	}
	booked, err = s.charge(ctx, tx, a, entryRef(a, e.Ref), amount)
	return reason, booked, err
}

// entryRef names the transfer that books an entry, by the bank's reference of it.
func entryRef(a AssetConfig, ref string) string {
	sum := sha256.Sum256([]byte(a.Bank.Account.String() + "\n" + ref))
	return "receipt/" + hex.EncodeToString(sum[:16])
}

// receipt books that the bank has the money, whatever it is for.
func (s *Service) receipt(ctx context.Context, tx *audit.Tx, a AssetConfig, ref string, amount money.Amount) error {
	return s.fact(ctx, tx, book.Transfer{Debit: a.bank(), Credit: a.suspense(), Amount: amount, Ref: ref})
}

// charge books that the bank has less, for a reason that is not known. What the book does not have there cannot be taken
// away: then nothing is booked, and a person sees the entry all the same.
func (s *Service) charge(ctx context.Context, tx *audit.Tx, a AssetConfig, ref string, amount money.Amount) (booked bool, err error) {
	if booked, err = s.covered(ctx, tx, a.bank(), amount); err != nil || !booked {
		return false, err
	}
	return true, s.fact(ctx, tx, book.Transfer{Debit: a.unexplained(), Credit: a.bank(), Amount: amount, Ref: ref})
}

// fact books something that has happened, whatever we think of it.
func (s *Service) fact(ctx context.Context, tx *audit.Tx, t book.Transfer) error {
	clearance, err := s.Gate.Check(ctx, tx, compliance.Movement{Ref: t.Ref, Kind: compliance.Receipt, Amount: t.Amount})
	if err != nil {
		return err
	}
	t.ID = book.TransferID(t.Ref)
	if _, err := s.Custody.Hold(ctx, tx, clearance, t); err != nil {
		return err
	}
	_, err = s.Custody.Post(ctx, tx, t.ID)
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
