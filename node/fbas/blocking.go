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
	b := blocking{view: s.whole(), ctx: ctx}
	if err := b.from(newSet(len(s.ids)), newSet(len(s.ids))); err != nil {
		return nil, err
	}
	return s.nameAll(b.found), nil
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
