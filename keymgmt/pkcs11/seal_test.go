package pkcs11

import (
	"bytes"
	"errors"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
)

// secret makes a key of AES-256.
func secret(t testing.TB, ring *Keyring, id keymgmt.KeyID, use Use) {
	t.Helper()
	if err := ring.GenerateSecret(t.Context(), id, use); err != nil {
		t.Fatal(err)
	}
}

func TestSealAndOpen(t *testing.T) {
	one, two := keytest.Key(t, "seal/one"), keytest.Key(t, "seal/two")
	ring, _ := newRing(t)
	secret(t, ring, one, Sealing)
	secret(t, ring, two, Sealing)
	ctx, aad := t.Context(), []byte("table|row|1")
	for _, size := range []int{1, 32, MaxPlaintext} {
		plaintext := bytes.Repeat([]byte{0xa5}, size)
		sealed, err := ring.Seal(ctx, one, plaintext, aad)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ring.Seal(ctx, one, plaintext, aad)
		if err != nil || bytes.Equal(again[1:1+ivSize], sealed[1:1+ivSize]) {
			t.Fatalf("one IV twice: %x, %v", again[1:1+ivSize], err)
		}
		if opened, err := ring.Open(ctx, one, sealed, aad); err != nil || !bytes.Equal(opened, plaintext) {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
	sealed, err := ring.Seal(ctx, one, []byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Open(ctx, one, sealed, aad); !errors.Is(err, ErrNotSealed) {
		t.Errorf("other data: %v", err)
	}
	if _, err := ring.Open(ctx, two, sealed, nil); !errors.Is(err, ErrNotSealed) {
		t.Errorf("other key: %v", err)
	}
	for at := range sealed {
		damaged := bytes.Clone(sealed)
		damaged[at] ^= 0x10
		if _, err := ring.Open(ctx, one, damaged, nil); !errors.Is(err, ErrNotSealed) {
			t.Fatalf("byte %d damaged: %v", at, err)
		}
	}
	for size := range sealed {
		if _, err := ring.Open(ctx, one, sealed[:size], nil); !errors.Is(err, ErrNotSealed) {
			t.Fatalf("%d bytes of it: %v", size, err)
		}
	}
	if s := ring.Stats(); s.Trips != 0 || s.Logins != 1 {
		t.Errorf("bad texts took the device down: %+v", s)
	}
}

func TestSealRefuses(t *testing.T) {
	seals, wraps, signs := keytest.Key(t, "seals"), keytest.Key(t, "wraps"), keytest.Key(t, "signs")
	ring, _ := newRing(t, signs)
	secret(t, ring, seals, Sealing)
	secret(t, ring, wraps, Wrapping)
	ctx, text := t.Context(), []byte("text")
	for name, c := range map[string]struct {
		id        keymgmt.KeyID
		text, aad []byte
		want      error
	}{
		"nothing":         {seals, nil, nil, keymgmt.ErrMalformed},
		"too much":        {seals, make([]byte, MaxPlaintext+1), nil, keymgmt.ErrMalformed},
		"too much data":   {seals, text, make([]byte, MaxAAD+1), keymgmt.ErrMalformed},
		"no key":          {keymgmt.KeyID{}, text, nil, keymgmt.ErrUnknownKey},
		"unknown key":     {keytest.Key(t, "missing"), text, nil, keymgmt.ErrUnknownKey},
		"a signing key":   {signs, text, nil, keymgmt.ErrUnknownKey},
		"a wrapping key":  {wraps, text, nil, ErrKeyRefused},
		"the largest aad": {seals, text, make([]byte, MaxAAD), nil},
	} {
		if _, err := ring.Seal(ctx, c.id, c.text, c.aad); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for _, use := range []Use{0, Signing, 9} {
		if err := ring.GenerateSecret(ctx, keytest.Key(t, "new"), use); !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("use %d: %v", use, err)
		}
	}
	if err := ring.GenerateSecret(ctx, signs, Sealing); !errors.Is(err, ErrExists) {
		t.Errorf("two keys of one name: %v", err)
	}
	if _, err := ring.Generate(ctx, seals, keymgmt.Ed25519); !errors.Is(err, ErrExists) {
		t.Errorf("two keys of one name: %v", err)
	}
	if _, err := ring.Public(ctx, seals); !errors.Is(err, keymgmt.ErrUnknownKey) {
		t.Errorf("a secret key signs: %v", err)
	}
	if s := ring.Stats(); s.Trips != 0 {
		t.Errorf("%+v", s)
	}
}

// Secret keys that could get out, or do more than their use, are refused.
func TestSecretsRefused(t *testing.T) {
	ring, _ := newRing(t)
	good := keytest.Key(t, "good")
	secret(t, ring, good, Sealing)
	attribute := p11.NewAttribute
	for name, change := range map[string][]*p11.Attribute{
		"extractable":   {attribute(p11.CKA_EXTRACTABLE, true)},
		"readable":      {attribute(p11.CKA_SENSITIVE, false)},
		"without-login": {attribute(p11.CKA_PRIVATE, false)},
		"wraps-too":     {attribute(p11.CKA_WRAP, true)},
		"short":         {attribute(p11.CKA_VALUE_LEN, uint(16))},
	} {
		vandal(t, ring, func(s session) { secretWith(t, ring, s, keytest.Key(t, name), change...) })
		if _, err := ring.Seal(t.Context(), keytest.Key(t, name), []byte("x"), nil); !errors.Is(err, ErrKeyRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	vandal(t, ring, func(s session) {
		secretWith(t, ring, s, keytest.Key(t, "twice"))
		secretWith(t, ring, s, keytest.Key(t, "twice"))
	})
	if _, err := ring.Seal(t.Context(), keytest.Key(t, "twice"), []byte("x"), nil); !errors.Is(err, ErrKeyRefused) {
		t.Errorf("twice: %v", err)
	}
	secret(t, ring, keytest.Key(t, "wraps"), Wrapping)
	list, err := ring.ListSecrets(t.Context())
	if err != nil || len(list) != 9 {
		t.Fatalf("%d listed, %v", len(list), err)
	}
	for _, item := range list {
		want := map[string]Use{"good": Sealing, "wraps": Wrapping}[item.Label]
		if item.Use != want || (item.Fault == nil) != (want != 0) {
			t.Errorf("listed: %+v", item)
		}
	}
}

// secretWith makes a sealing key with the attributes changed.
func secretWith(t testing.TB, ring *Keyring, s session, id keymgmt.KeyID, change ...*p11.Attribute) {
	t.Helper()
	attrs := map[uint]*p11.Attribute{}
	for _, list := range [][]*p11.Attribute{secretTemplate(id, Sealing, false), {p11.NewAttribute(p11.CKA_VALUE_LEN, uint(secretSize))}, change} {
		for _, a := range list {
			attrs[a.Type] = a
		}
	}
	var template []*p11.Attribute
	for _, a := range attrs {
		template = append(template, a)
	}
	if _, err := ring.lib.ctx.GenerateKey(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_KEY_GEN, nil)}, template); err != nil {
		t.Fatal(err)
	}
}

// A device that refuses the IV it is given is asked for one of its own; one that then uses none at all seals nothing.
func TestDeviceThatWantsToChooseTheIV(t *testing.T) {
	id := keytest.Key(t, "seals")
	ring, _ := newRing(t)
	secret(t, ring, id, Sealing)
	failing(ring, "C_EncryptInit", 1, p11.CKR_MECHANISM_PARAM_INVALID)
	// SoftHSM then takes the zeros for an IV, which is the one thing that must not come out.
	if sealed, err := ring.Seal(t.Context(), id, []byte("x"), nil); err == nil && bytes.Equal(sealed[1:1+ivSize], make([]byte, ivSize)) {
		t.Fatal("sealed with an IV of zeros")
	}
	faults(ring, func(string) error { return nil })
	sealed, err := ring.Seal(t.Context(), id, []byte("x"), nil)
	if err != nil || bytes.Equal(sealed[1:1+ivSize], make([]byte, ivSize)) {
		t.Fatalf("%x, %v", sealed, err)
	}
}

// What the device cannot open again is not handed out.
func TestSealIsOpenedOnce(t *testing.T) {
	id := keytest.Key(t, "seals")
	ring, _ := newRing(t)
	secret(t, ring, id, Sealing)
	failing(ring, "C_Decrypt", 9, p11.CKR_ENCRYPTED_DATA_INVALID)
	if sealed, err := ring.Seal(t.Context(), id, []byte("x"), nil); !errors.Is(err, keymgmt.ErrUnavailable) || sealed != nil {
		t.Fatalf("%x, %v", sealed, err)
	}
}

// An error that can mean a bad text or a dead device is told apart by trying the device.
func TestBadTextOrDeadDevice(t *testing.T) {
	id := keytest.Key(t, "seals")
	ring, _ := newRing(t)
	secret(t, ring, id, Sealing)
	sealed, err := ring.Seal(t.Context(), id, []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	failing(ring, "C_Decrypt", 1, p11.CKR_GENERAL_ERROR)
	if _, err := ring.Open(t.Context(), id, sealed, nil); !errors.Is(err, ErrNotSealed) {
		t.Errorf("the device works: %v", err)
	}
	if s := ring.Stats(); s.Trips != 0 {
		t.Errorf("%+v", s)
	}
	failing(ring, "C_Decrypt", 9, p11.CKR_GENERAL_ERROR)
	if _, err := ring.Open(t.Context(), id, sealed, nil); !errors.Is(err, keymgmt.ErrUnavailable) || errors.Is(err, ErrNotSealed) {
		t.Errorf("the device is dead: %v", err)
	}
	if s := ring.Stats(); s.Trips != 1 {
		t.Errorf("%+v", s)
	}
}
