// Package bitcoin reads transactions of Bitcoin, Litecoin and Bitcoin Cash that are to be signed.
//
// Decode takes a partially signed transaction (PSBT version 0, BIP-174) in which nothing is signed yet, and yields what
// it does, in figures and in words, with the digest that each input's key is to sign:
//
//	t, err := bitcoin.Decode(bitcoin.Bitcoin, psbt)
//	t.Words()            // "pays 0.01500000 BTC to bc1q...", "fee 0.00000420 BTC (3.0 sat/vB)"
//	t.SignedBy(key)      // the inputs that this key signs; t.Inputs[i].Digest is what it signs there
//	t.Finalize(sigs)     // the transaction as the network takes it
//
// One encoding of each thing is accepted, and nothing that is not understood completely: every input is a p2pkh, p2wpkh
// or p2sh-p2wpkh output that one compressed key spends with ECDSA and SIGHASH_ALL. A PSBT holds besides the unsigned
// transaction, and refuses anything besides:
//
//   - global: the network's name, "mainnet", "testnet" or "regtest", in the proprietary field (0xfc) of identifier
//     "diamante" and subtype 0, without further key data;
//   - for each input: the whole previous transaction (PSBT_IN_NON_WITNESS_UTXO), without its witnesses, which no txid
//     covers; the key with its fingerprint and path (PSBT_IN_BIP32_DERIVATION; a key that was not derived has a
//     fingerprint and an empty path); the redeem script of p2sh; the hash type, which Bitcoin Cash must and the others
//     may give; and on witness inputs perhaps the previous output once more (PSBT_IN_WITNESS_UTXO);
//   - for each output: perhaps the key that it returns to as change (PSBT_OUT_BIP32_DERIVATION).
//
// The whole previous transaction is required of witness inputs and on Bitcoin Cash too, although their digests commit to
// the amount: a digest commits to the amount of its own input only, so whoever asks twice for the same transaction, with
// another amount belied each time, collects signatures that together pay far more in fees than was ever shown
// (CVE-2020-14199). Previous transactions are checked against the txids, so amounts and fee here are those of the chain.
//
// What a digest does not commit to is the chain (Bitcoin and Litecoin sign alike) and the network: both are what the
// caller says. Whoever holds the key must therefore tie it to one chain and one network, or else a payment of 50
// bitcoin can be shown as one of 50 litecoin.
package bitcoin

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// ErrMalformed: this is no PSBT that is understood here, completely and in its one form. All errors of Decode wrap it.
var ErrMalformed = errors.New("bitcoin: malformed")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Bounds of what is accepted. A transaction within them is also within the 100,000 vbytes that nodes relay.
const (
	MaxSize    = 64 << 10 // bytes of a PSBT
	MaxInputs  = 500
	MaxOutputs = 500
	MaxData    = 83 // bytes of an op_return script, the most that all nodes relay
	MaxPath    = 10 // steps of a derivation
)

// Chain is a family of transactions and addresses. Zero is invalid.
type Chain uint8

// The chains.
const (
	Bitcoin Chain = 1 + iota
	Litecoin
	BitcoinCash
)

// Network says which of a chain's networks a transaction is for. Zero is invalid.
type Network uint8

// The networks.
const (
	Mainnet Network = 1 + iota
	Testnet
	Regtest
)

// satoshi is one coin in the smallest unit, of every chain.
const satoshi = 100_000_000

// chains is what differs from chain to chain.
var chains = map[Chain]struct {
	name, code string
	limit      int64 // the most that there ever is, in the smallest unit
	dustRate   int64 // what a vbyte must be worth lest nodes refuse an output as dust, in the smallest unit
	witness    bool  // segregated witness exists
	hashType   byte
	sequences  []uint32
}{
	Bitcoin:     {"bitcoin", "BTC", 21_000_000 * satoshi, 3, true, hashAll, []uint32{final, locked, replaceable}},
	Litecoin:    {"litecoin", "LTC", 84_000_000 * satoshi, 30, true, hashAll, []uint32{final, locked, replaceable}},
	BitcoinCash: {"bitcoin cash", "BCH", 21_000_000 * satoshi, 3, false, hashAll | hashForkID, []uint32{final, locked}},
}

