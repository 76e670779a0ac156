package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/node/client"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

var note = txbuild.ManageData{Name: "note", Value: []byte{1}}

// read takes ledgers until want is reached, and fails unless they are gap-free.
func read(t *testing.T, c *client.Client, from, to uint32) {
	t.Helper()
	next := from
	for meta, err := range c.Closes(t.Context(), from) {
		if err != nil {
			t.Fatal(err)
		}
		if meta.LedgerSequence() != next {
			t.Fatalf("ledger %d came, %d was due", meta.LedgerSequence(), next)
		}
		if next++; next > to {
			return
		}
	}
}

func TestStreamResumes(t *testing.T) {
	door := newFakeDoor(50)
	h := handlerOf(t, door)
	s := serve(t, h)
	address := strings.TrimPrefix(s.url, "https://")
	c := dial(t, s)
	next, stop := iter.Pull2(c.Closes(t.Context(), 2))
	defer stop()
	want := uint32(2)
	take := func() {
		t.Helper()
		meta, err, ok := next()
		if !ok || err != nil || meta.LedgerSequence() != want {
			t.Fatalf("got %d %v %v, want ledger %d", meta.V, err, ok, want)
		}
		want++
	}
	for range 10 {
		take()
	}
	// 1. The node says that it is not available, in the middle of the stream.
	door.mu.Lock()
	door.breakAt = 51
	door.mu.Unlock()
	for want <= 50 {
		take()
	}
	door.grow()
	take()
	// 2. The server goes away and another one takes its place.
	s.stop()
	door.grow()
	again := serveOn(t, h, s.authority, address)
	take()
	// 3. It goes away for good.
	again.stop()
	start := time.Now()
	_, err, ok := next()
	if !ok || !errors.Is(err, protocol.ErrUnavailable) {
		t.Fatalf("got %v %v, want ErrUnavailable", err, ok)
	}
	if waited := time.Since(start); waited < time.Second/2 {
		t.Errorf("gave up after %s, should have tried for about a second", waited)
	}
}

// Every connection is cut after a few kilobytes, in the middle of whatever was being sent.
func TestStreamSurvivesCuts(t *testing.T) {
	s := serve(t, handlerOf(t, newFakeDoor(100)))
	cutter := newCutter(t, strings.TrimPrefix(s.url, "https://"), 12_000)
	c := dial(t, site{authority: s.authority, url: "https://" + cutter.l.Addr().String()})
	read(t, c, 2, 100)
	if n := cutter.count(); n < 3 {
		t.Errorf("%d connections were enough: nothing was cut", n)
	}
}

// cutter passes bytes on and closes each connection after a limit.
type cutter struct {
	l     net.Listener
	mu    sync.Mutex
	conns int
}

func newCutter(t *testing.T, to string, limit int64) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{l: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			c.mu.Lock()
			c.conns++
			c.mu.Unlock()
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			go func() {
				_, _ = io.CopyN(in, out, limit)
				in.Close()
				out.Close()
			}()
			go func() { _, _ = io.Copy(out, in) }()
		}
	}()
	return c
}

func (c *cutter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conns
}

func TestStreamEnds(t *testing.T) {
	for name, spoil := range map[string]func(*fakeDoor){
		"a gap":               func(d *fakeDoor) { d.skip = 4 },
		"another predecessor": func(d *fakeDoor) { d.fork = 4 },
	} {
		t.Run(name, func(t *testing.T) {
			door := newFakeDoor(9)
			spoil(door)
			c := dial(t, serve(t, handlerOf(t, door)))
			last := uint32(0)
			for meta, err := range c.Closes(t.Context(), 2) {
				if err == nil {
					last = meta.LedgerSequence()
				} else if errors.Is(err, protocol.ErrUnavailable) {
					t.Errorf("got %v, which would be tried again", err)
				}
			}
			if last != 3 {
				t.Errorf("the last ledger delivered is %d, want 3", last)
			}
		})
	}
}

