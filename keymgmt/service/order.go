package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
)

// Order carries out an order of officers: from its commit on, in every process over this journal, a frozen key signs
// nothing that is not in the journal already. Errors are those of a Signer; keymgmt.ErrRefUsed for an order that was
// carried out before, since it may have been undone in the meantime.
func (s *Service) Order(ctx context.Context, caller string, o keymgmt.Order) error {
	if err := s.cfg.Policy.Order(o, s.cfg.Now()); err != nil {
		return s.refuseWord(ctx, caller, audit.Event{Action: "order.refused", Subject: "orders"}, err)
	}
	body, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("%w: %v", keymgmt.ErrMalformed, err)
	}
	var officers []string
	for _, signer := range o.Signers {
		officers = append(officers, signer.Officer)
	}
	err = audit.Do(ctx, s.cfg.DB, actor(cut(caller, maxCaller)), func(ctx context.Context, tx *audit.Tx) error {
		const insert = `INSERT INTO signer.orders (nonce, key, action, body) VALUES ($1, $2, $3, $4)`
		if _, err := tx.Exec(ctx, insert, o.Nonce, o.Key, string(o.Action), body); err != nil {
			return err
		}
		action := map[keymgmt.Action]string{keymgmt.Freeze: "key.frozen", keymgmt.Thaw: "key.thawed"}[o.Action]
		_, err := tx.Record(ctx, audit.Event{Action: action, Subject: o.Key, Data: underRules(s.cfg.Policy, map[string]any{"order": o})})
		return err
	})
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "23505": // unique_violation: the nonce
		return fmt.Errorf("%w: this order was carried out before", keymgmt.ErrRefUsed)
	case err != nil:
		return unavailable(err)
	}
	s.wroteGroup() // a rollback must not undo it
	s.cfg.Log.Warn("order of officers", "action", string(o.Action), "key", o.Key, "officers", officers)
	return nil
}
