package child

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// Pauses between the end of one child and the start of the next, and how long one must live for the shortest to be enough
// again.
const (
	minPause = 50 * time.Millisecond
	maxPause = 5 * time.Second
	longLife = 10 * time.Second
)

// farewell is how long a child that is no longer needed has to let go of the token.
const farewell = 5 * time.Second

// Run keeps a child alive until ctx ends, and returns nil then. Calls in flight are answered with
// keymgmt.ErrUnavailable, so callers should have finished before. It must be called once.
func (r *Ring) Run(ctx context.Context) error {
	runtime.LockOSThread() // see spawn
	defer runtime.UnlockOSThread()
	var pause time.Duration
	for {
		began := time.Now()
		err := r.life(ctx)
		if ctx.Err() != nil {
			r.lost(errStopped)
			return nil
		}
		r.lost(err)
		if time.Since(began) > longLife {
			pause = 0
		}
		pause = min(max(2*pause, minPause), maxPause)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// lost says why there is no child.
func (r *Ring) lost(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why = why
}

func (r *Ring) hung() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Hung++
}

// life starts a child and returns why it ended, after it has.
func (r *Ring) life(ctx context.Context) error {
	if err := r.refusedPIN(); err != nil { // it could do nothing
		<-ctx.Done()
		return err
	}
	p, err := r.spawn()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.w.run(p.conn); err != nil {
			_ = p.fail(err)
		}
	})
	wg.Go(func() { _ = p.fail(p.read()) })
	wg.Go(p.watch)
	if err := p.greet(); err != nil {
		_ = p.fail(err)
	}
	r.serve(ctx, p)
	r.current.Store(nil)
	kill := time.AfterFunc(farewell, func() { _ = p.cmd.Process.Kill() })
	ended := p.cmd.Wait()
	kill.Stop()
	wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pin.died()
	return fmt.Errorf("%w (%v)", p.cause, ended)
}

// serve lets calls reach the child once it is ready, and returns when it is dead or not needed any more.
func (r *Ring) serve(ctx context.Context, p *process) {
	late := time.NewTimer(r.cfg.CallTimeout)
	defer late.Stop()
	select {
	case <-ctx.Done():
		p.end(errStopped)
		return
	case <-p.dead:
		return
	case <-late.C:
		r.hung()
		_ = p.fail(errHung)
		return
	case err := <-p.ready:
		if err != nil {
			_ = p.fail(err)
			return
		}
	}
	r.mu.Lock()
	r.counts.Started++
	r.mu.Unlock()
	r.current.Store(p)
	select {
	case <-ctx.Done():
		p.end(errStopped)
	case <-p.dead:
	}
}
