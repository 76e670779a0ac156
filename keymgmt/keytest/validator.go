package keytest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

// Validator makes what a validator asks to be signed, for tests of what holds it to its word.
type Validator struct {
	Private ed25519.PrivateKey
	Network protocol.Hash
	ID      protocol.AccountID

	t testing.TB
}

// NewValidator makes a validator of a network, with a key of its own.
func NewValidator(t testing.TB, network protocol.Hash) *Validator {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	id, err := protocol.AccountIDFromKey(public)
	must(t, err)
	return &Validator{private, network, id, t}
}

// Proposal is what is signed of a value: a transaction set, known by one byte here, and a close time.
func (v *Validator) Proposal(txSet byte, closed time.Time) []byte {
	return slices.Concat(v.Network[:], []byte{0, 0, 0, byte(xdr.EnvelopeTypeEnvelopeTypeScpvalue)}, append(make([]byte, 31), txSet),
		binary.BigEndian.AppendUint64(nil, uint64(closed.Unix())))
}

// Value is such a value, proposed by this validator.
func (v *Validator) Value(txSet byte, closed time.Time, upgrades ...xdr.LedgerUpgrade) xdr.Value {
	v.t.Helper()
	x := xdr.StellarValue{TxSetHash: xdr.Hash{31: txSet}, CloseTime: xdr.TimePoint(closed.Unix()), Ext: xdr.StellarValueExt{
		V: xdr.StellarValueTypeStellarValueSigned, LcValueSignature: &xdr.LedgerCloseValueSignature{NodeId: xdr.NodeId(v.ID.XDR()),
			Signature: ed25519.Sign(v.Private, v.Proposal(txSet, closed))}}}
	for _, u := range upgrades {
		raw, err := u.MarshalBinary()
		must(v.t, err)
		x.Upgrades = append(x.Upgrades, raw)
	}
	raw, err := x.MarshalBinary()
	must(v.t, err)
	return raw
}

// Nominate is what is signed of a vote to nominate values, which are in the order of their bytes.
func (v *Validator) Nominate(slot uint64, values ...xdr.Value) []byte {
	return v.statement(slot, xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStNominate, Nominate: &xdr.ScpNomination{Votes: values}})
}

// Prepare is what is signed of a vote to prepare a ballot.
func (v *Validator) Prepare(slot uint64, counter uint32, value xdr.Value) []byte {
	return v.statement(slot, xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStPrepare,
		Prepare: &xdr.ScpStatementPrepare{Ballot: xdr.ScpBallot{Counter: xdr.Uint32(counter), Value: value}}})
}

// Confirm is what is signed of the acceptance that a ballot is committed.
func (v *Validator) Confirm(slot uint64, counter uint32, value xdr.Value) []byte {
	n := xdr.Uint32(counter)
	return v.statement(slot, xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStConfirm,
		Confirm: &xdr.ScpStatementConfirm{Ballot: xdr.ScpBallot{Counter: n, Value: value}, NPrepared: n, NCommit: n, NH: n}})
}

// Externalize is what is signed of a decision.
func (v *Validator) Externalize(slot uint64, counter uint32, value xdr.Value) []byte {
	return v.statement(slot, xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStExternalize,
		Externalize: &xdr.ScpStatementExternalize{Commit: xdr.ScpBallot{Counter: xdr.Uint32(counter), Value: value}, NH: xdr.Uint32(counter)}})
}

func (v *Validator) statement(slot uint64, pledges xdr.ScpStatementPledges) []byte {
	v.t.Helper()
	raw, err := xdr.ScpStatement{NodeId: xdr.NodeId(v.ID.XDR()), SlotIndex: xdr.Uint64(slot), Pledges: pledges}.MarshalBinary()
	must(v.t, err)
	return slices.Concat(v.Network[:], []byte{0, 0, 0, byte(xdr.EnvelopeTypeEnvelopeTypeScp)}, raw)
}

// Request asks to sign one of these, under a ref of the caller's.
func (v *Validator) Request(key keymgmt.KeyID, ref string, body []byte) keymgmt.Request {
	kind := keymgmt.KindStatement
	if body[35] == byte(xdr.EnvelopeTypeEnvelopeTypeScpvalue) {
		kind = keymgmt.KindSCPValue
	}
	return keymgmt.Request{Key: key, Kind: kind, Body: body, Ref: ref}
}
