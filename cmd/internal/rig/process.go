package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// How long a child may take to end after it was asked to, and how often readiness is asked for.
const (
	stopTimeout  = 15 * time.Second
	readyTimeout = 60 * time.Second
	readyPoll    = 25 * time.Millisecond
)

// Process is one child program. It is never restarted silently: whoever wants it back calls Start again.
type Process struct {
	Name string
	args []string
	env  []string
	log  string                          // file that stdout and stderr are appended to
	up   func(ctx context.Context) error // answers nil once the program serves

	mu   sync.Mutex // guards what follows
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Start runs the program and waits until it serves.
func (p *Process) Start(ctx context.Context) error {
	if err := p.Launch(); err != nil {
		return err
	}
	return p.WaitReady(ctx)
}

// Launch runs the program and does not wait. The child is asked to stop when this process dies; the kernel ties that
// to the thread that forked it, so that thread is kept for as long as the child lives.
func (p *Process) Launch() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil && !closed(p.done) {
		return fmt.Errorf("rig: %s is running already", p.Name)
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	done, started := make(chan struct{}), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer out.Close()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait() // read only after done is closed
		close(done)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("rig: %s: %w", p.Name, err)
	}
	p.cmd, p.done = cmd, done
	return nil
}

// WaitReady waits until the program serves, and fails when it has ended instead.
func (p *Process) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	done := p.Done()
	for {
		err := p.up(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-done:
			return fmt.Errorf("rig: %s ended: %w; its log is %s", p.Name, errors.Join(p.err, err), p.log)
		case <-ctx.Done():
			return fmt.Errorf("rig: %s does not serve: %w; its log is %s", p.Name, err, p.log)
		case <-tick.C:
		}
	}
}

// SetEnv replaces what the next child gets beside this process's own environment.
func (p *Process) SetEnv(env ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.env = env
}

// Running reports whether the child is alive.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil && !closed(p.done)
}

// Done is closed when the current child has ended; nil before the first Start.
func (p *Process) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// child returns the last child that was started, nil before the first.
func (p *Process) child() (*exec.Cmd, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.done
}

// Kill ends the child with SIGKILL and waits until it is gone.
func (p *Process) Kill() {
	if cmd, done := p.child(); cmd != nil {
		_ = cmd.Process.Kill() // fails only when it is gone already
		<-done
	}
}

// Stop asks the child to end, waits, and kills it if it does not.
func (p *Process) Stop() error {
	cmd, done := p.child()
	if cmd == nil {
		return nil
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // fails only when it is gone already
	select {
	case <-done:
		return nil
	case <-time.After(stopTimeout):
		p.Kill()
		return fmt.Errorf("rig: %s did not stop in %s and was killed; its log is %s", p.Name, stopTimeout, p.log)
	}
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// program finds one of our programs beside the running one.
func program(binDir, name string) (string, error) {
	path := filepath.Join(binDir, name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("rig: %s is not built: %w", name, err)
	}
	return path, nil
}
