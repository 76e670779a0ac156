package bitcoin

import (
	"math/big"
	"slices"
	"strings"
)

// prefixes is what opens the addresses of a network: the human-readable part of bech32, or the prefix of Bitcoin Cash,
// and the version bytes of base58.
var prefixes = map[Chain]map[Network]struct {
	human       string
	p2pkh, p2sh byte
}{
	Bitcoin:     {Mainnet: {"bc", 0x00, 0x05}, Testnet: {"tb", 0x6f, 0xc4}, Regtest: {"bcrt", 0x6f, 0xc4}},
	Litecoin:    {Mainnet: {"ltc", 0x30, 0x32}, Testnet: {"tltc", 0x6f, 0x3a}, Regtest: {"rltc", 0x6f, 0x3a}},
	BitcoinCash: {Mainnet: {human: "bitcoincash"}, Testnet: {human: "bchtest"}, Regtest: {human: "bchreg"}},
}

// address returns the one address that is shown for a script: of Bitcoin Cash never the old form, which is an address
// of Bitcoin too; of Litecoin never the old one that begins with 3. Data has none.
func address(chain Chain, network Network, kind ScriptKind, hash []byte) string {
	prefix := prefixes[chain][network]
	switch {
	case kind == OpReturn:
		return ""
	case chain == BitcoinCash && kind == P2PKH:
		return cashAddress(prefix.human, 0, hash)
	case chain == BitcoinCash:
		return cashAddress(prefix.human, 1, hash)
	case kind == P2PKH:
		return base58Check(prefix.p2pkh, hash)
	case kind == P2SH:
		return base58Check(prefix.p2sh, hash)
	case kind == P2TR:
		return bech32(prefix.human, 1, hash)
	}
	return bech32(prefix.human, 0, hash)
}

const base58Digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// base58Check writes a version and a hash with a checksum of 4 bytes. Leading zero bytes are written one for one.
func base58Check(version byte, hash []byte) string {
	b := append([]byte{version}, hash...)
	sum := doubleSHA256(b)
	b = append(b, sum[:4]...)
	var s []byte
	base, digit := big.NewInt(int64(len(base58Digits))), new(big.Int)
	for n := new(big.Int).SetBytes(b); n.Sign() > 0; {
		n.QuoRem(n, base, digit)
		s = append(s, base58Digits[digit.Int64()])
	}
	for _, zero := range b {
		if zero != 0 {
			break
		}
		s = append(s, base58Digits[0])
	}
	slices.Reverse(s)
	return string(s)
}

const base32Digits = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

func base32(values []byte) string {
	var s strings.Builder
	for _, v := range values {
		s.WriteByte(base32Digits[v])
	}
	return s.String()
}

// fiveBits regroups bytes into groups of five bits, the last filled up with zeroes.
func fiveBits(b []byte) (groups []byte) {
	held, bits := uint(0), 0
	for _, v := range b {
		held, bits = held<<8|uint(v), bits+8
		for ; bits >= 5; bits -= 5 {
			groups = append(groups, byte(held>>(bits-5)&31))
		}
		held &= 31
	}
	if bits > 0 {
		groups = append(groups, byte(held<<(5-bits)&31))
	}
	return groups
}

// checksum is the remainder of a polynomial over GF(32) by the code's generator, of which term i is what is added when
// the bit i of what leaves at the top is set. The top is 5 bits above width.
func checksum(values []byte, width uint, generator [5]uint64) uint64 {
	sum := uint64(1)
	for _, v := range values {
		top := sum >> width
		sum = sum&(1<<width-1)<<5 ^ uint64(v)
		for i, term := range generator {
			if top>>i&1 == 1 {
				sum ^= term
			}
		}
	}
	return sum
}

// groupsOf returns the last count groups of five bits of sum, highest first.
func groupsOf(sum uint64, count int) (groups []byte) {
	for i := count - 1; i >= 0; i-- {
		groups = append(groups, byte(sum>>(5*i)&31))
	}
	return groups
}

var bech32Generator = [5]uint64{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3}

// What distinguishes bech32, for witness version 0 (BIP-173), from bech32m, for the later ones (BIP-350).
const (
	bech32Constant  = 1
	bech32mConstant = 0x2bc830a3
)

// bech32 writes a witness program.
func bech32(human string, version byte, program []byte) string {
	var head []byte
	for _, c := range []byte(human) {
		head = append(head, c>>5)
	}
	head = append(head, 0)
	for _, c := range []byte(human) {
		head = append(head, c&31)
	}
	data := append([]byte{version}, fiveBits(program)...)
	constant := uint64(bech32Constant)
	if version != 0 {
		constant = bech32mConstant
	}
	sum := checksum(slices.Concat(head, data, make([]byte, 6)), 25, bech32Generator) ^ constant
	return human + "1" + base32(data) + base32(groupsOf(sum, 6))
}

var cashGenerator = [5]uint64{0x98f2bc8e61, 0x79b76d99e2, 0xf33e5fb3c4, 0xae2eabe2a8, 0x1e4f43e470}

// cashAddress writes a hash of 20 bytes as Bitcoin Cash does, with the prefix: without it an address could be read as
// one of another network.
func cashAddress(prefix string, kind byte, hash []byte) string {
	var head []byte
	for _, c := range []byte(prefix) {
		head = append(head, c&31)
	}
	head = append(head, 0)
	// The version byte has the kind in bits 3 to 6, and 0 below for 20 bytes.
	data := fiveBits(append([]byte{kind << 3}, hash...))
	sum := checksum(slices.Concat(head, data, make([]byte, 8)), 35, cashGenerator) ^ 1
	return prefix + ":" + base32(data) + base32(groupsOf(sum, 8))
}
