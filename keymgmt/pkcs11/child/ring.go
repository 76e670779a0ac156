// Package child keeps a vendor's PKCS#11 library in a process of its own, so that its crash is not the signer's and a call
// that hangs can be ended. Ring is the keyring on the signer's side; Run is the whole of the other process.
//
//	ring, err := child.New(child.Config{Program: []string{"/proc/self/exe", "pkcs11-child"}, Keyring: cfg, CallTimeout: 10 * time.Second})
//	go ring.Run(ctx)                               // starts the process, and starts it again when it ends
//	signatures, err := ring.Sign(ctx, approval)    // keymgmt.ErrUnavailable while it is away
//
//	case "pkcs11-child": return child.Run()        // in the same program, for that argument
//
// Trust. An Approval is spent here, in the process that holds the policy; the child signs bytes on this one's word and
// knows of no policy. So nobody else may have its ear: it is reached through one end of a socket pair that it inherits,
// never through a name that could be looked up; it listens on nothing; it takes nothing from its arguments or its
// environment but what the vendor's library reads there; it dies with this process (PR_SET_PDEATHSIG, and the end of
// the connection); other processes of the same user can neither trace it nor read its memory (PR_SET_DUMPABLE). The PIN
// goes to it over the connection, once for each login, and is wiped on both sides.
//
// And it is not believed. Signatures are verified here, once, and a public key that was seen is not changed by what a
// later child says. A child that breaks the protocol, signs wrongly, leaves a call unanswered, or finds no way back to its
// device is killed and another one is started, after a pause that grows. A PIN is not given to a third child in a row that died with it unanswered:
// what kills them may be the token counting a wrong one.
package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11"
	"github.com/diamante/gateway/keymgmt/pkcs11/internal/relay"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/signature"
)

// Limits of Config.CallTimeout.
const (
	MinCallTimeout = 100 * time.Millisecond
	MaxCallTimeout = 5 * time.Minute
)

// callsPerSession is how many calls for each session are on their way at once: one at the device, one already there for
// the session to go on with. What waits longer waits here, where a caller can stop waiting.
const callsPerSession = 2

// Config says what to start.
type Config struct {
	// Program is the path and the arguments of a program that calls Run: this one, with an argument of its own.
	Program []string
	// Env is the whole environment of the child, as what the vendor's library reads. Nothing is inherited.
	Env []string
	// Stderr takes what the child and its library write there. Nil discards it.
	Stderr io.Writer
	// Keyring is the token. Its PIN is read here.
	Keyring pkcs11.Config
	// CallTimeout is how long the child may take for one call before it is held to hang, MinCallTimeout to
	// MaxCallTimeout. Listing and generating keys may take ten times as long.
	CallTimeout time.Duration
}

// Validate reports what is missing or out of range.
func (c Config) Validate() error {
	if len(c.Program) == 0 || c.Program[0] == "" {
		return errors.New("child: no program")
	}
	if c.CallTimeout < MinCallTimeout || c.CallTimeout > MaxCallTimeout {
		return fmt.Errorf("child: call timeout %s must be %s to %s", c.CallTimeout, MinCallTimeout, MaxCallTimeout)
	}
	return c.Keyring.Validate()
}

// Ring is a keyring whose device another process holds. It is safe for concurrent use.
type Ring struct {
	cfg   Config
	slots chan struct{} // one for each call on its way to the child or back

	current atomic.Pointer[process] // nil while there is none

	mu     sync.Mutex // guards what follows
	why    error      // why there is none
	pin    pinGuard
	known  map[keymgmt.KeyID]keymgmt.PublicKey // public keys seen, for the life of this process
	wrong  map[keymgmt.KeyID]int               // signatures in a row that did not verify
	counts Counts
}

// maxWrong is how many signatures of a key in a row may be wrong before it is out of use: after the first, another child
// with handles of its own gets a try.
const maxWrong = 2

// New makes a Ring. It starts nothing: Run does.
func New(cfg Config) (*Ring, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Ring{cfg: cfg, slots: make(chan struct{}, callsPerSession*cfg.Keyring.MaxSessions), why: errNotStarted,
		known: map[keymgmt.KeyID]keymgmt.PublicKey{}, wrong: map[keymgmt.KeyID]int{}}, nil
}

