package bitcoin_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt/payload/bitcoin"
)

var all = []bitcoin.Chain{bitcoin.Bitcoin, bitcoin.Litecoin, bitcoin.BitcoinCash}

func decode(t testing.TB, chain bitcoin.Chain, psbt []byte) *bitcoin.Transaction {
	t.Helper()
	tx, err := bitcoin.Decode(chain, psbt)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

const origin = " (d90c6a4f/84'/0'/0'/0/7)"

func TestWords(t *testing.T) {
	key := func(i int) string { return fmt.Sprintf("key %x%s", keys[i], origin) }
	id := func(tx *bitcoin.Transaction, i int) string { return tx.Inputs[i].Previous.String() }
	tx := decode(t, bitcoin.Bitcoin, example(bitcoin.Bitcoin).encode())
	want := []string{
		"pays 0.01500000 BTC to bc1qqqgjyv6y24n80zye42aueh0wluqpzg3ndy2ehs",
		"pays 1.73491580 BTC to bc1qr583w2swedy2acd7rung055k8t3n7udp7vyzyg, said to be change for " + key(1),
		"publishes data 026869",
		"fee 0.00008420 BTC (21.5 sat/vB)",
		"spends 1.00000000 BTC of output 1 of " + id(tx, 0) + " at bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4, by " + key(0),
		"spends 0.50000000 BTC of output 1 of " + id(tx, 1) + " at 38BW8nqpHSWpkf5sXrQd2xYwvnPJwP59ic, by " + key(2),
		"spends 0.25000000 BTC of output 1 of " + id(tx, 2) + " at 1BgGZ9tcN4rm9KBzDn7KprQz87SZ26SAMH, by " + key(0),
		"not valid before the block after 800000",
		"may be replaced by a transaction of a higher fee",
		"on bitcoin mainnet",
	}
	if got := tx.Words(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := tx.SignedBy(keys[0]); !slices.Equal(got, []int{0, 2}) {
		t.Errorf("first key signs %v", got)
	}
	if tx.SignedBy(nil) != nil || tx.SignedBy(keys[1]) != nil || tx.SignedBy(keys[0][1:]) != nil {
		t.Error("others sign too")
	}

	d := example(bitcoin.BitcoinCash)
	d.lockTime, d.global = 1_600_000_000, []entry{network("testnet")}
	words := strings.Join(decode(t, bitcoin.BitcoinCash, d.encode()).Words(), "\n")
	for _, want := range []string{
		"pays 0.01500000 BCH to bchtest:qqqpzg3ng32kvaugnx4thnxaamlsqyfzxvr4audyf9", "on bitcoin cash testnet", "not valid before 2020-09-13T12:26:40Z",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is not in\n%s", want, words)
		}
	}
	if strings.Contains(words, "replaced") {
		t.Error("nothing is replaced on Bitcoin Cash")
	}
}

// TestFigures has what a policy looks at.
func TestFigures(t *testing.T) {
	for _, chain := range all {
		tx := decode(t, chain, example(chain).encode())
		if tx.Fee != 8420 || tx.Chain != chain || tx.Network != bitcoin.Mainnet || tx.LockTime != 800_000 || tx.Version != 2 {
			t.Errorf("%s: %+v", chain, tx)
		}
		if rate := tx.FeeRate(); rate*tx.VSize < tx.Fee*1000 || (rate-1)*tx.VSize >= tx.Fee*1000 {
			t.Errorf("%s: fee rate %d for %d in %d vbytes", chain, rate, tx.Fee, tx.VSize)
		}
		if tx.Outputs[0].Change != nil || tx.Outputs[1].Change == nil || string(tx.Outputs[1].Change.Public[:]) != string(keys[1]) {
			t.Errorf("%s: change %+v", chain, tx.Outputs)
		}
		if c := tx.Outputs[1].Change; !slices.Equal(c.Path, []uint32{1<<31 + 84, 1 << 31, 1 << 31, 0, 7}) {
			t.Errorf("%s: path %v", chain, c.Path)
		}
		if tx.Inputs[0].Amount != 1e8 || tx.Outputs[2].Kind != bitcoin.OpReturn || tx.Outputs[2].Address != "" {
			t.Errorf("%s: %+v", chain, tx)
		}
		want := byte(0x01)
		if chain == bitcoin.BitcoinCash {
			want = 0x41
		}
		if tx.Inputs[2].HashType != want {
			t.Errorf("%s: hash type %x", chain, tx.Inputs[2].HashType)
		}
	}
}

// TestDigestsOfExamples holds still what the judges (deploy/judges/bitcoin) agree with: the last input's digest is the old
// one on Bitcoin and Litecoin, and commits to the amount on Bitcoin Cash.
func TestDigestsOfExamples(t *testing.T) {
	for chain, want := range map[bitcoin.Chain]string{
		bitcoin.Bitcoin: "a7d63a37a38e3bcd243d4047c6a1e0bb867a1b50bba96a23e4d98abefccbbaa8", bitcoin.Litecoin: "a7d63a37a38e3bcd243d4047c6a1e0bb867a1b50bba96a23e4d98abefccbbaa8", bitcoin.BitcoinCash: "dd7a80fd99c04bf72aa35a0c77fe59199084ee06c9bcde81333e524c11cc020a",
	} {
		if got := fmt.Sprintf("%x", decode(t, chain, example(chain).encode()).Inputs[2].Digest); got != want {
			t.Errorf("%s: %s, want %s", chain, got, want)
		}
	}
}

// TestFinalizeBoth: where one input has a witness, one without says so.
func TestFinalizeBoth(t *testing.T) {
	tx := decode(t, bitcoin.Bitcoin, example(bitcoin.Bitcoin).encode())
	signature := bytes.Repeat([]byte{1}, 64)
	raw, _, err := tx.Finalize([][]byte{signature, signature, signature})
	end := slices.Concat([]byte{33}, keys[2], []byte{0}, unhex("00350c00"))
	if err != nil || !bytes.HasSuffix(raw, end) {
		t.Errorf("%x ends otherwise than in %x: %v", raw, end, err)
	}
	if _, _, err := tx.Finalize([][]byte{signature, signature}); !errors.Is(err, bitcoin.ErrSignature) {
		t.Errorf("two signatures for three inputs: %v", err)
	}
}

// TestKeepsNothingOfTheBody: whoever writes over the body afterwards changes nothing.
func TestKeepsNothingOfTheBody(t *testing.T) {
	psbt := example(bitcoin.Bitcoin).encode()
	tx := decode(t, bitcoin.Bitcoin, psbt)
	script := bytes.Clone(tx.Outputs[0].Script)
	clear(psbt)
	if !bytes.Equal(tx.Outputs[0].Script, script) {
		t.Error("the script is part of the body")
	}
}

// TestFeeLie is CVE-2020-14199: whoever belies an amount, by whatever way, is refused.
func TestFeeLie(t *testing.T) {
	for _, chain := range all {
		for i := range example(chain).inputs {
			d := example(chain)
			lie := d.inputs[i].entries[0].value
			lie[bytes.Index(lie, p2sh(stranger))+len(p2sh(stranger))] ^= 1 // the amount of the second output
			if _, err := bitcoin.Decode(chain, d.encode()); !errors.Is(err, bitcoin.ErrMalformed) {
				t.Errorf("%s: amount of input %d is belied: %v", chain, i, err)
			}
		}
	}
	d := example(bitcoin.Bitcoin)
	d.inputs[0].entries[0] = entry{[]byte{0x01}, sized([]byte{0, 0xe1, 0xf5, 5, 0, 0, 0, 0}, p2wpkh(hashes[0]))}
	if _, err := bitcoin.Decode(bitcoin.Bitcoin, d.encode()); !errors.Is(err, bitcoin.ErrMalformed) {
		t.Errorf("a witness output alone proves no amount: %v", err)
	}
}

// TestLookAlike: a destination that differs in one bit, first or last, is another address in words and another digest.
func TestLookAlike(t *testing.T) {
	for _, chain := range all {
		honest := decode(t, chain, example(chain).encode())
		for _, at := range []int{0, 7, 19} {
			d := example(chain)
			hash := bytes.Clone(stranger)
			hash[at] ^= 1
			d.outputs[0].script = p2pkh(hash)
			fake := decode(t, chain, d.encode())
			if fake.Outputs[0].Address == honest.Outputs[0].Address || fake.Words()[0] == honest.Words()[0] || fake.Inputs[0].Digest == honest.Inputs[0].Digest {
				t.Errorf("%s: byte %d makes no difference", chain, at)
			}
		}
	}
}

// TestNoTwoChains: no PSBT is of Bitcoin Cash and of another chain.
func TestNoTwoChains(t *testing.T) {
	for _, chain := range all {
		for _, other := range all {
			_, err := bitcoin.Decode(other, example(chain).encode())
			if cash := chain == bitcoin.BitcoinCash; cash != (other == bitcoin.BitcoinCash) && err == nil {
				t.Errorf("a PSBT of %s is one of %s", chain, other)
			}
		}
	}
}

// effects is everything that a decoded transaction says.
func effects(tx *bitcoin.Transaction) string {
	var b strings.Builder
	for _, w := range tx.Words() {
		fmt.Fprintln(&b, w)
	}
	for _, in := range tx.Inputs {
		fmt.Fprintf(&b, "%x\n", in.Digest)
	}
	return b.String()
}

// TestTampering changes each byte of a PSBT in some way: it is refused, or says something else.
func TestTampering(t *testing.T) {
	const seed = 1
	random := rand.New(rand.NewPCG(seed, seed))
	for _, chain := range all {
		psbt := example(chain).encode()
		honest := effects(decode(t, chain, psbt))
		for i := range psbt {
			for _, b := range []byte{psbt[i] ^ 1<<random.IntN(8), psbt[i] + 1, byte(random.Uint32())} {
				if b == psbt[i] {
					continue
				}
				tampered := bytes.Clone(psbt)
				tampered[i] = b
				tx, err := bitcoin.Decode(chain, tampered)
				if err == nil && effects(tx) == honest || err != nil && !errors.Is(err, bitcoin.ErrMalformed) {
					t.Errorf("%s, seed %d: byte %d, %02x for %02x: %v", chain, seed, i, b, psbt[i], err)
				}
			}
			if _, err := bitcoin.Decode(chain, psbt[:i]); err == nil {
				t.Errorf("%s: %d bytes of %d are accepted", chain, i, len(psbt))
			}
		}
	}
}
