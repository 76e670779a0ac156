package keymgmt_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt"
)

func TestParseKeyID(t *testing.T) {
	tests := map[string]bool{
		"network/root": true, "anchor/usd/issuing": true, "a": true, "a-1/b": true, "a/b/c/d/e/f": true,
		"": false, "/": false, "a/": false, "/a": false, "A/b": false, "a b": false, "a//b": false, "-a": false, "a/b/c/d/e/f/g": false,
		"a/ü": false, "a\n": false, strings.Repeat("a", keymgmt.MaxKeyID): true, strings.Repeat("a", keymgmt.MaxKeyID+1): false,
	}
	for s, ok := range tests {
		id, err := keymgmt.ParseKeyID(s)
		if (err == nil) != ok || ok && id.String() != s {
			t.Errorf("%.20q: %v, %v", s, id, err)
		}
		if err != nil && !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("%q: %v is not ErrMalformed", s, err)
		}
	}
}

func TestRequestValidate(t *testing.T) {
	id, err := keymgmt.ParseKeyID("a/b")
	if err != nil {
		t.Fatal(err)
	}
	good := keymgmt.Request{Key: id, Kind: keymgmt.KindTransaction, Body: []byte{1}, Ref: "tx/1"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(r *keymgmt.Request){
		"no key":       func(r *keymgmt.Request) { r.Key = keymgmt.KeyID{} },
		"no kind":      func(r *keymgmt.Request) { r.Kind = 0 },
		"unknown kind": func(r *keymgmt.Request) { r.Kind = 99 },
		"no body":      func(r *keymgmt.Request) { r.Body = nil },
		"large body":   func(r *keymgmt.Request) { r.Body = make([]byte, keymgmt.MaxBody+1) },
		"no ref":       func(r *keymgmt.Request) { r.Ref = "" },
		"long ref":     func(r *keymgmt.Request) { r.Ref = strings.Repeat("x", keymgmt.MaxRef+1) },
		"blank ref":    func(r *keymgmt.Request) { r.Ref = "a b" },
		"line in ref":  func(r *keymgmt.Request) { r.Ref = "a\nb" },
	} {
		r := good
		change(&r)
		if err := r.Validate(); !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKindText(t *testing.T) {
	for k := keymgmt.KindTransaction; k <= keymgmt.KindEthereum; k++ {
		b, err := k.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var again keymgmt.Kind
		if err := again.UnmarshalText(b); err != nil || again != k {
			t.Errorf("%s came back as %s, %v", b, again, err)
		}
	}
	var k keymgmt.Kind
	if _, err := k.MarshalText(); err == nil {
		t.Error("no kind has a name")
	}
	if err := k.UnmarshalText([]byte("hash")); err == nil {
		t.Error("a bare hash is a kind")
	}
}

func TestPublicKey(t *testing.T) {
	for _, a := range []keymgmt.Algorithm{keymgmt.Ed25519, keymgmt.Secp256k1, keymgmt.P256} {
		b := make([]byte, a.PublicSize())
		b[0], b[len(b)-1] = 3, 255
		key, err := keymgmt.NewPublicKey(a, b)
		if err != nil {
			t.Fatal(err)
		}
		var again keymgmt.PublicKey
		if err := again.UnmarshalText([]byte(key.String())); err != nil || again != key || key.Algorithm() != a {
			t.Errorf("%s read again is %s, %v", key, again, err)
		}
		key.Bytes()[0] = 0 // the caller's own
		if again != key {
			t.Error("a caller can change a public key")
		}
		text := key.String()
		for _, bad := range []string{"", a.String(), strings.ToUpper(text), text[:len(text)-2], text + "00", "x" + text, a.String() + ":"} {
			if err := again.UnmarshalText([]byte(bad)); !errors.Is(err, keymgmt.ErrMalformed) {
				t.Errorf("%q: %v", bad, err)
			}
		}
	}
	for name, b := range map[string][]byte{"uncompressed": append([]byte{4}, make([]byte, 32)...), "short": make([]byte, 32), "none": nil} {
		if _, err := keymgmt.NewPublicKey(keymgmt.P256, b); !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (keymgmt.PublicKey{}).MarshalText(); err == nil {
		t.Error("no key has a text")
	}
}
