package service

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
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
		const insert = `INSERT INTO signer.policy (version, hash) VALUES ($1, $2)`
		if _, err := tx.Exec(ctx, insert, int64(p.Version()), hash[:]); err != nil {
			return err
		}
		_, err = tx.Record(ctx, audit.Event{Action: "policy.adopted", Subject: fmt.Sprint(p.Version()),
			Data: map[string]any{"sha256": hex.EncodeToString(hash[:])}})
		return err
	})
	if err == nil || errors.Is(err, ErrRollback) || ctx.Err() != nil {
		return err
	}
	return unavailable(fmt.Errorf("policy: %w", err))
}

// asked is one request on its way.
type asked struct {
	caller     string
	request    keymgmt.Request
	meaning    payload.Meaning
	unreadable error // of payload.Decode
}

// admitted is what came of it: an answer from the journal, or permission to make one.
type admitted struct {
	stored   *keymgmt.Signature
	approval *policy.Approval
}

func (a admitted) signature() keymgmt.Signature {
	if a.stored == nil {
		return keymgmt.Signature{}
	}
	return *a.stored
}

// admit is the one transaction before a key is touched.
func (s *Service) admit(ctx context.Context, q asked) (a admitted, err error) {
	if q.meaning.Transaction != nil || q.meaning.Checkpoint != nil { // what shares a row with others of the same key
		leave, err := s.keys.enter(ctx, q.request.Key.String())
		if err != nil {
			return admitted{}, err
		}
		defer leave()
	}
	now := s.cfg.Now().UTC()
	err = audit.Do(ctx, s.cfg.DB, actor(q.caller), func(ctx context.Context, tx *audit.Tx) error {
		a = admitted{}
		isNew, err := insertRequest(ctx, tx, s.cfg.Policy.Version(), now, q)
		if err != nil {
			return err
		}
		day := now
		if !isNew {
			if a.stored, day, err = readRequest(ctx, tx, q.request); err != nil {
				return err
			}
			if a.stored != nil {
				return audit.ErrUnchanged
			}
		}
		if q.unreadable != nil {
			return q.unreadable
		}
		facts, err := s.facts(ctx, tx, q, day)
		if err != nil {
			return err
		}
		facts.Now = now
		if a.approval, err = s.cfg.Policy.Decide(q.request, q.meaning, facts); err != nil {
			return err
		}
		if !isNew { // written down before a crash, with everything that belongs to it
			return audit.ErrUnchanged
		}
		return reserve(ctx, tx, q, a.approval, facts)
	})
	return a, err
}

// insertRequest writes the intent, unless the Ref was used. It inserts before it looks: a read would make
// transactions of different keys wait for each other, or roll back, since small tables are locked by the page.
func insertRequest(ctx context.Context, tx *audit.Tx, version uint64, now time.Time, q asked) (isNew bool, err error) {
	const insert = `INSERT INTO signer.request (key, ref, kind, body, caller, policy, day) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (key, ref) DO NOTHING`
	r := q.request
	tag, err := tx.Exec(ctx, insert, r.Key.String(), r.Ref, r.Kind.String(), r.Body, q.caller, int64(version), now)
	return tag.RowsAffected() == 1, err
}

// readRequest returns the stored answer, if there is one, and the day of the intent. A Ref that stands for another
// kind or body is keymgmt.ErrRefUsed.
func readRequest(ctx context.Context, tx *audit.Tx, r keymgmt.Request) (*keymgmt.Signature, time.Time, error) {
	const query = `SELECT r.kind, r.body, r.day, s.public, s.signature FROM signer.request r
		LEFT JOIN signer.signature s ON s.key = r.key AND s.ref = r.ref WHERE r.key = $1 AND r.ref = $2`
	var kind string
	var body []byte
	var day time.Time
	var sig keymgmt.Signature
	if err := tx.QueryRow(ctx, query, r.Key.String(), r.Ref).Scan(&kind, &body, &day, &sig.Public, &sig.Bytes); err != nil {
		return nil, time.Time{}, err
	}
	if kind != r.Kind.String() || !bytes.Equal(body, r.Body) {
		return nil, time.Time{}, fmt.Errorf("%w: %s of key %s", keymgmt.ErrRefUsed, r.Ref, r.Key)
	}
	if sig.Bytes == nil {
		return nil, day, nil
	}
	return &sig, day, nil
}

