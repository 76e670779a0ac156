package ethereum_test

import (
	"bytes"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/diamante/gateway/keymgmt/payload/ethereum"
)

func TestFigures(t *testing.T) {
	key := word(power(9))
	tx := decode(t, type2(dynamic(map[int]any{access: list{list{bob, list{key}}, list{token, list{}}}})))
	if tx.Type != ethereum.DynamicFee || tx.ChainID.Int64() != 1 || tx.Nonce != 7 || tx.Gas != 21000 || *tx.To != alice ||
		tx.MaxFee.Int64() != 21_000_000_000 || tx.MaxPriority.Int64() != 2_000_000_000 || len(tx.Data) != 0 {
		t.Errorf("figures %+v", tx)
	}
	if fee := tx.MaxFeeCost(); fee.Int64() != 441_000_000_000_000 {
		t.Errorf("fee at most %d", fee)
	}
	if cost := tx.MaxCost(); cost.String() != "1500441000000000000" {
		t.Errorf("cost at most %d", cost)
	}
	want := []string{"sends 1.5 ETH to 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
		"declares access to 0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359 and 1 of its storage keys 0x" + strings.Repeat("0", 61) + "200",
		"declares access to 0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB and 0 of its storage keys",
		"fee at most 0.000441 ETH: 21000 gas at no more than 21 gwei, of which 2 gwei at most as a tip",
		"nonce 7", "on chain 1, type 2 (EIP-1559)"}
	if !slices.Equal(tx.Words(), want) {
		t.Errorf("words %q, want %q", tx.Words(), want)
	}
	old := decode(t, rlp(legacy(nil)))
	if old.Type != ethereum.Legacy || old.MaxFee.Cmp(old.MaxPriority) != 0 || old.MaxFee.Int64() != 21_000_000_000 {
		t.Errorf("legacy figures %+v", old)
	}
}

// TestBodyIsCopied changes the body after it was read.
func TestBodyIsCopied(t *testing.T) {
	body := call(input("transfer(address,uint256)", bob, 5))
	tx := decode(t, body)
	words := tx.Words()
	for i := range body {
		body[i] ^= 0xff
	}
	if !slices.Equal(tx.Words(), words) {
		t.Errorf("words %q, were %q", tx.Words(), words)
	}
}

// TestTampering changes each byte of each body in every bit and wholly: that must be refused, or be another digest
// and read otherwise.
func TestTampering(t *testing.T) {
	bodies := [][]byte{rlp(legacy(nil)), type2(dynamic(map[int]any{access: entries(2, 2)}))}
	for _, test := range understood {
		bodies = append(bodies, test.body)
	}
	for _, body := range bodies {
		tx := decode(t, body)
		words := strings.Join(tx.Words(), "\n")
		for i := range body {
			for _, mask := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
				other := bytes.Clone(body)
				other[i] ^= mask
				changed, err := ethereum.Decode(other)
				if err != nil {
					continue
				}
				if changed.Digest == tx.Digest {
					t.Fatalf("%x and %x have the same digest", body, other)
				}
				if strings.Join(changed.Words(), "\n") == words {
					t.Fatalf("%x and %x have the same words\n%s", body, other, words)
				}
			}
		}
	}
}

