// Package paper is what an officer is asked to sign, as it goes from one program to another: an approval of a request, or
// an order. It carries the bytes that are meant and never a digest; each program that has one reads it for itself.
//
//	var p paper.Paper // from JSON
//	message, err := p.Message() // what is signed, which is also what is shown
package paper

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
)

// MaxPaper bounds a paper, in bytes of JSON.
const MaxPaper = 256 << 10

// Request is what people are asked to approve: a request as it will go to the signer, without anybody's approval.
type Request struct {
	Key       keymgmt.KeyID `json:"key"`
	Kind      keymgmt.Kind  `json:"kind"`
	Body      []byte        `json:"body"` // base64
	Ref       string        `json:"ref"`
	Initiator string        `json:"initiator"`
}

// Intent reads a request as the signer will under a policy's version.
func (r Request) Intent(version uint64) (policy.Intent, error) {
	asked := keymgmt.Request{Key: r.Key, Kind: r.Kind, Body: r.Body, Ref: r.Ref, Initiator: r.Initiator}
	if err := asked.Validate(); err != nil {
		return policy.Intent{}, err
	}
	m, err := payload.Decode(r.Kind, r.Body)
	if err != nil {
		return policy.Intent{}, err
	}
	return policy.IntentOf(asked, m, version)
}

// Approval is a request with what an officer adds: under which policy, in whose name, until when. Consent is not signed yet.
type Approval struct {
	Request Request         `json:"request"`
	Version uint64          `json:"policy_version"`
	Consent keymgmt.Consent `json:"consent"`
}

// Paper is one of the two.
type Paper struct {
	Approve *Approval      `json:"approve,omitempty"`
	Order   *keymgmt.Order `json:"order,omitempty"`
}

// errEmpty: neither, or both.
var errEmpty = errors.New("paper: need one approval, or one order")

// Read reads a paper strictly.
func Read(r io.Reader) (p Paper, err error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxPaper+1))
	if err != nil {
		return p, fmt.Errorf("paper: %w", err)
	}
	if len(raw) > MaxPaper {
		return p, fmt.Errorf("paper: over %d bytes", MaxPaper)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return p, fmt.Errorf("paper: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return p, errors.New("paper: something follows the JSON value")
	}
	return p, nil
}

// Message returns what is signed: text, one fact a line. Nothing but what is said in it can follow from the signature.
func (p Paper) Message() ([]byte, error) {
	switch {
	case (p.Approve == nil) == (p.Order == nil):
		return nil, errEmpty
	case p.Order != nil:
		o := *p.Order
		o.Signers = []keymgmt.OrderSignature{{Officer: "nobody", Signature: make([]byte, 64)}} // the order's own shape
		return policy.OrderText(o), o.Validate()
	}
	i, err := p.Approve.Request.Intent(p.Approve.Version)
	if err != nil {
		return nil, err
	}
	c := p.Approve.Consent
	c.Signature, c.Passkey = make([]byte, 64), nil // the consent's own shape
	return i.Message(c), (keymgmt.Request{Consents: []keymgmt.Consent{c}}).ValidPeople()
}
