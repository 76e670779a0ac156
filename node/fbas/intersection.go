package fbas

import (
	"context"
	"errors"
	"fmt"
)

// Verdict answers whether every two quorums share a node.
type Verdict uint8

const (
	_ Verdict = iota
	// Intersects: every two quorums share a node.
	Intersects
	// Splits: there are two disjoint quorums.
	Splits
	// NoQuorum: there is no quorum at all.
	NoQuorum
)

// Intersection is the answer to whether every two quorums share a node, with what shows it.
type Intersection struct {
	Verdict     Verdict
	Disjoint    [2][]string  // two disjoint quorums, when it splits; each is minimal
	Certificate *Certificate // why there are none, when it intersects
}

// Ways to rule out that there are two disjoint quorums.
const (
	// Counting: any slice of a node of the core shares a node with any slice of any other, as their thresholds are so high.
	Counting = "counting"
	// Refutation: the formula that describes two disjoint quorums contradicts itself; each step of that was checked.
	Refutation = "refutation"
)

// Certificate says why every two quorums share a node. Every minimal quorum lies within Core, which is found by elimination;
// Method says what rules out two disjoint ones there.
type Certificate struct {
	Core      []string `json:"core"`
	Method    string   `json:"method"`              // Counting or Refutation
	Variables int      `json:"variables,omitempty"` // of the formula that was refuted
	Clauses   int      `json:"clauses,omitempty"`   // of that formula
	Steps     int      `json:"steps,omitempty"`     // of the refutation: clauses that were checked to follow from those before them
}

// errSolver: the solver's answer failed the check. It is never believed.
var errSolver = errors.New("the solver's answer does not hold")

// Intersection answers whether every two quorums share a node. The error is ErrTime if the context ends before that is known.
func (s *System) Intersection(ctx context.Context) (Intersection, error) {
	return s.whole().intersection(ctx)
}

func (v view) intersection(ctx context.Context) (Intersection, error) {
	cores := v.cores()
	switch len(cores) {
	case 0:
		return Intersection{Verdict: NoQuorum}, nil
	case 1:
		return v.search(ctx, cores[0])
	}
	return v.split(cores[0], cores[1]), nil
}

// split is the answer that these two are disjoint quorums.
func (v view) split(a, b set) Intersection {
	return Intersection{Verdict: Splits, Disjoint: [2][]string{v.names(v.shrink(a)), v.names(v.shrink(b))}}
}

// search looks for two disjoint quorums within the only core.
func (v view) search(ctx context.Context, core set) (Intersection, error) {
	c := v.compact(core).whole()
	cert := &Certificate{Core: v.names(core), Method: Counting}
	count := counter{known: map[[2]*rule]bool{}}
	if all, err := count.excludesAll(ctx, c.rules); err != nil {
		return Intersection{}, err
	} else if all {
		return Intersection{Verdict: Intersects, Certificate: cert}, nil
	}
	one := c.shrink(c.nodes)
	if rest := c.rest(one); !rest.empty() { // so it often is, and no solver is needed
		return c.split(one, rest), nil
	}
	f, left, right := disjointQuorums(ctx, c.nodes.members(), c.rules, &count)
	model, steps, err := solve(ctx, f)
	if err != nil {
		return Intersection{}, err
	}
	if model == nil {
		cert.Method, cert.Variables, cert.Clauses, cert.Steps = Refutation, f.vars, len(f.clauses), steps
		return Intersection{Verdict: Intersects, Certificate: cert}, nil
	}
	a, b := left.read(model, len(c.ids)), right.read(model, len(c.ids))
	if a.meets(b) || !c.isQuorum(a) || !c.isQuorum(b) {
		return Intersection{}, fmt.Errorf("fbas: %w: they are not disjoint quorums", errSolver)
	}
	return c.split(a, b), nil
}

// rest is the greatest quorum that is disjoint from a set.
func (v view) rest(of set) set { return v.greatest(v.nodes.minus(of)) }

// splits says whether there are two disjoint quorums, by trying all that may be the smaller of them. For the many small
// systems of one analysis this takes less than to state the question to the solver.
func (v view) splits(ctx context.Context) (bool, error) {
	cores := v.cores()
	if len(cores) != 1 {
		return len(cores) > 1, nil
	}
	c := v.compact(cores[0])
	count := counter{known: map[[2]*rule]bool{}}
	if all, err := count.excludesAll(ctx, c.rules); all || err != nil {
		return false, err
	}
	h := half{walk{view: c.whole(), ctx: ctx, trusted: c.trusted()}}
	return h.from(newSet(len(c.ids)), c.known)
}

// half is the enumeration of minimal quorums of at most half of the nodes, until one of them leaves a quorum in the rest.
type half struct{ walk }

func (h *half) from(taken, left set) (bool, error) {
	if err := over(h.ctx); err != nil {
		return false, err
	}
	if 2*taken.count() > len(h.ids) {
		return false, nil
	}
	if q := h.greatest(taken); !q.empty() {
		return !h.rest(q).empty(), nil
	}
	all := h.greatest(taken.or(left))
	if all.empty() || !taken.within(all) || h.rest(taken).empty() {
		return false, nil
	}
	left = all.minus(taken)
	next := h.next(left)
	if split, err := h.from(taken, left.without(next)); split || err != nil {
		return split, err
	}
	return h.from(taken.with(next), left.without(next))
}
