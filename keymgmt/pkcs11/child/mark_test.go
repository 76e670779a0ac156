package child

import (
	"errors"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt"
)

func TestMark(t *testing.T) {
	cfg, _ := newToken(t)
	ring := ready(t, start(t, cfg))
	if _, err := ring.Mark(t.Context()); !errors.Is(err, keymgmt.ErrNoMark) {
		t.Fatal("a new token:", err)
	}
	m := keymgmt.Mark{Epoch: 1, Policy: 2, Position: 3, Record: strings.Repeat("0a", 16)}
	if got, err := ring.RaiseMark(t.Context(), m); err != nil || got != m {
		t.Fatal(got, err)
	}
	if got, err := ring.Mark(t.Context()); err != nil || got != m {
		t.Fatal(got, err)
	}
}
