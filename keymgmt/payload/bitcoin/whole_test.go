package bitcoin_test

import (
	"encoding/hex"
	"testing"

	"github.com/diamante/gateway/keymgmt/payload/bitcoin"
)

// TestPublishedPayment takes the first PSBT of BIP-174 through, with what is needed here in addition: the network, and
// the key, which a later transaction of the BIP reveals together with the signature. The previous transaction is without
// its witnesses.
func TestPublishedPayment(t *testing.T) {
	const (
		before = "01000000" + "02" +
			"89a3c71eab4d20e0371bbba4cc698fa295c9463afa2e397f8533ccb62f9567e50100000017160014be18d152a9b012039daf3da7de4f53349eecb985ffffffff" +
			"86f8aa43a71dff1448893a530a7237ef6b4608bbb2dd2d0171e63aec6a4890b40100000017160014fe3e9ef1a745e974d902c4355943abcb34bd5353ffffffff" +
			"02" + "00c2eb0b000000001976a91485cff1097fd9e008bb34af709c62197b38978a4888ac" + "72fef84e2c00000017a914339725ba21efd62ac753a9bcd067d6c7a6a39d0587" + "00000000"
		id        = "268171371edff285e937adeea4b37b78000c0566cbb3ad64641713ca42171bf6"
		key       = "02657d118d3357b8e0f4c2cd46db7b39f6d9c38d9a70abcb9b2de5dc8dbfe4ce31"
		signature = "70b2245123e6bf474d60c5b50c043d4c691a5d2435f09a34a7662a9dc251790a" + "01329ca9dacf280bdf30740ec0390422422c81cb45839457aeb76fc12edd95b3"
		signed    = "0200000001268171371edff285e937adeea4b37b78000c0566cbb3ad64641713ca42171bf6000000006a473044022070b2245123e6bf474d60c5b50c043d4c691a5d2435f09a34a7662a9dc251790a022001329ca9dacf280bdf30740ec0390422422c81cb45839457aeb76fc12edd95b3012102657d118d3357b8e0f4c2cd46db7b39f6d9c38d9a70abcb9b2de5dc8dbfe4ce31feffffff02d3dff505000000001976a914d0c59903c5bac2868760e90fd521a4665aa7652088ac00e1f5050000000017a9143545e6e33b832c47050f24d3eeb93c9c03948bc787b32e1300"
	)
	d := draft{version: 2, lockTime: 1_257_139, global: []entry{network("testnet")},
		inputs: []spend{{id: [32]byte(unhex(id)), sequence: 0xfffffffe,
			entries: []entry{{[]byte{0}, unhex(before)}, {unhex("06" + key), make([]byte, 4)}}}},
		outputs: []pay{{amount: 99_999_699, script: unhex("76a914d0c59903c5bac2868760e90fd521a4665aa7652088ac")},
			{amount: 1e8, script: unhex("a9143545e6e33b832c47050f24d3eeb93c9c03948bc787")}}}
	tx := decode(t, bitcoin.Bitcoin, d.encode())
	if tx.Fee != 301 || tx.VSize != 224 {
		t.Errorf("fee %d for %d vbytes", tx.Fee, tx.VSize)
	}
	raw, name, err := tx.Finalize([][]byte{unhex(signature)})
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(raw) != signed || name.String() != "e47b5b7a879f13a8213815cf3dc3f5b35af1e217f412829bc4f75a8ca04909ab" {
		t.Errorf("%s: %x", name, raw)
	}
}

// BenchmarkDecode has the costliest payment that is accepted: of the old kind, whose digests cost time in proportion to
// the size of the transaction, for each of as many inputs as there is room for.
func BenchmarkDecode(b *testing.B) {
	d := &draft{version: 2, global: []entry{network("mainnet")}}
	for amount := range uint64(260) {
		d.inputs = append(d.inputs, from(1e6+amount, p2pkh(hashes[0]), keys[0]))
	}
	for range 40 {
		d.outputs = append(d.outputs, pay{amount: 1e6, script: p2wpkh(stranger)})
	}
	psbt := d.encode()
	b.SetBytes(int64(len(psbt)))
	for b.Loop() {
		decode(b, bitcoin.Bitcoin, psbt)
	}
}
