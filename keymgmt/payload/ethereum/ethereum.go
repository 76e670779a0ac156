// Package ethereum reads Ethereum transactions that are to be signed.
//
// A body is the exact preimage of the digest that the key signs: 0x02 and nine RLP fields for EIP-1559, nine RLP fields
// that end in the chain id and two zeros for the legacy form of EIP-155. Decode turns it into a Transaction: the
// figures that a policy judges, the kind of call, and the effects in words that a person can check. It accepts one
// encoding of each transaction and nothing that it does not understand completely, except for the data of a call, whose
// method it may not know: that is a kind of its own, Unknown, which a policy allows only if it says so.
//
//	t, err := ethereum.Decode(body)
//	t.Call.Kind      // ethereum.TokenTransfer
//	t.Words()        // "transfers 3000000 units of token 0xA0b8... to 0x5aAe..."
//	t.Digest         // what a secp256k1 key is given to sign
//	t.Raw(signature) // what the network is given
//
// Refused as a whole are the other envelopes (EIP-2930, EIP-4844, and EIP-7702, whose authorization lists hand the
// account over), the six legacy fields without a chain id, which any chain would take, and what can only be a mistake:
// sending to the zero address, tokens sent to their own contract, ether sent along with a call that only moves tokens.
package ethereum

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/big"

	"golang.org/x/crypto/sha3"
)

// ErrMalformed is wrapped by every error of this package: what was given is not the one encoding of something that is
// understood.
var ErrMalformed = errors.New("malformed Ethereum transaction")

// Bounds of what is read.
const (
	MaxBody        = 64 << 10                   // bytes of a body
	MaxInitCode    = 49152                      // bytes of a new contract's code (EIP-3860)
	MinGas         = 21000                      // gas that every transaction uses
	MaxGas         = 1 << 24                    // gas that one transaction may use (EIP-7825)
	MaxChainID     = math.MaxUint64/2 - 36      // the last one whose signature value fits 64 bits (EIP-2294)
	MaxNonce       = uint64(math.MaxUint64) - 1 // the last one but the forbidden one (EIP-2681)
	MaxAccess      = 32                         // addresses of an access list
	MaxStorageKeys = 128                        // storage keys of a whole access list
)

// Type is the form of a transaction. Zero is invalid.
type Type uint8

// The forms that are read.
const (
	Legacy     Type = iota + 1 // nine fields with a gas price and a chain id (EIP-155)
	DynamicFee                 // type 2, with a fee cap and a tip (EIP-1559)
)

// envelope is the first byte of the body of a dynamic fee transaction.
const envelope = 0x02

// String names the form.
func (t Type) String() string {
	switch t {
	case Legacy:
		return "legacy (EIP-155)"
	case DynamicFee:
		return "type 2 (EIP-1559)"
	}
	return fmt.Sprintf("type of transaction %d", uint8(t))
}

// Transaction is a transaction in figures. Decode makes it; what Encode and Raw are given must be as Decode would make
// it. Amounts are in wei.
type Transaction struct {
	Type        Type
	ChainID     *big.Int // 1 to MaxChainID
	Nonce       uint64
	MaxFee      *big.Int // the most that a unit of gas can cost; the gas price of a legacy transaction
	MaxPriority *big.Int // the part of MaxFee that the block's proposer may keep; all of it for a legacy transaction
	Gas         uint64   // MinGas to MaxGas
	To          *Address // nil for a contract creation
	Value       *big.Int
	Data        []byte
	AccessList  []Access
	Call        Call
	Digest      [32]byte // Keccak-256 of the body
}

// Access is an entry of an access list: an address, and those of its storage keys that are declared.
type Access struct {
	Address Address
	Keys    [][32]byte
}

// MaxFeeCost returns the most that can be charged for gas.
func (t *Transaction) MaxFeeCost() *big.Int {
	return new(big.Int).Mul(t.MaxFee, new(big.Int).SetUint64(t.Gas))
}

// MaxCost returns the most that can leave the account in ether: value and fee.
func (t *Transaction) MaxCost() *big.Int { return new(big.Int).Add(t.MaxFeeCost(), t.Value) }

