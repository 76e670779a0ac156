package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds how deeply a JSON body may nest.
const maxDepth = 16

// ReadBody reads the whole body, which the route has already bounded, and checks that it is of one of the media types.
func ReadBody(r *http.Request, types ...string) ([]byte, error) {
	if _, err := mediaType(r, types...); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, readError(err)
	}
	return b, nil
}

// readError names a failure to read the body: too large and too slow have names of their own, and whatever else broke
// while the client was sending is the client's.
func readError(err error) error {
	if named := translate(err); errors.Is(named, ErrTooLarge) || errors.Is(named, ErrSlow) {
		return named
	}
	return Malformed("body", "it ends before its end")
}

func mediaType(r *http.Request, types ...string) (string, error) {
	given := r.Header.Values("Content-Type")
	if len(given) != 1 {
		return "", fmt.Errorf("%w: need %s", ErrMediaType, strings.Join(types, " or "))
	}
	t, params, err := mime.ParseMediaType(given[0])
	if err == nil {
		for _, want := range types {
			if t == want && (params["charset"] == "" || strings.EqualFold(params["charset"], "utf-8")) {
				return t, nil
			}
		}
	}
	return "", fmt.Errorf("%w: need %s", ErrMediaType, strings.Join(types, " or "))
}

// ReadJSON reads a JSON object into v. Members that v does not have, members named twice (also in another case), deep
// nesting, text that is not UTF-8 and anything after the object are errors.
func ReadJSON(r *http.Request, v any) error {
	body, err := ReadBody(r, "application/json")
	if err != nil {
		return err
	}
	return parseJSON(body, v)
}

func parseJSON(body []byte, v any) error {
	if !utf8.Valid(body) {
		return Malformed("body", "not UTF-8")
	}
	if err := checkJSON(body); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return Malformed("body", "%s", jsonError(err))
	}
	return nil
}

// jsonError says what is wrong without naming Go's types.
func jsonError(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Sprintf("member %.60q has the wrong type", wrong.Field)
	}
	return fmt.Sprintf("%.120s", strings.TrimPrefix(err.Error(), "json: "))
}

// checkJSON walks the tokens once for what encoding/json lets pass.
func checkJSON(body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	t, err := dec.Token()
	if err != nil || t != json.Delim('{') {
		return Malformed("body", "not a JSON object")
	}
	if err := checkObject(dec, 1); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return Malformed("body", "something follows the JSON object")
	}
	return nil
}

func checkObject(dec *json.Decoder, depth int) error {
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return Malformed("body", "not JSON")
		}
		name := strings.ToLower(t.(string)) // the decoder itself insists on a string here
		if seen[name] {
			return Malformed("body", "member %.60q twice", t)
		}
		seen[name] = true
		if err := checkValue(dec, depth); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return Malformed("body", "not JSON")
	}
	return nil
}

func checkValue(dec *json.Decoder, depth int) error {
	t, err := dec.Token()
	if err != nil {
		return Malformed("body", "not JSON")
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth >= maxDepth {
		return Malformed("body", "nested deeper than %d", maxDepth)
	}
	if open == '{' {
		return checkObject(dec, depth+1)
	}
	for dec.More() {
		if err := checkValue(dec, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return Malformed("body", "not JSON")
	}
	return nil
}

// ReadForm reads a URL-encoded form. Parameters of the query are not mixed in.
func ReadForm(r *http.Request) (Values, error) {
	body, err := ReadBody(r, "application/x-www-form-urlencoded")
	if err != nil {
		return nil, err
	}
	return parseValues(string(body), "body")
}

// Values are decoded parameters.
type Values map[string][]string

func parseValues(s, where string) (Values, error) {
	v, err := url.ParseQuery(s)
	if err != nil {
		return nil, Malformed(where, "not URL-encoded parameters")
	}
	for name, values := range v {
		for _, value := range append(values, name) {
			if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
				return nil, Malformed(where, "not UTF-8")
			}
		}
	}
	return Values(v), nil
}

// One returns the parameter's value, "" without it; a parameter given twice is an error, since two readers of the same
// request could take different ones for meant.
func (v Values) One(name string) (string, error) {
	switch len(v[name]) {
	case 0:
		return "", nil
	case 1:
		return v[name][0], nil
	}
	return "", Malformed(name, "given more than once")
}

// LooseQuery reads the query and leaves unknown parameters alone: for protocols whose clients send what they like.
func LooseQuery(r *http.Request) (Values, error) { return parseValues(r.URL.RawQuery, "query") }

// StrictQuery reads the query; a parameter other than names is an error.
func StrictQuery(r *http.Request, names ...string) (Values, error) {
	v, err := LooseQuery(r)
	if err != nil {
		return nil, err
	}
next:
	for given := range v {
		for _, name := range names {
			if given == name {
				continue next
			}
		}
		return nil, Malformed("query", "unknown parameter %.60q", given)
	}
	return v, nil
}

// Pages bounds the pages of a list.
type Pages struct {
	Default, Max int
}

// Page is the part of a list that was asked for: at most Limit entries, from the one after Cursor on; "" is the start.
type Page struct {
	Cursor string
	Limit  int
}

// maxCursor bounds a cursor, in bytes.
const maxCursor = 128

// Page reads the parameters cursor and limit.
func (p Pages) Page(v Values) (Page, error) {
	cursor, err := v.One("cursor")
	if err != nil {
		return Page{}, err
	}
	if len(cursor) > maxCursor {
		return Page{}, Malformed("cursor", "longer than %d bytes", maxCursor)
	}
	limit, err := p.Limit(v)
	return Page{Cursor: cursor, Limit: limit}, err
}

// Limit reads the parameter limit alone.
func (p Pages) Limit(v Values) (int, error) {
	s, err := v.One("limit")
	if err != nil || s == "" {
		return p.Default, err
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > p.Max || s[0] == '+' {
		return 0, Malformed("limit", "need 1 to %d", p.Max)
	}
	return n, nil
}

// WriteJSON answers with v.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("web: answer: %w", err)
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // see Problem.write
	return nil
}
