package export_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/compliance/export"
)

// forge is somebody who has the log's key and signs whatever he likes: with him the parsers behind the signatures are
// reached.
type forge struct {
	private ed25519.PrivateKey
	key     audit.LogKey
}

func newForge(t testing.TB) forge {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := audit.NewLogKey("log", public)
	if err != nil {
		t.Fatal(err)
	}
	return forge{private, key}
}

func (f forge) sign(t testing.TB, size int64, hashes tlog.HashReader) audit.Checkpoint {
	t.Helper()
	root, err := tlog.TreeHash(size, hashes)
	if err != nil {
		t.Fatal(err)
	}
	c := audit.Checkpoint{Origin: f.key.Origin(), Size: size, Root: root}
	if c, err = f.key.Seal(c, ed25519.Sign(f.private, []byte(c.Text()))); err != nil {
		t.Fatal(err)
	}
	return c
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func line(t testing.TB, v any) []byte {
	t.Helper()
	b, err := audit.Canonical(v)
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// pack makes a package of whatever events, index and manifest, with true proofs and signatures. data is that of the
// export's record, which is the last of the log; the older checkpoint is of size 1.
func (f forge) pack(t testing.TB, manifest, events, index []byte, data map[string]any) []byte {
	t.Helper()
	return f.packOf(t, lines(events), 0, part{manifest, events, index, data})
}

// part is what a forged package says about a part of the log.
type part struct {
	manifest, events, index []byte
	data                    map[string]any
}

// packOf is pack for records of which only some, from index first on, are in the package.
func (f forge) packOf(t testing.TB, log [][]byte, first int64, x part) []byte {
	t.Helper()
	var stored []tlog.Hash
	hashes := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, idx := range indexes {
			out[i] = stored[idx]
		}
		return out, nil
	})
	x.data["manifest_sha256"] = sum(x.manifest)
	record := bytes.TrimSuffix(line(t, map[string]any{"v": 1, "id": "e", "at": "2026-01-01T00:00:09Z", "action": "export.created", "subject": "r", "actor": actor, "data": x.data}), []byte("\n"))
	bodies := slices.Concat(log, [][]byte{record})
	for i, body := range bodies {
		added, err := tlog.StoredHashes(int64(i), body, hashes)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, added...)
	}
	size := int64(len(bodies))
	tree, err := tlog.ProveTree(size, 1, hashes)
	if err != nil {
		t.Fatal(err)
	}
	proofs := line(t, map[string]any{"proof": "consistency", "older": 1, "size": size, "path": path(tree)})
	proved := []int64{size - 1}
	for i := range lines(x.events) {
		proved = append(proved, first+int64(i))
	}
	for _, idx := range proved {
		p, err := tlog.ProveRecord(size, idx, hashes)
		if err != nil {
			t.Fatal(err)
		}
		proofs = append(proofs, line(t, map[string]any{"proof": "inclusion", "index": idx, "size": size, "path": path(p)})...)
	}
	var b bytes.Buffer
	for _, file := range []struct {
		name    string
		content []byte
	}{{"README.txt", []byte("read me\n")}, {"manifest.json", x.manifest}, {"events.jsonl", x.events}, {"index.jsonl", x.index}, {"export.json", record},
		{"checkpoint.note", []byte(f.sign(t, size, hashes).Note)}, {"checkpoint-older.note", []byte(f.sign(t, 1, hashes).Note)}, {"proofs.jsonl", proofs}} {
		b.Write(export.Header(file.name, int64(len(file.content))))
		b.Write(file.content)
		b.Write(make([]byte, (512-len(file.content)%512)%512))
	}
	b.Write(make([]byte, 1024))
	return b.Bytes()
}

func path(p []tlog.Hash) []string {
	out := []string{}
	for _, h := range p {
		out = append(out, base64.StdEncoding.EncodeToString(h[:]))
	}
	return out
}

var actor = map[string]any{"kind": "staff", "name": "x"}

// content returns good files of n records, of which the last is the request.
func content(t testing.TB, n int) (manifest, events, index []byte, data map[string]any) {
	t.Helper()
	_, x := contentOf(t, n, 0, n)
	return x.manifest, x.events, x.index, x.data
}

