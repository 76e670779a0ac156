package payload_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	//lint:ignore SA1019 Bitcoin names keys by this hash
	"golang.org/x/crypto/ripemd160"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/payload/ethereum"
)

// Compressed public keys, of which the decoders need no more than that they are points.
var (
	ownKey   = secp256k1Key(2, 0x79be667ef9dcbbac, 0x55a06295ce870b07, 0x029bfcdb2dce28d9, 0x59f2815b16f81798)
	otherKey = secp256k1Key(2, 0x5476c2e83188368d, 0xa1ff3e292e7acafc, 0xdb3566bb0ad253f6, 0x2fc70f07aeee6357)
)

func secp256k1Key(sign byte, words ...uint64) keymgmt.PublicKey {
	b := []byte{sign}
	for _, w := range words {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return must(keymgmt.NewPublicKey(keymgmt.Secp256k1, b))
}

// script is the p2pkh script of a key.
func script(k keymgmt.PublicKey) []byte {
	once := sha256.Sum256(k.Bytes())
	h := ripemd160.New()
	h.Write(once[:])
	return slices.Concat([]byte{0x76, 0xa9, 0x14}, h.Sum(nil), []byte{0x88, 0xac})
}

// spending is a version 2 transaction without signatures.
func spending(inputs [][]byte, amounts []uint64, scripts ...[]byte) []byte {
	b := append([]byte{2, 0, 0, 0}, byte(len(inputs)))
	for _, outpoint := range inputs {
		b = append(append(append(b, outpoint...), 0), 0xff, 0xff, 0xff, 0xff)
	}
	b = append(b, byte(len(amounts)))
	for i, n := range amounts {
		b = append(append(binary.LittleEndian.AppendUint64(b, n), byte(len(scripts[i]))), scripts[i]...)
	}
	return append(b, 0, 0, 0, 0)
}

// psbt spends two outputs of ownKey's and one of otherKey's, in the form that all three chains take but for the hash type.
func psbt(hashType byte) []byte {
	entry := func(b []byte, key string, value []byte) []byte {
		b = append(append(b, byte(len(key))), key...)
		return append(append(b, byte(len(value))), value...)
	}
	owners := []keymgmt.PublicKey{ownKey, otherKey, ownKey}
	var outpoints [][]byte
	var maps []byte
	for i, k := range owners {
		previous := spending([][]byte{bytes.Repeat([]byte{byte(i + 1)}, 36)}, []uint64{100_000}, script(k))
		once := sha256.Sum256(previous)
		id := sha256.Sum256(once[:])
		outpoints = append(outpoints, append(id[:], 0, 0, 0, 0))
		maps = entry(maps, "\x00", previous)
		maps = entry(maps, "\x03", []byte{hashType, 0, 0, 0})
		maps = append(entry(maps, "\x06"+string(k.Bytes()), []byte{1, 2, 3, 4}), 0)
	}
	tx := spending(outpoints, []uint64{290_000}, script(otherKey))
	b := entry([]byte("psbt\xff"), "\x00", tx)
	b = append(entry(b, "\xfc\x08diamante\x00", []byte("regtest")), 0)
	return append(append(b, maps...), 0)
}

const allInputs, allInputsForked = 0x01, 0x41

func TestCoinsOfBitcoin(t *testing.T) {
	for kind, test := range map[keymgmt.Kind]struct {
		hashType byte
		code     string
	}{keymgmt.KindBitcoin: {allInputs, "BTC"}, keymgmt.KindLitecoin: {allInputs, "LTC"}, keymgmt.KindBitcoinCash: {allInputsForked, "BCH"}} {
		body := psbt(test.hashType)
		m, err := payload.Decode(kind, body)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		tx := m.Bitcoin
		own, others := m.Messages(ownKey), m.Messages(otherKey)
		switch {
		case tx == nil || tx.Fee != 10_000 || !strings.Contains(m.Words()[0], "pays 0.00290000 "+test.code+" to "):
			t.Errorf("%s: %+v, %q", kind, tx, m.Words())
		case len(own) != 2 || !bytes.Equal(own[0], tx.Inputs[0].Digest[:]) || !bytes.Equal(own[1], tx.Inputs[2].Digest[:]) || bytes.Equal(own[0], own[1]):
			t.Errorf("%s: %x for the first key", kind, own)
		case len(others) != 1 || !bytes.Equal(others[0], tx.Inputs[1].Digest[:]):
			t.Errorf("%s: %x for the second key", kind, others)
		}
		own[0][0] ^= 1 // the caller's own
		if bytes.Equal(m.Messages(ownKey)[0], own[0]) {
			t.Errorf("%s: a caller can change a message", kind)
		}
		stranger := secp256k1Key(3, 0x79be667ef9dcbbac, 0x55a06295ce870b07, 0x029bfcdb2dce28d9, 0x59f2815b16f81798)
		twin := must(keymgmt.NewPublicKey(keymgmt.P256, ownKey.Bytes()))
		for name, k := range map[string]keymgmt.PublicKey{"the same bytes": twin, "stranger": stranger, "Ed25519": anyKey, "P-256": p256Key, "none": {}} {
			if len(m.Messages(k)) != 0 {
				t.Errorf("%s: something to sign for a key of %s", kind, name)
			}
		}
		everyBitCounts(t, kind, body, 0, ownKey)
		for name, bad := range map[string][]byte{"noise": []byte("noise"), "bytes after": append(bytes.Clone(body), 0), "cut short": body[:len(body)-1],
			"hash type of the other chain": psbt(test.hashType ^ 0x40), "single": psbt(test.hashType + 2)} {
			if m, err := payload.Decode(kind, bad); !errors.Is(err, keymgmt.ErrMalformed) || m.Kind() != 0 {
				t.Errorf("%s, %s: %v", kind, name, err)
			}
		}
	}
}

func ether(t testing.TB) []byte {
	t.Helper()
	to := must(ethereum.ParseAddress("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"))
	return must(ethereum.Encode(ethereum.Transaction{Type: ethereum.DynamicFee, ChainID: big.NewInt(1), Nonce: 7, MaxFee: big.NewInt(30e9),
		MaxPriority: big.NewInt(1e9), Gas: 21000, To: &to, Value: big.NewInt(3e18)}))
}

func TestCoinsOfEthereum(t *testing.T) {
	body := ether(t)
	m, err := payload.Decode(keymgmt.KindEthereum, body)
	if err != nil {
		t.Fatal(err)
	}
	digest := ethereum.Keccak256(body)
	if m.Ethereum == nil || m.Words()[0] != "sends 3 ETH to 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed" || m.Ethereum.Nonce != 7 {
		t.Errorf("%+v, %q", m.Ethereum, m.Words())
	}
	for _, k := range []keymgmt.PublicKey{ownKey, otherKey} {
		if got := m.Messages(k); len(got) != 1 || !bytes.Equal(got[0], digest[:]) {
			t.Errorf("%x for %s", got, k)
		}
	}
	m.Messages(ownKey)[0][0] ^= 1 // the caller's own
	if !bytes.Equal(m.Messages(ownKey)[0], digest[:]) {
		t.Error("a caller can change a message")
	}
	for _, k := range []keymgmt.PublicKey{anyKey, p256Key, {}} {
		if len(m.Messages(k)) != 0 {
			t.Errorf("something to sign for %s", k)
		}
	}
	everyBitCounts(t, keymgmt.KindEthereum, body, 0, ownKey)
	for name, bad := range map[string][]byte{"noise": []byte("noise"), "bytes after": append(bytes.Clone(body), 0), "cut short": body[:len(body)-1]} {
		if m, err := payload.Decode(keymgmt.KindEthereum, bad); !errors.Is(err, keymgmt.ErrMalformed) || m.Kind() != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
