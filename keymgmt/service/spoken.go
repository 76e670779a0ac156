package service

import (
	"bytes"
	"fmt"

	"github.com/diamante/gateway/keymgmt"
)

// spoken is what this process has known validators to have said. The newest step in the journal counts, and whoever has the
// role's password can add one that names an older statement; so marks that this process has read or written never go back,
// whatever the journal says. Before its first look at a validator it has only the journal. The zero value is ready.
type spoken struct {
	m map[validator]*said // owned by whoever commits, one at a time: see drain
}

// check refuses marks that are behind those of before.
func (p *spoken) check(now map[validator]*said) error {
	for v, last := range now {
		if before := p.m[v]; before != nil && !last.follows(before) {
			return fmt.Errorf("%w: the marks of validator %s have gone back in the journal", keymgmt.ErrUnavailable, v.node)
		}
	}
	return nil
}

// learn takes what stands in the journal after a group.
func (p *spoken) learn(now map[validator]*said) {
	if p.m == nil {
		p.m = map[validator]*said{}
	}
	for v, last := range now {
		p.m[v] = last
	}
}

// follows reports whether no mark of l is behind one of before.
func (l *said) follows(before *said) bool {
	for series, old := range before.newest {
		m := l.newest[series]
		if bytes.Equal(m.body, old.body) {
			continue
		}
		after := false
		switch {
		case m.body == nil || m.step <= old.step:
		case series == seriesNomination:
			after = l.Nomination.After(*before.Nomination) == nil
		case series == seriesBallot:
			after = l.Ballot.After(*before.Ballot) == nil
		case series == seriesValue:
			after = l.Value.CloseTime.After(before.Value.CloseTime)
		}
		if !after {
			return false
		}
	}
	return true
}
