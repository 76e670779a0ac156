package ethereum

import "math/big"

// order is that of the group of secp256k1 (SEC 2), halfOrder half of it.
var (
	order, _  = new(big.Int).SetString("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16)
	halfOrder = new(big.Int).Rsh(order, 1)
)

// signatureSize is the length of a signature: r, s and the recovery id.
const signatureSize = 65

// Encode returns the body of a transaction that is built from figures; Call and Digest need not be set. What Decode
// would refuse, or read otherwise, is refused.
func Encode(t Transaction) ([]byte, error) {
	if err := t.complete(); err != nil {
		return nil, err
	}
	body := t.encode()
	if _, err := Decode(body); err != nil {
		return nil, err
	}
	return body, nil
}

// Raw returns the signed transaction as the network takes it. The signature is r and s, 32 bytes each, and the recovery
// id, 0 or 1; s is at most half the order (EIP-2). That it was made by the right key over Digest is not checked here.
func (t *Transaction) Raw(signature []byte) ([]byte, error) {
	if err := t.complete(); err != nil {
		return nil, err
	}
	if t.Digest != Keccak256(t.encode()) {
		return nil, malformed("the transaction is not what was decoded")
	}
	if len(signature) != signatureSize {
		return nil, malformed("signature of %d bytes, need %d", len(signature), signatureSize)
	}
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:64])
	v := new(big.Int).SetUint64(uint64(signature[64]))
	switch {
	case signature[64] > 1:
		return nil, malformed("recovery id %d, need 0 or 1", signature[64])
	case r.Sign() == 0 || r.Cmp(order) >= 0:
		return nil, malformed("r of the signature is out of range")
	case s.Sign() == 0 || s.Cmp(halfOrder) > 0:
		return nil, malformed("s of the signature is out of range, or in the upper half")
	}
	out := t.fields()
	if t.Type == Legacy {
		v.Add(v, new(big.Int).Lsh(t.ChainID, 1))
		v.Add(v, big.NewInt(35))
	}
	for _, n := range []*big.Int{v, r, s} {
		out = appendInteger(out, n)
	}
	return t.wrap(out), nil
}

// complete reports whether the figures can be written at all.
func (t *Transaction) complete() error {
	for _, n := range []*big.Int{t.ChainID, t.MaxFee, t.MaxPriority, t.Value} {
		if n == nil || n.Sign() < 0 {
			return malformed("an amount or the chain id is missing or negative")
		}
	}
	switch {
	case t.Type != Legacy && t.Type != DynamicFee:
		return malformed("%s", t.Type)
	case t.Type == Legacy && (t.MaxPriority.Cmp(t.MaxFee) != 0 || len(t.AccessList) > 0):
		return malformed("a legacy transaction has one price and no access list")
	}
	return nil
}

// encode writes the body.
func (t *Transaction) encode() []byte {
	fields := t.fields()
	if t.Type == Legacy {
		fields = appendInteger(fields, t.ChainID)
		fields = appendUint64(appendUint64(fields, 0), 0)
	}
	return t.wrap(fields)
}

// fields writes what the body and the signed transaction have in common.
func (t *Transaction) fields() []byte {
	var out []byte
	if t.Type == DynamicFee {
		out = appendInteger(out, t.ChainID)
	}
	out = appendUint64(out, t.Nonce)
	if t.Type == DynamicFee {
		out = appendInteger(out, t.MaxPriority)
	}
	out = appendInteger(out, t.MaxFee)
	out = appendUint64(out, t.Gas)
	if t.To == nil {
		out = appendText(out, nil)
	} else {
		out = appendText(out, t.To[:])
	}
	out = appendInteger(out, t.Value)
	out = appendText(out, t.Data)
	if t.Type == Legacy {
		return out
	}
	var list []byte
	for _, a := range t.AccessList {
		var keys []byte
		for _, k := range a.Keys {
			keys = appendText(keys, k[:])
		}
		list = appendList(list, appendList(appendText(nil, a.Address[:]), keys))
	}
	return appendList(out, list)
}

func (t *Transaction) wrap(fields []byte) []byte {
	if t.Type == Legacy {
		return appendList(nil, fields)
	}
	return appendList([]byte{envelope}, fields)
}
