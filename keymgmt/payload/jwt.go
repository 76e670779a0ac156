package payload

import (
	"crypto/sha256"
	"fmt"
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
