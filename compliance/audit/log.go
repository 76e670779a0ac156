package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"
)

var (
	// ErrNoRecord: the log has no such record, or not yet.
	ErrNoRecord = errors.New("audit: no such record")
	// ErrNoCheckpoint: there is no such checkpoint, or not yet.
	ErrNoCheckpoint = errors.New("audit: no such checkpoint")
	// ErrCorrupt: what is stored contradicts itself or what was signed. Nothing of ours mends that.
	ErrCorrupt = errors.New("audit: the stored log is corrupt")
)

// Entry is a record with its place in the log.
type Entry struct {
	Index  int64
	ID     RecordID
	At     time.Time
	Action string
	Body   []byte // canonical JSON, what the leaf is the hash of
}

const (
	entryQuery = `SELECT l.idx, r.id, r.at, r.action, r.body FROM audit.leaf l JOIN audit.record r ON r.id = l.record `
	entryPage  = 512 // how many entries, or hashes, one query reads
)

func scanEntry(row pgx.Row) (e Entry, err error) {
	err = row.Scan(&e.Index, &e.ID, &e.At, &e.Action, &e.Body)
	e.At = e.At.UTC()
	return e, err
}

// IndexOf returns a record's index in the log, and whether it has one yet.
func IndexOf(ctx context.Context, r Reader, id RecordID) (int64, bool, error) {
	var idx int64
	err := r.QueryRow(ctx, `SELECT idx FROM audit.leaf WHERE record = $1`, string(id)).Scan(&idx)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("audit: index: %w", classify(err))
	}
	return idx, true, nil
}

// Record returns the record at idx, or ErrNoRecord.
func Record(ctx context.Context, r Reader, idx int64) (Entry, error) {
	e, err := scanEntry(r.QueryRow(ctx, entryQuery+`WHERE l.idx = $1`, idx))
	if errors.Is(err, pgx.ErrNoRows) {
		return Entry{}, fmt.Errorf("%w: index %d", ErrNoRecord, idx)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("audit: record: %w", classify(err))
	}
	return e, nil
}

// Entries yields the records from index first up to and without end, in order. It ends with an error if one is missing.
func Entries(ctx context.Context, r Reader, first, end int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for next := first; next < end; {
			rows, err := r.Query(ctx, entryQuery+`WHERE l.idx >= $1 AND l.idx < $2 ORDER BY l.idx`, next, min(end, next+entryPage))
			if err != nil {
				yield(Entry{}, fmt.Errorf("audit: records: %w", classify(err)))
				return
			}
			page, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Entry, error) { return scanEntry(row) })
			if err != nil {
				yield(Entry{}, fmt.Errorf("audit: records: %w", classify(err)))
				return
			}
			for _, e := range page {
				if e.Index != next {
					break
				}
				if !yield(e, nil) {
					return
				}
				next++
			}
			if len(page) == 0 || page[len(page)-1].Index != next-1 {
				yield(Entry{}, fmt.Errorf("%w: index %d is missing", ErrCorrupt, next))
				return
			}
		}
	}
}

// Size returns how many records have an index.
func Size(ctx context.Context, r Reader) (size int64, err error) {
	if err := r.QueryRow(ctx, `SELECT coalesce(max(idx) + 1, 0) FROM audit.leaf`).Scan(&size); err != nil {
		return 0, fmt.Errorf("audit: size: %w", classify(err))
	}
	return size, nil
}

// Span returns the smallest interval of indexes, from first up to and without end, that has every record with from <=
// at < to. Both are 0 when there is none.
func Span(ctx context.Context, r Reader, from, to time.Time) (first, end int64, err error) {
	const query = `SELECT coalesce(min(l.idx), 0), coalesce(max(l.idx) + 1, 0)
		FROM audit.record r JOIN audit.leaf l ON l.record = r.id WHERE r.at >= $1 AND r.at < $2`
	if err := r.QueryRow(ctx, query, from, to).Scan(&first, &end); err != nil {
		return 0, 0, fmt.Errorf("audit: span: %w", classify(err))
	}
	return first, end, nil
}