// A server that accepts and then says nothing is noticed; one that only sends heartbeats is not taken for dead.
func TestStreamSilence(t *testing.T) {
	mute := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	c := dial(t, serve(t, mute))
	for _, err := range c.Closes(t.Context(), 2) {
		if !errors.Is(err, protocol.ErrUnavailable) {
			t.Errorf("a mute node: %v, want ErrUnavailable", err)
		}
	}
	door := newFakeDoor(1)
	alive := dial(t, serve(t, handlerOf(t, door)))
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond) // longer than Idle and ResumeFor together
	defer cancel()
	for _, err := range alive.Closes(ctx, 2) {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a node without ledgers: %v, want the caller's own deadline", err)
		}
	}
	if _, closes := door.counts(); closes != 1 {
		t.Errorf("%d streams were opened, want 1", closes)
	}
}

// With the limits that the programs have, a node that goes away is noticed within seconds, whether it closes its connections
// or only falls silent. That one with nothing to say is not taken for gone needs several heartbeats in that time.
func TestLostNodeIsNoticedSoon(t *testing.T) {
	const soon = 8 * time.Second
	hang := make(chan struct{})
	door := handlerOf(t, newFakeDoor(3))
	mute := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-hang
	})
	if client.DefaultIdle < 3*client.DefaultHeartbeat {
		t.Errorf("a heartbeat every %s, and gone after %s", client.DefaultHeartbeat, client.DefaultIdle)
	}
	var wg sync.WaitGroup
	for name, handler := range map[string]http.Handler{"stopped": door, "silent": mute} {
		s := serve(t, handler)
		c, err := client.New(client.Config{URL: s.url, TLS: s.authority.Client(t, gatewayName, nodeName)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		wg.Go(func() {
			began := time.Now()
			for meta, err := range c.Closes(t.Context(), 2) {
				if err == nil && meta.LedgerSequence() == 3 {
					began = time.Now()
					go s.stop()
				}
				if took := time.Since(began); err != nil && (!errors.Is(err, protocol.ErrUnavailable) || took > soon) {
					t.Errorf("%s: after %s: %v", name, took, err)
				}
			}
		})
	}
	wg.Wait()
	close(hang)
}

func TestStreamLimit(t *testing.T) {
	s := serve(t, handlerOf(t, newFakeDoor(3)))
	c := dialFor(t, s, s.authority.Client(t, gatewayName, nodeName), 200*time.Millisecond)
	for range 4 {
		next, stop := iter.Pull2(c.Closes(t.Context(), 2))
		defer stop()
		if _, err, ok := next(); err != nil || !ok {
			t.Fatal(err)
		}
	}
	for _, err := range c.Closes(t.Context(), 2) {
		if !errors.Is(err, protocol.ErrUnavailable) {
			t.Errorf("a fifth stream of four: %v, want ErrUnavailable", err)
		}
	}
}

func TestRequestsRefused(t *testing.T) {
	door := newFakeDoor(3)
	s := serve(t, handlerOf(t, door))
	env, _ := nodetest.NewWallet(t).Sign(t, "fake", 1, note)
	good, err := env.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	deep := bytes.Repeat([]byte{0, 0, 0, 1}, 20_000)
	for _, c := range []struct {
		name, method, path string
		body               []byte
		status             int
		code               string
	}{
		{"no body", "POST", "/tx", nil, 400, "invalid"},
		{"not XDR", "POST", "/tx", []byte("hello, node"), 400, "invalid"},
		{"base64", "POST", "/tx", []byte("AAAAAgAAAA=="), 400, "invalid"},
		{"cut", "POST", "/tx", good[:len(good)-4], 400, "invalid"},
		{"followed by more", "POST", "/tx", append(good[:len(good):len(good)], 0, 0, 0, 0), 400, "invalid"},
		{"too large", "POST", "/tx", make([]byte, protocol.MaxEnvelopeBytes+1), 400, "invalid"},
		{"much too large", "POST", "/tx", make([]byte, 8<<20), 400, "invalid"},
		{"an array of four billion", "POST", "/tx", append(good[:44:44], 0xff, 0xff, 0xff, 0xff), 400, "invalid"},
		{"deep", "POST", "/tx", deep, 400, "invalid"},
		{"not an account", "GET", "/accounts/GABC", nil, 400, "invalid"},
		{"no account", "GET", "/accounts/" + url.PathEscape("../status"), nil, 400, "invalid"},
		{"no start", "GET", "/closes", nil, 400, "invalid"},
		{"negative start", "GET", "/closes?from=-1", nil, 400, "invalid"},
		{"start too large", "GET", "/closes?from=4294967296", nil, 400, "invalid"},
		{"no such path", "GET", "/admin", nil, 404, ""},
		{"wrong method", "DELETE", "/tx", nil, 405, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, text := raw(t, s, c.method, c.path, bytes.NewReader(c.body))
			if status != c.status || !strings.Contains(text, c.code) {
				t.Errorf("answer %d %.200s, want %d with %q", status, text, c.status, c.code)
			}
		})
	}
	if submits, _ := door.counts(); submits != 0 {
		t.Errorf("%d submissions reached the node", submits)
	}
	if status, text := raw(t, s, "POST", "/tx", bytes.NewReader(good)); status != 200 || !strings.Contains(text, "PENDING") {
		t.Errorf("a good one after all these: %d %s", status, text)
	}
}

