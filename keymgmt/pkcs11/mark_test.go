package pkcs11

import (
	"errors"
	"strings"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
)

func newMark(epoch, policy, position uint64, record string) keymgmt.Mark {
	return keymgmt.Mark{Epoch: epoch, Policy: policy, Position: position, Record: strings.Repeat(record, 32)}
}

func TestMarkGoesForward(t *testing.T) {
	cfg, _ := newToken(t)
	ring := open(t, cfg)
	if _, err := ring.Mark(t.Context()); !errors.Is(err, keymgmt.ErrNoMark) {
		t.Fatal("a new token:", err)
	}
	low, high := newMark(1, 1, 5, "a"), newMark(1, 2, 9, "b")
	raise(t, ring, low, low)
	raise(t, ring, high, high)
	raise(t, ring, low, high)
	raise(t, ring, newMark(1, 7, 3, "c"), newMark(1, 7, 9, "b"))
	raise(t, ring, newMark(2, 1, 3, "c"), newMark(2, 7, 3, "c"))
	if n := len(markObjects(t, ring)); n != 1 {
		t.Errorf("%d objects", n)
	}
	if _, err := ring.RaiseMark(t.Context(), keymgmt.Mark{}); !errors.Is(err, keymgmt.ErrMalformed) {
		t.Error("a mark that says nothing:", err)
	}
	if err := ring.Close(); err != nil { // of another process, and after a restart
		t.Fatal(err)
	}
	ring = open(t, cfg)
	if m, err := ring.Mark(t.Context()); err != nil || m != newMark(2, 7, 3, "c") {
		t.Error(m, err)
	}
}

func raise(t *testing.T, ring *Keyring, to, want keymgmt.Mark) {
	t.Helper()
	if m, err := ring.RaiseMark(t.Context(), to); err != nil || m != want {
		t.Fatalf("raised to %s: %s, %v", to, m, err)
	}
	if m, err := ring.Mark(t.Context()); err != nil || m != want {
		t.Fatalf("%s, %v", m, err)
	}
}

func markObjects(t *testing.T, ring *Keyring) []markObject {
	t.Helper()
	marks, err := with(t.Context(), ring, ring.marks)
	if err != nil {
		t.Fatal(err)
	}
	return marks
}

// A process dies between making the new mark and removing the old one, or before that: the mark is the old one or the new
// one, never none, and the next process tidies up.
func TestMarkSurvivesInterruption(t *testing.T) {
	cfg, _ := newToken(t)
	ring := open(t, cfg)
	old, next := newMark(1, 1, 5, "a"), newMark(1, 1, 6, "b")
	raise(t, ring, old, old)
	for _, c := range []struct {
		call string
		left keymgmt.Mark
	}{{"C_CreateObject", old}, {"C_DestroyObject", next}} {
		fail := func(name string) error {
			if name == c.call {
				return p11.Error(p11.CKR_FUNCTION_REJECTED)
			}
			return nil
		}
		ring.lib.fault.Store(&fail)
		if _, err := ring.RaiseMark(t.Context(), next); !errors.Is(err, keymgmt.ErrUnavailable) {
			t.Errorf("%s failed: %v", c.call, err)
		}
		ring.lib.fault.Store(nil)
		if m, err := ring.Mark(t.Context()); err != nil || m != c.left {
			t.Errorf("after %s: %s, %v", c.call, m, err)
		}
	}
	raise(t, ring, next, next)
	if n := len(markObjects(t, ring)); n != 1 {
		t.Errorf("%d objects", n)
	}
}

// What can be made without the PIN is no mark, and what cannot be read stops everything.
func TestMarkOfOthers(t *testing.T) {
	cfg, _ := newToken(t)
	ring := open(t, cfg)
	m := newMark(1, 1, 5, "a")
	raise(t, ring, m, m)
	put := func(private bool, value string) {
		t.Helper()
		_, err := with(t.Context(), ring, func(e *epoch, _ session) (struct{}, error) {
			return struct{}{}, ring.writing(e, func(s session) error {
				_, err := ring.lib.ctx.CreateObject(s, []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, uint(p11.CKO_DATA)),
					p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_PRIVATE, private), p11.NewAttribute(p11.CKA_LABEL, markLabel),
					p11.NewAttribute(p11.CKA_APPLICATION, markApplication), p11.NewAttribute(p11.CKA_VALUE, []byte(value))})
				return err
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := newMark(9, 9, 9, "f").MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	put(false, string(text))
	if got, err := ring.Mark(t.Context()); err != nil || got != m {
		t.Errorf("a public object counts: %s, %v", got, err)
	}
	put(true, "nonsense")
	if _, err := ring.Mark(t.Context()); !errors.Is(err, ErrMark) {
		t.Error("a damaged mark:", err)
	}
	if _, err := ring.RaiseMark(t.Context(), newMark(1, 1, 6, "b")); !errors.Is(err, ErrMark) {
		t.Error("a damaged mark is raised:", err)
	}
}
