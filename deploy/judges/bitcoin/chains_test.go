package bitcoin_test

import (
	"bytes"
	"testing"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
	cashcfg "github.com/gcash/bchd/chaincfg"
	cashscript "github.com/gcash/bchd/txscript"
	cashwire "github.com/gcash/bchd/wire"
	litecfg "github.com/ltcsuite/ltcd/chaincfg"
	litescript "github.com/ltcsuite/ltcd/txscript"
	litewire "github.com/ltcsuite/ltcd/wire"

	"github.com/diamante/gateway/keymgmt/payload/bitcoin"
)

func hash160(b []byte) []byte { return address.Hash160(b) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type btcd struct{}

func (btcd) digest(t *testing.T, encoded []byte, input int, spent output, code []byte) []byte {
	var tx wire.MsgTx
	must(t, tx.DeserializeNoWitness(bytes.NewReader(encoded)))
	if spent.script[0] == txscript.OP_DUP {
		digest, err := txscript.CalcSignatureHash(spent.script, txscript.SigHashAll, &tx, input)
		must(t, err)
		return digest
	}
	hashes := txscript.NewTxSigHashes(&tx, txscript.NewCannedPrevOutputFetcher(spent.script, spent.amount))
	digest, err := txscript.CalcWitnessSigHash(code, hashes, txscript.SigHashAll, &tx, input, spent.amount)
	must(t, err)
	return digest
}

func (btcd) verify(t *testing.T, encoded []byte, spent []output) string {
	var tx wire.MsgTx
	must(t, tx.Deserialize(bytes.NewReader(encoded)))
	previous := map[wire.OutPoint]*wire.TxOut{}
	for i, out := range spent {
		previous[tx.TxIn[i].PreviousOutPoint] = wire.NewTxOut(out.amount, out.script)
	}
	fetcher := txscript.NewMultiPrevOutFetcher(previous)
	hashes := txscript.NewTxSigHashes(&tx, fetcher)
	for i, out := range spent {
		engine, err := txscript.NewEngine(out.script, &tx, i, txscript.StandardVerifyFlags, nil, hashes, out.amount, fetcher)
		must(t, err)
		must(t, engine.Execute())
	}
	return tx.TxHash().String()
}

func (btcd) address(t *testing.T, network bitcoin.Network, script []byte) string {
	params := []*chaincfg.Params{bitcoin.Mainnet: &chaincfg.MainNetParams, bitcoin.Testnet: &chaincfg.TestNet3Params, bitcoin.Regtest: &chaincfg.RegressionNetParams}
	_, addresses, _, err := txscript.ExtractPkScriptAddrs(script, params[network])
	must(t, err)
	return addresses[0].EncodeAddress()
}

type ltcd struct{}

func (ltcd) digest(t *testing.T, encoded []byte, input int, spent output, code []byte) []byte {
	var tx litewire.MsgTx
	must(t, tx.DeserializeNoWitness(bytes.NewReader(encoded)))
	if spent.script[0] == txscript.OP_DUP {
		digest, err := litescript.CalcSignatureHash(spent.script, litescript.SigHashAll, &tx, input)
		must(t, err)
		return digest
	}
	hashes := litescript.NewTxSigHashes(&tx, litescript.NewCannedPrevOutputFetcher(spent.script, spent.amount))
	digest, err := litescript.CalcWitnessSigHash(code, hashes, litescript.SigHashAll, &tx, input, spent.amount)
	must(t, err)
	return digest
}

func (ltcd) verify(t *testing.T, encoded []byte, spent []output) string {
	var tx litewire.MsgTx
	must(t, tx.Deserialize(bytes.NewReader(encoded)))
	previous := map[litewire.OutPoint]*litewire.TxOut{}
	for i, out := range spent {
		previous[tx.TxIn[i].PreviousOutPoint] = litewire.NewTxOut(out.amount, out.script)
	}
	fetcher := litescript.NewMultiPrevOutFetcher(previous)
	hashes := litescript.NewTxSigHashes(&tx, fetcher)
	for i, out := range spent {
		engine, err := litescript.NewEngine(out.script, &tx, i, litescript.StandardVerifyFlags, nil, hashes, out.amount, fetcher)
		must(t, err)
		must(t, engine.Execute())
	}
	return tx.TxHash().String()
}

func (ltcd) address(t *testing.T, network bitcoin.Network, script []byte) string {
	params := []*litecfg.Params{bitcoin.Mainnet: &litecfg.MainNetParams, bitcoin.Testnet: &litecfg.TestNet4Params, bitcoin.Regtest: &litecfg.RegressionNetParams}
	_, addresses, _, err := litescript.ExtractPkScriptAddrs(script, params[network])
	must(t, err)
	return addresses[0].EncodeAddress()
}

type bchd struct{}

func (bchd) digest(t *testing.T, encoded []byte, input int, spent output, _ []byte) []byte {
	var tx cashwire.MsgTx
	must(t, tx.Deserialize(bytes.NewReader(encoded)))
	digest, _, err := cashscript.CalcSignatureHash(spent.script, cashscript.NewTxSigHashes(&tx), cashscript.SigHashAll|cashscript.SigHashForkID, &tx, input, spent.amount, true)
	must(t, err)
	return digest
}

func (bchd) verify(t *testing.T, encoded []byte, spent []output) string {
	var tx cashwire.MsgTx
	must(t, tx.Deserialize(bytes.NewReader(encoded)))
	for i, out := range spent {
		engine, err := cashscript.NewEngine(out.script, &tx, i, cashscript.StandardVerifyFlags, nil, cashscript.NewTxSigHashes(&tx), nil, out.amount)
		must(t, err)
		must(t, engine.Execute())
	}
	return tx.TxHash().String()
}

// address adds the prefix, which bchd leaves out.
func (bchd) address(t *testing.T, network bitcoin.Network, script []byte) string {
	params := []*cashcfg.Params{bitcoin.Mainnet: &cashcfg.MainNetParams, bitcoin.Testnet: &cashcfg.TestNet3Params, bitcoin.Regtest: &cashcfg.RegressionNetParams}[network]
	_, addresses, _, err := cashscript.ExtractPkScriptAddrs(script, params)
	must(t, err)
	return params.CashAddressPrefix + ":" + addresses[0].EncodeAddress()
}
