package pkcs11

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
)

// wrapRig is a token whose configuration lets some keys out and others in.
type wrapRig struct {
	ring            *Keyring
	kek, out, back  keymgmt.KeyID
	staying, sealer keymgmt.KeyID
}

func newWrapRig(t *testing.T) wrapRig {
	t.Helper()
	r := wrapRig{kek: keytest.Key(t, "kek"), out: keytest.Key(t, "out"), back: keytest.Key(t, "back"),
		staying: keytest.Key(t, "staying"), sealer: keytest.Key(t, "sealer")}
	cfg, _ := newToken(t)
	cfg.Wrappable = []keymgmt.KeyID{r.out, r.sealer, keytest.Key(t, "missing")}
	cfg.Imported = []keymgmt.KeyID{r.back}
	r.ring = open(t, cfg)
	secret(t, r.ring, r.kek, Wrapping)
	return r
}

func TestWrapAndUnwrap(t *testing.T) {
	for _, a := range []keymgmt.Algorithm{keymgmt.Secp256k1, keymgmt.P256} {
		t.Run(a.String(), func(t *testing.T) {
			r := newWrapRig(t)
			public, err := r.ring.GenerateWrappable(t.Context(), r.out, a)
			if err != nil {
				t.Fatal(err)
			}
			w, err := r.ring.Wrap(t.Context(), r.kek, r.out)
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(w)
			if err != nil {
				t.Fatal(err)
			}
			var stored Wrapped
			if err := json.Unmarshal(text, &stored); err != nil {
				t.Fatal(err)
			}
			if err := r.ring.Destroy(t.Context(), r.out); err != nil {
				t.Fatal(err)
			}
			if got, err := r.ring.Unwrap(t.Context(), stored, r.back); err != nil || got != public {
				t.Fatalf("%s, %v", got, err)
			}
			digest := bytes.Repeat([]byte{1}, digestSize)
			if err := trySign(t.Context(), r.ring, r.back, digest); err != nil {
				t.Fatal(err)
			}
			if _, err := r.ring.Wrap(t.Context(), r.kek, r.back); !errors.Is(err, ErrCannotWrap) {
				t.Errorf("what came in goes out: %v", err)
			}
			if _, err := r.ring.Unwrap(t.Context(), stored, r.back); !errors.Is(err, ErrExists) {
				t.Errorf("a second time: %v", err)
			}
		})
	}
}

