package fbas

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/crillab/gophersat/solver"
)

// solve returns an assignment that satisfies the formula, or nil if there is none, with the number of steps of the
// refutation. Neither answer is taken on the solver's word: an assignment is checked by the caller, a refutation here.
func solve(ctx context.Context, f *formula) (model []bool, steps int, err error) {
	if err := over(ctx); err != nil {
		return nil, 0, err
	}
	if f.large {
		return nil, 0, ErrLarge
	}
	p := newProof(f)
	if p.refuted { // by unit propagation alone: nothing to search
		return nil, 0, nil
	}
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, 0, ErrTime
	}
	run := start(f)
	defer run.stop()
	for {
		select {
		case <-ctx.Done():
			return nil, 0, ErrTime
		case <-run.done:
			switch {
			case run.model != nil:
				return run.model, 0, nil
			case run.failure != nil:
				return nil, 0, fmt.Errorf("fbas: %w: %v", errSolver, run.failure)
			case !p.refuted:
				return nil, 0, fmt.Errorf("fbas: %w: the refutation has no end", errSolver)
			}
			return nil, p.steps, nil
		case line := <-run.learned:
			clause, err := readClause(line)
			if err != nil {
				return nil, 0, err
			}
			if !p.follows(clause) {
				return nil, 0, fmt.Errorf("fbas: %w: step %d of the refutation does not follow", errSolver, p.steps)
			}
		}
	}
}

// turn is held by the one solver at work: all solvers of a program share a buffer, and two at once would spoil each other's clauses.
var turn = make(chan struct{}, 1)

// attempt is one run of the solver in a goroutine of its own. The solver cannot be asked to stop; but with every clause that
// it learns it hands over control for a moment, and there it is stopped.
type attempt struct {
	learned chan string   // what the solver learns, in the order in which it does, in DIMACS
	done    chan struct{} // closed at the end
	model   []bool        // at the end: an assignment, if there is one
	failure any           // at the end: what the solver panicked with, if it did
}

// start runs the solver, which gives back the turn at its end.
func start(f *formula) *attempt {
	r := &attempt{learned: make(chan string), done: make(chan struct{})}
	s := solver.New(solver.ParseSliceNb(f.clauses, f.vars))
	s.Certified, s.CertChan = true, r.learned
	go func() {
		defer func() { <-turn }()
		defer close(r.done)
		defer func() { r.failure = recover() }()
		if s.Solve() == solver.Sat {
			r.model = s.Model()
		}
	}()
	return r
}

// stop ends the run, if it goes on. The solver is at most at its next clause: sending it over a closed channel panics, which
// the goroutine catches and ends with. The race detector takes closing while another sends for a mistake; under it the solver
// goes on to its own end, and whoever comes next waits for that.
func (r *attempt) stop() {
	select {
	case <-r.done:
	default:
		if raceDetector {
			go r.drain()
		} else {
			close(r.learned)
		}
	}
}

// drain lets the solver go on, and takes no note of what it learns.
func (r *attempt) drain() {
	for {
		select {
		case <-r.learned:
		case <-r.done:
			return
		}
	}
}

// readClause reads a clause in DIMACS: literals, then 0.
func readClause(line string) ([]int, error) {
	fields := strings.Fields(line)
	if len(fields) == 0 || fields[len(fields)-1] != "0" {
		return nil, fmt.Errorf("fbas: %w: %q is not a clause", errSolver, line)
	}
	clause := make([]int, len(fields)-1)
	for i := range clause {
		l, err := strconv.Atoi(fields[i])
		if err != nil || l == 0 {
			return nil, fmt.Errorf("fbas: %w: %q is not a clause", errSolver, line)
		}
		clause[i] = l
	}
	return clause, nil
}
