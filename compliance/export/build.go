package export

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"runtime/debug"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/diamante/gateway/compliance/audit"
)

// DefaultWait is how long Build waits for each of the two checkpoints that it needs.
const DefaultWait = 20 * time.Second

// Deps is what Build works with.
type Deps struct {
	DB       *audit.DB
	Key      audit.LogKey  // the log's public key; what the database holds is verified with it
	Software string        // what made the package; "" for the program's build information
	Wait     time.Duration // how long to wait for a checkpoint; 0 for DefaultWait
}

// Request asks for a part of the log, and says for whom and why.
type Request struct {
	From, To time.Time   // records with From <= at < To, in whole microseconds; To may be in the future
	Purpose  string      // why, 1 to MaxPurpose bytes; becomes part of the evidence
	By       audit.Actor // who asks; becomes part of the evidence
}

// Result says what was exported.
type Result struct {
	ID       audit.RecordID // the record export.created
	Index    int64          // its index
	Size     int64          // of the checkpoint that covers it
	Manifest Manifest
	Bytes    int64 // of the package
}

func (q Request) validate() error {
	switch {
	case !q.From.Before(q.To):
		return fmt.Errorf("%w: the range is empty", ErrRequest)
	case !q.From.Equal(q.From.Truncate(time.Microsecond)) || !q.To.Equal(q.To.Truncate(time.Microsecond)):
		return fmt.Errorf("%w: times are in whole microseconds", ErrRequest)
	case q.From.UTC().Year() < 1 || q.To.UTC().Year() > 9999:
		return fmt.Errorf("%w: years are from 1 to 9999", ErrRequest)
	case len(q.Purpose) == 0 || len(q.Purpose) > MaxPurpose || !utf8.ValidString(q.Purpose):
		return fmt.Errorf("%w: the purpose has %d bytes, need 1 to %d", ErrRequest, len(q.Purpose), MaxPurpose)
	case q.By.Kind == "" || q.By.Name == "":
		return fmt.Errorf("%w: nobody asks", ErrRequest)
	}
	return nil
}

// Build records the export and writes its package to w. Nothing is written to w before the record is in the signed log,
// so an error without a byte written means that nothing left the house.
//
// Errors: ErrRequest, ErrTooLarge, ErrNotSigned, audit.ErrUnavailable, audit.ErrCorrupt, and w's own.
func Build(ctx context.Context, d Deps, q Request, w io.Writer) (Result, error) {
	p, err := prepare(ctx, d, q)
	if err != nil {
		return Result{}, err
	}
	if err := p.write(ctx, w); err != nil {
		return Result{}, err
	}
	return p.result, nil
}

// pack is a package whose every byte is determined. What is large stays in the database, which only ever appends, and
// is read once to be measured and once to be written.
type pack struct {
	reader audit.Reader
	hashes tlog.HashReader

	older, newer         audit.Checkpoint
	readme, manifest     []byte
	export               []byte // the record's body
	events, index, proof int64  // how long these files are
	eventSum             string // SHA-256 of events.jsonl, hex
	result               Result
}

