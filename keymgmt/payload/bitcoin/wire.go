package bitcoin

import (
	"crypto/sha256"
	"encoding/binary"
)

// reader takes bytes apart. It keeps its first error, after which it yields zeroes only, so callers may look at err once
// after a row of reads; what was read is of no meaning before that.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = malformed(format, args...)
	}
}

func (r *reader) take(n uint64) []byte {
	if r.err == nil && n > uint64(len(r.rest)) {
		r.fail("%d bytes where %d should be", len(r.rest), n)
	}
	if r.err != nil {
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// number reads a little-endian number of size bytes.
func (r *reader) number(size uint64) (v uint64) {
	for i, b := range r.take(size) {
		v |= uint64(b) << (8 * i)
	}
	return v
}

func (r *reader) uint32() uint32 { return uint32(r.number(4)) }

// compact reads a compact size, in the shortest of its forms.
func (r *reader) compact() uint64 {
	v, least := r.number(1), uint64(0)
	switch v {
	case 0xfd:
		v, least = r.number(2), 0xfd
	case 0xfe:
		v, least = r.number(4), 1<<16
	case 0xff:
		v, least = r.number(8), 1<<32
	}
	if v < least {
		r.fail("compact size %d is not in its shortest form", v)
	}
	if r.err != nil {
		return 0
	}
	return v
}

func (r *reader) bytes() []byte { return r.take(r.compact()) }

func (r *reader) end() {
	if len(r.rest) > 0 {
		r.fail("%d bytes follow the end", len(r.rest))
	}
}

// rawTx is a transaction as it is encoded without witnesses.
type rawTx struct {
	version  int32
	inputs   []rawInput
	outputs  []rawOutput
	lockTime uint32
}

type rawInput struct {
	previous TxID
	index    uint32
	script   []byte
	sequence uint32
}

type rawOutput struct {
	amount uint64
	script []byte
}

// readTx reads a whole transaction. A transaction with witnesses begins as one without inputs does, and is refused with
// it: the txid does not cover witnesses, so anything could stand in them.
func readTx(b []byte) (*rawTx, error) {
	r := &reader{rest: b}
	tx := &rawTx{version: int32(r.uint32())}
	// A count may be any number; the loops end with the bytes.
	for n := r.compact(); n > 0 && r.err == nil; n-- {
		var in rawInput
		copy(in.previous[:], r.take(32))
		in.index, in.script, in.sequence = r.uint32(), r.bytes(), r.uint32()
		tx.inputs = append(tx.inputs, in)
	}
	if len(tx.inputs) == 0 {
		r.fail("a transaction without inputs, or with witnesses")
	}
	for n := r.compact(); n > 0 && r.err == nil; n-- {
		tx.outputs = append(tx.outputs, r.output())
	}
	if len(tx.outputs) == 0 {
		r.fail("a transaction without outputs")
	}
	tx.lockTime = r.uint32()
	r.end()
	return tx, r.err
}

func (r *reader) output() rawOutput { return rawOutput{amount: r.number(8), script: r.bytes()} }

func appendCompact(b []byte, v uint64) []byte {
	switch {
	case v < 0xfd:
		return append(b, byte(v))
	case v < 1<<16:
		return binary.LittleEndian.AppendUint16(append(b, 0xfd), uint16(v))
	case v < 1<<32:
		return binary.LittleEndian.AppendUint32(append(b, 0xfe), uint32(v))
	}
	return binary.LittleEndian.AppendUint64(append(b, 0xff), v)
}

func appendBytes(b, field []byte) []byte {
	return append(appendCompact(b, uint64(len(field))), field...)
}

func (in *rawInput) appendOutpoint(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(append(b, in.previous[:]...), in.index)
}

func (out *rawOutput) append(b []byte) []byte {
	return appendBytes(binary.LittleEndian.AppendUint64(b, out.amount), out.script)
}

func (tx *rawTx) appendInputs(b []byte) []byte {
	b = appendCompact(b, uint64(len(tx.inputs)))
	for _, in := range tx.inputs {
		b = appendBytes(in.appendOutpoint(b), in.script)
		b = binary.LittleEndian.AppendUint32(b, in.sequence)
	}
	return b
}

func (tx *rawTx) appendOutputs(b []byte) []byte {
	b = appendCompact(b, uint64(len(tx.outputs)))
	for _, out := range tx.outputs {
		b = out.append(b)
	}
	return b
}

// encode returns the encoding without witnesses.
func (tx *rawTx) encode() []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(tx.version))
	b = tx.appendOutputs(tx.appendInputs(b))
	return binary.LittleEndian.AppendUint32(b, tx.lockTime)
}

func doubleSHA256(b []byte) [32]byte {
	once := sha256.Sum256(b)
	return sha256.Sum256(once[:])
}
