// Package fbas tells how safe a federated Byzantine agreement system is: nodes, each with a quorum set that says whom it
// waits for. Words are those of Mazières, "The Stellar Consensus Protocol" (2016), sections 3 and 4.
//
//	nodes, err := fbas.Parse(file)             // or made from what a validator hears
//	sys, err := fbas.New(nodes, fbas.Absent)
//	safety, err := sys.Intersection(ctx)       // do every two quorums share a node?
//
// A slice of a node is a set with the node itself that satisfies its quorum set; a quorum is a set of nodes that holds a
// slice of each of its members. Deleting a node takes it out of the system and out of every slice, so that it counts as
// present wherever a threshold is met: it says to each what each waits for. That is how ill-behaved nodes are told from
// silent ones.
//
// Every question that can take long takes a context. When it ends before the answer is known, the answer is ErrTime and
// never a guess. Answers name nodes by their ids, sorted, and the same system gets the same answer.
package fbas

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of what is analysed. Real networks have some hundreds of nodes, and deployed nodes refuse quorum sets that name more
// than a thousand or nest deeper than four.
const (
	// MaxNodes is the most nodes that a system may name.
	MaxNodes = 4096
	// MaxMembers is the most entries that one quorum set may have, with those within it.
	MaxMembers = 1000
	// MaxNesting is how deep quorum sets may lie in one another.
	MaxNesting = 8
	// MaxID is the longest id of a node, in bytes.
	MaxID = 256
	// MaxSets is the most sets that one answer lists.
	MaxSets = 1 << MaxDispensable
	// MaxDispensable is the most nodes of which all dispensable sets are listed; up to it, all subsets can be tried.
	MaxDispensable = 16
)

var (
	// ErrInput is returned for a system that cannot be analysed as it is; the text says what is wrong with it.
	ErrInput = errors.New("bad quorum configuration")
	// ErrTime is returned when the context ended before the answer was known.
	ErrTime = errors.New("the time was not enough")
	// ErrMany is returned when an answer has more than MaxSets sets.
	ErrMany = fmt.Errorf("more than %d sets", MaxSets)
	// ErrLarge is returned when the question is too large to be asked.
	ErrLarge = errors.New("the quorum sets are too large to be searched")
)

// QuorumSet says whom a node waits for: Threshold of its members, which are nodes and further such sets. A threshold of 0 is
// always met, one larger than the number of members never.
type QuorumSet struct {
	Threshold  int
	Validators []string
	Inner      []QuorumSet
}

// Node is one node of a system. Its quorum set is nil when it is not known.
type Node struct {
	ID        string
	QuorumSet *QuorumSet
}

// Unknown says what is assumed of nodes that are named but whose quorum set is not known.
type Unknown uint8

const (
	_ Unknown = iota
	// Absent: they never agree to anything, and are missing wherever they are counted. This is what others' analysers assume.
	Absent
	// Faulty: they say to each what each waits for, as if deleted. The worst case for safety.
	Faulty
	// Refused: a system that has any is bad input.
	Refused
)

// unknowns are the names of the ways to treat unknown nodes.
var unknowns = map[Unknown]string{Absent: "absent", Faulty: "faulty", Refused: "refused"}

// String names the way.
func (u Unknown) String() string { return unknowns[u] }

// ParseUnknown is the inverse of String.
func ParseUnknown(name string) (Unknown, error) {
	for u, n := range unknowns {
		if n == name {
			return u, nil
		}
	}
	return 0, fmt.Errorf("%w: unknown nodes are absent, faulty or refused, not %q", ErrInput, name)
}

// NotKnown says whether an error means that the answer exists but could not be had: ErrTime, ErrMany or ErrLarge.
func NotKnown(err error) bool {
	return errors.Is(err, ErrTime) || errors.Is(err, ErrMany) || errors.Is(err, ErrLarge)
}

// System is a system of nodes, ready to be asked. It does not change; any number of goroutines may ask it.
type System struct {
	ids     []string // of all that are named, sorted
	index   map[string]int
	rules   []*rule // by node; nil for unknown ones
	known   set
	unknown set
	faulty  set // unknown ones that count as deleted

	distinct int // how many rules there are, those within others counted
}

