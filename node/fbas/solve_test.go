package fbas

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// pigeons says that n+1 pigeons sit in n holes, one in each: false, and very hard to refute.
func pigeons(n int) *formula {
	f := &formula{vars: n * (n + 1)}
	for p := range n + 1 {
		var some []int
		for h := range n {
			some = append(some, p*n+h+1)
			for q := range p {
				f.add(-(p*n + h + 1), -(q*n + h + 1))
			}
		}
		f.add(some...)
	}
	return f
}

func TestSolveRefutes(t *testing.T) {
	if model, steps, err := solve(t.Context(), pigeons(5)); model != nil || steps == 0 || err != nil {
		t.Errorf("%v %d %v", model, steps, err)
	}
}

// TestSolveEnds: a search that would take years ends with its time, leaves nobody at work, and lets the next one begin.
func TestSolveEnds(t *testing.T) {
	hard := pigeons(14)
	if raceDetector { // there it goes on to its end
		hard = pigeons(7)
	}
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	start := time.Now()
	if model, _, err := solve(ctx, hard); model != nil || !errors.Is(err, ErrTime) {
		t.Errorf("%v %v", model, err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if model, steps, err := solve(t.Context(), pigeons(4)); model != nil || steps == 0 || err != nil {
		t.Errorf("the next: %v %d %v", model, steps, err)
	}
	for runtime.NumGoroutine() > before {
		if time.Since(start) > time.Minute {
			t.Fatal("the solver is still at work")
		}
		runtime.Gosched()
	}
}

// TestManyAsk: any number of goroutines may ask at once, and one that has no time left does not wait for the others.
func TestManyAsk(t *testing.T) {
	s, err := New(leavingOut(12), Absent)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if in, err := s.Intersection(t.Context()); err != nil || in.Verdict != Intersects || in.Certificate.Method != Refutation {
				t.Errorf("%+v %v", in, err)
			}
		})
	}
	all.Wait()
	turn <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := s.Intersection(ctx); !errors.Is(err, ErrTime) {
		t.Errorf("while another is at work: %v", err)
	}
	<-turn
}

// TestProofDoubts: a step that does not follow is refused, and one that does is not.
func TestProofDoubts(t *testing.T) {
	f := &formula{vars: 3, clauses: [][]int{{1, 2}, {-1, 2}, {-2, 3}}}
	for _, bad := range [][]int{{-3}, {1}, {}, {4}, {-1, -2}} {
		if newProof(f).follows(bad) {
			t.Errorf("%v does not follow", bad)
		}
	}
	for _, good := range [][]int{{2}, {3}, {1, 3}} {
		if !newProof(f).follows(good) {
			t.Errorf("%v follows", good)
		}
	}
	for _, line := range []string{"", "1 2", "0 0", "a 0", "1 0 2 0"} {
		if _, err := readClause(line); !errors.Is(err, errSolver) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// TestAtLeast: the formula can be met by exactly those assignments that have enough of the literals.
func TestAtLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 8).Draw(t, "n")
		k, chosen := rapid.IntRange(0, n+1).Draw(t, "k"), rapid.IntRange(0, 1<<n-1).Draw(t, "chosen")
		f, of, have := &formula{vars: n + 1}, []int{}, 0
		for i := range n {
			of = append(of, i+1)
			if chosen>>i&1 == 1 {
				have++
				f.add(i + 1)
			} else {
				f.add(-(i + 1))
			}
		}
		f.add(n + 1)
		f.atLeast(n+1, k, of)
		model, _, err := solve(t.Context(), f)
		if err != nil || (model != nil) != (have >= k) {
			t.Fatalf("%d of %d, at least %d: %v %v", have, n, k, model, err)
		}
	})
}

// TestSolverAgainstEnumeration: on systems that counting does not decide, the solver and the list of minimal quorums agree.
func TestSolverAgainstEnumeration(t *testing.T) {
	searched := 0
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(4, 12).Draw(t, "n")
		nodes := make([]Node, n)
		for i := range nodes {
			q := &QuorumSet{}
			for j := range n {
				if rapid.IntRange(0, 3).Draw(t, "in") > 0 {
					q.Validators = append(q.Validators, string(rune('a'+j)))
				}
			}
			q.Threshold = max(1, (3*len(q.Validators)+3)/5)
			nodes[i] = Node{string(rune('a' + i)), q}
		}
		s, err := New(nodes, Absent)
		if err != nil {
			t.Fatal(err)
		}
		in, err := s.Intersection(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if in.Certificate != nil && in.Certificate.Method == Refutation {
			searched++
		}
		quorums, err := s.MinimalQuorums(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		disjoint := false
		for _, a := range quorums {
			for _, b := range quorums {
				m, err := s.find(a)
				o, err2 := s.find(b)
				disjoint = disjoint || errors.Join(err, err2) == nil && !m.meets(o)
			}
		}
		if (in.Verdict == Splits) != disjoint || (in.Verdict == NoQuorum) != (len(quorums) == 0) {
			t.Fatalf("verdict %d, but the minimal quorums are %v", in.Verdict, quorums)
		}
	})
	if searched == 0 {
		t.Error("the solver refuted nothing")
	}
}
