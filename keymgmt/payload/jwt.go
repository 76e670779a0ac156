package payload

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/diamante/gateway/keymgmt"
)

// Bounds of a token.
const (
	maxClaim    = 512 // bytes of one text claim
	maxAudience = 8
)

// JWT is a JSON web token in figures. Its header names an algorithm and JWT, and nothing else but perhaps a key id.
type JWT struct {
	Algorithm    keymgmt.Algorithm // Ed25519 or P256; a key of another one has nothing to sign here
	KeyID        string            // "" when the header names none
	Issuer       string
	Subject      string
	Audience     []string // empty when there is none
	IssuedAt     time.Time
	NotBefore    time.Time // zero when there is none
	Expires      time.Time
	ID           string // "" when there is none
	ClientDomain string // "" when there is none
	HomeDomain   string // "" when there is none
}

func (m *Meaning) readJWT(body []byte) error {
	first, second, ok := strings.Cut(string(body), ".")
	if !ok {
		return malformed("a token's signing input has two parts")
	}
	header, err := part(first)
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	claims, err := part(second)
	if err != nil {
		return fmt.Errorf("claims: %w", err)
	}
	t := new(JWT)
	if err := t.header(header); err != nil {
		return err
	}
	if err := t.claims(claims); err != nil {
		return err
	}
	m.JWT, m.words = t, t.words()
	switch t.Algorithm {
	case keymgmt.Ed25519:
		m.sign = ed25519Only(body)
	case keymgmt.P256:
		digest := sha256.Sum256(body)
		m.sign = only(keymgmt.P256, digest[:])
	}
	return nil
}

// field is a member of a flat JSON object; value is a string, an int64 or a []string.
type field struct {
	name  string
	value any
}

// part reads one base64url part: a flat JSON object, without blanks, escapes that are not needed, or a name twice. The
// order of names is free, since the makers of tokens differ in it; the bytes are signed as they came.
func part(s string) ([]field, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || base64.RawURLEncoding.EncodeToString(raw) != s {
		return nil, malformed("not canonical base64url")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, malformed("not a JSON object")
	}
	var fields []field
	seen := map[string]bool{}
	for dec.More() {
		f, err := member(dec)
		if err != nil {
			return nil, err
		}
		if seen[f.name] {
			return nil, malformed("member %.40q twice", f.name)
		}
		seen[f.name] = true
		fields = append(fields, f)
	}
	if t, err := dec.Token(); err != nil || t != json.Delim('}') {
		return nil, malformed("JSON object does not end")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, malformed("bytes follow the JSON object")
	}
	if again, err := encode(fields); err != nil || !bytes.Equal(again, raw) {
		return nil, malformed("JSON is not in canonical form")
	}
	return fields, nil
}

func member(dec *json.Decoder) (field, error) {
	name, err := dec.Token()
	if err != nil {
		return field{}, malformed("JSON: %v", err)
	}
	f := field{name: name.(string)} // the decoder itself insists on a string here
	value, err := dec.Token()
	if err != nil {
		return field{}, malformed("JSON: %v", err)
	}
	switch v := value.(type) {
	case string:
		f.value = v
	case json.Number:
		n, err := strconv.ParseInt(v.String(), 10, 64)
		if err != nil {
			return field{}, malformed("member %.40q is not an integer", f.name)
		}
		f.value = n
	case json.Delim:
		if v != '[' {
			return field{}, malformed("member %.40q is an object", f.name)
		}
		f.value, err = list(dec)
		return f, err
	default:
		return field{}, malformed("member %.40q is neither text, integer nor list", f.name)
	}
	return f, nil
}

func list(dec *json.Decoder) ([]string, error) {
	items := []string{}
	for dec.More() {
		t, err := dec.Token()
		s, ok := t.(string)
		if err != nil || !ok || len(items) == maxAudience {
			return nil, malformed("a list holds at most %d texts", maxAudience)
		}
		items = append(items, s)
	}
	if _, err := dec.Token(); err != nil {
		return nil, malformed("JSON: %v", err)
	}
	return items, nil
}

