package bitcoin_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"

	"github.com/diamante/gateway/keymgmt/payload/bitcoin"
)

// Keys of the BIPs' vectors, with their hashes. The third has a p2sh-p2wpkh output too.
var (
	keys = [][]byte{
		unhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"),
		unhex("025476c2e83188368da1ff3e292e7acafcdb3566bb0ad253f62fc70f07aeee6357"),
		unhex("03ad1d8e89212f0b92c74d23bb710c00662ad1470198ac48c43f7d6f93a2a26873"),
	}
	hashes = [][]byte{
		unhex("751e76e8199196d454941c45d1b3a323f1433bd6"),
		unhex("1d0f172a0ecb48aee1be1f2687d2963ae33f71a1"),
		unhex("79091972186c449eb1ded22b78e40d009bdf0089"),
	}
	nested   = unhex("a9144733f37cf4db86fbc2efed2500b4f4e49f31202387")
	redeem   = p2wpkh(hashes[2])
	stranger = unhex("00112233445566778899aabbccddeeff00112233")
	wide     = slices.Concat(stranger, stranger)[:32]
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func p2pkh(hash []byte) []byte {
	return slices.Concat([]byte{0x76, 0xa9, 0x14}, hash, []byte{0x88, 0xac})
}
func p2sh(hash []byte) []byte   { return slices.Concat([]byte{0xa9, 0x14}, hash, []byte{0x87}) }
func p2wpkh(hash []byte) []byte { return slices.Concat([]byte{0x00, 0x14}, hash) }
func p2wsh(hash []byte) []byte  { return slices.Concat([]byte{0x00, 0x20}, hash) }
func p2tr(key []byte) []byte    { return slices.Concat([]byte{0x51, 0x20}, key) }

// entry is one field of a map.
type entry struct{ key, value []byte }

type spend struct {
	id       [32]byte
	index    uint32
	script   []byte
	sequence uint32
	entries  []entry
}

type pay struct {
	amount  uint64
	script  []byte
	entries []entry
}

// draft is a PSBT in the making, of which every part can be made wrong.
type draft struct {
	version  uint32
	inputs   []spend
	outputs  []pay
	lockTime uint32
	trailing []byte  // of the unsigned transaction
	global   []entry // after the unsigned transaction
	after    []byte
}

func size(b []byte, n int) []byte {
	switch {
	case n < 0xfd:
		return append(b, byte(n))
	case n < 1<<16:
		return binary.LittleEndian.AppendUint16(append(b, 0xfd), uint16(n))
	}
	return binary.LittleEndian.AppendUint32(append(b, 0xfe), uint32(n))
}

func sized(b, field []byte) []byte { return append(size(b, len(field)), field...) }

func (d *draft) unsigned() []byte {
	b := binary.LittleEndian.AppendUint32(nil, d.version)
	b = size(b, len(d.inputs))
	for _, in := range d.inputs {
		b = binary.LittleEndian.AppendUint32(append(b, in.id[:]...), in.index)
		b = binary.LittleEndian.AppendUint32(sized(b, in.script), in.sequence)
	}
	b = size(b, len(d.outputs))
	for _, out := range d.outputs {
		b = sized(binary.LittleEndian.AppendUint64(b, out.amount), out.script)
	}
	return append(binary.LittleEndian.AppendUint32(b, d.lockTime), d.trailing...)
}

func appendMap(b []byte, entries []entry) []byte {
	for _, e := range entries {
		b = sized(sized(b, e.key), e.value)
	}
	return append(b, 0)
}

func (d *draft) encode() []byte {
	b := appendMap([]byte("psbt\xff"), append([]entry{{[]byte{0}, d.unsigned()}}, d.global...))
	for _, in := range d.inputs {
		b = appendMap(b, in.entries)
	}
	for _, out := range d.outputs {
		b = appendMap(b, out.entries)
	}
	return append(b, d.after...)
}

func network(name string) entry { return entry{[]byte("\xfc\x08diamante\x00"), []byte(name)} }

// path is a fingerprint and the steps 84'/0'/0'/0/7.
var path = unhex("d90c6a4f" + "54000080" + "00000080" + "00000080" + "00000000" + "07000000")

func derivation(kind byte, key []byte) entry {
	return entry{append([]byte{kind}, key...), path}
}

// previous returns a transaction with two outputs, of which the second has that amount and script.
func previous(amount uint64, script []byte) []byte {
	d := draft{version: 1, inputs: []spend{{id: [32]byte{1, 2, 3}, script: unhex("0151"), sequence: 0xffffffff}},
		outputs: []pay{{amount: 1, script: p2sh(stranger)}, {amount: amount, script: script}}}
	return d.unsigned()
}

// from spends the second output of previous(amount, script) with a key.
func from(amount uint64, script, key []byte, more ...entry) spend {
	tx := previous(amount, script)
	once := sha256.Sum256(tx)
	return spend{id: sha256.Sum256(once[:]), index: 1, sequence: 0xfffffffd,
		entries: append([]entry{{[]byte{0x00}, tx}, derivation(0x06, key)}, more...)}
}

// forkID is the field that Bitcoin Cash must have.
var forkID = entry{[]byte{0x03}, []byte{0x41, 0, 0, 0}}

// example is a transaction on the chain's main network that has one of everything: it spends 1, 0.5 and 0.25 coins, pays
// 0.015 to a stranger, keeps the rest and leaves a fee of 0.0000842.
func example(chain bitcoin.Chain) *draft {
	d := &draft{version: 2, lockTime: 800_000, global: []entry{network("mainnet")}}
	if chain == bitcoin.BitcoinCash {
		d.inputs = []spend{from(1e8, p2pkh(hashes[0]), keys[0], forkID), from(5e7, p2pkh(hashes[1]), keys[1], forkID),
			from(25e6, p2pkh(hashes[0]), keys[0], forkID)}
		for i := range d.inputs {
			d.inputs[i].sequence = 0xfffffffe
		}
		d.outputs = []pay{{amount: 1_500_000, script: p2pkh(stranger)},
			{amount: 173_491_580, script: p2pkh(hashes[1]), entries: []entry{derivation(0x02, keys[1])}}}
	} else {
		d.inputs = []spend{from(1e8, p2wpkh(hashes[0]), keys[0]), from(5e7, nested, keys[2], entry{[]byte{0x04}, redeem}),
			from(25e6, p2pkh(hashes[0]), keys[0], entry{[]byte{0x03}, []byte{1, 0, 0, 0}})}
		d.outputs = []pay{{amount: 1_500_000, script: p2wpkh(stranger)},
			{amount: 173_491_580, script: p2wpkh(hashes[1]), entries: []entry{derivation(0x02, keys[1])}}}
	}
	d.outputs = append(d.outputs, pay{script: unhex("6a026869")})
	return d
}
