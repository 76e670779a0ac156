package audit

import (
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// appendPlain writes what records are mostly made of, and reports false for anything else, which canonicalize then has to
// read from its JSON. That takes ten times as long, and a signer writes two records for each signature.
func appendPlain(out []byte, v any, depth int) ([]byte, bool) {
	if depth > MaxDepth {
		return out, false
	}
	switch v := v.(type) {
	case nil:
		return append(out, "null"...), true
	case string:
		return appendPlainString(out, v)
	case RecordID:
		return appendPlainString(out, string(v))
	case bool:
		return strconv.AppendBool(out, v), true
	case int:
		return strconv.AppendInt(out, int64(v), 10), true
	case int64:
		return strconv.AppendInt(out, v, 10), true
	case uint64:
		return strconv.AppendUint(out, v, 10), true
	case []string:
		return appendPlainList(out, v, depth)
	case []any:
		return appendPlainList(out, v, depth)
	case map[string]any:
		return appendPlainMap(out, v, depth)
	case Actor:
		return appendPlainMap(out, v.members(), depth)
	}
	return out, false
}

// appendPlainString leaves texts that are not valid to those who refuse them.
func appendPlainString(out []byte, s string) ([]byte, bool) {
	if !utf8.ValidString(s) {
		return out, false
	}
	return appendString(out, s), true
}

func appendPlainList[E any](out []byte, list []E, depth int) ([]byte, bool) {
	if list == nil {
		return append(out, "null"...), true
	}
	out = append(out, '[')
	for i, e := range list {
		if i > 0 {
			out = append(out, ',')
		}
		var ok bool
		if out, ok = appendPlain(out, e, depth+1); !ok {
			return out, false
		}
	}
	return append(out, ']'), true
}

// appendPlainMap sorts by bytes, which is the order of UTF-16 as long as all keys are ASCII.
func appendPlainMap(out []byte, m map[string]any, depth int) ([]byte, bool) {
	if m == nil {
		return append(out, "null"...), true
	}
	out = append(out, '{')
	for i, key := range slices.Sorted(maps.Keys(m)) {
		if slices.ContainsFunc([]byte(key), func(c byte) bool { return c >= utf8.RuneSelf }) {
			return out, false
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendString(out, key), ':')
		var ok bool
		if out, ok = appendPlain(out, m[key], depth+1); !ok {
			return out, false
		}
	}
	return append(out, '}'), true
}
