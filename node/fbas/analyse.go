package fbas

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Analysis is what there is to know about a system. What is not known is nil, and Reasons says why not.
type Analysis struct {
	Nodes        int // whose quorum sets are known
	UnknownNodes int // that are named without

	Intersection  Intersection // its verdict is zero when it is not known
	TopTier       []string     // the union of the minimal quorums
	Quorums       [][]string   // the minimal ones
	BlockingSets  [][]string   // the minimal ones
	SplittingSets [][]string   // the minimal ones
	Reasons       Reasons
}

// Part names a part of an analysis.
type Part string

// Parts of an analysis, in the order in which they are asked for.
const (
	PartIntersection  Part = "intersection"
	PartTopTier       Part = "top tier"
	PartBlockingSets  Part = "blocking sets"
	PartSplittingSets Part = "splitting sets"
	PartQuorums       Part = "quorums"
)

// Reasons say why parts of an analysis are not known: an error of NotKnown, or that of a mistake of the program.
type Reasons map[Part]error

// Analyse asks everything about a system of nodes that may change under way, such as a validator hears of: the quorum set of
// each, or nil where it is not known. A validator runs it in the background, on a context with a time limit.
func Analyse(ctx context.Context, sets map[string]*QuorumSet) (Analysis, error) {
	nodes := make([]Node, 0, len(sets))
	for _, id := range slices.Sorted(maps.Keys(sets)) {
		nodes = append(nodes, Node{id, sets[id]})
	}
	s, err := New(nodes, Absent)
	if err != nil {
		return Analysis{}, err
	}
	return s.Analyse(ctx), nil
}

// Analyse asks everything. What is left of the time of the context is shared among what is still to be asked, so that one hard
// question does not leave the others without an answer.
func (s *System) Analyse(ctx context.Context) Analysis {
	a := Analysis{Nodes: s.known.count(), UnknownNodes: s.unknown.count(), Reasons: Reasons{}}
	ask := []struct {
		part Part
		of   func(context.Context) error
	}{
		{PartIntersection, func(ctx context.Context) (err error) { a.Intersection, err = s.Intersection(ctx); return }},
		{PartTopTier, func(ctx context.Context) (err error) { a.TopTier, err = s.TopTier(ctx); return }},
		{PartBlockingSets, func(ctx context.Context) (err error) { a.BlockingSets, err = s.MinimalBlockingSets(ctx); return }},
		{PartSplittingSets, func(ctx context.Context) (err error) { a.SplittingSets, err = s.MinimalSplittingSets(ctx); return }},
		{PartQuorums, func(ctx context.Context) (err error) { a.Quorums, err = s.MinimalQuorums(ctx); return }},
	}
	for i, q := range ask {
		if err := within(ctx, len(ask)-i, q.of); err != nil {
			a.Reasons[q.part] = err
		}
	}
	return a
}

// within runs one of several questions in its share of the time that is left.
func within(ctx context.Context, several int, ask func(context.Context) error) error {
	if deadline, limited := ctx.Deadline(); limited {
		share, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(several))
		defer cancel()
		ctx = share
	}
	return ask(ctx)
}
