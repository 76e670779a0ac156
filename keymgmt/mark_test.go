package keymgmt_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt"
)

var (
	here  = strings.Repeat("ab", 16)
	there = strings.Repeat("cd", 16)
)

func TestMarkJoin(t *testing.T) {
	a := keymgmt.Mark{Epoch: 2, Policy: 3, Position: 10, Record: here}
	for _, c := range []struct {
		name    string
		b, want keymgmt.Mark
	}{
		{"with nothing", keymgmt.Mark{}, a},
		{"with itself", a, a},
		{"further on", keymgmt.Mark{Epoch: 2, Policy: 3, Position: 11, Record: there}, keymgmt.Mark{Epoch: 2, Policy: 3, Position: 11, Record: there}},
		{"behind", keymgmt.Mark{Epoch: 2, Policy: 3, Position: 9, Record: there}, a},
		{"a later epoch that lost some", keymgmt.Mark{Epoch: 3, Policy: 1, Position: 4, Record: there}, keymgmt.Mark{Epoch: 3, Policy: 3, Position: 4, Record: there}},
		{"an earlier epoch with a later policy", keymgmt.Mark{Epoch: 1, Policy: 9, Position: 99, Record: there}, keymgmt.Mark{Epoch: 2, Policy: 9, Position: 10, Record: here}},
	} {
		if got := a.Join(c.b); got != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
		if got := c.b.Join(a); got != c.want {
			t.Errorf("%s, the other way: %s", c.name, got)
		}
	}
}

func TestMarkText(t *testing.T) {
	m := keymgmt.Mark{Epoch: math.MaxUint64, Policy: math.MaxUint64, Position: math.MaxUint64, Record: here}
	text, err := m.MarshalText()
	if err != nil || len(text) > keymgmt.MaxMark {
		t.Fatal(string(text), err)
	}
	var got keymgmt.Mark
	if err := got.UnmarshalText(text); err != nil || got != m {
		t.Fatal(got, err)
	}
	if _, err := (keymgmt.Mark{Record: here}).MarshalText(); !errors.Is(err, keymgmt.ErrMalformed) {
		t.Error("a mark of no epoch:", err)
	}
}

func FuzzMark(f *testing.F) {
	f.Add([]byte("diamante-mark-1 1 2 3 " + here))
	f.Add([]byte("diamante-mark-1 01 2 3 " + here))
	f.Add([]byte("diamante-mark-1 1 2 3 " + here + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m keymgmt.Mark
		if m.UnmarshalText(b) != nil {
			return
		}
		if again, err := m.MarshalText(); err != nil || string(again) != string(b) {
			t.Fatalf("%q was read as %q, %v", b, again, err)
		}
	})
}
