package fbas

import (
	"context"
	"math/bits"
)

// view is a system with some nodes deleted: it consists of nodes, and those of gone count as present.
type view struct {
	*System
	nodes set
	gone  set
}

// whole is the system as it is.
func (s *System) whole() view { return view{s, s.known, s.faulty} }

// delete is the system despite the nodes of a set.
func (s *System) delete(gone set) view {
	return view{s, s.known.minus(gone), s.faulty.or(gone)}
}

// greatest is the greatest quorum within a set, which is empty if there is none. The union of two quorums is a quorum, so
// there is one greatest; a node whose rule the rest does not satisfy is in no quorum within the rest, so taking such nodes
// out until there is none left leaves it.
func (v view) greatest(within set) set {
	u := within.and(v.nodes)
	count := u.or(v.gone)
	met := make([]int8, v.distinct) // 1 or -1 once looked at
	for dropped := true; dropped; {
		dropped = false
		clear(met)
		for w := range u {
			for left := u[w]; left != 0; left &= left - 1 {
				i := w*64 + bits.TrailingZeros64(left)
				r := v.rules[i]
				if met[r.id] == 0 {
					met[r.id] = -1
					if r.met(count) {
						met[r.id] = 1
					}
				}
				if met[r.id] < 0 {
					u.remove(i)
					count.remove(i) // it is not among those of gone
					dropped = true
				}
			}
		}
	}
	return u
}

// isQuorum says whether a set is a quorum: not empty, of nodes that are there, and with a slice of each.
func (v view) isQuorum(u set) bool { return !u.empty() && v.greatest(u).equal(u) }

// shrink returns a minimal quorum within the quorum q.
func (v view) shrink(q set) set {
	for _, i := range q.members() {
		if !q.has(i) {
			continue
		}
		if less := v.greatest(q.without(i)); !less.empty() {
			q = less
		}
	}
	return q
}

// blocks says whether a set is v-blocking for the node: it has a node of every slice.
func (v view) blocks(node int, b set) bool {
	return b.has(node) || !v.rules[node].met(v.nodes.or(v.gone).minus(b))
}

// trusted are, by node, the nodes that its rule names.
func (s *System) trusted() []set {
	of, by := make([]set, s.distinct), make([]set, len(s.ids))
	for _, i := range s.known.members() {
		r := s.rules[i]
		if of[r.id] == nil {
			of[r.id] = newSet(len(s.ids))
			r.reach(of[r.id])
		}
		by[i] = of[r.id]
	}
	return by
}

// components are the strongly connected components of the trust within a set: a node trusts whom its rule names. They come
// in the order of Tarjan's algorithm, which the order of nodes decides.
func (v view) components(within set) []set {
	t := tarjan{view: v, within: within, trusted: v.trusted(), seen: make([]int, len(v.ids)), low: make([]int, len(v.ids)), on: newSet(len(v.ids))}
	for _, i := range within.members() {
		if t.seen[i] == 0 {
			t.visit(i)
		}
	}
	return t.found
}

// tarjan is one search for strongly connected components.
type tarjan struct {
	view
	within  set
	trusted []set // by node: whom its rule names
	clock   int
	seen    []int // when a node was reached; 0 if not yet
	low     []int // the earliest node on the stack that it reaches
	stack   []int
	on      set // what is on the stack
	found   []set
}

func (t *tarjan) visit(i int) {
	t.clock++
	t.seen[i], t.low[i] = t.clock, t.clock
	t.stack = append(t.stack, i)
	t.on.add(i)
	for _, j := range t.trusted[i].and(t.within).members() {
		if t.seen[j] == 0 {
			t.visit(j)
			t.low[i] = min(t.low[i], t.low[j])
		} else if t.on.has(j) {
			t.low[i] = min(t.low[i], t.seen[j])
		}
	}
	if t.low[i] != t.seen[i] {
		return
	}
	c := newSet(len(t.ids))
	for !c.has(i) {
		j := t.stack[len(t.stack)-1]
		t.stack = t.stack[:len(t.stack)-1]
		t.on.remove(j)
		c.add(j)
	}
	t.found = append(t.found, c)
}

// cores are the greatest quorums of the strongly connected components that have one. Every minimal quorum lies within one of
// them. Proof: let U be a minimal quorum, and C a component of the trust within U from which no trust leads to the rest of U.
// The rule of a node of C is met by U, of which it names only nodes of C, so C meets it: C is a quorum within U, hence all of
// U. So U is strongly connected, and lies within one component of any graph that contains that of U.
// Two disjoint quorums contain two disjoint minimal ones, so with more than one core the system is split, and with one core
// only it need be searched; it is taken again and again, as its own components may be smaller.
func (v view) cores() []set {
	todo, cores := []set{v.greatest(v.nodes)}, []set(nil)
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		for _, c := range v.components(at) {
			switch g := v.greatest(c); {
			case g.empty():
			case g.equal(at):
				cores = append(cores, g)
			default:
				todo = append(todo, g)
			}
		}
	}
	return cores
}

// over says that the context has ended.
func over(ctx context.Context) error {
	if ctx.Err() != nil {
		return ErrTime
	}
	return nil
}