// prepare does everything but write.
//
//  1. Record the request, and wait until it is signed. Records are in the order of their transactions, so everything
//     that was committed before is in the log then, also what took long.
//  2. Choose the interval: from the last checkpoint before the range to the first one after it, and whatever else has a
//     time in the range. So nothing between the two states of the log is left out, and the older one is known from
//     before. Then widen it until its first and last record show by themselves that it has all of the range: when a
//     checkpoint was stored is not signed.
//  3. Measure and hash the files.
//  4. Record the manifest's hash, and wait until that is signed.
func prepare(ctx context.Context, d Deps, q Request) (*pack, error) {
	if err := q.validate(); err != nil {
		return nil, err
	}
	if d.Wait == 0 {
		d.Wait = DefaultWait
	}
	q.From, q.To = q.From.UTC(), q.To.UTC()
	asked := audit.Event{Action: actionRequested, Subject: rangeName(q.From, q.To),
		Data: map[string]any{"purpose": q.Purpose}}
	requested, seen, err := recordAndWait(ctx, d, q.By, asked)
	if err != nil {
		return nil, err
	}
	p := &pack{reader: d.DB.Reader(), hashes: audit.CachedHashes(ctx, d.DB.Reader())}
	m := Manifest{Version: Version, Origin: d.Key.Origin(), From: q.From, To: q.To, TimeZone: "UTC", Software: d.software(),
		Request: Requested{ID: requested.ID, Index: requested.Index, Requester: requester(q.By), Purpose: q.Purpose}}
	if err := p.choose(ctx, d.Key, &m, seen.Size); err != nil {
		return nil, err
	}
	if err := p.measure(ctx, &m); err != nil {
		return nil, err
	}
	done := audit.Event{Action: actionCreated, Subject: string(requested.ID), Data: map[string]any{
		"manifest_sha256": hexSum(p.manifest), "first_index": m.First, "last_index": m.Last, "records": m.Records}}
	entry, newer, err := recordAndWait(ctx, d, q.By, done)
	if err != nil {
		return nil, err
	}
	if p.newer, err = opened(d.Key, newer); err != nil {
		return nil, err
	}
	p.export = entry.Body
	p.result = Result{ID: entry.ID, Index: entry.Index, Size: newer.Size, Manifest: m}
	counted := &counter{w: io.Discard}
	if err := p.writeProofs(ctx, counted); err != nil {
		return nil, err
	}
	p.proof = counted.n
	return p, p.total()
}

// recordAndWait commits e and waits for the checkpoint that covers it.
func recordAndWait(ctx context.Context, d Deps, by audit.Actor, e audit.Event) (audit.Entry, audit.Checkpoint, error) {
	var id audit.RecordID
	err := audit.Do(ctx, d.DB, by, func(ctx context.Context, tx *audit.Tx) (err error) {
		id, err = tx.Record(ctx, e)
		return err
	})
	if err != nil {
		return audit.Entry{}, audit.Checkpoint{}, fmt.Errorf("export: %s: %w", e.Action, err)
	}
	wait, cancel := context.WithTimeout(ctx, d.Wait)
	defer cancel()
	idx, c, err := audit.WaitIndexed(wait, d.DB.Reader(), id)
	if err != nil {
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			return audit.Entry{}, audit.Checkpoint{}, fmt.Errorf("%w: waited %s for %s", ErrNotSigned, d.Wait, e.Action)
		}
		return audit.Entry{}, audit.Checkpoint{}, err
	}
	entry, err := audit.Record(ctx, d.DB.Reader(), idx)
	return entry, c, err
}

// software says what made the package.
func (d Deps) software() string {
	if d.Software != "" {
		return d.Software
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Path + " " + info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			version += " " + s.Value
		}
	}
	return version
}

// opened verifies a checkpoint of the database.
func opened(key audit.LogKey, c audit.Checkpoint) (audit.Checkpoint, error) {
	signed, err := key.OpenStored(c)
	if err != nil {
		return audit.Checkpoint{}, fmt.Errorf("%w: checkpoint %d: %w", audit.ErrCorrupt, c.Size, err)
	}
	return signed, nil
}

// choose sets the interval of indexes and the older checkpoint.
func (p *pack) choose(ctx context.Context, key audit.LogKey, m *Manifest, seen int64) error {
	older, err := audit.CheckpointBefore(ctx, p.reader, m.From)
	start := older.Size
	if errors.Is(err, audit.ErrNoCheckpoint) { // the range begins before the log's first one
		start = 0
		older, err = audit.FirstCheckpoint(ctx, p.reader)
	}
	if err != nil {
		return err
	}
	if p.older, err = opened(key, older); err != nil {
		return err
	}
	end := seen
	after, err := audit.CheckpointFrom(ctx, p.reader, m.To)
	switch {
	case err == nil:
		end = after.Size
	case !errors.Is(err, audit.ErrNoCheckpoint): // none: the range goes on into the future
		return err
	}
	first, last, err := audit.Span(ctx, p.reader, m.From, m.To)
	if err != nil {
		return err
	}
	if last > 0 {
		start, end = min(start, first), max(end, last)
	}
	if start, end, err = p.widen(ctx, m, start, end); err != nil {
		return err
	}
	if end-start > MaxRecords {
		return fmt.Errorf("%w: %d records, at most %d", ErrTooLarge, end-start, MaxRecords)
	}
	m.First, m.Last, m.Records = start, end-1, end-start
	m.Older = Point{Size: p.older.Size, Root: base64.StdEncoding.EncodeToString(p.older.Root[:])}
	return nil
}

