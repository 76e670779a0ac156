package payload

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
)

// field is a member of a flat JSON object; value is a string, an int64 or a []string.
type field struct {
	name  string
	value any
}

// part reads one base64url part: a flat JSON object, without blanks, escapes that are not needed, or a name twice. The
// order of names is free, since the makers of tokens differ in it; the bytes are signed as they came.
func part(text string) ([]field, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || base64.RawURLEncoding.EncodeToString(raw) != text {
		return nil, malformed("not canonical base64url")
	}
	s := scanner{rest: raw}
	s.expect('{')
	var fields []field
	seen := map[string]bool{}
	for len(s.rest) > 0 && s.rest[0] != '}' && s.err == nil {
		if len(fields) > 0 {
			s.expect(',')
		}
		f := s.member()
		if seen[f.name] {
			return nil, malformed("member %.40q twice", f.name)
		}
		seen[f.name] = true
		fields = append(fields, f)
	}
	s.expect('}')
	switch {
	case s.err != nil:
		return nil, s.err
	case len(s.rest) > 0:
		return nil, malformed("bytes follow the JSON object")
	}
	if again, err := encode(fields); err != nil || !bytes.Equal(again, raw) {
		return nil, malformed("JSON is not in canonical form")
	}
	return fields, nil
}

// scanner reads JSON of the shape that part wants, from its beginning. After the first fault everything it gives is empty.
// What it overlooks shows when the fields are written again: they have to give the very bytes.
type scanner struct {
	rest []byte
	err  error
}

func (s *scanner) fail(format string, args ...any) {
	if s.err == nil {
		s.err = malformed(format, args...)
	}
}

func (s *scanner) expect(c byte) {
	if s.err != nil || len(s.rest) == 0 || s.rest[0] != c {
		s.fail("JSON: no %q where one is needed", c)
		return
	}
	s.rest = s.rest[1:]
}

func (s *scanner) member() (f field) {
	f.name = s.text()
	s.expect(':')
	if s.err != nil || len(s.rest) == 0 {
		s.fail("JSON: member %.40q has no value", f.name)
		return f
	}
	switch c := s.rest[0]; {
	case c == '"':
		f.value = s.text()
	case c == '-' || '0' <= c && c <= '9':
		f.value = s.integer(f.name)
	case c == '[':
		f.value = s.list()
	case c == '{':
		s.fail("member %.40q is an object", f.name)
	default:
		s.fail("member %.40q is neither text, integer nor list", f.name)
	}
	return f
}

// text reads a string. Its end is the first quote that no backslash stands before.
func (s *scanner) text() (t string) {
	s.expect('"')
	for i := 0; i < len(s.rest) && s.err == nil; i++ {
		switch s.rest[i] {
		case '\\':
			i++
		case '"':
			inside := s.rest[:i]
			s.rest = s.rest[i+1:]
			if isPlain(inside) {
				return string(inside)
			}
			if err := json.Unmarshal(slices.Concat([]byte{'"'}, inside, []byte{'"'}), &t); err != nil {
				s.fail("JSON: %v", err)
			}
			return t
		}
	}
	s.fail("JSON: a text does not end")
	return ""
}

func (s *scanner) integer(name string) int64 {
	end := 1
	for end < len(s.rest) && '0' <= s.rest[end] && s.rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(string(s.rest[:end]), 10, 64)
	if err != nil {
		s.fail("member %.40q is not an integer", name)
	}
	s.rest = s.rest[end:]
	return n
}

func (s *scanner) list() []string {
	s.expect('[')
	items := []string{}
	for len(s.rest) > 0 && s.rest[0] != ']' && s.err == nil {
		if len(items) == maxAudience {
			s.fail("a list holds at most %d texts", maxAudience)
			return nil
		}
		if len(items) > 0 {
			s.expect(',')
		}
		items = append(items, s.text())
	}
	s.expect(']')
	return items
}

// isPlain reports whether JSON has a text as it is.
func isPlain[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			return false
		}
	}
	return true
}

func encode(fields []field) (out []byte, err error) {
	out = append(out, '{')
	for i, f := range fields {
		if i > 0 {
			out = append(out, ',')
		}
		if out, err = appendJSON(out, f.name); err != nil {
			return nil, err
		}
		if out, err = appendJSON(append(out, ':'), f.value); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

func appendJSON(out []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		if isPlain(v) {
			return append(append(append(out, '"'), v...), '"'), nil
		}
	case int64:
		return strconv.AppendInt(out, v, 10), nil
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return append(out, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...), nil
}
