package service

import (
	"context"
	"sync"
)

// lanes lets one at a time through per name. The database keeps order among processes; lanes spare one process from
// finding that out by rolling back. The zero value is ready. Names are forgotten when nobody uses them.
type lanes struct {
	mu sync.Mutex
	m  map[string]*lane // guarded by mu
}

type lane struct {
	turn  chan struct{} // holds one token while the lane is taken
	users int           // in it or waiting for it; guarded by lanes.mu
}

// enter waits for the lane and returns what gives it back.
func (l *lanes) enter(ctx context.Context, name string) (leave func(), err error) {
	l.mu.Lock()
	if l.m == nil {
		l.m = map[string]*lane{}
	}
	ln := l.m[name]
	if ln == nil {
		ln = &lane{turn: make(chan struct{}, 1)}
		l.m[name] = ln
	}
	ln.users++
	l.mu.Unlock()
	select {
	case ln.turn <- struct{}{}:
		return func() { <-ln.turn; l.forget(name, ln) }, nil
	case <-ctx.Done():
		l.forget(name, ln)
		return nil, ctx.Err()
	}
}

func (l *lanes) forget(name string, ln *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ln.users--; ln.users == 0 {
		delete(l.m, name)
	}
}
