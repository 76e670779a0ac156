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

// adopt raises the high-water marks of policies, of lists and of what keys are to p, all of them or none.
func adopt(ctx context.Context, db *audit.DB, p *policy.Policy) error {
	err := audit.Do(ctx, db, audit.Actor{Kind: "operator", Name: "signer"}, func(ctx context.Context, tx *audit.Tx) error {
		a := adoption{tx: tx, policy: p}
		for _, step := range []func(context.Context) error{a.rules, a.lists, a.keys} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		if !a.changed {
			return audit.ErrUnchanged
		}
		return nil
	})
	if err == nil || errors.Is(err, ErrRollback) || errors.Is(err, ErrMoved) || ctx.Err() != nil {
		return err
	}
	return unavailable(fmt.Errorf("policy: %w", err))
}

// adoption is one transaction of adopt.
type adoption struct {
	tx      *audit.Tx
	policy  *policy.Policy
	changed bool
}

func (a *adoption) record(ctx context.Context, action, subject string, data map[string]any) error {
	a.changed = true
	_, err := a.tx.Record(ctx, audit.Event{Action: action, Subject: subject, Data: data})
	return err
}

// newer compares a file with the newest that was in force, if there was any: one that is older, or another one of the same
// version, is refused.
func newer(what string, version uint64, hash []byte, newest pgx.Row) (bool, error) {
	var before int64
	var stored []byte
	err := newest.Scan(&before, &stored)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return true, nil
	case err != nil:
		return false, err
	case before == int64(version) && bytes.Equal(stored, hash):
		return false, nil
	case before >= int64(version):
		return false, fmt.Errorf("%w: %s version %d with hash %x, the journal has version %d with hash %x", ErrRollback, what, version, hash, before, stored)
	}
	return true, nil
}

func (a *adoption) rules(ctx context.Context) error {
	version, hash := a.policy.Version(), a.policy.Hash()
	fresh, err := newer("policy", version, hash[:], a.tx.QueryRow(ctx, `SELECT version, hash FROM signer.policy ORDER BY version DESC LIMIT 1`))
	if err != nil || !fresh {
		return err
	}
	source := a.policy.Source()
	const insert = `INSERT INTO signer.policy (version, hash, file, signatures) VALUES ($1, $2, $3, $4)`
	if _, err := a.tx.Exec(ctx, insert, int64(version), hash[:], source.File, source.Signatures); err != nil {
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
	return a.record(ctx, "policy.adopted", fmt.Sprint(version), underRules(a.policy, map[string]any{"sha256": hex.EncodeToString(hash[:]),
		"signatures_sha256": digest(source.Signatures), "board": board, "quorum": source.Board.Quorum}))
}

func (a *adoption) lists(ctx context.Context) error {
	for _, l := range a.policy.Lists() {
		const newest = `SELECT version, hash FROM signer.list WHERE name = $1 ORDER BY version DESC LIMIT 1`
		fresh, err := newer("list "+l.Name, l.Version, l.Hash[:], a.tx.QueryRow(ctx, newest, l.Name))
		if err != nil {
			return err
		}
		if !fresh {
			continue
		}
		const insert = `INSERT INTO signer.list (name, version, hash, file, signatures) VALUES ($1, $2, $3, $4, $5)`
		if _, err := a.tx.Exec(ctx, insert, l.Name, int64(l.Version), l.Hash[:], l.Source.File, l.Source.Signatures); err != nil {
			return err
		}
		if err := a.record(ctx, "list.adopted", l.Name, map[string]any{"version": l.Version, "sha256": hex.EncodeToString(l.Hash[:]),
			"signatures_sha256": digest(l.Source.Signatures), "policy": a.policy.Version()}); err != nil {
			return err
		}
	}
	return nil
}

// keys holds every id to the key and the home that it had, unless the policy says that it has moved, and from where.
func (a *adoption) keys(ctx context.Context) error {
	for _, id := range a.policy.Keys() {
		public, home := a.policy.Public(id).String(), a.policy.Home(id).String()
		var was, at string
		err := a.tx.QueryRow(ctx, `SELECT public, home FROM signer.key WHERE key = $1 ORDER BY n DESC LIMIT 1`, id.String()).Scan(&was, &at)
		known := !errors.Is(err, pgx.ErrNoRows)
		switch from, old, moved := a.policy.MovedFrom(id); {
		case known && err != nil:
			return err
		case known && was == public && at == home:
			continue
		case known && (!moved || from.String() != was || old.String() != at):
			return fmt.Errorf("%w: %s is %s in %s, and was %s in %s", ErrMoved, id, public, home, was, at)
		}
		const insert = `INSERT INTO signer.key (key, public, home, policy) VALUES ($1, $2, $3, $4)`
		if _, err := a.tx.Exec(ctx, insert, id.String(), public, home, int64(a.policy.Version())); err != nil {
			return err
		}
		if !known && a.changed {
			continue // the record of the policy says so: what it registers is in the file
		}
		action, data := "key.registered", map[string]any{"public": public, "home": home, "policy": a.policy.Version()}
		if known {
			action, data["from_public"], data["from_home"] = "key.moved", was, at
		}
		if err := a.record(ctx, action, id.String(), data); err != nil {
			return err
		}
	}
	return nil
}

// queueLists asks which lists are in force.
func (s *Service) queueLists(b *pgx.Batch, k *known) {
	if len(s.cfg.Policy.Lists()) == 0 {
		return
	}
	b.Queue(`SELECT name, max(version) FROM signer.list GROUP BY name`).Query(each(func(rows pgx.Rows) error {
		var name string
		var version int64
		err := rows.Scan(&name, &version)
		k.lists[name] = uint64(version)
		return err
	}))
}

// inForce refuses to sign by rules or lists of which another process has adopted newer ones.
func (s *Service) inForce(k *known) error {
	if k.newest != s.cfg.Policy.Version() {
		return fmt.Errorf("%w: policy version %d is in force, this process has %d and must be started again",
			keymgmt.ErrUnavailable, k.newest, s.cfg.Policy.Version())
	}
	for _, l := range s.cfg.Policy.Lists() {
		if k.lists[l.Name] != l.Version {
			return fmt.Errorf("%w: list %s version %d is in force, this process has %d and must be started again",
				keymgmt.ErrUnavailable, l.Name, k.lists[l.Name], l.Version)
		}
	}
	return nil
}
