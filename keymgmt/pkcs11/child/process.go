package child

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11"
)

// patient is how many times Config.CallTimeout the slow methods may take.
var patient = map[method]time.Duration{methodGenerate: 10, methodList: 10}

// process is one life of the child.
type process struct {
	ring   *Ring
	cmd    *exec.Cmd
	conn   net.Conn
	w      *writer
	ready  chan error    // takes what the child says of its start, once
	dead   chan struct{} // closed when cause is set
	asking atomic.Bool   // the PIN is being read for it
	ailing time.Time     // since when it only says that the device is away; the reader's

	mu      sync.Mutex // guards what follows
	pending map[uint64]waiting
	last    uint64 // id of the last call
	cause   error  // why it is dead
}

// waiting is a call without an answer.
type waiting struct {
	done     chan answer
	deadline time.Time
}

type answer struct {
	result []byte
	err    error
}

// spawn starts a child with one end of a socket pair. It must run on a thread that outlives the child: the kernel's
// promise to end the child with its parent is about the thread that started it.
func (r *Ring) spawn() (*process, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("child: socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "child"), os.NewFile(uintptr(pair[1]), "parent")
	defer ours.Close() // the connection has its own
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	cmd := exec.Command(r.cfg.Program[0], r.cfg.Program[1:]...)
	cmd.Env = append([]string{}, r.cfg.Env...) // not nil, which would mean ours
	cmd.Stderr = r.cfg.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.WaitDelay = farewell
	// A group of its own: an interrupt from the keyboard is for the parent, which lets its child finish.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("child: %w", err), conn.Close())
	}
	return &process{ring: r, cmd: cmd, conn: conn, w: newWriter(cap(r.slots) + 2), ready: make(chan error, 1),
		dead: make(chan struct{}), pending: map[uint64]waiting{}}, nil
}

// greet tells the child what to open.
func (p *process) greet() error {
	r := p.ring
	cfg := r.cfg.Keyring
	r.mu.Lock()
	cfg.RetryPIN = cfg.RetryPIN && !r.pin.given // one try was allowed, not one for each child
	r.mu.Unlock()
	body, err := json.Marshal(newHello(cfg, cap(r.slots)))
	if err != nil {
		return fmt.Errorf("child: %w", err)
	}
	p.w.send(frame{kind: kindHello, body: body})
	return nil
}

// begin sends a call for somebody who has a slot. Its answer comes in any case: that of the child, or that it is gone.
func (p *process) begin(m method, body []byte) <-chan answer {
	w := waiting{done: make(chan answer, 1), deadline: time.Now().Add(p.ring.cfg.CallTimeout * max(1, patient[m]))}
	p.mu.Lock()
	if p.cause != nil {
		defer p.mu.Unlock()
		p.settle(w, answer{err: p.gone()})
		return w.done
	}
	p.last++
	id := p.last
	p.pending[id] = w
	p.mu.Unlock()
	p.w.send(frame{kind: kindCall, id: id, body: body})
	return w.done
}

// settle answers a call and gives its slot back.
func (p *process) settle(w waiting, a answer) {
	<-p.ring.slots
	w.done <- a
}

// end breaks with the child and answers everybody who waits for it. It reports whether nobody had before: only the first
// cause counts.
func (p *process) end(cause error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cause != nil {
		return false
	}
	p.cause = cause
	close(p.dead)
	close(p.w.stopped)
	_ = p.conn.Close()
	for _, w := range p.pending {
		p.settle(w, answer{err: p.gone()})
	}
	p.pending = nil
	return true
}

// fail kills a child that must not go on, and returns what its callers are told.
func (p *process) fail(cause error) error {
	if p.end(cause) { // else it is dead, or has been let go and has its time
		_ = p.cmd.Process.Kill()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone()
}

// gone is the error of a call whose outcome nobody knows. The caller holds the lock.
func (p *process) gone() error {
	return fmt.Errorf("%w: HSM process is gone: %w", keymgmt.ErrUnavailable, p.cause)
}

// read takes what the child says until it breaks off or breaks the protocol.
func (p *process) read() error {
	r := bufio.NewReaderSize(p.conn, bufferSize)
	for {
		f, err := readFrame(r)
		if err != nil {
			return err
		}
		switch f.kind {
		case kindReady:
			err = p.started(f)
		case kindLogin:
			err = p.loggedIn(f)
		case kindAnswer:
			err = p.answered(f)
		case kindAskPIN:
			err = p.asked(f.id)
		default:
			err = fmt.Errorf("%w: kind %d", errWire, f.kind)
		}
		if err != nil {
			return err
		}
	}
}

func (p *process) started(f frame) error {
	status, err := onlyStatus(f.body)
	if err != nil {
		return err
	}
	select {
	case p.ready <- status:
		return nil
	default:
		return fmt.Errorf("%w: ready twice", errWire)
	}
}

func (p *process) loggedIn(f frame) error {
	status, err := onlyStatus(f.body)
	if err == nil {
		p.ring.learn(status)
	}
	return err
}

func onlyStatus(b []byte) (status, err error) {
	body := parser{rest: b}
	if status, err = body.status(); err != nil {
		return nil, err
	}
	return status, body.end()
}

func (p *process) answered(f frame) error {
	body := parser{rest: f.body}
	status, fault := body.status()
	if fault != nil {
		return fault
	}
	p.mu.Lock()
	w, ok := p.pending[f.id]
	delete(p.pending, f.id)
	p.mu.Unlock()
	if !ok {
		return fmt.Errorf("%w: answer to nothing", errWire)
	}
	p.settle(w, answer{result: body.rest, err: status})
	return p.diagnose(status, time.Now())
}

// diagnose ends a child that has had nothing to offer for long: some libraries never find back to their device, and only
// a new process gets there.
func (p *process) diagnose(status error, now time.Time) error {
	switch {
	case !errors.Is(status, keymgmt.ErrUnavailable) || errors.Is(status, pkcs11.ErrPIN):
		p.ailing = time.Time{}
	case p.ailing.IsZero():
		p.ailing = now
	case now.Sub(p.ailing) > illness*p.ring.cfg.CallTimeout:
		return errAiling
	}
	return nil
}

// illness is for how many times Config.CallTimeout a child may answer that its device is away.
const illness = 2

// asked gives the PIN, one answer at a time.
func (p *process) asked(id uint64) error {
	if !p.asking.CompareAndSwap(false, true) {
		return fmt.Errorf("%w: two questions for the PIN at once", errWire)
	}
	go func() { // reading goes on: the answers of others may come before that of a slow disk
		pin := p.ring.readPIN()
		p.asking.Store(false)
		if !p.w.send(frame{kind: kindPIN, id: id, body: pin}) {
			clear(pin)
		}
	}()
	return nil
}

// watch ends when the child is dead, or kills one that left a call unanswered for too long.
func (p *process) watch() {
	const looks = 4 // in the time that a call may take
	tick := time.NewTicker(p.ring.cfg.CallTimeout / looks)
	defer tick.Stop()
	for {
		select {
		case <-p.dead:
			return
		case now := <-tick.C:
			if p.overdue(now) {
				p.ring.hung()
				_ = p.fail(errHung)
				return
			}
		}
	}
}

func (p *process) overdue(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.pending {
		if now.After(w.deadline) {
			return true
		}
	}
	return false
}