func TestErrorsKeepIdentity(t *testing.T) {
	for _, want := range []error{protocol.ErrInvalid, protocol.ErrNotFound, protocol.ErrUnavailable} {
		door := newFakeDoor(3)
		door.fail = fmt.Errorf("said with %w", want)
		_, err := dial(t, serve(t, handlerOf(t, door))).Status(t.Context())
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "said with") {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	door := newFakeDoor(3)
	door.fail = errors.New("password is swordfish")
	_, err := dial(t, serve(t, handlerOf(t, door))).Status(t.Context())
	if err == nil || strings.Contains(err.Error(), "swordfish") || errors.Is(err, protocol.ErrUnavailable) {
		t.Errorf("an inner failure arrives as %v", err)
	}
}

// A server that answers nonsense is an error, not a hang, a panic or a success.
func TestAnswersRefused(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"not JSON":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") },
		"empty":      func(http.ResponseWriter, *http.Request) {},
		"wrong JSON": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status":7,"hash":"x","ledger":-1}`) },
		"no fields":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://example.com/", http.StatusFound)
		},
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for range 1000 {
				if _, err := w.Write(bytes.Repeat([]byte{0xff}, 64<<10)); err != nil {
					return
				}
			}
		},
		"late": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, http.HandlerFunc(answer))
			c, err := client.New(client.Config{URL: s.url, TLS: s.authority.Client(t, gatewayName, nodeName),
				Timeout: 500 * time.Millisecond, Idle: 200 * time.Millisecond, ResumeFor: 300 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			env, _ := nodetest.NewWallet(t).Sign(t, "fake", 1, note)
			if _, err := c.Submit(t.Context(), env); err == nil {
				t.Error("submit succeeded")
			}
			if _, err := c.Status(t.Context()); err == nil {
				t.Error("status succeeded")
			}
			if _, err := c.Account(t.Context(), nodetest.NewWallet(t).ID); err == nil {
				t.Error("account succeeded")
			}
			n := 0
			for _, err := range c.Closes(t.Context(), 2) {
				if n++; err == nil || n > 1 {
					t.Error("a ledger was delivered")
				}
			}
			if n != 1 {
				t.Errorf("%d pairs, want the one error", n)
			}
		})
	}
}

func TestNodeAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	a := nodetest.NewAuthority(t)
	c := dial(t, site{authority: a, url: "https://" + address})
	if _, err := c.Status(t.Context()); !errors.Is(err, protocol.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}
