package pkcs11

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/pkcs11/softhsm"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/keymgmt/signature"
)

var _ service.Keyring = (*Keyring)(nil)

const label = "diamante test"

// newToken makes a SoftHSM token of the test's own and returns a configuration for it. Only one test at a time can use
// the library: its state is the process's.
func newToken(t testing.TB) (Config, softhsm.Setup) {
	t.Helper()
	setup, err := softhsm.Prepare(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(softhsm.Env, setup.Conf)
	err = InitToken(NewToken{Module: setup.Module, Label: label, SOPIN: read(t, setup.SOPINFile), PIN: read(t, setup.PINFile)})
	if err != nil {
		t.Fatal(err)
	}
	pin := func() ([]byte, error) { return os.ReadFile(setup.PINFile) }
	return Config{Module: setup.Module, TokenLabel: label, PIN: pin, MaxSessions: 8}, setup
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t testing.TB, cfg Config) *Keyring {
	t.Helper()
	ring, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ring.Close(); err != nil {
			t.Error(err)
		}
	})
	return ring
}

// newRing makes a token with the keys, and its keyring.
func newRing(t testing.TB, keys ...keymgmt.KeyID) (*Keyring, softhsm.Setup) {
	t.Helper()
	cfg, setup := newToken(t)
	ring := open(t, cfg)
	for _, id := range keys {
		if _, err := ring.Generate(t.Context(), id, keymgmt.Ed25519); err != nil {
			t.Fatal(err)
		}
	}
	return ring, setup
}

// takeAway makes the tokens disappear from under the library, as if unplugged.
func takeAway(t testing.TB, setup softhsm.Setup) (bringBack func()) {
	t.Helper()
	if err := os.Rename(setup.Tokens, setup.Tokens+".away"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Rename(setup.Tokens+".away", setup.Tokens); err != nil {
			t.Error(err)
		}
	}
}

// faults makes calls of the library fail, as a device would.
func faults(ring *Keyring, f func(call string) error) { ring.lib.fault.Store(&f) }

// failing makes the next n calls of one name fail with code.
func failing(ring *Keyring, call string, n int32, code uint) (calls *atomic.Int32) {
	calls = new(atomic.Int32)
	faults(ring, func(c string) error {
		if c == call && calls.Add(1) <= n {
			return p11.Error(code)
		}
		return nil
	})
	return calls
}

func TestConformance(t *testing.T) {
	keytest.TestKeyring(t, func(t *testing.T, keys ...keymgmt.KeyID) keytest.KeyringFixture {
		ring, setup := newRing(t, keys...)
		return keytest.KeyringFixture{Keyring: ring, Break: func() func() { return takeAway(t, setup) }}
	})
}

func TestConfigValidate(t *testing.T) {
	good := Config{Module: "/lib/x.so", TokenLabel: "t", PIN: func() ([]byte, error) { return nil, nil }, MaxSessions: 1}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no module":       func(c *Config) { c.Module = "" },
		"relative module": func(c *Config) { c.Module = "softhsm.so" },
		"no label":        func(c *Config) { c.TokenLabel = "" },
		"long label":      func(c *Config) { c.TokenLabel = strings.Repeat("x", 33) },
		"no PIN":          func(c *Config) { c.PIN = nil },
		"no sessions":     func(c *Config) { c.MaxSessions = 0 },
		"nameless import": func(c *Config) { c.Imported = []keymgmt.KeyID{{}} },
		"nameless wrap":   func(c *Config) { c.Wrappable = []keymgmt.KeyID{{}} },
		"many sessions":   func(c *Config) { c.MaxSessions = 1025 },
	} {
		c := good
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestOpenSaysWhatIsWrongWithTheModule(t *testing.T) {
	text := t.TempDir() + "/text.so"
	if err := os.WriteFile(text, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/nonexistent/p11.so": "no such file",
		t.TempDir():           "not a file",
		text:                  "file too short",
	} {
		_, err := Open(Config{Module: path, TokenLabel: "t", PIN: func() ([]byte, error) { return nil, nil }, MaxSessions: 1})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to say %q", path, err, want)
		}
	}
}