// LastBefore returns the last record with an index of at most idx whose time is before t, or ErrNoRecord.
func LastBefore(ctx context.Context, r Reader, idx int64, t time.Time) (Entry, error) {
	return nearest(ctx, r, `WHERE l.idx <= $1 AND r.at < $2 ORDER BY l.idx DESC LIMIT 1`, idx, t)
}

// FirstFrom returns the first record with an index of at least idx whose time is t or later, or ErrNoRecord.
func FirstFrom(ctx context.Context, r Reader, idx int64, t time.Time) (Entry, error) {
	return nearest(ctx, r, `WHERE l.idx >= $1 AND r.at >= $2 ORDER BY l.idx LIMIT 1`, idx, t)
}

func nearest(ctx context.Context, r Reader, which string, idx int64, t time.Time) (Entry, error) {
	e, err := scanEntry(r.QueryRow(ctx, entryQuery+which, idx, t))
	if errors.Is(err, pgx.ErrNoRows) {
		return Entry{}, fmt.Errorf("%w: none near %d on that side of %s", ErrNoRecord, idx, t)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("audit: record: %w", classify(err))
	}
	return e, nil
}

// Hashes reads the stored hashes of the tree, in tlog's numbering, for tlog's functions: one query for each call.
func Hashes(ctx context.Context, r Reader) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		const query = `SELECT idx, hash FROM audit.hash WHERE idx = ANY ($1)`
		found, err := readHashes(ctx, r, map[int64]tlog.Hash{}, query, indexes)
		if err != nil {
			return nil, err
		}
		return pick(indexes, found)
	})
}

// CachedHashes is Hashes for proving many neighbouring records: it reads neighbours along with what is asked for and
// keeps everything, so it is to be used for one task and dropped.
func CachedHashes(ctx context.Context, r Reader) tlog.HashReader {
	known := map[int64]tlog.Hash{}
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		for _, idx := range indexes {
			if _, ok := known[idx]; ok {
				continue
			}
			first := idx - idx%entryPage
			const query = `SELECT idx, hash FROM audit.hash WHERE idx >= $1 AND idx < $2`
			if _, err := readHashes(ctx, r, known, query, first, first+entryPage); err != nil {
				return nil, err
			}
		}
		return pick(indexes, known)
	})
}

func pick(indexes []int64, from map[int64]tlog.Hash) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, idx := range indexes {
		h, ok := from[idx]
		if !ok {
			return nil, fmt.Errorf("%w: hash %d is missing", ErrCorrupt, idx)
		}
		out[i] = h
	}
	return out, nil
}

func readHashes(ctx context.Context, r Reader, into map[int64]tlog.Hash, query string, args ...any) (map[int64]tlog.Hash, error) {
	rows, err := r.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("audit: hashes: %w", classify(err))
	}
	var idx int64
	var hash []byte
	_, err = pgx.ForEachRow(rows, []any{&idx, &hash}, func() error {
		if len(hash) != tlog.HashSize {
			return fmt.Errorf("%w: hash %d has %d bytes", ErrCorrupt, idx, len(hash))
		}
		into[idx] = tlog.Hash(hash)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("audit: hashes: %w", classify(err))
	}
	return into, nil
}

// Inclusion proves that the record at idx is in the tree of the first size records.
func Inclusion(ctx context.Context, r Reader, idx, size int64) (tlog.RecordProof, error) {
	if idx < 0 || idx >= size {
		return nil, fmt.Errorf("%w: index %d in size %d", ErrNoRecord, idx, size)
	}
	return prove(tlog.ProveRecord(size, idx, Hashes(ctx, r)))
}

