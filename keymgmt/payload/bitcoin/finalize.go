package bitcoin

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrSignature: there is not one signature for each input, or one is not r and s in 32 bytes each, with s in the lower
// half, which is the only form that nodes relay.
var ErrSignature = errors.New("bitcoin: not a signature")

// signatureSize is the length of r and s.
const signatureSize = 64

// Bounds of r and s: the order of the group of secp256k1, and half of it.
var (
	order     = unhex("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
	halfOrder = unhex("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0")
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic("bitcoin: " + err.Error())
	}
	return b
}

// Sizes of what an input gets when it is signed, in bytes, with the longest signature of a low s and its length.
const (
	longestDER   = 71 // without the hash type
	pushedPair   = 1 + longestDER + 1 + 1 + PublicKeySize
	pushedRedeem = 1 + 22
	witnessPair  = 1 + pushedPair
	witnessFlag  = 2
	noWitness    = 1
)

func (t *Transaction) witness() bool {
	for _, in := range t.Inputs {
		if in.Kind != P2PKH {
			return true
		}
	}
	return false
}

// size returns the vbytes of the signed transaction: a quarter of its weight, rounded up, in which a byte of a witness
// weighs 1 and another 4.
func (t *Transaction) size(raw *rawTx) int64 {
	plain, witness := int64(len(raw.encode())), int64(0)
	for _, in := range t.Inputs {
		switch in.Kind {
		case P2PKH:
			plain += pushedPair
			witness += noWitness
		case P2SH:
			plain += pushedRedeem
			witness += witnessPair
		default:
			witness += witnessPair
		}
	}
	if !t.witness() {
		return plain
	}
	return (4*plain + witness + witnessFlag + 3) / 4
}

// Finalize puts one signature, r and s in 32 bytes each, into each input and returns the transaction as the network
// takes it, and its id. Whether the signatures are right is not checked here. All errors wrap ErrSignature.
func (t *Transaction) Finalize(signatures [][]byte) ([]byte, TxID, error) {
	if len(signatures) != len(t.Inputs) {
		return nil, TxID{}, fmt.Errorf("%w: %d signatures for %d inputs", ErrSignature, len(signatures), len(t.Inputs))
	}
	raw := rawTx{version: t.Version, lockTime: t.LockTime}
	for _, out := range t.Outputs {
		raw.outputs = append(raw.outputs, rawOutput{amount: uint64(out.Amount), script: out.Script})
	}
	var witnesses []byte
	for i, in := range t.Inputs {
		der, err := encodeDER(signatures[i])
		if err != nil {
			return nil, TxID{}, fmt.Errorf("input %d: %w", i, err)
		}
		// Up to 75 bytes, a push in a script and a field of a witness look alike.
		pair := appendBytes(appendBytes(nil, append(der, in.HashType)), in.Key.Public[:])
		signed := rawInput{previous: in.Previous, index: in.Index, sequence: in.Sequence}
		switch in.Kind {
		case P2PKH:
			signed.script = pair
			witnesses = append(witnesses, 0)
		case P2SH:
			signed.script = appendBytes(nil, makeScript(P2WPKH, in.program))
			witnesses = append(append(witnesses, 2), pair...)
		default:
			witnesses = append(append(witnesses, 2), pair...)
		}
		raw.inputs = append(raw.inputs, signed)
	}
	plain := raw.encode()
	id := TxID(doubleSHA256(plain))
	if !t.witness() {
		return plain, id, nil
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(raw.version))
	b = raw.appendOutputs(raw.appendInputs(append(b, 0, 1)))
	return binary.LittleEndian.AppendUint32(append(b, witnesses...), raw.lockTime), id, nil
}

// encodeDER writes r and s as ASN.1 integers in their shortest form.
func encodeDER(signature []byte) ([]byte, error) {
	if len(signature) != signatureSize {
		return nil, fmt.Errorf("%w: %d bytes, need %d", ErrSignature, len(signature), signatureSize)
	}
	r, s := signature[:signatureSize/2], signature[signatureSize/2:]
	zero := make([]byte, len(r))
	if bytes.Equal(r, zero) || bytes.Equal(s, zero) || bytes.Compare(r, order) >= 0 || bytes.Compare(s, halfOrder) > 0 {
		return nil, fmt.Errorf("%w: r or s is out of its range", ErrSignature)
	}
	var body []byte
	for _, n := range [][]byte{r, s} {
		n = bytes.TrimLeft(n, "\x00")
		if n[0] >= 0x80 {
			n = append([]byte{0}, n...)
		}
		body = append(append(body, 0x02, byte(len(n))), n...)
	}
	return append([]byte{0x30, byte(len(body))}, body...), nil
}
