package payload

import (
	"fmt"
	"strings"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Statement is what a validator tells the others about one slot, the number of a ledger to come. Only Decode makes one.
type Statement struct {
	Network       protocol.Hash
	Node          protocol.AccountID // the only key that it is a message for
	Slot          uint64
	QuorumSetHash protocol.Hash // whom the validator trusts
	Pledge        Pledge

	raw string
}

// Pledge is *Nominate, *Prepare, *Confirm or *Externalize. Their fields are named as in the protocol.
type Pledge interface {
	words() []string
	rank() int // of its type among statements about ballots; 0 for nomination, which has no place among them
}

// Ballot is an attempt at agreeing on a value.
type Ballot struct {
	Counter uint32
	Value   Value
}

// Nominate proposes values.
type Nominate struct {
	Votes, Accepted []Value
}

// Prepare votes to prepare Ballot: to commit nothing else that is less.
type Prepare struct {
	Ballot Ballot
	// Prepared and PreparedPrime are the two highest ballots of different values that are accepted as prepared, nil
	// when there are none.
	Prepared, PreparedPrime *Ballot
	// Ballots from NC to NH of Ballot's value are voted to be committed, none if NC is 0; NH is confirmed as prepared.
	NC, NH uint32
}

// Confirm accepts that ballots from NCommit to NH of Ballot's value are committed.
type Confirm struct {
	Ballot                 Ballot
	NPrepared, NCommit, NH uint32
}

// Externalize says that Commit, and all up to NH of its value, are committed: the slot is decided.
type Externalize struct {
	Commit Ballot
	NH     uint32
}

func (m *Meaning) readStatement(body []byte) error {
	network, rest, err := scpBody(body, xdr.EnvelopeTypeEnvelopeTypeScp)
	if err != nil {
		return err
	}
	var x xdr.ScpStatement
	if err := decodeXDR(rest, &x); err != nil {
		return err
	}
	r := &valueReader{network: network, seen: map[string]Value{}}
	s := &Statement{Network: network, Node: r.accountID(xdr.AccountId(x.NodeId)), Slot: uint64(x.SlotIndex), raw: string(rest)}
	if s.Slot == 0 {
		r.fail("slot 0")
	}
	s.QuorumSetHash, s.Pledge = r.pledge(x.Pledges)
	if r.err != nil {
		return r.err
	}
	m.Statement, m.sign = s, nodeOnly(s.Node, body)
	for _, line := range s.Pledge.words() {
		m.words = append(m.words, fmt.Sprintf("slot %d: %s", s.Slot, line))
	}
	for _, v := range r.order {
		m.words = append(m.words, v.words())
	}
	m.words = append(m.words, fmt.Sprintf("by validator %s with quorum set %s", s.Node, s.QuorumSetHash), "on network "+network.String())
	return nil
}

func (r *valueReader) pledge(x xdr.ScpStatementPledges) (protocol.Hash, Pledge) {
	switch x.Type {
	case xdr.ScpStatementTypeScpStNominate:
		return protocol.Hash(x.Nominate.QuorumSetHash), r.nominate(*x.Nominate)
	case xdr.ScpStatementTypeScpStPrepare:
		return protocol.Hash(x.Prepare.QuorumSetHash), r.prepare(*x.Prepare)
	case xdr.ScpStatementTypeScpStConfirm:
		return protocol.Hash(x.Confirm.QuorumSetHash), r.confirm(*x.Confirm)
	case xdr.ScpStatementTypeScpStExternalize:
		return protocol.Hash(x.Externalize.CommitQuorumSetHash), r.externalize(*x.Externalize)
	}
	r.fail("statement of type %d", x.Type)
	return protocol.Hash{}, nil
}

func (r *valueReader) nominate(x xdr.ScpNomination) Pledge {
	if len(x.Votes)+len(x.Accepted) == 0 {
		r.fail("nomination of nothing")
	}
	return &Nominate{r.sorted(x.Votes), r.sorted(x.Accepted)}
}

func (r *valueReader) prepare(x xdr.ScpStatementPrepare) Pledge {
	p := &Prepare{Ballot: r.ballot(x.Ballot), NC: uint32(x.NC), NH: uint32(x.NH)}
	if x.Prepared != nil {
		p.Prepared = new(r.ballot(*x.Prepared))
	}
	if x.PreparedPrime != nil {
		p.PreparedPrime = new(r.ballot(*x.PreparedPrime))
	}
	switch {
	case p.PreparedPrime != nil && (p.Prepared == nil || !p.PreparedPrime.abortedBy(p.Prepared)):
		r.fail("what is accepted as prepared contradicts itself")
	case p.NH != 0 && (p.Prepared == nil || p.NH > p.Prepared.Counter):
		r.fail("ballot %d is confirmed as prepared before it is accepted", p.NH)
	case p.NC != 0 && (p.NC > p.NH || p.NH > p.Ballot.Counter):
		r.fail("ballots %d to %d are to be committed, at ballot %d", p.NC, p.NH, p.Ballot.Counter)
	}
	return p
}

func (r *valueReader) confirm(x xdr.ScpStatementConfirm) Pledge {
	c := &Confirm{r.ballot(x.Ballot), uint32(x.NPrepared), uint32(x.NCommit), uint32(x.NH)}
	if c.NCommit == 0 || c.NCommit > c.NH || c.NH > c.Ballot.Counter {
		r.fail("ballots %d to %d are accepted as committed, at ballot %d", c.NCommit, c.NH, c.Ballot.Counter)
	}
	return c
}

func (r *valueReader) externalize(x xdr.ScpStatementExternalize) Pledge {
	e := &Externalize{r.ballot(x.Commit), uint32(x.NH)}
	if e.NH < e.Commit.Counter {
		r.fail("ballots %d to %d are committed", e.Commit.Counter, e.NH)
	}
	return e
}

func (r *valueReader) ballot(x xdr.ScpBallot) Ballot {
	if x.Counter == 0 {
		r.fail("ballot 0")
	}
	return Ballot{uint32(x.Counter), r.value(x.Value)}
}

// String returns the ballot in words.
func (b Ballot) String() string {
	return fmt.Sprintf("ballot %d of value %s", b.Counter, b.Value.Hash())
}

func (n *Nominate) words() (w []string) {
	if len(n.Votes) > 0 {
		w = append(w, "votes to nominate values "+hashes(n.Votes))
	}
	if len(n.Accepted) > 0 {
		w = append(w, "accepts as nominated values "+hashes(n.Accepted))
	}
	return w
}

func hashes(values []Value) string {
	var w []string
	for _, v := range values {
		w = append(w, v.Hash().String())
	}
	return strings.Join(w, " and ")
}

func (p *Prepare) words() []string {
	w := []string{"votes to prepare " + p.Ballot.String()}
	for _, b := range []*Ballot{p.Prepared, p.PreparedPrime} {
		if b != nil {
			w = append(w, "accepts as prepared "+b.String())
		}
	}
	if p.NH != 0 {
		w = append(w, fmt.Sprintf("knows as prepared ballots up to %d of value %s", p.NH, p.Ballot.Value.Hash()))
	}
	if p.NC != 0 {
		w = append(w, fmt.Sprintf("VOTES TO COMMIT ballots %d to %d of value %s", p.NC, p.NH, p.Ballot.Value.Hash()))
	}
	return w
}

func (c *Confirm) words() []string {
	return []string{fmt.Sprintf("ACCEPTS AS COMMITTED ballots %d to %d of value %s", c.NCommit, c.NH, c.Ballot.Value.Hash()),
		fmt.Sprintf("is at ballot %d and accepts it as prepared up to %d", c.Ballot.Counter, c.NPrepared)}
}

func (e *Externalize) words() []string {
	return []string{fmt.Sprintf("IS DECIDED on value %s, committed in ballots %d to %d", e.Commit.Value.Hash(), e.Commit.Counter, e.NH)}
}

func (*Nominate) rank() int    { return 0 }
func (*Prepare) rank() int     { return 1 }
func (*Confirm) rank() int     { return 2 }
func (*Externalize) rank() int { return 3 }