// contentOf is content with only the records from first up to and without end in the package. It returns all of them, too.
func contentOf(t testing.TB, n, first, end int) (log [][]byte, x part) {
	t.Helper()
	inRange := 0
	for i := range n {
		at, id := fmt.Sprintf("2026-01-01T00:00:0%dZ", i), fmt.Sprint(i)
		record := map[string]any{"v": 1, "id": id, "at": at, "actor": actor, "action": "test.happened", "subject": "x"}
		if i == n-1 {
			id = "r"
			record["id"], record["action"], record["subject"] = id, "export.requested", "2026-01-01T00:00:01Z/2026-01-02T00:00:00Z"
			record["data"] = map[string]any{"purpose": "p"}
		}
		body := line(t, record)
		log = append(log, bytes.TrimSuffix(body, []byte("\n")))
		if i < first || i >= end {
			continue
		}
		if i > 0 {
			inRange++
		}
		leaf := tlog.RecordHash(log[i])
		x.events = append(x.events, body...)
		x.index = append(x.index, line(t, map[string]any{"index": i, "id": id, "at": at, "in_range": i > 0, "leaf": base64.StdEncoding.EncodeToString(leaf[:])})...)
	}
	files := []any{}
	for _, f := range []struct {
		name    string
		content []byte
	}{{"README.txt", []byte("read me\n")}, {"events.jsonl", x.events}, {"index.jsonl", x.index}} {
		files = append(files, map[string]any{"name": f.name, "bytes": len(f.content), "sha256": sum(f.content)})
	}
	older := tlog.RecordHash(log[0])
	x.manifest = line(t, map[string]any{"version": 1, "origin": "log", "from": "2026-01-01T00:00:01Z", "to": "2026-01-02T00:00:00Z", "time_zone": "UTC",
		"first_index": first, "last_index": end - 1, "records": end - first, "in_range": inRange,
		"older":   map[string]any{"size": 1, "root": base64.StdEncoding.EncodeToString(older[:])},
		"request": map[string]any{"id": "r", "index": n - 1, "requester": "staff x", "purpose": "p"}, "software": "test", "files": files})
	x.data = map[string]any{"first_index": first, "last_index": end - 1, "records": end - first}
	return log, x
}

