package pkcs11

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
)

// What each class of error does to the call that meets it, and to the pool, the login and the breaker.
func TestFaults(t *testing.T) {
	id := keytest.Key(t, "one")
	ring, _ := newRing(t, id)
	for _, c := range []struct {
		name   string
		call   string
		times  int32
		code   uint
		want   error // nil: the caller notices nothing
		logins uint64
		evicts uint64
		trips  uint64
	}{
		{name: "session lost", call: "C_SignInit", times: 1, code: p11.CKR_SESSION_HANDLE_INVALID, evicts: 1},
		{name: "session closed", call: "C_Sign", times: 1, code: p11.CKR_SESSION_CLOSED, evicts: 1},
		{name: "operation active", call: "C_SignInit", times: 1, code: p11.CKR_OPERATION_ACTIVE, evicts: 1},
		{name: "session lost again and again", call: "C_SignInit", times: 9, code: p11.CKR_SESSION_HANDLE_INVALID, want: keymgmt.ErrUnavailable, evicts: 2},
		{name: "login lost", call: "C_SignInit", times: 1, code: p11.CKR_USER_NOT_LOGGED_IN, logins: 1, evicts: 1},
		{name: "handle stale", call: "C_SignInit", times: 1, code: p11.CKR_KEY_HANDLE_INVALID, logins: 1, evicts: 1},
		{name: "login lost again and again", call: "C_SignInit", times: 9, code: p11.CKR_OBJECT_HANDLE_INVALID, want: keymgmt.ErrUnavailable, logins: 1, evicts: 2},
		{name: "no room for a while", call: "C_Sign", times: 3, code: p11.CKR_DEVICE_MEMORY, evicts: 3},
		{name: "no room", call: "C_SignInit", times: 99, code: p11.CKR_SESSION_COUNT, want: keymgmt.ErrUnavailable, evicts: 1 + capacityTries},
		{name: "device failed", call: "C_Sign", times: 1, code: p11.CKR_DEVICE_ERROR, want: keymgmt.ErrUnavailable, evicts: 1, trips: 1, logins: 1},
		{name: "device removed", call: "C_SignInit", times: 1, code: p11.CKR_DEVICE_REMOVED, want: keymgmt.ErrUnavailable, evicts: 1, trips: 1, logins: 1},
		{name: "library lost its state", call: "C_Sign", times: 1, code: p11.CKR_CRYPTOKI_NOT_INITIALIZED, want: keymgmt.ErrUnavailable, evicts: 1, trips: 1, logins: 1},
		{name: "mechanism missing", call: "C_SignInit", times: 1, code: p11.CKR_MECHANISM_INVALID, want: keymgmt.ErrUnavailable, evicts: 1},
		{name: "attribute refused", call: "C_SignInit", times: 1, code: p11.CKR_ATTRIBUTE_VALUE_INVALID, want: keymgmt.ErrUnavailable, evicts: 1},
		{name: "arguments refused", call: "C_Sign", times: 1, code: p11.CKR_ARGUMENTS_BAD, want: keymgmt.ErrUnavailable, evicts: 1},
		{name: "key not for signing", call: "C_SignInit", times: 1, code: p11.CKR_KEY_FUNCTION_NOT_PERMITTED, want: keymgmt.ErrUnknownKey, evicts: 1},
		{name: "a code nobody knows", call: "C_Sign", times: 1, code: 0x80001234, want: keymgmt.ErrUnavailable, evicts: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			mustSign(t, ring, id)
			before := ring.Stats()
			failing(ring, c.call, c.times, c.code)
			err := trySign(t.Context(), ring, id, []byte("message"))
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			faults(ring, func(string) error { return nil })
			keytest.Until(t, func(ctx context.Context) error { return trySign(ctx, ring, id, []byte("after")) })
			after := ring.Stats()
			if after.Logins-before.Logins != c.logins || after.Evicted-before.Evicted != c.evicts || after.Trips-before.Trips != c.trips {
				t.Errorf("%d logins, %d evictions, %d trips; want %d, %d, %d", after.Logins-before.Logins,
					after.Evicted-before.Evicted, after.Trips-before.Trips, c.logins, c.evicts, c.trips)
			}
		})
	}
}

