package bitcoin

import (
	"bytes"
	"fmt"
	"slices"
)

// magic opens every PSBT.
const magic = "psbt\xff"

// Types of fields, in the three kinds of map.
const (
	globalUnsignedTx  = 0x00
	globalVersion     = 0xfb
	globalProprietary = 0xfc

	inputPreviousTx  = 0x00
	inputPrevious    = 0x01
	inputHashType    = 0x03
	inputRedeem      = 0x04
	inputDerivation  = 0x06
	outputDerivation = 0x02
)

// networkKey is the data of the key of the field that holds the network's name: identifier and subtype.
const networkKey = "\x08diamante\x00"

// field is one entry of a map.
type field struct {
	kind  uint64
	key   []byte // what follows the type in the key
	value []byte
}

// maxFields bounds the entries of a map, each of which is compared with all others. No map that is understood has more
// than five.
const maxFields = 16

// fields reads one map, in which no field may be there twice.
func (r *reader) fields() (fields []field) {
	for {
		key := &reader{rest: r.bytes()}
		if r.err != nil || len(key.rest) == 0 {
			return fields
		}
		f := field{kind: key.compact(), value: r.bytes()}
		f.key = key.rest
		switch twice := func(g field) bool { return f.kind == g.kind && bytes.Equal(f.key, g.key) }; {
		case key.err != nil:
			r.err = key.err
		case slices.ContainsFunc(fields, twice):
			r.fail("field %02x%x twice", f.kind, f.key)
		case len(fields) == maxFields:
			r.fail("more than %d fields", maxFields)
		}
		fields = append(fields, f)
	}
}

func (f field) unknown(where string) error {
	return malformed("%s field %02x is not taken here, its key data is %.100q", where, f.kind, f.key)
}

// Decode reads a PSBT for the chain. Every error wraps ErrMalformed.
func Decode(chain Chain, psbt []byte) (*Transaction, error) {
	if _, ok := chains[chain]; !ok {
		return nil, malformed("%s is not known", chain)
	}
	if len(psbt) > MaxSize || !bytes.HasPrefix(psbt, []byte(magic)) {
		return nil, malformed("%d bytes, need a PSBT of at most %d", len(psbt), MaxSize)
	}
	// The transaction keeps parts of these bytes, which the caller may write over.
	r := &reader{rest: bytes.Clone(psbt[len(magic):])}
	global := r.fields()
	if r.err != nil {
		return nil, r.err
	}
	network, raw, err := readGlobal(global)
	if err != nil {
		return nil, err
	}
	t := &Transaction{Chain: chain, Network: network, Version: raw.version, LockTime: raw.lockTime}
	if err := t.checkHeader(raw); err != nil {
		return nil, err
	}
	digests := newHasher(raw)
	for i := range raw.inputs {
		in, err := t.readInput(raw.inputs[i], r.fields())
		if err = firstError(r.err, err); err != nil {
			return nil, fmt.Errorf("input %d: %w", i, err)
		}
		code := makeScript(P2PKH, in.program)
		if in.Kind == P2PKH && chain != BitcoinCash {
			in.Digest = digests.legacy(i, code, in.HashType)
		} else {
			in.Digest = digests.committed(i, code, uint64(in.Amount), in.HashType)
		}
		t.Inputs = append(t.Inputs, in)
	}
	for i, out := range raw.outputs {
		o, err := t.readOutput(out, r.fields())
		if err = firstError(r.err, err); err != nil {
			return nil, fmt.Errorf("output %d: %w", i, err)
		}
		t.Outputs = append(t.Outputs, o)
	}
	r.end()
	if r.err != nil {
		return nil, r.err
	}
	t.VSize = t.size(raw)
	if err := t.balance(); err != nil {
		return nil, err
	}
	return t, nil
}

