package sep_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/keypair"
)

// claims and header of a token as the server makes them.
func goodClaims(subject string) map[string]any {
	now := time.Now().Unix()
	return map[string]any{"iss": origin, "sub": subject, "iat": now, "exp": now + 600, "jti": strings.Repeat("0", 64)}
}

func goodHeader() map[string]any { return map[string]any{"alg": "EdDSA", "typ": "JWT"} }

func encodePart(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// token signs with the server's own key, so that a refusal is for the reason of the test.
func (f *fixture) token(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	input := encodePart(t, header) + "." + encodePart(t, claims)
	return input + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(f.tokens.key, []byte(input)))
}

func TestTokensAreRefused(t *testing.T) {
	f := newFixture(t)
	key := keypair.MustRandom()
	subject := key.Address()
	with := func(m map[string]any, k string, v any) map[string]any {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
		return m
	}
	header := func(k string, v any) string { return f.token(t, with(goodHeader(), k, v), goodClaims(subject)) }
	claim := func(k string, v any) string { return f.token(t, goodHeader(), with(goodClaims(subject), k, v)) }
	good := f.token(t, goodHeader(), goodClaims(subject))
	now := time.Now().Unix()
	unsigned := encodePart(t, map[string]any{"alg": "none", "typ": "JWT"}) + "." + encodePart(t, goodClaims(subject)) + "."
	hs256 := encodePart(t, map[string]any{"alg": "HS256", "typ": "JWT"}) + "." + encodePart(t, goodClaims(subject))
	mac := hmac.New(sha256.New, f.tokens.public())
	mac.Write([]byte(hs256))
	hs256 += "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	parts := strings.Split(good, ".")
	_, stranger, _ := ed25519.GenerateKey(nil)
	forged := parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(stranger, []byte(parts[0]+"."+parts[1])))
	other := parts[0] + "." + encodePart(t, goodClaims(keypair.MustRandom().Address())) + "." + parts[2]
	jwk := map[string]any{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(stranger.Public().(ed25519.PublicKey))}

	tests := map[string]struct {
		header http.Header
		ok     bool
	}{
		"good":                  {bearer(good), true},
		"scheme in lower case":  {http.Header{"Authorization": {"bearer " + good}}, true},
		"none":                  {nil, false},
		"empty":                 {bearer(""), false},
		"basic":                 {http.Header{"Authorization": {"Basic " + good}}, false},
		"bare":                  {http.Header{"Authorization": {good}}, false},
		"two headers":           {http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}}, false},
		"alg none":              {bearer(unsigned), false},
		"alg HS256, public key": {bearer(hs256), false},
		"alg in lower case":     {bearer(header("alg", "eddsa")), false},
		"no alg":                {bearer(header("alg", nil)), false},
		"no typ":                {bearer(header("typ", nil)), false},
		"typ at+jwt":            {bearer(header("typ", "at+jwt")), false},
		"kid":                   {bearer(header("kid", "../../dev/null")), false},
		"jku":                   {bearer(header("jku", "https://evil.test/keys")), false},
		"x5u":                   {bearer(header("x5u", "https://evil.test/keys")), false},
		"jwk":                   {bearer(header("jwk", jwk)), false},
		"crit":                  {bearer(header("crit", []string{"exp"})), false},
		"other key":             {bearer(forged), false},
		"other claims":          {bearer(other), false},
		"no signature":          {bearer(parts[0] + "." + parts[1] + "."), false},
		"two parts":             {bearer(parts[0] + "." + parts[1]), false},
		"four parts":            {bearer(good + ".x"), false},
		"padding":               {bearer(good + "="), false},
		"blank inside":          {bearer(good[:20] + " " + good[20:]), false},
		"stray bits":            {bearer(good[:len(good)-1] + stray(good[len(good)-1])), false},
		"huge":                  {bearer(good + strings.Repeat("A", 1<<10)), false},
		"expired":               {bearer(claim("exp", now-1)), false},
		"no exp":                {bearer(claim("exp", nil)), false},
		"exp as text":           {bearer(claim("exp", "9999999999")), false},
		"for years":             {bearer(claim("exp", now+400*24*3600)), false},
		"from tomorrow":         {bearer(claim("iat", now+86400)), false},
		"no iat":                {bearer(claim("iat", nil)), false},
		"no jti":                {bearer(claim("jti", nil)), false},
		"other issuer":          {bearer(claim("iss", "https://evil.test")), false},
		"no issuer":             {bearer(claim("iss", nil)), false},
		"no subject":            {bearer(claim("sub", nil)), false},
		"subject of a memo":     {bearer(claim("sub", subject+":7")), false},
		"subject, muxed":        {bearer(claim("sub", "MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUQ")), false},
		"not valid yet":         {bearer(claim("nbf", now+3600)), false},
		"a challenge's key":     {bearer(f.token(t, goodHeader(), goodClaims(subject))[:len(parts[0])+len(parts[1])+1] + "." + signWith(f.challenges.key, parts)), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res, v := f.do(t, "GET", "/sep6/transactions?asset_code=USD", "", "", tt.header)
			if tt.ok != (res.StatusCode == 200) {
				t.Fatalf("%d %v", res.StatusCode, v)
			}
			if !tt.ok && (res.StatusCode != 403 || v["type"] != "authentication_required") {
				t.Errorf("%d %v", res.StatusCode, v)
			}
			if !tt.ok && strings.Contains(fmt.Sprint(v), "evil") {
				t.Errorf("the answer repeats the token: %v", v)
			}
		})
	}
}

func signWith(key ed25519.PrivateKey, parts []string) string {
	return base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(parts[0]+"."+parts[1])))
}

// stray returns a last character that decodes to the same bytes for a decoder that does not look at unused bits.
func stray(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)|1])
}
