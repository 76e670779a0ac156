package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/diamante/gateway/keymgmt"
)

const (
	// LookInterval is how old the last look at the journal's past may be when something is written into it.
	LookInterval = 100 * time.Millisecond
	// MarkInterval is how often the device's mark is raised at most: a write wears a device.
	MarkInterval = time.Second
	// MaxUnmarked is how long something may stand in the journal without the mark. After it nothing is signed: the device
	// that cannot take the mark would not know a rollback from now on.
	MaxUnmarked = 30 * time.Second
	// markTimeout bounds one try to raise it.
	markTimeout = 10 * time.Second
)

// watch is what a running service remembers of the journal, by the machine's clock. Make it with newWatch.
type watch struct {
	ended chan struct{} // closed by Close

	mu      sync.Mutex // guards what follows
	seen    keymgmt.Mark
	looked  time.Time // when seen was read
	lost    error     // the journal has lost what was seen: for the life of the process
	writes  uint64    // groups written
	marked  uint64    // of these, those behind the mark
	since   time.Time // when the oldest of the others was written; zero when there is none
	raising bool      // a goroutine raises the mark, and will look at writes again
	closed  bool
}

func newWatch(seen keymgmt.Mark) *watch { return &watch{ended: make(chan struct{}), seen: seen} }

// begin sees the journal for the first time, and raises the mark to it.
func (s *Service) begin(ctx context.Context, mark keymgmt.Mark) error {
	newest, _, err := point(ctx, s.cfg.DB.Reader(), "")
	if err != nil {
		return unavailable(fmt.Errorf("the journal's past: %w", err))
	}
	newest.Epoch, newest.Policy = mark.Epoch, s.cfg.Policy.Version()
	s.watch = newWatch(newest)
	if s.cfg.Mark == nil {
		s.cfg.Log.Warn("no device keeps a mark: a database that is rolled back while the signer is down will not be known for one")
		return nil
	}
	return s.raiseOnce(ctx)
}

// guarded runs write, unless the journal has lost something, or the mark is too far behind. It costs the signing path one
// short query each LookInterval, and never a write of the device.
func (s *Service) guarded(ctx context.Context, write func() error) error {
	w := s.watch
	w.mu.Lock()
	err, due := w.verdict(), time.Since(w.looked) >= LookInterval
	w.mu.Unlock()
	if err == nil && due {
		err = s.look(ctx)
	}
	if err != nil {
		return err
	}
	if err := write(); err != nil {
		return err
	}
	s.wroteGroup()
	return nil
}

// verdict is why nothing may be signed. The caller holds mu.
func (w *watch) verdict() error {
	if w.lost != nil {
		return fmt.Errorf("%w: %w", keymgmt.ErrUnavailable, w.lost)
	}
	if !w.since.IsZero() && time.Since(w.since) > MaxUnmarked {
		return fmt.Errorf("%w: the device's mark could not be raised since %s", keymgmt.ErrUnavailable, w.since.UTC().Format(time.RFC3339))
	}
	return nil
}

// look makes sure that the newest record that was seen is still there, and sees the newest of now. A query that begins
// after a record was seen sees it, too, so that looks may overlap.
func (s *Service) look(ctx context.Context) error {
	w, began := s.watch, time.Now()
	w.mu.Lock()
	seen := w.seen
	w.mu.Unlock()
	newest, there, err := point(ctx, s.cfg.DB.Reader(), seen.Record)
	if err != nil {
		return unavailable(fmt.Errorf("the journal's past: %w", err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !there && w.lost == nil {
		w.lost = fmt.Errorf("%w: this process has seen %s, the database ends at position %d and does not have that record", ErrRollback, seen, newest.Position)
		s.cfg.Log.Error("the journal was rolled back; nothing is signed any more", "error", w.lost)
	}
	if w.lost != nil {
		return w.verdict()
	}
	w.looked, w.seen.Position, w.seen.Record = began, newest.Position, newest.Record
	return nil
}

// wroteGroup has the mark raised soon.
func (s *Service) wroteGroup() {
	w := s.watch
	if s.cfg.Mark == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	if w.since.IsZero() {
		w.since = time.Now()
	}
	if !w.raising && !w.closed {
		w.raising = true
		go s.raise()
	}
}

// raise raises the mark until it is not behind, once each MarkInterval.
func (s *Service) raise() {
	w := s.watch
	tick := time.NewTicker(MarkInterval)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), markTimeout)
		if err := s.raiseOnce(ctx); err != nil {
			s.cfg.Log.Warn("the device's mark was not raised", "error", err)
		}
		cancel()
		select {
		case <-tick.C:
		case <-w.ended:
		}
		w.mu.Lock()
		if w.closed || w.lost != nil || w.marked == w.writes {
			w.raising = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
	}
}

// raiseOnce makes the device remember what the journal has now.
func (s *Service) raiseOnce(ctx context.Context) error {
	w := s.watch
	w.mu.Lock()
	began, writes := time.Now(), w.writes
	w.mu.Unlock()
	if err := s.look(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	m := w.seen
	w.mu.Unlock()
	raised, err := s.cfg.Mark.RaiseMark(ctx, m)
	if err != nil {
		return err
	}
	if raised.Epoch != m.Epoch { // a loss was accepted beside this process, of which it knows nothing
		err = fmt.Errorf("%w: the device's mark says %s, this process is in epoch %d", ErrRollback, raised, m.Epoch)
	} else if raised.Record != m.Record { // of another process, over this database or over an older copy of it
		err = holds(ctx, s.cfg.DB.Reader(), raised)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case errors.Is(err, ErrRollback):
		w.lost = err
	case err == nil:
		w.marked, w.since = writes, time.Time{}
		if w.marked != w.writes {
			w.since = began
		}
	}
	return err
}

// Close raises the mark a last time, so that nothing of what was signed is behind it. Call it when no request is under way;
// a service that was not closed, since its process died, leaves what it wrote in its last MarkInterval unmarked.
func (s *Service) Close(ctx context.Context) error {
	w := s.watch
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	w.mu.Unlock()
	close(w.ended)
	if s.cfg.Mark == nil {
		return nil
	}
	return s.raiseOnce(ctx)
}

// health is why nothing may be signed, for Health.
func (w *watch) health() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.verdict()
}