// widen makes the interval as wide as Manifest.bounded wants it. A malformed record bounds nothing.
func (p *pack) widen(ctx context.Context, m *Manifest, start, end int64) (int64, int64, error) {
	first := min(start, m.Request.Index)
	last := max(end-1, first)
	for first > 0 {
		e, err := audit.LastBefore(ctx, p.reader, first, m.From)
		if errors.Is(err, audit.ErrNoRecord) {
			first = 0
			break
		}
		if err != nil {
			return 0, 0, err
		}
		if line, _ := m.indexed(e.Index, e.Body); !line.Malformed {
			first = e.Index
			break
		}
		first = e.Index - 1
	}
	for last < m.Request.Index {
		e, err := audit.FirstFrom(ctx, p.reader, last, m.To)
		if errors.Is(err, audit.ErrNoRecord) || err == nil && e.Index > m.Request.Index {
			last = m.Request.Index
			break
		}
		if err != nil {
			return 0, 0, err
		}
		if line, _ := m.indexed(e.Index, e.Body); !line.Malformed {
			last = e.Index
			break
		}
		last = e.Index + 1
	}
	return max(first, 0), last + 1, nil
}

// measure reads the records for the first time, and makes the manifest.
func (p *pack) measure(ctx context.Context, m *Manifest) error {
	events, index := newCounter(), newCounter()
	for e, err := range audit.Entries(ctx, p.reader, m.First, m.Last+1) {
		if err != nil {
			return err
		}
		leaf, err := p.hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, e.Index)})
		if err != nil {
			return err
		}
		line, _ := m.indexed(e.Index, e.Body)
		if leaf[0] != tlog.RecordHash(e.Body) || !line.Malformed && (line.ID != e.ID || !line.At.Equal(e.At)) {
			return fmt.Errorf("%w: record %d is not what was hashed, or stored as another", audit.ErrCorrupt, e.Index)
		}
		m.count(line)
		if err := errors.Join(writeLine(events, e.Body), writeJSON(index, line)); err != nil {
			return err
		}
		if events.n > MaxEvents {
			return fmt.Errorf("%w: more than %d bytes of records", ErrTooLarge, MaxEvents)
		}
	}
	p.readme = []byte(readme)
	m.Files = []File{{fileReadme, int64(len(p.readme)), hexSum(p.readme)}, {fileEvents, events.n, events.hex()}, {fileIndex, index.n, index.hex()}}
	manifest, err := audit.Canonical(m)
	if err != nil {
		return err
	}
	p.manifest = append(manifest, '\n')
	p.events, p.index, p.eventSum = events.n, index.n, events.hex()
	return nil
}

// writeProofs writes the consistency proof and the inclusion proofs, each verified.
func (p *pack) writeProofs(ctx context.Context, w io.Writer) error {
	tree, err := tlog.ProveTree(p.newer.Size, p.older.Size, p.hashes)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := p.newer.Extends(p.older, tree); err != nil {
		return fmt.Errorf("%w: %w", audit.ErrCorrupt, err)
	}
	if err := writeJSON(w, proofLine{Proof: "consistency", Older: p.older.Size, Size: p.newer.Size, Path: encodePath(tree)}); err != nil {
		return err
	}
	if err := p.writeProof(w, p.result.Index); err != nil {
		return err
	}
	m := p.result.Manifest
	for idx := m.First; idx <= m.Last; idx++ {
		if err := p.writeProof(w, idx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return nil
}

func (p *pack) writeProof(w io.Writer, idx int64) error {
	path, err := tlog.ProveRecord(p.newer.Size, idx, p.hashes)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	leaf, err := p.hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, idx)})
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := tlog.CheckRecord(path, p.newer.Size, p.newer.Root, idx, leaf[0]); err != nil {
		return fmt.Errorf("%w: record %d has no proof", audit.ErrCorrupt, idx)
	}
	return writeJSON(w, proofLine{Proof: "inclusion", Index: &idx, Size: p.newer.Size, Path: encodePath(path)})
}

