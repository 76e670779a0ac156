package fbas

import (
	"fmt"
	"math/bits"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// brute answers every question by its definition, over all subsets, with nothing of the package but the quorum sets as they
// were given: a subset is a bit mask over the nodes in order of their ids.
type brute struct {
	ids []string
	set map[string]*QuorumSet
}

func newBrute(nodes []Node) *brute {
	b := &brute{set: map[string]*QuorumSet{}}
	for _, n := range nodes {
		b.ids = append(b.ids, n.ID)
		b.set[n.ID] = n.QuorumSet
	}
	slices.Sort(b.ids)
	return b
}

func (b *brute) all() uint { return 1<<len(b.ids) - 1 }

func (b *brute) met(q QuorumSet, by uint) bool {
	n := 0
	for _, v := range q.Validators {
		if by>>slices.Index(b.ids, v)&1 == 1 {
			n++
		}
	}
	for _, i := range q.Inner {
		if b.met(i, by) {
			n++
		}
	}
	return n >= q.Threshold
}

// quorum: of the system despite gone.
func (b *brute) quorum(u, gone uint) bool {
	if u == 0 || u&gone != 0 {
		return false
	}
	for i, id := range b.ids {
		if u>>i&1 == 1 && !b.met(*b.set[id], u|gone) {
			return false
		}
	}
	return true
}

func (b *brute) quorums(gone uint) (qs []uint) {
	for u := range b.all() + 1 {
		if b.quorum(u, gone) {
			qs = append(qs, u)
		}
	}
	return qs
}

func (b *brute) splits(gone uint) bool {
	qs := b.quorums(gone)
	for _, p := range qs {
		for _, q := range qs {
			if p&q == 0 {
				return true
			}
		}
	}
	return false
}

func (b *brute) minimal(good func(uint) bool) [][]string {
	var found []uint
	for u := range b.all() + 1 {
		if good(u) {
			found = append(found, u)
		}
	}
	all := [][]string{}
	for _, u := range found {
		if !slices.ContainsFunc(found, func(s uint) bool { return s != u && s&^u == 0 }) {
			all = append(all, b.names(u))
		}
	}
	sortSets(all)
	return all
}

func sortSets(all [][]string) {
	slices.SortFunc(all, func(a, b []string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return slices.Compare(a, b)
	})
}

func (b *brute) names(u uint) []string {
	names := []string{}
	for ; u != 0; u &= u - 1 {
		names = append(names, b.ids[bits.TrailingZeros(u)])
	}
	return names
}

func (b *brute) dispensable(d uint) bool {
	return (d == b.all() || b.quorum(b.all()&^d, 0)) && !b.splits(d)
}

// randomNodes draws a small system with nested quorum sets.
func randomNodes(t *rapid.T) []Node {
	n := rapid.IntRange(1, 7).Draw(t, "n")
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("n%d", i)
	}
	var draw func(deep int) QuorumSet
	draw = func(deep int) QuorumSet {
		q := QuorumSet{}
		for _, id := range ids {
			if rapid.IntRange(0, 2).Draw(t, "in") > 0 {
				q.Validators = append(q.Validators, id)
			}
		}
		if deep > 0 {
			for range rapid.IntRange(0, 2).Draw(t, "inner") {
				q.Inner = append(q.Inner, draw(deep-1))
			}
		}
		m := len(q.Validators) + len(q.Inner)
		q.Threshold = rapid.IntRange(min(1, m), m+rapid.IntRange(0, 10).Draw(t, "over")/10).Draw(t, "threshold")
		return q
	}
	common := draw(1)
	nodes := make([]Node, n)
	for i := range nodes {
		q := common
		if rapid.Bool().Draw(t, "own") {
			q = draw(rapid.IntRange(0, 2).Draw(t, "deep"))
		}
		if len(q.Validators)+len(q.Inner) == 0 {
			q.Threshold = 0
		}
		nodes[i] = Node{ids[i], &q}
	}
	return nodes
}

func TestAgainstDefinitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := randomNodes(t)
		sys, err := New(nodes, Absent)
		if err != nil {
			t.Fatal(err)
		}
		b := newBrute(nodes)
		checkIntersection(t, sys, b)
		checkSets(t, sys, b)
	})
}

func checkIntersection(t *rapid.T, sys *System, b *brute) {
	got, err := sys.Intersection(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := Intersects
	switch {
	case len(b.quorums(0)) == 0:
		want = NoQuorum
	case b.splits(0):
		want = Splits
	}
	if got.Verdict != want {
		t.Fatalf("verdict %d, want %d", got.Verdict, want)
	}
	minimal, err := sys.MinimalQuorums(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want == Splits {
		for _, q := range got.Disjoint {
			if !slices.ContainsFunc(minimal, func(m []string) bool { return slices.Equal(m, q) }) {
				t.Fatalf("%v is not a minimal quorum", q)
			}
		}
		for _, id := range got.Disjoint[0] {
			if slices.Contains(got.Disjoint[1], id) {
				t.Fatalf("%v are not disjoint", got.Disjoint)
			}
		}
	}
}

func same(t *rapid.T, what string, got, want [][]string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func checkSets(t *rapid.T, sys *System, b *brute) {
	want := b.minimal(func(u uint) bool { return b.quorum(u, 0) })
	got, err := sys.MinimalQuorums(t.Context())
	same(t, "minimal quorums", got, want, err)
	var union []string
	for _, q := range want {
		union = append(union, q...)
	}
	slices.Sort(union)
	top, err := sys.TopTier(t.Context())
	same(t, "top tier", [][]string{top}, [][]string{slices.Compact(union)}, err)
	qs := b.quorums(0)
	got, err = sys.MinimalBlockingSets(t.Context())
	same(t, "blocking sets", got, b.minimal(func(u uint) bool {
		return !slices.ContainsFunc(qs, func(q uint) bool { return q&u == 0 })
	}), err)
}

func TestSplitsAndDispensableAgainstDefinitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := randomNodes(t)
		sys, err := New(nodes, Absent)
		if err != nil {
			t.Fatal(err)
		}
		b := newBrute(nodes)
		splitting := b.minimal(b.splits)
		got, err := sys.MinimalSplittingSets(t.Context())
		same(t, "splitting sets", got, splitting, err)
		got, err = sys.splittingSearch(t.Context())
		same(t, "splitting sets by search", got, splitting, err)
		want := [][]string{}
		befouled := b.all()
		ill := uint(rapid.IntRange(0, int(b.all())).Draw(t, "ill"))
		for d := range b.all() + 1 {
			if !b.dispensable(d) {
				continue
			}
			want = append(want, b.names(d))
			if ill&^d == 0 {
				befouled &= d
			}
		}
		sortSets(want)
		got, err = sys.DispensableSets(t.Context())
		same(t, "dispensable sets", got, want, err)
		intact, fouled, err := sys.Intact(t.Context(), b.names(ill))
		same(t, "intact and befouled", [][]string{intact, fouled}, [][]string{b.names(b.all() &^ befouled), b.names(befouled)}, err)
		d, err := sys.Dispensable(t.Context(), b.names(ill))
		if err != nil {
			t.Fatal(err)
		}
		if d.Both() != b.dispensable(ill) || d.Intersection != !b.splits(ill) {
			t.Fatalf("%v of %v", d, b.names(ill))
		}
		node, v := rapid.IntRange(0, len(b.ids)-1).Draw(t, "node"), false
		v, err = sys.VBlocking(b.ids[node], b.names(ill))
		if blocks := ill>>node&1 == 1 || !b.met(*b.set[b.ids[node]], b.all()&^ill); err != nil || v != blocks {
			t.Fatalf("v-blocking: %v, want %v: %v", v, blocks, err)
		}
	})
}
