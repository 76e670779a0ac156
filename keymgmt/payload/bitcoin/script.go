package bitcoin

import (
	"bytes"
	"fmt"
	"slices"
)

// ScriptKind is a form of script. Zero is invalid.
type ScriptKind uint8

// The forms that are understood.
const (
	P2PKH ScriptKind = 1 + iota
	P2SH
	P2WPKH
	P2WSH
	P2TR
	OpReturn
)

// String returns the usual name of the form.
func (k ScriptKind) String() string {
	if k != 0 && int(k) < len(scripts) {
		return scripts[k].name
	}
	return fmt.Sprintf("script kind %d", uint8(k))
}

// Operations that the forms are made of.
const (
	op0           = 0x00
	op1           = 0x51
	opReturn      = 0x6a
	opDup         = 0x76
	opEqual       = 0x87
	opEqualVerify = 0x88
	opHash160     = 0xa9
	opCheckSig    = 0xac
)

// scripts has the forms of fixed length: a hash or key of size bytes between head and tail.
var scripts = []struct {
	name    string
	head    []byte
	size    int
	tail    []byte
	witness bool
}{
	P2PKH:    {"p2pkh", []byte{opDup, opHash160, 20}, 20, []byte{opEqualVerify, opCheckSig}, false},
	P2SH:     {"p2sh", []byte{opHash160, 20}, 20, []byte{opEqual}, false},
	P2WPKH:   {"p2wpkh", []byte{op0, 20}, 20, nil, true},
	P2WSH:    {"p2wsh", []byte{op0, 32}, 32, nil, true},
	P2TR:     {"p2tr", []byte{op1, 32}, 32, nil, true},
	OpReturn: {name: "op_return"},
}

// makeScript returns the script of a form of fixed length.
func makeScript(kind ScriptKind, hash []byte) []byte {
	return slices.Concat(scripts[kind].head, hash, scripts[kind].tail)
}

// classify recognises the forms that exist on the chain, and yields the hash or key within, or the data. Litecoin's
// extension blocks (witness versions 8 and 9) and Bitcoin Cash's tokens (a prefix) are none of these.
func classify(chain Chain, script []byte) (ScriptKind, []byte, error) {
	for kind := P2PKH; kind < OpReturn; kind++ {
		form := scripts[kind]
		if form.witness && !chains[chain].witness || len(script) != len(form.head)+form.size+len(form.tail) {
			continue
		}
		if bytes.HasPrefix(script, form.head) && bytes.HasSuffix(script, form.tail) {
			return kind, script[len(form.head):][:form.size], nil
		}
	}
	if len(script) > 1 && len(script) <= MaxData && script[0] == opReturn {
		return OpReturn, script[1:], nil
	}
	return 0, nil, malformed("script %.200x is of no form that is understood on %s", script, chain)
}

// Vbytes of the input that will spend an output one day, as nodes count them for dust.
const (
	spendingLegacy  = 148
	spendingWitness = 67
)

// dust returns the least amount that nodes relay in an output.
func dust(chain Chain, kind ScriptKind, script []byte) int64 {
	size := len(new(rawOutput{script: script}).append(nil)) + spendingLegacy
	if scripts[kind].witness {
		size += spendingWitness - spendingLegacy
	}
	return int64(size) * chains[chain].dustRate
}

// signable reports whether one key can spend that form of output with a signature that is made here.
func (t *Transaction) signable(kind ScriptKind) bool {
	return kind == P2PKH || chains[t.Chain].witness && (kind == P2WPKH || kind == P2SH)
}
