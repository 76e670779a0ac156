package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11"
	"github.com/diamante/gateway/keymgmt/pkcs11/internal/relay"
)

// socket is the file descriptor that the parent hands over.
const socket = 3

// protocol is the version of this protocol. Both sides are one program, so another version means another program.
const protocol = 1

// maxCalls bounds how many calls a parent may have in the making.
const maxCalls = 2 * pkcs11.MaxSessions

// hello is the first frame: what to open.
type hello struct {
	Protocol    int             `json:"protocol"`
	Module      string          `json:"module"`
	TokenLabel  string          `json:"token_label"`
	TokenSerial string          `json:"token_serial"`
	MaxSessions int             `json:"max_sessions"`
	RetryPIN    bool            `json:"retry_pin"`
	Imported    []keymgmt.KeyID `json:"imported"`
	Wrappable   []keymgmt.KeyID `json:"wrappable"`
	Calls       int             `json:"calls"` // how many at once at most
}

func newHello(cfg pkcs11.Config, calls int) hello {
	return hello{Protocol: protocol, Module: cfg.Module, TokenLabel: cfg.TokenLabel, TokenSerial: cfg.TokenSerial,
		MaxSessions: cfg.MaxSessions, RetryPIN: cfg.RetryPIN, Imported: cfg.Imported, Wrappable: cfg.Wrappable, Calls: calls}
}

func (h hello) config(pin func() ([]byte, error)) pkcs11.Config {
	return pkcs11.Config{Module: h.Module, TokenLabel: h.TokenLabel, TokenSerial: h.TokenSerial, MaxSessions: h.MaxSessions,
		RetryPIN: h.RetryPIN, Imported: h.Imported, Wrappable: h.Wrappable, PIN: pin}
}

// Run is the child: it holds the token for the process that started it, and ends when that one closes the connection or
// dies. Signals that ask a process to end are for the parent to heed, which then lets its child finish.
func Run() error {
	if err := harden(); err != nil {
		return fmt.Errorf("child: %w", err)
	}
	file := os.NewFile(socket, "parent")
	conn, err := net.FileConn(file)
	if err != nil {
		return errors.New("child: this is for the signer to start, not for people")
	}
	syscall.CloseOnExec(socket)
	if err := file.Close(); err != nil {
		return fmt.Errorf("child: %w", err)
	}
	return serve(conn)
}

// harden keeps the token's session and the PIN out of core files, and other processes of the user out of our memory.
func harden() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return err
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// server is one run of the child.
type server struct {
	w     *writer
	ring  *pkcs11.Keyring
	calls chan frame

	asks atomic.Uint64
	mu   sync.Mutex
	pins map[uint64]chan []byte // guarded by mu; questions for the PIN that have no answer
}

// serve answers calls until the parent is gone, or is not our parent.
func serve(conn net.Conn) error {
	defer conn.Close()
	r := bufio.NewReaderSize(conn, bufferSize)
	first, err := readFrame(r)
	if left(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("child: %w", err)
	}
	var h hello
	if err := strictJSON(first.body, &h); err != nil {
		return err
	}
	if first.kind != kindHello || h.Protocol != protocol || h.Calls < 1 || h.Calls > maxCalls {
		return fmt.Errorf("%w: hello", errWire)
	}
	s := &server{w: newWriter(h.Calls + 1), calls: make(chan frame, h.Calls), pins: map[uint64]chan []byte{}}
	cfg := h.config(s.askPIN)
	cfg.LoggedIn = func(err error) { s.w.send(frame{kind: kindLogin, body: appendStatus(nil, err)}) }
	s.ring, err = pkcs11.Open(cfg)
	var writing, working sync.WaitGroup
	writing.Go(func() {
		if s.w.run(conn) != nil {
			_ = conn.Close() // then reading ends, too
		}
	})
	s.w.send(frame{kind: kindReady, body: appendStatus(nil, err)})
	for range h.Calls {
		working.Go(s.work)
	}
	failure := s.read(r)
	// The parent is gone. Whoever waits for a PIN gets none, so that every call ends, as far as the device lets it.
	close(s.w.stopped)
	close(s.calls)
	working.Wait()
	writing.Wait()
	if s.ring != nil {
		failure = errors.Join(failure, s.ring.Close())
	}
	return failure
}

// read takes frames until the end. A clean end is no error.
func (s *server) read(r *bufio.Reader) error {
	for {
		f, err := readFrame(r)
		switch {
		case left(err):
			return nil
		case err != nil:
			return fmt.Errorf("child: %w", err)
		case f.kind == kindPIN:
			s.gotPIN(f)
		case f.kind != kindCall || s.ring == nil:
			return fmt.Errorf("%w: kind %d", errWire, f.kind)
		default:
			select {
			case s.calls <- f:
			default:
				return fmt.Errorf("%w: more calls than announced", errWire)
			}
		}
	}
}

// left reports whether the parent broke off, which is its right and no error.
func left(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET)
}

// work answers calls. The context has no end: a call that the parent no longer waits for still ends by itself.
func (s *server) work() {
	for f := range s.calls {
		s.w.send(frame{kind: kindAnswer, id: f.id, body: s.answer(context.Background(), f.body)})
	}
}

func (s *server) answer(ctx context.Context, body []byte) []byte {
	if len(body) == 0 {
		return appendStatus(nil, errWire)
	}
	if method(body[0]) == methodSign { // the status before the result, in one piece
		return s.sign(ctx, body[1:])
	}
	do, ok := methods[method(body[0])]
	if !ok {
		return appendStatus(nil, fmt.Errorf("%w: method %d", errWire, body[0]))
	}
	result, err := do(ctx, s.ring, body[1:])
	var text []byte
	if err == nil {
		text, err = json.Marshal(result)
	}
	if err != nil {
		return appendStatus(nil, err)
	}
	return append(appendStatus(nil, nil), text...)
}

func (s *server) sign(ctx context.Context, body []byte) []byte {
	c, err := parseSignCall(body)
	if err != nil {
		return appendStatus(nil, err)
	}
	raw, err := s.ring.SignSpent(ctx, c.key, relay.New(c.messages))
	if err != nil {
		return appendStatus(nil, err)
	}
	return appendList(appendStatus(nil, nil), raw)
}

// askPIN asks the parent, which reads it anew for each login and knows when not to give it.
func (s *server) askPIN() ([]byte, error) {
	id, got := s.asks.Add(1), make(chan []byte, 1)
	s.mu.Lock()
	s.pins[id] = got
	s.mu.Unlock()
	if !s.w.send(frame{kind: kindAskPIN, id: id}) {
		return nil, errNoParent
	}
	select {
	case pin := <-got:
		if len(pin) == 0 {
			return nil, errors.New("child: the parent cannot read it")
		}
		return pin, nil
	case <-s.w.stopped:
		return nil, errNoParent
	}
}

var errNoParent = errors.New("child: the parent is gone")

func (s *server) gotPIN(f frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.pins[f.id]; got != nil {
		got <- f.body
		delete(s.pins, f.id)
		return
	}
	clear(f.body)
}