// New makes a system of nodes. Two nodes of one id, a negative threshold, a member named twice in one set and anything past
// the limits are ErrInput.
func New(nodes []Node, unknown Unknown) (*System, error) {
	if unknowns[unknown] == "" {
		return nil, fmt.Errorf("%w: nothing is said about unknown nodes", ErrInput)
	}
	s := &System{index: map[string]int{}}
	listed := map[string]bool{}
	for _, n := range nodes {
		if listed[n.ID] {
			return nil, fmt.Errorf("%w: node %q is there twice", ErrInput, n.ID)
		}
		listed[n.ID] = true
		if err := s.name(n.ID); err != nil {
			return nil, err
		}
		if n.QuorumSet == nil {
			continue
		}
		left := MaxMembers
		if err := s.check(*n.QuorumSet, MaxNesting, &left); err != nil {
			return nil, fmt.Errorf("quorum set of node %q: %w", n.ID, err)
		}
	}
	slices.Sort(s.ids)
	for i, id := range s.ids {
		s.index[id] = i
	}
	s.rules = make([]*rule, len(s.ids))
	s.known, s.unknown, s.faulty = newSet(len(s.ids)), newSet(len(s.ids)), newSet(len(s.ids))
	table := ruleTable{}
	for _, n := range nodes {
		if n.QuorumSet == nil || namesNobody(*n.QuorumSet) {
			continue
		}
		i := s.index[n.ID]
		s.rules[i] = s.compile(*n.QuorumSet, table)
		s.known.add(i)
	}
	s.distinct = len(table)
	for i := range s.ids {
		if s.rules[i] == nil {
			s.unknown.add(i)
		}
	}
	if unknown == Faulty {
		s.faulty = s.unknown
	}
	if unknown == Refused && !s.unknown.empty() {
		return nil, fmt.Errorf("%w: quorum set of node %q is not known", ErrInput, s.ids[s.unknown.members()[0]])
	}
	return s, nil
}

// namesNobody: lists write a quorum set that they do not know as one that asks for more than nothing of nobody.
func namesNobody(q QuorumSet) bool {
	return q.Threshold > 0 && len(q.Validators) == 0 && len(q.Inner) == 0
}

// name takes note of a node.
func (s *System) name(id string) error {
	if id == "" || len(id) > MaxID {
		return fmt.Errorf("%w: an id of %d bytes", ErrInput, len(id))
	}
	if _, there := s.index[id]; there {
		return nil
	}
	if len(s.ids) == MaxNodes {
		return fmt.Errorf("%w: more than %d nodes", ErrInput, MaxNodes)
	}
	s.index[id] = 0
	s.ids = append(s.ids, id)
	return nil
}

// check refuses a quorum set that makes no sense, and takes note of whom it names.
func (s *System) check(q QuorumSet, deep int, left *int) error {
	*left -= len(q.Validators) + len(q.Inner)
	switch {
	case deep == 0:
		return fmt.Errorf("%w: nested deeper than %d", ErrInput, MaxNesting)
	case *left < 0:
		return fmt.Errorf("%w: more than %d members", ErrInput, MaxMembers)
	case q.Threshold < 0:
		return fmt.Errorf("%w: threshold %d", ErrInput, q.Threshold)
	}
	seen := map[string]bool{}
	for _, v := range q.Validators {
		if seen[v] {
			return fmt.Errorf("%w: member %q twice in one set", ErrInput, v)
		}
		seen[v] = true
		if err := s.name(v); err != nil {
			return err
		}
	}
	for _, inner := range q.Inner {
		if err := s.check(inner, deep-1, left); err != nil {
			return err
		}
	}
	return nil
}

// Nodes are the nodes whose quorum sets are known: those that the system consists of.
func (s *System) Nodes() []string { return s.names(s.known) }

// UnknownNodes are the nodes that are named, but whose quorum sets are not known.
func (s *System) UnknownNodes() []string { return s.names(s.unknown) }

// names gives the ids of the members of a set, sorted.
func (s *System) names(m set) []string {
	names := []string{}
	for _, i := range m.members() {
		names = append(names, s.ids[i])
	}
	return names
}

// nameAll gives the ids of sets, in order.
func (s *System) nameAll(sets []set) [][]string {
	all := [][]string{}
	for _, m := range sets {
		all = append(all, s.names(m))
	}
	return order(all)
}

// order sorts sets by size, then by their ids.
func order(all [][]string) [][]string {
	slices.SortFunc(all, func(a, b []string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return slices.Compare(a, b)
	})
	return all
}

// find makes the set of the nodes of these ids.
func (s *System) find(ids []string) (set, error) {
	m := newSet(len(s.ids))
	for _, id := range ids {
		i, there := s.index[id]
		if !there {
			return nil, fmt.Errorf("%w: there is no node %q", ErrInput, strings.ToValidUTF8(id, "?"))
		}
		m.add(i)
	}
	return m, nil
}
