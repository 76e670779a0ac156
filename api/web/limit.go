package web

import (
	"sync"
	"time"
)

// maxTracked bounds how many addresses or callers a limiter remembers. Past it the longest unseen are forgotten, which
// can only be in their favour.
const maxTracked = 1 << 17

// Rate allows one request each Every in the long run, and Burst of them at once. The zero value is invalid.
type Rate struct {
	Every time.Duration
	Burst int
}

func (r Rate) valid() bool { return r.Every > 0 && r.Burst > 0 }

// limiter holds for each name the time at which its requests so far will have been paid off (the generic cell rate
// algorithm). Names live in two generations: when the young one is full it becomes the old one, and the old is dropped.
type limiter struct {
	rate Rate
	now  func() time.Time
	max  int // of one generation

	mu         sync.Mutex
	young, old map[string]time.Time // guarded by mu
}

func newLimiter(rate Rate, now func() time.Time) *limiter {
	return &limiter{rate: rate, now: now, max: maxTracked / 2, young: map[string]time.Time{}}
}

// take counts one request of name and returns 0, or how long to wait before the next can succeed.
func (l *limiter) take(name string) time.Duration {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	paid, ok := l.young[name]
	if !ok {
		paid = l.old[name]
	}
	if paid.Before(now) {
		paid = now
	}
	next := paid.Add(l.rate.Every)
	if wait := next.Sub(now) - time.Duration(l.rate.Burst)*l.rate.Every; wait > 0 {
		return wait
	}
	if !ok && len(l.young) >= l.max {
		l.young, l.old = map[string]time.Time{}, l.young
	}
	l.young[name] = next
	return 0
}
