package payload

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestBrief(t *testing.T) {
	m := Meaning{words: []string{"short", strings.Repeat("x", briefLine-1) + "é and the rest"}}
	got := m.Brief()
	if len(got) != 2 || got[0] != "short" || got[1] != strings.Repeat("x", briefLine-1) || !utf8.ValidString(got[1]) {
		t.Errorf("%q", got)
	}
	m.words = make([]string, briefLines+1)
	if got := m.Brief(); len(got) != briefLines+1 || got[briefLines] != "and more" {
		t.Errorf("%d lines, the last %q", len(got), got[len(got)-1])
	}
	if (Meaning{}).Brief() != nil {
		t.Error("nothing has words")
	}
}
