package fbas

import "slices"

// proof checks a refutation step by step: each clause must follow from those before it by unit propagation, which means that
// taking all its literals as false makes some clause false by setting only what is forced. It knows nothing of how the
// solver works, so a mistake there cannot become a wrong answer here.
type proof struct {
	clauses [][]int // with at least two literals; the first two of each are watched
	watches [][]int // by place of a literal: the clauses that watch it
	value   []int8  // by variable: 1 true, -1 false, 0 open
	trail   []int   // literals that are true, in order
	steps   int     // how many clauses were added
	refuted bool    // the clauses contradict each other without any assumption
}

func newProof(f *formula) *proof {
	p := &proof{watches: make([][]int, 2*f.vars+2), value: make([]int8, f.vars+1)}
	for _, c := range f.clauses {
		p.insert(c)
	}
	return p
}

// at is the place of a literal among the watches.
func at(l int) int {
	if l < 0 {
		return -2*l + 1
	}
	return 2 * l
}

// holds is 1 if the literal is true, -1 if it is false, 0 if it is open.
func (p *proof) holds(l int) int8 {
	if l < 0 {
		return -p.value[-l]
	}
	return p.value[l]
}

// assign makes a literal true; it says whether that is possible.
func (p *proof) assign(l int) bool {
	switch p.holds(l) {
	case 1:
		return true
	case -1:
		return false
	}
	if l < 0 {
		p.value[-l] = -1
	} else {
		p.value[l] = 1
	}
	p.trail = append(p.trail, l)
	return true
}

// insert adds a clause for good, with what it forces.
func (p *proof) insert(clause []int) {
	var open []int
	for _, l := range clause {
		if p.holds(l) == 1 {
			return
		}
		if p.holds(l) == 0 && !slices.Contains(open, l) {
			open = append(open, l)
		}
	}
	switch len(open) {
	case 0:
		p.refuted = true
	case 1:
		from := len(p.trail)
		p.assign(open[0])
		p.refuted = p.refuted || !p.propagate(from)
	default:
		for _, l := range open[:2] {
			p.watches[at(l)] = append(p.watches[at(l)], len(p.clauses))
		}
		p.clauses = append(p.clauses, open)
	}
}

// follows checks a clause and adds it. A clause with a variable that is not the formula's does not follow.
func (p *proof) follows(clause []int) bool {
	p.steps++
	if p.refuted {
		return true
	}
	from, conflict := len(p.trail), false
	for _, l := range clause {
		if l >= len(p.value) || -l >= len(p.value) {
			return false
		}
		conflict = conflict || !p.assign(-l)
	}
	conflict = conflict || !p.propagate(from)
	for _, l := range p.trail[from:] {
		p.value[max(l, -l)] = 0
	}
	p.trail = p.trail[:from]
	if conflict {
		p.insert(clause)
	}
	return conflict
}

// propagate sets what is forced by the literals of the trail from an index on; it says whether no clause became false.
func (p *proof) propagate(from int) bool {
	for ; from < len(p.trail); from++ {
		lost := -p.trail[from]
		watching := p.watches[at(lost)]
		kept := watching[:0]
		for n, c := range watching {
			if p.rewatch(c, lost) {
				continue
			}
			kept = append(kept, c)
			if !p.assign(p.clauses[c][0]) {
				p.watches[at(lost)] = append(kept, watching[n+1:]...)
				return false
			}
		}
		p.watches[at(lost)] = kept
	}
	return true
}

// rewatch puts the lost literal of a clause second, and has it watch another that is not false, if there is one.
func (p *proof) rewatch(c, lost int) bool {
	clause := p.clauses[c]
	if clause[0] == lost {
		clause[0], clause[1] = clause[1], clause[0]
	}
	if p.holds(clause[0]) == 1 {
		return false
	}
	for i := 2; i < len(clause); i++ {
		if p.holds(clause[i]) != -1 {
			clause[1], clause[i] = clause[i], clause[1]
			p.watches[at(clause[1])] = append(p.watches[at(clause[1])], c)
			return true
		}
	}
	return false
}
