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
		in, err := writeIntent(ctx, tx, s.cfg.Policy.Version(), now, q)
		if err != nil {
			return err
		}
		if a.stored = in.stored; a.stored != nil {
			return audit.ErrUnchanged
		}
		if in.newest != int64(s.cfg.Policy.Version()) {
			return fmt.Errorf("%w: policy version %d is in force, this process has %d and must be started again",
				keymgmt.ErrUnavailable, in.newest, s.cfg.Policy.Version())
		}
		if q.unreadable != nil {
			return q.unreadable
		}
		facts, err := s.facts(ctx, tx, q, in)
		if err != nil {
			return err
		}
		facts.Now = now
		if a.approval, err = s.cfg.Policy.Decide(q.request, q.meaning, facts); err != nil {
			return err
		}
		if !in.isNew { // written down before a crash, with everything that belongs to it
			return audit.ErrUnchanged
		}
		return reserve(ctx, tx, q, a.approval, facts)
	})
	return a, err
}

// intent is a request that is in the journal.
type intent struct {
	isNew  bool               // written in this transaction
	day    time.Time          // whose counters its reservations are in
	stored *keymgmt.Signature // its answer, nil when it has none yet
	newest int64              // version of the newest policy
}

// writeIntent writes the request down, or reads what the journal has under its Ref. It inserts before it looks: a read
// would make transactions of different keys wait for each other, or roll back, since small tables are locked by the page.
func writeIntent(ctx context.Context, tx *audit.Tx, version uint64, now time.Time, q asked) (intent, error) {
	const insert = `INSERT INTO signer.request (key, ref, kind, body, caller, policy, day) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (key, ref) DO NOTHING RETURNING (SELECT max(version) FROM signer.policy)`
	r, in := q.request, intent{isNew: true, day: now}
	row := tx.QueryRow(ctx, insert, r.Key.String(), r.Ref, r.Kind.String(), r.Body, q.caller, int64(version), now)
	err := row.Scan(&in.newest)
	if errors.Is(err, pgx.ErrNoRows) {
		return readRequest(ctx, tx, r)
	}
	return in, err
}

// readRequest returns what the journal has under the Ref of r. A Ref that stands for another kind or body is
// keymgmt.ErrRefUsed.
func readRequest(ctx context.Context, tx *audit.Tx, r keymgmt.Request) (in intent, err error) {
	const query = `SELECT r.kind, r.body, r.day, s.public, s.signature, (SELECT max(version) FROM signer.policy)
		FROM signer.request r LEFT JOIN signer.signature s ON s.key = r.key AND s.ref = r.ref WHERE r.key = $1 AND r.ref = $2`
	var kind string
	var body []byte
	var public *string
	var sig keymgmt.Signature
	row := tx.QueryRow(ctx, query, r.Key.String(), r.Ref)
	if err := row.Scan(&kind, &body, &in.day, &public, &sig.Bytes, &in.newest); err != nil {
		return intent{}, err
	}
	if kind != r.Kind.String() || !bytes.Equal(body, r.Body) {
		return intent{}, fmt.Errorf("%w: %s of key %s", keymgmt.ErrRefUsed, r.Ref, r.Key)
	}
	if public != nil {
		if err := sig.Public.UnmarshalText([]byte(*public)); err != nil {
			return intent{}, fmt.Errorf("service: journal: %v", err)
		}
		in.stored = &sig
	}
	return in, nil
}

// facts reads what the decision depends on. What this very request reserved before a crash is not held against it.
func (s *Service) facts(ctx context.Context, tx *audit.Tx, q asked, in intent) (policy.Facts, error) {
	facts := policy.Facts{Caller: q.caller}
	key := q.request.Key.String()
	var err error
	switch {
	case q.meaning.Checkpoint != nil:
		facts.Last, err = readLast(ctx, tx, q.meaning.Checkpoint.Origin)
	case q.meaning.Transaction != nil:
		const counters = `SELECT counter, amount::text FROM signer.counter WHERE key = $1 AND day = $2`
		if facts.Spent, err = readAmounts(ctx, tx, counters, key, in.day); err != nil || in.isNew {
			return facts, err
		}
		const own = `SELECT counter, amount::text FROM signer.reservation WHERE key = $1 AND ref = $2`
		reserved, err := readAmounts(ctx, tx, own, key, q.request.Ref)
		if err != nil {
			return facts, err
		}
		for counter, amount := range reserved {
			if facts.Spent[counter] == nil || facts.Spent[counter].Cmp(amount) < 0 {
				return facts, fmt.Errorf("service: counter %s of %s does not hold what %s reserved", counter, key, q.request.Ref)
			}
			facts.Spent[counter].Sub(facts.Spent[counter], amount)
		}
	}
	return facts, err
}

func readAmounts(ctx context.Context, tx *audit.Tx, query string, args ...any) (map[string]*big.Int, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	amounts := map[string]*big.Int{}
	for rows.Next() {
		var counter, amount string
		if err := rows.Scan(&counter, &amount); err != nil {
			return nil, err
		}
		n, ok := new(big.Int).SetString(amount, 10)
		if !ok {
			return nil, fmt.Errorf("service: counter %s is %q", counter, amount)
		}
		amounts[counter] = n
	}
	return amounts, rows.Err()
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
		tag, err := tx.Exec(ctx, insert, key, ref, sig.Public.String(), sig.Bytes)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			in, err := readRequest(ctx, tx, q.request)
			if err != nil {
				return err
			}
			answer = *in.stored
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
