package web

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// memoryKeys is a KeyStore with a switch to fail.
type memoryKeys struct {
	mu   sync.Mutex
	rows map[string]*memoryKey
	lost atomic.Bool // Keep and Release fail
}

type memoryKey struct {
	hash   [32]byte
	busy   bool
	answer *KeptAnswer
}

func newMemoryKeys() *memoryKeys { return &memoryKeys{rows: map[string]*memoryKey{}} }

func (m *memoryKeys) Claim(_ context.Context, k KeyedRequest) (*KeptAnswer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	row := m.rows[k.Scope+" "+k.Key]
	switch {
	case row == nil:
		m.rows[k.Scope+" "+k.Key] = &memoryKey{hash: k.Hash, busy: true}
		return nil, nil
	case row.hash != k.Hash:
		return nil, ErrKeyUsed
	case row.answer != nil:
		return row.answer, nil
	case row.busy:
		return nil, ErrKeyBusy
	}
	row.busy = true
	return nil, nil
}

func (m *memoryKeys) Keep(_ context.Context, k KeyedRequest, a KeptAnswer) error {
	if m.lost.Load() {
		return errors.New("keys: lost")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows[k.Scope+" "+k.Key].answer = &a
	return nil
}

func (m *memoryKeys) Release(_ context.Context, k KeyedRequest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows[k.Scope+" "+k.Key].busy = false
	return nil
}

func TestKeys(t *testing.T) {
	keys := newMemoryKeys()
	customer := NewAccess("customer", func(r *http.Request) (Caller, error) {
		return Caller{Kind: "customer", Name: r.Header.Get("X-Name")}, nil
	})
	made := 0
	var fail error
	var domainKeys []string
	h := newSite(t, func(c *Config) { c.Keys = keys }).serve(Route{Method: "POST", Pattern: "/x", Access: customer, Keys: KeyRequired,
		Serve: func(w http.ResponseWriter, r *http.Request) error {
			if fail != nil {
				return fail
			}
			made++
			domainKeys = append(domainKeys, IdempotencyKey(r.Context()))
			w.Header().Set("Content-Type", "application/json")
			return WriteJSON(w, 201, made)
		}})
	post := func(name, body string, key ...string) (int, string, http.Header) {
		r := httptest.NewRequest("POST", "/x", strings.NewReader(body))
		r.Header.Set("X-Name", name)
		r.Header["Idempotency-Key"] = key
		res := call(h, r)
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, strings.TrimSpace(string(b)), res.Header
	}
	check := func(step string, status, wantStatus int, body, want string) {
		t.Helper()
		if status != wantStatus || want != "" && body != want {
			t.Fatalf("%s: %d %s, want %d %s", step, status, body, wantStatus, want)
		}
	}
	status, body, _ := post("a", "1")
	check("no key", status, 400, body, "")
	status, body, _ = post("a", "1", "k", "l")
	check("two keys", status, 400, body, "")
	status, body, _ = post("a", "1", "k\x7f")
	check("strange key", status, 400, body, "")
	status, body, _ = post("a", "1", strings.Repeat("k", 256))
	check("long key", status, 400, body, "")
	fail = errDomain
	status, body, _ = post("a", "1", "k")
	check("failed", status, 404, body, "")
	fail = nil
	status, body, _ = post("a", "1", "k")
	check("first", status, 201, body, "1")
	status, body, header := post("a", "1", "k")
	check("again", status, 201, body, "1")
	if header.Get("Idempotent-Replay") != "true" || header.Get("Content-Type") != "application/json" {
		t.Errorf("replayed with %v", header)
	}
	status, body, _ = post("a", "2", "k")
	check("other body", status, 422, body, "")
	status, body, _ = post("b", "2", "k")
	check("other caller", status, 201, body, "2")
	keys.lost.Store(true)
	status, body, _ = post("a", "1", "crash")
	check("answer not kept", status, 201, body, "3")
	keys.lost.Store(false)
	status, body, _ = post("a", "1", "crash")
	check("its claim", status, 409, body, "")
	keys.rows["customer/a crash"].busy = false // its time is over
	status, body, _ = post("a", "1", "crash")
	check("runs again", status, 201, body, "4")
	if domainKeys[2] != domainKeys[3] || domainKeys[0] == domainKeys[1] || len(domainKeys[0]) != 64 {
		t.Errorf("keys handed to the domain: %q", domainKeys)
	}
}

func TestLargeAnswersAreNotKept(t *testing.T) {
	keys := newMemoryKeys()
	h := newSite(t, func(c *Config) { c.Keys = keys }).serve(Route{Method: "POST", Pattern: "/x", Access: Anyone(), Keys: KeyOptional,
		Serve: func(w http.ResponseWriter, _ *http.Request) error {
			for range 3 {
				_, _ = w.Write(bytes.Repeat([]byte("x"), MaxKept/2))
			}
			return nil
		}})
	for range 2 {
		r := httptest.NewRequest("POST", "/x", nil)
		r.Header.Set("Idempotency-Key", "k")
		res := call(h, r)
		if b, _ := io.ReadAll(res.Body); len(b) != 3*(MaxKept/2) || res.StatusCode != 200 {
			t.Fatalf("%d: %d bytes", res.StatusCode, len(b))
		}
	}
	if keys.rows["anyone/ k"].answer != nil {
		t.Error("kept")
	}
}
