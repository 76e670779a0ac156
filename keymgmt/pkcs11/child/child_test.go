package child

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/pkcs11"
	"github.com/diamante/gateway/keymgmt/pkcs11/softhsm"
)

var _ keytest.Keyring = (*Ring)(nil)

// The test program is its own child: with one of these arguments.
const (
	honest = "pkcs11-child"
	liar   = "pkcs11-liar"   // answers every call with a signature that it made up
	babble = "pkcs11-babble" // is ready, and answers the first call with noise
	dying  = "pkcs11-dying"  // asks for the PIN and dies
	parent = "pkcs11-parent" // starts a child, tells its number and waits
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		run := map[string]func() error{honest: Run, liar: func() error { return pretend(lie) }, babble: func() error { return pretend(noise) },
			dying: func() error { return pretend(die) }, parent: orphan}[os.Args[1]]
		if run != nil {
			if err := run(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

const label = "child test"

// newToken makes a SoftHSM token. Its library is loaded here only while keys are made.
func newToken(t testing.TB, keys ...keymgmt.KeyID) (Config, softhsm.Setup) {
	t.Helper()
	setup, err := softhsm.Prepare(t.TempDir())
	must(t, err)
	t.Setenv(softhsm.Env, setup.Conf)
	must(t, pkcs11.InitToken(pkcs11.NewToken{Module: setup.Module, Label: label, SOPIN: read(t, setup.SOPINFile), PIN: read(t, setup.PINFile)}))
	cfg := Config{Program: []string{"/proc/self/exe", honest}, Env: []string{softhsm.Env + "=" + setup.Conf}, Stderr: os.Stderr,
		CallTimeout: 20 * time.Second,
		Keyring: pkcs11.Config{Module: setup.Module, TokenLabel: label, MaxSessions: 8,
			PIN: func() ([]byte, error) { return os.ReadFile(setup.PINFile) }}}
	ring, err := pkcs11.Open(cfg.Keyring)
	must(t, err)
	for _, id := range keys {
		_, err := ring.Generate(t.Context(), id, keymgmt.Ed25519)
		must(t, err)
	}
	must(t, ring.Close())
	return cfg, setup
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

// start runs a Ring for the length of the test.
func start(t testing.TB, cfg Config) *Ring {
	t.Helper()
	ring, err := New(cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- ring.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return ring
}

func ready(t testing.TB, ring *Ring) *Ring {
	t.Helper()
	keytest.Until(t, ring.Ping)
	return ring
}

func trySign(ctx context.Context, ring *Ring, id keymgmt.KeyID) error {
	_, err := ring.sign(ctx, id, [][]byte{[]byte(rand.Text())}) // verified in there
	return err
}

// pid waits for a child and returns its number.
func pid(t testing.TB, ring *Ring) int {
	t.Helper()
	var p *process
	until(t, func() bool { p = ring.current.Load(); return p != nil })
	return p.cmd.Process.Pid
}

func until(t testing.TB, done func() bool) {
	t.Helper()
	keytest.Until(t, func(context.Context) error {
		if done() {
			return nil
		}
		return keymgmt.ErrUnavailable
	})
}

func TestConformance(t *testing.T) {
	keytest.TestKeyring(t, func(t *testing.T, keys ...keymgmt.KeyID) keytest.KeyringFixture {
		cfg, setup := newToken(t, keys...)
		return keytest.KeyringFixture{Keyring: ready(t, start(t, cfg)), Break: func() func() {
			must(t, os.Rename(setup.Tokens, setup.Tokens+".away"))
			return func() { must(t, os.Rename(setup.Tokens+".away", setup.Tokens)) }
		}}
	})
}

func TestCallsReachTheKeyring(t *testing.T) {
	one := keytest.Key(t, "one")
	cfg, _ := newToken(t, one)
	ring, ctx := ready(t, start(t, cfg)), t.Context()
	for _, a := range []keymgmt.Algorithm{keymgmt.Ed25519, keymgmt.Secp256k1, keymgmt.P256} {
		id := keytest.Key(t, "new/"+a.String())
		public, err := ring.Generate(ctx, id, a)
		if err != nil || public.Algorithm() != a {
			t.Fatalf("%s: %s, %v", a, public, err)
		}
		digests := [][]byte{make([]byte, 32), append(make([]byte, 31), 1)}
		if sigs, err := ring.sign(ctx, id, digests); err != nil || len(sigs) != 2 {
			t.Fatalf("%s: %v", a, err)
		}
		if a == keymgmt.Ed25519 {
			continue
		}
		if _, err := ring.sign(ctx, id, [][]byte{{1}}); !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("%s of no digest: %v", a, err)
		}
	}
	if _, err := ring.Generate(ctx, one, keymgmt.Ed25519); !errors.Is(err, pkcs11.ErrExists) {
		t.Errorf("two keys of one name: %v", err)
	}
	list, err := ring.List(ctx)
	if err != nil || len(list) != 4 || list[0].Label != "new/ed25519" || list[0].Use != pkcs11.Signing || list[0].Public.IsZero() || list[0].Fault != nil {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := ring.Seal(ctx, one, []byte("x"), nil); !errors.Is(err, keymgmt.ErrUnknownKey) {
		t.Errorf("sealed by a signing key: %v", err)
	}
	if _, err := ring.Seal(ctx, one, make([]byte, pkcs11.MaxPlaintext+1), nil); !errors.Is(err, keymgmt.ErrMalformed) {
		t.Errorf("too much: %v", err)
	}
	if _, err := ring.Open(ctx, one, make([]byte, pkcs11.MaxSealed+1), nil); !errors.Is(err, pkcs11.ErrNotSealed) {
		t.Errorf("too much: %v", err)
	}
	stats, err := ring.DeviceStats(ctx)
	if err != nil || stats.Logins != 1 || stats.Places != cfg.Keyring.MaxSessions {
		t.Errorf("%+v, %v", stats, err)
	}
	if c := ring.Counts(); c.Started != 1 || c.Signatures != 6 || c.Mismatches != 0 || c.Calls != 0 {
		t.Errorf("%+v", c)
	}
}

func TestSealThroughTheChild(t *testing.T) {
	cfg, _ := newToken(t)
	id := keytest.Key(t, "seals")
	device, err := pkcs11.Open(cfg.Keyring)
	must(t, err)
	must(t, device.GenerateSecret(t.Context(), id, pkcs11.Sealing))
	must(t, device.Close())
	ring := ready(t, start(t, cfg))
	sealed, err := ring.Seal(t.Context(), id, []byte("text"), []byte("aad"))
	must(t, err)
	if text, err := ring.Open(t.Context(), id, sealed, []byte("aad")); err != nil || string(text) != "text" {
		t.Fatalf("%q, %v", text, err)
	}
	if _, err := ring.Open(t.Context(), id, sealed, nil); !errors.Is(err, pkcs11.ErrNotSealed) {
		t.Fatal(err)
	}
}

// busy lets callers sign until stop, and fails the test on any answer but a good signature or ErrUnavailable.
func busy(t *testing.T, ring *Ring, id keymgmt.KeyID) (signed, refused *atomic.Int64, stop func()) {
	const callers = 16
	signed, refused = new(atomic.Int64), new(atomic.Int64)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				err := trySign(ctx, ring, id)
				switch {
				case err == nil:
					signed.Add(1)
				case ctx.Err() != nil:
				case errors.Is(err, keymgmt.ErrUnavailable):
					refused.Add(1)
					<-tick.C
				default:
					t.Errorf("%v", err)
					return
				}
			}
		})
	}
	return signed, refused, func() { cancel(); wg.Wait() }
}

func more(t *testing.T, n *atomic.Int64) {
	t.Helper()
	const some = 50
	want := n.Load() + some
	until(t, func() bool { return n.Load() >= want || t.Failed() })
}

func TestKilledChild(t *testing.T) {
	one := keytest.Key(t, "one")
	cfg, _ := newToken(t, one)
	ring := ready(t, start(t, cfg))
	signed, refused, stop := busy(t, ring, one)
	defer stop()
	const kills = 4
	for range kills {
		more(t, signed)
		victim := pid(t, ring)
		must(t, syscall.Kill(victim, syscall.SIGKILL))
		until(t, func() bool { p := ring.current.Load(); return p != nil && p.cmd.Process.Pid != victim })
	}
	more(t, signed)
	stop()
	until(t, func() bool { return ring.Counts().Calls == 0 }) // those whose callers left
	if c := ring.Counts(); c.Started != kills+1 || c.Mismatches != 0 || c.Hung != 0 {
		t.Errorf("%+v", c)
	}
	t.Logf("%d signed, %d refused", signed.Load(), refused.Load())
}

func TestHungChild(t *testing.T) {
	one := keytest.Key(t, "one")
	cfg, _ := newToken(t, one)
	cfg.CallTimeout = 500 * time.Millisecond
	ring := ready(t, start(t, cfg))
	signed, refused, stop := busy(t, ring, one)
	defer stop()
	more(t, signed)
	victim := pid(t, ring)
	freeze(t, victim)
	more(t, refused) // the deadline has passed
	more(t, signed)  // and another child does the work
	stop()
	if c := ring.Counts(); c.Hung == 0 || c.Mismatches != 0 {
		t.Errorf("%+v", c)
	}
	if err := syscall.Kill(victim, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the hung child is still there: %v", err)
	}
}

// A caller whose context ends stops waiting for a hung child at once.
func TestCallerLeavesHungChild(t *testing.T) {
	one := keytest.Key(t, "one")
	cfg, _ := newToken(t, one)
	ring := ready(t, start(t, cfg))
	must(t, trySign(t.Context(), ring, one))
	freeze(t, pid(t, ring))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := trySign(ctx, ring, one); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if n := ring.Counts().Calls; n != 1 {
		t.Errorf("%d calls on their way, want the one that hangs", n)
	}
	must(t, syscall.Kill(pid(t, ring), syscall.SIGCONT))
	until(t, func() bool { return ring.Counts().Calls == 0 })
	must(t, trySign(t.Context(), ring, one))
}

// A child that ends with its parent: by the end of the connection here, by the kernel when that does not help.
func TestChildEndsWithItsParent(t *testing.T) {
	cfg, _ := newToken(t)
	ring, err := New(cfg)
	must(t, err)
	if err := ring.Ping(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Fatalf("before the start: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ring.Run(ctx) }()
	child := pid(t, ring)
	cancel()
	must(t, <-ended)
	if err := syscall.Kill(child, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the child lives: %v", err)
	}
	if err := ring.Ping(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Errorf("after the end: %v", err)
	}
}

// orphan is a parent that will be killed. Its arguments are the library and SoftHSM's configuration.
func orphan() error {
	ring, err := New(Config{Program: []string{"/proc/self/exe", honest}, Env: []string{softhsm.Env + "=" + os.Args[3]}, CallTimeout: time.Minute,
		Keyring: pkcs11.Config{Module: os.Args[2], TokenLabel: label, MaxSessions: 1, PIN: func() ([]byte, error) { return nil, os.ErrNotExist }}})
	if err != nil {
		return err
	}
	go func() {
		for ring.current.Load() == nil {
			runtime.Gosched()
		}
		fmt.Println(ring.current.Load().cmd.Process.Pid)
	}()
	return ring.Run(context.Background())
}

// The kernel ends the child of a parent that was killed, even one that hangs and cannot see the connection's end.
func TestChildOfKilledParent(t *testing.T) {
	cfg, setup := newToken(t)
	cmd := exec.Command("/proc/self/exe", parent, cfg.Keyring.Module, setup.Conf)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var child int
	_, err = fmt.Fscan(out, &child)
	must(t, err)
	freeze(t, child)
	must(t, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil {
		t.Fatal("the parent was not killed")
	}
	until(t, func() bool { return !alive(child) })
}

// freeze stops a process, and waits until it has.
func freeze(t testing.TB, pid int) {
	t.Helper()
	must(t, syscall.Kill(pid, syscall.SIGSTOP))
	until(t, func() bool { return bytes.Contains(read(t, fmt.Sprintf("/proc/%d/stat", pid)), []byte(") T ")) })
}

// alive reports whether the process runs; one that nobody has waited for yet does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

// A library that cannot be loaded is an error that says so, not a crash loop without words.
func TestModuleMissing(t *testing.T) {
	cfg, _ := newToken(t)
	cfg.Keyring.Module = "/nonexistent/p11.so"
	ring := start(t, cfg)
	until(t, func() bool { err := ring.Ping(t.Context()); return err != nil && !errors.Is(err, errNotStarted) })
	if err := ring.Ping(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Fatal(err)
	}
}

// The PIN that was refused is remembered when the child that met the refusal is gone.
func TestRefusedPINOutlivesTheChild(t *testing.T) {
	cfg, _ := newToken(t)
	var asked atomic.Int32
	cfg.Keyring.PIN = func() ([]byte, error) { asked.Add(1); return []byte("not the PIN"), nil }
	ring := start(t, cfg)
	until(t, func() bool { return errors.Is(ring.Ping(t.Context()), pkcs11.ErrPIN) })
	must(t, syscall.Kill(pid(t, ring), syscall.SIGKILL))
	until(t, func() bool { return ring.current.Load() == nil })
	for range 3 {
		if err := ring.Ping(t.Context()); !errors.Is(err, pkcs11.ErrPIN) || !errors.Is(err, keymgmt.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if asked.Load() != 1 {
		t.Fatalf("the PIN was given %d times", asked.Load())
	}
}

// The PIN is not given to one child after another that dies with it.
func TestPINIsNotGivenForEver(t *testing.T) {
	cfg, _ := newToken(t)
	cfg.Program = []string{"/proc/self/exe", dying}
	var asked atomic.Int32
	cfg.Keyring.PIN = func() ([]byte, error) { asked.Add(1); return []byte("PIN"), nil }
	ring := start(t, cfg)
	until(t, func() bool { return errors.Is(ring.Ping(t.Context()), pkcs11.ErrPIN) })
	if asked.Load() != maxUnanswered {
		t.Fatalf("given %d times", asked.Load())
	}
}

// Where everybody who may look at a process's arguments and environment looks.
func TestPINIsNowhereToSee(t *testing.T) {
	cfg, setup := newToken(t)
	ring := ready(t, start(t, cfg))
	pin := read(t, setup.PINFile)
	for _, file := range []string{"cmdline", "environ"} {
		content := read(t, fmt.Sprintf("/proc/%d/%s", pid(t, ring), file))
		if len(content) == 0 || bytes.Contains(content, pin) {
			t.Errorf("%s: %q", file, content)
		}
		if file == "environ" && bytes.Count(content, []byte{0}) != len(cfg.Env) {
			t.Errorf("more in the environment than was given: %q", content)
		}
	}
}

// An operator's one try of a PIN is one try.
func TestRetryPINIsForOneChild(t *testing.T) {
	ring, err := New(Config{Program: []string{"x"}, CallTimeout: time.Second, Keyring: pkcs11.Config{Module: "/x", TokenLabel: "t", MaxSessions: 1,
		RetryPIN: true, PIN: func() ([]byte, error) { return []byte("PIN"), nil }}})
	must(t, err)
	for _, want := range []bool{true, false} {
		p := &process{ring: ring, w: newWriter(1)}
		must(t, p.greet())
		var h hello
		must(t, strictJSON((<-p.w.frames).body, &h))
		if h.RetryPIN != want {
			t.Errorf("retry %t, want %t", h.RetryPIN, want)
		}
		if ring.readPIN() == nil {
			t.Error("no PIN")
		}
	}
}

// A device that is away while the PIN is tried has not refused it, however often that happens.
func TestDeviceAwayIsNoRefusedPIN(t *testing.T) {
	cfg, setup := newToken(t)
	cfg.CallTimeout = MinCallTimeout // so that the child is given up soon, and more than once
	must(t, os.Rename(setup.Tokens, setup.Tokens+".away"))
	ring := start(t, cfg)
	until(t, func() bool {
		if err := ring.Ping(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) || errors.Is(err, pkcs11.ErrPIN) {
			t.Fatal(err)
		}
		return ring.Counts().Started > maxUnanswered+1
	})
	must(t, os.Rename(setup.Tokens+".away", setup.Tokens))
	ready(t, ring)
}

func TestPINGuard(t *testing.T) {
	var g pinGuard
	for range 5 * maxUnanswered { // tries that ended well or because the device is away
		if !g.give() {
			t.Fatal(g.refused)
		}
		g.answered()
		g.died()
	}
	for range maxUnanswered {
		if !g.give() {
			t.Fatal(g.refused)
		}
		g.died()
	}
	if g.give() || !errors.Is(g.refused, pkcs11.ErrPIN) {
		t.Fatal("given to a third")
	}
	g.answered()
	if g.give() {
		t.Fatal("forgotten")
	}
}

func TestPINIsWiped(t *testing.T) {
	cfg, setup := newToken(t)
	var mu sync.Mutex
	var given []byte
	cfg.Keyring.PIN = func() ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		given = read(t, setup.PINFile)
		return given, nil
	}
	t.Run("used", func(t *testing.T) { ready(t, start(t, cfg)) }) // and closed: the writer wipes after the child has read
	mu.Lock()
	defer mu.Unlock()
	if len(given) == 0 {
		t.Fatal("no PIN was asked for")
	}
	for _, b := range given {
		if b != 0 {
			t.Fatal("the PIN is still in memory")
		}
	}
}

// Nothing that a lying child made up comes out, and it is replaced until the key is held to be lost.
func TestLyingChild(t *testing.T) {
	one := keytest.Key(t, "one")
	cfg, _ := newToken(t, one)
	cfg.Program = []string{"/proc/self/exe", liar}
	ring := start(t, cfg)
	public, err := keymgmt.NewPublicKey(keymgmt.Ed25519, make([]byte, 32))
	must(t, err)
	must(t, ring.recognise(one, public))
	until(t, func() bool {
		sigs, err := ring.sign(t.Context(), one, [][]byte{[]byte("message")})
		if err == nil || len(sigs) != 0 {
			t.Fatalf("%d signatures, %v", len(sigs), err)
		}
		return errors.Is(err, pkcs11.ErrKeyRefused)
	})
	if c := ring.Counts(); c.Mismatches != maxWrong || c.Signatures != 0 || c.Started < maxWrong {
		t.Errorf("%+v", c)
	}
}

func TestBabblingChild(t *testing.T) {
	one := keytest.Key(t, "one")
	cfg, _ := newToken(t, one)
	cfg.Program = []string{"/proc/self/exe", babble}
	ring := start(t, cfg)
	until(t, func() bool {
		if err := ring.Ping(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) {
			t.Fatal(err)
		}
		return ring.Counts().Started >= 3
	})
}

// pretend is a child that is none: it says that it is ready, and answers as it likes.
func pretend(answer func(conn net.Conn, call frame) error) error {
	conn, err := net.FileConn(os.NewFile(socket, "parent"))
	if err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	if _, err := readFrame(r); err != nil {
		return nil // the parent has left
	}
	if _, err := conn.Write(frame{kind: kindReady, body: appendStatus(nil, nil)}.appendTo(nil)); err != nil {
		return err
	}
	for {
		f, err := readFrame(r)
		if err != nil {
			return nil
		}
		if err := answer(conn, f); err != nil {
			return err
		}
	}
}

func lie(conn net.Conn, call frame) error {
	body := appendList(appendStatus(nil, nil), [][]byte{make([]byte, 64)})
	_, err := conn.Write(frame{kind: kindAnswer, id: call.id, body: body}.appendTo(nil))
	return err
}

func noise(conn net.Conn, _ frame) error {
	b := make([]byte, 1024)
	_, _ = rand.Read(b)
	binary.BigEndian.PutUint32(b, 1<<31)
	_, err := conn.Write(b)
	return err
}

func die(conn net.Conn, f frame) error {
	if f.kind == kindPIN {
		os.Exit(3)
	}
	_, err := conn.Write(frame{kind: kindAskPIN, id: 1}.appendTo(nil))
	return err
}
