package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/mod/sumdb/tlog"
)

// errSigner: no usable signature was had. The tree is sound.
var errSigner = errors.New("audit: no signature")

// cursor is the last record that has an index.
type cursor struct {
	size int64  // how many have one
	xid  string // of the last, as the database writes an xid8
	n    int64  // of the last
}

func readCursor(ctx context.Context, tx Reader) (cursor, error) {
	c := cursor{xid: "0"}
	const last = `SELECT idx + 1, xid::text, n FROM audit.leaf ORDER BY idx DESC LIMIT 1`
	err := tx.QueryRow(ctx, last).Scan(&c.size, &c.xid, &c.n)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return cursor{}, err
	}
	return c, nil
}

// sequence gives the next records their indexes and the tree their hashes, all in one transaction, and returns how many
// they were.
//
// Only records of transactions below the snapshot's xmin are taken: all of those have ended, so no record can appear
// later in front of one that has its index. The isolation is repeatable read, not serializable: everything here is
// append-only and only the holder of the lock writes it, while a serializable read of new records would make the
// money's transactions roll back.
func (s *Sequencer) sequence(ctx context.Context, conn *pgx.Conn) (int, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		return 0, err
	}
	defer rollback(ctx, tx)
	at, err := readCursor(ctx, tx)
	if err != nil {
		return 0, err
	}
	if err := sameCluster(ctx, tx, at); err != nil {
		return 0, err
	}
	ids, leaves, err := nextRecords(ctx, tx, at, s.cfg.BatchLimit)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	first, hashes, err := grow(at.size, leaves, Hashes(ctx, tx))
	if err != nil {
		return 0, err
	}
	const insertLeaves = `INSERT INTO audit.leaf (idx, record, xid, n)
		SELECT $1 + u.o - 1, r.id, r.xid, r.n FROM unnest($2::text[]) WITH ORDINALITY u (id, o) JOIN audit.record r ON r.id = u.id`
	if _, err := tx.Exec(ctx, insertLeaves, at.size, ids); err != nil {
		return 0, taken(err)
	}
	const insertHashes = `INSERT INTO audit.hash (idx, hash) SELECT $1 + u.o - 1, u.h FROM unnest($2::bytea[]) WITH ORDINALITY u (h, o)`
	if _, err := tx.Exec(ctx, insertHashes, first, hashes); err != nil {
		return 0, taken(err)
	}
	return len(ids), tx.Commit(ctx)
}

// taken makes ErrCorrupt of a place in the log that is taken already: only the holder of the lock writes there, so
// somebody removed rows or added some by hand.
func taken(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" {
		return fmt.Errorf("%w: %s", ErrCorrupt, pg.Message)
	}
	return err
}

// sameCluster makes sure that transaction ids go on from where the log's came from. A dump that was restored into a
// new cluster begins at low ids again, and its new records would sort in front of those that have an index, unseen.
func sameCluster(ctx context.Context, tx Reader, at cursor) error {
	var ok bool
	if err := tx.QueryRow(ctx, `SELECT $1::text::xid8 < pg_snapshot_xmax(pg_current_snapshot())`, at.xid).Scan(&ok); err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: the log has records of transaction %s, which this server is yet to reach", ErrCorrupt, at.xid)
	}
	return nil
}

// nextRecords returns up to limit records after the cursor, with their leaf hashes.
func nextRecords(ctx context.Context, tx Reader, at cursor, limit int) (ids []string, leaves []tlog.Hash, err error) {
	const query = `SELECT id, body FROM audit.record
		WHERE (xid, n) > ($1::text::xid8, $2::bigint) AND xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid, n LIMIT $3`
	rows, err := tx.Query(ctx, query, at.xid, at.n, limit)
	if err != nil {
		return nil, nil, err
	}
	var id string
	var body []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &body}, func() error {
		ids, leaves = append(ids, id), append(leaves, tlog.RecordHash(body))
		return nil
	})
	return ids, leaves, err
}

// grow returns the stored hashes that leaves add to a tree of the given size, and the number of the first of them.
func grow(size int64, leaves []tlog.Hash, stored tlog.HashReader) (first int64, hashes [][]byte, err error) {
	first = tlog.StoredHashCount(size)
	edge := rightEdge(size)
	old, err := stored.ReadHashes(edge)
	if err != nil {
		return 0, nil, fmt.Errorf("audit: tree: %w", err)
	}
	known := make(map[int64]tlog.Hash, len(edge)+2*len(leaves))
	for i, idx := range edge {
		known[idx] = old[i]
	}
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) { return pick(indexes, known) })
	for i, leaf := range leaves {
		added, err := tlog.StoredHashesForRecordHash(size+int64(i), leaf, reader)
		if err != nil {
			return 0, nil, fmt.Errorf("audit: tree: %w", err)
		}
		for _, h := range added {
			known[first+int64(len(hashes))] = h
			hashes = append(hashes, h[:])
		}
	}
	return first, hashes, nil
}

