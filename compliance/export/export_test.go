package export_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/compliance/export"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

func TestMain(m *testing.M) { schematest.Main(m) }

var auditor = audit.Actor{Kind: "staff", Name: "auditor.example", From: "127.0.0.1", Req: "r-1"}

type signer ed25519.PrivateKey

func (s signer) SignCheckpoint(_ context.Context, text []byte) ([]byte, error) {
	return ed25519.Sign(ed25519.PrivateKey(s), text), nil
}

// world is a log with a sequencer.
type world struct {
	db    *audit.DB
	key   audit.LogKey
	role  string
	start time.Time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	role := schematest.New(t, schema.Gateway)
	db, err := audit.Open(context.Background(), role, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := audit.NewLogKey("example.test/log", public)
	if err != nil {
		t.Fatal(err)
	}
	seq, err := audit.NewSequencer(db, signer(private), audit.Config{Key: key, Interval: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- seq.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &world{db: db, key: key, role: role, start: now()}
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// events records n events, one a transaction, and waits until they are signed.
func (w *world) events(t testing.TB, n int) {
	t.Helper()
	ctx := context.Background()
	var id audit.RecordID
	for i := range n {
		err := audit.Do(ctx, w.db, auditor, func(ctx context.Context, tx *audit.Tx) (err error) {
			id, err = tx.Record(ctx, audit.Event{Action: "test.happened", Subject: fmt.Sprint(i),
				Data: map[string]any{"text": "Grüße \u2028 \"quoted\" <&>", "n": int64(1) << 62, "list": []any{true, nil, "x"}}})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n > 0 {
		if _, _, err := audit.WaitIndexed(ctx, w.db.Reader(), id); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) build(t testing.TB, from, to time.Time) ([]byte, export.Result) {
	t.Helper()
	var buf bytes.Buffer
	result, err := export.Build(context.Background(), export.Deps{DB: w.db, Key: w.key, Software: "test"},
		export.Request{From: from, To: to, Purpose: "a test", By: auditor}, &buf)
	if err != nil {
		t.Fatal(err)
	}
	if int64(buf.Len()) != result.Bytes {
		t.Fatalf("%d bytes, announced %d", buf.Len(), result.Bytes)
	}
	return buf.Bytes(), result
}

func verify(b []byte, key audit.LogKey) (export.Report, error) {
	return export.Verify(bytes.NewReader(b), int64(len(b)), key)
}

// untar reads a package with the standard library's own reader.
func untar(t testing.TB, b []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if out[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBuildAndVerify(t *testing.T) {
	w := newWorld(t)
	w.events(t, 3)
	middle := now()
	w.events(t, 20)
	end := now()
	w.events(t, 2)
	later := end.Add(time.Hour)
	for _, tt := range []struct {
		name     string
		from, to time.Time
		inRange  int64
		first    int64
	}{
		{"all, and the future", w.start, later, 26, 0},
		{"middle", middle, end, 20, 3},
		{"nothing, before the log", w.start.Add(-time.Hour), w.start, 0, 0},
		{"nothing, in the future", later, later.Add(time.Hour), 0, -1},
		{"one microsecond", end.Add(-time.Microsecond), end, 0, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, result := w.build(t, tt.from, tt.to)
			report, err := verify(b, w.key)
			if err != nil {
				t.Fatal(err)
			}
			m := report.Manifest
			if tt.name == "all, and the future" && (m.InRange != tt.inRange || m.Records != m.InRange) {
				t.Errorf("%d records, %d in the range", m.Records, m.InRange)
			}
			if m.InRange != tt.inRange || tt.first >= 0 && m.First > tt.first {
				t.Errorf("first %d, %d in the range, want %d, %d", m.First, m.InRange, tt.first, tt.inRange)
			}
			if report.Export != result.ID || report.Index != result.Index || report.Size <= report.Index || m.Request.Requester != "staff auditor.example" {
				t.Errorf("%+v", report)
			}
			differential(t, w.key, untar(t, b))
		})
	}
}

// differential verifies a package with another implementation of trees, proofs and checkpoints.
func differential(t *testing.T, key audit.LogKey, files map[string][]byte) {
	t.Helper()
	verifier, err := note.NewVerifier(key.String())
	if err != nil {
		t.Fatal(err)
	}
	open := func(file string) *log.Checkpoint {
		c, rest, _, err := log.ParseCheckpoint(files[file], key.Origin(), verifier)
		if err != nil || len(rest) != 0 {
			t.Fatalf("%s: %v, rest %q", file, err, rest)
		}
		return c
	}
	newer, older := open("checkpoint.note"), open("checkpoint-older.note")
	type line struct {
		Proof string
		Index uint64
		Path  [][]byte
	}
	var proofs []line
	for _, text := range lines(files["proofs.jsonl"]) {
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			t.Fatal(err)
		}
		proofs = append(proofs, l)
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, older.Size, newer.Size, proofs[0].Path, older.Hash, newer.Hash); err != nil {
		t.Fatal(err)
	}
	for i, body := range append([][]byte{files["export.json"]}, lines(files["events.jsonl"])...) {
		p := proofs[i+1]
		leaf := rfc6962.DefaultHasher.HashLeaf(body)
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, newer.Size, leaf, p.Path, newer.Hash); err != nil {
			t.Fatalf("line %d: %v", i, err)
		}
	}
}

func lines(b []byte) [][]byte {
	if len(b) == 0 {
		return nil
	}
	return bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
}

// TestEveryByte changes every byte of a package in turn, one bit and all bits.
func TestEveryByte(t *testing.T) {
	w := newWorld(t)
	w.events(t, 2)
	good, _ := w.build(t, w.start, now())
	if _, err := verify(good, w.key); err != nil {
		t.Fatal(err)
	}
	starts := fileStarts(t, good)
	for i := range good {
		flips := []byte{0x01, 0x20, 0xff}
		if i%16 != 0 {
			flips = flips[:1] // keeps the test within a few seconds
		}
		for _, flip := range flips {
			bad := bytes.Clone(good)
			bad[i] ^= flip
			_, err := verify(bad, w.key)
			var fault *export.Fault
			if !errors.As(err, &fault) || !errors.Is(err, export.ErrInvalid) || fault.Why == "" {
				t.Fatalf("byte %d ^ %#x: %v", i, flip, err)
			}
			if want := fileOf(starts, i); fault.File != want && !related(fault, want) {
				t.Errorf("byte %d ^ %#x is in %s: %v", i, flip, want, err)
			}
		}
	}
}

// related: a record that does not fit its proof can't say which of the two is at fault, but names both.
func related(f *export.Fault, want string) bool {
	return want == "proofs.jsonl" && strings.Contains(f.Why, want) || want == "" || f.File == ""
}

type start struct {
	name        string
	offset, end int
}

func fileStarts(t *testing.T, b []byte) (starts []start) {
	t.Helper()
	counting := bytes.NewReader(b)
	r := tar.NewReader(counting)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return starts
		}
		if err != nil {
			t.Fatal(err)
		}
		at := len(b) - counting.Len()
		starts = append(starts, start{h.Name, at - 512, at + int(h.Size)})
	}
}

func fileOf(starts []start, i int) string {
	for _, s := range starts {
		if i >= s.offset && i < s.end {
			return s.name
		}
	}
	return ""
}

func TestTampering(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	w.events(t, 4)
	good, _ := w.build(t, w.start, now())
	theirs, _ := other.build(t, other.start, now().Add(time.Second))
	files := untar(t, good)
	events := lines(files["events.jsonl"])
	change := func(name string, content []byte) []byte { return retar(t, good, map[string][]byte{name: content}) }
	join := func(l ...[]byte) []byte { return append(bytes.Join(l, []byte("\n")), '\n') }
	for name, tt := range map[string]struct {
		b    []byte
		file string
	}{
		"nothing":                {nil, "README.txt"},
		"one byte short":         {good[:len(good)-1], ""},
		"one byte more":          {append(bytes.Clone(good), 0), ""},
		"a block more":           {append(bytes.Clone(good), make([]byte, 512)...), ""},
		"half":                   {good[:len(good)/2], ""},
		"swapped records":        {change("events.jsonl", join(events[1], events[0], events[2], events[3])), "events.jsonl"},
		"missing record":         {change("events.jsonl", join(events[0], events[1], events[2])), "events.jsonl"},
		"doubled record":         {change("events.jsonl", join(events[0], events[0], events[1], events[2], events[3])), "events.jsonl"},
		"record added":           {change("events.jsonl", join(append(events, events[0])...)), "events.jsonl"},
		"no newline at the end":  {change("events.jsonl", bytes.TrimSuffix(files["events.jsonl"], []byte("\n"))), "events.jsonl"},
		"blank in a record":      {change("events.jsonl", bytes.Replace(files["events.jsonl"], []byte(`":`), []byte(`": `), 1)), "events.jsonl"},
		"other readme":           {change("README.txt", []byte("trust me\n")), "README.txt"},
		"swapped notes":          {retar(t, good, map[string][]byte{"checkpoint.note": files["checkpoint-older.note"], "checkpoint-older.note": files["checkpoint.note"]}), "proofs.jsonl"},
		"older note twice":       {change("checkpoint.note", files["checkpoint-older.note"]), "proofs.jsonl"},
		"note of another log":    {change("checkpoint.note", untar(t, theirs)["checkpoint.note"]), "checkpoint.note"},
		"second signature":       {change("checkpoint.note", append(files["checkpoint.note"], lastLine(files["checkpoint.note"])...)), "checkpoint.note"},
		"manifest of another":    {change("manifest.json", untar(t, theirs)["manifest.json"]), "manifest.json"},
		"manifest says less":     {change("manifest.json", bytes.Replace(files["manifest.json"], []byte(`"in_range":4`), []byte(`"in_range":3`), 1)), "manifest.json"},
		"the other log's export": {theirs, "checkpoint.note"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := verify(tt.b, w.key)
			var fault *export.Fault
			if !errors.As(err, &fault) || tt.file != "" && fault.File != tt.file {
				t.Fatalf("got %v, want a fault in %q", err, tt.file)
			}
		})
	}
	if _, err := verify(good, other.key); !errors.Is(err, export.ErrInvalid) {
		t.Errorf("verifies under another key: %v", err)
	}
	if _, err := verify(good, audit.LogKey{}); !errors.Is(err, export.ErrInvalid) {
		t.Errorf("verifies under no key: %v", err)
	}
}

func lastLine(b []byte) []byte {
	return b[bytes.LastIndexByte(bytes.TrimSuffix(b, []byte("\n")), '\n')+1:]
}

// retar replaces files of a package, keeping headers as Build makes them.
func retar(t *testing.T, b []byte, with map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, s := range fileStarts(t, b) {
		content, ok := with[s.name]
		if !ok {
			content = b[s.offset+512 : s.end]
		}
		out.Write(export.Header(s.name, int64(len(content))))
		out.Write(content)
		out.Write(make([]byte, (512-len(content)%512)%512))
	}
	out.Write(make([]byte, 1024))
	return out.Bytes()
}

// TestRebuilt: the same range gives the same records, the same bytes of them, and another export.
func TestRebuilt(t *testing.T) {
	w := newWorld(t)
	w.events(t, 5)
	end := now()
	one, _ := w.build(t, w.start, end)
	two, _ := w.build(t, w.start, end)
	a, b := untar(t, one), untar(t, two)
	if !bytes.Equal(a["README.txt"], b["README.txt"]) {
		t.Error("readme differs")
	}
	if !bytes.HasPrefix(b["events.jsonl"], a["events.jsonl"]) || bytes.Equal(a["export.json"], b["export.json"]) {
		t.Error("records differ, or exports do not")
	}
}

func TestRequests(t *testing.T) {
	w := newWorld(t)
	w.events(t, 1)
	good := export.Request{From: w.start, To: now(), Purpose: "p", By: auditor}
	for name, change := range map[string]func(r *export.Request){
		"empty range":      func(r *export.Request) { r.To = r.From },
		"backwards":        func(r *export.Request) { r.From, r.To = r.To, r.From },
		"nanoseconds":      func(r *export.Request) { r.To = r.To.Add(1) },
		"no purpose":       func(r *export.Request) { r.Purpose = "" },
		"long purpose":     func(r *export.Request) { r.Purpose = strings.Repeat("x", export.MaxPurpose+1) },
		"purpose no UTF-8": func(r *export.Request) { r.Purpose = "\xff" },
		"nobody":           func(r *export.Request) { r.By = audit.Actor{} },
		"year 10000":       func(r *export.Request) { r.To = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		r := good
		change(&r)
		var out bytes.Buffer
		if _, err := export.Build(context.Background(), export.Deps{DB: w.db, Key: w.key}, r, &out); !errors.Is(err, export.ErrRequest) || out.Len() > 0 {
			t.Errorf("%s: %v, %d bytes", name, err, out.Len())
		}
	}
	if lag, err := audit.ReadLag(context.Background(), w.db.Reader()); err != nil || lag.Size != 1 {
		t.Errorf("a refused request was recorded: %+v, %v", lag, err)
	}
}

// TestNobodySigns: without a sequencer there is no package, and not a byte of one.
func TestNobodySigns(t *testing.T) {
	db, err := audit.Open(context.Background(), schematest.New(t, schema.Gateway), 2)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := audit.NewLogKey("log", public)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	_, err = export.Build(context.Background(), export.Deps{DB: db, Key: key, Wait: 50 * time.Millisecond},
		export.Request{From: now(), To: now().Add(time.Hour), Purpose: "p", By: auditor}, &out)
	if !errors.Is(err, export.ErrNotSigned) || out.Len() != 0 {
		t.Fatalf("%v, %d bytes", err, out.Len())
	}
}

func TestRootIsInReport(t *testing.T) {
	w := newWorld(t)
	b, _ := w.build(t, w.start, now().Add(time.Second))
	report, err := verify(b, w.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.key.Open(untar(t, b)["checkpoint.note"])
	if err != nil || report.Root != base64.StdEncoding.EncodeToString(c.Root[:]) || report.Size != c.Size {
		t.Fatalf("%+v, %v", report, err)
	}
}

// TestMixedPackages: of two packages of one log, under one key, no mixture verifies, whatever files are taken from which,
// unless it is one of the two.
func TestMixedPackages(t *testing.T) {
	w := newWorld(t)
	w.events(t, 2)
	end := now()
	one, _ := w.build(t, w.start, end)
	for name, two := range map[string][]byte{
		"same range":  first(w.build(t, w.start, end)),
		"other range": first(w.build(t, end, now().Add(time.Hour))),
	} {
		names, theirs := fileStarts(t, one), untar(t, two)
		for mask := range 1 << len(names) {
			with := map[string][]byte{}
			for i, s := range names {
				if mask&(1<<i) != 0 {
					with[s.name] = theirs[s.name]
				}
			}
			mixed := retar(t, one, with)
			if bytes.Equal(mixed, one) || bytes.Equal(mixed, two) {
				continue
			}
			if _, err := verify(mixed, w.key); !errors.Is(err, export.ErrInvalid) {
				t.Fatalf("%s, mixture %b: %v", name, mask, err)
			}
		}
	}
}

func first[A, B any](a A, _ B) A { return a }

// TestEveryEdit cuts a package at every byte, takes each byte out and puts one in there, and takes out, doubles and
// exchanges the archive's entries.
func TestEveryEdit(t *testing.T) {
	w := newWorld(t)
	w.events(t, 1)
	good, _ := w.build(t, w.start, now())
	refused := func(what string, b []byte) {
		t.Helper()
		_, err := verify(b, w.key)
		var fault *export.Fault
		if !errors.As(err, &fault) || fault.Why == "" || fault.Offset < 0 || fault.Offset > int64(max(len(b), len(good))) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for i := range good {
		refused(fmt.Sprintf("cut at %d", i), good[:i])
		refused(fmt.Sprintf("a byte more at %d", i), slices.Insert(bytes.Clone(good), i, 'x'))
		if i+1 < len(good) && good[i] != good[i+1] { // else it is the same as taking out the next one
			refused(fmt.Sprintf("without byte %d", i), slices.Delete(bytes.Clone(good), i, i+1))
		}
	}
	var entries [][]byte
	starts := fileStarts(t, good)
	for i, s := range starts {
		next := len(good) - 1024
		if i+1 < len(starts) {
			next = starts[i+1].offset
		}
		entries = append(entries, good[s.offset:next])
	}
	end := good[len(good)-1024:]
	whole := func(e [][]byte) []byte { return slices.Concat(slices.Concat(e...), end) }
	if !bytes.Equal(whole(entries), good) {
		t.Fatal("the archive is not its entries")
	}
	for i := range entries {
		refused(fmt.Sprintf("without entry %d", i), whole(slices.Delete(slices.Clone(entries), i, i+1)))
		for j := range entries {
			refused(fmt.Sprintf("entry %d again at %d", i, j), whole(slices.Insert(slices.Clone(entries), j, entries[i])))
			if i != j {
				swapped := slices.Clone(entries)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				refused(fmt.Sprintf("entries %d and %d exchanged", i, j), whole(swapped))
			}
		}
		for name, change := range map[string]func(h []byte){
			"a path up":    func(h []byte) { copy(h, "../../etc/passwd\x00") },
			"a link":       func(h []byte) { h[156] = '2'; copy(h[157:], "/etc/passwd") },
			"a folder":     func(h []byte) { h[156] = '5' },
			"a long name":  func(h []byte) { h[156] = 'x' },
			"a prefix":     func(h []byte) { copy(h[345:], "etc") },
			"an owner":     func(h []byte) { copy(h[108:], "0001750") },
			"setuid":       func(h []byte) { copy(h[100:], "0004755") },
			"a large size": func(h []byte) { copy(h[124:], "77777777777") },
			"a base-256":   func(h []byte) { h[124] = 0x80 },
		} {
			changed := slices.Clone(entries)
			changed[i] = bytes.Clone(entries[i])
			change(changed[i])
			checksum(changed[i])
			refused(fmt.Sprintf("entry %d with %s", i, name), whole(changed))
		}
	}
	refused("two archives", slices.Concat(good, good))
	refused("an archive of nothing", make([]byte, 1024))
}

// checksum makes the checksum of a tar header right.
func checksum(h []byte) {
	copy(h[148:156], "        ")
	sum := 0
	for _, b := range h[:512] {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
}

// TestReaderFails: a disk that fails is no fault of the package.
func TestReaderFails(t *testing.T) {
	w := newWorld(t)
	w.events(t, 1)
	good, _ := w.build(t, w.start, now())
	broken := errors.New("disk failed")
	for at := 0; at < len(good); at += 97 {
		_, err := export.Verify(failingAt{bytes.NewReader(good), int64(at), broken}, int64(len(good)), w.key)
		if !errors.Is(err, broken) || errors.Is(err, export.ErrInvalid) {
			t.Fatalf("byte %d: %v", at, err)
		}
	}
}

type failingAt struct {
	r   io.ReaderAt
	at  int64
	err error
}

func (f failingAt) ReadAt(b []byte, at int64) (int, error) {
	if at <= f.at && f.at < at+int64(len(b)) {
		return 0, f.err
	}
	return f.r.ReadAt(b, at)
}
