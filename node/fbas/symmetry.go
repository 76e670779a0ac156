package fbas

import (
	"context"
	"slices"
)

// permutation says where each node goes.
type permutation []int

// symmetries are permutations that leave the system as it is: what is true of a set of nodes is true of the set that such a
// permutation makes of it. Validators of one organisation can be exchanged, and often whole organisations can. Only
// exchanges of two nodes, and of two such groups member by member, are looked for, and each is tried on every rule, so what
// is returned is one; not all are found, and fewer when the context ends.
func (s *System) symmetries(ctx context.Context) []permutation {
	var found []permutation
	groups := [][]int{}
	for i := range s.ids {
		if over(ctx) != nil {
			break
		}
		at := slices.IndexFunc(groups, func(g []int) bool { return s.symmetric(s.exchange([]int{g[0]}, []int{i})) })
		if at < 0 {
			groups = append(groups, []int{i})
			continue
		}
		found = append(found, s.exchange(groups[at][len(groups[at])-1:], []int{i}))
		groups[at] = append(groups[at], i)
	}
	for n, g := range groups {
		if over(ctx) != nil {
			break
		}
		for _, h := range groups[n+1:] {
			if len(g) > 1 && len(g) == len(h) {
				if p := s.exchange(g, h); s.symmetric(p) {
					found = append(found, p)
					break
				}
			}
		}
	}
	return found
}

// exchange is the permutation that exchanges the nodes of two lists, one by one.
func (s *System) exchange(a, b []int) permutation {
	p := make(permutation, len(s.ids))
	for i := range p {
		p[i] = i
	}
	for n := range a {
		p[a[n]], p[b[n]] = b[n], a[n]
	}
	return p
}

// symmetric says whether a permutation leaves the system as it is: the rule of where a node goes is the rule of the node, with
// every node in it where it goes.
func (s *System) symmetric(p permutation) bool {
	table, moved := ruleTable{}, make(map[*rule]*rule, s.distinct)
	for i, to := range p {
		a, b := s.rules[i], s.rules[to]
		if (a == nil) != (b == nil) {
			return false
		}
		if a == nil {
			continue
		}
		if len(a.inner) != len(b.inner) || a.threshold != b.threshold {
			return false
		}
		if moved[a] == nil {
			moved[a] = p.rule(a, table)
		}
		if moved[a].key != b.key {
			return false
		}
	}
	return true
}

// rule is a rule with every node where the permutation sends it.
func (p permutation) rule(r *rule, table ruleTable) *rule {
	var inner []*rule
	for _, i := range r.inner {
		inner = append(inner, p.rule(i, table))
	}
	return table.rule(r.threshold, p.set(r.mask), inner)
}

// set is a set with every node where the permutation sends it.
func (p permutation) set(s set) set {
	m := make(set, len(s))
	for _, i := range s.members() {
		m.add(p[i])
	}
	return m
}

// orbit are all sets that the permutations make of one, and of what they make of it, with it; at most limit of them.
func orbit(of set, by []permutation, limit int) []set {
	all, there := []set{of}, map[string]bool{of.key(): true}
	for n := 0; n < len(all); n++ {
		for _, p := range by {
			if m := p.set(all[n]); !there[m.key()] && len(all) < limit {
				there[m.key()] = true
				all = append(all, m)
			}
		}
	}
	return all
}