// firstError prefers the error of the encoding to that of what was then read from nothing.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func readGlobal(fields []field) (Network, *rawTx, error) {
	network, encoded := Network(0), []byte(nil)
	for _, f := range fields {
		switch {
		case f.kind == globalVersion || f.kind > globalUnsignedTx && f.kind < 0x07 && f.kind != 0x01:
			return 0, nil, malformed("field %02x is of PSBT version 2, need version 0, which does not say so", f.kind)
		case f.kind == globalUnsignedTx && len(f.key) == 0:
			encoded = f.value
		case f.kind == globalProprietary && string(f.key) == networkKey:
			network = Network(max(0, slices.Index(networks, string(f.value))))
		default:
			return 0, nil, f.unknown("global")
		}
	}
	if network == 0 {
		return 0, nil, malformed("the name of the network is needed")
	}
	if encoded == nil {
		return 0, nil, malformed("the unsigned transaction is needed")
	}
	raw, err := readTx(encoded)
	if err != nil {
		return 0, nil, fmt.Errorf("unsigned transaction: %w", err)
	}
	return network, raw, nil
}

// checkHeader judges what the unsigned transaction says by itself.
func (t *Transaction) checkHeader(raw *rawTx) error {
	if raw.version != 1 && raw.version != 2 {
		return malformed("transaction version %d", raw.version)
	}
	if len(raw.inputs) > MaxInputs || len(raw.outputs) > MaxOutputs {
		return malformed("%d inputs and %d outputs, at most %d and %d", len(raw.inputs), len(raw.outputs), MaxInputs, MaxOutputs)
	}
	type outpoint struct {
		id    TxID
		index uint32
	}
	seen, inForce := make(map[outpoint]bool), false
	for i, in := range raw.inputs {
		point := outpoint{in.previous, in.index}
		switch {
		case len(in.script) > 0:
			return malformed("input %d has a script already", i)
		case seen[point]:
			return malformed("input %d: output %d of %s is spent twice", i, in.index, in.previous)
		case !slices.Contains(chains[t.Chain].sequences, in.sequence):
			return malformed("input %d: sequence number %08x", i, in.sequence)
		}
		seen[point] = true
		inForce = inForce || in.sequence != final
	}
	if raw.lockTime != 0 && !inForce {
		return malformed("lock time %d, which no input puts in force", raw.lockTime)
	}
	return nil
}

// amount checks that so much can be there.
func (t *Transaction) amount(v uint64) (int64, error) {
	if limit := chains[t.Chain].limit; v > uint64(limit) {
		return 0, malformed("amount %d is more than there is, %d", v, limit)
	}
	return int64(v), nil
}

// balance sums up and yields the fee.
func (t *Transaction) balance() error {
	// At most 500 times 84,000,000 coins, which fits.
	in, out, data := int64(0), int64(0), 0
	for _, i := range t.Inputs {
		in += i.Amount
	}
	for _, o := range t.Outputs {
		out += o.Amount
		if o.Kind == OpReturn {
			data++
		}
	}
	if limit := chains[t.Chain].limit; in > limit || out > limit {
		return malformed("%d from inputs, %d to outputs: more than there is, %d", in, out, limit)
	}
	if in < out {
		return malformed("outputs of %d exceed inputs of %d", out, in)
	}
	if data > 1 {
		return malformed("%d outputs of data, which nodes do not relay", data)
	}
	t.Fee = in - out
	return nil
}

