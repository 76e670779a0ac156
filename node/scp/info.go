package scp

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// Names says how nodes and values are shown. Without functions, nodes are strkeys and values the start of their SHA-256.
type Names struct {
	Node  func(NodeID) string
	Value func(xdr.Value) string
}

func (n *Names) node(id NodeID) string {
	if n == nil || n.Node == nil {
		return id.String()
	}
	return n.Node(id)
}

func (n *Names) value(x string) string {
	if n == nil || n.Value == nil {
		sum := sha256.Sum256([]byte(x))
		return hex.EncodeToString(sum[:4])
	}
	return n.Value(xdr.Value(x))
}

// Describe shows a statement in the words of the test scripts, as "prepare b=2:x p=1:x".
func Describe(x xdr.ScpStatement, names *Names) string {
	st, ok := parse(x)
	if !ok {
		return "no statement"
	}
	return describe(st, names)
}

func describe(st *statement, names *Names) string {
	var out []string
	add := func(name, value string) { out = append(out, name+"="+value) }
	switch st.kind {
	case kindNominate:
		out = append(out, "nominate")
		add("votes", list(st.votes, names))
		add("accepted", list(st.nominated, names))
	case kindPrepare:
		out = append(out, "prepare")
		add("b", shown(&st.b, names))
		if st.p != nil {
			add("p", shown(st.p, names))
		}
		if st.pp != nil {
			add("pp", shown(st.pp, names))
		}
		if st.c != 0 {
			add("c", count(st.c))
		}
		if st.h != 0 {
			add("h", count(st.h))
		}
	case kindConfirm:
		out = append(out, "confirm")
		add("b", shown(&st.b, names))
		add("p", count(st.prepared))
		add("c", count(st.c))
		add("h", count(st.h))
	case kindExternalize:
		out = append(out, "externalize")
		add("c", shown(&ballot{st.c, st.b.x}, names))
		add("h", count(st.h))
	}
	return strings.Join(out, " ")
}

func list(vs []string, names *Names) string {
	out := make([]string, len(vs))
	for i, v := range vs {
		out[i] = names.value(v)
	}
	return strings.Join(out, ",")
}

func count(n uint32) string {
	if n == infinity {
		return "inf"
	}
	return fmt.Sprint(n)
}

func shown(b *ballot, names *Names) string {
	if b == nil {
		return ""
	}
	return count(b.n) + ":" + names.value(b.x)
}

// Info is a slot for people to look at, and for tools that draw it. Ballots are shown as counter:value.
type Info struct {
	Slot       uint64         `json:"slot"`
	Phase      string         `json:"phase"`
	Voting     bool           `json:"voting"`            // this node's statements may be sent
	Blocking   bool           `json:"heard_of_blocking"` // a v-blocking set takes part
	Quorum     bool           `json:"heard_of_quorum"`   // a quorum is at this node's counter or above
	Fault      string         `json:"fault,omitempty"`   // why the slot can't go on
	Margin     []string       `json:"margin"`            // a few that take part and without which nothing goes on; none: it does not now
	Nomination NominationInfo `json:"nomination"`
	Ballot     BallotInfo     `json:"ballot"`
	Nodes      []NodeInfo     `json:"nodes"`
}

// NominationInfo is the part of Info that nomination is about.
type NominationInfo struct {
	Round     uint32   `json:"round"`
	Timer     bool     `json:"timer"`
	Expired   int      `json:"rounds_expired"`
	Leaders   []string `json:"leaders"`
	Votes     []string `json:"votes"`
	Accepted  []string `json:"accepted"`
	Confirmed []string `json:"candidates"`
	Composite string   `json:"composite,omitempty"`
}

// BallotInfo is the part of Info that the ballot protocol is about.
type BallotInfo struct {
	Current       string `json:"b"`
	Prepared      string `json:"p"`
	PreparedPrime string `json:"pp"`
	High          string `json:"h"`
	Commit        string `json:"c"`
	Locked        string `json:"locked_value,omitempty"`
	Timer         bool   `json:"timer"`
	Expired       int    `json:"ballots_expired"`
}

// NodeInfo is what one node said last.
type NodeInfo struct {
	Node       string `json:"node"`
	Nomination string `json:"nomination,omitempty"`
	Ballot     string `json:"ballot,omitempty"`
}

// Info shows a slot. It is false for one that is not known.
func (n *Node) Info(index uint64, names *Names) (Info, bool) {
	s := n.find(index)
	if s == nil {
		return Info{}, false
	}
	b, m := &s.balloting, &s.nomination
	out := Info{Slot: index, Phase: b.phase.String(), Voting: s.voting, Blocking: s.blocking, Quorum: b.heard}
	if s.fault != nil {
		out.Fault = s.fault.Error()
	}
	out.Nomination = NominationInfo{Round: m.round, Timer: m.timer, Expired: m.expired, Leaders: []string{},
		Votes: named(m.votes, names), Accepted: named(m.accepted, names), Confirmed: named(m.candidates, names)}
	for _, id := range m.leaders {
		out.Nomination.Leaders = append(out.Nomination.Leaders, names.node(id))
	}
	if m.composite != "" {
		out.Nomination.Composite = names.value(m.composite)
	}
	out.Ballot = BallotInfo{Current: shown(b.b, names), Prepared: shown(b.p, names), PreparedPrime: shown(b.pp, names),
		High: shown(b.h, names), Commit: shown(b.c, names), Timer: b.timer, Expired: b.expired}
	if b.locked != "" {
		out.Ballot.Locked = names.value(b.locked)
	}
	speakers := s.speakers()
	out.Margin = []string{}
	for _, id := range n.local.ClosestBlocking(setOf(speakers).has, &n.id) {
		out.Margin = append(out.Margin, names.node(id))
	}
	out.Nodes = []NodeInfo{}
	for _, id := range speakers {
		said := NodeInfo{Node: names.node(id)}
		if e := m.latest.of(id); e != nil {
			said.Nomination = describe(e.st, names)
		}
		if e := b.latest.of(id); e != nil {
			said.Ballot = describe(e.st, names)
		}
		out.Nodes = append(out.Nodes, said)
	}
	return out, true
}

func named(vs []string, names *Names) []string {
	out := make([]string, len(vs))
	for i, v := range vs {
		out[i] = names.value(v)
	}
	return out
}

// String shows the slot on a few lines.
func (i Info) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "slot %d, %s, voting %v, heard of a v-blocking set %v, of a quorum %v\n", i.Slot, i.Phase, i.Voting, i.Blocking, i.Quorum)
	if i.Fault != "" {
		fmt.Fprintf(&out, "  fault: %s\n", i.Fault)
	}
	m, b := i.Nomination, i.Ballot
	fmt.Fprintf(&out, "  nomination: round %d, leaders %v, votes %v, accepted %v, candidates %v, composite %q, timer %v\n",
		m.Round, m.Leaders, m.Votes, m.Accepted, m.Confirmed, m.Composite, m.Timer)
	fmt.Fprintf(&out, "  ballot: b=%s p=%s pp=%s h=%s c=%s locked=%q timer %v\n",
		b.Current, b.Prepared, b.PreparedPrime, b.High, b.Commit, b.Locked, b.Timer)
	fmt.Fprintf(&out, "  stops without: %v\n", i.Margin)
	for _, n := range i.Nodes {
		fmt.Fprintf(&out, "  %s: %s\n", n.Node, strings.Trim(n.Nomination+" ; "+n.Ballot, " ;"))
	}
	return out.String()
}
