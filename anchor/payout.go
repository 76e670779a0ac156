package anchor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/anchor/flow"
	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/node/protocol"
)

// payoutOrder is a payment that the bank is to make.
type payoutOrder struct {
	id      string // of the payout, and its EndToEndId
	amount  money.Amount
	account rails.Account // whom it is paid to
	bic     string
	name    string
	text    string
	at      time.Time
	probe   bool // only to see whether a file could be written
}

// payout makes the file's content.
func (a AssetConfig) payout(o payoutOrder) rails.Payout {
	amount, err := a.cents(o.amount)
	if o.probe {
		var c money.Currency
		if c, err = rails.BankCurrency(a.Code); err == nil {
			amount, err = money.FromInt(c, 1)
		}
		o.at = time.Unix(0, 0).UTC()
	}
	if err != nil {
		amount = money.Amount{} // refused by the writer
	}
	return rails.Payout{MessageID: o.id, CreatedAt: o.at, ExecuteOn: o.at, Debtor: a.Bank, Items: []rails.PayoutItem{{
		EndToEndID: o.id, Amount: amount, Creditor: rails.Party{Name: o.name, Account: o.account, BIC: o.bic}, Remittance: o.text}}}
}

// runPayout writes the file of a payout job: once, since the row of the payout is unique by its origin.
func (s *Service) runPayout(ctx context.Context, j job) error {
	err := s.tryPayout(ctx, j)
	var refusal *compliance.Refusal
	if errors.As(err, &refusal) {
		return errors.Join(err, s.withhold(ctx, j))
	}
	return err
}

// withhold lets a customer see that his payout waits for a person. The job goes on trying.
func (s *Service) withhold(ctx context.Context, j job) error {
	if !strings.HasPrefix(j.ref, "withdrawal/") {
		return nil
	}
	return audit.Do(ctx, s.DB, worker, func(ctx context.Context, tx *audit.Tx) error {
		t, err := payoutWithdrawal(ctx, tx, j.ref)
		if err != nil {
			return err
		}
		if t.state, _, err = flow.Step(flow.Withdrawal, t.state, flow.Refused); err != nil {
			return audit.ErrUnchanged // withheld already, or written in the meantime
		}
		t.message = "The payment is being looked at."
		if err := updateRow(ctx, tx, t); err != nil {
			return err
		}
		_, err = tx.Record(ctx, audit.Event{Action: "withdrawal.withheld", Subject: t.ID})
		return err
	})
}

func (s *Service) tryPayout(ctx context.Context, j job) error {
	return audit.Do(ctx, s.DB, worker, func(ctx context.Context, tx *audit.Tx) error {
		if err := stillOpen(ctx, tx, j); err != nil {
			return err
		}
		what, id, _ := strings.Cut(j.ref, "/")
		if what == "return" {
			return s.payReturn(ctx, tx, j, id)
		}
		t, err := payoutWithdrawal(ctx, tx, j.ref)
		if err != nil {
			return err
		}
		a, err := s.configOf(t.asset)
		if err != nil {
			return err
		}
		var effects []flow.Effect
		if t.state, effects, err = flow.Step(flow.Withdrawal, t.state, flow.Written); err != nil {
			return err
		}
		amount, err := a.units(t.amount)
		if err != nil {
			return err
		}
		order := payoutOrder{id: t.order(), amount: amount, account: rails.Account{IBAN: rails.IBAN(t.iban)}, name: t.name, text: "Withdrawal"}
		if err := s.writePayout(ctx, tx, payoutJob{job: j, asset: a, subject: t.account, effects: effects, order: order}); err != nil {
			return err
		}
		t.external, t.message = order.id, ""
		if err := updateRow(ctx, tx, t); err != nil {
			return err
		}
		_, err = tx.Record(ctx, audit.Event{Action: "withdrawal.paid", Subject: t.ID, Data: map[string]any{"payout": order.id, "transfer": payoutRef(j.ref)}})
		return err
	})
}

// payoutJob is a payout about to be written.
type payoutJob struct {
	job     job
	asset   AssetConfig
	subject protocol.AccountID // whose withdrawal it is; zero for the return of money that was nobody's
	effects []flow.Effect      // of the withdrawal's step; none for a return, which leaves the suspense account
	order   payoutOrder
}

// payoutRef names the movement and the transfer of a payout.
func payoutRef(origin string) string { return "payout/" + origin }

