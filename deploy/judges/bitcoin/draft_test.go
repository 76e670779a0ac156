// Package bitcoin_test lets the libraries of three full nodes (btcd, ltcd, bchd) judge the decoder of PSBTs. They build
// random payments, compute the digests and addresses their own way, and run the signed transactions through their
// script engines. They live in a module of their own, so that no program of ours ever links them.
package bitcoin_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/psbt/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/diamante/gateway/keymgmt/payload/bitcoin"
)

var networkNames = []string{bitcoin.Mainnet: "mainnet", bitcoin.Testnet: "testnet", bitcoin.Regtest: "regtest"}

// draft is a random payment, with what the decoder is to find out about it.
type draft struct {
	chain   bitcoin.Chain
	network bitcoin.Network
	packet  *psbt.Packet
	keys    []*btcec.PrivateKey
	spent   []*wire.TxOut
	fee     int64
}

func randomBytes(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

func p2pkh(hash []byte) []byte { return append(append([]byte{0x76, 0xa9, 0x14}, hash...), 0x88, 0xac) }
func p2sh(hash []byte) []byte  { return append(append([]byte{0xa9, 0x14}, hash...), 0x87) }
func witness(version byte, program []byte) []byte {
	return append([]byte{version, byte(len(program))}, program...)
}

// owned returns a script that the key can spend, of a random form, and the redeem script if it has one.
func owned(random *rand.Rand, chain bitcoin.Chain, public []byte) (script, redeem []byte) {
	hash := address.Hash160(public)
	form := random.IntN(3)
	if chain == bitcoin.BitcoinCash {
		form = 0
	}
	switch form {
	case 0:
		return p2pkh(hash), nil
	case 1:
		return witness(0, hash), nil
	}
	redeem = witness(0, hash)
	return p2sh(address.Hash160(redeem)), redeem
}

// foreign returns a script of a random form.
func foreign(random *rand.Rand, chain bitcoin.Chain) []byte {
	form := random.IntN(5)
	if chain == bitcoin.BitcoinCash {
		form %= 2
	}
	switch form {
	case 0:
		return p2pkh(randomBytes(random, 20))
	case 1:
		return p2sh(randomBytes(random, 20))
	case 2:
		return witness(0, randomBytes(random, 20))
	case 3:
		return witness(0, randomBytes(random, 32))
	}
	return witness(txscript.OP_1, randomBytes(random, 32))
}

// previous returns a transaction in which the output of that index is out, among others.
func previous(random *rand.Rand, chain bitcoin.Chain, index int, out *wire.TxOut) *wire.MsgTx {
	tx := wire.NewMsgTx(int32(random.Uint32()))
	for range 1 + random.IntN(3) {
		in := wire.NewTxIn(&wire.OutPoint{Hash: [32]byte(randomBytes(random, 32)), Index: random.Uint32()}, randomBytes(random, random.IntN(300)), nil)
		in.Sequence = random.Uint32()
		tx.AddTxIn(in)
	}
	for i := range index + 1 + random.IntN(3) {
		if i == index {
			tx.AddTxOut(out)
		} else {
			tx.AddTxOut(wire.NewTxOut(random.Int64N(1e12), foreign(random, chain)))
		}
	}
	tx.LockTime = random.Uint32()
	return tx
}

func newDraft(t *testing.T, random *rand.Rand, chain bitcoin.Chain) *draft {
	d := &draft{chain: chain, network: 1 + bitcoin.Network(random.IntN(3))}
	sequences := []uint32{0xfffffffe, 0xffffffff, 0xfffffffd}
	if chain == bitcoin.BitcoinCash {
		sequences = sequences[:2]
	}
	tx, inputs := wire.NewMsgTx(1+random.Int32N(2)), make([]psbt.PInput, 1+random.IntN(6))
	left := int64(0)
	for i := range inputs {
		key, public := btcec.PrivKeyFromBytes(randomBytes(random, 32))
		script, redeem := owned(random, chain, public.SerializeCompressed())
		index, out := random.IntN(4), wire.NewTxOut(1e6+random.Int64N(1e11), script)
		before := previous(random, chain, index, out)
		id := before.TxHash()
		in := wire.NewTxIn(wire.NewOutPoint(&id, uint32(index)), nil, nil)
		in.Sequence = sequences[random.IntN(len(sequences))]
		tx.AddTxIn(in)
		inputs[i] = psbt.PInput{NonWitnessUtxo: before, RedeemScript: redeem, Bip32Derivation: derivation(random, public.SerializeCompressed())}
		if chain == bitcoin.BitcoinCash {
			inputs[i].SighashType = 0x41
		} else if random.IntN(2) == 0 {
			inputs[i].SighashType = txscript.SigHashAll
		}
		if script[0] != txscript.OP_DUP && random.IntN(2) == 0 {
			inputs[i].WitnessUtxo = out
		}
		if in.Sequence != 0xffffffff {
			tx.LockTime = random.Uint32()
		}
		d.keys, d.spent, left = append(d.keys, key), append(d.spent, out), left+out.Value
	}
	outputs := make([]psbt.POutput, 1+random.IntN(6))
	for i := range outputs {
		script := foreign(random, chain)
		if random.IntN(3) == 0 {
			public := d.keys[random.IntN(len(d.keys))].PubKey().SerializeCompressed()
			script, _ = owned(random, chain, public)
			outputs[i].Bip32Derivation = derivation(random, public)
		}
		amount := 5460 + random.Int64N(left/int64(len(outputs))-5460)
		tx.AddTxOut(wire.NewTxOut(amount, script))
		left -= amount
	}
	if random.IntN(4) == 0 {
		tx.AddTxOut(wire.NewTxOut(0, append([]byte{txscript.OP_RETURN}, randomBytes(random, 1+random.IntN(82))...)))
		outputs = append(outputs, psbt.POutput{})
	}
	d.fee = left
	packet, err := psbt.NewFromUnsignedTx(tx)
	if err != nil {
		t.Fatal(err)
	}
	packet.Inputs, packet.Outputs = inputs, outputs
	packet.Unknowns = []*psbt.Unknown{{Key: []byte("\xfc\x08diamante\x00"), Value: []byte(networkNames[d.network])}}
	d.packet = packet
	return d
}

func derivation(random *rand.Rand, public []byte) []*psbt.Bip32Derivation {
	d := &psbt.Bip32Derivation{PubKey: public, MasterKeyFingerprint: random.Uint32()}
	for range random.IntN(6) {
		d.Bip32Path = append(d.Bip32Path, random.Uint32())
	}
	return []*psbt.Bip32Derivation{d}
}

func (d *draft) encode(t *testing.T) []byte {
	var b bytes.Buffer
	if err := d.packet.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
