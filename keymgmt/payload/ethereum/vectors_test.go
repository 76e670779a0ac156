package ethereum_test

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt/payload/ethereum"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.TrimPrefix(s, "0x"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestEIP155 is the example of that document, from the signing data to the signed transaction.
func TestEIP155(t *testing.T) {
	const (
		body = "ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080018080"
		hash = "daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53"
		r    = "28ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276"
		s    = "67cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
		raw  = "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a0" + r + "a0" + s
	)
	tx, err := ethereum.Decode(unhex(t, body))
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(tx.Digest[:]); got != hash {
		t.Errorf("digest %s, want %s", got, hash)
	}
	got, err := tx.Raw(unhex(t, r+s+"00"))
	if err != nil || hex.EncodeToString(got) != raw {
		t.Errorf("raw %x, %v, want %s", got, err, raw)
	}
	want := []string{"sends 1 ETH to 0x3535353535353535353535353535353535353535",
		"fee at most 0.00042 ETH: 21000 gas at no more than 20 gwei", "nonce 9", "on chain 1, legacy (EIP-155)"}
	if !slices.Equal(tx.Words(), want) {
		t.Errorf("words %q, want %q", tx.Words(), want)
	}
}

// TestEIP55 holds the examples of that document.
func TestEIP55(t *testing.T) {
	for _, s := range []string{
		"0x52908400098527886E0F7030069857D2E4169EE7", "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
		"0xde709f2102306220921060314715629080e2fb77", "0x27b1fdb04752bbc536007a920d24acb045561c26",
		"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
		"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
	} {
		for _, spelling := range []string{s, strings.ToLower(s), "0x" + strings.ToUpper(s[2:])} {
			if a, err := ethereum.ParseAddress(spelling); err != nil || a.String() != s {
				t.Errorf("%s reads as %s, %v", spelling, a, err)
			}
		}
	}
	for name, s := range map[string]string{
		"a letter's case":    "0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
		"a digit":            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAee",
		"no prefix":          "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
		"another prefix":     "0X5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
		"short":              "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeA",
		"long":               "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed00",
		"not digits":         "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeg",
		"blank":              "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe ",
		"look-alike letters": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beеd",
		"nothing":            "",
	} {
		if a, err := ethereum.ParseAddress(s); !errors.Is(err, ethereum.ErrMalformed) || !a.IsZero() {
			t.Errorf("%s: %q reads as %s, %v", name, s, a, err)
		}
	}
}

func TestAddressText(t *testing.T) {
	const s = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
	var a ethereum.Address
	if err := a.UnmarshalText([]byte(strings.ToLower(s))); err != nil {
		t.Fatal(err)
	}
	if text, err := a.MarshalText(); err != nil || string(text) != s {
		t.Errorf("text %s, %v", text, err)
	}
	if err := a.UnmarshalText([]byte("0x00")); !errors.Is(err, ethereum.ErrMalformed) || a.String() != s {
		t.Errorf("a failed reading leaves %s, %v", a, err)
	}
}

// TestAddressOf takes the generator of the group, which is the public key of the private key 1.
func TestAddressOf(t *testing.T) {
	point := unhex(t, "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"+
		"483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8")
	a, err := ethereum.AddressOf(point)
	if err != nil || a.String() != "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf" {
		t.Errorf("address %s, %v", a, err)
	}
	for _, bad := range [][]byte{nil, point[1:], point[:33], append([]byte{2}, point[1:]...)} {
		if _, err := ethereum.AddressOf(bad); !errors.Is(err, ethereum.ErrMalformed) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}
