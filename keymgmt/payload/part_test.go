package payload

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"reflect"
	"strconv"
	"testing"
)

// byTokens reads the fields of a flat object with the library's decoder, which is slower.
func byTokens(raw []byte) (fields []field, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	seen := map[string]bool{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil || seen[name.(string)] {
			return nil, false
		}
		seen[name.(string)] = true
		value, err := dec.Token()
		switch v := value.(type) {
		case string:
		case json.Number:
			value, err = strconv.ParseInt(v.String(), 10, 64)
		case json.Delim:
			items := []string{}
			for v == '[' && dec.More() {
				item, err := dec.Token()
				s, isText := item.(string)
				if err != nil || !isText || len(items) == maxAudience {
					return nil, false
				}
				items = append(items, s)
			}
			if _, err = dec.Token(); v != '[' {
				return nil, false
			}
			value = items
		default:
			return nil, false
		}
		if err != nil {
			return nil, false
		}
		fields = append(fields, field{name.(string), value})
	}
	if t, err := dec.Token(); err != nil || t != json.Delim('}') {
		return nil, false
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, false
	}
	again, err := encode(fields)
	return fields, err == nil && bytes.Equal(again, raw)
}

// FuzzPart: what is read of a part is what the library reads, no more and no less.
func FuzzPart(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":"b","c":-1,"d":["e","f"],"g":[]}`, `{"a":"\"\\\u0001é\u2028"}`, `{"a":1,"a":2}`, `{"a":01}`, `{"a":-}`, `{"a":-0}`, `{"a":1e3}`, `{"a":"b",}`, `{,"a":1}`,
		`{"a":{}}`, `{"a":null}`, `{"a":["b",]}`, `{"a":[1]}`, `{"a":"\u0041"}`, `{"a" :1}`, `{"a":1} `, `{"a":9223372036854775808}`, "{\"a\":\"\xff\"}", `{"a":"<&>"}`, `{"a":"b"`, `{"a":"b\`, `"a"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		want, ok := byTokens(raw)
		got, err := part(base64.RawURLEncoding.EncodeToString(raw))
		if (err == nil) != ok || ok && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %v, %v; the library reads %v, %t", raw, got, err, want, ok)
		}
	})
}

func BenchmarkPart(b *testing.B) {
	part1 := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://auth.bank.example/auth","sub":"GA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KZVN","iat":1792752000,"exp":1792755600,"jti":"7"}`))
	for b.Loop() {
		if _, err := part(part1); err != nil {
			b.Fatal(err)
		}
	}
}
