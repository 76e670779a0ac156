// Package export makes evidence packages of the audit log, and verifies them offline.
//
// A package is one tar archive of a contiguous part of the log, with everything that is needed to check it against the
// log's public key and nothing else: the records as they were hashed, the proof of each, two signed checkpoints and the
// proof that the newer one extends the older. Making a package is itself two records of the log: export.requested,
// before anything is read, and export.created, which holds the hash of the manifest. The newer checkpoint covers that
// record too, so the log's signature on it is the package's signature.
//
// Build makes a package, Verify checks one. Verify uses no database and no network, and accepts exactly the bytes that
// Build writes: any other byte anywhere is an error that says where.
package export

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/diamante/gateway/compliance/audit"
)

var (
	// ErrRequest: the range, the purpose or who asks is not usable. Nothing was recorded.
	ErrRequest = errors.New("export: bad request")
	// ErrTooLarge: the range has more than MaxRecords records, or more than MaxEvents bytes. Ask for a part of it.
	ErrTooLarge = errors.New("export: range is too large")
	// ErrNotSigned: the log was not signed up to now in time: its signer or sequencer is away. Try again.
	ErrNotSigned = errors.New("export: the log is not signed up to now")
	// ErrInvalid: the package does not verify. The error is a *Fault, which says where.
	ErrInvalid = errors.New("export: package does not verify")
)

// The limits of a package. A range beyond them is refused, never cut.
const (
	MaxRecords = 100_000
	MaxEvents  = 512 << 20 // bytes of events.jsonl
	MaxPackage = 1 << 30   // bytes; a package within the limits above is smaller
	MaxPurpose = 1000      // bytes
)

// Version is the version of the package's format, the manifest's "version".
const Version = 1

// The files of a package, in their order.
const (
	fileReadme   = "README.txt"
	fileManifest = "manifest.json"
	fileEvents   = "events.jsonl"
	fileIndex    = "index.jsonl"
	fileExport   = "export.json"
	fileNewer    = "checkpoint.note"
	fileOlder    = "checkpoint-older.note"
	fileProofs   = "proofs.jsonl"
)

// files lists them with the most bytes each may have.
var files = []struct {
	name string
	most int64
}{
	{fileReadme, 64 << 10}, {fileManifest, 64 << 10}, {fileEvents, MaxEvents}, {fileIndex, MaxRecords * maxIndexLine},
	{fileExport, audit.MaxRecord}, {fileNewer, audit.MaxNote}, {fileOlder, audit.MaxNote}, {fileProofs, (MaxRecords + 2) * maxProofLine},
}

// Bounds on the lines of index.jsonl and proofs.jsonl, in bytes: a path has at most 63 hashes, a consistency proof 64.
const (
	maxIndexLine = 512
	maxProofLine = 4096
)

// Manifest says what a package holds. It is canonical JSON in manifest.json, and its hash is in the log.
type Manifest struct {
	Version  int       `json:"version"`
	Origin   string    `json:"origin"`    // the log's name
	From     time.Time `json:"from"`      // the range: from <= at
	To       time.Time `json:"to"`        // and at < to
	TimeZone string    `json:"time_zone"` // "UTC", of every time in the package
	First    int64     `json:"first_index"`
	Last     int64     `json:"last_index"`
	Records  int64     `json:"records"`  // Last-First+1: no gap
	InRange  int64     `json:"in_range"` // how many of them have a time in the range
	// Malformed is how many of them are nothing that our program writes: somebody put them into the log past it. They are
	// evidence of that, and of nothing else.
	Malformed int64     `json:"malformed,omitempty"`
	Older     Point     `json:"older"` // the older checkpoint; First is at most its size
	Request   Requested `json:"request"`
	Software  string    `json:"software"`
	Files     []File    `json:"files"` // those whose hash is not made sure of otherwise
}

// Point is a checkpoint without its signature.
type Point struct {
	Size int64  `json:"size"`
	Root string `json:"root"` // base64
}

// Requested is the record export.requested: everything that was committed before it is in the log by the time the
// package was put together.
type Requested struct {
	ID        audit.RecordID `json:"id"`
	Index     int64          `json:"index"`
	Requester string         `json:"requester"`
	Purpose   string         `json:"purpose"`
}

// File is a file of the package and its hash.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // hex
}

