package herder

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/diamante/gateway/node/protocol"
)

// bid makes a waiting transaction by name: "a7" is the transaction with sequence number 7 of account a, and "a7+z" is a
// fee bump of it that account z pays for; a different one for every fee.
func bid(t testing.TB, name string, fee int64, ops int) *pending {
	t.Helper()
	var account string
	var seq int64
	inner, payer, bump := strings.Cut(name, "+")
	if _, err := fmt.Sscanf(inner, "%1s%d", &account, &seq); err != nil {
		t.Fatalf("name %q: %v", name, err)
	}
	if !bump {
		payer = account
	}
	id := func(name string) protocol.AccountID {
		key := sha256.Sum256([]byte(name))
		id, err := protocol.AccountIDFromKey(key[:])
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	return &pending{hash: sha256.Sum256(fmt.Append(nil, name, fee, ops)), source: id(account), payer: id(payer), bump: bump, seq: seq, fee: fee, ops: ops}
}

// step is one thing that happens to a queue, and what must come of it.
type step struct {
	name string // of the transaction that is added; "" closes a ledger with those in take
	fee  int64
	ops  int
	take []string // "name fee ops"
	want verdict
	left string // "fee,fee..." of what waits afterwards, best first; "" is not checked, "-" is nothing
}

func TestQueue(t *testing.T) {
	closed := func(left string, take ...string) step { return step{take: take, left: left} }
	for _, c := range []struct {
		name   string
		maxOps int
		steps  []step
	}{
		{"one for each source", 10, []step{
			{"a1", 100, 1, nil, accepted, "100"},
			{"a1", 100, 1, nil, duplicate, "100"},
			{"a2", 200, 1, nil, busy, "100"},
			{"b1", 100, 1, nil, accepted, "100,100"},
			closed("100", "a1 100 1"),
			{"a2", 200, 1, nil, accepted, "200,100"},
		}},
		{"replaced by a fee bump of ten times the fee only", 10, []step{
			{"a1", 100, 1, nil, accepted, "100"},
			{"a1", 100_000, 1, nil, busy, "100"},
			{"a1+z", 1999, 2, nil, busy, "100"},
			{"a1+z", 2000, 2, nil, accepted, "2000"},
			{"a2+z", 90000, 2, nil, busy, "2000"},
			{"a1", 100, 1, nil, busy, "2000"},
			{"a1+a", 19999, 2, nil, busy, "2000"},
			{"a1+a", 20000, 2, nil, accepted, "20000"},
		}},
		{"the lowest bid per operation goes when full", 3, []step{
			{"a1", 300, 1, nil, accepted, "300"},
			{"b1", 400, 2, nil, accepted, "300,400"},
			{"c1", 200, 1, nil, busy, "300,400"},
			{"c1", 201, 1, nil, accepted, "300,201"},
			{"d1", 150, 1, nil, accepted, "300,201,150"},
			{"b1", 400, 2, nil, busy, "300,201,150"},
		}},
		{"several go for one only if all bid less", 4, []step{
			{"a1", 100, 1, nil, accepted, ""},
			{"b1", 200, 1, nil, accepted, ""},
			{"c1", 300, 2, nil, accepted, "200,300,100"},
			{"d1", 450, 3, nil, busy, "200,300,100"},
			{"d1", 603, 3, nil, accepted, "603,200"},
		}},
		{"a replacement needs no more room than it leaves", 2, []step{
			{"a1", 100, 1, nil, accepted, ""},
			{"b1", 5000, 1, nil, accepted, "5000,100"},
			{"a1+z", 1000, 1, nil, accepted, "5000,1000"},
			{"a1+z", 20000, 2, nil, accepted, "20000"},
		}},
		{"larger than the queue", 5, []step{{"a1", math.MaxInt64, 6, nil, busy, "-"}}},
		{"the largest bids do not overflow", 4, []step{
			{"a1", math.MaxInt64, 2, nil, accepted, ""},
			{"b1", math.MaxInt64, 1, nil, accepted, "9223372036854775807,9223372036854775807"},
			{"a1+z", math.MaxInt64 - 1, 1, nil, busy, ""},
		}},
		{"dropped after four ledgers, back after ten", 10, []step{
			{"a1", 100, 1, nil, accepted, "100"},
			closed("100"), closed("100"), closed("100"), closed("-"),
			{"a1", 100, 1, nil, busy, "-"},
			{"a1", 101, 1, nil, accepted, "101"},
			closed("-", "a1 101 1"), closed(""), closed(""), closed(""), closed(""), closed(""), closed(""), closed(""), closed(""),
			{"a1", 100, 1, nil, busy, "-"},
			closed(""),
			{"a1", 100, 1, nil, accepted, "100"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := newQueue(c.maxOps)
			for i, s := range c.steps {
				if s.name != "" {
					if got := q.add(bid(t, s.name, s.fee, s.ops)); got != s.want {
						t.Fatalf("step %d: %s: verdict %d, want %d", i, s.name, got, s.want)
					}
				} else {
					q.closed(hashes(t, s.take), func(*pending) bool { return true })
				}
				if s.left != "" && show(q) != s.left {
					t.Fatalf("step %d: %s waits, want %s", i, show(q), s.left)
				}
				check(t, q)
			}
		})
	}
}

func hashes(t *testing.T, names []string) (out []protocol.Hash) {
	for _, n := range names {
		var name string
		var fee int64
		var ops int
		if _, err := fmt.Sscan(n, &name, &fee, &ops); err != nil {
			t.Fatal(err)
		}
		out = append(out, bid(t, name, fee, ops).hash)
	}
	return out
}

func show(q *queue) string {
	all, _ := q.best(math.MaxInt32)
	var fees []string
	for _, p := range all {
		fees = append(fees, fmt.Sprint(p.fee))
	}
	if len(fees) == 0 {
		return "-"
	}
	return strings.Join(fees, ",")
}

// check fails the test if the parts of q disagree.
func check(t interface{ Fatalf(string, ...any) }, q *queue) {
	ops := 0
	owed := map[protocol.AccountID]int64{}
	for i, p := range q.lowest {
		ops += p.ops
		owed[p.payer] += p.fee
		if p.index != i || q.byHash[p.hash] != p || q.bySource[p.source] != p {
			t.Fatalf("the queue lost track of transaction %s", p.hash)
		}
		if parent := (i - 1) / 2; i > 0 && worse(q.lowest[parent], p) > 0 {
			t.Fatalf("heap order broken at %d", i)
		}
	}
	if !maps.Equal(owed, q.owed) {
		t.Fatalf("owed %v, counted %v", q.owed, owed)
	}
	if ops != q.ops || ops > q.maxOps || len(q.byHash) != len(q.lowest) || len(q.bySource) != len(q.lowest) {
		t.Fatalf("%d operations (limit %d), counted %d; %d by hash, %d by source, %d in the heap",
			ops, q.maxOps, q.ops, len(q.byHash), len(q.bySource), len(q.lowest))
	}
}

func TestQueueDropsWhatBecameInvalid(t *testing.T) {
	q := newQueue(10)
	a, b := bid(t, "a1", 100, 1), bid(t, "b1", 100, 1)
	q.add(a)
	q.add(b)
	q.closed(nil, func(p *pending) bool { return p == a })
	if !q.holds(a.hash) || q.holds(b.hash) {
		t.Errorf("a waits: %v, want true; b waits: %v, want false", q.holds(a.hash), q.holds(b.hash))
	}
	if q.add(b) != busy {
		t.Error("what was dropped came back at once")
	}
}

func TestQueueBestLeavesGaps(t *testing.T) {
	q := newQueue(100)
	for _, p := range []*pending{bid(t, "a1", 500, 1), bid(t, "b1", 4000, 10), bid(t, "c1", 300, 1), bid(t, "d1", 100, 1)} {
		q.add(p)
	}
	for _, c := range []struct {
		maxOps int
		fees   []int64
		all    bool
	}{{13, []int64{500, 4000, 300, 100}, true}, {12, []int64{500, 4000, 300}, false}, {5, []int64{500, 300, 100}, false}, {0, nil, false}} {
		chosen, all := q.best(c.maxOps)
		var fees []int64
		for _, p := range chosen {
			fees = append(fees, p.fee)
		}
		if !slices.Equal(fees, c.fees) || all != c.all {
			t.Errorf("best of %d operations: %v %v, want %v %v", c.maxOps, fees, all, c.fees, c.all)
		}
	}
}

// Whatever happens to a queue, its parts agree, it keeps its limit, and what is taken out is the best there is.
func TestQueueAlways(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		q := newQueue(rapid.IntRange(1, 12).Draw(rt, "limit"))
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(rt, "source") + rapid.SampledFrom([]string{"1", "2", "1+z", "1+y"}).Draw(rt, "rest")
				p := bid(t, name, rapid.Int64Range(100, 3000).Draw(rt, "fee"), rapid.IntRange(1, 4).Draw(rt, "ops"))
				said := q.room(p)
				before := q.Len()
				if got := q.add(p); got != said {
					rt.Fatalf("room said %d, add %d", said, got)
				}
				if said != accepted && q.Len() != before {
					rt.Fatal("a refusal changed the queue")
				}
			},
			"close": func(rt *rapid.T) {
				chosen, _ := q.best(rapid.IntRange(0, 6).Draw(rt, "size"))
				var applied []protocol.Hash
				for _, p := range chosen {
					applied = append(applied, p.hash)
				}
				q.closed(applied, func(*pending) bool { return rapid.Bool().Draw(rt, "still valid") })
				for _, h := range applied {
					if q.holds(h) || q.isBanned(h) {
						rt.Fatal("an applied transaction waits or is banned")
					}
				}
			},
			"": func(rt *rapid.T) { check(rt, q) },
		})
	})
}