func TestRawRefuses(t *testing.T) {
	order := new(big.Int).SetBytes(unhex(t, "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"))
	half := new(big.Int).Rsh(order, 1)
	one := big.NewInt(1)
	signature := func(r, s *big.Int, v byte) []byte { return append(append(word(r), word(s)...), v) }
	tx := decode(t, type2(dynamic(nil)))
	if _, err := tx.Raw(signature(new(big.Int).Sub(order, one), half, 1)); err != nil {
		t.Fatalf("the largest signature: %v", err)
	}
	for name, sig := range map[string][]byte{
		"none":         nil,
		"short":        signature(one, one, 0)[:64],
		"long":         append(signature(one, one, 0), 0),
		"recovery id":  signature(one, one, 2),
		"v":            signature(one, one, 27),
		"r is 0":       signature(new(big.Int), one, 0),
		"r is order":   signature(order, one, 0),
		"s is 0":       signature(one, new(big.Int), 0),
		"s is high":    signature(one, new(big.Int).Add(half, one), 0),
		"s is highest": signature(one, new(big.Int).Sub(order, one), 0),
	} {
		if raw, err := tx.Raw(sig); !errors.Is(err, ethereum.ErrMalformed) || raw != nil {
			t.Errorf("%s: %x, %v", name, raw, err)
		}
	}
	for name, change := range map[string]func(*ethereum.Transaction){
		"value":        func(tx *ethereum.Transaction) { tx.Value = ether(9) },
		"recipient":    func(tx *ethereum.Transaction) { tx.To = &bob },
		"no value":     func(tx *ethereum.Transaction) { tx.Value = nil },
		"type":         func(tx *ethereum.Transaction) { tx.Type = 0 },
		"all of it":    func(tx *ethereum.Transaction) { *tx = ethereum.Transaction{} },
		"other digest": func(tx *ethereum.Transaction) { tx.Digest[0]++ },
	} {
		tx := decode(t, type2(dynamic(nil)))
		change(tx)
		if raw, err := tx.Raw(signature(one, one, 0)); !errors.Is(err, ethereum.ErrMalformed) || raw != nil {
			t.Errorf("after a change of %s: %x, %v", name, raw, err)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, change := range map[string]func(*ethereum.Transaction){
		"no type":           func(tx *ethereum.Transaction) { tx.Type = 0 },
		"no chain":          func(tx *ethereum.Transaction) { tx.ChainID = nil },
		"no fee":            func(tx *ethereum.Transaction) { tx.MaxFee = nil },
		"negative value":    func(tx *ethereum.Transaction) { tx.Value = big.NewInt(-1) },
		"nobody":            func(tx *ethereum.Transaction) { tx.To = new(ethereum.Address) },
		"legacy with a tip": func(tx *ethereum.Transaction) { tx.Type = ethereum.Legacy },
		"legacy with a list": func(tx *ethereum.Transaction) {
			tx.Type, tx.MaxPriority = ethereum.Legacy, tx.MaxFee
			tx.AccessList = make([]ethereum.Access, 1)
		},
		"ether sent with tokens": func(tx *ethereum.Transaction) { tx.Data = input("transfer(address,uint256)", bob, 1) },
	} {
		tx := decode(t, type2(dynamic(nil)))
		change(tx)
		if body, err := ethereum.Encode(*tx); !errors.Is(err, ethereum.ErrMalformed) || body != nil {
			t.Errorf("%s: %x, %v", name, body, err)
		}
	}
}

// FuzzDecode: what is accepted encodes to the same bytes, is refused with a byte more, has words that print, and can be
// sent when signed.
func FuzzDecode(f *testing.F) {
	f.Add(rlp(legacy(nil)))
	f.Add(type2(dynamic(map[int]any{access: entries(2, 2)})))
	for _, test := range understood {
		f.Add(test.body)
	}
	for _, test := range refused {
		f.Add(test.body)
	}
	signature := append(append(word(power(9)), word(power(250))...), 1)
	f.Fuzz(func(t *testing.T, body []byte) {
		tx, err := ethereum.Decode(body)
		if err != nil {
			if !errors.Is(err, ethereum.ErrMalformed) || tx != nil {
				t.Fatalf("error %v, transaction %+v", err, tx)
			}
			return
		}
		if again, err := ethereum.Encode(*tx); err != nil || !bytes.Equal(again, body) {
			t.Fatalf("%x encodes as %x, %v", body, again, err)
		}
		if tx.Digest != ethereum.Keccak256(body) || tx.Call.Kind.String() == "" || tx.MaxCost().Sign() < 0 {
			t.Fatalf("%x is read as %+v", body, tx)
		}
		for _, w := range tx.Words() {
			if w == "" || strings.ContainsFunc(w, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("words do not print: %q", w)
			}
		}
		if _, err := ethereum.Decode(append(bytes.Clone(body), 0)); err == nil {
			t.Fatalf("%x is accepted with a byte after it", body)
		}
		raw, err := tx.Raw(signature)
		if err != nil {
			t.Fatalf("%x cannot be sent: %v", body, err)
		}
		if _, err := ethereum.Decode(raw); err == nil {
			t.Fatalf("%x is accepted though it is signed", raw)
		}
	})
}
