package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
)

// Order carries out an order of officers: from its commit on, in every process over this journal, a frozen key signs
// nothing that is not in the journal already. Errors are those of a Signer; keymgmt.ErrRefUsed for an order that was
// carried out before, since it may have been undone in the meantime.
func (s *Service) Order(ctx context.Context, caller string, o keymgmt.Order) error {
	err := s.cfg.Policy.Order(o, s.cfg.Now())
	if err == nil {
		err = s.obey(ctx, caller, o)
	}
	if err != nil {
		return s.refuseWord(ctx, caller, audit.Event{Action: "order.refused", Subject: "orders"}, err)
	}
	s.wroteGroup() // a rollback must not undo it
	var officers []string
	for _, signer := range o.Signers {
		officers = append(officers, signer.Officer)
	}
	s.cfg.Log.Warn("order of officers", "action", string(o.Action), "key", o.Key, "officers", officers)
	return nil
}

// obey writes down an order that officers have signed, if it ends what it was meant to.
func (s *Service) obey(ctx context.Context, caller string, o keymgmt.Order) error {
	body, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("%w: %v", keymgmt.ErrMalformed, err)
	}
	err = audit.Do(ctx, s.cfg.DB, actor(cut(caller, maxCaller)), func(ctx context.Context, tx *audit.Tx) error {
		if o.Action == keymgmt.Thaw {
			if err := s.mayThaw(ctx, tx, o); err != nil {
				return err
			}
		}
		const insert = `INSERT INTO signer.orders (nonce, key, action, body, at) VALUES ($1, $2, $3, $4, $5)`
		if _, err := tx.Exec(ctx, insert, o.Nonce, o.Key, string(o.Action), body, s.cfg.Now().UTC()); err != nil {
			return err
		}
		action := map[keymgmt.Action]string{keymgmt.Freeze: "key.frozen", keymgmt.Thaw: "key.thawed"}[o.Action]
		_, err := tx.Record(ctx, audit.Event{Action: action, Subject: o.Key, Data: underRules(s.cfg.Policy, map[string]any{"order": o})})
		return err
	})
	var pg *pgconn.PgError
	switch {
	case err == nil || refused(err):
		return err
	case errors.As(err, &pg) && pg.Code == "23505": // unique_violation: the nonce
		return fmt.Errorf("%w: this order was carried out before", keymgmt.ErrRefUsed)
	}
	return unavailable(err)
}

// mayThaw holds a thaw to the rules in force, whose officers may be others than this process knows, and to the freeze that it
// ends. A freeze needs neither: it does no harm by being late.
func (s *Service) mayThaw(ctx context.Context, tx *audit.Tx, o keymgmt.Order) error {
	k := &known{lists: map[string]uint64{}}
	var used bool
	var frozen *time.Time
	var b pgx.Batch
	k.queueNewest(&b)
	s.queueLists(&b, k)
	b.Queue(`SELECT EXISTS (SELECT FROM signer.orders WHERE nonce = $1), max(at) FROM signer.orders WHERE key = $2 AND action = 'freeze'`, o.Nonce, o.Key).
		QueryRow(func(row pgx.Row) error { return row.Scan(&used, &frozen) })
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	if err := s.inForce(k); err != nil || used || frozen == nil { // one that was used is told so below
		return err
	}
	return policy.Ends(o, *frozen)
}
