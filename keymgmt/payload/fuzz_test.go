package payload_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
)

// FuzzDecode feeds every decoder. What one accepts must be of that kind only, in words that print, and must not be
// accepted with a byte more.
func FuzzDecode(f *testing.F) {
	for _, test := range understood {
		body, _ := base(f, 7, test.op)
		f.Add(uint8(keymgmt.KindTransaction), body)
	}
	f.Add(uint8(keymgmt.KindTransaction), change(f, func(tx *xdr.Transaction) { tx.Memo = xdr.MemoText("\xff\n") }))
	body, _, _, _ := challenge(f, nil)
	f.Add(uint8(keymgmt.KindChallenge), body)
	f.Add(uint8(keymgmt.KindCheckpoint), []byte("bank.example/audit\n7\n"+strings.Repeat("A", 43)+"=\n"))
	f.Add(uint8(keymgmt.KindJWT), input(goodHeader, goodClaims))
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		m, err := payload.Decode(keymgmt.Kind(kind), body)
		if err != nil {
			if !errors.Is(err, keymgmt.ErrMalformed) || m.Kind() != 0 {
				t.Fatalf("error %v, kind %s", err, m.Kind())
			}
			return
		}
		if len(message(m)) == 0 || len(m.Words()) == 0 || !m.Is(keymgmt.Kind(kind), body) {
			t.Fatalf("no message or no words for %x", body)
		}
		for _, w := range m.Words() {
			if strings.ContainsFunc(w, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("words do not print: %q", w)
			}
		}
		for other := keymgmt.KindTransaction; other <= keymgmt.KindJWT; other++ {
			if _, err := payload.Decode(other, body); err == nil && other != keymgmt.Kind(kind) {
				t.Fatalf("%x is %s and %s", body, other, keymgmt.Kind(kind))
			}
		}
		if _, err := payload.Decode(keymgmt.Kind(kind), append(bytes.Clone(body), 0)); err == nil {
			t.Fatalf("%x is accepted with a byte after it", body)
		}
	})
}
