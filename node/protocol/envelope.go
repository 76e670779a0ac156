package protocol

import (
	"bytes"
	"fmt"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// MaxEnvelopeBytes bounds the XDR of one transaction envelope: 100 operations and 20 signatures fit many times over.
const MaxEnvelopeBytes = 100 << 10

// Bounds of the decoder. A few hundred bytes of XDR can claim nesting or arrays that would take the stack or gigabytes.
const (
	maxEnvelopeDepth  = 100
	maxEnvelopeMemory = 16 << 20
)

// DecodeEnvelope reads the XDR of one transaction envelope from a stranger: bounded in size, depth and memory, with
// nothing after it, and only in the canonical encoding, so that equal transactions are equal bytes.
func DecodeEnvelope(b []byte) (xdr.TransactionEnvelope, error) {
	var env xdr.TransactionEnvelope
	if len(b) > MaxEnvelopeBytes {
		return env, fmt.Errorf("%w: envelope of %d bytes, more than %d", ErrInvalid, len(b), MaxEnvelopeBytes)
	}
	n, err := xdr.UnmarshalWithOptions(bytes.NewReader(b), &env, xdr.DecodeOptions{
		MaxDepth: maxEnvelopeDepth, MaxInputLen: len(b), MaxMemoryBytes: maxEnvelopeMemory})
	if err != nil {
		return xdr.TransactionEnvelope{}, fmt.Errorf("%w: envelope: %v", ErrInvalid, err)
	}
	if n != len(b) {
		return xdr.TransactionEnvelope{}, fmt.Errorf("%w: envelope is followed by %d more bytes", ErrInvalid, len(b)-n)
	}
	if again, err := env.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
		return xdr.TransactionEnvelope{}, fmt.Errorf("%w: envelope is not in its canonical encoding", ErrInvalid)
	}
	return env, nil
}

// EncodeEnvelope writes env as DecodeEnvelope reads it. An envelope that was put together wrongly, with an arm of a
// union missing, is an error.
func EncodeEnvelope(env xdr.TransactionEnvelope) (b []byte, err error) {
	defer func() {
		// The generated encoder dereferences the arms of unions without looking.
		if r := recover(); r != nil {
			b, err = nil, fmt.Errorf("%w: envelope does not encode: %v", ErrInvalid, r)
		}
	}()
	if b, err = env.MarshalBinary(); err != nil {
		return nil, fmt.Errorf("%w: envelope does not encode: %v", ErrInvalid, err)
	}
	if len(b) > MaxEnvelopeBytes {
		return nil, fmt.Errorf("%w: envelope of %d bytes, more than %d", ErrInvalid, len(b), MaxEnvelopeBytes)
	}
	return b, nil
}