// TestForged: with the key in the wrong hands the package must still be of one piece.
func TestForged(t *testing.T) {
	f := newForge(t)
	type files struct {
		manifest, events, index []byte
		data                    map[string]any
	}
	replace := func(b *[]byte, old, new string) {
		if !bytes.Contains(*b, []byte(old)) {
			t.Fatalf("%q is not in %s", old, *b)
		}
		*b = bytes.Replace(*b, []byte(old), []byte(new), 1)
	}
	for name, tt := range map[string]struct {
		change func(x *files)
		file   string
	}{
		"good":           {func(*files) {}, ""},
		"version":        {func(x *files) { replace(&x.manifest, `"version":1`, `"version":2`) }, "manifest.json"},
		"origin":         {func(x *files) { replace(&x.manifest, `"origin":"log"`, `"origin":"lag"`) }, "manifest.json"},
		"zone":           {func(x *files) { replace(&x.manifest, `"UTC"`, `"CET"`) }, "manifest.json"},
		"local time":     {func(x *files) { replace(&x.manifest, `T00:00:01Z"`, `T01:00:01+01:00"`) }, "manifest.json"},
		"range":          {func(x *files) { replace(&x.manifest, `"to":"2026`, `"to":"2025`) }, "manifest.json"},
		"requester":      {func(x *files) { replace(&x.manifest, `"staff x"`, `"staff y"`) }, "manifest.json"},
		"purpose":        {func(x *files) { replace(&x.manifest, `"purpose":"p"`, `"purpose":"q"`) }, "events.jsonl"},
		"other range":    {func(x *files) { replace(&x.manifest, `T00:00:01Z"`, `T00:00:00.5Z"`) }, "events.jsonl"},
		"request before": {func(x *files) { replace(&x.manifest, `"index":3`, `"index":-1`) }, "manifest.json"},
		"malformed": {func(x *files) {
			replace(&x.manifest, `"last_index"`, `"last_index":3,"malformed":1,"older"`)
			replace(&x.manifest, `"older":3,`, ``)
		}, "manifest.json"},
		"other data":        {func(x *files) { x.data["more"] = 1 }, "export.json"},
		"first":             {func(x *files) { replace(&x.manifest, `"first_index":0`, `"first_index":1`) }, "manifest.json"},
		"records":           {func(x *files) { replace(&x.manifest, `"records":4`, `"records":5`) }, "manifest.json"},
		"negative":          {func(x *files) { replace(&x.manifest, `"records":4`, `"records":-4`) }, "manifest.json"},
		"endless":           {func(x *files) { replace(&x.manifest, `"records":4`, `"records":9223372036854775807`) }, "manifest.json"},
		"count":             {func(x *files) { replace(&x.manifest, `"in_range":3`, `"in_range":4`) }, "manifest.json"},
		"older":             {func(x *files) { replace(&x.manifest, `"size":1`, `"size":2`) }, "manifest.json"},
		"unknown field":     {func(x *files) { replace(&x.manifest, `"version":1`, `"version":1,"x":2`) }, "manifest.json"},
		"twice":             {func(x *files) { replace(&x.manifest, `"version":1`, `"version":1,"version":1`) }, "manifest.json"},
		"blank":             {func(x *files) { replace(&x.manifest, `"version":1`, `"version": 1`) }, "manifest.json"},
		"request":           {func(x *files) { replace(&x.manifest, `"id":"r"`, `"id":"s"`) }, "manifest.json"},
		"request elsewhere": {func(x *files) { replace(&x.manifest, `"index":3`, `"index":2`) }, "events.jsonl"},
		"request later":     {func(x *files) { replace(&x.manifest, `"index":3`, `"index":4`) }, "manifest.json"},
		"file name":         {func(x *files) { replace(&x.manifest, `"name":"README.txt"`, `"name":"events.jsonl"`) }, "manifest.json"},
		"other export":      {func(x *files) { x.data["records"] = 3 }, "manifest.json"},
		"fractional export": {func(x *files) { x.data["records"] = "4" }, "export.json"},
		"index id":          {func(x *files) { replace(&x.index, `"id":"1"`, `"id":"2"`) }, "index.jsonl"},
		"index time":        {func(x *files) { replace(&x.index, `:02Z`, `:03Z`) }, "index.jsonl"},
		"index number":      {func(x *files) { replace(&x.index, `"index":1`, `"index":2`) }, "index.jsonl"},
		"index local time":  {func(x *files) { replace(&x.index, `T00:00:02Z`, `T01:00:02+01:00`) }, "index.jsonl"},
		"index range":       {func(x *files) { replace(&x.index, `"in_range":true`, `"in_range":false`) }, "index.jsonl"},
		"index unfinished":  {func(x *files) { x.index = bytes.TrimSuffix(x.index, []byte("\n")) }, "index.jsonl"},
		"index too long":    {func(x *files) { x.index = append(x.index, '\n') }, "index.jsonl"},
		"long line":         {func(x *files) { replace(&x.index, `"id":"1"`, `"id":"`+string(bytes.Repeat([]byte("1"), 600))+`"`) }, "index.jsonl"},
	} {
		t.Run(name, func(t *testing.T) {
			var x files
			x.manifest, x.events, x.index, x.data = content(t, 4)
			tt.change(&x)
			_, err := verify(f.pack(t, x.manifest, x.events, x.index, x.data), f.key)
			var fault *export.Fault
			switch {
			case tt.file == "" && err != nil:
				t.Fatal(err)
			case tt.file != "" && (!errors.As(err, &fault) || fault.File != tt.file):
				t.Fatalf("got %v, want a fault in %s", err, tt.file)
			}
		})
	}
}

// FuzzVerify: whatever the bytes, Verify answers with a fault; only the seed itself verifies.
func FuzzVerify(f *testing.F) {
	forge := newForge(f)
	manifest, events, index, data := content(f, 3)
	good := forge.pack(f, manifest, events, index, data)
	f.Add(good)
	f.Add(good[:4096])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := verify(b, forge.key)
		if err == nil && !bytes.Equal(b, good) {
			t.Fatal("another package verifies")
		}
		if err != nil && !errors.Is(err, export.ErrInvalid) {
			t.Fatal(err)
		}
	})
}

// FuzzVerifyContent fuzzes what is inside true proofs and signatures. What verifies is of one piece.
func FuzzVerifyContent(f *testing.F) {
	forge := newForge(f)
	manifest, events, index, _ := content(f, 3)
	f.Add(manifest, events, index)
	f.Add([]byte("{}\n"), []byte("{}\n"), []byte("{}\n"))
	f.Fuzz(func(t *testing.T, manifest, events, index []byte) {
		if len(lines(events)) > 50 {
			return // proofs of so many cost more than they show
		}
		report, err := verify(forge.pack(t, manifest, events, index, map[string]any{"first_index": 0, "last_index": 2, "records": 3}), forge.key)
		if err != nil {
			if !errors.Is(err, export.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if n := int64(len(lines(events))); report.Manifest.Records != n || int64(len(lines(index))) != n {
			t.Fatalf("%d records, manifest %+v", n, report.Manifest)
		}
		var m export.Manifest
		if err := json.Unmarshal(manifest, &m); err != nil || m.InRange != report.Manifest.InRange {
			t.Fatal(err)
		}
	})
}
