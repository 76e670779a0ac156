package protocol_test

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// envelope is a transaction with one operation.
func envelope(op xdr.Operation) xdr.TransactionEnvelope {
	key := xdr.Uint256{1}
	return xdr.TransactionEnvelope{Type: xdr.EnvelopeTypeEnvelopeTypeTx, V1: &xdr.TransactionV1Envelope{
		Tx: xdr.Transaction{SourceAccount: xdr.MuxedAccount{Type: xdr.CryptoKeyTypeKeyTypeEd25519, Ed25519: &key}, Fee: 100, SeqNum: 1,
			Cond: xdr.Preconditions{Type: xdr.PreconditionTypePrecondNone}, Memo: xdr.Memo{Type: xdr.MemoTypeMemoNone},
			Operations: []xdr.Operation{op}},
		Signatures: []xdr.DecoratedSignature{{Signature: make([]byte, 64)}}}}
}

func note(value []byte) xdr.Operation {
	v := xdr.DataValue(value)
	return xdr.Operation{Body: xdr.OperationBody{Type: xdr.OperationTypeManageData,
		ManageDataOp: &xdr.ManageDataOp{DataName: "note", DataValue: &v}}}
}

// call is an operation with a value inside values, to the given depth.
func call(depth int) xdr.Operation {
	v := xdr.ScVal{Type: xdr.ScValTypeScvVoid}
	for range depth {
		inner := &xdr.ScVec{v}
		v = xdr.ScVal{Type: xdr.ScValTypeScvVec, Vec: &inner}
	}
	return xdr.Operation{Body: xdr.OperationBody{Type: xdr.OperationTypeInvokeHostFunction, InvokeHostFunctionOp: &xdr.InvokeHostFunctionOp{
		HostFunction: xdr.HostFunction{Type: xdr.HostFunctionTypeHostFunctionTypeInvokeContract, InvokeContract: &xdr.InvokeContractArgs{
			ContractAddress: xdr.ScAddress{Type: xdr.ScAddressTypeScAddressTypeContract, ContractId: &xdr.ContractId{}}, FunctionName: "f", Args: []xdr.ScVal{v}}}}}}
}

func TestEnvelopeRoundTrip(t *testing.T) {
	for name, op := range map[string]xdr.Operation{"note": note([]byte{1, 2, 3}), "a call, which we do not apply": call(3)} {
		want, err := protocol.EncodeEnvelope(envelope(op))
		if err != nil {
			t.Fatal(name, err)
		}
		env, err := protocol.DecodeEnvelope(want)
		if err != nil {
			t.Fatal(name, err)
		}
		if got, err := protocol.EncodeEnvelope(env); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v; want %x", name, got, err, want)
		}
	}
}

func TestEnvelopeRefused(t *testing.T) {
	good, err := protocol.EncodeEnvelope(envelope(note([]byte{1})))
	if err != nil {
		t.Fatal(err)
	}
	deep, err := protocol.EncodeEnvelope(envelope(call(1000)))
	if err != nil {
		t.Fatal(err)
	}
	edit := func(i int, b ...byte) []byte {
		out := bytes.Clone(good)
		copy(out[i:], b)
		return out
	}
	for name, in := range map[string][]byte{
		"nothing":                        {},
		"cut":                            good[:len(good)-1],
		"more behind":                    append(bytes.Clone(good), 0, 0, 0, 0),
		"too large":                      make([]byte, protocol.MaxEnvelopeBytes+1),
		"unknown type":                   edit(0, 0, 0, 0, 77),
		"four billion operations":        edit(64, 0xff, 0xff, 0xff, 0xff),
		"a hundred operations, one left": edit(64, 0, 0, 0, 100),
		"nested a thousand deep":         deep,
		"padding that is not zero":       append(bytes.Clone(good[:96]), append([]byte{0xff}, good[97:]...)...),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := protocol.DecodeEnvelope(in)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, protocol.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
				t.Errorf("took %d bytes of memory", used)
			}
		})
	}
}

func FuzzDecodeEnvelope(f *testing.F) {
	for _, op := range []xdr.Operation{note([]byte{1}), call(1), call(50), call(1000)} {
		b, err := protocol.EncodeEnvelope(envelope(op))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		env, err := protocol.DecodeEnvelope(in)
		if err != nil {
			if !errors.Is(err, protocol.ErrInvalid) {
				t.Errorf("error %v is not ErrInvalid", err)
			}
			return
		}
		if again, err := protocol.EncodeEnvelope(env); err != nil || !bytes.Equal(again, in) {
			t.Errorf("read and written again: %x, %v", again, err)
		}
		if _, err := protocol.Passphrase("fuzz").TxHash(env); err != nil && !errors.Is(err, protocol.ErrInvalid) {
			t.Errorf("hash: %v", err)
		}
	})
}
