package ethereum_test

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt/payload/ethereum"
)

// refused is every shape that is not read, with a word of the reason.
var refused = []struct {
	name, why string
	body      []byte
}{
	{"nothing", "body of 0 bytes", nil},
	{"too large", "body of 65537 bytes", make([]byte, ethereum.MaxBody+1)},
	{"text", "first byte 0x7b", []byte(`{"to":"0x00"}`)},
	{"signed message", "first byte 0x19", []byte("\x19Ethereum Signed Message:\n1a")},
	{"structured data", "first byte 0x19", []byte("\x19\x01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")},
	{"bare text item", "first byte 0x83", rlp("dog")},
	{"type 0", "first byte 0x00", append([]byte{0}, rlp(legacy(nil))...)},
	{"type 1", "EIP-2930", append([]byte{1}, rlp(list{1, 7, 1, 21000, alice, 1, "", list{}})...)},
	{"type 3", "EIP-4844", append([]byte{3}, rlp(list{})...)},
	{"type 4", "EIP-7702", append([]byte{4}, rlp(append(dynamic(nil), list{list{1, bob, 0, 1, 1, 1}}))...)},
	{"type 5", "first byte 0x05", append([]byte{5}, rlp(dynamic(nil))...)},
	{"type without a list", "transaction is missing", []byte{2}},
	{"type with a text", "transaction is no list", append([]byte{2}, rlp("dog")...)},

	{"bytes follow", "1 bytes follow the transaction", append(type2(dynamic(nil)), 0)},
	{"bytes follow legacy", "1 bytes follow the transaction", append(rlp(legacy(nil)), 0)},
	{"cut", "should have", type2(dynamic(nil))[:40]},
	{"no field", "chain id is missing", type2(list{})},
	{"a field less", "access list is missing", type2(dynamic(nil)[:access])},
	{"a field more", "follow the access list", type2(append(dynamic(nil), 0))},
	{"signed", "signed already", type2(append(dynamic(nil), 1, ether(1), ether(2)))},
	{"legacy without chain id", "replayed", rlp(legacy(nil)[:legacyChain])},
	{"legacy with chain id only", "first zero is missing", rlp(legacy(nil)[:legacyZero])},
	{"legacy of eight fields", "second zero is missing", rlp(legacy(nil)[:legacyZero+1])},
	{"legacy of ten fields", "follow the second zero", rlp(append(legacy(nil), 0))},
	{"legacy signed before EIP-155", "signed already", rlp(legacy(map[int]any{6: 27, 7: ether(1), 8: ether(2)}))},
	{"legacy signed", "signed already", rlp(legacy(map[int]any{6: 37, 7: ether(1), 8: ether(2)}))},
	{"legacy last field not zero", "second zero", rlp(legacy(map[int]any{8: 1}))},

	{"short text, long length", "longer than needed", type2(dynamic(map[int]any{to: verbatim("\xb8\x14" + strings.Repeat("a", 20))}))},
	{"length begins with zero", "longer than needed",
		type2(dynamic(map[int]any{data: verbatim("\xb9\x00\x40" + strings.Repeat("a", 64)), gas: 100000}))},
	{"length of many bytes", "length of 8 bytes", type2(dynamic(map[int]any{data: verbatim("\xbf\xff\xff\xff\xff\xff\xff\xff\xff")}))},
	{"length cut off", "length of 2 bytes", type2(dynamic(map[int]any{access: verbatim("\xf9\x01")}))},
	{"list of long length", "longer than needed", append([]byte{2, 0xf8, rlp(dynamic(nil))[0] - 0xc0}, rlp(dynamic(nil))[1:]...)},
	{"list says too much", "of which", []byte{2, 0xc9, 1}},
	{"one byte as two", "written as two", type2(dynamic(map[int]any{nonce: verbatim("\x81\x07")}))},
	{"zero as a byte", "begins with a zero", type2(dynamic(map[int]any{nonce: verbatim("\x00")}))},
	{"zero before a number", "begins with a zero", type2(dynamic(map[int]any{value: verbatim("\x82\x00\x90")}))},
	{"number is a list", "value is a list", type2(dynamic(map[int]any{value: list{}}))},
	{"deep nesting", "data is a list", type2(dynamic(map[int]any{data: verbatim(bytes.Repeat([]byte{0xc1}, 5000))}))},
	{"access list is a text", "access list is no list", type2(dynamic(map[int]any{access: ""}))},

	{"chain 0", "chain id 0", type2(dynamic(map[int]any{chainID: 0}))},
	{"chain over the bound", "chain id", type2(dynamic(map[int]any{chainID: uint64(ethereum.MaxChainID) + 1}))},
	{"chain of 256 bits", "chain id", type2(dynamic(map[int]any{chainID: below(256)}))},
	{"chain of 65 bits", "chain id", type2(dynamic(map[int]any{chainID: new(big.Int).Add(power(64), big.NewInt(1))}))},
	{"legacy chain 0", "chain id 0", rlp(legacy(map[int]any{legacyChain: 0}))},
	{"last nonce", "EIP-2681", type2(dynamic(map[int]any{nonce: uint64(math.MaxUint64)}))},
	{"nonce of 65 bits", "over 64 bits", rlp(legacy(map[int]any{legacyNonce: power(64)}))},
	{"little gas", "gas limit 20999", type2(dynamic(map[int]any{gas: ethereum.MinGas - 1}))},
	{"much gas", "gas limit 16777217", rlp(legacy(map[int]any{legacyGas: ethereum.MaxGas + 1}))},
	{"gas of 65 bits", "over 64 bits", type2(dynamic(map[int]any{gas: power(64)}))},
	{"value of 257 bits", "more than 32", type2(dynamic(map[int]any{value: power(256)}))},
	{"fee of 257 bits", "more than 32", type2(dynamic(map[int]any{maxFee: power(256)}))},
	{"tip over fee", "is over the max fee", type2(dynamic(map[int]any{tip: 21_000_000_001}))},
	{"recipient of 19 bytes", "19 bytes", type2(dynamic(map[int]any{to: alice[:19]}))},
	{"recipient of 21 bytes", "21 bytes", type2(dynamic(map[int]any{to: append(alice[:], 0)}))},
	{"recipient of a word", "32 bytes", type2(dynamic(map[int]any{to: append(make([]byte, 12), alice[:]...)}))},
	{"recipient is a byte", "1 bytes", type2(dynamic(map[int]any{to: 5}))},
	{"recipient is nobody", "zero address", type2(dynamic(map[int]any{to: ethereum.Address{}}))},
	{"legacy recipient is nobody", "zero address", rlp(legacy(map[int]any{legacyTo: ethereum.Address{}}))},
	{"creation from nothing", "creation from 0 bytes", type2(dynamic(map[int]any{to: ""}))},
	{"creation from too much", "creation from 49153 bytes", type2(dynamic(map[int]any{to: "", data: make([]byte, 49153)}))},

	{"entry is an address", "entry is no list", type2(dynamic(map[int]any{access: list{alice}}))},
	{"entry without keys", "storage keys is missing", type2(dynamic(map[int]any{access: list{list{alice}}}))},
	{"entry of three", "follow an access list entry", type2(dynamic(map[int]any{access: list{list{alice, list{}, 1}}}))},
	{"entry's address", "19 bytes", type2(dynamic(map[int]any{access: list{list{alice[:19], list{}}}}))},
	{"entry's key", "31 bytes", type2(dynamic(map[int]any{access: list{list{alice, list{make([]byte, 31)}}}}))},
	{"entry twice", "twice", type2(dynamic(map[int]any{access: list{list{alice, list{}}, list{alice, list{}}}}))},
	{"key twice", "twice", type2(dynamic(map[int]any{access: list{list{alice, list{word(power(1)), word(power(1))}}}}))},
	{"many entries", "32 others", type2(dynamic(map[int]any{access: entries(ethereum.MaxAccess+1, 0)}))},
	{"many keys", "129th", type2(dynamic(map[int]any{access: entries(3, 43)}))},

	{"ether with tokens", "takes no ether", type2(dynamic(map[int]any{data: input("transfer(address,uint256)", bob, 1)}))},
	{"ether with an approval", "takes no ether", type2(dynamic(map[int]any{data: input("approve(address,uint256)", bob, 1)}))},
	{"token transfer, no arguments", "arguments of 0 bytes", call(input("transfer(address,uint256)"))},
	{"token transfer, cut", "arguments of 63 bytes", call(input("transfer(address,uint256)", bob, 1)[:67])},
	{"token transfer and more", "1 bytes follow", call(append(input("transfer(address,uint256)", bob, 1), 0))},
	{"token transfer and a word", "32 bytes follow", call(input("transfer(address,uint256)", bob, 1, 1))},
	{"dirty recipient", "is no address", call(input("transfer(address,uint256)", below(255), 1))},
	{"recipient shifted", "is no address", call(input("transfer(address,uint256)", verbatim(append(bob[:], make([]byte, 12)...)), 1))},
	{"dirty owner", "is no address", call(input("transferFrom(address,address,uint256)", power(160), bob, 1))},
	{"dirty spender", "is no address", call(input("approve(address,uint256)", power(255), 1))},
	{"tokens to nobody", "zero address", call(input("transfer(address,uint256)", 0, 1))},
	{"tokens to their contract", "their own contract", call(input("transfer(address,uint256)", token, 1))},
	{"tokens from nobody", "from is the zero address", call(input("transferFrom(address,address,uint256)", 0, bob, 1))},
	{"tokens of another to their contract", "their own contract", call(input("transferFrom(address,address,uint256)", bob, token, 1))},
	{"approval of nobody", "spender is the zero address", call(input("approve(address,uint256)", 0, 1))},
	{"neither true nor false", "is no bool", call(input("setApprovalForAll(address,bool)", bob, 2))},
	{"recovery id of two bytes", "is no uint8",
		call(input("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", alice, bob, 1, 1, 256, 1, 1))},
	{"amount of 161 bits", "is no uint160", call(input("approve(address,address,uint160,uint48)", token, bob, power(160), 1))},
	{"neither call nor delegated", "operation 2", call(input("execTransactionFromModule(address,uint256,bytes,uint8)", bob, 0, 128, 2, []byte{}))},
	{"operation of a word", "is no uint8", call(input("execTransactionFromModule(address,uint256,bytes,uint8)", bob, 0, 128, 257, []byte{}))},
	{"bytes elsewhere", "is at 96, need 64", call(input("upgradeToAndCall(address,bytes)", bob, 96, 0, []byte{}))},
	{"bytes on themselves", "is at 0, need 64", call(input("upgradeToAndCall(address,bytes)", bob, 0))},
	{"offset of 256 bits", "need 64", call(input("upgradeToAndCall(address,bytes)", bob, below(256), []byte{}))},
	{"offset of 65 bits", "need 64",
		call(input("upgradeToAndCall(address,bytes)", bob, new(big.Int).Add(power(64), big.NewInt(64)), []byte{}))},
	{"bytes without length", "no length", call(input("upgradeToAndCall(address,bytes)", bob, 64))},
	{"length of 256 bits", "announced", call(input("upgradeToAndCall(address,bytes)", bob, 64, below(256)))},
	{"length over the end", "announced", call(input("upgradeToAndCall(address,bytes)", bob, 64, 33, 0))},
	{"bytes without padding", "not padded", call(input("upgradeToAndCall(address,bytes)", bob, 64, 1, verbatim("a")))},
	{"dirty padding", "not padded", call(input("upgradeToAndCall(address,bytes)", bob, 64, 1, below(256)))},
	{"bytes and a word", "32 bytes follow", call(input("upgradeToAndCall(address,bytes)", bob, 64, []byte("a"), 0))},
}

