package fbas

import (
	"context"
	"slices"
)

// MinimalQuorums lists the quorums that contain no smaller one. The error is ErrTime or ErrMany if they cannot all be listed.
func (s *System) MinimalQuorums(ctx context.Context) ([][]string, error) {
	all := [][]string{}
	for _, core := range s.whole().cores() {
		c := s.whole().compact(core)
		w := walk{view: c.whole(), ctx: ctx, trusted: c.trusted()}
		if err := w.from(newSet(len(c.ids)), c.known); err != nil {
			return nil, err
		}
		all = append(all, c.nameAll(w.found)...)
	}
	if len(all) > MaxSets {
		return nil, ErrMany
	}
	return order(all), nil
}

// walk enumerates minimal quorums by branch and bound, after Lachowski: a node is taken in or left out in turn; a branch ends
// when what was taken in holds a quorum, or when it is in no quorum with what is left.
type walk struct {
	view
	ctx     context.Context
	trusted []set // by node: whom its rule names
	found   []set
}

func (w *walk) from(taken, left set) error {
	if err := over(w.ctx); err != nil {
		return err
	}
	if q := w.greatest(taken); !q.empty() {
		if !q.equal(taken) || !w.shrink(q).equal(q) {
			return nil // it holds a smaller one, which another branch finds
		}
		if len(w.found) == MaxSets {
			return ErrMany
		}
		w.found = append(w.found, q)
		return nil
	}
	all := w.greatest(taken.or(left))
	if all.empty() || !taken.within(all) {
		return nil
	}
	left = all.minus(taken)
	next := w.next(left)
	if err := w.from(taken, left.without(next)); err != nil {
		return err
	}
	return w.from(taken.with(next), left.without(next))
}

// next is the node of a set that most of the set name: to decide on it decides most.
func (w *walk) next(left set) int {
	named, best := make([]int, len(w.ids)), -1
	members := left.members()
	for _, i := range members {
		for _, j := range members {
			if w.trusted[i].has(j) {
				named[j]++
			}
		}
	}
	for _, i := range members {
		if best < 0 || named[i] > named[best] {
			best = i
		}
	}
	return best
}

// TopTier is the union of the minimal quorums. It is found without listing them, of which there may be far too many.
func (s *System) TopTier(ctx context.Context) ([]string, error) {
	tier := []string{}
	for _, core := range s.whole().cores() {
		c := s.whole().compact(core)
		top := newSet(len(c.ids))
		for i := range c.ids {
			if top.has(i) {
				continue
			}
			q, err := c.whole().minimalWith(ctx, i)
			if err != nil {
				return nil, err
			}
			top = top.or(q)
		}
		tier = append(tier, c.names(top)...)
	}
	slices.Sort(tier)
	return tier, nil
}

// minimalWith finds a minimal quorum with a node, or the empty set if there is none. A node is in a minimal quorum if and only
// if it is in a quorum that has none without it: a minimal quorum within that one has the node. So quorums with the node are
// guessed by the solver; when one has a quorum without the node within it, every larger guess would have it, too, and is ruled out.
func (v view) minimalWith(ctx context.Context, node int) (set, error) {
	f := &formula{}
	one := newSide(f, nil)
	one.quorum(v.nodes.members(), v.rules)
	f.add(one.nodes[node])
	for {
		model, _, err := solve(ctx, f)
		if err != nil {
			return nil, err
		}
		if model == nil {
			return newSet(len(v.ids)), nil
		}
		q := one.read(model, len(v.ids))
		if !v.isQuorum(q) {
			return nil, errSolver
		}
		q = v.shrinkAround(q, node)
		inner := v.greatest(q.without(node))
		if inner.empty() {
			return v.shrink(q), nil
		}
		var not []int
		for _, i := range v.shrink(inner).members() {
			not = append(not, -one.nodes[i])
		}
		f.add(not...)
	}
}

// shrinkAround returns a quorum within q that has the node and no smaller quorum with it.
func (v view) shrinkAround(q set, node int) set {
	for _, i := range q.members() {
		if i == node || !q.has(i) {
			continue
		}
		if less := v.greatest(q.without(i)); less.has(node) {
			q = less
		}
	}
	return q
}