func TestWrapSealingKey(t *testing.T) {
	r := newWrapRig(t)
	secret(t, r.ring, r.sealer, Sealing)
	sealed, err := r.ring.Seal(t.Context(), r.sealer, []byte("text"), nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := r.ring.Wrap(t.Context(), r.kek, r.sealer)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.ring.Destroy(t.Context(), r.sealer); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ring.Seal(t.Context(), r.sealer, []byte("text"), nil); !errors.Is(err, keymgmt.ErrUnknownKey) {
		t.Fatalf("a destroyed key seals: %v", err)
	}
	if _, err := r.ring.Unwrap(t.Context(), w, r.back); err != nil {
		t.Fatal(err)
	}
	if text, err := r.ring.Open(t.Context(), r.back, sealed, nil); err != nil || string(text) != "text" {
		t.Fatalf("%q, %v", text, err)
	}
}

func TestCannotWrap(t *testing.T) {
	r := newWrapRig(t)
	ctx := t.Context()
	if _, err := r.ring.GenerateWrappable(ctx, r.staying, keymgmt.P256); !errors.Is(err, ErrKeyRefused) {
		t.Errorf("a key that nobody named was made to leave: %v", err)
	}
	if _, err := r.ring.Generate(ctx, r.staying, keymgmt.P256); err != nil {
		t.Fatal(err)
	}
	asked := failing(r.ring, "C_WrapKey", 0, 0)
	if _, err := r.ring.Wrap(ctx, r.kek, r.staying); !errors.Is(err, ErrCannotWrap) || asked.Load() != 0 {
		t.Errorf("not wrappable: %v after %d calls", err, asked.Load())
	}
	if _, err := r.ring.Wrap(ctx, r.kek, keytest.Key(t, "missing")); !errors.Is(err, keymgmt.ErrUnknownKey) {
		t.Errorf("missing: %v", err)
	}
	// Named in the configuration, but the token knows better.
	if _, err := r.ring.Generate(ctx, r.out, keymgmt.P256); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ring.Wrap(ctx, r.kek, r.out); !errors.Is(err, ErrCannotWrap) {
		t.Errorf("not extractable: %v", err)
	}
	if err := r.ring.Destroy(ctx, r.out); err != nil {
		t.Fatal(err)
	}
	// SoftHSM cannot wrap Ed25519, and says so.
	if _, err := r.ring.GenerateWrappable(ctx, r.out, keymgmt.Ed25519); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ring.Wrap(ctx, r.kek, r.out); !errors.Is(err, ErrCannotWrap) || errors.Is(err, keymgmt.ErrUnavailable) {
		t.Errorf("Ed25519: %v", err)
	}
	mustSign(t, r.ring, r.out)
	if s := r.ring.Stats(); s.Trips != 0 || s.Logins != 1 {
		t.Errorf("%+v", s)
	}
}

// What is not the key that it says does not stay.
func TestUnwrapRefuses(t *testing.T) {
	r := newWrapRig(t)
	ctx := t.Context()
	public, err := r.ring.GenerateWrappable(ctx, r.out, keymgmt.P256)
	if err != nil {
		t.Fatal(err)
	}
	good, err := r.ring.Wrap(ctx, r.kek, r.out)
	if err != nil {
		t.Fatal(err)
	}
	other, err := r.ring.Generate(ctx, r.staying, keymgmt.P256)
	if err != nil || other == public {
		t.Fatal(err)
	}
	secret(t, r.ring, keytest.Key(t, "kek2"), Wrapping)
	for name, c := range map[string]struct {
		change func(*Wrapped)
		want   error
	}{
		"another public key":   {func(w *Wrapped) { w.Public = other }, ErrCannotWrap},
		"damaged":              {func(w *Wrapped) { w.Bytes = append([]byte{w.Bytes[0] ^ 1}, w.Bytes[1:]...) }, ErrCannotWrap},
		"cut":                  {func(w *Wrapped) { w.Bytes = w.Bytes[:len(w.Bytes)-8] }, ErrCannotWrap},
		"another wrapping key": {func(w *Wrapped) { w.Wrapping = keytest.Key(t, "kek2") }, ErrCannotWrap},
		"a sealing key":        {func(w *Wrapped) { w.Public, w.Proof = keymgmt.PublicKey{}, make([]byte, len(proven)+sealExtra) }, nil},
		"no wrapping key":      {func(w *Wrapped) { w.Wrapping = r.out }, keymgmt.ErrUnknownKey},
		"no mechanism":         {func(w *Wrapped) { w.Mechanism = "AES_ECB" }, keymgmt.ErrMalformed},
		"nothing to check":     {func(w *Wrapped) { w.Public = keymgmt.PublicKey{} }, keymgmt.ErrMalformed},
		"nothing":              {func(w *Wrapped) { w.Bytes = nil }, keymgmt.ErrMalformed},
		"endless":              {func(w *Wrapped) { w.Bytes = make([]byte, MaxWrapped+1) }, keymgmt.ErrMalformed},
	} {
		w := good
		c.change(&w)
		_, err := r.ring.Unwrap(ctx, w, r.back)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if _, err := r.ring.Public(ctx, r.back); !errors.Is(err, keymgmt.ErrUnknownKey) || errors.Is(err, ErrKeyRefused) {
			t.Errorf("%s: something stayed: %v", name, err)
		}
	}
	nameless(t, r.ring)
	if _, err := r.ring.Unwrap(ctx, good, r.staying); !errors.Is(err, ErrKeyRefused) {
		t.Errorf("not named as imported: %v", err)
	}
	if _, err := r.ring.Unwrap(ctx, good, r.back); err != nil {
		t.Fatal(err)
	}
}

// nameless makes sure that no failed call left an object behind that nobody can name.
func nameless(t *testing.T, ring *Keyring) {
	t.Helper()
	vandal(t, ring, func(s session) {
		objects, err := ring.lib.search(s, nil, MaxKeys)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			if values, err := ring.lib.attributes(s, o, p11.CKA_LABEL); err != nil || len(values[0]) == 0 {
				t.Errorf("object %d has the label %q, %v", o, values, err)
			}
		}
	})
}

func TestDestroy(t *testing.T) {
	one, two := keytest.Key(t, "one"), keytest.Key(t, "two")
	ring, _ := newRing(t, one, two)
	mustSign(t, ring, one)
	if err := ring.Destroy(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if err := trySign(t.Context(), ring, one, []byte("x")); !errors.Is(err, keymgmt.ErrUnknownKey) {
		t.Fatalf("it still signs: %v", err)
	}
	for _, id := range []keymgmt.KeyID{one, keytest.Key(t, "never")} {
		if err := ring.Destroy(t.Context(), id); !errors.Is(err, keymgmt.ErrUnknownKey) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if err := ring.Destroy(t.Context(), keymgmt.KeyID{}); !errors.Is(err, keymgmt.ErrMalformed) {
		t.Error(err)
	}
	mustSign(t, ring, two)
	if _, err := ring.Generate(t.Context(), one, keymgmt.P256); err != nil {
		t.Fatalf("the name is not free: %v", err)
	}
	failing(ring, "C_DestroyObject", 1, p11.CKR_ACTION_PROHIBITED)
	if err := ring.Destroy(t.Context(), two); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Fatalf("refused by the token: %v", err)
	}
}
