package bitcoin_test

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt/payload/bitcoin"
)

// refused has what no chain accepts: how the example is spoilt, and a part of the reason that is given.
var refused = []struct {
	name, reason string
	spoil        func(*draft)
}{
	{"no network", "name of the network", func(d *draft) { d.global = nil }},
	{"unknown network", "name of the network", func(d *draft) { d.global = []entry{network("signet")} }},
	{"empty network", "name of the network", func(d *draft) { d.global = []entry{network("")} }},
	{"network twice", "twice", func(d *draft) { d.global = append(d.global, network("testnet")) }},
	{"another's field", "global field fc", func(d *draft) { d.global[0].key = []byte("\xfc\x08diamonds\x00") }},
	{"another subtype", "global field fc", func(d *draft) { d.global[0].key = []byte("\xfc\x08diamante\x01") }},
	{"key data after the subtype", "global field fc", func(d *draft) { d.global[0].key = []byte("\xfc\x08diamante\x00x") }},
	{"version 2", "version 2", func(d *draft) { d.global = append(d.global, entry{[]byte{0xfb}, []byte{2, 0, 0, 0}}) }},
	{"fields of version 2", "version 2", func(d *draft) { d.global = append(d.global, entry{[]byte{0x02}, []byte{2, 0, 0, 0}}) }},
	{"version 0 said", "does not say so", func(d *draft) { d.global = append(d.global, entry{[]byte{0xfb}, []byte{0, 0, 0, 0}}) }},
	{"extended key", "global field 01", func(d *draft) { d.global = append(d.global, entry{append([]byte{1}, make([]byte, 78)...), path}) }},
	{"two unsigned transactions", "twice", func(d *draft) { d.global = append(d.global, entry{[]byte{0}, d.unsigned()}) }},
	{"long type", "shortest form", func(d *draft) { d.global = append(d.global, entry{[]byte{0xfd, 1, 0}, nil}) }},
	{"cut type", "should be", func(d *draft) { d.global = append(d.global, entry{[]byte{0xfd, 1}, nil}) }},
	{"bytes after the end", "follow the end", func(d *draft) { d.after = []byte{0} }},
	{"too large", "at most", func(d *draft) { d.after = make([]byte, bitcoin.MaxSize) }},

	{"bytes after the transaction", "1 bytes follow", func(d *draft) { d.trailing = []byte{0} }},
	{"transaction version 0", "version 0", func(d *draft) { d.version = 0 }},
	{"transaction version 3", "version 3", func(d *draft) { d.version = 3 }},
	{"no inputs", "without inputs", func(d *draft) { d.inputs = nil }},
	{"no outputs", "without outputs", func(d *draft) { d.outputs = nil }},
	{"signed already", "script already", func(d *draft) { d.inputs[1].script = []byte{0} }},
	{"spent twice", "spent twice", func(d *draft) { d.inputs = append(d.inputs, d.inputs[0]) }},
	{"relative lock", "sequence number 0000000a", func(d *draft) { d.inputs[0].sequence = 10 }},
	{"sequence of no meaning", "sequence number fffffffc", func(d *draft) { d.inputs[0].sequence = 0xfffffffc }},
	{"lock time not in force", "in force", func(d *draft) {
		for i := range d.inputs {
			d.inputs[i].sequence = 0xffffffff
		}
	}},
	{"too many inputs", "at most", func(d *draft) {
		d.inputs = nil
		for i := range uint32(bitcoin.MaxInputs + 1) {
			d.inputs = append(d.inputs, spend{index: i, sequence: 0xfffffffe})
		}
	}},
	{"too many outputs", "at most", func(d *draft) { d.outputs = slices.Repeat(d.outputs[:1], bitcoin.MaxOutputs+1) }},

	{"no previous transaction", "whole previous", func(d *draft) { d.inputs[0].entries = d.inputs[0].entries[1:] }},
	{"another previous transaction", "previous transaction is not", func(d *draft) { d.inputs[0].entries[0] = d.inputs[1].entries[0] }},
	{"no such output", "has no output 2", func(d *draft) { d.inputs[0].index = 2 }},
	{"no such output by far", "has no output", func(d *draft) { d.inputs[0].index = 0xffffffff }},
	{"no key", "key that signs", func(d *draft) { d.inputs[0].entries = slices.Delete(d.inputs[0].entries, 1, 2) }},
	{"two keys", "input field 06", func(d *draft) { d.inputs[0].entries = append(d.inputs[0].entries, derivation(6, keys[1])) }},
	{"key twice", "twice", func(d *draft) { d.inputs[0].entries = append(d.inputs[0].entries, derivation(6, keys[0])) }},
	{"uncompressed key", "no compressed public key", func(d *draft) {
		d.inputs[0].entries[1] = derivation(6, append([]byte{4}, make([]byte, 64)...))
	}},
	{"key of a strange kind", "no compressed public key", func(d *draft) { d.inputs[0].entries[1].key[1] = 4 }},
	{"no fingerprint", "fingerprint", func(d *draft) { d.inputs[0].entries[1].value = path[:3] }},
	{"half a step", "fingerprint", func(d *draft) { d.inputs[0].entries[1].value = path[:6] }},
	{"long path", "fingerprint", func(d *draft) { d.inputs[0].entries[1].value = make([]byte, 4+4*bitcoin.MaxPath+4) }},
	{"redeem script for nothing", "redeem script", func(d *draft) {
		d.inputs[2].entries = append(d.inputs[2].entries, entry{[]byte{4}, redeem})
	}},
	{"empty redeem script", "redeem script", func(d *draft) {
		d.inputs[2].entries = append(d.inputs[2].entries, entry{[]byte{4}, nil})
	}},
	{"witness script", "input field 05", func(d *draft) {
		d.inputs[0].entries = append(d.inputs[0].entries, entry{[]byte{5}, []byte{0x51}})
	}},
	{"partial signature", "input field 02", func(d *draft) {
		d.inputs[0].entries = append(d.inputs[0].entries, entry{append([]byte{2}, keys[0]...), []byte{0x30}})
	}},
	{"final script", "input field 07", func(d *draft) { d.inputs[0].entries = append(d.inputs[0].entries, entry{[]byte{7}, []byte{0}}) }},
	{"hash type with key data", "input field 03", func(d *draft) {
		d.inputs[0].entries = append(d.inputs[0].entries, entry{[]byte{3, 0}, []byte{1, 0, 0, 0}})
	}},
	{"many fields", "more than 16", func(d *draft) {
		for i := range byte(16) {
			d.inputs[0].entries = append(d.inputs[0].entries, entry{[]byte{0xe0 + i}, nil})
		}
	}},
	{"witness output of a legacy input", "witness previous output", func(d *draft) {
		d.inputs[2].entries = append(d.inputs[2].entries, entry{[]byte{1}, sized(unhex("40787d0100000000"), p2pkh(hashes[0]))})
	}},

	{"all the money and more", "exceed", func(d *draft) { d.outputs[1].amount += 8421 }},
	{"more than there is", "more than there is", func(d *draft) { d.outputs[0].amount = 84e14 + 1 }},
	{"negative", "more than there is", func(d *draft) { d.outputs[0].amount = 1<<64 - 1 }},
	{"dust", "dust", func(d *draft) { d.outputs[0].amount = 293 }},
	{"destroyed", "destroys", func(d *draft) { d.outputs[2].amount = 1 }},
	{"data as change", "is change", func(d *draft) { d.outputs[2].entries = []entry{derivation(2, keys[1])} }},
	{"data twice", "outputs of data", func(d *draft) { d.outputs = append(d.outputs, d.outputs[2]) }},
	{"long data", "no form", func(d *draft) { d.outputs[2].script = append([]byte{0x6a}, make([]byte, bitcoin.MaxData)...) }},
	{"no data", "no form", func(d *draft) { d.outputs[2].script = []byte{0x6a} }},
	{"no script", "no form", func(d *draft) { d.outputs[0].script = nil }},
	{"pay to public key", "no form", func(d *draft) { d.outputs[0].script = slices.Concat([]byte{33}, keys[0], []byte{0xac}) }},
	{"extension block", "no form", func(d *draft) { d.outputs[0].script = append([]byte{0x59, 0x20}, wide...) }},
	{"extension block of old", "no form", func(d *draft) { d.outputs[0].script = append([]byte{0x58, 0x20}, wide...) }},
	{"long witness", "no form", func(d *draft) { d.outputs[0].script = append([]byte{0x51, 0x28}, make([]byte, 40)...) }},
	{"token", "no form", func(d *draft) {
		d.outputs[0].script = slices.Concat([]byte{0xef}, wide, []byte{0x10, 1}, p2pkh(stranger))
	}},
	{"head without tail", "no form", func(d *draft) { d.outputs[0].script = append(p2pkh(stranger)[:24], 0xad) }},
	{"tail without head", "no form", func(d *draft) { d.outputs[0].script[0] ^= 0x20 }},
	{"script goes on", "no form", func(d *draft) { d.outputs[0].script = append(d.outputs[0].script, 0x61) }},
	{"two keys of change", "output field 02", func(d *draft) {
		d.outputs[1].entries = append(d.outputs[1].entries, derivation(2, keys[0]))
	}},
	{"redeem script of change", "output field 00", func(d *draft) {
		d.outputs[1].entries = append(d.outputs[1].entries, entry{[]byte{0}, redeem})
	}},
	{"change to data's key", "no compressed public key", func(d *draft) { d.outputs[1].entries[0].key = []byte{2} }},
	{"unknown output field", "output field 07", func(d *draft) { d.outputs[0].entries = []entry{{[]byte{7}, nil}} }},
}

