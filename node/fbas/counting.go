package fbas

import "context"

// counter finds pairs of rules that no two disjoint sets can satisfy, one each, by counting alone. It is what makes systems
// in which everyone asks for a majority of much the same members easy, on which search alone takes forever: search finds out
// about each choice of members anew that it is too large.
type counter struct{ known map[[2]*rule]bool }

// excludes says whether any set that satisfies a shares a node with any set that satisfies b; when it says no, that may be or not.
//
// Proof. Let X and Y be disjoint, X satisfy a and Y satisfy b. Match members of a with members of b such that each pair
// excludes each other (a node excludes itself; of two sets it is known by this very argument). Of a matched pair at most one
// is met, so X and Y meet at most |a| + |b| - matched members together, but must meet the sum of both thresholds.
func (c *counter) excludes(a, b *rule) bool {
	pair := [2]*rule{a, b}
	if known, there := c.known[pair]; there {
		return known
	}
	excludes := false
	if slack := a.size() + b.size() - a.threshold - b.threshold; slack < 0 {
		excludes = true
	} else if slack < min(a.size(), b.size()) {
		excludes = c.matched(a, b) > slack
	}
	c.known[pair] = excludes
	return excludes
}

// matched is the size of a greatest matching of members that exclude each other. A node only excludes itself, so nodes are
// matched by counting, and inner sets among each other by augmenting paths. An inner set that asks for one of one node is
// left as it is: a smaller matching is still a matching.
func (c *counter) matched(a, b *rule) int {
	taken := make([]int, len(b.inner)) // 1 + which inner set of a has it
	n := a.mask.shared(b.mask)
	for i := range a.inner {
		if c.augment(a, b, i, taken, make([]bool, len(b.inner))) {
			n++
		}
	}
	return n
}

// augment finds a partner for inner set i of a, moving others to further ones if need be.
func (c *counter) augment(a, b *rule, i int, taken []int, tried []bool) bool {
	for j := range b.inner {
		if tried[j] || !c.excludes(a.inner[i], b.inner[j]) {
			continue
		}
		tried[j] = true
		if taken[j] == 0 || c.augment(a, b, taken[j]-1, taken, tried) {
			taken[j] = i + 1
			return true
		}
	}
	return false
}

// excludesAll says whether every two of the rules exclude each other, so that any two slices share a node.
func (c *counter) excludesAll(ctx context.Context, rules []*rule) (bool, error) {
	distinct := map[*rule]bool{}
	for _, r := range rules {
		distinct[r] = true
	}
	for a := range distinct {
		if err := over(ctx); err != nil {
			return false, err
		}
		for b := range distinct {
			if !c.excludes(a, b) {
				return false, nil
			}
		}
	}
	return true, nil
}
