package bitcoin_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/diamante/gateway/keymgmt/payload/bitcoin"
)

// FuzzDecode: what is accepted balances, speaks in words that print, can be finalized, and is not accepted with a byte
// more or less.
func FuzzDecode(f *testing.F) {
	for _, chain := range all {
		f.Add(uint8(chain), example(chain).encode())
	}
	for _, v := range refused {
		d := example(bitcoin.Bitcoin)
		v.spoil(d)
		if psbt := d.encode(); len(psbt) < bitcoin.MaxSize {
			f.Add(uint8(bitcoin.Bitcoin), psbt)
		}
	}
	f.Fuzz(func(t *testing.T, chain uint8, psbt []byte) {
		tx, err := bitcoin.Decode(bitcoin.Chain(chain), psbt)
		if err != nil {
			if !errors.Is(err, bitcoin.ErrMalformed) || tx != nil {
				t.Fatalf("error %v with %v", err, tx)
			}
			return
		}
		fee := int64(0)
		signatures := make([][]byte, len(tx.Inputs))
		for i, in := range tx.Inputs {
			fee += in.Amount
			signatures[i] = bytes.Repeat([]byte{1}, 64)
			if len(tx.SignedBy(in.Key.Public[:])) == 0 {
				t.Fatal("the key of an input signs nothing")
			}
		}
		for _, out := range tx.Outputs {
			fee -= out.Amount
		}
		if fee != tx.Fee || fee < 0 || tx.FeeRate() < 0 || tx.Network == 0 {
			t.Fatalf("fee %d, said to be %d, rate %d, on %s", fee, tx.Fee, tx.FeeRate(), tx.Network)
		}
		for _, w := range tx.Words() {
			if strings.ContainsFunc(w, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("words do not print: %q", w)
			}
		}
		if raw, _, err := tx.Finalize(signatures); err != nil || int64(len(raw)) > 4*tx.VSize {
			t.Fatalf("%d bytes of %d vbytes: %v", len(raw), tx.VSize, err)
		}
		if _, err := bitcoin.Decode(tx.Chain, append(bytes.Clone(psbt), 0)); err == nil {
			t.Fatal("accepted with a byte after it")
		}
		if _, err := bitcoin.Decode(tx.Chain, psbt[:len(psbt)-1]); err == nil {
			t.Fatal("accepted without its last byte")
		}
	})
}