var networks = []string{Mainnet: "mainnet", Testnet: "testnet", Regtest: "regtest"}

// Hash types: the signature covers all inputs and outputs; on Bitcoin Cash the amount too, and no other chain takes it.
const (
	hashAll    = 0x01
	hashForkID = 0x40
)

// The sequence numbers there are. Others would lock an input relative to the block of its previous output (BIP-68), for
// which payments have no use, or mean nothing.
const (
	final       = 0xffffffff
	locked      = 0xfffffffe // the lock time is in force
	replaceable = 0xfffffffd // the same, and a later transaction may replace this one (BIP-125)
)

// String returns the chain's name.
func (c Chain) String() string {
	if known, ok := chains[c]; ok {
		return known.name
	}
	return fmt.Sprintf("chain %d", uint8(c))
}

// String returns the network's name.
func (n Network) String() string {
	if n != 0 && int(n) < len(networks) {
		return networks[n]
	}
	return fmt.Sprintf("network %d", uint8(n))
}

// TxID names a transaction: the double SHA-256 of its encoding without witnesses.
type TxID [32]byte

// String returns the id as people and nodes write it: in hexadecimal digits, last byte first.
func (id TxID) String() string {
	slices.Reverse(id[:])
	return hex.EncodeToString(id[:])
}

// PublicKeySize is the length of a compressed public key.
const PublicKeySize = 33

// Key is a compressed public key, and where it comes from.
type Key struct {
	Public      [PublicKeySize]byte
	Fingerprint [4]byte  // of the master key
	Path        []uint32 // steps of BIP-32 from the master key, empty for a key that was not derived
}

// Transaction is a payment in figures. Only Decode makes one. Amounts are in the smallest unit, of which 100,000,000 make a coin.
type Transaction struct {
	Chain    Chain
	Network  Network // as the caller says; see the package comment
	Version  int32
	LockTime uint32
	Inputs   []Input
	Outputs  []Output
	Fee      int64 // what the previous outputs have over the outputs
	// VSize is the signed transaction's size in vbytes, with signatures of the greatest length; the real size is at
	// most two bytes less for each input.
	VSize int64
}

// Input is a previous output that is spent.
type Input struct {
	Previous TxID
	Index    uint32
	Amount   int64
	Kind     ScriptKind // P2PKH, P2WPKH, or P2SH for a p2wpkh within p2sh
	Script   []byte
	Address  string
	Sequence uint32
	HashType byte
	Key      Key      // the one key that can sign: the script has its hash
	Digest   [32]byte // what it is to sign

	program []byte // hash of the key, as the script has it
}

// Output is an amount that is paid.
type Output struct {
	Amount  int64
	Kind    ScriptKind
	Script  []byte
	Address string // "" for OpReturn
	// Change is the key that can spend this output, when the caller says that it is change. That this very key can is
	// checked; whether it is one of ours is for the policy to say, or else anybody's output could be called change.
	Change *Key
}

// FeeRate returns the fee per 1,000 vbytes, rounded up so that a ceiling holds.
func (t *Transaction) FeeRate() int64 {
	// The greatest fee, 84,000,000 coins, times 1,000 is below the greatest int64.
	return (t.Fee*1000 + t.VSize - 1) / t.VSize
}

// SignedBy returns the indices of the inputs that the compressed public key signs, in order.
func (t *Transaction) SignedBy(publicKey []byte) (inputs []int) {
	for i, in := range t.Inputs {
		if string(in.Key.Public[:]) == string(publicKey) {
			inputs = append(inputs, i)
		}
	}
	return inputs
}
