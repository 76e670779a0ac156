package fbas

import "context"

// VBlocking says whether a set has a node of every slice of a node. A node is in each slice of its own.
func (s *System) VBlocking(node string, b []string) (bool, error) {
	who, err := s.find([]string{node})
	if err != nil {
		return false, err
	}
	set, err := s.find(b)
	if err != nil {
		return false, err
	}
	i := who.members()[0]
	return s.rules[i] == nil || s.whole().blocks(i, set), nil // no slice is known: nothing is left to block
}

// MinimalBlockingSets lists the sets that meet every quorum, and contain no smaller such set. Without a quorum that is the
// empty set.
func (s *System) MinimalBlockingSets(ctx context.Context) ([][]string, error) {
	// Every quorum contains one within a core, so only nodes of cores count.
	all := newSet(len(s.ids))
	for _, core := range s.whole().cores() {
		all = all.or(core)
	}
	c := s.whole().compact(all)
	b := blocking{view: c.whole(), ctx: ctx}
	if err := b.from(newSet(len(c.ids)), newSet(len(c.ids))); err != nil {
		return nil, err
	}
	return c.nameAll(b.found), nil
}

// blocking enumerates minimal blocking sets: a quorum that a set misses must lose one of its nodes to it, so each of them is
// taken in turn, and kept out of the turns after it.
type blocking struct {
	view
	ctx   context.Context
	found []set
}

func (b *blocking) from(taken, never set) error {
	if err := over(b.ctx); err != nil {
		return err
	}
	rest := b.nodes.minus(taken)
	for _, i := range taken.members() {
		// Nothing but i may stop some quorum, now and when more is taken; otherwise i is not needed.
		if b.greatest(rest.with(i)).empty() {
			return nil
		}
	}
	missed := b.greatest(rest)
	if missed.empty() {
		if len(b.found) == MaxSets {
			return ErrMany
		}
		b.found = append(b.found, taken)
		return nil
	}
	for _, i := range b.shrink(missed).minus(never).members() {
		if err := b.from(taken.with(i), never); err != nil {
			return err
		}
		never = never.with(i)
	}
	return nil
}
