package anchor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// unlimited is the limit of our own lines: the most the ledger can count.
const unlimited = "922337203685.4775807"

// RegisterAsset makes the ledger agree with an asset's configuration: two accounts, flags, a line. It returns at once; the
// asset is ready when Assets lists it. Asked again, it looks at the ledger again.
func (s *Service) RegisterAsset(ctx context.Context, who audit.Actor, code string) (Asset, error) {
	a, err := s.configOf(code)
	if err != nil {
		return Asset{}, err
	}
	err = audit.Do(ctx, s.DB, who, func(ctx context.Context, tx *audit.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO anchor.asset (code) VALUES ($1) ON CONFLICT DO NOTHING`, code); err != nil {
			return fmt.Errorf("anchor: asset %s: %w", code, err)
		}
		for account, side := range map[book.Code]book.Side{a.bank(): book.Debit, a.suspense(): book.Credit, a.issued(): book.Credit, a.payable(): book.Credit,
			a.unexplained(): book.Debit} {
			if _, err := s.Custody.OpenAccount(ctx, tx, book.Account{Code: account, Currency: a.currency(), Normal: side}); err != nil {
				return err
			}
		}
		if err := reopenJob(ctx, tx, jobSetup, code); err != nil {
			return err
		}
		_, err := tx.Record(ctx, audit.Event{Action: "asset.registered", Subject: code, Data: map[string]any{"issuer": a.Issuing.String()}})
		return err
	})
	return a.public(), err
}

func (a AssetConfig) public() Asset {
	return Asset{Asset: a.asset(), Distribution: a.Distribution, MinDeposit: a.MinDeposit, MaxDeposit: a.MaxDeposit, MinWithdrawal: a.MinWithdrawal,
		MaxWithdrawal: a.MaxWithdrawal, Bank: a.account()}
}

func (a AssetConfig) account() BankAccount {
	return BankAccount{Name: a.Bank.Name, Account: a.Bank.Account.String(), BIC: a.Bank.BIC}
}

// Assets returns the assets that are ready.
func (s *Service) Assets(ctx context.Context) ([]Asset, error) {
	var out []Asset
	for _, a := range s.cfg.Assets {
		_, err := s.ready(ctx, s.DB.Reader(), a.Code)
		if errors.Is(err, ErrUnknownAsset) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, a.public())
	}
	return out, nil
}

// converge compares the ledger with an asset's configuration and opens the job for the next thing that differs.
func (s *Service) converge(ctx context.Context, j job) error {
	a, err := s.configOf(j.ref)
	if err != nil {
		return err
	}
	kind, ref, err := s.differs(ctx, a)
	if err != nil {
		return err
	}
	return audit.Do(ctx, s.DB, worker, func(ctx context.Context, tx *audit.Tx) error {
		if err := stillOpen(ctx, tx, j); err != nil {
			return err
		}
		if kind != "" {
			open, err := jobOpen(ctx, tx, job{kind: kind, ref: ref})
			switch {
			case err != nil && !errors.Is(err, ErrNotFound):
				return err
			case open:
				return audit.ErrUnchanged
			}
			return reopenJobFor(ctx, tx, kind, ref, j.initiator)
		}
		if _, err := tx.Exec(ctx, `UPDATE anchor.asset SET ready = true WHERE code = $1`, a.Code); err != nil {
			return fmt.Errorf("anchor: asset %s: %w", a.Code, err)
		}
		if _, err := tx.Record(ctx, audit.Event{Action: "asset.ready", Subject: a.Code, Data: map[string]any{"issuer": a.Issuing.String()}}); err != nil {
			return err
		}
		return closeJob(ctx, tx, j.kind, j.ref)
	})
}

// differs returns the job for the first thing on the ledger that is not as configured, or no kind.
func (s *Service) differs(ctx context.Context, a AssetConfig) (jobKind, string, error) {
	issuing, err := s.Network.Account(ctx, a.Issuing)
	if errors.Is(err, protocol.ErrNotFound) {
		return jobFund, a.Code + "/issuing", nil
	}
	if err != nil {
		return "", "", err
	}
	distribution, err := s.Network.Account(ctx, a.Distribution)
	if errors.Is(err, protocol.ErrNotFound) {
		return jobFund, a.Code + "/distribution", nil
	}
	if err != nil {
		return "", "", err
	}
	line, ok := distribution.Trustline(a.asset())
	switch {
	case issuing.Flags&issuerFlags != issuerFlags || issuing.HomeDomain != s.cfg.HomeDomain:
		return jobFlags, a.Code, nil
	case !ok:
		return jobTrust, a.Code, nil
	case !line.Flags.IsAuthorized():
		return jobAuthorise, a.Code + "/" + a.Distribution.String(), nil
	}
	return "", "", nil
}

func (s *Service) planSetup(ctx context.Context, j job) (plan, finish, error) {
	code, role, _ := strings.Cut(j.ref, "/")
	a, err := s.configOf(code)
	if err != nil {
		return plan{}, nil, err
	}
	kind, ref, err := s.differs(ctx, a)
	if err != nil {
		return plan{}, nil, err
	}
	if kind != j.kind || ref != j.ref {
		return plan{}, nothing, nil // done, or not its turn: the setup job opens it again
	}
	switch j.kind {
	case jobFund:
		id := map[string]protocol.AccountID{"issuing": a.Issuing, "distribution": a.Distribution}[role]
		return plan{s.cfg.Funding.Root, s.cfg.Funding.RootKey, protocol.NoMemo(),
			[]txbuild.Operation{txbuild.CreateAccount{Destination: id, StartingBalance: s.cfg.Funding.AnchorBalance}}}, nil, nil
	case jobFlags:
		domain := s.cfg.HomeDomain
		return plan{a.Issuing, a.IssuingKey, protocol.NoMemo(),
			[]txbuild.Operation{txbuild.SetOptions{SetFlags: xdr.AccountFlags(issuerFlags), HomeDomain: &domain}}}, nil, nil
	}
	limit, err := protocol.ParseAmount(unlimited)
	if err != nil {
		return plan{}, nil, err
	}
	return plan{a.Distribution, a.DistributionKey, protocol.NoMemo(), []txbuild.Operation{txbuild.ChangeTrust{Asset: a.asset(), Limit: limit}}}, nil, nil
}
