package fbas

import (
	"context"
	"fmt"
	"math/bits"
	"slices"
)

// MinimalSplittingSets lists the sets whose deletion leaves two disjoint quorums, and that contain no smaller such set. In a
// system that is split already that is the empty set. Nodes whose quorum sets are not known may be among them.
func (s *System) MinimalSplittingSets(ctx context.Context) ([][]string, error) {
	if s.known.or(s.unknown).minus(s.faulty).count() <= MaxDispensable {
		return s.splittingSubsets(ctx)
	}
	return s.splittingSearch(ctx)
}

// splittingSubsets tries all subsets, the small ones first, but not those that contain one that was found.
func (s *System) splittingSubsets(ctx context.Context) ([][]string, error) {
	nodes := s.known.or(s.unknown).minus(s.faulty).members()
	bySize := make([][]uint, len(nodes)+1)
	for chosen := range uint(1) << len(nodes) {
		size := bits.OnesCount(chosen)
		bySize[size] = append(bySize[size], chosen)
	}
	var found []uint
	var sets []set
	for _, chosen := range slices.Concat(bySize...) {
		if slices.ContainsFunc(found, func(f uint) bool { return f&^chosen == 0 }) {
			continue
		}
		if err := over(ctx); err != nil {
			return nil, err
		}
		b := newSet(len(s.ids))
		for c := chosen; c != 0; c &= c - 1 {
			b.add(nodes[bits.TrailingZeros(c)])
		}
		split, err := s.delete(b).splits(ctx)
		if err != nil {
			return nil, err
		}
		if split {
			found, sets = append(found, chosen), append(sets, b)
		}
	}
	return s.nameAll(sets), nil
}

// splittingSearch has the solver find them one after another, each with those that symmetries make of it.
func (s *System) splittingSearch(ctx context.Context) ([][]string, error) {
	p, same := s.whole().splitting(), s.symmetries(ctx)
	var found []set
	for {
		b, err := p.find(ctx)
		if err != nil {
			return nil, err
		}
		if b == nil {
			return s.nameAll(found), nil
		}
		if b, err = p.least(ctx, b); err != nil {
			return nil, err
		}
		images := orbit(b, same, MaxSets+1)
		if len(found)+len(images) > MaxSets {
			return nil, ErrMany
		}
		found = append(found, images...)
		for _, image := range images {
			p.f.add(p.notAll(image)...)
		}
	}
}

// splitting is the search for deletions that leave two disjoint quorums. More deletions may take the quorums away again, so
// a set is minimal only if no subset does, not merely none with one node less.
type splitting struct {
	view
	f           *formula
	gone        map[int]int // literals of what is deleted
	nodes       []int       // that may be
	left, right *side
}

func (v view) splitting() *splitting {
	p := &splitting{view: v, f: &formula{}, gone: map[int]int{}}
	everyone := v.known.or(v.unknown).minus(v.gone)
	p.nodes = everyone.members()
	for _, i := range p.nodes {
		p.gone[i] = p.f.fresh()
	}
	nodes, table, rules := v.nodes.members(), ruleTable{}, make([]*rule, len(v.ids))
	for _, i := range nodes {
		rules[i] = v.rules[i].reduce(everyone, v.gone, table)
	}
	p.left, p.right = newSide(p.f, p.gone), newSide(p.f, p.gone)
	p.left.quorum(nodes, rules)
	p.right.quorum(nodes, rules)
	for _, i := range nodes {
		p.f.add(-p.left.nodes[i], -p.right.nodes[i])
		p.f.add(-p.left.nodes[i], -p.gone[i])
		p.f.add(-p.right.nodes[i], -p.gone[i])
	}
	return p
}

// notAll is the clause that not all of a set are deleted.
func (p *splitting) notAll(b set) []int {
	not := []int{}
	for _, i := range b.members() {
		not = append(not, -p.gone[i])
	}
	return not
}

// find returns a set that splits, under clauses added for this time only, or nil if there is none. It is made smaller as long
// as that is easy.
func (p *splitting) find(ctx context.Context, more ...[]int) (set, error) {
	f := &formula{p.f.vars, slices.Concat(p.f.clauses, more), p.f.large}
	model, _, err := solve(ctx, f)
	if err != nil || model == nil {
		return nil, err
	}
	b := newSet(len(p.ids))
	for i, x := range p.gone {
		if model[x-1] {
			b.add(i)
		}
	}
	left, right := p.left.read(model, len(p.ids)), p.right.read(model, len(p.ids))
	if d := p.delete(b); left.meets(right) || !d.isQuorum(left) || !d.isQuorum(right) {
		return nil, fmt.Errorf("fbas: %w: it does not split", errSolver)
	}
	for _, i := range b.members() {
		// Whoever is deleted no more may join either side, or neither.
		d := p.delete(b.without(i))
		for _, sides := range [][2]set{{left.with(i), right}, {left, right.with(i)}} {
			l := d.greatest(sides[0])
			if r := d.greatest(sides[1].minus(l)); !l.empty() && !r.empty() {
				b, left, right = b.without(i), l, r
				break
			}
		}
	}
	return b, nil
}

// least returns a subset of a splitting set that splits and has no subset that does.
func (p *splitting) least(ctx context.Context, b set) (set, error) {
	for {
		if b.empty() {
			return b, nil
		}
		only := [][]int{p.notAll(b)}
		for _, i := range p.nodes {
			if !b.has(i) {
				only = append(only, []int{-p.gone[i]})
			}
		}
		smaller, err := p.find(ctx, only...)
		if err != nil {
			return nil, err
		}
		if smaller == nil {
			return b, nil
		}
		b = smaller
	}
}