func TestRefused(t *testing.T) {
	for _, chain := range all {
		for _, v := range refused {
			d := example(chain)
			v.spoil(d)
			tx, err := bitcoin.Decode(chain, d.encode())
			if !errors.Is(err, bitcoin.ErrMalformed) || !strings.Contains(err.Error(), v.reason) || tx != nil {
				t.Errorf("%s, %s: %v with %v, want %q", chain, v.name, err, tx, v.reason)
			}
		}
	}
	for _, chain := range []bitcoin.Chain{0, 4} {
		if _, err := bitcoin.Decode(chain, example(bitcoin.Bitcoin).encode()); !errors.Is(err, bitcoin.ErrMalformed) {
			t.Errorf("%s: %v", chain, err)
		}
	}
}

// spends changes the example's first input.
func spends(script, key []byte, more ...entry) func(*draft) {
	return func(d *draft) {
		sequence := d.inputs[0].sequence
		d.inputs[0] = from(1e8, script, key, more...)
		d.inputs[0].sequence = sequence
	}
}

// TestRefusedByChain has what depends on the chain.
func TestRefusedByChain(t *testing.T) {
	btc, ltc, bch := bitcoin.Bitcoin, bitcoin.Litecoin, bitcoin.BitcoinCash
	for _, v := range []struct {
		name, reason string
		chain        bitcoin.Chain
		spoil        func(*draft)
	}{
		{"dust of ten times the size", "dust: under 2940", ltc, func(d *draft) { d.outputs[0].amount = 2939 }},
		{"dust of p2pkh", "dust: under 546", btc, func(d *draft) { d.outputs[0] = pay{amount: 545, script: p2pkh(stranger)} }},
		{"dust of p2sh", "dust: under 540", bch, func(d *draft) { d.outputs[0] = pay{amount: 539, script: p2sh(stranger)} }},
		{"dust of p2tr", "dust: under 330", btc, func(d *draft) { d.outputs[0] = pay{amount: 329, script: p2tr(wide)} }},
		{"more than 21 million", "more than there is", btc, func(d *draft) { d.outputs[0].amount = 21e14 + 1 }},
		{"more than 21 million of inputs", "more than there is", btc, func(d *draft) {
			d.inputs[0] = from(21e14+1, p2wpkh(hashes[0]), keys[0])
		}},
		{"more than 21 million together", "more than there is", btc, func(d *draft) {
			d.inputs[0] = from(21e14, p2wpkh(hashes[0]), keys[0])
			d.outputs[0].amount = 21e14
		}},
		{"another key", "is not the one of p2wpkh", btc, spends(p2wpkh(hashes[0]), keys[1])},
		{"another key of p2pkh", "is not the one of p2pkh", bch, spends(p2pkh(hashes[0]), keys[1], forkID)},
		{"another key within p2sh", "redeem script", btc, spends(nested, keys[0], entry{[]byte{4}, redeem})},
		{"another redeem script", "is not the one of p2sh", ltc, spends(nested, keys[0], entry{[]byte{4}, p2wpkh(hashes[0])})},
		{"a stranger's output as change", "is not the one of p2wpkh", btc, func(d *draft) { d.outputs[0].entries = d.outputs[1].entries }},
		{"a stranger's p2sh as change", "is not the one of p2sh", btc, func(d *draft) {
			d.outputs[1] = pay{amount: 1000, script: p2sh(stranger), entries: []entry{derivation(2, keys[2])}}
		}},
		{"taproot as change", "not signed on bitcoin", btc, func(d *draft) {
			d.outputs[1] = pay{amount: 1000, script: p2tr(wide), entries: []entry{derivation(2, keys[2])}}
		}},
		{"multisignature", "redeem script", btc, spends(nested, keys[2], entry{[]byte{4}, unhex("51210279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f8179851ae")})},
		{"p2sh without redeem script", "redeem script", btc, spends(nested, keys[2])},
		{"p2wsh within p2sh", "redeem script", btc, spends(nested, keys[2], entry{[]byte{4}, p2wsh(wide)})},
		{"p2wsh", "not signed on bitcoin", btc, spends(p2wsh(wide), keys[0])},
		{"taproot", "not signed on litecoin", ltc, spends(p2tr(wide), keys[0])},
		{"data is spent", "not signed on bitcoin", btc, spends(unhex("6a026869"), keys[0])},
		{"other witness output", "witness previous output", btc, spends(p2wpkh(hashes[0]), keys[0],
			entry{[]byte{1}, sized(unhex("01e1f50500000000"), p2wpkh(hashes[0]))})},
		{"hash type of Bitcoin Cash", "hash type of bitcoin is 01", btc, spends(p2wpkh(hashes[0]), keys[0], forkID)},
		{"signs no outputs", "hash type", btc, spends(p2wpkh(hashes[0]), keys[0], entry{[]byte{3}, []byte{2, 0, 0, 0}})},
		{"signs one input", "hash type", ltc, spends(p2wpkh(hashes[0]), keys[0], entry{[]byte{3}, []byte{0x81, 0, 0, 0}})},
		{"hash type with a fork's number", "hash type", bch, spends(p2pkh(hashes[0]), keys[0], entry{[]byte{3}, []byte{0x41, 1, 0, 0}})},
		{"hash type goes on", "hash type", btc, spends(p2wpkh(hashes[0]), keys[0], entry{[]byte{3}, []byte{1, 0, 0, 0, 0}})},
		{"hash type cut", "hash type", btc, spends(p2wpkh(hashes[0]), keys[0], entry{[]byte{3}, []byte{1}})},
		{"no hash type", "hash type of bitcoin cash is 41", bch, func(d *draft) { d.inputs[0].entries = d.inputs[0].entries[:2] }},
		{"hash type of Bitcoin", "hash type of bitcoin cash is 41", bch, func(d *draft) { d.inputs[0].entries[2].value = []byte{1, 0, 0, 0} }},
		{"witness on Bitcoin Cash", "no form", bch, spends(p2wpkh(hashes[0]), keys[0], forkID)},
		{"witness is paid on Bitcoin Cash", "no form", bch, func(d *draft) { d.outputs[0].script = p2wpkh(stranger) }},
		{"p2sh on Bitcoin Cash", "not signed on bitcoin cash", bch, spends(nested, keys[2], entry{[]byte{4}, redeem}, forkID)},
		{"p2sh as change on Bitcoin Cash", "on bitcoin cash", bch, func(d *draft) {
			d.outputs[1] = pay{amount: 1e8, script: nested, entries: []entry{derivation(2, keys[2])}}
		}},
		{"token is spent", "no form", bch, spends(slices.Concat([]byte{0xef}, wide, []byte{0x10, 1}, p2pkh(hashes[0])), keys[0], forkID)},
		{"replaceable on Bitcoin Cash", "sequence number fffffffd", bch, func(d *draft) { d.inputs[0].sequence = 0xfffffffd }},
	} {
		d := example(v.chain)
		v.spoil(d)
		_, err := bitcoin.Decode(v.chain, d.encode())
		if !errors.Is(err, bitcoin.ErrMalformed) || !strings.Contains(err.Error(), v.reason) {
			t.Errorf("%s, %s: %v, want %q", v.chain, v.name, err, v.reason)
		}
	}
}

