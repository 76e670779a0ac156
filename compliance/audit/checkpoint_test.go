package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/diamante/gateway/compliance/audit"
)

func sealed(t testing.TB, s *logSigner, size int64) audit.Checkpoint {
	t.Helper()
	c := audit.Checkpoint{Origin: s.public.Origin(), Size: size, Root: tlog.RecordHash([]byte("x"))}
	c, err := s.public.Seal(c, ed25519.Sign(s.key, []byte(c.Text())))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCheckpointNote(t *testing.T) {
	s := newSigner(t, "example.test/log")
	c := sealed(t, s, 42)
	back, err := s.public.Open([]byte(c.Note))
	if err != nil || back != c {
		t.Fatalf("%+v, %v", back, err)
	}
	verifier, err := note.NewVerifier(s.public.String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, _, _, err := log.ParseCheckpoint([]byte(c.Note), "example.test/log", verifier)
	if err != nil || theirs.Size != 42 || !bytes.Equal(theirs.Hash, c.Root[:]) {
		t.Fatalf("another implementation reads %+v, %v", theirs, err)
	}
	ref, err := audit.CheckpointRef([]byte(c.Text()))
	if err != nil || ref != "checkpoint/example.test/log/42" {
		t.Fatalf("%q, %v", ref, err)
	}
	if _, err := s.public.Seal(c, make([]byte, 64)); !errors.Is(err, audit.ErrCheckpoint) {
		t.Errorf("a wrong signature is sealed: %v", err)
	}
}

func TestBadNotes(t *testing.T) {
	s, other := newSigner(t, "log"), newSigner(t, "log")
	good := sealed(t, s, 42).Note
	signText := func(text string) string {
		k, err := note.NewVerifier(s.public.String())
		if err != nil {
			t.Fatal(err)
		}
		signed, err := note.Sign(&note.Note{Text: text}, fixed{k, ed25519.Sign(s.key, []byte(text))})
		if err != nil {
			t.Fatal(err)
		}
		return string(signed)
	}
	root := base64.StdEncoding.EncodeToString(make([]byte, 32))
	line := good[strings.LastIndex(good, "— "):]
	for name, text := range map[string]string{
		"empty": "", "no signature": good[:strings.Index(good, "\n\n")+2], "twice": good + line, "other's too": good + sealed(t, other, 42).Note[strings.LastIndex(good, "— "):],
		"other's alone": sealed(t, other, 42).Note, "changed": strings.Replace(good, "42", "43", 1), "blank at the end": good + " ", "no newline": strings.TrimSuffix(good, "\n"),
		"size 0": signText("log\n0\n" + root + "\n"), "negative": signText("log\n-1\n" + root + "\n"), "plus": signText("log\n+1\n" + root + "\n"), "leading zero": signText("log\n01\n" + root + "\n"),
		"huge": signText("log\n9223372036854775808\n" + root + "\n"), "extension": signText("log\n1\n" + root + "\nmore\n"), "other origin": signText("lag\n1\n" + root + "\n"),
		"short root": signText("log\n1\nAAAA\n"), "loose root": signText("log\n1\n" + root[:42] + "B=\n"), "long": signText("log\n1\n" + root + "\n" + strings.Repeat("x", audit.MaxNote) + "\n"),
		"loose signature": loosen(line, good),
	} {
		if c, err := s.public.Open([]byte(text)); !errors.Is(err, audit.ErrCheckpoint) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

// loosen changes the bits of the signature's base64 that a lax decoder ignores.
func loosen(line, good string) string {
	i := strings.LastIndexByte(line, '=') - 1
	for i > 0 && line[i] == '=' {
		i--
	}
	alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	at := strings.IndexByte(alphabet, line[i])
	changed := line[:i] + string(alphabet[at^1]) + line[i+1:]
	return strings.TrimSuffix(good, line) + changed
}

type fixed struct {
	note.Verifier
	signature []byte
}

func (f fixed) Sign([]byte) ([]byte, error) { return f.signature, nil }

func TestLogKeys(t *testing.T) {
	s := newSigner(t, "log")
	good := s.public.String()
	if k, err := audit.ParseLogKey(" " + good + "\n"); err != nil || k.String() != good || k.Origin() != "log" {
		t.Errorf("%v, %v", k, err)
	}
	text, err := s.public.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var back audit.LogKey
	if err := back.UnmarshalText(text); err != nil || back.String() != good {
		t.Errorf("%v, %v", back, err)
	}
	for _, bad := range []string{"", "log", good + "x", good[:len(good)-1], strings.Replace(good, "log+", "lag+", 1), strings.ToUpper(good), "a b+" + good} {
		if k, err := audit.ParseLogKey(bad); !errors.Is(err, audit.ErrLogKey) {
			t.Errorf("%q is a key: %v, %v", bad, k, err)
		}
	}
	public := ed25519.PrivateKey(s.key).Public().(ed25519.PublicKey)
	for _, origin := range []string{"", "a b", "a+b", "a\nb", "ä", strings.Repeat("x", audit.MaxOrigin+1)} {
		if k, err := audit.NewLogKey(origin, public); !errors.Is(err, audit.ErrLogKey) {
			t.Errorf("%q is an origin: %v, %v", origin, k, err)
		}
	}
	if _, err := audit.NewLogKey("log", public[:31]); !errors.Is(err, audit.ErrLogKey) {
		t.Errorf("31 bytes are a key: %v", err)
	}
	if _, err := (audit.LogKey{}).MarshalText(); !errors.Is(err, audit.ErrLogKey) {
		t.Errorf("no key has a text: %v", err)
	}
}

// FuzzOpen: a note that opens is the one encoding of what it says.
func FuzzOpen(f *testing.F) {
	s := newSigner(f, "log")
	good := sealed(f, s, 42).Note
	f.Add([]byte(good))
	f.Add([]byte(strings.Replace(good, "\n\n", "\nmore\n\n", 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := s.public.Open(b); err == nil && (c.Note != string(b) || string(b) != good) {
			t.Fatalf("forged: %q", b)
		} else if err != nil && !errors.Is(err, audit.ErrCheckpoint) {
			t.Fatal(err)
		}
		if ref, err := audit.CheckpointRef(b); err == nil && (len(ref) == 0 || !bytes.HasSuffix(b, []byte("\n"))) {
			t.Fatalf("%q, %v", ref, err)
		}
	})
}

func FuzzParseLogKey(f *testing.F) {
	f.Add(newSigner(f, "log").public.String())
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := audit.ParseLogKey(text); err == nil && k.String() != strings.TrimSpace(text) {
			t.Fatalf("%q reads as %q", text, k)
		}
	})
}

func TestProofsNeedSense(t *testing.T) {
	s := newSigner(t, "log")
	c := sealed(t, s, 3)
	for _, idx := range []int64{-1, 3, 4} {
		if err := c.Includes(idx, nil, nil); !errors.Is(err, audit.ErrProof) {
			t.Errorf("index %d: %v", idx, err)
		}
	}
	for _, older := range []audit.Checkpoint{{}, {Origin: "log", Size: 4}, {Origin: "lag", Size: 2}, {Origin: "log", Size: -1}} {
		if err := c.Extends(older, nil); !errors.Is(err, audit.ErrProof) {
			t.Errorf("%+v: %v", older, err)
		}
	}
}
