package anchor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/anchor/flow"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/node/protocol"
)

// statuses are the states of both machines as SEP-6 names them.
var statuses = map[flow.State]string{flow.Awaiting: "pending_user_transfer_start", flow.Issuing: "pending_anchor", flow.NeedsLine: "pending_trust", flow.OnHold: "on_hold",
	flow.Burning: "pending_anchor", flow.Paying: "pending_external", flow.Withheld: "on_hold", flow.AtBank: "pending_external", flow.Completed: "completed",
	flow.Bounced: "on_hold", flow.Returning: "pending_anchor", flow.Refunded: "refunded"}

// view shows a transaction as its customer sees it.
func (s *Service) view(t row) (Transaction, error) {
	a, err := s.configOf(t.asset)
	if err != nil {
		return Transaction{}, err
	}
	out := Transaction{ID: t.ID, Status: statuses[t.state], Message: t.message, Account: t.account, Asset: a.asset(), Started: t.created, Updated: t.updated,
		ExternalTx: t.external, Distribution: a.Distribution, Bank: a.account()}
	shown := t.amount
	if shown == nil {
		shown = t.expected
	}
	if shown != nil {
		if out.AmountIn, err = ledgerUnits(t.asset, *shown); err != nil {
			return out, err
		}
		out.AmountOut = out.AmountIn
	}
	if t.completed != nil {
		out.Completed = *t.completed
	}
	if t.ledgerTx != "" {
		if out.LedgerTx, err = protocol.ParseHash(t.ledgerTx); err != nil {
			return out, err
		}
	}
	out.Kind, out.Memo = Deposit, protocol.NoMemo()
	if t.kind == Withdrawal.String() {
		out.Kind, out.Memo = Withdrawal, protocol.IDMemo(uint64(*t.memo))
	} else {
		out.Reference = *t.reference
	}
	return out, nil
}

// Transaction returns one of an account's own transactions, or ErrNotFound.
func (s *Service) Transaction(ctx context.Context, l Lookup) (Transaction, error) {
	where, name := `account = $1 AND id = $2`, l.ID
	switch {
	case l.ID != "":
	case !l.LedgerTx.IsZero():
		where, name = `account = $1 AND ledger_tx = $2 ORDER BY n LIMIT 1`, l.LedgerTx.String()
	case l.ExternalTx != "":
		where, name = `account = $1 AND external = $2 ORDER BY n LIMIT 1`, l.ExternalTx
	default:
		return Transaction{}, fmt.Errorf("%w: name the transaction", ErrInvalid)
	}
	t, err := findRow(ctx, s.DB.Reader(), where, l.Account, name)
	if err != nil {
		return Transaction{}, err
	}
	return s.view(t)
}

// Transactions lists an account's own transactions, newest first.
func (s *Service) Transactions(ctx context.Context, q Query) ([]Transaction, error) {
	kinds := []string{}
	for _, k := range q.Kinds {
		kinds = append(kinds, k.String())
	}
	rows, err := listRows(ctx, s.DB.Reader(), `account = $1 AND ($2 = '' OR asset = $2) AND (cardinality($3::text[]) = 0 OR kind = ANY($3)) AND created >= $4
		AND ($5 = '' OR n < (SELECT n FROM anchor.transaction WHERE id = $5 AND account = $1)) ORDER BY n DESC LIMIT $6`,
		q.Account, q.Asset, kinds, q.Since, q.Before, clamp(q.Limit))
	return s.views(rows, err)
}

func (s *Service) views(rows []row, err error) ([]Transaction, error) {
	out := make([]Transaction, 0, len(rows))
	for _, t := range rows {
		v, viewErr := s.view(t)
		if viewErr != nil {
			return nil, viewErr
		}
		out = append(out, v)
	}
	return out, err
}