// entries returns an access list of n addresses with as many keys each.
func entries(n, keys int) (out list) {
	for i := range n {
		within := list{}
		for k := range keys {
			within = append(within, word(power(uint(k))))
		}
		out = append(out, list{ethereum.Address{0: 1, 19: byte(i)}, within})
	}
	return out
}

func TestRefused(t *testing.T) {
	for _, test := range refused {
		t.Run(test.name, func(t *testing.T) {
			tx, err := ethereum.Decode(test.body)
			if !errors.Is(err, ethereum.ErrMalformed) || tx != nil {
				t.Fatalf("read as %+v, %v", tx, err)
			}
			if !strings.Contains(err.Error(), test.why) {
				t.Errorf("refused because %q, want %q", err, test.why)
			}
		})
	}
}

// TestBounds reads what is just within.
func TestBounds(t *testing.T) {
	for name, body := range map[string][]byte{
		"last chain":        type2(dynamic(map[int]any{chainID: uint64(ethereum.MaxChainID)})),
		"last legacy chain": rlp(legacy(map[int]any{legacyChain: uint64(ethereum.MaxChainID)})),
		"last nonce":        type2(dynamic(map[int]any{nonce: uint64(math.MaxUint64 - 1)})),
		"most gas":          type2(dynamic(map[int]any{gas: ethereum.MaxGas})),
		"largest value":     type2(dynamic(map[int]any{value: below(256)})),
		"largest fees":      type2(dynamic(map[int]any{maxFee: below(256), tip: below(256)})),
		"no fee, no value":  type2(dynamic(map[int]any{maxFee: 0, tip: 0, value: 0})),
		"most code":         type2(dynamic(map[int]any{to: "", data: bytes.Repeat([]byte{1}, ethereum.MaxInitCode)})),
		"access list":       type2(dynamic(map[int]any{access: entries(ethereum.MaxAccess, ethereum.MaxStorageKeys/ethereum.MaxAccess)})),
		"a byte of data":    type2(dynamic(map[int]any{data: verbatim("\x00")})),
		"largest body":      largest(t),
	} {
		t.Run(name, func(t *testing.T) {
			tx := decode(t, body)
			again, err := ethereum.Encode(*tx)
			if err != nil || !bytes.Equal(again, body) {
				t.Errorf("encodes as %x, %v, want %x", again, err, body)
			}
		})
	}
}

func largest(t *testing.T) []byte {
	body := func(n int) []byte { return type2(dynamic(map[int]any{data: make([]byte, n)})) }
	out := body(ethereum.MaxBody - (len(body(60000)) - 60000))
	if len(out) != ethereum.MaxBody {
		t.Fatalf("body of %d bytes", len(out))
	}
	return out
}
