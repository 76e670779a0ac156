package audit

import (
	"context"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"
)

// Report is what CheckLog found.
type Report struct {
	Records   int64 // committed records
	Size      int64 // records with an index
	Signed    int64 // records that the last checkpoint covers
	Malformed int64 // records with an index that ReadBody refuses: put there past this program, and in the log for ever
}

// CheckLog reads the whole log and verifies it:
//
//  1. No record was passed over: the indexes go up as the transactions do, and every record of a transaction that is not
//     younger than the last one with an index has one, too.
//  2. The indexes have no gap, and the stored hashes are those of the bodies.
//  3. Every checkpoint is signed by key, for the size it is stored under, and the bodies hash to its root.
//
// What does not hold is ErrCorrupt or ErrCheckpoint; records that are not yet in the signed tree are in the report.
func CheckLog(ctx context.Context, r Reader, key LogKey) (Report, error) {
	report, err := survey(ctx, r)
	if err != nil {
		return Report{}, err
	}
	tree := checker{stored: Hashes(ctx, r)}
	tree.next, tree.stop = iter.Pull2(checkpoints(ctx, r, key, report.Signed))
	defer tree.stop()
	if err := tree.advance(); err != nil {
		return Report{}, err
	}
	for e, err := range Entries(ctx, r, 0, report.Size) {
		if err != nil {
			return Report{}, err
		}
		if _, err := ReadBody(e.Body); err != nil {
			report.Malformed++
		}
		if err := tree.add(e.Body); err != nil {
			return Report{}, err
		}
	}
	if tree.due.Size > 0 {
		return Report{}, fmt.Errorf("%w: %d records, but %d are signed", ErrCorrupt, tree.size, tree.due.Size)
	}
	return report, tree.compare()
}

// survey counts, as of one moment, and makes sure that no record was passed over.
func survey(ctx context.Context, r Reader) (Report, error) {
	var report Report
	var passedOver, misplaced, hashes int64
	const query = `SELECT (SELECT count(*) FROM audit.record), (SELECT count(*) FROM audit.leaf), (SELECT coalesce(max(size), 0) FROM audit.checkpoint),
		(SELECT count(*) FROM audit.hash),
		(SELECT count(*) FROM audit.record r WHERE NOT EXISTS (SELECT FROM audit.leaf l WHERE l.record = r.id)
			AND ((r.xid, r.n) <= (SELECT xid, n FROM audit.leaf ORDER BY idx DESC LIMIT 1) OR r.xid >= pg_snapshot_xmax(pg_current_snapshot()))),
		(SELECT count(*) FROM (SELECT r.xid, r.n, l.xid AS leaf_xid, l.n AS leaf_n, lag(r.xid) OVER w AS last_xid, lag(r.n) OVER w AS last_n
			FROM audit.leaf l JOIN audit.record r ON r.id = l.record WINDOW w AS (ORDER BY l.idx)) x
			WHERE (xid, n) IS DISTINCT FROM (leaf_xid, leaf_n) OR (xid, n) <= (last_xid, last_n))`
	err := r.QueryRow(ctx, query).Scan(&report.Records, &report.Size, &report.Signed, &hashes, &passedOver, &misplaced)
	switch {
	case err != nil:
		return Report{}, fmt.Errorf("audit: check: %w", classify(err))
	case passedOver > 0:
		return Report{}, fmt.Errorf("%w: %d records have no index, and can get none", ErrCorrupt, passedOver)
	case misplaced > 0:
		return Report{}, fmt.Errorf("%w: %d records have an index out of the order of their transactions", ErrCorrupt, misplaced)
	case hashes != tlog.StoredHashCount(report.Size):
		return Report{}, fmt.Errorf("%w: %d hashes of %d records", ErrCorrupt, hashes, report.Size)
	}
	return report, nil
}

// checkpoints yields the stored checkpoints up to a size, from small to large, after verifying their signatures.
func checkpoints(ctx context.Context, r Reader, key LogKey, most int64) iter.Seq2[Checkpoint, error] {
	return func(yield func(Checkpoint, error) bool) {
		for last := int64(0); last < most; {
			const which = `WHERE size > $1 AND size <= $2 ORDER BY size LIMIT $3`
			rows, err := r.Query(ctx, checkpointColumns+which, last, most, entryPage)
			if err != nil {
				yield(Checkpoint{}, fmt.Errorf("audit: checkpoints: %w", classify(err)))
				return
			}
			page, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Checkpoint, error) { return scanCheckpoint(row) })
			if err == nil && len(page) == 0 {
				err = fmt.Errorf("%w: checkpoint %d is gone", ErrCorrupt, most)
			}
			if err != nil {
				yield(Checkpoint{}, fmt.Errorf("audit: checkpoints: %w", classify(err)))
				return
			}
			for _, c := range page {
				last = c.Size
				if c, err = key.OpenStored(c); !yield(c, err) || err != nil {
					return
				}
			}
		}
	}
}

// OpenStored verifies a checkpoint as it was read from the database: its note is signed, and says what is stored with it.
func (k LogKey) OpenStored(c Checkpoint) (Checkpoint, error) {
	signed, err := k.Open([]byte(c.Note))
	if err != nil {
		return Checkpoint{}, err
	}
	if signed.Size != c.Size || signed.Root != c.Root {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint %d is stored with a note about size %d", ErrCorrupt, c.Size, signed.Size)
	}
	signed.At = c.At
	return signed, nil
}

// checker builds the tree anew and compares it with what is stored.
type checker struct {
	roots
	next   func() (Checkpoint, error, bool) // the checkpoints, from small to large
	stop   func()
	due    Checkpoint // that comes next; of size 0 if there is none
	stored tlog.HashReader
	first  int64       // number of the first of hashes
	hashes []tlog.Hash // not compared yet
}

func (c *checker) advance() (err error) {
	c.due, err, _ = c.next()
	return err
}

// add appends a record.
func (c *checker) add(body []byte) error {
	c.hashes = append(c.hashes, c.roots.add(body)...)
	if c.size == c.due.Size {
		if c.root() != c.due.Root {
			return fmt.Errorf("%w: the records do not hash to the root of checkpoint %d", ErrCorrupt, c.size)
		}
		if err := c.advance(); err != nil {
			return err
		}
	}
	if len(c.hashes) < entryPage {
		return nil
	}
	return c.compare()
}

// compare compares the hashes with the stored ones.
func (c *checker) compare() error {
	indexes := make([]int64, len(c.hashes))
	for i := range indexes {
		indexes[i] = c.first + int64(i)
	}
	got, err := c.stored.ReadHashes(indexes)
	if err != nil {
		return err
	}
	for i, want := range c.hashes {
		if got[i] != want {
			return fmt.Errorf("%w: hash %d is not that of its records", ErrCorrupt, indexes[i])
		}
	}
	c.first, c.hashes = c.first+int64(len(c.hashes)), c.hashes[:0]
	return nil
}
