package herder

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// MaxTimeSlip is how far the close time of a value may lie ahead of a validator's clock.
const MaxTimeSlip = 60 * time.Second

// ErrBadValue is wrapped by every reason not to vote for a value.
var ErrBadValue = errors.New("herder: bad value")

// ValueSigner holds, or knows where to ask for, the validator's key. It is called by one goroutine at a time.
type ValueSigner interface {
	// NodeID is the validator's public key.
	NodeID() protocol.AccountID
	// SignValue returns the Ed25519 signature over body, which is the XDR of (network id, ENVELOPE_TYPE_SCPVALUE,
	// transaction set hash, close time): whole, so that a signer can read what it signs. Any error means that nothing
	// was signed, and the herder asks again later.
	SignValue(ctx context.Context, body []byte) ([]byte, error)
}

// signValue fills in the signature of v, after checking it.
func signValue(ctx context.Context, network protocol.Hash, s ValueSigner, v *xdr.StellarValue) error {
	sig, err := s.SignValue(ctx, valueBody(network, *v))
	if err != nil {
		return fmt.Errorf("herder: sign value: %w", err)
	}
	v.Ext = xdr.StellarValueExt{V: xdr.StellarValueTypeStellarValueSigned, LcValueSignature: &xdr.LedgerCloseValueSignature{
		NodeId: xdr.NodeId(s.NodeID().XDR()), Signature: sig}}
	return verifyValue(network, *v)
}

// isSigned reports whether v has a signature, good or not.
func isSigned(v xdr.StellarValue) bool {
	return v.Ext.V == xdr.StellarValueTypeStellarValueSigned && v.Ext.LcValueSignature != nil
}

// verifyValue checks that v is signed by the validator that it names.
func verifyValue(network protocol.Hash, v xdr.StellarValue) error {
	if !isSigned(v) {
		return fmt.Errorf("%w: not signed", ErrBadValue)
	}
	id, err := protocol.AccountIDFromXDR(xdr.AccountId(v.Ext.LcValueSignature.NodeId))
	if err != nil {
		return fmt.Errorf("%w: signer: %v", ErrBadValue, err)
	}
	sig := v.Ext.LcValueSignature.Signature
	if len(sig) != ed25519.SignatureSize || !ed25519.Verify(id.Key(), valueBody(network, v), sig) {
		return fmt.Errorf("%w: the signature of %s does not verify", ErrBadValue, id)
	}
	return nil
}

// valueBody is what is signed of a value. Upgrades are not covered: consensus may strip them.
func valueBody(network protocol.Hash, v xdr.StellarValue) []byte {
	body := append([]byte(nil), network[:]...)
	for _, part := range []interface{ MarshalBinary() ([]byte, error) }{
		xdr.EnvelopeTypeEnvelopeTypeScpvalue, v.TxSetHash, v.CloseTime} {
		b, err := part.MarshalBinary()
		if err != nil {
			panic("herder: a fixed-size value does not encode: " + err.Error())
		}
		body = append(body, b...)
	}
	return body
}

// checkTime refuses a close time that is not after the previous one or too far ahead of now.
func checkTime(v xdr.StellarValue, previous uint64, now time.Time) error {
	if uint64(v.CloseTime) <= previous {
		return fmt.Errorf("%w: close time %d is not after the previous one, %d", ErrBadValue, v.CloseTime, previous)
	}
	if latest := now.Add(MaxTimeSlip).Unix(); latest < 0 || uint64(v.CloseTime) > uint64(latest) {
		return fmt.Errorf("%w: close time %d is more than %s ahead of the clock", ErrBadValue, v.CloseTime, MaxTimeSlip)
	}
	return nil
}

// closeTime returns the close time to propose at now after previous, and false if its second has not come and lies
// further ahead than lead.
func closeTime(previous uint64, now time.Time, lead time.Duration) (uint64, bool) {
	t := previous + 1
	if unix := now.Unix(); unix > 0 && uint64(unix) > t {
		t = uint64(unix)
	}
	return t, t <= uint64(max(now.Add(lead).Unix(), 0))
}