func TestOneKeyringForEachLibrary(t *testing.T) {
	cfg, _ := newToken(t)
	ring := open(t, cfg)
	if _, err := Open(cfg); err == nil {
		t.Fatal("two keyrings share one library")
	}
	if err := ring.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ring.Ping(t.Context()); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Fatalf("a closed keyring answers %v", err)
	}
	again := open(t, cfg)
	if err := again.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestTokenIsFoundByLabelAndSerial(t *testing.T) {
	cfg, setup := newToken(t)
	second := NewToken{Module: setup.Module, Label: label, SOPIN: read(t, setup.SOPINFile), PIN: read(t, setup.PINFile)}
	if err := InitToken(second); !errors.Is(err, ErrExists) {
		t.Fatalf("a token with keys would have been erased: %v", err)
	}
	second.Label = "another"
	if err := InitToken(second); err != nil {
		t.Fatal(err)
	}

	ring := open(t, cfg)
	if err := ring.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := ring.lib.tokenInfo(ring.epoch.slot)
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		label, serial string
		want          error
	}{
		"label":                    {label, "", nil},
		"label and serial":         {label, info.SerialNumber, nil},
		"other serial":             {label, "0123456789abcdef", ErrToken},
		"other label":              {"nobody", "", ErrToken},
		"serial of the other":      {"another", info.SerialNumber, ErrToken},
		"a beginning of the label": {label[:4], "", ErrToken},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.TokenLabel, cfg.TokenSerial = c.label, c.serial
			err := open(t, cfg).Ping(t.Context())
			if !errors.Is(err, c.want) || c.want != nil && !errors.Is(err, keymgmt.ErrUnavailable) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestGenerateAndList(t *testing.T) {
	a, b := keytest.Key(t, "anchor/b"), keytest.Key(t, "anchor/a")
	ring, _ := newRing(t, a, b)
	public, err := ring.Public(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Generate(t.Context(), a, keymgmt.Ed25519); !errors.Is(err, ErrExists) {
		t.Fatalf("a second key under one label: %v", err)
	}
	if _, err := ring.Generate(t.Context(), keymgmt.KeyID{}, keymgmt.Ed25519); !errors.Is(err, keymgmt.ErrMalformed) {
		t.Fatalf("a key without a name: %v", err)
	}
	list, err := ring.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].Key != b || list[1].Key != a || list[1].Public != public {
		t.Fatalf("list: %+v", list)
	}
	if again, err := ring.Public(t.Context(), a); err != nil || again != public {
		t.Fatalf("the key changed: %v", err)
	}
}

// Two callers find the label free at the same time; one key comes out.
func TestGenerateConcurrently(t *testing.T) {
	ring, _ := newRing(t)
	id := keytest.Key(t, "one")
	const callers = 6
	errs := make(chan error, callers)
	for range callers {
		go func() {
			_, err := ring.Generate(t.Context(), id, keymgmt.Ed25519)
			errs <- err
		}()
	}
	made := 0
	for range callers {
		if err := <-errs; err == nil {
			made++
		} else if !errors.Is(err, ErrExists) {
			t.Error(err)
		}
	}
	if made != 1 {
		t.Fatalf("%d keys made", made)
	}
	if _, err := ring.Public(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

// A device that knows the curve by name only.
func TestGenerateByCurveName(t *testing.T) {
	ring, _ := newRing(t)
	calls := failing(ring, "C_GenerateKeyPair", 1, p11.CKR_DOMAIN_PARAMS_INVALID)
	id := keytest.Key(t, "named")
	if _, err := ring.Generate(t.Context(), id, keymgmt.Ed25519); err != nil {
		t.Fatal(err)
	}
	if calls.Load() != 2 {
		t.Fatalf("%d tries", calls.Load())
	}
	mustSign(t, ring, id)
}

func mustSign(t testing.TB, ring *Keyring, id keymgmt.KeyID) {
	t.Helper()
	if err := trySign(t.Context(), ring, id, []byte("message")); err != nil {
		t.Fatal(err)
	}
}

func trySign(ctx context.Context, ring *Keyring, id keymgmt.KeyID, message []byte) error {
	sig, err := ring.sign(ctx, id, message)
	if err != nil {
		return err
	}
	public, err := ring.Public(ctx, id)
	if err != nil {
		return err
	}
	if !sig.Of(public, message) || !signature.Verify(public, message, sig.Bytes()) {
		return errWrong
	}
	return nil
}

var errWrong = errors.New("a wrong signature came out")
