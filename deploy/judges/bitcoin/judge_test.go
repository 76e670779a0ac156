package bitcoin_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2/ecdsa"
	"github.com/btcsuite/btcd/psbt/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/diamante/gateway/keymgmt/payload/bitcoin"
)

// output is a previous output.
type output struct {
	amount int64
	script []byte
}

// judge is what a full node's library knows of its chain. Transactions are given in the network's encoding.
type judge interface {
	// digest returns what the key of a p2pkh, p2wpkh or p2sh-p2wpkh input signs. code is the key's p2pkh script.
	digest(t *testing.T, tx []byte, input int, spent output, code []byte) []byte
	// verify runs all inputs' scripts by the rules of the network and of its nodes, and returns the id.
	verify(t *testing.T, tx []byte, spent []output) string
	// address returns how a script is shown.
	address(t *testing.T, network bitcoin.Network, script []byte) string
}

var judges = map[bitcoin.Chain]judge{bitcoin.Bitcoin: btcd{}, bitcoin.Litecoin: ltcd{}, bitcoin.BitcoinCash: bchd{}}

const seed = 20260101

// TestJudged compares everything that the decoder says of random payments with what the judges say, signs, and lets them
// verify the result.
func TestJudged(t *testing.T) {
	for chain, judge := range judges {
		t.Run(chain.String(), func(t *testing.T) {
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, uint64(chain)))
			for range 300 {
				d := newDraft(t, random, chain)
				tx, err := bitcoin.Decode(chain, d.encode(t))
				if err != nil {
					t.Fatal(err)
				}
				compare(t, judge, d, tx)
			}
		})
	}
}

func compare(t *testing.T, judge judge, d *draft, tx *bitcoin.Transaction) {
	if tx.Fee != d.fee || tx.Network != d.network {
		t.Fatalf("fee %d, want %d; network %s", tx.Fee, d.fee, tx.Network)
	}
	var unsigned bytes.Buffer
	if err := d.packet.UnsignedTx.SerializeNoWitness(&unsigned); err != nil {
		t.Fatal(err)
	}
	var spent []output
	var signatures [][]byte
	for i, in := range tx.Inputs {
		out := output{d.spent[i].Value, d.spent[i].PkScript}
		public := d.keys[i].PubKey().SerializeCompressed()
		want := judge.digest(t, unsigned.Bytes(), i, out, p2pkh(hash160(public)))
		if !bytes.Equal(in.Digest[:], want) || in.Amount != out.amount || !bytes.Equal(in.Script, out.script) {
			t.Fatalf("input %d: digest %x, want %x; amount %d, want %d", i, in.Digest, want, in.Amount, out.amount)
		}
		if got, want := in.Address, judge.address(t, tx.Network, out.script); got != want {
			t.Fatalf("input %d: address %s, want %s", i, got, want)
		}
		if len(tx.SignedBy(public)) != 1 {
			t.Fatalf("input %d: the key signs %v", i, tx.SignedBy(public))
		}
		spent = append(spent, out)
		// The first byte has the recovery id.
		signatures = append(signatures, ecdsa.SignCompact(d.keys[i], in.Digest[:], true)[1:])
	}
	for i, out := range tx.Outputs {
		if out.Kind == bitcoin.OpReturn {
			continue
		}
		if want := judge.address(t, tx.Network, d.packet.UnsignedTx.TxOut[i].PkScript); out.Address != want {
			t.Fatalf("output %d: address %s, want %s", i, out.Address, want)
		}
	}
	raw, id, err := tx.Finalize(signatures)
	if err != nil {
		t.Fatal(err)
	}
	if want := judge.verify(t, raw, spent); id.String() != want {
		t.Fatalf("id %s, want %s", id, want)
	}
	var signed wire.MsgTx
	if err := signed.Deserialize(bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
	vsize := int64(3*signed.SerializeSizeStripped()+signed.SerializeSize()+3) / 4
	if tx.VSize < vsize || tx.VSize > vsize+2*int64(len(tx.Inputs)) {
		t.Fatalf("%d vbytes, said to be %d", vsize, tx.VSize)
	}
}

// TestMixedUp: a signature is of its own input and its own transaction.
func TestMixedUp(t *testing.T) {
	random := rand.New(rand.NewPCG(seed, seed))
	for range 50 {
		d := newDraft(t, random, bitcoin.Bitcoin)
		tx, err := bitcoin.Decode(bitcoin.Bitcoin, d.encode(t))
		if err != nil {
			t.Fatal(err)
		}
		seen := map[[32]byte]bool{}
		for _, in := range tx.Inputs {
			if seen[in.Digest] {
				t.Fatal("two inputs have one digest")
			}
			seen[in.Digest] = true
		}
	}
}

// TestStricter: whatever is accepted, btcd's reader of PSBTs accepts too, and finds the same fee and the same encoding
// of the transaction in it.
func TestStricter(t *testing.T) {
	random := rand.New(rand.NewPCG(seed, 7))
	accepted := 0
	for range 400 {
		d := newDraft(t, random, bitcoin.Bitcoin)
		good := d.encode(t)
		for range 50 {
			tampered := bytes.Clone(good)
			for range 1 + random.IntN(2) {
				tampered[random.IntN(len(tampered))] ^= 1 << random.IntN(8)
			}
			tx, err := bitcoin.Decode(bitcoin.Bitcoin, tampered)
			if err != nil {
				continue
			}
			accepted++
			packet, err := psbt.NewFromRawBytes(bytes.NewReader(tampered), false)
			if err != nil {
				t.Fatalf("%x: %v", tampered, err)
			}
			if fee, err := packet.GetTxFee(); err != nil || int64(fee) != tx.Fee {
				t.Fatalf("%x: fee %d, want %d: %v", tampered, tx.Fee, fee, err)
			}
		}
	}
	if accepted < 100 {
		t.Errorf("only %d accepted", accepted)
	}
}