// Report is what a verified package proves.
type Report struct {
	Manifest Manifest       `json:"manifest"`
	Export   audit.RecordID `json:"export"`       // the record export.created
	Index    int64          `json:"export_index"` // its index
	At       time.Time      `json:"export_at"`    // its time
	Size     int64          `json:"size"`         // of the newer checkpoint
	Root     string         `json:"root"`         // of the newer checkpoint, base64
	Bytes    int64          `json:"bytes"`        // of the package
	SHA256   string         `json:"sha256"`       // of the package, hex
}

// Fault is why a package does not verify, and where. errors.Is(err, ErrInvalid) holds for it.
type Fault struct {
	File   string `json:"file"`   // which file of the package; "" for what is between them
	Offset int64  `json:"offset"` // of the file's, the line's or the byte's beginning within the package
	Line   int    `json:"line"`   // within the file, from 1; 0 where it is not about one
	Record int64  `json:"record"` // index of the record concerned; -1 where it is not about one
	Why    string `json:"why"`
}

// Error says where and why.
func (f *Fault) Error() string {
	where := f.File
	if where == "" {
		where = "archive"
	}
	if f.Line > 0 {
		where += fmt.Sprintf(", line %d", f.Line)
	}
	if f.Record >= 0 {
		where += fmt.Sprintf(", record %d", f.Record)
	}
	return fmt.Sprintf("%v: %s (byte %d of the package): %s", ErrInvalid, where, f.Offset, f.Why)
}

// Unwrap returns ErrInvalid.
func (f *Fault) Unwrap() error { return ErrInvalid }

// indexLine is a line of index.jsonl: what a record is without its contents.
type indexLine struct {
	Index     int64          `json:"index"`
	ID        audit.RecordID `json:"id,omitempty"`
	At        time.Time      `json:"at,omitzero"`
	InRange   bool           `json:"in_range"`
	Leaf      string         `json:"leaf"`                // base64 of SHA-256(0x00 || line of events.jsonl without its newline)
	Malformed bool           `json:"malformed,omitempty"` // see Manifest; there is no id and no time then
}

// indexed reads a record and returns its line of the index.
func (m *Manifest) indexed(idx int64, text []byte) (indexLine, audit.Body) {
	leaf := tlog.RecordHash(text)
	line := indexLine{Index: idx, Leaf: base64.StdEncoding.EncodeToString(leaf[:])}
	body, err := audit.ReadBody(text)
	if err != nil {
		line.Malformed = true
		return line, audit.Body{}
	}
	line.ID, line.At, line.InRange = body.ID, body.At, !body.At.Before(m.From) && body.At.Before(m.To)
	return line, body
}

// count counts a record that has this line.
func (m *Manifest) count(line indexLine) {
	if line.InRange {
		m.InRange++
	}
	if line.Malformed {
		m.Malformed++
	}
}

// bounded says what is wrong with a record at either end of the records, "" if nothing is. The first is from before the
// range or the log's first, and the last from after the range or the request, so that a part of the range that is missing
// there shows.
func (m *Manifest) bounded(line indexLine) string {
	switch {
	case line.Index == m.First && line.Index > 0 && (line.Malformed || !line.At.Before(m.From)):
		return "the first record is neither from before the range nor the log's first: others may be missing"
	case line.Index == m.Last && line.Index < m.Request.Index && (line.Malformed || line.At.Before(m.To)):
		return "the last record is neither from after the range nor the request: others may be missing"
	}
	return ""
}

// proofLine is a line of proofs.jsonl. The first is the consistency proof, the second the inclusion proof of
// export.created, and then there is one for each record.
type proofLine struct {
	Proof string   `json:"proof"` // "consistency" or "inclusion"
	Older int64    `json:"older,omitempty"`
	Index *int64   `json:"index,omitempty"`
	Size  int64    `json:"size"`
	Path  []string `json:"path"` // base64, as RFC 6962 orders them
}

// created is the data of the record export.created.
type created struct {
	Manifest string `json:"manifest_sha256"` // hex
	First    int64  `json:"first_index"`
	Last     int64  `json:"last_index"`
	Records  int64  `json:"records"`
}

const (
	actionRequested = "export.requested"
	actionCreated   = "export.created"
)

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// requester is how a manifest names who asked.
func requester(a audit.Actor) string { return a.Kind + " " + a.Name }

// rangeName is the subject of the record export.requested.
func rangeName(from, to time.Time) string {
	return from.Format(time.RFC3339Nano) + "/" + to.Format(time.RFC3339Nano)
}
