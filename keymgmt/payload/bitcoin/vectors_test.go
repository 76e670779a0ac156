package bitcoin

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// TestAddresses has the vectors of BIP-173 and BIP-350 of forms that are understood, those of the cashaddr
// specification, and well-known addresses of base58.
func TestAddresses(t *testing.T) {
	for _, v := range []struct {
		chain   Chain
		network Network
		script  string
		want    string
	}{
		{Bitcoin, Mainnet, "0014751e76e8199196d454941c45d1b3a323f1433bd6", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"},
		{Bitcoin, Testnet, "0014751e76e8199196d454941c45d1b3a323f1433bd6", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx"},
		{Bitcoin, Mainnet, "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262", "bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3"},
		{Bitcoin, Testnet, "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262", "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7"},
		{Bitcoin, Testnet, "0020000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433", "tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy"},
		{Bitcoin, Testnet, "5120000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433", "tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c"},
		{Bitcoin, Mainnet, "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"},
		{Bitcoin, Mainnet, "76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"},
		{Bitcoin, Mainnet, "76a914000000000000000000000000000000000000000088ac", "1111111111111111111114oLvT2"},
		{Litecoin, Mainnet, "0014751e76e8199196d454941c45d1b3a323f1433bd6", "ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9"},
		{BitcoinCash, Mainnet, "76a914f5bf48b397dae70be82b3cca4793f8eb2b6cdac988ac", "bitcoincash:qr6m7j9njldwwzlg9v7v53unlr4jkmx6eylep8ekg2"},
		{BitcoinCash, Testnet, "a914f5bf48b397dae70be82b3cca4793f8eb2b6cdac987", "bchtest:pr6m7j9njldwwzlg9v7v53unlr4jkmx6eyvwc0uz5t"},
		{BitcoinCash, Mainnet, "76a91476a04053bda0a88bda5177b86a15c3b29f55987388ac", "bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a"},
		{BitcoinCash, Mainnet, "a91476a04053bda0a88bda5177b86a15c3b29f55987387", "bitcoincash:ppm2qsznhks23z7629mms6s4cwef74vcwvn0h829pq"},
	} {
		kind, hash, err := classify(v.chain, unhex(v.script))
		if err != nil {
			t.Fatal(err)
		}
		if got := address(v.chain, v.network, kind, hash); got != v.want {
			t.Errorf("%s %s: %s, want %s", v.chain, v.network, got, v.want)
		}
		if !bytes.Equal(makeScript(kind, hash), unhex(v.script)) {
			t.Errorf("%s: script is made anew as %x", v.script, makeScript(kind, hash))
		}
	}
	for _, v := range []struct {
		chain   Chain
		network Network
		first   string // of p2pkh, p2sh, p2wpkh
	}{
		{Litecoin, Mainnet, "L M ltc1q"}, {Litecoin, Testnet, "m Q tltc1q"}, {Litecoin, Regtest, "m Q rltc1q"},
		{Bitcoin, Testnet, "m 2 tb1q"}, {Bitcoin, Regtest, "m 2 bcrt1q"},
	} {
		for i, first := range strings.Fields(v.first) {
			kind := []ScriptKind{P2PKH, P2SH, P2WPKH}[i]
			if got := address(v.chain, v.network, kind, unhex("62e907b15cbf27d5425399ebf6f0fb50ebb88f18")); !strings.HasPrefix(got, first) {
				t.Errorf("%s %s: %s, want %s...", v.chain, v.network, got, first)
			}
		}
	}
}

func mustRead(t *testing.T, encoded string) *rawTx {
	t.Helper()
	tx, err := readTx(unhex(encoded))
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(tx.encode()); got != encoded {
		t.Fatalf("encoded anew as %s", got)
	}
	return tx
}

// TestDigests has the vectors of BIP-143 of p2wpkh and p2sh-p2wpkh, one that wallets publish of Bitcoin Cash's rule, and
// the first input of a transaction of BIP-174. The published signatures of the last two verify under these digests.
func TestDigests(t *testing.T) {
	const native = "0100000002fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f0000000000eeffffffef51e1b804cc89d182d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202cb206000000001976a9148280b37df378db99f66f85c95a783a76ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac11000000"
	const cash = "010000000193a35408b6068499e0d5abd799d3e827d9bfe70c9b75ebe209c91d25072326510000000000ffffffff02404b4c00000000001976a91404ff367be719efa79d76e4416ffb072cd53b208888acde94a905000000001976a91404d03f746652cfcb6cb55119ab473a045137d26588ac00000000"
	for _, v := range []struct {
		name, tx, code string
		input          int
		amount         uint64
		hashType       byte
		want           string
	}{
		{"p2wpkh", native, "76a9141d0f172a0ecb48aee1be1f2687d2963ae33f71a188ac", 1, 6 * satoshi, 1,
			"c37af31116d1b27caf68aae9e3ac82f1477929014d5b917657d0eb49478cb670"},
		{"p2sh-p2wpkh", nestedTx, "76a91479091972186c449eb1ded22b78e40d009bdf008988ac", 0, 10 * satoshi, 1,
			"64f3b0f4dd2bb3aa1ce8566d220cc74dda9df97d8490cc81d89d735c92e59fb6"},
		{"bitcoin cash", cash, "76a914c0a3c167a28cabb9fbb495affa0761e6e74ac60d88ac", 0, satoshi, 0x41,
			"be9a42ef2e2dd7ef02cd631290667292cbbc5018f4e3f6843a8f4c302a2111b1"},
	} {
		digest := newHasher(mustRead(t, v.tx)).committed(v.input, unhex(v.code), v.amount, v.hashType)
		if got := hex.EncodeToString(digest[:]); got != v.want {
			t.Errorf("%s: %s, want %s", v.name, got, v.want)
		}
	}
	const mixed = "0200000002ab0949a08c5af7c49b8212f417e2f15ab3f5c33dcf153821a8139f877a5b7be40000000000feffffffab0949a08c5af7c49b8212f417e2f15ab3f5c33dcf153821a8139f877a5b7be40100000000feffffff02603bea0b000000001976a914768a40bbd740cbe81d988e71de2a4d5c71396b1d88ac8e240000000000001976a9146f4620b553fa095e721b9ee0efe9fa039cca459788ac00000000"
	digest := newHasher(mustRead(t, mixed)).legacy(0, unhex("76a914d0c59903c5bac2868760e90fd521a4665aa7652088ac"), 1)
	if got := hex.EncodeToString(digest[:]); got != "4b6c9c8e9acd4b87a5ec85bb05f8ace21a3f331a05231211e8d64fca59733d41" {
		t.Errorf("p2pkh: %s", got)
	}
}

const nestedTx = "0100000001db6b1b20aa0fd7b23880be2ecbd4a98130974cf4748fb66092ac4d3ceb1a54770100000000feffffff02b8b4eb0b000000001976a914a457b684d7f0d539a46a45bbc043f35b59d0d96388ac0008af2f000000001976a914fd270b1ee6abcaea97fea7ad0402e8bd8ad6d77c88ac92040000"

// TestFinalize puts the signature of BIP-143's p2sh-p2wpkh vector where it belongs.
func TestFinalize(t *testing.T) {
	const want = "01000000000101db6b1b20aa0fd7b23880be2ecbd4a98130974cf4748fb66092ac4d3ceb1a5477010000001716001479091972186c449eb1ded22b78e40d009bdf0089feffffff02b8b4eb0b000000001976a914a457b684d7f0d539a46a45bbc043f35b59d0d96388ac0008af2f000000001976a914fd270b1ee6abcaea97fea7ad0402e8bd8ad6d77c88ac02473044022047ac8e878352d3ebbde1c94ce3a10d057c24175747116f8288e5d794d12d482f0220217f36a485cae903c713331d877c1f64677e3622ad4010726870540656fe9dcb012103ad1d8e89212f0b92c74d23bb710c00662ad1470198ac48c43f7d6f93a2a2687392040000"
	signature := unhex("47ac8e878352d3ebbde1c94ce3a10d057c24175747116f8288e5d794d12d482f" + "217f36a485cae903c713331d877c1f64677e3622ad4010726870540656fe9dcb")
	raw := mustRead(t, nestedTx)
	tx := Transaction{Chain: Bitcoin, Version: raw.version, LockTime: raw.lockTime, Inputs: []Input{{
		Previous: raw.inputs[0].previous, Index: 1, Sequence: raw.inputs[0].sequence, Kind: P2SH, HashType: hashAll,
		Key:     Key{Public: [PublicKeySize]byte(unhex("03ad1d8e89212f0b92c74d23bb710c00662ad1470198ac48c43f7d6f93a2a26873"))},
		program: unhex("79091972186c449eb1ded22b78e40d009bdf0089")}}}
	for _, out := range raw.outputs {
		tx.Outputs = append(tx.Outputs, Output{Amount: int64(out.amount), Script: out.script})
	}
	got, id, err := tx.Finalize([][]byte{signature})
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(got) != want {
		t.Errorf("got  %x\nwant %s", got, want)
	}
	if id.String() != "ef48d9d0f595052e0f8cdcf825f7a5e50b6a388a81f206f3f4846e5ecd7a0c23" {
		t.Errorf("id %s", id)
	}
}

// TestSignatureForms has what is no signature in the one form there is.
func TestSignatureForms(t *testing.T) {
	one := append(make([]byte, 31), 1)
	zero := make([]byte, 32)
	above := bytes.Clone(halfOrder)
	above[31]++
	for name, bad := range map[string][]byte{
		"short": make([]byte, 63), "with recovery id": append(append(bytes.Clone(one), one...), 0),
		"r is 0": append(bytes.Clone(zero), one...), "s is 0": append(bytes.Clone(one), zero...),
		"r is the order": append(bytes.Clone(order), one...), "s is high": append(bytes.Clone(one), above...),
	} {
		if _, err := encodeDER(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	got, err := encodeDER(append(bytes.Clone(halfOrder), halfOrder...))
	if err != nil || len(got) != 70 {
		t.Errorf("greatest s: %x, %v", got, err)
	}
	below := bytes.Clone(order)
	below[31]--
	got, err = encodeDER(append(below, halfOrder...))
	if err != nil || len(got) != longestDER {
		t.Errorf("longest: %x, %v", got, err)
	}
	got, err = encodeDER(append(bytes.Clone(one), one...))
	if err != nil || hex.EncodeToString(got) != "3006020101020101" {
		t.Errorf("shortest: %x, %v", got, err)
	}
	tx := Transaction{Inputs: make([]Input, 2)}
	if _, _, err := tx.Finalize([][]byte{append(one, one...)}); err == nil {
		t.Error("one signature for two inputs")
	}
}
