package scp_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/scp"
)

type in map[scp.NodeID]bool

func (s in) has(id scp.NodeID) bool { return s[id] }

// subsets returns all sets of v0 to v(n-1).
func subsets(w *world, n int) []in {
	out := []in{{}}
	for i := range n {
		for _, s := range out[:1<<i] {
			more := in{w.node(fmt.Sprint("v", i)): true}
			for id := range s {
				more[id] = true
			}
			out = append(out, more)
		}
	}
	return out
}

// slice says by the definition whether a set of nodes holds a slice of q: there are as many satisfied entries as asked for.
func slice(q xdr.ScpQuorumSet, s in) bool {
	n := 0
	for _, v := range q.Validators {
		if id, _ := scp.NodeIDFromXDR(v); s[id] {
			n++
		}
	}
	for _, inner := range q.InnerSets {
		if slice(inner, s) {
			n++
		}
	}
	return n >= int(q.Threshold)
}

func parsed(t testing.TB, text string) *scp.QuorumSet {
	t.Helper()
	q, err := scp.ParseQuorumSet(set(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func nodes(text string) in {
	w, s := newWorld(), in{}
	for _, name := range strings.Fields(text) {
		s[w.node(name)] = true
	}
	return s
}

func TestSlicesAndBlockingSets(t *testing.T) {
	for _, c := range []struct {
		set, nodes       string
		slice, vBlocking bool
	}{
		{"3 v0 v1 v2 v3", "v0", false, false},
		{"3 v0 v1 v2 v3", "v0 v2", false, true},
		{"3 v0 v1 v2 v3", "v0 v2 v3", true, true},
		{"3 v0 v1 v2 v3", "v0 v1 v2 v3", true, true},
		{"3 v0 v1 v2 v3", "v7 v8 v9", false, false},
		{"1 v0", "", false, false},
		{"1 v0", "v0", true, true},
		{"1 v0 v1", "v0", true, false},
		{"2 v0 v1", "v0", false, true},
		{"2 v0 {2 v1 v2 v3}", "v1 v2", false, true},
		{"2 v0 {2 v1 v2 v3}", "v0 v1 v2", true, true},
		{"2 v0 {2 v1 v2 v3}", "v1", false, false},
		{"1 v0 {2 v1 v2 v3}", "v1 v2", true, false},
		{"1 v0 {2 v1 v2 v3}", "v0 v1 v2", true, true},
		{"2 {2 v0 v1 v2} {2 v3 v4 v5} {2 v6 v7 v8}", "v0 v3 v6", false, false},
		{"2 {2 v0 v1 v2} {2 v3 v4 v5} {2 v6 v7 v8}", "v0 v1 v3 v4", true, true},
		{"2 {2 v0 v1 v2} {2 v3 v4 v5} {2 v6 v7 v8}", "v0 v1 v2 v3 v6", false, false},
	} {
		q, s := parsed(t, c.set), nodes(c.nodes)
		if got := q.HasSlice(s.has); got != c.slice {
			t.Errorf("%s: slice in %s: %v", c.set, c.nodes, got)
		}
		if got := q.IsBlocked(s.has); got != c.vBlocking {
			t.Errorf("%s: blocked by %s: %v", c.set, c.nodes, got)
		}
	}
}

// TestSlicesAgainstDefinition: a set blocks if and only if those outside it hold no slice.
func TestSlicesAgainstDefinition(t *testing.T) {
	w := newWorld()
	all := subsets(w, 7)
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 2))
		wire := randomSet(r, w, r.Perm(7), 3)
		q, err := scp.ParseQuorumSet(wire)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range all {
			outside := all[len(all)-1-i]
			if q.HasSlice(s.has) != slice(wire, s) {
				t.Fatalf("seed %d: slice in %v", seed, s)
			}
			if q.IsBlocked(s.has) != !slice(wire, outside) {
				t.Fatalf("seed %d: blocked by %v", seed, s)
			}
			closest := q.ClosestBlocking(s.has, nil)
			if (len(closest) == 0) != !slice(wire, s) {
				t.Fatalf("seed %d: closest blocking set in %v is %v", seed, s, closest)
			}
			left := in{}
			for id := range s {
				left[id] = !slices.Contains(closest, id)
			}
			if slice(wire, left) {
				t.Fatalf("seed %d: %v does not block in %v", seed, closest, s)
			}
		}
	}
}