func (t *Transaction) readInput(raw rawInput, fields []field) (in Input, err error) {
	in = Input{Previous: raw.previous, Index: raw.index, Sequence: raw.sequence}
	var previousTx, previous, redeem []byte
	var hashType, key *field
	for _, f := range fields {
		switch {
		case f.kind == inputPreviousTx && len(f.key) == 0:
			previousTx = f.value
		case f.kind == inputPrevious && len(f.key) == 0:
			previous = f.value
		case f.kind == inputHashType && len(f.key) == 0:
			hashType = &f
		case f.kind == inputRedeem && len(f.key) == 0:
			redeem = f.value
		case f.kind == inputDerivation && key == nil:
			key = &f
		default:
			return in, f.unknown("input")
		}
	}
	out, err := spent(raw, previousTx)
	if err != nil {
		return in, err
	}
	in.Script = out.script
	if in.Amount, err = t.amount(out.amount); err != nil {
		return in, err
	}
	kind, hash, err := classify(t.Chain, in.Script)
	if err != nil {
		return in, err
	}
	in.Kind, in.Address = kind, address(t.Chain, t.Network, kind, hash)
	if in.HashType, err = t.hashType(hashType); err != nil {
		return in, err
	}
	if previous != nil && (kind == P2PKH || !bytes.Equal(previous, out.append(nil))) {
		return in, malformed("the witness previous output is not that of the previous transaction, or this is no witness input")
	}
	if key == nil {
		return in, malformed("the key that signs is needed")
	}
	owner, err := readKey(*key)
	if err != nil {
		return in, err
	}
	in.Key = *owner
	in.program, err = t.ownedBy(owner, kind, hash, redeem)
	return in, err
}

// spent finds the output that an input spends in the previous transaction, which must be the one of that id.
func spent(in rawInput, previousTx []byte) (rawOutput, error) {
	if previousTx == nil {
		return rawOutput{}, malformed("the whole previous transaction is needed")
	}
	if doubleSHA256(previousTx) != in.previous {
		return rawOutput{}, malformed("the previous transaction is not %s, or has witnesses", in.previous)
	}
	previous, err := readTx(previousTx)
	if err != nil {
		return rawOutput{}, fmt.Errorf("previous transaction: %w", err)
	}
	if uint64(in.index) >= uint64(len(previous.outputs)) {
		return rawOutput{}, malformed("%s has no output %d", in.previous, in.index)
	}
	return previous.outputs[in.index], nil
}

// hashType accepts the one hash type of the chain. Bitcoin Cash must say it, so that no PSBT is of it and of another
// chain.
func (t *Transaction) hashType(f *field) (byte, error) {
	want := chains[t.Chain].hashType
	if f == nil && want&hashForkID == 0 {
		return want, nil
	}
	if f == nil || len(f.value) != 4 || (&reader{rest: f.value}).uint32() != uint32(want) {
		return 0, malformed("the hash type of %s is %02x", t.Chain, want)
	}
	return want, nil
}

func readKey(f field) (*Key, error) {
	if len(f.key) != PublicKeySize || f.key[0] != 0x02 && f.key[0] != 0x03 {
		return nil, malformed("%.100x is no compressed public key", f.key)
	}
	r := &reader{rest: f.value}
	key := &Key{Public: [PublicKeySize]byte(f.key)}
	copy(key.Fingerprint[:], r.take(uint64(len(key.Fingerprint))))
	for len(r.rest) > 0 && r.err == nil {
		key.Path = append(key.Path, r.uint32())
	}
	if r.err != nil || len(key.Path) > MaxPath {
		return nil, malformed("derivation %.100x: need a fingerprint and at most %d steps", f.value, MaxPath)
	}
	return key, nil
}

func (t *Transaction) readOutput(raw rawOutput, fields []field) (out Output, err error) {
	out.Script = raw.script
	if out.Amount, err = t.amount(raw.amount); err != nil {
		return out, err
	}
	kind, hash, err := classify(t.Chain, raw.script)
	if err != nil {
		return out, err
	}
	out.Kind, out.Address = kind, address(t.Chain, t.Network, kind, hash)
	for _, f := range fields {
		if f.kind != outputDerivation || out.Change != nil {
			return out, f.unknown("output")
		}
		if out.Change, err = readKey(f); err != nil {
			return out, err
		}
	}
	if kind == OpReturn {
		if out.Amount != 0 || out.Change != nil {
			return out, malformed("data that destroys %d, or is change", out.Amount)
		}
		return out, nil
	}
	if least := dust(t.Chain, kind, raw.script); out.Amount < least {
		return out, malformed("amount %d is dust: under %d", out.Amount, least)
	}
	if out.Change != nil {
		return out, t.checkChange(out.Change, kind, hash)
	}
	return out, nil
}
