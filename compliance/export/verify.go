package export

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/diamante/gateway/compliance/audit"
)

// Verify checks a package of size bytes against the log's public key and nothing else, and returns what it proves.
//
//  1. The archive is encoded as Build does it.
//  2. Both checkpoints are signed by the key, and the newer one extends the older.
//  3. The newer one covers the record export.created, which holds the manifest's hash; the manifest fits all of that.
//  4. The newer one covers each record at the next index, and its line of the index is true. The first and the last one
//     bound the range.
//  5. Counts and hashes of the files are the manifest's.
//
// The order is from what is signed to what hangs on it, so that a fault is found where it is.
//
// What can differ between two packages that verify and say the same is how much newer the newer checkpoint is: whoever has
// the log can prove the same records under any later one.
//
// Whatever does not hold is a *Fault, ErrInvalid; other errors are r's own. Verify is safe on any input.
func Verify(r io.ReaderAt, size int64, key audit.LogKey) (Report, error) {
	if size > MaxPackage {
		return Report{}, &Fault{Record: -1, Why: fmt.Sprintf("it has %d bytes, more than %d", size, int64(MaxPackage))}
	}
	parts, err := scan(r, size)
	if err != nil {
		return Report{}, err
	}
	v := &verifier{r: r, parts: parts}
	v.proofs = v.lines(fileProofs, maxProofLine)
	for _, step := range []func() error{func() error { return v.checkpoints(key) }, v.readExport, v.readManifest, v.records, v.digests} {
		if err := step(); err != nil {
			return Report{}, err
		}
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(r, 0, size)); err != nil {
		return Report{}, fmt.Errorf("export: %w", err)
	}
	return Report{Manifest: v.m, Export: v.export.ID, Index: v.exportIndex, At: v.export.At, Size: v.newer.Size,
		Root: base64.StdEncoding.EncodeToString(v.newer.Root[:]), Bytes: size, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// verifier is a package while it is being verified.
type verifier struct {
	r            io.ReaderAt
	parts        map[string]part
	proofs       *lines
	older, newer audit.Checkpoint
	m            Manifest
	export       audit.Body
	exportData   created
	exportIndex  int64
}

// fault is one about a whole file.
func (v *verifier) fault(file, why string, args ...any) error {
	return &Fault{File: file, Offset: v.parts[file].offset, Record: -1, Why: fmt.Sprintf(why, args...)}
}

// read returns a small file.
func (v *verifier) read(file string) ([]byte, error) {
	p := v.parts[file]
	b := make([]byte, p.size)
	if err := readAt(v.r, b, p.offset); err != nil {
		return nil, fmt.Errorf("export: %s: %w", file, err)
	}
	return b, nil
}

func (v *verifier) checkpoints(key audit.LogKey) error {
	for _, c := range []struct {
		file string
		into *audit.Checkpoint
	}{{fileNewer, &v.newer}, {fileOlder, &v.older}} {
		signed, err := v.read(c.file)
		if err != nil {
			return err
		}
		if *c.into, err = key.Open(signed); err != nil {
			return v.fault(c.file, "%v", err)
		}
	}
	return nil
}

// readExport checks the first two lines of the proofs, and the record of the export.
func (v *verifier) readExport() error {
	if err := v.consistency(); err != nil {
		return err
	}
	p, path, err := v.inclusionLine()
	if err != nil {
		return err
	}
	text, err := v.read(fileExport)
	if err != nil {
		return err
	}
	if err := v.newer.Includes(*p.Index, text, path); err != nil {
		return v.fault(fileExport, "the record and line 2 of %s do not lead to the signed root: %v", fileProofs, err)
	}
	if v.export, err = audit.ReadBody(text); err != nil {
		return v.fault(fileExport, "%v", err)
	}
	if err := strict(slices.Concat(v.export.Data, []byte("\n")), &v.exportData); err != nil || v.export.Action != actionCreated {
		return v.fault(fileExport, "it is %.80q and no record of an export: %v", v.export.Action, err)
	}
	v.exportIndex = *p.Index
	return nil
}

// consistency checks the first line of the proofs.
func (v *verifier) consistency() error {
	var p proofLine
	if err := v.proofs.next(&p); err != nil {
		return err
	}
	path, err := decodePath(p.Path)
	if err != nil {
		return v.proofs.fault("%v", err)
	}
	if p.Proof != "consistency" || p.Older != v.older.Size || p.Size != v.newer.Size || p.Index != nil {
		return v.proofs.fault("it is not the proof from size %d to size %d", v.older.Size, v.newer.Size)
	}
	if err := v.newer.Extends(v.older, path); err != nil {
		return v.proofs.fault("%v", err)
	}
	return nil
}

func (v *verifier) readManifest() error {
	text, err := v.read(fileManifest)
	if err != nil {
		return err
	}
	if v.exportData.Manifest != hexSum(text) {
		return v.fault(fileManifest, "its SHA-256 is not the one in %s", fileExport)
	}
	if err := strict(text, &v.m); err != nil {
		return v.fault(fileManifest, "%v", err)
	}
	m, root := v.m, base64.StdEncoding.EncodeToString(v.older.Root[:])
	switch {
	case m.Version != Version:
		return v.fault(fileManifest, "version %d, this program reads %d", m.Version, Version)
	case m.Origin != v.newer.Origin:
		return v.fault(fileManifest, "it is of log %q", m.Origin)
	case m.TimeZone != "UTC" || m.From.Location() != time.UTC || m.To.Location() != time.UTC || !m.From.Before(m.To):
		return v.fault(fileManifest, "its range is not one")
	case m.Older != Point{Size: v.older.Size, Root: root}:
		return v.fault(fileManifest, "it names another older checkpoint, of size %d", m.Older.Size)
	case m.First < 0 || m.Records < 1 || m.Records > MaxRecords || m.Last != m.First+m.Records-1:
		return v.fault(fileManifest, "records %d to %d are not %d", m.First, m.Last, m.Records)
	case m.First > v.older.Size:
		return v.fault(fileManifest, "there is a gap between the older checkpoint, of size %d, and the first record, %d", v.older.Size, m.First)
	case v.exportData != created{Manifest: v.exportData.Manifest, First: m.First, Last: m.Last, Records: m.Records}:
		return v.fault(fileManifest, "it is about other records than %s", fileExport)
	case v.export.Subject != string(m.Request.ID) || m.Request.Index < m.First || m.Request.Index >= v.exportIndex || m.Last >= v.exportIndex:
		return v.fault(fileManifest, "the export, %d, is not after its request, %d, and its records", v.exportIndex, m.Request.Index)
	case requester(v.export.Actor) != m.Request.Requester:
		return v.fault(fileManifest, "%s names another requester", fileExport)
	}
	return nil
}

// records goes through the records, their proofs and their lines of the index, side by side.
func (v *verifier) records() error {
	events, index := v.lines(fileEvents, audit.MaxRecord), v.lines(fileIndex, maxIndexLine)
	counted := v.m
	counted.InRange, counted.Malformed = 0, 0
	for idx := v.m.First; idx <= v.m.Last; idx++ {
		events.record, index.record, v.proofs.record = idx, idx, idx
		if err := v.record(idx, events); err != nil {
			return err
		}
		line, body := v.m.indexed(idx, events.text)
		if why := v.m.bounded(line); why != "" {
			return events.fault("%s", why)
		}
		if idx == v.m.Request.Index && !v.isRequest(body) {
			return events.fault("it is not the request that the manifest names")
		}
		want, err := audit.Canonical(line)
		if err != nil {
			return index.fault("%v", err)
		}
		if err := index.next(nil); err != nil {
			return err
		}
		if !bytes.Equal(index.text, want) {
			return index.fault("it does not say what the record says")
		}
		counted.count(line)
	}
	if counted.InRange != v.m.InRange || counted.Malformed != v.m.Malformed {
		return v.fault(fileManifest, "%d records are in the range and %d malformed, not %d and %d", counted.InRange, counted.Malformed, v.m.InRange, v.m.Malformed)
	}
	for _, l := range []*lines{events, index, v.proofs} {
		if err := l.end(); err != nil {
			return err
		}
	}
	return nil
}

// record checks the next record against its proof.
func (v *verifier) record(idx int64, events *lines) error {
	if err := events.next(nil); err != nil {
		return err
	}
	p, path, err := v.inclusionLine()
	if err != nil {
		return err
	}
	if *p.Index != idx {
		return v.proofs.fault("it is about index %d", *p.Index)
	}
	if err := v.newer.Includes(idx, events.text, path); err != nil {
		return events.fault("the record and line %d of %s do not lead to the signed root: %v", v.proofs.line, fileProofs, err)
	}
	return nil
}

// isRequest reports whether the record is the request, for what the manifest says was asked for, by whom and why.
func (v *verifier) isRequest(body audit.Body) bool {
	data, err := audit.Canonical(map[string]any{"purpose": v.m.Request.Purpose})
	return err == nil && body.ID == v.m.Request.ID && body.Action == actionRequested && body.Subject == rangeName(v.m.From, v.m.To) &&
		requester(body.Actor) == v.m.Request.Requester && bytes.Equal(body.Data, data)
}

func (v *verifier) inclusionLine() (p proofLine, path []tlog.Hash, err error) {
	if err := v.proofs.next(&p); err != nil {
		return p, nil, err
	}
	if p.Proof != "inclusion" || p.Index == nil || p.Size != v.newer.Size || p.Older != 0 {
		return p, nil, v.proofs.fault("it is no proof of a record in size %d", v.newer.Size)
	}
	if path, err = decodePath(p.Path); err != nil {
		return p, nil, v.proofs.fault("%v", err)
	}
	return p, path, nil
}

// digests checks the hashes of the files in the manifest.
func (v *verifier) digests() error {
	names := []string{fileReadme, fileEvents, fileIndex}
	if len(v.m.Files) != len(names) {
		return v.fault(fileManifest, "it lists %d files, not %d", len(v.m.Files), len(names))
	}
	for i, f := range v.m.Files {
		p := v.parts[f.Name]
		if f.Name != names[i] {
			return v.fault(fileManifest, "it lists %.80q where %s belongs", f.Name, names[i])
		}
		if f.Bytes != p.size {
			return v.fault(f.Name, "it has %d bytes, the manifest says %d", p.size, f.Bytes)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, io.NewSectionReader(v.r, p.offset, p.size)); err != nil {
			return fmt.Errorf("export: %s: %w", f.Name, err)
		}
		if hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
			return v.fault(f.Name, "its SHA-256 is not the manifest's")
		}
	}
	return nil
}

// lines reads a file line by line.
type lines struct {
	file   string
	r      *bufio.Reader
	most   int
	text   []byte // the line, without its newline; valid until the next one
	line   int
	offset int64 // where text begins in the package
	next0  int64 // where the next line begins
	record int64 // for faults
}

func (v *verifier) lines(file string, most int) *lines {
	p := v.parts[file]
	return &lines{file: file, r: bufio.NewReaderSize(io.NewSectionReader(v.r, p.offset, p.size), most+2), most: most, next0: p.offset, record: -1}
}

func (l *lines) fault(why string, args ...any) error {
	return &Fault{File: l.file, Offset: l.offset, Line: l.line, Record: l.record, Why: fmt.Sprintf(why, args...)}
}

// next reads the next line, and the canonical JSON in it into v unless that is nil.
func (l *lines) next(v any) error {
	l.offset = l.next0
	l.line++
	raw, err := l.r.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF) && len(raw) == 0:
		return l.fault("the line is missing")
	case errors.Is(err, io.EOF):
		return l.fault("the line has no end")
	case errors.Is(err, bufio.ErrBufferFull) || len(raw) > l.most+1:
		return l.fault("the line has more than %d bytes", l.most)
	case err != nil:
		return fmt.Errorf("export: %s: %w", l.file, err)
	}
	l.next0 += int64(len(raw))
	l.text = raw[:len(raw)-1]
	if v == nil {
		return nil
	}
	if err := strict(raw, v); err != nil {
		return l.fault("%v", err)
	}
	return nil
}

// end makes sure that there is no other line.
func (l *lines) end() error {
	l.offset, l.record = l.next0, -1
	l.line++
	if _, err := l.r.ReadByte(); !errors.Is(err, io.EOF) {
		return l.fault("there are more lines than records")
	}
	return nil
}

// strict reads a line of canonical JSON into v and makes sure that v is all it says: written again it is the same.
func strict(line []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("it cannot be read: %w", err)
	}
	again, err := audit.Canonical(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(append(again, '\n'), line) {
		return errors.New("it is not in its canonical form")
	}
	return nil
}

func decodePath(in []string) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(in))
	for i, s := range in {
		b, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil || len(b) != tlog.HashSize {
			return nil, fmt.Errorf("hash %d of its path is none", i)
		}
		out[i] = tlog.Hash(b)
	}
	return slices.Clip(out), nil
}