func encode(fields []field) ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, f := range fields {
		if i > 0 {
			out.WriteByte(',')
		}
		for j, v := range []any{f.name, f.value} {
			if j > 0 {
				out.WriteByte(':')
			}
			var buf bytes.Buffer
			enc := json.NewEncoder(&buf)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(v); err != nil {
				return nil, err
			}
			out.Write(bytes.TrimSuffix(buf.Bytes(), []byte("\n")))
		}
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// jwtAlgorithms are the names in tokens (RFC 7518, RFC 8037) of what keys here sign with.
var jwtAlgorithms = map[string]keymgmt.Algorithm{"EdDSA": keymgmt.Ed25519, "ES256": keymgmt.P256}

func (t *JWT) header(fields []field) error {
	typed := false
	for _, f := range fields {
		s, ok := f.value.(string)
		switch {
		case f.name == "alg" && ok && jwtAlgorithms[s] != 0:
			t.Algorithm = jwtAlgorithms[s]
		case f.name == "typ" && ok && s == "JWT":
			typed = true
		case f.name == "kid" && ok && printable(s, maxClaim):
			t.KeyID = s
		default:
			return malformed("header %.40q is %.40q", f.name, fmt.Sprint(f.value))
		}
	}
	if t.Algorithm == 0 || !typed {
		return malformed("header needs alg EdDSA or ES256, and typ JWT")
	}
	return nil
}

func (t *JWT) claims(fields []field) error {
	texts := map[string]*string{"iss": &t.Issuer, "sub": &t.Subject, "jti": &t.ID, "client_domain": &t.ClientDomain,
		"home_domain": &t.HomeDomain}
	times := map[string]*time.Time{"iat": &t.IssuedAt, "nbf": &t.NotBefore, "exp": &t.Expires}
	for _, f := range fields {
		switch v := f.value.(type) {
		case string:
			if f.name == "aud" && printable(v, maxClaim) {
				t.Audience = []string{v}
				continue
			}
			if texts[f.name] == nil || !printable(v, maxClaim) {
				return malformed("claim %.40q is %.40q", f.name, v)
			}
			*texts[f.name] = v
		case int64:
			if times[f.name] == nil || v < 1 || v > maxTime {
				return malformed("claim %.40q is %d", f.name, v)
			}
			*times[f.name] = time.Unix(v, 0).UTC()
		case []string:
			if f.name != "aud" || len(v) == 0 {
				return malformed("claim %.40q is a list", f.name)
			}
			for _, s := range v {
				if !printable(s, maxClaim) {
					return malformed("audience %.40q", s)
				}
			}
			t.Audience = v
		}
	}
	if t.Issuer == "" || t.Subject == "" || t.IssuedAt.IsZero() || t.Expires.IsZero() {
		return malformed("claims iss, sub, iat and exp are required")
	}
	return nil
}

func (t *JWT) words() []string {
	w := []string{fmt.Sprintf("token by %q for %q, valid from %s to %s", t.Issuer, t.Subject,
		t.IssuedAt.Format(time.RFC3339), t.Expires.Format(time.RFC3339))}
	if len(t.Audience) > 0 {
		w = append(w, fmt.Sprintf("for audience %q", t.Audience))
	}
	if !t.NotBefore.IsZero() {
		w = append(w, "not before "+t.NotBefore.Format(time.RFC3339))
	}
	for _, c := range []struct{ name, value string }{{"key id", t.KeyID}, {"token id", t.ID},
		{"client domain", t.ClientDomain}, {"home domain", t.HomeDomain}} {
		if c.value != "" {
			w = append(w, fmt.Sprintf("%s %q", c.name, c.value))
		}
	}
	return append(w, "signed with "+t.Algorithm.String())
}