// Why there is no child.
var (
	errNotStarted = errors.New("child: not started yet")
	errStopped    = errors.New("child: stopped")
	errHung       = errors.New("child: a call was not answered in time")
	errGarbage    = errors.New("child: it signed wrongly")
	errAiling     = errors.New("child: its device is away for too long")
)

// Public returns the public key of key.
func (r *Ring) Public(ctx context.Context, key keymgmt.KeyID) (keymgmt.PublicKey, error) {
	public, err := ask[publicResult](ctx, r, methodPublic, keyCall{key})
	if err != nil {
		return keymgmt.PublicKey{}, err
	}
	return public.Public, r.recognise(key, public.Public)
}

// Home is the device, whatever key it is of.
func (r *Ring) Home(keymgmt.KeyID) keymgmt.Home { return keymgmt.Hardware }

// recognise holds a key to what it was when it was seen first.
func (r *Ring) recognise(key keymgmt.KeyID, public keymgmt.PublicKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before, seen := r.known[key]; public.IsZero() || seen && before != public {
		return refused(key, "another key has its label now")
	}
	r.known[key] = public
	return nil
}

func refused(key keymgmt.KeyID, why string) error {
	return fmt.Errorf("%w: %w: %s: %s", keymgmt.ErrUnknownKey, pkcs11.ErrKeyRefused, key, why)
}

// publicOf returns the public key without asking for it again, unless the key is out of use.
func (r *Ring) publicOf(ctx context.Context, key keymgmt.KeyID) (keymgmt.PublicKey, error) {
	r.mu.Lock()
	public, seen := r.known[key]
	frozen := r.wrong[key] >= maxWrong
	r.mu.Unlock()
	switch {
	case frozen:
		return keymgmt.PublicKey{}, refused(key, "it made signatures that do not verify")
	case seen:
		return public, nil
	}
	return r.Public(ctx, key)
}

// Sign spends the approval and returns the signatures of its messages, verified.
func (r *Ring) Sign(ctx context.Context, a *policy.Approval) ([]signature.Verified, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if a == nil {
		return nil, policy.ErrSpent
	}
	messages, err := a.Spend(a.Key())
	if err != nil {
		return nil, err
	}
	return r.sign(ctx, a.Key(), messages)
}

func (r *Ring) sign(ctx context.Context, key keymgmt.KeyID, messages [][]byte) ([]signature.Verified, error) {
	if len(messages) > maxMessages {
		return nil, fmt.Errorf("%w: %d messages", keymgmt.ErrMalformed, len(messages))
	}
	size := 0
	for _, m := range messages {
		if len(m) > keymgmt.MaxBody {
			return nil, fmt.Errorf("%w: message of %d bytes", keymgmt.ErrMalformed, len(m))
		}
		size += len(m)
	}
	if size > keymgmt.MaxBody*maxOversize {
		return nil, fmt.Errorf("%w: messages of %d bytes", keymgmt.ErrMalformed, size)
	}
	public, err := r.publicOf(ctx, key)
	if err != nil {
		return nil, err
	}
	body, from, err := r.call(ctx, methodSign, signCall{key, messages}.append(nil))
	if err != nil {
		return nil, err
	}
	raw, err := parseSignatures(body)
	if err != nil {
		return nil, from.fail(err)
	}
	return r.finish(public, key, messages, raw, from)
}

// maxOversize is how much larger than the body of a request the messages made of it may be.
const maxOversize = 16

