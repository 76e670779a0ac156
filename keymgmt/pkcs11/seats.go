package pkcs11

import (
	"context"
	"sync"
	"time"
)

// growEvery is how long a place that the token had no room for stays away.
const growEvery = time.Second

// seats are the places of those who use the token at once. There are fewer while the token says that it has no room, as
// when another program shares it: many callers that keep knocking would keep each other out.
type seats struct {
	free chan struct{} // one for each free place; its capacity is the most there can be

	mu    sync.Mutex // guards what follows
	size  int        // places there are now
	owed  int        // places that are gone once their holders leave
	grows time.Time  // when there may be one more
}

func newSeats(most int) *seats {
	s := &seats{free: make(chan struct{}, most), size: most}
	for range most {
		s.free <- struct{}{}
	}
	return s
}

// take waits for a place.
func (s *seats) take(ctx context.Context, now time.Time) error {
	s.mu.Lock()
	s.grow(now)
	s.mu.Unlock()
	select {
	case <-s.free:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *seats) leave(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grow(now)
	if s.owed > 0 {
		s.owed--
		return
	}
	s.free <- struct{}{}
}

// shrink takes a place away, of somebody who has one. The last one stays.
func (s *seats) shrink(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grows = now.Add(growEvery)
	if s.size > 1 {
		s.size--
		s.owed++
	}
}

// grow gives one place back, if it is time.
func (s *seats) grow(now time.Time) {
	if s.size == cap(s.free) || now.Before(s.grows) {
		return
	}
	s.size++
	s.grows = now.Add(growEvery)
	if s.owed > 0 {
		s.owed--
		return
	}
	s.free <- struct{}{}
}

// counts returns how many places there are and how many are taken.
func (s *seats) counts() (places, taken int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size, s.size + s.owed - len(s.free)
}
