package ethereum_test

import (
	"bytes"
	"encoding/binary"
	"math/big"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt/payload/ethereum"
)

// The test's own writer of RLP, which writes whatever it is told. An item is text, a number, a list of items, or bytes
// to be put there as they are.
type (
	list     []any
	verbatim []byte
)

func rlp(item any) []byte {
	switch v := item.(type) {
	case verbatim:
		return v
	case list:
		var payload []byte
		for _, x := range v {
			payload = append(payload, rlp(x)...)
		}
		return append(head(0xc0, len(payload)), payload...)
	case int:
		return rlp(big.NewInt(int64(v)))
	case uint64:
		return rlp(new(big.Int).SetUint64(v))
	case *big.Int:
		return rlp(v.Bytes())
	case string:
		return rlp([]byte(v))
	case ethereum.Address:
		return rlp(v[:])
	case []byte:
		if len(v) == 1 && v[0] < 0x80 {
			return v
		}
		return append(head(0x80, len(v)), v...)
	}
	panic("rlp: no such item")
}

func head(short byte, n int) []byte {
	if n <= 55 {
		return []byte{short + byte(n)}
	}
	size := bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, uint64(n)), "\x00")
	return append([]byte{short + 55 + byte(len(size))}, size...)
}

// Places of the fields of the two forms.
const (
	chainID = iota
	nonce
	tip
	maxFee
	gas
	to
	value
	data
	access
)

const (
	legacyNonce = iota
	legacyPrice
	legacyGas
	legacyTo
	legacyValue
	legacyData
	legacyChain
	legacyZero
)

var (
	alice = address("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
	bob   = address("0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359")
	token = address("0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB")
)

func address(s string) ethereum.Address {
	a, err := ethereum.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func ether(n int64) *big.Int { return new(big.Int).Mul(big.NewInt(n), big.NewInt(1e18)) }

func power(bits uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), bits) }

func below(bits uint) *big.Int { return new(big.Int).Sub(power(bits), big.NewInt(1)) }

// dynamic returns the fields of a transfer of 1.5 ether, some of them changed.
func dynamic(change map[int]any) list {
	fields := list{1, 7, 2_000_000_000, 21_000_000_000, 21000, alice, new(big.Int).Div(ether(3), big.NewInt(2)), "", list{}}
	for i, v := range change {
		fields[i] = v
	}
	return fields
}

func legacy(change map[int]any) list {
	fields := list{7, 21_000_000_000, 21000, alice, ether(1), "", 1, 0, 0}
	for i, v := range change {
		fields[i] = v
	}
	return fields
}

func type2(fields list) []byte { return append([]byte{2}, rlp(fields)...) }

// call returns the body of a call of the token contract.
func call(payload []byte) []byte {
	return type2(dynamic(map[int]any{to: token, value: 0, gas: 100000, data: payload}))
}

// input encodes a call: arguments are addresses, numbers, booleans, words as they are, and bytes last in pairs of
// offset and contents by the caller.
func input(signature string, args ...any) []byte {
	sum := ethereum.Keccak256([]byte(signature))
	out := bytes.Clone(sum[:4])
	for _, a := range args {
		switch v := a.(type) {
		case ethereum.Address:
			out = append(append(out, make([]byte, 12)...), v[:]...)
		case int:
			out = append(out, word(big.NewInt(int64(v)))...)
		case *big.Int:
			out = append(out, word(v)...)
		case []byte: // length and padded contents
			out = append(append(out, word(big.NewInt(int64(len(v))))...), v...)
			out = append(out, make([]byte, (32-len(v)%32)%32)...)
		case verbatim:
			out = append(out, v...)
		default:
			panic("input: no such argument")
		}
	}
	return out
}

func word(n *big.Int) []byte { return n.FillBytes(make([]byte, 32)) }

func decode(t testing.TB, body []byte) *ethereum.Transaction {
	t.Helper()
	tx, err := ethereum.Decode(body)
	if err != nil {
		t.Fatalf("%x: %v", body, err)
	}
	return tx
}

// blank returns arguments of zeros for a signature whose types have a fixed size or are bytes, and nothing for others.
func blank(signature string) (args []any, ok bool) {
	_, inner, _ := strings.Cut(strings.TrimSuffix(signature, ")"), "(")
	if strings.ContainsAny(inner, "([") {
		return []any{verbatim("not read at all")}, false
	}
	if inner == "" {
		return nil, true
	}
	kinds := strings.Split(inner, ",")
	offset := 32 * len(kinds)
	var tails []any
	for _, kind := range kinds {
		switch kind {
		case "address":
			args = append(args, bob)
		case "bytes":
			args, tails = append(args, offset), append(tails, []byte("abc"))
			offset += 64
		default:
			args = append(args, 0)
		}
	}
	return append(args, tails...), true
}