// Keccak256 is Ethereum's hash: of a raw transaction, its id.
func Keccak256(b []byte) (sum [32]byte) {
	h := sha3.NewLegacyKeccak256()
	h.Write(b)
	h.Sum(sum[:0])
	return sum
}

// Decode reads the body of an unsigned transaction. Every error wraps ErrMalformed.
func Decode(body []byte) (*Transaction, error) {
	if len(body) == 0 || len(body) > MaxBody {
		return nil, malformed("body of %d bytes, need 1 to %d", len(body), MaxBody)
	}
	var t *Transaction
	var err error
	switch first := body[0]; {
	case first == envelope:
		t, err = readDynamicFee(body[1:])
	case first >= listBase:
		t, err = readLegacy(body)
	case first == 0x01:
		err = malformed("type 1, access list with a gas price (EIP-2930): use type 2")
	case first == 0x03:
		err = malformed("type 3, carries blobs (EIP-4844)")
	case first == 0x04:
		err = malformed("type 4, hands the account to a contract (EIP-7702)")
	default:
		err = malformed("first byte %#02x is no transaction's", first)
	}
	if err != nil {
		return nil, err
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	if t.Call, err = readCall(t); err != nil {
		return nil, err
	}
	// What was read says everything that was there, whatever the reader above may have let through.
	if !bytes.Equal(t.encode(), body) {
		return nil, malformed("not the canonical encoding")
	}
	t.Digest = Keccak256(body)
	return t, nil
}

func readDynamicFee(b []byte) (*Transaction, error) {
	r := &reader{rest: b}
	f := r.list("transaction")
	t := &Transaction{Type: DynamicFee}
	t.ChainID = f.integer("chain id")
	t.Nonce = f.uint64("nonce")
	t.MaxPriority = f.integer("max priority fee")
	t.MaxFee = f.integer("max fee")
	t.Gas = f.uint64("gas limit")
	t.To = f.recipient()
	t.Value = f.integer("value")
	t.Data = f.text("data")
	t.AccessList = f.accessList()
	f.end("the access list; is it signed already?")
	r.end("the transaction")
	return t, r.failed(f)
}

func readLegacy(b []byte) (*Transaction, error) {
	r := &reader{rest: b}
	f := r.list("transaction")
	t := &Transaction{Type: Legacy}
	t.Nonce = f.uint64("nonce")
	t.MaxFee = f.integer("gas price")
	t.Gas = f.uint64("gas limit")
	t.To = f.recipient()
	t.Value = f.integer("value")
	t.Data = f.text("data")
	if f.err == nil && len(f.rest) == 0 {
		return nil, malformed("no chain id (before EIP-155): could be replayed on every chain")
	}
	t.ChainID = f.integer("chain id")
	for _, name := range []string{"first zero", "second zero"} {
		if n := f.integer(name); f.err == nil && n.Sign() != 0 {
			return nil, malformed("%s after the chain id is %d; is it signed already?", name, n)
		}
	}
	f.end("the second zero")
	r.end("the transaction")
	t.MaxPriority = new(big.Int).Set(t.MaxFee)
	return t, r.failed(f)
}

// check holds the figures to their bounds, and the obvious mistakes out.
func (t *Transaction) check() error {
	chain := t.ChainID
	switch {
	case chain.Sign() <= 0 || !chain.IsUint64() || chain.Uint64() > MaxChainID:
		return malformed("chain id %d, need 1 to %d", chain, uint64(MaxChainID))
	case t.Nonce > MaxNonce:
		return malformed("nonce %d (EIP-2681)", t.Nonce)
	case t.Gas < MinGas || t.Gas > MaxGas:
		return malformed("gas limit %d, need %d to %d", t.Gas, MinGas, MaxGas)
	case t.MaxPriority.Cmp(t.MaxFee) > 0:
		return malformed("max priority fee %d is over the max fee %d", t.MaxPriority, t.MaxFee)
	case t.To == nil && (len(t.Data) == 0 || len(t.Data) > MaxInitCode):
		return malformed("contract creation from %d bytes of code, need 1 to %d", len(t.Data), MaxInitCode)
	case t.To != nil && t.To.IsZero():
		return malformed("recipient is the zero address: what goes there is lost")
	}
	return nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