// Enrol makes an account a customer of a partner: it is created on the ledger if it is not there, and its line to our
// credit is authorised when it opens one. The same enrolment again changes nothing. Errors: ErrInvalid, ErrConflict.
func (s *Service) Enrol(ctx context.Context, who audit.Actor, e Enrolment) (Customer, error) {
	for _, a := range s.cfg.Assets {
		if e.Account == a.Issuing || e.Account == a.Distribution || e.Account == s.cfg.Funding.Root {
			return Customer{}, fmt.Errorf("%w: the account is the anchor's own", ErrInvalid)
		}
	}
	var c compliance.Customer
	err := audit.Do(ctx, s.DB, who, func(ctx context.Context, tx *audit.Tx) (err error) {
		var isNew bool
		c, isNew, err = compliance.Enrol(ctx, tx, compliance.Customer{Account: e.Account, Partner: e.Partner, Ref: e.Ref})
		if err != nil {
			return err
		}
		if !isNew {
			return audit.ErrUnchanged
		}
		return openJob(ctx, tx, jobCreate, e.Account.String())
	})
	switch {
	case errors.Is(err, compliance.ErrInvalid):
		return Customer{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	case errors.Is(err, compliance.ErrEnrolled):
		return Customer{}, fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return shownCustomer(c), err
}

func shownCustomer(c compliance.Customer) Customer {
	return Customer{Account: c.Account, Partner: c.Partner, Ref: c.Ref, Status: c.Status.String(), Created: c.Created}
}

// Customer returns a customer of the partner, or ErrNotFound.
func (s *Service) Customer(ctx context.Context, partner string, account protocol.AccountID) (Customer, error) {
	c, err := compliance.CustomerByAccount(ctx, s.DB.Reader(), account)
	if errors.Is(err, compliance.ErrUnknownCustomer) || err == nil && c.Partner != partner {
		return Customer{}, fmt.Errorf("%w: customer", ErrNotFound)
	}
	return shownCustomer(c), err
}

// SetStatus freezes a customer or unfreezes him, for a reason. What he holds is frozen with him: the authorisation of his
// lines is taken away on the ledger, and given back. Errors: ErrNotFound, ErrInvalid.
func (s *Service) SetStatus(ctx context.Context, who audit.Actor, c StatusChange) error {
	status := compliance.StatusActive
	if c.Frozen {
		status = compliance.StatusFrozen
	}
	err := audit.Do(ctx, s.DB, who, func(ctx context.Context, tx *audit.Tx) error {
		if err := compliance.SetStatus(ctx, tx, c.Account, status, clean(strings.TrimSpace(c.Why))); err != nil {
			return err
		}
		if c.Frozen {
			for _, a := range s.cfg.Assets {
				if err := reopenJob(ctx, tx, jobRevoke, a.Code+"/"+c.Account.String()); err != nil {
					return err
				}
			}
			return nil
		}
		return reopenJob(ctx, tx, jobCreate, c.Account.String()) // looks at the lines that he opened while he was frozen
	})
	switch {
	case errors.Is(err, compliance.ErrUnknownCustomer):
		return fmt.Errorf("%w: customer", ErrNotFound)
	case errors.Is(err, compliance.ErrInvalid):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return err
}

// Jobs lists what is still to be done, oldest first.
func (s *Service) Jobs(ctx context.Context, p Page) ([]Job, error) {
	jobs, err := openJobs(ctx, s.DB.Reader(), 0, p.limit())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Job, len(jobs))
	for i, j := range jobs {
		out[i] = Job{Kind: string(j.kind), Ref: j.ref, Created: j.created}
		if r, ok := s.retry[j.String()]; ok && r.err != nil {
			out[i].Failing = r.err.Error()
		}
	}
	return out, nil
}

// PartnerTransactions lists the transactions of a partner's customers, oldest first.
func (s *Service) PartnerTransactions(ctx context.Context, partner string, p Page) ([]Transaction, error) {
	return s.views(listRows(ctx, s.DB.Reader(), `account IN (SELECT account FROM compliance.customer WHERE partner = $1)
		AND n > coalesce((SELECT n FROM anchor.transaction WHERE id = $2), 0) ORDER BY n LIMIT $3`, partner, p.After, p.limit()))
}

// LedgerTransactions lists our transactions on the ledger, oldest first.
func (s *Service) LedgerTransactions(ctx context.Context, p Page) ([]LedgerTx, error) {
	rows, err := s.DB.Reader().Query(ctx, `SELECT id, kind, state, hash, attempt, created FROM anchor.ledger_tx
		WHERE n > coalesce((SELECT n FROM anchor.ledger_tx WHERE id = $1), 0) ORDER BY n LIMIT $2`, p.After, p.limit())
	return collect(rows, err, "ledger transactions", func(r pgx.CollectableRow) (t LedgerTx, err error) {
		return t, r.Scan(&t.ID, &t.Purpose, &t.State, &t.Hash, &t.Attempt, &t.Created)
	})
}
