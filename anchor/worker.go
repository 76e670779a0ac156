package anchor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/diamante/gateway/keymgmt"
)

// How often jobs are looked at, how many at once, and how long a failed one rests.
const (
	round    = 100 * time.Millisecond
	maxJobs  = 500
	minPause = 200 * time.Millisecond
	maxPause = 10 * time.Second
	// deniedPause is for what the signer's policy does not allow: only a person can change that.
	deniedPause = 10 * time.Minute
	// peoplePause is how often it is looked whether people have approved what waits for them.
	peoplePause = time.Second
)

// Run works until ctx ends, and then returns nil. What fails is tried again, with growing pauses; nothing that is money is
// ever given up.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.always(ctx, "observer", s.observe) })
	wg.Go(func() { s.always(ctx, "worker", s.work) })
	wg.Wait()
	return nil
}

// always runs do again whenever it ends.
func (s *Service) always(ctx context.Context, name string, do func(ctx context.Context) error) {
	pause := minPause
	for {
		began := time.Now()
		err := do(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxPause {
			pause = minPause
		}
		s.Log.Warn("starting again", "part", name, "error", err)
		if !wait(ctx, pause) {
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// wait waits for d and reports whether ctx lasted.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// work takes every open job a step further, round after round.
func (s *Service) work(ctx context.Context) error {
	var after int64
	var seen []job // since the first of them
	for {
		jobs, err := openJobs(ctx, s.DB.Reader(), after, maxJobs)
		if err != nil {
			return err
		}
		seen = append(seen, jobs...)
		if after = 0; len(jobs) == maxJobs {
			after = jobs[maxJobs-1].n // so that many that wait do not keep the others from their turn
		}
		for _, j := range jobs {
			if s.resting(j) {
				continue
			}
			err := s.run(ctx, j)
			if ctx.Err() != nil {
				return nil
			}
			s.delay(j, err)
		}
		if after == 0 {
			s.forget(seen)
			seen = nil
		}
		if !wait(ctx, round) {
			return nil
		}
	}
}

func (s *Service) resting(j job) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.retry[j.String()].at)
}

// delay lets a job that failed rest, longer each time; nil lets it go on.
func (s *Service) delay(j job, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		if r, ok := s.retry[j.String()]; ok && !time.Now().Before(r.at) {
			delete(s.retry, j.String())
		}
		return
	}
	r := s.retry[j.String()]
	if r.err == nil || r.err.Error() != err.Error() {
		s.Log.Warn("a job must wait", "job", j.String(), "error", err)
	}
	r.pause = min(max(2*r.pause, minPause), maxPause)
	if takesTime(err) {
		r.pause = peoplePause
	}
	if errors.Is(err, keymgmt.ErrDenied) || errors.Is(err, keymgmt.ErrMalformed) {
		r.pause = deniedPause
	}
	r.at, r.err = time.Now().Add(r.pause), err
	s.retry[j.String()] = r
}

// forget drops what is remembered of jobs that are done.
func (s *Service) forget(open []job) {
	names := map[string]bool{}
	for _, j := range open {
		names[j.String()] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.retry {
		if !names[name] {
			delete(s.retry, name)
		}
	}
	for id, at := range s.submitted {
		if time.Since(at) > 2*s.cfg.TxLife {
			delete(s.submitted, id)
		}
	}
	for id, last := range s.asked {
		if time.Since(last.at) > 2*askAgain {
			delete(s.asked, id)
		}
	}
}

// Health is where the anchor stands, for those who watch it.
type Health struct {
	Lag       uint32        // ledgers closed and not read
	OldestJob time.Duration // since when the oldest open job is open
	Failing   error         // of a job that waits to be tried again; nil when there is none
	Signer    error         // of the last signature, when the signer was away; nil otherwise
}

// Health looks at the node, the cursor and the jobs.
func (s *Service) Health(ctx context.Context) (Health, error) {
	var h Health
	stored, err := cursor(ctx, s.DB.Reader())
	if err != nil {
		return h, err
	}
	status, err := s.Network.Status(ctx)
	if err != nil {
		return h, err
	}
	if status.Ledger < stored {
		return h, fmt.Errorf("anchor: the node is at ledger %d and %d was read already: it is another ledger, or was set back", status.Ledger, stored)
	}
	s.mu.Lock()
	read := max(stored, s.observed)
	if errors.Is(s.signerErr, keymgmt.ErrUnavailable) {
		h.Signer = s.signerErr
	}
	for _, r := range s.retry {
		if !takesTime(r.err) { // people take their time
			h.Failing = r.err
		}
	}
	s.mu.Unlock()
	if status.Ledger > read {
		h.Lag = status.Ledger - read
	}
	jobs, err := openJobs(ctx, s.DB.Reader(), 0, 1)
	if len(jobs) > 0 {
		h.OldestJob = time.Since(jobs[0].created)
	}
	return h, err
}
