package child

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11"
)

// identities are the errors that stay themselves on the way, by their bit. The order is the protocol.
var identities = []error{
	keymgmt.ErrUnavailable, keymgmt.ErrUnknownKey, keymgmt.ErrMalformed,
	pkcs11.ErrPIN, pkcs11.ErrToken, pkcs11.ErrKeyRefused, pkcs11.ErrExists, pkcs11.ErrCannotWrap, pkcs11.ErrNotSealed,
	context.Canceled, context.DeadlineExceeded, keymgmt.ErrNoMark, pkcs11.ErrMark,
}

// remoteError is an error of the child: its text, and what errors.Is knows of it.
type remoteError struct {
	text string
	is   []error
}

// Error returns the text that the error had in the child.
func (e *remoteError) Error() string { return e.text }

// Unwrap returns the errors that it is.
func (e *remoteError) Unwrap() []error { return e.is }

// appendStatus appends nothing but two zero bytes for a nil error.
func appendStatus(b []byte, err error) []byte {
	if err == nil {
		return binary.BigEndian.AppendUint16(b, 0)
	}
	var bits uint16 = 1 << 15 // an error of no kind is one, too
	for i, e := range identities {
		if errors.Is(err, e) {
			bits |= 1 << i
		}
	}
	text := strings.ToValidUTF8(err.Error(), "?")
	b = binary.BigEndian.AppendUint16(b, bits)
	return appendBytes(b, []byte(text[:min(len(text), maxErrorText)]))
}

// status reads what appendStatus wrote. fault says that it is something else.
func (p *parser) status() (err, fault error) {
	b := p.take(2)
	if b == nil {
		return nil, p.end()
	}
	bits := binary.BigEndian.Uint16(b)
	if bits == 0 {
		return nil, nil
	}
	text := p.bytes(maxErrorText)
	if p.bad || bits>>15 != 1 || bits&^(1<<15)>>len(identities) != 0 {
		return nil, fmt.Errorf("%w: status %#x", errWire, bits)
	}
	e := &remoteError{text: fmt.Sprintf("HSM process: %q", text)}
	for i, known := range identities {
		if bits&(1<<i) != 0 {
			e.is = append(e.is, known)
		}
	}
	if len(e.is) == 0 { // the contract of a keyring has no other error
		e.is = []error{keymgmt.ErrUnavailable}
	}
	return e, nil
}
