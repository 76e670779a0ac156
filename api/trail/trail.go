// Package trail ties requests to the audit log: who did it, that protected data were read, and the rows that the API
// keeps for itself, which are answers to keyed requests (Keys) and nothing of the domain's.
package trail

import (
	"context"
	"fmt"
	"time"

	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
)

// Actor says who causes what the request causes.
func Actor(ctx context.Context) audit.Actor { return actor(web.CallerOf(ctx)) }

// ActorAs is Actor for a request that has just proved who it comes from.
func ActorAs(ctx context.Context, kind, name string) audit.Actor {
	c := web.CallerOf(ctx)
	c.Kind, c.Name = kind, name
	return actor(c)
}

func actor(c web.Caller) audit.Actor {
	name := c.Name
	if name == "" {
		name = c.Kind
	}
	return audit.Actor{Kind: c.Kind, Name: name, From: c.Address, Req: c.Request}
}

// Read records that the caller is about to see protected data. Without the record he must not: the error is to be
// returned before anything is answered.
func Read(ctx context.Context, db *audit.DB, e audit.Event) error {
	err := audit.Do(ctx, db, Actor(ctx), func(ctx context.Context, tx *audit.Tx) error {
		_, err := tx.Record(ctx, e)
		return err
	})
	if err != nil {
		return fmt.Errorf("record of a read: %w", err)
	}
	return nil
}

// How long rows are kept, and how often old ones are looked for. The database refuses to let them go earlier.
const (
	keepKeys       = 25 * time.Hour
	keepChallenges = 65 * time.Minute // past their end
	sweepEvery     = 10 * time.Minute
)

// Sweep deletes rows that no longer protect anything, recording how many.
func Sweep(ctx context.Context, db *audit.DB) error {
	actor := audit.Actor{Kind: "worker", Name: "api-sweep"}
	err := audit.Do(ctx, db, actor, func(ctx context.Context, tx *audit.Tx) error {
		keys, err := tx.Exec(ctx, `DELETE FROM api.idempotency WHERE at < now() - $1::interval`, keepKeys)
		if err != nil {
			return err
		}
		challenges, err := tx.Exec(ctx, `DELETE FROM api.challenge WHERE expires < now() - $1::interval`, keepChallenges)
		if err != nil {
			return err
		}
		if keys.RowsAffected()+challenges.RowsAffected() == 0 {
			return audit.ErrUnchanged
		}
		_, err = tx.Record(ctx, audit.Event{Action: "api.swept", Subject: "api", Data: map[string]any{
			"keys": keys.RowsAffected(), "challenges": challenges.RowsAffected()}})
		return err
	})
	if err != nil {
		return fmt.Errorf("api: sweep: %w", err)
	}
	return nil
}

// Run sweeps now and then until ctx ends. A sweep that fails is reported and tried again at the next turn: rows that
// stay too long take room and do no harm.
func Run(ctx context.Context, db *audit.DB, report func(error)) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		if err := Sweep(ctx, db); err != nil && ctx.Err() == nil {
			report(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