// facts reads what the decision depends on. What this very request reserved before a crash is not held against it.
func (s *Service) facts(ctx context.Context, tx *audit.Tx, q asked, day time.Time) (policy.Facts, error) {
	facts := policy.Facts{Caller: q.caller}
	var newest int64
	if err := tx.QueryRow(ctx, `SELECT max(version) FROM signer.policy`).Scan(&newest); err != nil {
		return facts, err
	}
	if newest != int64(s.cfg.Policy.Version()) {
		return facts, fmt.Errorf("%w: policy version %d is in force, this process has %d and must be started again",
			keymgmt.ErrUnavailable, newest, s.cfg.Policy.Version())
	}
	var err error
	switch {
	case q.meaning.Transaction != nil:
		facts.Spent, err = readCounters(ctx, tx, q.request, day)
	case q.meaning.Checkpoint != nil:
		facts.Last, err = readLast(ctx, tx, q.meaning.Checkpoint.Origin)
	}
	return facts, err
}

func readCounters(ctx context.Context, tx *audit.Tx, r keymgmt.Request, day time.Time) (map[string]*big.Int, error) {
	const query = `SELECT c.counter, (c.amount - coalesce(own.amount, 0))::text FROM signer.counter c
		LEFT JOIN signer.reservation own ON own.key = c.key AND own.ref = $3 AND own.counter = c.counter
		WHERE c.key = $1 AND c.day = $2`
	rows, err := tx.Query(ctx, query, r.Key.String(), day, r.Ref)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	spent := map[string]*big.Int{}
	for rows.Next() {
		var counter, amount string
		if err := rows.Scan(&counter, &amount); err != nil {
			return nil, err
		}
		n, ok := new(big.Int).SetString(amount, 10)
		if !ok {
			return nil, fmt.Errorf("service: counter %s is %q", counter, amount)
		}
		spent[counter] = n
	}
	return spent, rows.Err()
}

func readLast(ctx context.Context, tx *audit.Tx, origin string) (*policy.Last, error) {
	const query = `SELECT size, root FROM signer.checkpoint WHERE origin = $1 ORDER BY size DESC LIMIT 1`
	var last policy.Last
	var root []byte
	err := tx.QueryRow(ctx, query, origin).Scan(&last.Size, &root)
	if errors.Is(err, pgx.ErrNoRows) {
		return &policy.Last{}, nil
	}
	copy(last.Root[:], root)
	return &last, err
}

// reserve writes down what the approval uses up, and the audit record, in the transaction of the intent.
func reserve(ctx context.Context, tx *audit.Tx, q asked, a *policy.Approval, facts policy.Facts) error {
	key, ref, day := q.request.Key.String(), q.request.Ref, facts.Now
	batch := new(pgx.Batch)
	for _, r := range a.Reservations() {
		batch.Queue(`INSERT INTO signer.reservation (key, ref, counter, amount) VALUES ($1, $2, $3, $4::text::numeric)`,
			key, ref, r.Counter, r.Amount.String())
		batch.Queue(`INSERT INTO signer.counter AS c (key, day, counter, amount) VALUES ($1, $2, $3, $4::text::numeric)
			ON CONFLICT (key, day, counter) DO UPDATE SET amount = c.amount + excluded.amount`, key, day, r.Counter, r.Amount.String())
	}
	if c := q.meaning.Checkpoint; c != nil && c.Size > facts.Last.Size {
		batch.Queue(`INSERT INTO signer.checkpoint (origin, size, root) VALUES ($1, $2, $3)`, c.Origin, c.Size, c.Root[:])
	}
	if batch.Len() > 0 {
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
	}
	_, err := tx.Record(ctx, audit.Event{Action: "signature.approved", Subject: key, Data: map[string]any{
		"ref": ref, "kind": q.request.Kind.String(), "sha256": digest(q.request.Body), "words": bounded(q.meaning.Words())}})
	return err
}

// keep stores the answer. When another process was faster, its answer is the one.
func (s *Service) keep(ctx context.Context, q asked, sig keymgmt.Signature) (keymgmt.Signature, error) {
	key, ref := q.request.Key.String(), q.request.Ref
	answer := sig
	err := audit.Do(ctx, s.cfg.DB, actor(q.caller), func(ctx context.Context, tx *audit.Tx) error {
		answer = sig
		const insert = `INSERT INTO signer.signature (key, ref, public, signature) VALUES ($1, $2, $3, $4) ON CONFLICT (key, ref) DO NOTHING`
		tag, err := tx.Exec(ctx, insert, key, ref, sig.Public, sig.Bytes)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			stored, _, err := readRequest(ctx, tx, q.request)
			if err != nil {
				return err
			}
			answer = *stored
			return audit.ErrUnchanged
		}
		_, err = tx.Record(ctx, audit.Event{Action: "signature.made", Subject: key,
			Data: map[string]any{"ref": ref, "sha256": digest(q.request.Body), "signature": hex.EncodeToString(sig.Bytes)}})
		return err
	})
	if err != nil {
		return keymgmt.Signature{}, fmt.Errorf("journal: %w", err)
	}
	return answer, nil
}