// TestAccepted has what could be thought to be refused.
func TestAccepted(t *testing.T) {
	for name, change := range map[string]func(*draft){
		"no lock time": func(d *draft) { d.lockTime = 0 },
		"version 1":    func(d *draft) { d.version = 1 },
		"witness output that is true": func(d *draft) {
			d.inputs[0].entries = append(d.inputs[0].entries, entry{[]byte{1}, sized(unhex("00e1f50500000000"), p2wpkh(hashes[0]))})
		},
		"key that was not derived": func(d *draft) { d.inputs[0].entries[1].value = make([]byte, 4) },
		"no change":                func(d *draft) { d.outputs = d.outputs[:1] },
		"no fee":                   func(d *draft) { d.outputs[1].amount += 8420 },
		"least amount":             func(d *draft) { d.outputs[0].amount = 294 },
		"fields in another order":  func(d *draft) { slices.Reverse(d.inputs[1].entries) },
		"all other forms": func(d *draft) {
			d.outputs = append(d.outputs[1:], pay{amount: 400, script: p2wsh(wide)}, pay{amount: 400, script: p2tr(wide)}, pay{amount: 600, script: p2sh(stranger)})
		},
		"change within p2sh": func(d *draft) {
			d.outputs[1] = pay{amount: 1000, script: nested, entries: []entry{derivation(2, keys[2])}}
		},
	} {
		d := example(bitcoin.Bitcoin)
		change(d)
		if _, err := bitcoin.Decode(bitcoin.Bitcoin, d.encode()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	most := example(bitcoin.Litecoin)
	most.inputs = []spend{from(84e14, p2wpkh(hashes[0]), keys[0])}
	most.outputs = most.outputs[:1]
	if tx := decode(t, bitcoin.Litecoin, most.encode()); tx.FeeRate() <= 0 {
		t.Errorf("fee %d makes a rate of %d", tx.Fee, tx.FeeRate())
	}
}

// TestBIP174 has the PSBTs of BIP-174, with the name of the network put in where a PSBT begins as one does. All are
// refused: those that the BIP calls valid because of what is stricter here.
func TestBIP174(t *testing.T) {
	f, err := os.Open("testdata/bip174.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<16)
	count := 0
	for lines.Scan() {
		reason, encoded, ok := strings.Cut(lines.Text(), "\t")
		if !ok {
			continue
		}
		psbt := unhex(encoded)
		named := appendMap([]byte("psbt\xff"), []entry{network("mainnet")})
		if rest, ok := bytes.CutPrefix(psbt, []byte("psbt\xff")); ok {
			psbt = append(named[:len(named)-1], rest...)
		}
		_, err := bitcoin.Decode(bitcoin.Bitcoin, psbt)
		if !errors.Is(err, bitcoin.ErrMalformed) || !strings.Contains(err.Error(), reason) {
			t.Errorf("%v, want %q", err, reason)
		}
		count++
	}
	if lines.Err() != nil || count < 20 {
		t.Errorf("%d vectors: %v", count, lines.Err())
	}
}
