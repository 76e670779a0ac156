package scp_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/scp"
)

// set reads a quorum set as scripts have it.
func set(t testing.TB, text string) xdr.ScpQuorumSet {
	t.Helper()
	q, err := newWorld().parseQuorum(strings.Fields(text))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func many(threshold, from, to int) string {
	out := fmt.Sprint(threshold)
	for i := from; i < to; i++ {
		out += fmt.Sprintf(" v%d", i)
	}
	return out
}

func TestQuorumSetSanityAndNormalForm(t *testing.T) {
	var hundreds, tooMany string
	for i := range 10 {
		hundreds += " {" + many(1, 100*i, 100*i+100) + "}"
		tooMany += " {" + many(1, 100*i+1, 100*i+101) + "}"
	}
	for _, c := range []struct {
		name, set string
		sane      bool
		normal    string
	}{
		{"empty", "0", false, "0"},
		{"no threshold", "0 v0", false, "0 v0"},
		{"threshold too high", "2 v0", false, "2 v0"},
		{"one", "1 v0", true, "1 v0"},
		{"order", "2 v2 v0 v1", true, "2 v0 v1 v2"},
		{"duplicate", "2 v0 v1 v0", false, "2 v0 v0 v1"},
		{"duplicate inside", "2 v0 {1 v1 v0}", false, "2 v0 {1 v0 v1}"},
		{"duplicate across", "2 {1 v0 v1} {1 v1 v2}", false, "2 {1 v0 v1} {1 v1 v2}"},
		{"inner set of one", "1 v0 {1 v1}", true, "1 v0 v1"},
		{"inner set of one sorts", "2 v5 {1 v1} v3", true, "2 v1 v3 v5"},
		{"inner threshold too high", "1 v0 {2 v1} {1 v2}", false, "1 v0 v2 {2 v1}"},
		{"empty inner set", "1 v0 {1}", false, "1 v0 {1}"},
		{"two kinds", "1 v0 {1 v1} {1 v2 v3}", true, "1 v0 v1 {1 v2 v3}"},
		{"a set in a set", "1 {1 v0 {1 v1} {1 v2 v3}}", true, "1 v0 v1 {1 v2 v3}"},
		{"sets in sets", "1 {1 {1 {2 v1 v0}}}", true, "2 v0 v1"},
		{"down to one", "1 {1 {1 v1}}", true, "1 v1"},
		{"lift the last only", "1 v0 {1 v1 {1 v2 {1 v3}}}", true, "1 v0 {1 v1 {1 v2 v3}}"},
		{"inner sets sort by nodes", "2 {1 v4 v5} {2 v1 v2} {1 v3 v0}", true, "2 {1 v0 v3} {2 v1 v2} {1 v4 v5}"},
		{"shorter first", "2 {1 v1 v2 {1 v3 v4}} {1 v0 v5}", true, "2 {1 v0 v5} {1 v1 v2 {1 v3 v4}}"},
		{"by threshold last", "2 {2 v1 v2} {1 v1 v2}", false, "2 {1 v1 v2} {2 v1 v2}"},
		{"four deep", "1 v0 {1 v1 {1 v2 {1 v3 {1 v4 v5}}}}", true, "1 v0 {1 v1 {1 v2 {1 v3 {1 v4 v5}}}}"},
		{"four deep before simplifying", "1 v0 {1 v1 {1 v2 {1 v3 {1 v4}}}}", true, "1 v0 {1 v1 {1 v2 {1 v3 v4}}}"},
		{"five deep", "1 v0 {1 v1 {1 v2 {1 v3 {1 v4 {1 v5}}}}}", false, "1 v0 {1 v1 {1 v2 {1 v3 {1 v4 v5}}}}"},
		{"thousand", many(1, 0, 1000), true, many(1, 0, 1000)},
		{"a thousand and one", many(1, 0, 1001), false, many(1, 0, 1001)},
		{"a thousand in ten", "1" + hundreds, true, "1" + hundreds},
		{"one more in ten", "1 v0" + tooMany, false, "1 v0" + tooMany},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := set(t, c.set)
			err := scp.CheckQuorumSet(q)
			if (err == nil) != c.sane || err != nil && !errors.Is(err, scp.ErrQuorumSet) {
				t.Errorf("sane: %v", err)
			}
			if got := scp.NormalQuorumSet(q); !equalSets(got, set(t, c.normal)) {
				t.Errorf("normal form: %+v", got)
			}
			if !equalSets(q, set(t, c.set)) {
				t.Error("the argument was changed")
			}
		})
	}
}

func equalSets(a, b xdr.ScpQuorumSet) bool { return scp.HashQuorumSet(a) == scp.HashQuorumSet(b) }

func TestQuorumSetOfABadKeyIsNotSane(t *testing.T) {
	bad := []xdr.NodeId{{}, {Type: xdr.PublicKeyTypePublicKeyTypeEd25519}, {Type: 9, Ed25519: &xdr.Uint256{1}}, scp.NodeID{}.XDR()}
	for _, id := range bad {
		if err := scp.CheckQuorumSet(xdr.ScpQuorumSet{Threshold: 1, Validators: []xdr.NodeId{id}}); !errors.Is(err, scp.ErrQuorumSet) {
			t.Errorf("%+v: %v", id, err)
		}
	}
}

