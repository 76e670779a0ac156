package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
)

// Marker is a device that keeps the mark: how far the signer's database had got, out of reach of who holds the database. It
// is safe for concurrent use. Errors are keymgmt.ErrUnavailable while the device is away, keymgmt.ErrNoMark, or final.
type Marker interface {
	// Mark returns the mark; keymgmt.ErrNoMark only when the device is there and has none.
	Mark(ctx context.Context) (keymgmt.Mark, error)
	// RaiseMark makes the mark no lower than m, durably, and returns what it is then.
	RaiseMark(ctx context.Context, m keymgmt.Mark) (keymgmt.Mark, error)
}

// compare holds policy and database to the mark before anything is adopted, and returns the mark. A device and a database
// that both know of none get the first one.
func compare(ctx context.Context, cfg Config) (keymgmt.Mark, error) {
	mark, err := cfg.Mark.Mark(ctx)
	if err != nil && !errors.Is(err, keymgmt.ErrNoMark) {
		return keymgmt.Mark{}, fmt.Errorf("service: mark: %w", err)
	}
	if version := cfg.Policy.Version(); version < mark.Policy {
		return keymgmt.Mark{}, fmt.Errorf("%w: policy version %d, the device's mark has version %d", ErrRollback, version, mark.Policy)
	}
	epoch, err := epochOf(ctx, cfg.DB.Reader())
	if err != nil {
		return keymgmt.Mark{}, unavailable(fmt.Errorf("mark: %w", err))
	}
	switch {
	case mark.IsZero() && epoch == 0:
		mark.Epoch = 1
		return mark, newEpoch(ctx, cfg.DB, mark.Epoch, audit.Event{Action: "mark.made", Subject: "journal"})
	case mark.IsZero():
		return mark, fmt.Errorf("%w: the database is in epoch %d and the device has no mark: it was removed, or it is another device", ErrRollback, epoch)
	case mark.Epoch != epoch:
		return mark, fmt.Errorf("%w: the database is in epoch %d, the device's mark says %s", ErrRollback, epoch, mark)
	}
	return mark, holds(ctx, cfg.DB.Reader(), mark)
}

// holds reports whether the database has the record of the mark. No other history has it: its name is random.
func holds(ctx context.Context, db audit.Reader, m keymgmt.Mark) error {
	newest, there, err := point(ctx, db, m.Record)
	if err != nil {
		return unavailable(fmt.Errorf("mark: %w", err))
	}
	if !there {
		return fmt.Errorf("%w: the device's mark says %s, the database ends at position %d and does not have that record: "+
			"it is an older copy, or another history", ErrRollback, m, newest.Position)
	}
	return nil
}

// newestRecord is where the database is. Records are ordered as the log orders them.
const newestRecord = `SELECT id, n, EXISTS (SELECT FROM audit.record WHERE id = $1) FROM audit.record ORDER BY xid DESC, n DESC LIMIT 1`

// pointTries bounds how often point asks.
const pointTries = 3

// point returns the newest record and whether there is one of the name. It asks outside of any transaction that writes: one
// that reads the end of the log, where everybody writes, would be refused by the database most of the time.
func point(ctx context.Context, db audit.Reader, record string) (newest keymgmt.Mark, there bool, err error) {
	var n int64
	for range pointTries { // a server that was restarted has left the pool with dead sessions, of which each try takes one out
		err = db.QueryRow(ctx, newestRecord, record).Scan(&newest.Record, &n, &there)
		if !audit.Unavailable(err) || ctx.Err() != nil {
			break
		}
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return keymgmt.Mark{}, false, nil
	}
	newest.Position = uint64(n)
	return newest, there, err
}

// epochOf returns the newest epoch, 0 when there was none.
func epochOf(ctx context.Context, db audit.Reader) (uint64, error) {
	var epoch int64
	err := db.QueryRow(ctx, `SELECT coalesce(max(epoch), 0) FROM signer.epoch`).Scan(&epoch)
	return uint64(epoch), err
}

func newEpoch(ctx context.Context, db *audit.DB, epoch uint64, why audit.Event) error {
	err := audit.Do(ctx, db, audit.Actor{Kind: "operator", Name: "signer"}, func(ctx context.Context, tx *audit.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO signer.epoch (epoch) VALUES ($1)`, int64(epoch)); err != nil {
			return err
		}
		_, err := tx.Record(ctx, why)
		return err
	})
	if err != nil {
		return unavailable(fmt.Errorf("epoch %d: %w", epoch, err))
	}
	return nil
}

// maxWhy bounds the reason for a loss, in bytes.
const maxWhy = 1000

// AcceptLoss begins a new epoch with the database as it is, for an operator who had to bring back an older copy or to put
// another device in place, and is the only way on from ErrRollback. What was signed since the copy was made is not counted
// any more by any limit, so its first step is to find out what that was: the ledger knows. The reason is recorded. The
// version of the policy in the mark stays: not even this lets an older policy in.
func AcceptLoss(ctx context.Context, db *audit.DB, device Marker, why string) (keymgmt.Mark, error) {
	if why == "" || len(why) > maxWhy {
		return keymgmt.Mark{}, fmt.Errorf("service: the reason needs 1 to %d bytes", maxWhy)
	}
	mark, err := device.Mark(ctx)
	if err != nil && !errors.Is(err, keymgmt.ErrNoMark) {
		return keymgmt.Mark{}, err
	}
	epoch, err := epochOf(ctx, db.Reader())
	if err != nil {
		return keymgmt.Mark{}, unavailable(err)
	}
	next := max(mark.Epoch, epoch) + 1
	err = newEpoch(ctx, db, next, audit.Event{Action: "mark.loss.accepted", Subject: "journal", Data: map[string]any{"reason": why,
		"epoch": fmt.Sprint(next), "mark": mark.String()}})
	if err != nil {
		return keymgmt.Mark{}, err
	}
	newest, _, err := point(ctx, db.Reader(), "")
	if err != nil {
		return keymgmt.Mark{}, unavailable(err)
	}
	newest.Epoch = next
	return device.RaiseMark(ctx, newest)
}
