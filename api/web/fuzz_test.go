package web

import (
	"encoding/json"
	"errors"
	"testing"
)

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[1,{"b":null}]}`, `{"a":1,"A":2}`, `{"a":`, `[`, "{\"\xff\":1}", `{"a":1}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v map[string]any
		if err := parseJSON(b, &v); err == nil && !json.Valid(b) {
			t.Errorf("%q was read", b)
		} else if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", b, err)
		}
	})
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{"limit=1&cursor=a", "limit=%31", "a=b&a=c", "%", ";", "limit=０"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseValues(s, "query")
		if err != nil {
			return
		}
		if p, err := (Pages{Default: 10, Max: 200}).Page(v); err == nil && (p.Limit < 1 || p.Limit > 200 || len(p.Cursor) > maxCursor) {
			t.Errorf("%q gave %+v", s, p)
		}
	})
}
