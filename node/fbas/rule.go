package fbas

import (
	"slices"
	"strconv"
	"strings"
)

// rule is a quorum set over indices. Equal quorum sets of one system are the same rule, so that what many nodes share is
// looked at once.
type rule struct {
	key       string // says the same as the rule
	id        int    // its place among the rules of its table
	threshold int
	mask      set // nodes among the members
	inner     []*rule
}

// ruleTable has the rules of a system by key.
type ruleTable map[string]*rule

// compile turns a quorum set into a rule.
func (s *System) compile(q QuorumSet, table ruleTable) *rule {
	mask := newSet(len(s.ids))
	for _, v := range q.Validators {
		mask.add(s.index[v])
	}
	var inner []*rule
	for _, i := range q.Inner {
		inner = append(inner, s.compile(i, table))
	}
	return table.rule(q.Threshold, mask, inner)
}

// rule returns the one rule of these parts.
func (t ruleTable) rule(threshold int, mask set, inner []*rule) *rule {
	slices.SortFunc(inner, func(a, b *rule) int { return strings.Compare(a.key, b.key) })
	var key strings.Builder
	key.WriteString("{" + strconv.Itoa(threshold))
	for _, v := range mask.members() {
		key.WriteString(" " + strconv.Itoa(v))
	}
	for _, i := range inner {
		key.WriteString(i.key)
	}
	key.WriteString("}")
	r := t[key.String()]
	if r == nil {
		r = &rule{key: key.String(), id: len(t), threshold: threshold, mask: mask, inner: inner}
		t[r.key] = r
	}
	return r
}

// met says whether the nodes of a set satisfy the rule.
func (r *rule) met(by set) bool {
	n := r.mask.shared(by)
	for i, inner := range r.inner {
		if n >= r.threshold || n+len(r.inner)-i < r.threshold {
			break
		}
		if inner.met(by) {
			n++
		}
	}
	return n >= r.threshold
}

// size is the number of members.
func (r *rule) size() int { return r.mask.count() + len(r.inner) }

// reach adds every node that the rule names, at any depth, to a set.
func (r *rule) reach(into set) {
	for i, w := range r.mask {
		into[i] |= w
	}
	for _, inner := range r.inner {
		inner.reach(into)
	}
}

// reduce is the rule where only the nodes of there still count and those of gone count as present: members that cannot be
// met are left out, those that are met anyway lower the threshold. A set within there satisfies the reduced rule if and
// only if, together with gone, it satisfies the rule.
func (r *rule) reduce(there, gone set, table ruleTable) *rule {
	threshold := r.threshold - r.mask.shared(gone)
	var inner []*rule
	for _, i := range r.inner {
		switch i := i.reduce(there, gone, table); {
		case i.threshold == 0:
			threshold--
		case i.threshold <= i.size():
			inner = append(inner, i)
		}
	}
	if threshold <= 0 {
		return table.rule(0, make(set, len(r.mask)), nil)
	}
	return table.rule(threshold, r.mask.and(there).minus(gone), inner)
}

// compact is the system that is left of a view when only the nodes of a set count: the same quorums within the set, the same
// ids, but small indices and rules without what can never be met.
func (v view) compact(to set) *System {
	c := &System{ids: v.names(to), index: map[string]int{}}
	for i, id := range c.ids {
		c.index[id] = i
	}
	c.rules = make([]*rule, len(c.ids))
	c.known, c.unknown, c.faulty = newSet(len(c.ids)), newSet(len(c.ids)), newSet(len(c.ids))
	large, small := ruleTable{}, ruleTable{}
	for n, i := range to.members() {
		c.known.add(n)
		c.rules[n] = v.rules[i].reduce(to, v.gone, large).renumber(to, small)
	}
	c.distinct = len(small)
	return c
}

// renumber is the rule over the indices that the nodes of a set have among themselves.
func (r *rule) renumber(among set, table ruleTable) *rule {
	mask := newSet(among.count())
	for n, i := range among.members() {
		if r.mask.has(i) {
			mask.add(n)
		}
	}
	var inner []*rule
	for _, i := range r.inner {
		inner = append(inner, i.renumber(among, table))
	}
	return table.rule(r.threshold, mask, inner)
}