// total adds up the package's size.
func (p *pack) total() error {
	sum := int64(2 * block)
	for _, n := range []int64{int64(len(p.readme)), int64(len(p.manifest)), p.events, p.index, int64(len(p.export)),
		int64(len(p.newer.Note)), int64(len(p.older.Note)), p.proof} {
		sum += block + n + padding(n)
	}
	if sum > MaxPackage {
		return fmt.Errorf("%w: a package of %d bytes, at most %d", ErrTooLarge, sum, MaxPackage)
	}
	p.result.Bytes = sum
	return nil
}

// write writes the package.
func (p *pack) write(ctx context.Context, w io.Writer) error {
	m := p.result.Manifest
	bytes := func(b []byte) func(io.Writer) error {
		return func(w io.Writer) error { _, err := w.Write(b); return err }
	}
	records := func(line func(io.Writer, audit.Entry) error) func(io.Writer) error {
		return func(w io.Writer) error {
			for e, err := range audit.Entries(ctx, p.reader, m.First, m.Last+1) {
				if err != nil {
					return err
				}
				if err := line(w, e); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for _, f := range []struct {
		name    string
		size    int64
		content func(io.Writer) error
	}{
		{fileReadme, int64(len(p.readme)), bytes(p.readme)},
		{fileManifest, int64(len(p.manifest)), bytes(p.manifest)},
		{fileEvents, p.events, p.unchanged(records(func(w io.Writer, e audit.Entry) error { return writeLine(w, e.Body) }))},
		{fileIndex, p.index, records(func(w io.Writer, e audit.Entry) error {
			line, _ := m.indexed(e.Index, e.Body)
			return writeJSON(w, line)
		})},
		{fileExport, int64(len(p.export)), bytes(p.export)},
		{fileNewer, int64(len(p.newer.Note)), bytes([]byte(p.newer.Note))},
		{fileOlder, int64(len(p.older.Note)), bytes([]byte(p.older.Note))},
		{fileProofs, p.proof, func(w io.Writer) error { return p.writeProofs(ctx, w) }},
	} {
		if err := writeFile(w, f.name, f.size, f.content); err != nil {
			return err
		}
	}
	if _, err := w.Write(make([]byte, 2*block)); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// unchanged makes sure that the records are those whose hash is in the manifest, which is in the log by now.
func (p *pack) unchanged(content func(io.Writer) error) func(io.Writer) error {
	return func(w io.Writer) error {
		sum := newCounter()
		if err := content(io.MultiWriter(w, sum)); err != nil {
			return err
		}
		if sum.hex() != p.eventSum {
			return fmt.Errorf("%w: the records have changed while they were exported", audit.ErrCorrupt)
		}
		return nil
	}
}

// writeFile writes a file that was measured before. One that has another size now is no package: the reader notices
// too, but here we know why.
func writeFile(w io.Writer, name string, size int64, content func(io.Writer) error) error {
	if _, err := w.Write(header(name, size)); err != nil {
		return fmt.Errorf("export: %s: %w", name, err)
	}
	counted := &counter{w: w}
	if err := content(counted); err != nil {
		return fmt.Errorf("export: %s: %w", name, err)
	}
	if counted.n != size {
		return fmt.Errorf("%w: %s has %d bytes, it had %d", audit.ErrCorrupt, name, counted.n, size)
	}
	if _, err := w.Write(make([]byte, padding(size))); err != nil {
		return fmt.Errorf("export: %s: %w", name, err)
	}
	return nil
}

func writeLine(w io.Writer, b []byte) error {
	line := append(append(make([]byte, 0, len(b)+1), b...), '\n')
	_, err := w.Write(line)
	return err
}

func writeJSON(w io.Writer, v any) error {
	b, err := audit.Canonical(v)
	if err != nil {
		return err
	}
	return writeLine(w, b)
}

func encodePath[P ~[]tlog.Hash](p P) []string {
	out := make([]string, len(p))
	for i, h := range p {
		out[i] = base64.StdEncoding.EncodeToString(h[:])
	}
	return out
}

// counter counts what is written to w, and hashes it where it has a hash.
type counter struct {
	w   io.Writer
	n   int64
	sum hash.Hash
}

func newCounter() *counter {
	sum := sha256.New()
	return &counter{w: sum, sum: sum}
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) hex() string { return hex.EncodeToString(c.sum.Sum(nil)) }
