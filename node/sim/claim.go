package sim

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// claim names what a validator may say once only: the value of a ballot that it votes to commit at a counter, or that it has
// accepted, and so on.
type claim struct {
	slot    uint64
	kind    string
	counter uint32
}

// SignStatement is part of herder.StatementSigner. It finds what contradicts something signed before.
func (v *validator) SignStatement(_ context.Context, body []byte) ([]byte, error) {
	var st xdr.ScpStatement
	if err := st.UnmarshalBinary(body[sha256.Size+4:]); err != nil {
		return nil, err
	}
	for c, value := range claims(st) {
		if before, ok := v.spoken[c]; ok && before != value {
			v.w.fail(fmt.Errorf("%w: validator %d said %+v of two values", ErrUnsafe, v.index, c))
		}
		v.spoken[c] = value
	}
	if now, ok := place(st); ok {
		c := claim{uint64(st.SlotIndex), "place", 0}
		if now < v.spoken[c] {
			v.w.fail(fmt.Errorf("%w: validator %d says %s of slot %d after something newer", ErrUnsafe, v.index, st.Pledges.Type, st.SlotIndex))
		}
		v.spoken[c] = now
	}
	return ed25519.Sign(v.key, body), nil
}

// place orders what is said in ballots: the kind, then the counter, then the value.
func place(st xdr.ScpStatement) (string, bool) {
	at := func(kind byte, counter xdr.Uint32, value xdr.Value) (string, bool) {
		return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(counter))) + string(value), true
	}
	switch p := st.Pledges; p.Type {
	case xdr.ScpStatementTypeScpStPrepare:
		return at(1, p.Prepare.Ballot.Counter, p.Prepare.Ballot.Value)
	case xdr.ScpStatementTypeScpStConfirm:
		return at(2, p.Confirm.Ballot.Counter, p.Confirm.Ballot.Value)
	case xdr.ScpStatementTypeScpStExternalize:
		return at(3, 0, p.Externalize.Commit.Value)
	}
	return "", false
}

// mostCounters bounds how many counters of one statement are compared.
const mostCounters = 100

// claims are what a statement says that may not be said of another value: the ballots that it votes to commit, and what it has
// accepted as committed.
func claims(st xdr.ScpStatement) map[claim]string {
	out := map[claim]string{}
	slot := uint64(st.SlotIndex)
	commit := func(from, to xdr.Uint32, value xdr.Value) {
		for n := uint64(from); n <= uint64(to) && n < uint64(from)+mostCounters; n++ {
			out[claim{slot, "commit", uint32(n)}] = string(value)
		}
	}
	switch p := st.Pledges; p.Type {
	case xdr.ScpStatementTypeScpStPrepare:
		if p.Prepare.NC != 0 {
			commit(p.Prepare.NC, p.Prepare.NH, p.Prepare.Ballot.Value)
		}
	case xdr.ScpStatementTypeScpStConfirm:
		commit(p.Confirm.NCommit, p.Confirm.NH, p.Confirm.Ballot.Value)
		out[claim{slot, "accepted", 0}] = string(p.Confirm.Ballot.Value)
	case xdr.ScpStatementTypeScpStExternalize:
		out[claim{slot, "accepted", 0}] = string(p.Externalize.Commit.Value)
	}
	return out
}