func TestStrictCheckWantsMajorities(t *testing.T) {
	for text, ok := range map[string]bool{
		"1 v0": true, "1 v0 v1": false, "2 v0 v1 v2": true, "2 v0 v1 v2 v3": false, "3 v0 v1 v2 v3": true,
		"2 v0 {1 v1 v2} v3": false, "2 v0 {2 v1 v2 v4} v3": true, "2 v0": false,
	} {
		if err := scp.CheckQuorumSetStrictly(set(t, text)); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestWithoutNode(t *testing.T) {
	w := newWorld()
	for _, c := range [][3]string{
		{"3 v0 v1 v2 v3", "v1", "2 v0 v2 v3"},
		{"3 v0 v1 v2 v3", "v9", "3 v0 v1 v2 v3"},
		{"2 v0 {2 v1 v2}", "v1", "2 v0 v2"},
		{"2 v0 {2 v1 v2 v3}", "v1", "2 v0 {1 v2 v3}"},
		{"1 v0", "v0", "0"},
		{"2 v0 {1 v1}", "v1", "2 v0 {0}"},
	} {
		if got := scp.WithoutNode(set(t, c[0]), w.node(c[1])); !equalSets(got, set(t, c[2])) {
			t.Errorf("%s without %s: %+v", c[0], c[1], got)
		}
	}
}

// randomSet makes a quorum set of nodes v0 to v(n-1), each at most once, sometimes with a threshold that is not sane.
func randomSet(r *rand.Rand, w *world, ids []int, depth int) xdr.ScpQuorumSet {
	var q xdr.ScpQuorumSet
	for len(ids) > 0 {
		n := 1 + r.IntN(len(ids))
		if depth > 0 && r.IntN(3) == 0 {
			q.InnerSets = append(q.InnerSets, randomSet(r, w, ids[:n], depth-1))
			ids = ids[n:]
			continue
		}
		q.Validators = append(q.Validators, w.node(fmt.Sprint("v", ids[0])).XDR())
		ids = ids[1:]
	}
	q.Threshold = xdr.Uint32(1 + r.IntN(len(q.Validators)+len(q.InnerSets)))
	return q
}

// reorderSet shuffles a set and wraps nodes in sets of one: another way to write the same.
func rewriteSet(r *rand.Rand, q xdr.ScpQuorumSet) xdr.ScpQuorumSet {
	out := xdr.ScpQuorumSet{Threshold: q.Threshold}
	for _, v := range q.Validators {
		if r.IntN(4) == 0 {
			out.InnerSets = append(out.InnerSets, xdr.ScpQuorumSet{Threshold: 1, Validators: []xdr.NodeId{v}})
		} else {
			out.Validators = append(out.Validators, v)
		}
	}
	for _, inner := range q.InnerSets {
		out.InnerSets = append(out.InnerSets, rewriteSet(r, inner))
	}
	r.Shuffle(len(out.Validators), reflect.Swapper(out.Validators))
	r.Shuffle(len(out.InnerSets), reflect.Swapper(out.InnerSets))
	return out
}

func TestNormalFormKeepsTheMeaning(t *testing.T) {
	w := newWorld()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		q := randomSet(r, w, r.Perm(6), 2)
		normal := scp.NormalQuorumSet(q)
		if again := scp.NormalQuorumSet(normal); !equalSets(again, normal) {
			t.Fatalf("seed %d: not the same twice", seed)
		}
		if other := scp.NormalQuorumSet(rewriteSet(r, q)); !equalSets(other, normal) {
			t.Fatalf("seed %d: two ways to write one set have two normal forms", seed)
		}
		for _, in := range subsets(w, 6) {
			if slice(q, in) != slice(normal, in) {
				t.Fatalf("seed %d: %v", seed, in)
			}
		}
	}
}

func FuzzNormalForm(f *testing.F) {
	for _, text := range []string{"1 v0", "2 v0 v1 v2 {1 v3 {2 v4 v5}}", "0", "1 {1 {1 v0}}", "2 {1 v0} {1 v0}"} {
		raw, err := set(f, text).MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var q xdr.ScpQuorumSet
		if q.UnmarshalBinary(raw) != nil {
			return
		}
		before := scp.HashQuorumSet(q)
		normal := scp.NormalQuorumSet(q)
		if again := scp.NormalQuorumSet(normal); !equalSets(again, normal) {
			t.Error("not the same twice")
		}
		if scp.HashQuorumSet(q) != before {
			t.Error("the argument was changed")
		}
		if scp.CheckQuorumSet(q) != nil {
			return
		}
		if err := scp.CheckQuorumSet(normal); err != nil {
			t.Error("a sane set is not after that: ", err)
		}
		a, _ := scp.ParseQuorumSet(q)
		b, _ := scp.ParseQuorumSet(normal)
		x, y := a.Nodes(), b.Nodes()
		slices.SortFunc(x, scp.NodeID.Compare)
		slices.SortFunc(y, scp.NodeID.Compare)
		if !slices.Equal(x, y) {
			t.Error("other nodes")
		}
		half := func(id scp.NodeID) bool { return id[31]&1 == 0 }
		if a.HasSlice(half) != b.HasSlice(half) || a.IsBlocked(half) != b.IsBlocked(half) {
			t.Error("another meaning")
		}
		for _, id := range x {
			if a.Weight(id) == 0 || b.Weight(id) == 0 {
				t.Error("a member without weight")
			}
		}
	})
}
