package trail

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
)

// ClaimFor is how long a request has its key for itself when nobody says that it ended: so long must a caller wait after
// the gateway died in the middle of it. A handler that runs longer may run once more beside itself; the domain, which
// knows the key, makes one change of both.
const ClaimFor = 10 * time.Second

// Keys is the web.KeyStore of the gateway's database, table api.idempotency.
type Keys struct{ DB *audit.DB }

// Claim claims k, finds its answer, or says why neither.
func (s Keys) Claim(ctx context.Context, k web.KeyedRequest) (*web.KeptAnswer, error) {
	var kept *web.KeptAnswer
	err := audit.Do(ctx, s.DB, actor(k.Caller), func(ctx context.Context, tx *audit.Tx) error {
		kept = nil // the transaction may run more than once
		found, err := find(ctx, tx, k)
		if err != nil {
			return err
		}
		if found != nil {
			kept = found
			return audit.ErrUnchanged
		}
		const claim = `INSERT INTO api.idempotency (scope, key, request, claimed_until) VALUES ($1, $2, $3, now() + $4::interval)
			ON CONFLICT (scope, key) DO UPDATE SET claimed_until = excluded.claimed_until`
		if _, err := tx.Exec(ctx, claim, k.Scope, k.Key, k.Hash[:], ClaimFor); err != nil {
			return err
		}
		return record(ctx, tx, "idempotency.claimed", k, nil)
	})
	if err != nil {
		return nil, fmt.Errorf("idempotency key: %w", err)
	}
	return kept, nil
}

// find returns the answer kept for k, nil if it may be claimed, or why it may not.
func find(ctx context.Context, tx *audit.Tx, k web.KeyedRequest) (*web.KeptAnswer, error) {
	const query = `SELECT request, claimed_until > now(), status, content_type, body FROM api.idempotency WHERE scope = $1 AND key = $2`
	var (
		hash        []byte
		busy        bool
		status      *int
		contentType *string
		body        []byte
	)
	err := tx.QueryRow(ctx, query, k.Scope, k.Key).Scan(&hash, &busy, &status, &contentType, &body)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	case !bytes.Equal(hash, k.Hash[:]):
		return nil, web.ErrKeyUsed
	case status != nil:
		return &web.KeptAnswer{Status: *status, ContentType: *contentType, Body: body}, nil
	case busy:
		return nil, web.ErrKeyBusy
	}
	return nil, nil
}

// Keep keeps the answer.
func (s Keys) Keep(ctx context.Context, k web.KeyedRequest, a web.KeptAnswer) error {
	const finish = `UPDATE api.idempotency SET status = $4, content_type = $5, body = $6, claimed_until = now()
		WHERE scope = $1 AND key = $2 AND request = $3 AND status IS NULL`
	body := a.Body
	if body == nil {
		body = []byte{} // an empty answer is an answer
	}
	return s.change(ctx, k, func(ctx context.Context, tx *audit.Tx) error {
		tag, err := tx.Exec(ctx, finish, k.Scope, k.Key, k.Hash[:], a.Status, a.ContentType, body)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return audit.ErrUnchanged // another request with the same key answered in the meantime
		}
		return record(ctx, tx, "idempotency.answered", k, map[string]any{"status": a.Status})
	})
}

// Release ends the claim.
func (s Keys) Release(ctx context.Context, k web.KeyedRequest) error {
	const release = `UPDATE api.idempotency SET claimed_until = now() WHERE scope = $1 AND key = $2 AND request = $3 AND status IS NULL`
	return s.change(ctx, k, func(ctx context.Context, tx *audit.Tx) error {
		tag, err := tx.Exec(ctx, release, k.Scope, k.Key, k.Hash[:])
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return audit.ErrUnchanged
		}
		return record(ctx, tx, "idempotency.released", k, nil)
	})
}

func (s Keys) change(ctx context.Context, k web.KeyedRequest, fn func(ctx context.Context, tx *audit.Tx) error) error {
	if err := audit.Do(ctx, s.DB, actor(k.Caller), fn); err != nil {
		return fmt.Errorf("idempotency key: %w", err)
	}
	return nil
}

func record(ctx context.Context, tx *audit.Tx, action string, k web.KeyedRequest, data map[string]any) error {
	all := map[string]any{"key": k.Key, "request": hex.EncodeToString(k.Hash[:])}
	for name, v := range data {
		all[name] = v
	}
	_, err := tx.Record(ctx, audit.Event{Action: action, Subject: k.Scope, Data: all})
	return err
}
