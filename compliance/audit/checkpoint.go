package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

var (
	// ErrLogKey: a text is not the public key of a log.
	ErrLogKey = errors.New("audit: not the public key of a log")
	// ErrCheckpoint: a signed checkpoint is malformed, of another log, or not signed by the log's key.
	ErrCheckpoint = errors.New("audit: bad checkpoint")
	// ErrProof: a proof does not hold.
	ErrProof = errors.New("audit: proof does not hold")
)

// MaxOrigin bounds a log's name, and MaxNote a signed checkpoint, in bytes.
const (
	MaxOrigin = 64
	MaxNote   = 1024
)

// LogKey is a log's name and Ed25519 public key, written as the verifier key of a signed note: name+hash+base64. The
// zero value verifies nothing.
type LogKey struct {
	text     string
	verifier note.Verifier
}

// NewLogKey makes the key of the log named origin: 1 to MaxOrigin printable ASCII characters, no blank and no plus.
func NewLogKey(origin string, public ed25519.PublicKey) (LogKey, error) {
	text, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		return LogKey{}, fmt.Errorf("%w: %w", ErrLogKey, err)
	}
	return ParseLogKey(text)
}

// ParseLogKey reads the text form, which is unique: what does not come back the same is refused. White space around it
// is allowed, so that it can be a file.
func ParseLogKey(s string) (LogKey, error) {
	s = strings.TrimSpace(s)
	verifier, err := note.NewVerifier(s)
	if err != nil {
		return LogKey{}, fmt.Errorf("%w: %w", ErrLogKey, err)
	}
	name, rest, _ := strings.Cut(s, "+")
	_, encoded, _ := strings.Cut(rest, "+")
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(raw) != 1+ed25519.PublicKeySize {
		return LogKey{}, fmt.Errorf("%w: its key is not well encoded", ErrLogKey)
	}
	if again, err := note.NewEd25519VerifierKey(name, raw[1:]); err != nil || again != s {
		return LogKey{}, fmt.Errorf("%w: it is not in its canonical form", ErrLogKey)
	}
	if len(name) > MaxOrigin {
		return LogKey{}, fmt.Errorf("%w: name of %d bytes, more than %d", ErrLogKey, len(name), MaxOrigin)
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return LogKey{}, fmt.Errorf("%w: name %q has a character that is not printable ASCII", ErrLogKey, name)
		}
	}
	return LogKey{text: s, verifier: verifier}, nil
}

// IsZero reports whether k is no key.
func (k LogKey) IsZero() bool { return k.verifier == nil }

// Origin returns the log's name.
func (k LogKey) Origin() string {
	if k.IsZero() {
		return ""
	}
	return k.verifier.Name()
}

// String returns the text form.
func (k LogKey) String() string { return k.text }

// MarshalText returns the text form; the zero value is an error.
func (k LogKey) MarshalText() ([]byte, error) {
	if k.IsZero() {
		return nil, fmt.Errorf("%w: it is empty", ErrLogKey)
	}
	return []byte(k.text), nil
}

// UnmarshalText reads the text form.
func (k *LogKey) UnmarshalText(b []byte) (err error) { *k, err = ParseLogKey(string(b)); return err }

// Checkpoint is the state of the log at one size, as C2SP's tlog-checkpoint has it.
type Checkpoint struct {
	Origin string
	Size   int64 // positive
	Root   tlog.Hash
	Note   string    // the signed note; "" while it is not signed
	At     time.Time // when it was stored, which the signature does not cover; zero where it was read from a note
}

// Text returns the three lines that are signed.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// CheckpointRef returns the name under which the signer is asked to sign a checkpoint's text: the same for the same
// log and size, so that a lost answer is given again, and a second root for a size is refused.
func CheckpointRef(text []byte) (string, error) {
	c, err := parseText(string(text))
	if err != nil {
		return "", err
	}
	return "checkpoint/" + c.Origin + "/" + strconv.FormatInt(c.Size, 10), nil
}

