package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrNotCanonical: a value has no canonical encoding, or a text is not in it.
var ErrNotCanonical = errors.New("audit: not canonical")

// MaxDepth bounds how deep lists and maps of a canonical value are nested.
const MaxDepth = 32

// Canonical returns the one encoding of v as JSON that is hashed and signed. It is RFC 8785's: keys in the order of
// their UTF-16 code units (which is not the order of their bytes, and so not encoding/json's, where a key has
// characters beyond U+FFFF), no blanks, only the escapes that JSON demands, UTF-8 as it is.
//
// Numbers are integers, with all their digits. RFC 8785 reads numbers as floating point and would round those beyond
// 2^53; sequence numbers get there, and what is rounded is no evidence. That is the one deviation. A fraction, an
// exponent, invalid UTF-8, a key given twice and nesting beyond MaxDepth are ErrNotCanonical: nothing is repaired,
// since a repaired record would say something else than the code that made it.
func Canonical(v any) ([]byte, error) {
	if out, ok := appendPlain(nil, v, 0); ok {
		return out, nil
	}
	var first bytes.Buffer
	enc := json.NewEncoder(&first)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	out, err := canonicalize(first.Bytes())
	if err != nil {
		return nil, err
	}
	// What is no text, bytes that are not UTF-8 or half a pair of surrogates, reaches us as an escape and has just become a
	// replacement character. One that was in the string to begin with was one before.
	replacement := []byte(string(utf8.RuneError))
	if bytes.Count(first.Bytes(), replacement) != bytes.Count(out, replacement) {
		return nil, fmt.Errorf("%w: a string is not valid UTF-8", ErrNotCanonical)
	}
	return out, nil
}

// CheckCanonical reports whether text is exactly the canonical encoding of the value it encodes.
func CheckCanonical(text []byte) error {
	want, err := canonicalize(text)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, text) {
		at := 0
		for at < min(len(want), len(text)) && want[at] == text[at] {
			at++
		}
		return fmt.Errorf("%w: it differs from its canonical encoding at byte %d", ErrNotCanonical, at)
	}
	return nil
}

func canonicalize(text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%w: not valid UTF-8", ErrNotCanonical)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	out, err := appendValue(nil, dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the value", ErrNotCanonical)
	}
	return out, nil
}

func appendValue(out []byte, dec *json.Decoder, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, fmt.Errorf("%w: nested deeper than %d", ErrNotCanonical, MaxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCanonical, err)
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '[' {
			return appendList(out, dec, depth)
		}
		return appendMap(out, dec, depth)
	case string:
		return appendString(out, t), nil
	case json.Number:
		if strings.ContainsAny(t.String(), ".eE") || t == "-0" {
			return nil, fmt.Errorf("%w: number %.40s is not an integer", ErrNotCanonical, t)
		}
		return append(out, t...), nil
	case bool:
		return fmt.Appendf(out, "%t", t), nil
	}
	return append(out, "null"...), nil
}

func appendList(out []byte, dec *json.Decoder, depth int) ([]byte, error) {
	out = append(out, '[')
	for i := 0; dec.More(); i++ {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = appendValue(out, dec, depth+1); err != nil {
			return nil, err
		}
	}
	return closing(append(out, ']'), dec)
}

func appendMap(out []byte, dec *json.Decoder, depth int) ([]byte, error) {
	type member struct {
		key   string
		order []uint16
		value []byte
	}
	var members []member
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotCanonical, err)
		}
		key, ok := token.(string)
		if !ok {
			return nil, fmt.Errorf("%w: a key is not a string", ErrNotCanonical)
		}
		value, err := appendValue(nil, dec, depth+1)
		if err != nil {
			return nil, err
		}
		members = append(members, member{key, utf16.Encode([]rune(key)), value})
	}
	slices.SortFunc(members, func(a, b member) int { return slices.Compare(a.order, b.order) })
	out = append(out, '{')
	for i, m := range members {
		if i > 0 {
			if m.key == members[i-1].key {
				return nil, fmt.Errorf("%w: key %.80q is there twice", ErrNotCanonical, m.key)
			}
			out = append(out, ',')
		}
		out = append(appendString(out, m.key), ':')
		out = append(out, m.value...)
	}
	return closing(append(out, '}'), dec)
}

// closing reads the bracket that ends a list or a map.
func closing(out []byte, dec *json.Decoder) ([]byte, error) {
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCanonical, err)
	}
	return out, nil
}

// appendString writes s with the escapes of RFC 8785, section 3.2.2.2. encoding/json escapes U+2028 and U+2029 too.
func appendString(out []byte, s string) []byte {
	out = append(out, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\b':
			out = append(out, '\\', 'b')
		case '\t':
			out = append(out, '\\', 't')
		case '\n':
			out = append(out, '\\', 'n')
		case '\f':
			out = append(out, '\\', 'f')
		case '\r':
			out = append(out, '\\', 'r')
		default:
			if c < ' ' {
				out = fmt.Appendf(out, `\u%04x`, c)
			} else {
				out = append(out, c)
			}
		}
	}
	return append(out, '"')
}
