package fbas

import (
	"context"
	"slices"
)

// maxClauses is the most clauses of a formula: some hundred megabytes. No network comes near it.
const maxClauses = 2_000_000

// formula is a propositional formula in conjunctive normal form: variables count from 1, a negative literal is negated.
type formula struct {
	vars    int
	clauses [][]int
	large   bool // past maxClauses: what is there is not all
}

func (f *formula) fresh() int { f.vars++; return f.vars }

// add adds a clause; past the limit the formula only notes that it is too large.
func (f *formula) add(clause ...int) {
	if f.large = f.large || len(f.clauses) == maxClauses; !f.large {
		f.clauses = append(f.clauses, clause)
	}
}

// atLeast says: if the literal when holds, then at least k of the literals do. One direction is all that is needed, since a
// quorum never suffers from a threshold that is met. It counts from the left: row i, column j stands for j among the first i.
func (f *formula) atLeast(when, k int, of []int) {
	switch {
	case k <= 0 || f.large:
		return
	case k > len(of):
		f.add(-when)
		return
	case k == len(of):
		for _, l := range of {
			f.add(-when, l)
		}
		return
	case k == 1:
		f.add(append([]int{-when}, of...)...)
		return
	}
	// The row above is made from the row below on the way down from what is wanted: j among the first i needs j or j-1 among
	// the first i-1, and if it is not j, then the literal i.
	row := map[int]int{k: when} // column to literal
	for i := len(of); i > 0; i-- {
		above := map[int]int{}
		literal := func(j int) int {
			if above[j] == 0 {
				above[j] = f.fresh()
			}
			return above[j]
		}
		for j := k; j > 0; j-- {
			x := row[j]
			switch {
			case x == 0:
			case j > i:
				f.add(-x)
			default:
				one := []int{-x, of[i-1]}
				if j <= i-1 {
					one = append(one, literal(j))
				}
				f.add(one...)
				if j > 1 {
					f.add(-x, literal(j-1))
				}
			}
		}
		row = above
	}
}

// side is one of the two quorums that are looked for: literals for its nodes and for the rules it satisfies.
type side struct {
	*formula
	nodes map[int]int
	rules map[*rule]int
	gone  map[int]int // literals of nodes that may be deleted; such a node counts as present
	meets map[int]int // literals of nodes that are in the quorum or deleted
}

func newSide(f *formula, gone map[int]int) *side {
	return &side{formula: f, nodes: map[int]int{}, rules: map[*rule]int{}, gone: gone, meets: map[int]int{}}
}

// met is the literal that makes the side satisfy the rule.
func (s *side) met(r *rule) int {
	if x := s.rules[r]; x != 0 {
		return x
	}
	x := s.fresh()
	s.rules[r] = x
	var of []int
	for _, i := range r.mask.members() {
		if l := s.present(i); l != 0 {
			of = append(of, l)
		}
	}
	for _, inner := range r.inner {
		of = append(of, s.met(inner))
	}
	s.atLeast(x, r.threshold, of)
	return x
}

// present is the literal that makes a node count as present, or 0 if it cannot.
func (s *side) present(i int) int {
	in, gone := s.nodes[i], s.gone[i]
	switch {
	case gone == 0:
		return in
	case in == 0:
		return gone
	case s.meets[i] == 0:
		x := s.fresh()
		s.meets[i] = x
		s.add(-x, in, gone)
	}
	return s.meets[i]
}

// quorum says that the side is a quorum of the nodes by these rules, which are by node, and not empty.
func (s *side) quorum(nodes []int, rules []*rule) {
	var some []int
	for _, i := range nodes {
		s.nodes[i] = s.fresh()
		some = append(some, s.nodes[i])
	}
	for _, i := range nodes {
		s.add(-s.nodes[i], s.met(rules[i]))
	}
	s.add(some...)
}

// disjointQuorums is a formula that holds if and only if there are two disjoint quorums among nodes that follow the given
// rules. left and right are the literals of the two, by node. What counting knows is added as clauses of its own: they follow
// from the rest, but spare the search from finding them.
func disjointQuorums(ctx context.Context, nodes []int, rules []*rule, c *counter) (f *formula, left, right *side) {
	f = &formula{}
	left, right = newSide(f, nil), newSide(f, nil)
	left.quorum(nodes, rules)
	right.quorum(nodes, rules)
	for _, i := range nodes {
		f.add(-left.nodes[i], -right.nodes[i])
	}
	all := left.sorted()
	for _, a := range all {
		if over(ctx) != nil {
			break // solving it notices
		}
		for _, b := range all {
			if c.excludes(a, b) {
				f.add(-left.rules[a], -right.rules[b])
			}
		}
	}
	return f, left, right
}

// sorted are the rules of the side in the order in which they were met.
func (s *side) sorted() []*rule {
	rules := make([]*rule, 0, len(s.rules))
	for r := range s.rules {
		rules = append(rules, r)
	}
	slices.SortFunc(rules, func(a, b *rule) int { return s.rules[a] - s.rules[b] })
	return rules
}

// read is the quorum that an assignment describes.
func (s *side) read(model []bool, n int) set {
	q := newSet(n)
	for i, x := range s.nodes {
		if model[x-1] {
			q.add(i)
		}
	}
	return q
}
