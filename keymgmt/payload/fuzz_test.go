package payload_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stellar/go-stellar-sdk/txnbuild"
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
	f.Add(uint8(keymgmt.KindJWT), input(`{"alg":"ES256","typ":"JWT"}`, goodClaims))
	conditions, _ := conditional(f, func(c *txnbuild.Preconditions) {
		c.LedgerBounds, c.ExtraSigners, c.MinSequenceNumber = &txnbuild.LedgerBounds{MinLedger: 5, MaxLedger: 9}, []string{other, overPayload}, ptr(int64(1))
	})
	f.Add(uint8(keymgmt.KindTransaction), conditions)
	env, _, _ := bump(f)
	f.Add(uint8(keymgmt.KindTransaction), raw(f, env))
	for _, pledge := range []any{nominate([]xdr.Value{valueA, valueC}, []xdr.Value{valueA}), prepare(ballot(3, valueA), ptr(ballot(2, valueB)), ptr(ballot(1, valueA)), 0, 0),
		confirm(ballot(5, valueA), 4, 2, 3), externalize(ballot(2, valueA), 3)} {
		f.Add(uint8(keymgmt.KindStatement), statement(77, pledge))
	}
	f.Add(uint8(keymgmt.KindAuthCert), authCert(7))
	f.Add(uint8(keymgmt.KindSCPValue), closing(xdr.StellarValue{CloseTime: 7}))
	f.Add(uint8(keymgmt.KindBitcoin), psbt(allInputs))
	f.Add(uint8(keymgmt.KindLitecoin), psbt(allInputs))
	f.Add(uint8(keymgmt.KindBitcoinCash), psbt(allInputsForked))
	f.Add(uint8(keymgmt.KindEthereum), ether(f))
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		k := keymgmt.Kind(kind)
		m, err := payload.Decode(k, body)
		if err != nil {
			if !errors.Is(err, keymgmt.ErrMalformed) || m.Kind() != 0 || signable(m) {
				t.Fatalf("error %v, kind %s", err, m.Kind())
			}
			return
		}
		if !signable(m) || len(m.Words()) == 0 || !m.Is(k, body) {
			t.Fatalf("no message or no words for %x", body)
		}
		for _, w := range m.Words() {
			if strings.ContainsFunc(w, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("words do not print: %q", w)
			}
		}
		for other := keymgmt.KindTransaction; other <= keymgmt.KindEthereum; other++ {
			if _, err := payload.Decode(other, body); err == nil && other != k && !(psbtKind(k) && psbtKind(other)) {
				t.Fatalf("%x is %s and %s", body, other, k)
			}
		}
		if _, err := payload.Decode(k, append(bytes.Clone(body), 0)); err == nil {
			t.Fatalf("%x is accepted with a byte after it", body)
		}
	})
}

// psbtKind reports whether bodies of that kind are PSBTs, of which none says which chain it is for.
func psbtKind(k keymgmt.Kind) bool {
	return k == keymgmt.KindBitcoin || k == keymgmt.KindLitecoin || k == keymgmt.KindBitcoinCash
}

// signable reports whether there is a key that has something to sign.
func signable(m payload.Meaning) bool {
	keys := []keymgmt.PublicKey{anyKey, p256Key, ownKey}
	if m.Statement != nil {
		keys = append(keys, ed25519Key(m.Statement.Node.Key()))
	}
	if m.Bitcoin != nil {
		keys = append(keys, must(keymgmt.NewPublicKey(keymgmt.Secp256k1, m.Bitcoin.Inputs[0].Key.Public[:])))
	}
	return slices.ContainsFunc(keys, func(k keymgmt.PublicKey) bool { return len(m.Messages(k)) > 0 })
}