func TestClosestBlocking(t *testing.T) {
	flat, one, two := "v0 v1 v2", " {1 v3 v4 v5}", " {2 v6 v7}"
	for _, c := range []struct {
		set, good string
		want      int
	}{
		{"2 " + flat, "v0", 0},
		{"2 " + flat, "v0 v1", 1},
		{"2 " + flat, "v0 v1 v2", 2},
		{"2 " + flat + one, "v0 v1 v2 v3", 3},
		{"2 " + flat + one, "v0 v1 v2 v3 v4", 3},
		{"1 " + flat + one, "v0 v1 v2 v3 v4", 5},
		{"1 " + flat + one, "v0 v1 v2 v3 v4 v5", 6},
		{"1 " + flat + one + two, "v0 v1 v2 v3 v4 v5", 6},
		{"1 " + flat + one + two, "v0 v1 v2 v3 v4 v5 v6", 6},
		{"1 " + flat + one + two, "v0 v1 v2 v3 v4 v5 v6 v7", 7},
		{"4 " + flat + one + two, "v0 v1 v2 v3 v4 v5 v6 v7", 2},
		{"3 " + flat + one + two, "v0 v1 v2 v3 v4 v5 v6 v7", 3},
		{"2 " + flat + one + two, "v0 v1 v2 v3 v4 v5 v6 v7", 4},
	} {
		if got := parsed(t, c.set).ClosestBlocking(nodes(c.good).has, nil); len(got) != c.want {
			t.Errorf("%s, good %s: %d, not %d", c.set, c.good, len(got), c.want)
		}
	}
	v0 := newWorld().node("v0")
	if got := parsed(t, "3 v0 v1 v2 v3").ClosestBlocking(nodes("v0 v1 v2 v3").has, &v0); len(got) != 2 || slices.Contains(got, v0) {
		t.Errorf("without v0: %v", got)
	}
}

// TestQuorumAgainstDefinition: nodes with quorum sets of their own say something; is there a quorum for v0 among some of
// them? By the definition there is if one of all their subsets has a slice of each of its members, v0 being one.
func TestQuorumAgainstDefinition(t *testing.T) {
	const n = 6
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 3))
		w := newWorld()
		w.addValue("x")
		all := subsets(w, n)
		sets := map[scp.NodeID]xdr.ScpQuorumSet{}
		for i := range n {
			members := append([]int{i}, slices.DeleteFunc(r.Perm(n), func(j int) bool { return j == i || r.IntN(2) == 0 })...)
			name := fmt.Sprint("v", i)
			w.quorums[name] = randomSet(r, w, members, 1)
			sets[w.node(name)] = w.quorums[name]
		}
		for i := 1; i < n; i++ {
			if err := doRecv(w, []string{fmt.Sprint("v", i), "prepare", "b=1:x"}); err != nil {
				t.Fatal(err)
			}
		}
		isQuorum := func(s in) bool {
			for id := range s {
				if !slice(sets[id], s) {
					return false
				}
			}
			return len(s) > 0
		}
		for i, s := range all {
			want := false
			for j, sub := range all { // the j that are within i, as bits
				want = want || j&i == j && sub[w.node("v0")] && isQuorum(sub)
			}
			if !s[w.node("v0")] {
				continue
			}
			var ids []scp.NodeID
			for k := range n {
				if id := w.node(fmt.Sprint("v", k)); s[id] {
					ids = append(ids, id)
				}
			}
			if got := w.v0.IsQuorum(slot, ids); got != want {
				t.Fatalf("seed %d: %v: %v, not %v", seed, ids, got, want)
			}
		}
	}
}

func TestNodeKnowsWhatBlocksIt(t *testing.T) {
	w := newWorld()
	w.addValue("x")
	if err := doQuorum(w, strings.Fields("3 v0 v1 v2 v3")); err != nil {
		t.Fatal(err)
	}
	hear := func(node string) {
		if err := doRecv(w, []string{node, "nominate", "votes=x"}); err != nil {
			t.Fatal(err)
		}
	}
	hear("v1")
	if w.v0.HeardOfBlocking(slot) {
		t.Error("one of four blocks three of four")
	}
	hear("v9")
	if w.v0.HeardOfBlocking(slot) {
		t.Error("a stranger counts")
	}
	hear("v2")
	if !w.v0.HeardOfBlocking(slot) {
		t.Error("two of four do not block three of four")
	}
	if !w.v0.IsBlocking([]scp.NodeID{w.node("v1"), w.node("v3")}) || w.v0.IsBlocking([]scp.NodeID{w.node("v1"), w.node("v9")}) {
		t.Error("IsBlocking")
	}
}
