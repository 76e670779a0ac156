package rig_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/cmd/internal/rig"
)

// TestKillAtEveryBoundary kills the gateway before and after each thing that it does for a transaction, during deposits
// and withdrawals, and starts it again: each is completed once.
func TestKillAtEveryBoundary(t *testing.T) {
	s := newSystem(t, 2)
	for _, what := range []string{"store", "sign", "submit", "observe", "post"} {
		for _, when := range []string{"before", "after"} {
			point := what + "." + when
			began := time.Now()
			if err := s.killAt(t.Context(), t.TempDir(), point); err != nil {
				t.Fatalf("%s: %v", point, err)
			}
			t.Logf("killed at %s, all completed after %s", point, time.Since(began).Round(time.Millisecond))
		}
	}
	if err := s.Gateway.Stop(); err != nil {
		t.Error(err)
	}
	s.Gateway.SetEnv()
	if err := s.Gateway.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.balanced(t)
}

// killAt has the gateway die once at a failpoint, whatever comes there first, and all pairs do business meanwhile.
func (s *system) killAt(ctx context.Context, dir, point string) error {
	if err := s.Gateway.Stop(); err != nil {
		return err
	}
	s.Gateway.SetEnv("DIAMANTE_FAILPOINT="+point, "DIAMANTE_FAILPOINT_SPENT="+filepath.Join(dir, strings.ReplaceAll(point, ".", "-")))
	if err := s.Gateway.Launch(); err != nil {
		return err
	}
	k := keep(ctx, s.Gateway)
	errs := make([]error, len(s.pairs))
	var wg sync.WaitGroup
	for i, p := range s.pairs {
		wg.Go(func() { errs[i] = s.round(ctx, p) })
	}
	wg.Wait()
	ends, err := k.stop()
	if err != nil {
		return err
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	if ends != 1 {
		return fmt.Errorf("the gateway ended %d times", ends)
	}
	return nil
}

// keeper starts a program again whenever it ends.
type keeper struct {
	cancel context.CancelFunc
	done   chan struct{}
	ends   int // how often it ended, once done is closed
	err    error
}

func keep(ctx context.Context, p *rig.Process) *keeper {
	ctx, cancel := context.WithCancel(ctx)
	k := &keeper{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(k.done)
		for k.err == nil {
			select {
			case <-ctx.Done():
				return
			case <-p.Done():
				k.ends++
				k.err = p.Launch()
			}
		}
	}()
	return k
}

// stop ends the keeping, not the program, and returns how often it ended.
func (k *keeper) stop() (ends int, err error) {
	k.cancel()
	<-k.done
	return k.ends, k.err
}
