package bitcoin

import "encoding/binary"

// hasher computes digests of one transaction. All are of hash type "all": with others, a signature leaves open where
// the money goes or whence it comes.
type hasher struct {
	tx        *rawTx
	previous  [32]byte
	sequences [32]byte
	outputs   [32]byte
}

func newHasher(tx *rawTx) *hasher {
	var previous, sequences, outputs []byte
	for _, in := range tx.inputs {
		previous = in.appendOutpoint(previous)
		sequences = binary.LittleEndian.AppendUint32(sequences, in.sequence)
	}
	for _, out := range tx.outputs {
		outputs = out.append(outputs)
	}
	return &hasher{tx: tx, previous: doubleSHA256(previous), sequences: doubleSHA256(sequences), outputs: doubleSHA256(outputs)}
}

// legacy is the digest that Bitcoin began with, for the i-th input of a transaction whose scripts are still empty. code
// is the script of the previous output. It costs time in proportion to the size of the transaction, for each input;
// MaxSize keeps the whole within a few hundredths of a second.
func (h *hasher) legacy(i int, code []byte, hashType byte) [32]byte {
	tx := *h.tx
	tx.inputs = append([]rawInput(nil), tx.inputs...)
	tx.inputs[i].script = code
	return doubleSHA256(binary.LittleEndian.AppendUint32(tx.encode(), uint32(hashType)))
}

// committed is the digest of BIP-143, of witness inputs and of Bitcoin Cash, which commits to the amount.
func (h *hasher) committed(i int, code []byte, amount uint64, hashType byte) [32]byte {
	in := h.tx.inputs[i]
	b := binary.LittleEndian.AppendUint32(nil, uint32(h.tx.version))
	b = append(b, h.previous[:]...)
	b = append(b, h.sequences[:]...)
	b = appendBytes(in.appendOutpoint(b), code)
	b = binary.LittleEndian.AppendUint64(b, amount)
	b = binary.LittleEndian.AppendUint32(b, in.sequence)
	b = append(b, h.outputs[:]...)
	b = binary.LittleEndian.AppendUint32(b, h.tx.lockTime)
	return doubleSHA256(binary.LittleEndian.AppendUint32(b, uint32(hashType)))
}