// writePayout clears, holds, writes and stores a payout, and ends its job. A refusal is an error, after which nothing is
// stored and the job waits: the debt is the customer's, and whoever lifts a limit or unfreezes him needs no other step.
func (s *Service) writePayout(ctx context.Context, tx *audit.Tx, p payoutJob) error {
	ref := payoutRef(p.job.ref)
	movement := compliance.Movement{Ref: ref, Kind: compliance.Payout, Subject: p.subject, Amount: p.order.amount}
	clearance, err := s.Gate.Check(ctx, tx, movement)
	if err != nil {
		return err
	}
	with := step{ref: ref, asset: p.asset, amount: p.order.amount, clearance: clearance}
	if p.effects == nil {
		err = s.holdTransfer(ctx, tx, with, p.asset.suspense(), p.asset.bank())
	} else {
		err = s.perform(ctx, tx, p.effects, with)
	}
	if err != nil {
		return err
	}
	p.order.at = s.Now().UTC().Truncate(time.Second)
	file, err := s.WritePayout(p.asset.payout(p.order))
	if err != nil {
		return fmt.Errorf("anchor: payout %s: %w", p.order.id, err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO anchor.payout (id, origin, transfer, asset, units, state, file) VALUES ($1, $2, $3, $4, $5::numeric, 'written', $6)`,
		p.order.id, p.job.ref, ref, p.asset.Code, p.order.amount.Numeric(), file)
	if err != nil {
		return fmt.Errorf("anchor: payout %s: %w", p.order.id, err)
	}
	sum := sha256.Sum256(file)
	_, err = tx.Record(ctx, audit.Event{Action: "payout.written", Subject: p.order.id, Data: map[string]any{
		"amount": p.order.amount.String(), "sha256": hex.EncodeToString(sum[:]), "transfer": ref}})
	if err != nil {
		return err
	}
	return closeJob(ctx, tx, p.job.kind, p.job.ref)
}

// debited carries out that the bank's statement shows a payout. It returns why the entry cannot be one.
func (s *Service) debited(ctx context.Context, tx *audit.Tx, a AssetConfig, e rails.Entry, amount money.Amount) (refused string, err error) {
	p, err := findPayout(ctx, tx, e.EndToEndID, a.Code)
	switch {
	case errors.Is(err, ErrNotFound):
		return "unmatched", nil
	case err != nil:
		return "", err
	case p.state == "refused":
		return s.paidLate(ctx, tx, a, p, amount)
	case p.state != "written":
		return "paid-before", nil
	case p.units != amount.Numeric():
		return "payout-amount-differs", nil
	}
	if err := p.become(ctx, tx, "paid", map[string]any{"entry": e.Ref}); err != nil {
		return "", err
	}
	if !p.isWithdrawal() {
		return "", s.perform(ctx, tx, []flow.Effect{flow.PostPayout}, step{ref: p.transfer})
	}
	t, err := payoutWithdrawal(ctx, tx, p.origin)
	if err != nil {
		return "", err
	}
	var effects []flow.Effect
	if t.state, effects, err = flow.Step(flow.Withdrawal, t.state, flow.Debited); err != nil {
		return "", err
	}
	if err := s.perform(ctx, tx, effects, step{ref: p.transfer, id: t.ID}); err != nil {
		return "", err
	}
	if err := updateRow(ctx, tx, t); err != nil {
		return "", err
	}
	_, err = tx.Record(ctx, audit.Event{Action: "withdrawal.completed", Subject: t.ID, Data: map[string]any{"transfer": p.transfer}})
	return "", err
}

// assetsOf returns the codes of the assets whose bank account a partner keeps.
func (s *Service) assetsOf(partner string) []string {
	codes := []string{}
	for _, a := range s.cfg.Assets {
		if a.Partner == partner {
			codes = append(codes, a.Code)
		}
	}
	return codes
}

// Payouts lists what a partner, as the bank, was asked to pay, oldest first.
func (s *Service) Payouts(ctx context.Context, partner string, p Page) ([]Payout, error) {
	rows, err := s.DB.Reader().Query(ctx, `SELECT id, state, asset, units::text, at FROM anchor.payout
		WHERE asset = ANY($1) AND n > coalesce((SELECT n FROM anchor.payout WHERE id = $2), 0) ORDER BY n LIMIT $3`, s.assetsOf(partner), p.After, p.limit())
	return collect(rows, err, "payouts", func(r pgx.CollectableRow) (out Payout, err error) {
		var code, units string
		if err := r.Scan(&out.ID, &out.State, &code, &units, &out.Created); err != nil {
			return out, err
		}
		out.Asset, out.Amount, err = s.shown(code, units)
		return out, err
	})
}

// PayoutFile returns the file of a payout that the partner is asked to make. Errors: ErrNotFound, ErrConflict when he has
// refused it.
func (s *Service) PayoutFile(ctx context.Context, partner, id string) (File, error) {
	var body []byte
	var state string
	err := missing(s.DB.Reader().QueryRow(ctx, `SELECT file, state FROM anchor.payout WHERE id = $1 AND asset = ANY($2)`, id, s.assetsOf(partner)).Scan(&body, &state), "payout")
	if err == nil && state == "refused" { // whoever fetches it late must not pay it
		return File{}, fmt.Errorf("%w: the payout is refused", ErrConflict)
	}
	return File{Name: id + ".xml", Body: body}, err
}

// shown turns units of the book into an amount of the ledger and its asset.
func (s *Service) shown(code, units string) (protocol.Asset, protocol.Amount, error) {
	a, err := s.configOf(code)
	if err != nil {
		return protocol.Asset{}, protocol.Amount{}, err
	}
	m, err := a.units(&units)
	if err != nil {
		return protocol.Asset{}, protocol.Amount{}, err
	}
	amount, err := m.Ledger()
	return a.asset(), amount, err
}