// rightEdge returns the numbers of the stored hashes that a tree of the given size can still grow on: the roots of its
// complete subtrees.
func rightEdge(size int64) (indexes []int64) {
	var start int64
	for level := 62; level >= 0; level-- {
		if size&(1<<level) != 0 {
			indexes = append(indexes, tlog.StoredHashIndex(level, start>>level))
			start += 1 << level
		}
	}
	return indexes
}

// publish signs and stores a checkpoint of the tree as it is, if there is none.
//
//  1. Read the tree's size and root, and prove that it extends the last checkpoint, whose signature is verified.
//  2. Have the text signed. The session is free meanwhile: records go on getting indexes.
//  3. Verify the signature and store the note. A crash before this costs nothing: the signer gives the same signature
//     again, or the next text is larger.
func (s *Sequencer) publish(ctx context.Context, l *session) error {
	var next Checkpoint
	err := l.with(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		next, err = s.owed(ctx, conn)
		return err
	})
	if err != nil || next.Size == 0 {
		return err
	}
	sign, cancel := context.WithTimeout(ctx, s.cfg.SignTimeout)
	defer cancel()
	signature, err := s.signer.SignCheckpoint(sign, []byte(next.Text()))
	if err != nil {
		return fmt.Errorf("%w: size %d: %w", errSigner, next.Size, err)
	}
	next, err = s.cfg.Key.Seal(next, signature)
	if err != nil {
		return fmt.Errorf("%w: %w", errSigner, err)
	}
	return l.with(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		const insert = `INSERT INTO audit.checkpoint (size, root, note, at) VALUES ($1, $2, $3, $4) ON CONFLICT (size) DO NOTHING`
		_, err := conn.Exec(ctx, insert, next.Size, next.Root[:], next.Note, time.Now().UTC().Truncate(time.Microsecond))
		if err == nil {
			s.metrics.checkpoints.Inc()
		}
		return err
	})
}

// owed returns the checkpoint that is to be signed next, one of size 0 if none is. A stored log that does not extend
// what was signed is ErrCorrupt and is not signed.
func (s *Sequencer) owed(ctx context.Context, r Reader) (Checkpoint, error) {
	size, err := Size(ctx, r)
	if err != nil {
		return Checkpoint{}, err
	}
	last, err := LatestCheckpoint(ctx, r)
	if err != nil && !errors.Is(err, ErrNoCheckpoint) {
		return Checkpoint{}, err
	}
	if size == last.Size {
		return Checkpoint{}, nil
	}
	if s.cfg.Quiet != nil && size > last.Size {
		if _, due, err := firstDue(ctx, r, last.Size, size, s.cfg.Quiet); err != nil || !due {
			return Checkpoint{}, err
		}
	}
	hashes := Hashes(ctx, r)
	root, err := tlog.TreeHash(size, hashes)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("audit: tree: %w", err)
	}
	next := Checkpoint{Origin: s.cfg.Key.Origin(), Size: size, Root: root}
	if last.Size == 0 {
		return next, nil
	}
	signed, err := s.cfg.Key.OpenStored(last)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint %d is not what was signed: %w", ErrCorrupt, last.Size, err)
	}
	if size < signed.Size {
		return Checkpoint{}, fmt.Errorf("%w: %d records, but %d are signed", ErrCorrupt, size, signed.Size)
	}
	proof, err := tlog.ProveTree(size, signed.Size, hashes)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("audit: tree: %w", err)
	}
	if err := next.Extends(signed, proof); err != nil {
		return Checkpoint{}, fmt.Errorf("%w: the tree of %d records does not extend the signed one of %d", ErrCorrupt, size, signed.Size)
	}
	return next, nil
}

// firstDue returns the first record from index first up to and without end that asks for a checkpoint, and whether there
// is one. Records that do not are few: nothing but a checkpoint leaves them.
func firstDue(ctx context.Context, r Reader, first, end int64, quiet func(Entry) bool) (Entry, bool, error) {
	if first >= end {
		return Entry{}, false, nil
	}
	if quiet == nil {
		e, err := Record(ctx, r, first)
		return e, err == nil, err
	}
	for e, err := range Entries(ctx, r, first, end) {
		if err != nil || !quiet(e) {
			return e, err == nil, err
		}
	}
	return Entry{}, false, nil
}
