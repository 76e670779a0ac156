package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/diamante/gateway/compliance/audit"
)

func TestCanonical(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   any
		want string
	}{
		{"empty", map[string]any{}, `{}`},
		{"sorted, no blanks", map[string]any{"b": 1, "a": []any{true, false, nil, "x"}}, `{"a":[true,false,null,"x"],"b":1}`},
		{"struct in the order of its keys", struct {
			Z int `json:"z"`
			A int `json:"a"`
		}{1, 2}, `{"a":2,"z":1}`},
		// The vector of RFC 8785, section 3.2.3: U+1F600 sorts before U+FB33, though its bytes are larger.
		{"UTF-16 order", map[string]any{"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7},
			"{\"\\r\":2,\"1\":4,\"\u0080\":6,\"\u00f6\":7,\"\u20ac\":1,\"\U0001f600\":5,\"\ufb33\":3}"},
		// The vector of RFC 8785, section 3.2.2.2.
		{"escapes", "\u20ac$\u000f\nA'B\"\\\\\"/", "\"\u20ac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\""},
		{"no other escapes", "<&>\u2028\u2029\u007f", "\"<&>\u2028\u2029\u007f\""},
		{"short escapes", "\b\f\t\x00\x1f", `"\b\f\t\u0000\u001f"`},
		{"replacement character itself", "\ufffd", "\"\ufffd\""},
		{"text of an escape", `\ufffd`, `"\\ufffd"`},
		{"large integers keep their digits", []any{uint64(math.MaxUint64), int64(math.MinInt64), json.Number("9007199254740993")},
			`[18446744073709551615,-9223372036854775808,9007199254740993]`},
		{"huge integer", new(big.Int).Exp(big.NewInt(10), big.NewInt(38), nil), "1" + strings.Repeat("0", 38)},
		{"nothing", nil, `null`},
	} {
		got, err := audit.Canonical(tt.in)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.name, got, err, tt.want)
		}
		if err := audit.CheckCanonical(got); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestNotCanonical(t *testing.T) {
	deep := any(1)
	for range audit.MaxDepth + 2 {
		deep = []any{deep}
	}
	for name, v := range map[string]any{
		"fraction":         1.5,
		"exponent":         json.Number("1e3"),
		"negative zero":    json.Number("-0"),
		"invalid UTF-8":    "a\xffb",
		"in a key":         map[string]any{"\xc3": 1},
		"half a pair":      "\xed\xa0\x80",
		"half an escape":   json.RawMessage(`"\ud800"`),
		"duplicate keys":   json.RawMessage(`{"a":1,"a":2}`),
		"escaped the same": json.RawMessage(`{"a":1,"\u0061":2}`),
		"too deep":         deep,
	} {
		if got, err := audit.Canonical(v); !errors.Is(err, audit.ErrNotCanonical) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	for _, v := range []any{math.NaN(), make(chan int), func() {}} {
		if _, err := audit.Canonical(v); err == nil {
			t.Errorf("%T has an encoding", v)
		}
	}
	for _, text := range []string{``, ` {}`, `{} `, "{}\n", `{"b":1,"a":2}`, `{"a":1,"a":1}`, `{"a" :1}`, `"\u0041"`, `"\/"`, `"\ud800"`, `1.0`, `01`, `[1,]`,
		`{"a":1}{}`, "\"\xff\"", `"\u2028"`, `[`, `{"a"}`, `{1:2}`, `tru`, "\ufeff{}", `+1`} {
		if err := audit.CheckCanonical([]byte(text)); !errors.Is(err, audit.ErrNotCanonical) {
			t.Errorf("%q is canonical: %v", text, err)
		}
	}
}

// FuzzCanonical: what is canonical is what its own reading encodes to, and there is only one such text.
// long is written the long way, by way of its JSON.
type long map[string]any

// What is written directly is what would be read from its JSON.
func FuzzPlain(f *testing.F) {
	f.Add("key", "text", "name", int64(1), uint64(2), true)
	f.Add("", "\x00\u2028\ufffd\"\\", "\u20ac", int64(math.MinInt64), uint64(math.MaxUint64), false)
	f.Add("\xff", "\xff", "\xed\xa0\x80", int64(0), uint64(0), false)
	f.Fuzz(func(t *testing.T, key, text, name string, i int64, u uint64, b bool) {
		deep := any(text)
		for range i % (audit.MaxDepth + 3) {
			deep = []any{deep}
		}
		value := map[string]any{key: text, "list": []string{text, key}, "none": []string(nil), "nothing": nil, "values": []any{i, int(i), u, b, audit.RecordID(text)},
			"deep": deep, "actor": audit.Actor{Kind: key, Name: name, Req: text}, "map": map[string]any{text: map[string]any(nil), key: map[string]any{}}}
		got, err := audit.Canonical(value)
		want, wanted := audit.Canonical(long(value))
		if !bytes.Equal(got, want) || (err == nil) != (wanted == nil) {
			t.Errorf("%s, %v\nwant %s, %v", got, err, want, wanted)
		}
	})
}

func BenchmarkCanonical(b *testing.B) {
	value := map[string]any{"v": 1, "id": audit.RecordID(strings.Repeat("a1", 16)), "at": "2026-03-01T12:00:00.123456Z", "actor": audit.Actor{Kind: "worker", Name: "gateway"},
		"action": "signature.made", "subject": "anchor/jwt", "data": map[string]any{"ref": "jwt/1", "sha256": strings.Repeat("b2", 32), "signature": strings.Repeat("c3", 64)}}
	for name, v := range map[string]any{"plain": value, "long": long(value)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := audit.Canonical(v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{`{"a":[1,true,null,"x"],"b":{"c":-7}}`, `"\u0000"`, `{"😀":1,"דּ":2}`, `[[[]]]`, `1e5`, `{"a":1,"a":2}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if audit.CheckCanonical(text) != nil {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		var v any
		if err := dec.Decode(&v); err != nil {
			t.Fatal(err)
		}
		again, err := audit.Canonical(v)
		if err != nil || !bytes.Equal(again, text) {
			t.Fatalf("%q, %v; from %q", again, err, text)
		}
	})
}