// finish verifies what came back.
func (r *Ring) finish(public keymgmt.PublicKey, key keymgmt.KeyID, messages, raw [][]byte, from *process) ([]signature.Verified, error) {
	if len(raw) != len(messages) {
		return nil, from.fail(fmt.Errorf("%w: %d signatures of %d messages", errWire, len(raw), len(messages)))
	}
	signatures := make([]signature.Verified, len(raw))
	for i, m := range messages {
		var err error
		if signatures[i], err = relay.Finish(public, m, raw[i]); err != nil {
			r.mu.Lock()
			r.wrong[key]++
			r.counts.Mismatches++
			r.mu.Unlock()
			return nil, from.fail(errGarbage)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.wrong, key)
	r.counts.Signatures += uint64(len(signatures))
	return signatures, nil
}

// Ping reports whether the child is there and its token logged in.
func (r *Ring) Ping(ctx context.Context) error {
	_, err := ask[noCall](ctx, r, methodPing, noCall{})
	return err
}

// Generate is pkcs11.Keyring.Generate.
func (r *Ring) Generate(ctx context.Context, key keymgmt.KeyID, a keymgmt.Algorithm) (keymgmt.PublicKey, error) {
	public, err := ask[publicResult](ctx, r, methodGenerate, generateCall{key, a})
	if err != nil {
		return keymgmt.PublicKey{}, err
	}
	return public.Public, r.recognise(key, public.Public)
}

// List is pkcs11.Keyring.List.
func (r *Ring) List(ctx context.Context) ([]pkcs11.Listed, error) {
	result, err := ask[listResult](ctx, r, methodList, noCall{})
	if err != nil {
		return nil, err
	}
	list := make([]pkcs11.Listed, len(result.Keys))
	for i, l := range result.Keys {
		p := parser{rest: l.Fault}
		fault, broken := p.status()
		if broken != nil || p.end() != nil {
			return nil, fmt.Errorf("%w: list: %w", keymgmt.ErrUnavailable, errWire)
		}
		list[i] = pkcs11.Listed{Label: l.Label, Key: l.Key, Use: l.Use, Public: l.Public, Fault: fault}
	}
	return list, nil
}

// Seal is pkcs11.Keyring.Seal.
func (r *Ring) Seal(ctx context.Context, key keymgmt.KeyID, plaintext, aad []byte) ([]byte, error) {
	if len(plaintext) > pkcs11.MaxPlaintext || len(aad) > pkcs11.MaxAAD {
		return nil, fmt.Errorf("%w: %d bytes to seal with %d bytes of additional data", keymgmt.ErrMalformed, len(plaintext), len(aad))
	}
	result, err := ask[textResult](ctx, r, methodSeal, textCall{key, plaintext, aad})
	return result.Text, err
}

// Open is pkcs11.Keyring.Open.
func (r *Ring) Open(ctx context.Context, key keymgmt.KeyID, sealed, aad []byte) ([]byte, error) {
	if len(sealed) > pkcs11.MaxSealed || len(aad) > pkcs11.MaxAAD {
		return nil, fmt.Errorf("%w: too long", pkcs11.ErrNotSealed)
	}
	result, err := ask[textResult](ctx, r, methodOpen, textCall{key, sealed, aad})
	return result.Text, err
}

// DeviceStats are the counts of the keyring in the child that runs now.
func (r *Ring) DeviceStats(ctx context.Context) (pkcs11.Stats, error) {
	return ask[pkcs11.Stats](ctx, r, methodStats, noCall{})
}

// Counts counts what happened on this side since New.
type Counts struct {
	Signatures uint64 // made and verified
	Started    uint64 // children that were started and opened the library
	Hung       uint64 // children killed because a call was not answered
	Mismatches uint64 // signatures that did not verify: look at once
	Calls      int    // calls on their way now
}

// Counts returns the counts, for metrics.
func (r *Ring) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counts
	c.Calls = len(r.slots)
	return c
}

// ask is a call in JSON.
func ask[R any](ctx context.Context, r *Ring, m method, arguments any) (result R, err error) {
	body, err := json.Marshal(arguments)
	if err != nil {
		return result, fmt.Errorf("%w: %w", keymgmt.ErrMalformed, err)
	}
	answer, from, err := r.call(ctx, m, body)
	if err != nil {
		return result, err
	}
	if err := strictJSON(answer, &result); err != nil {
		return result, from.fail(err)
	}
	return result, nil
}

// call sends one call and waits for its answer, or for the caller to lose his patience. Either way the call keeps its
// slot until it is answered or the child is gone.
func (r *Ring) call(ctx context.Context, m method, arguments []byte) (result []byte, from *process, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if err := r.refusedPIN(); err != nil {
		return nil, nil, err
	}
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	p := r.current.Load()
	if p == nil {
		<-r.slots
		return nil, nil, r.away()
	}
	done := p.begin(m, append([]byte{byte(m)}, arguments...))
	select {
	case a := <-done:
		return a.result, p, a.err
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

func (r *Ring) away() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Errorf("%w: HSM process is away: %w", keymgmt.ErrUnavailable, r.why)
}
