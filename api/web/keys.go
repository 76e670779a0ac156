package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// MaxKey bounds an Idempotency-Key, in characters. MaxKept bounds an answer that is kept, in bytes.
const (
	MaxKey  = 255
	MaxKept = 256 << 10
)

// KeyedRequest is a request under an Idempotency-Key.
type KeyedRequest struct {
	Scope  string   // whose key it is: the same key of another caller is another key
	Key    string   // 1 to MaxKey printable ASCII characters
	Hash   [32]byte // of method, path, query, content type and body
	Caller Caller
}

// KeptAnswer is an answer that is given again.
type KeptAnswer struct {
	Status      int
	ContentType string
	Body        []byte
}

// KeyStore keeps answers. It is shared by all replicas of a program and survives them; all three methods are atomic.
type KeyStore interface {
	// Claim claims the key for this request, for a limited time. It returns the answer that was kept for the same
	// request, or nil when the caller is now to make one; ErrKeyUsed when the key belongs to another request; ErrKeyBusy
	// when the same request is being answered elsewhere and its time is not over.
	Claim(ctx context.Context, k KeyedRequest) (*KeptAnswer, error)
	// Keep keeps the answer.
	Keep(ctx context.Context, k KeyedRequest, a KeptAnswer) error
	// Release gives the claim up without an answer: the same request may try again at once.
	Release(ctx context.Context, k KeyedRequest) error
}

// IdempotencyKey returns the caller's key in a form that is unique over all callers, or "" when he gave none. A
// handler of a keyed route hands it to the domain, which makes its change under it, once.
//
// This is what makes a crash between the change and Keep harmless: the claim runs out, the client asks again, the
// handler runs again with the same key, and the domain finds the change made and returns it as it was.
func IdempotencyKey(ctx context.Context) string { return exchangeOf(ctx).key }

// keyed runs the handler of a route that honours keys.
func (e *Endpoint) keyed(w http.ResponseWriter, r *http.Request) error {
	k, body, err := e.readKey(r)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if k.Key == "" {
		return e.Serve(w, r)
	}
	kept, err := e.site.cfg.Keys.Claim(r.Context(), k)
	if err != nil {
		return err
	}
	if kept != nil {
		return kept.replay(w)
	}
	x := exchangeOf(r.Context())
	sum := sha256.Sum256([]byte(k.Scope + "\x00" + k.Key))
	x.key = hex.EncodeToString(sum[:])
	out := &keeper{ResponseWriter: w}
	// A panic leaves the claim to run out: nothing is known of what had been done.
	err = e.Serve(out, r)
	settle, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), writeGrace)
	defer cancel()
	if err != nil || !out.keep() {
		if lost := e.site.cfg.Keys.Release(settle, k); lost != nil {
			e.site.cfg.Log.Warn("an idempotency key stays claimed until its time is over", "req", x.caller.Request, "err", lost)
		}
	} else if lost := e.site.cfg.Keys.Keep(settle, k, out.answer()); lost != nil {
		// The change is made, so the client is told so. Asked again, the domain finds it by the key.
		e.site.cfg.Log.Warn("an answer could not be kept", "req", x.caller.Request, "err", lost)
	}
	if err != nil {
		return err
	}
	out.send()
	return nil
}

// readKey reads the header and the body, which the key is bound to.
func (e *Endpoint) readKey(r *http.Request) (KeyedRequest, []byte, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return KeyedRequest{}, nil, readError(err)
	}
	given := r.Header.Values("Idempotency-Key")
	if len(given) == 0 {
		if e.Keys == KeyRequired {
			return KeyedRequest{}, nil, ErrKeyMissing
		}
		return KeyedRequest{}, body, nil
	}
	if len(given) > 1 || len(given[0]) == 0 || len(given[0]) > MaxKey {
		return KeyedRequest{}, nil, Malformed("Idempotency-Key", "need one of 1 to %d characters", MaxKey)
	}
	for _, c := range []byte(given[0]) {
		if c < ' ' || c > '~' {
			return KeyedRequest{}, nil, Malformed("Idempotency-Key", "only printable ASCII characters are allowed")
		}
	}
	caller := CallerOf(r.Context())
	h := sha256.New()
	for _, part := range []string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("Content-Type"), string(body)} {
		fmt.Fprintf(h, "%d:%s", len(part), part) // a hash never fails to write
	}
	k := KeyedRequest{Scope: caller.Kind + "/" + caller.Name, Key: given[0], Caller: caller}
	h.Sum(k.Hash[:0])
	return k, body, nil
}

// keeper holds an answer back until it is kept, so that a client who has it can ask again at once. One that grows past
// MaxKept goes out as it is written and is not kept.
type keeper struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
	over   bool
}

func (k *keeper) WriteHeader(status int) {
	if k.status == 0 {
		k.status = status
	}
}

func (k *keeper) Write(p []byte) (int, error) {
	k.WriteHeader(http.StatusOK)
	if !k.over && k.body.Len()+len(p) <= MaxKept {
		return k.body.Write(p)
	}
	if !k.over {
		k.send()
		k.over = true
	}
	return k.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (k *keeper) Unwrap() http.ResponseWriter { return k.ResponseWriter }

// keep reports whether the answer is final and small enough: a failure may be another one next time.
func (k *keeper) keep() bool { return !k.over && (k.status == 0 || k.status >= 200 && k.status < 300) }

func (k *keeper) answer() KeptAnswer {
	k.WriteHeader(http.StatusOK)
	return KeptAnswer{Status: k.status, ContentType: k.Header().Get("Content-Type"), Body: k.body.Bytes()}
}

// send lets what was held back go, once.
func (k *keeper) send() {
	if k.over {
		return
	}
	k.WriteHeader(http.StatusOK)
	k.ResponseWriter.WriteHeader(k.status)
	_, _ = k.ResponseWriter.Write(k.body.Bytes()) // see Problem.write
}

func (a *KeptAnswer) replay(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", a.ContentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	w.Header().Set("Idempotent-Replay", "true")
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // see Problem.write
	return nil
}
