package fbas

import (
	"context"
	"fmt"
	"math/bits"
)

// Dispensable says whether the rest of a system can do without a set, whatever its nodes do.
type Dispensable struct {
	Intersection bool // every two quorums share a node, when the set is deleted
	Availability bool // the rest is a quorum by itself, or there is no rest
}

// Both says whether the set is dispensable: a DSet of the paper.
func (d Dispensable) Both() bool { return d.Intersection && d.Availability }

// Dispensable says whether the system has quorum intersection and availability despite a set of nodes.
func (s *System) Dispensable(ctx context.Context, ids []string) (Dispensable, error) {
	b, err := s.find(ids)
	if err != nil {
		return Dispensable{}, err
	}
	rest := s.whole().nodes.minus(b)
	d := Dispensable{Availability: rest.empty() || s.whole().isQuorum(rest)}
	in, err := s.delete(b).intersection(ctx)
	d.Intersection = err == nil && in.Verdict != Splits // a system without a quorum has no two
	return d, err
}

// DispensableSets lists all dispensable sets of the system's nodes. A system of more than MaxDispensable nodes is ErrMany.
func (s *System) DispensableSets(ctx context.Context) ([][]string, error) {
	nodes := s.known.members()
	if len(nodes) > MaxDispensable {
		return nil, fmt.Errorf("%w: they are listed for up to %d nodes", ErrMany, MaxDispensable)
	}
	var found []set
	for chosen := range uint(1) << len(nodes) {
		if err := over(ctx); err != nil {
			return nil, err
		}
		b := newSet(len(s.ids))
		for c := chosen; c != 0; c &= c - 1 {
			b.add(nodes[bits.TrailingZeros(c)])
		}
		rest := s.known.minus(b)
		if !rest.empty() && !s.whole().isQuorum(rest) {
			continue
		}
		split, err := s.delete(b).splits(ctx)
		if err != nil {
			return nil, err
		}
		if !split {
			found = append(found, b)
		}
	}
	return s.nameAll(found), nil
}

// Intact divides the nodes by what ill-behaved ones can do to them: a node is intact if it is outside some dispensable set
// that contains all ill-behaved nodes, and befouled otherwise. Every ill-behaved node is befouled.
func (s *System) Intact(ctx context.Context, ill []string) (intact, befouled []string, err error) {
	b, err := s.find(ill)
	if err != nil {
		return nil, nil, err
	}
	d := outside{view: s.whole(), ctx: ctx, ill: b, intact: newSet(len(s.ids))}
	if err := d.from(d.greatest(d.nodes.minus(b))); err != nil {
		return nil, nil, err
	}
	return s.names(d.intact), s.names(d.nodes.or(b).minus(d.intact)), nil
}

// outside finds what lies outside of dispensable sets that contain the ill-behaved nodes. What lies outside of such a set B is
// a quorum W of well-behaved nodes, or empty, such that the system has intersection despite B.
type outside struct {
	view
	ctx    context.Context
	ill    set
	intact set // the union of what was found
}

// from looks within the quorum w. If there are disjoint quorums P and Q when all but w is deleted, then what any smaller W
// leaves of each of them is a quorum when all but W is deleted: whom P was missing is deleted still, and so is what W leaves
// out of P. So W has nothing of P, or nothing of Q; and as a quorum it lies within the greatest quorum of what is left.
func (o *outside) from(w set) error {
	if w.within(o.intact) {
		return nil
	}
	d := o.delete(o.nodes.minus(w).or(o.ill))
	in, err := d.intersection(o.ctx)
	if err != nil {
		return err
	}
	if in.Verdict != Splits {
		o.intact = o.intact.or(w)
		return nil
	}
	p, err := o.find(in.Disjoint[0])
	if err != nil {
		return err
	}
	q := d.greatest(w.minus(p)) // not only the one that was found: the more, the better
	if err := o.from(o.greatest(w.minus(q))); err != nil {
		return err
	}
	return o.from(o.greatest(w.minus(p)))
}