// A session is never used after an operation on it failed, whatever the error.
func TestFailedSessionIsClosed(t *testing.T) {
	id := keytest.Key(t, "one")
	ring, _ := newRing(t, id)
	mustSign(t, ring, id)
	failing(ring, "C_Sign", 1, p11.CKR_ARGUMENTS_BAD) // leaves an operation active on the session
	if err := trySign(t.Context(), ring, id, []byte("x")); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Fatal(err)
	}
	if n := ring.Stats().Idle; n != 0 {
		t.Fatalf("%d sessions back in the pool", n)
	}
	mustSign(t, ring, id)
}

func TestWrongPINIsTriedOnce(t *testing.T) {
	cfg, _ := newToken(t)
	good := cfg.PIN
	wrong := func() ([]byte, error) { return []byte("not the PIN"), nil }
	cfg.PIN = wrong
	ring := open(t, cfg)
	tries := failing(ring, "C_Login", 0, 0)
	for range 5 {
		if err := ring.Ping(t.Context()); !errors.Is(err, ErrPIN) || !errors.Is(err, keymgmt.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
	}
	if tries.Load() != 1 {
		t.Fatalf("the PIN was tried %d times", tries.Load())
	}
	if err := ring.Close(); err != nil {
		t.Fatal(err)
	}

	// Started again, even with the right PIN: the token remembers, so that a restart loop cannot lock it.
	cfg.PIN = good
	again := open(t, cfg)
	tries = failing(again, "C_Login", 0, 0)
	if err := again.Ping(t.Context()); !errors.Is(err, ErrPIN) || tries.Load() != 0 {
		t.Fatalf("got %v after %d tries", err, tries.Load())
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}

	// An operator allows one try, and from then on the service starts.
	cfg.RetryPIN = true
	operator := open(t, cfg)
	if err := operator.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := operator.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.RetryPIN = false
	if err := open(t, cfg).Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestLockedPINIsNotTried(t *testing.T) {
	cfg, _ := newToken(t)
	ring := open(t, cfg)
	tries := failing(ring, "C_Login", 9, p11.CKR_PIN_LOCKED)
	for range 3 {
		if err := ring.Ping(t.Context()); !errors.Is(err, ErrPIN) {
			t.Fatal(err)
		}
	}
	if tries.Load() != 1 {
		t.Fatalf("%d tries", tries.Load())
	}
}

// A PIN file that is missing for a moment is not a wrong PIN.
func TestUnreadablePINIsNotAWrongOne(t *testing.T) {
	cfg, setup := newToken(t)
	for name, pin := range map[string]func() ([]byte, error){
		"missing": func() ([]byte, error) { return nil, os.ErrNotExist },
		"empty":   func() ([]byte, error) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			var back atomic.Bool
			cfg.PIN = func() ([]byte, error) {
				if back.Load() {
					return os.ReadFile(setup.PINFile)
				}
				return pin()
			}
			ring := open(t, cfg)
			tries := failing(ring, "C_Login", 0, 0)
			err := ring.Ping(t.Context())
			if !errors.Is(err, keymgmt.ErrUnavailable) || errors.Is(err, ErrPIN) || tries.Load() != 0 {
				t.Fatalf("got %v after %d tries", err, tries.Load())
			}
			back.Store(true)
			keytest.Until(t, ring.Ping)
		})
	}
}

func TestPINIsWiped(t *testing.T) {
	cfg, setup := newToken(t)
	var given []byte
	cfg.PIN = func() ([]byte, error) {
		given = read(t, setup.PINFile)
		return given, nil
	}
	if err := open(t, cfg).Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, b := range given {
		if b != 0 {
			t.Fatal("the PIN is still in memory")
		}
	}
}