// Consistency proves that the tree of the first older records is the beginning of that of the first newer.
func Consistency(ctx context.Context, r Reader, older, newer int64) (tlog.TreeProof, error) {
	if older < 1 || older > newer {
		return nil, fmt.Errorf("%w: size %d before size %d", ErrNoCheckpoint, older, newer)
	}
	return prove(tlog.ProveTree(newer, older, Hashes(ctx, r)))
}

func prove[P ~[]tlog.Hash](p P, err error) (P, error) {
	if err != nil {
		return nil, fmt.Errorf("audit: proof: %w", err)
	}
	return p, nil
}

const checkpointColumns = `SELECT note, size, root, at FROM audit.checkpoint `

// LatestCheckpoint returns the largest signed checkpoint, or ErrNoCheckpoint. Its signature is not verified here: use
// LogKey.Open on its Note where the database is not to be trusted.
func LatestCheckpoint(ctx context.Context, r Reader) (Checkpoint, error) {
	return readCheckpoint(ctx, r, `ORDER BY size DESC LIMIT 1`)
}

// FirstCheckpoint returns the smallest signed checkpoint, or ErrNoCheckpoint.
func FirstCheckpoint(ctx context.Context, r Reader) (Checkpoint, error) {
	return readCheckpoint(ctx, r, `ORDER BY size LIMIT 1`)
}

// CheckpointBefore returns the largest checkpoint that was signed before t, or ErrNoCheckpoint.
func CheckpointBefore(ctx context.Context, r Reader, t time.Time) (Checkpoint, error) {
	return readCheckpoint(ctx, r, `WHERE at < $1 ORDER BY at DESC, size DESC LIMIT 1`, t)
}

// CheckpointFrom returns the smallest checkpoint that was signed at t or later, or ErrNoCheckpoint.
func CheckpointFrom(ctx context.Context, r Reader, t time.Time) (Checkpoint, error) {
	return readCheckpoint(ctx, r, `WHERE at >= $1 ORDER BY at, size LIMIT 1`, t)
}

func readCheckpoint(ctx context.Context, r Reader, which string, args ...any) (Checkpoint, error) {
	c, err := scanCheckpoint(r.QueryRow(ctx, checkpointColumns+which, args...))
	if errors.Is(err, pgx.ErrNoRows) {
		return Checkpoint{}, ErrNoCheckpoint
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("audit: checkpoint: %w", classify(err))
	}
	return c, nil
}

func scanCheckpoint(row pgx.Row) (c Checkpoint, err error) {
	var root []byte
	if err := row.Scan(&c.Note, &c.Size, &root, &c.At); err != nil {
		return Checkpoint{}, err
	}
	if len(root) != tlog.HashSize {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint %d has a root of %d bytes", ErrCorrupt, c.Size, len(root))
	}
	c.At, c.Root = c.At.UTC(), tlog.Hash(root)
	c.Origin, _, _ = strings.Cut(c.Note, "\n")
	return c, nil
}

// waitInterval is how often WaitIndexed looks.
const waitInterval = 20 * time.Millisecond

// WaitIndexed waits until a signed checkpoint covers the record, and returns the record's index and that checkpoint. It
// waits as long as ctx lets it. r must see new commits: DB.Reader, not a Tx.
func WaitIndexed(ctx context.Context, r Reader, id RecordID) (int64, Checkpoint, error) {
	ticker := time.NewTicker(waitInterval)
	defer ticker.Stop()
	for {
		idx, ok, err := IndexOf(ctx, r, id)
		if err != nil {
			return 0, Checkpoint{}, err
		}
		if ok {
			c, err := LatestCheckpoint(ctx, r)
			if err == nil && c.Size > idx {
				return idx, c, nil
			}
			if err != nil && !errors.Is(err, ErrNoCheckpoint) {
				return 0, Checkpoint{}, err
			}
		}
		select {
		case <-ctx.Done():
			return 0, Checkpoint{}, fmt.Errorf("audit: waiting for a checkpoint over record %s: %w", id, ctx.Err())
		case <-ticker.C:
		}
	}
}
