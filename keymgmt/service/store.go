package service

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
)

// adopt raises the high-water mark of policies to p.
func adopt(ctx context.Context, db *audit.DB, p *policy.Policy) error {
	hash := p.Hash()
	err := audit.Do(ctx, db, audit.Actor{Kind: "operator", Name: "signer"}, func(ctx context.Context, tx *audit.Tx) error {
		var version int64
		var stored []byte
		const newest = `SELECT version, hash FROM signer.policy ORDER BY version DESC LIMIT 1`
		err := tx.QueryRow(ctx, newest).Scan(&version, &stored)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
		case err != nil:
			return err
		case version == int64(p.Version()) && bytes.Equal(stored, hash[:]):
			return audit.ErrUnchanged
		case version >= int64(p.Version()):
			return fmt.Errorf("%w: version %d with hash %x, the journal has version %d with hash %x", ErrRollback,
				p.Version(), hash, version, stored)
		}
		source := p.Source()
		const insert = `INSERT INTO signer.policy (version, hash, file, signatures) VALUES ($1, $2, $3, $4)`
		if _, err := tx.Exec(ctx, insert, int64(p.Version()), hash[:], source.File, source.Signatures); err != nil {
			return err
		}
		var board []policy.PublicKey
		for _, officer := range source.Board.Officers {
			public, err := keymgmt.NewPublicKey(keymgmt.Ed25519, officer)
			if err != nil {
				return err
			}
			board = append(board, policy.PublicKey{PublicKey: public})
		}
		_, err = tx.Record(ctx, audit.Event{Action: "policy.adopted", Subject: fmt.Sprint(p.Version()), Data: map[string]any{
			"sha256": hex.EncodeToString(hash[:]), "signatures_sha256": digest(source.Signatures), "board": board, "quorum": source.Board.Quorum}})
		return err
	})
	if err == nil || errors.Is(err, ErrRollback) || ctx.Err() != nil {
		return err
	}
	return unavailable(fmt.Errorf("policy: %w", err))
}

// findRequests returns what the journal has of some requests. Each is looked up by itself: the planner, who thinks that an
// array is long, would read whole tables to join them.
const findRequests = `SELECT q.key, q.ref, r.kind, r.body, s.public, s.signature FROM unnest($1::text[], $2::text[]) AS q (key, ref)
	CROSS JOIN LATERAL (SELECT kind, body FROM signer.request r WHERE r.key = q.key AND r.ref = q.ref LIMIT 1) r
	LEFT JOIN LATERAL (SELECT public, signature FROM signer.signature s WHERE s.key = q.key AND s.ref = q.ref LIMIT 1) s ON true`

// name is what a request is known by: its key and its ref.
type name struct{ key, ref string }

// intent is a request that is in the journal.
type intent struct {
	kind   string
	body   []byte
	stored *keymgmt.Signature // its answer, nil when it has none yet
}

func scanIntent(rows pgx.Rows) (n name, in intent, err error) {
	var public *string
	var sig keymgmt.Signature
	if err := rows.Scan(&n.key, &n.ref, &in.kind, &in.body, &public, &sig.Bytes); err != nil {
		return n, in, err
	}
	if public != nil {
		if err := sig.Public.UnmarshalText([]byte(*public)); err != nil {
			return n, in, fmt.Errorf("service: journal: %v", err)
		}
		in.stored = &sig
	}
	return n, in, nil
}

// same returns keymgmt.ErrRefUsed when the journal has another kind or body under the Ref of r.
func (in intent) same(r keymgmt.Request) error {
	if in.kind != r.Kind.String() || !bytes.Equal(in.body, r.Body) {
		return fmt.Errorf("%w: %s of key %s", keymgmt.ErrRefUsed, r.Ref, r.Key)
	}
	return nil
}