// A signer starts while its device is away, and works once it is there.
func TestTokenAwayAtStart(t *testing.T) {
	cfg, setup := newToken(t)
	bringBack := takeAway(t, setup)
	ring := open(t, cfg)
	for range 3 {
		if err := ring.Ping(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	bringBack()
	keytest.Until(t, ring.Ping)
}

// While the device is away, callers get their answer at once, and the library is restarted no more often than the
// breaker's pauses allow.
func TestBreakerAnswersAtOnce(t *testing.T) {
	id := keytest.Key(t, "one")
	ring, setup := newRing(t, id)
	bringBack := takeAway(t, setup)
	defer bringBack()
	if err := trySign(t.Context(), ring, id, []byte("x")); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Fatal(err)
	}
	restarts := failing(ring, "C_Initialize", 0, 0)
	start := time.Now()
	const callers = 2000
	for range callers {
		if err := trySign(t.Context(), ring, id, []byte("x")); !errors.Is(err, keymgmt.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if most := int32(time.Since(start)/minPause) + 1; restarts.Load() > most {
		t.Fatalf("%d restarts, at most %d allowed", restarts.Load(), most)
	}
}

// One caller probes while the others are answered at once, even if the probe hangs.
func TestHalfOpenLetsOneThrough(t *testing.T) {
	var b breaker
	now := time.Unix(1000, 0)
	b.trip(now, errors.New("gone"))
	if b.enter(now) == nil {
		t.Fatal("no pause after a failure")
	}
	now = now.Add(minPause)
	if err := b.enter(now); err != nil {
		t.Fatal(err)
	}
	if b.enter(now.Add(time.Hour)) == nil {
		t.Fatal("two probes at once")
	}
	for want := 2 * minPause; want <= 4*maxPause; want *= 2 {
		b.leave(now, errors.New("still gone"))
		if pause := b.until.Sub(now); pause != min(want, maxPause) {
			t.Fatalf("pause of %s, want %s", pause, min(want, maxPause))
		}
		now = b.until
		if err := b.enter(now); err != nil {
			t.Fatal(err)
		}
	}
	b.leave(now, nil)
	if b.err != nil || b.enter(now) != nil {
		t.Fatal("still open after a success")
	}
}

// A call that hangs holds its place, not its caller.
func TestHangingCallDoesNotHoldItsCaller(t *testing.T) {
	id := keytest.Key(t, "one")
	ring, _ := newRing(t, id)
	mustSign(t, ring, id)
	hang, entered := make(chan struct{}), make(chan struct{}, 1)
	letGo := sync.OnceFunc(func() { close(hang) })
	t.Cleanup(letGo) // a keyring waits for calls in flight when it is closed
	faults(ring, func(call string) error {
		if call == "C_Sign" {
			entered <- struct{}{}
			<-hang
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := ring.sign(ctx, id, []byte("x"))
		answered <- err
	}()
	<-entered
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if n := ring.Stats().InUse; n != 1 {
		t.Fatalf("%d places taken, want the one of the hanging call", n)
	}
	faults(ring, func(string) error { return nil })
	mustSign(t, ring, id) // another place is free
	letGo()
}

func TestInitTokenNeeds(t *testing.T) {
	_, setup := newToken(t)
	good := NewToken{Module: setup.Module, Label: "new", SOPIN: []byte("12345678"), PIN: []byte("12345678")}
	for name, change := range map[string]func(*NewToken){
		"label":      func(n *NewToken) { n.Label = "" },
		"long label": func(n *NewToken) { n.Label = strings.Repeat("x", 33) },
		"SO PIN":     func(n *NewToken) { n.SOPIN = nil },
		"PIN":        func(n *NewToken) { n.PIN = nil },
		"module":     func(n *NewToken) { n.Module = "/nonexistent.so" },
		"short PIN":  func(n *NewToken) { n.PIN = []byte("1") },
	} {
		n := good
		n.Label += name
		change(&n)
		if err := InitToken(n); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