func parseText(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] == "" {
		return Checkpoint{}, fmt.Errorf("%w: it has not three lines", ErrCheckpoint)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 1 {
		return Checkpoint{}, fmt.Errorf("%w: size %.40q", ErrCheckpoint, lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, fmt.Errorf("%w: root %.80q", ErrCheckpoint, lines[2])
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: tlog.Hash(root)}
	if c.Text() != text {
		return Checkpoint{}, fmt.Errorf("%w: its text is not canonical", ErrCheckpoint)
	}
	return c, nil
}

// Open reads a signed checkpoint of the log. It has exactly one signature, by k, and is in its one encoding: two notes
// that open to the same checkpoint and signature are the same bytes.
func (k LogKey) Open(signed []byte) (Checkpoint, error) {
	if k.IsZero() || len(signed) > MaxNote {
		return Checkpoint{}, fmt.Errorf("%w: no key, or a note of %d bytes", ErrCheckpoint, len(signed))
	}
	n, err := note.Open(signed, note.VerifierList(k.verifier))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	c, err := parseText(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != k.Origin() {
		return Checkpoint{}, fmt.Errorf("%w: of log %.80q, not %q", ErrCheckpoint, c.Origin, k.Origin())
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(n.Sigs[0].Base64)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: its signature is not well encoded", ErrCheckpoint)
	}
	if again, err := k.note(c, raw[4:]); err != nil || again != string(signed) {
		return Checkpoint{}, fmt.Errorf("%w: it is not in its canonical form with one signature", ErrCheckpoint)
	}
	c.Note = string(signed)
	return c, nil
}

// Seal makes the signed note of c from an Ed25519 signature over its text, after verifying it.
func (k LogKey) Seal(c Checkpoint, signature []byte) (Checkpoint, error) {
	if k.IsZero() || c.Origin != k.Origin() || !k.verifier.Verify([]byte(c.Text()), signature) {
		return Checkpoint{}, fmt.Errorf("%w: size %d: the signature is not by the key of %q", ErrCheckpoint, c.Size, k.Origin())
	}
	signed, err := k.note(c, signature)
	if err != nil {
		return Checkpoint{}, err
	}
	c.Note = signed
	return c, nil
}

// note writes the signed note of c, without verifying the signature.
func (k LogKey) note(c Checkpoint, signature []byte) (string, error) {
	signed, err := note.Sign(&note.Note{Text: c.Text()}, ready{k.verifier, signature})
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	return string(signed), nil
}

// ready is a note.Signer whose signature was made elsewhere.
type ready struct {
	note.Verifier
	signature []byte
}

func (r ready) Sign([]byte) ([]byte, error) { return r.signature, nil }

// Includes verifies, from nothing but its arguments, that body is the record at idx of the log that c is a state of.
func (c Checkpoint) Includes(idx int64, body []byte, p tlog.RecordProof) error {
	if idx < 0 || idx >= c.Size {
		return fmt.Errorf("%w: record %d is not below size %d", ErrProof, idx, c.Size)
	}
	if err := tlog.CheckRecord(p, c.Size, c.Root, idx, tlog.RecordHash(body)); err != nil {
		return fmt.Errorf("%w: record %d in size %d", ErrProof, idx, c.Size)
	}
	return nil
}

// Extends verifies, from nothing but its arguments, that the log of c is that of older with records added at its end.
func (c Checkpoint) Extends(older Checkpoint, p tlog.TreeProof) error {
	if older.Origin != c.Origin || older.Size < 1 || older.Size > c.Size {
		return fmt.Errorf("%w: size %d of %q cannot extend size %d of %q", ErrProof, c.Size, c.Origin, older.Size, older.Origin)
	}
	if err := tlog.CheckTree(p, c.Size, c.Root, older.Size, older.Root); err != nil {
		return fmt.Errorf("%w: size %d to size %d", ErrProof, older.Size, c.Size)
	}
	return nil
}
