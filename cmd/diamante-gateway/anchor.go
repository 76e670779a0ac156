package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/anchor/rails/iso20022"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody"
)

func (g *gateway) makeAnchor(context.Context) error {
	gate, err := compliance.NewGate(compliance.Config{Limits: g.cfg.Limit})
	if err != nil {
		return err
	}
	f := g.cfg.Funding
	cfg := anchor.Config{Passphrase: g.cfg.Network, HomeDomain: g.cfg.HomeDomain, FeePerOp: g.cfg.Transactions.FeePerOp, TxLife: time.Duration(g.cfg.Transactions.Life),
		PeopleLife: time.Duration(g.cfg.Transactions.PeopleLife),
		Funding:    anchor.Funding{RootKey: f.RootKey, Root: f.Root, AnchorBalance: f.AnchorBalance, CustomerBalance: f.CustomerBalance}}
	for _, a := range g.cfg.Asset {
		iban, err := rails.ParseIBAN(a.BankIBAN)
		if err != nil {
			return fmt.Errorf("asset %s: %w", a.Code, err)
		}
		cfg.Assets = append(cfg.Assets, anchor.AssetConfig{Code: a.Code, IssuingKey: a.IssuingKey, Issuing: a.Issuing, DistributionKey: a.DistributionKey,
			Distribution: a.Distribution, Bank: rails.Party{Name: a.BankName, Account: rails.Account{IBAN: iban}, BIC: a.BankBIC}, Partner: a.BankPartner,
			MinDeposit: a.MinDeposit, MaxDeposit: a.MaxDeposit, MinWithdrawal: a.MinWithdrawal, MaxWithdrawal: a.MaxWithdrawal})
	}
	g.anchor, err = anchor.New(cfg, anchor.Parts{DB: g.db, Custody: custody.New(), Gate: gate, Signer: g.signer, Network: g.node,
		ParseStatement: iso20022.ParseStatement, WritePayout: iso20022.WritePayout, Log: g.log, Failpoint: failpoint()})
	return err
}

// staffAnchor is the anchor as staff see it: its invariants and the log's.
type staffAnchor struct {
	*anchor.Service
	g *gateway
}

// Invariants is part of staff.Anchor.
func (s staffAnchor) Invariants(ctx context.Context) ([]anchor.Invariant, error) {
	all, err := s.Service.Invariants(ctx)
	if err != nil {
		return nil, err
	}
	i, err := s.g.logHolds(ctx)
	return append(all, i), err
}

// logHolds checks the audit log as it is now: every record that was there when it began is in the tree, the tree hashes
// together, and a checkpoint that the log's key signed covers it.
func (g *gateway) logHolds(ctx context.Context) (anchor.Invariant, error) {
	i := anchor.Invariant{Name: "every audit record is in the signed tree"}
	r := g.db.Reader()
	var newest string
	err := r.QueryRow(ctx, `SELECT id FROM audit.record ORDER BY xid DESC, n DESC LIMIT 1`).Scan(&newest)
	if err != nil {
		return i, fmt.Errorf("newest record: %w", err)
	}
	wait, cancel := context.WithTimeout(ctx, logWait)
	defer cancel()
	index, checkpoint, err := audit.WaitIndexed(wait, r, audit.RecordID(newest))
	if err != nil {
		i.Detail = "the newest record is not covered yet"
		if ctx.Err() != nil || audit.Unavailable(err) || !errors.Is(err, context.DeadlineExceeded) {
			return i, err
		}
		return i, nil
	}
	if _, err := g.logKey.Open([]byte(checkpoint.Note)); err != nil {
		i.Detail = err.Error()
		return i, nil
	}
	report, err := audit.CheckLog(ctx, r, g.logKey)
	i.OK, i.Detail = err == nil, fmt.Sprintf("%d records, checkpoint over %d, %v", index+1, checkpoint.Size, report)
	if err != nil {
		i.Detail = err.Error()
	}
	return i, nil
}

// logWait is how long the newest record may take to be covered by a checkpoint.
const logWait = 5 * time.Second
