package pkcs11

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/signature"
)

// paramsOID is Ed25519 in CKA_EC_PARAMS.
var paramsOID = curves[keymgmt.Ed25519].params[0]

// vandal changes the token as an operator with other tools could, logged in and with a session that can write.
func vandal(t testing.TB, ring *Keyring, do func(s session)) {
	t.Helper()
	if err := ring.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := ring.lib.openSession(ring.epoch.slot, p11.CKF_RW_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.lib.closeSession(s)
	do(s)
}

// pair makes an Ed25519 pair with the private attributes changed.
func pair(t testing.TB, ring *Keyring, s session, label string, change ...*p11.Attribute) (public, private object) {
	t.Helper()
	attrs := map[uint]*p11.Attribute{}
	for _, a := range append([]*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_SENSITIVE, true), p11.NewAttribute(p11.CKA_EXTRACTABLE, false), p11.NewAttribute(p11.CKA_SIGN, true),
		p11.NewAttribute(p11.CKA_LABEL, label)}, change...) {
		attrs[a.Type] = a
	}
	var template []*p11.Attribute
	for _, a := range attrs {
		template = append(template, a)
	}
	public, private, err := ring.lib.ctx.GenerateKeyPair(s, []*p11.Mechanism{p11.NewMechanism(ckmECEdwardsKeyPairGen, nil)},
		[]*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_LABEL, label),
			p11.NewAttribute(p11.CKA_EC_PARAMS, paramsOID), p11.NewAttribute(p11.CKA_VERIFY, true), p11.NewAttribute(p11.CKA_PRIVATE, false)}, template)
	if err != nil {
		t.Fatal(err)
	}
	return public, private
}

func destroy(t testing.TB, ring *Keyring, s session, o object) {
	t.Helper()
	if err := ring.lib.ctx.DestroyObject(s, o); err != nil {
		t.Fatal(err)
	}
}

// Keys that must not be used are refused, each with its reason, and the rest of the token goes on working.
func TestKeysRefused(t *testing.T) {
	good := keytest.Key(t, "good")
	ring, _ := newRing(t, good)
	attribute := p11.NewAttribute
	for _, c := range []struct {
		name string
		make func(s session, label string)
	}{
		{"two-of-one-label", func(s session, l string) { pair(t, ring, s, l); pair(t, ring, s, l) }},
		{"public-only", func(s session, l string) { _, private := pair(t, ring, s, l); destroy(t, ring, s, private) }},
		{"private-only", func(s session, l string) { public, _ := pair(t, ring, s, l); destroy(t, ring, s, public) }},
		{"extractable", func(s session, l string) { pair(t, ring, s, l, attribute(p11.CKA_EXTRACTABLE, true)) }},
		{"readable", func(s session, l string) { pair(t, ring, s, l, attribute(p11.CKA_SENSITIVE, false)) }},
		{"was-readable", func(s session, l string) {
			_, private := pair(t, ring, s, l, attribute(p11.CKA_SENSITIVE, false))
			if err := ring.lib.ctx.SetAttributeValue(s, private, []*p11.Attribute{attribute(p11.CKA_SENSITIVE, true)}); err != nil {
				t.Fatal(err)
			}
		}},
		{"without-login", func(s session, l string) { pair(t, ring, s, l, attribute(p11.CKA_PRIVATE, false)) }},
		{"not-for-signing", func(s session, l string) { pair(t, ring, s, l, attribute(p11.CKA_SIGN, false)) }},
		{"imported", func(s session, l string) { imported(t, ring, s, l) }},
		{"other-curve", func(s session, l string) { otherCurve(t, ring, s, l) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := keytest.Key(t, c.name)
			vandal(t, ring, func(s session) { c.make(s, c.name) })
			for range 2 {
				err := trySign(t.Context(), ring, id, []byte("x"))
				if !errors.Is(err, ErrKeyRefused) || !errors.Is(err, keymgmt.ErrUnknownKey) || errors.Is(err, keymgmt.ErrUnavailable) {
					t.Fatalf("got %v", err)
				}
			}
			if _, err := ring.Generate(t.Context(), id, keymgmt.Ed25519); !errors.Is(err, ErrExists) {
				t.Fatalf("a key was made beside it: %v", err)
			}
			mustSign(t, ring, good)
		})
	}
	list, err := ring.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range list {
		if (item.Fault == nil) != (item.Key == good) || item.Public.IsZero() != (item.Fault != nil) {
			t.Errorf("listed: %+v", item)
		}
	}
}

// imported puts a private key on the token whose secret we know.
func imported(t testing.TB, ring *Keyring, s session, label string) {
	t.Helper()
	seed := bytes.Repeat([]byte{5}, 32)
	_, err := ring.lib.ctx.CreateObject(s, []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, uint(p11.CKO_PRIVATE_KEY)),
		p11.NewAttribute(p11.CKA_KEY_TYPE, uint(ckkECEdwards)), p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_SENSITIVE, true), p11.NewAttribute(p11.CKA_EXTRACTABLE, false), p11.NewAttribute(p11.CKA_SIGN, true),
		p11.NewAttribute(p11.CKA_LABEL, label), p11.NewAttribute(p11.CKA_EC_PARAMS, paramsOID), p11.NewAttribute(p11.CKA_VALUE, seed)})
	if err != nil {
		t.Fatal(err)
	}
	public, err := ring.lib.ctx.CreateObject(s, []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, uint(p11.CKO_PUBLIC_KEY)),
		p11.NewAttribute(p11.CKA_KEY_TYPE, uint(ckkECEdwards)), p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_PRIVATE, false),
		p11.NewAttribute(p11.CKA_VERIFY, true), p11.NewAttribute(p11.CKA_LABEL, label), p11.NewAttribute(p11.CKA_EC_PARAMS, paramsOID),
		p11.NewAttribute(p11.CKA_EC_POINT, append([]byte{4, 32}, ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)...))})
	if err != nil {
		t.Fatal(err, public)
	}
}

// A key that came from elsewhere is used only where the configuration says so, and even then it must not be able to leave.
func TestImportedOnlyWhereNamed(t *testing.T) {
	known, readable, unnamed := keytest.Key(t, "known"), keytest.Key(t, "readable"), keytest.Key(t, "unnamed")
	cfg, _ := newToken(t)
	cfg.Imported = []keymgmt.KeyID{known, readable}
	ring := open(t, cfg)
	vandal(t, ring, func(s session) {
		imported(t, ring, s, known.String())
		imported(t, ring, s, unnamed.String())
		pair(t, ring, s, readable.String(), p11.NewAttribute(p11.CKA_EXTRACTABLE, true))
	})
	mustSign(t, ring, known)
	for _, id := range []keymgmt.KeyID{readable, unnamed} {
		if err := trySign(t.Context(), ring, id, []byte("x")); !errors.Is(err, ErrKeyRefused) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// otherCurve makes a key of a curve that nothing here signs with.
func otherCurve(t testing.TB, ring *Keyring, s session, label string) {
	t.Helper()
	p384 := []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22}
	_, _, err := ring.lib.ctx.GenerateKeyPair(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_EC_KEY_PAIR_GEN, nil)},
		[]*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_LABEL, label), p11.NewAttribute(p11.CKA_EC_PARAMS, p384)},
		[]*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_PRIVATE, true), p11.NewAttribute(p11.CKA_LABEL, label),
			p11.NewAttribute(p11.CKA_SENSITIVE, true), p11.NewAttribute(p11.CKA_EXTRACTABLE, false), p11.NewAttribute(p11.CKA_SIGN, true)})
	if err != nil {
		t.Fatal(err)
	}
}

// What Generate makes is what the house template says.
func TestGeneratedAttributes(t *testing.T) {
	id := keytest.Key(t, "one")
	ring, _ := newRing(t, id)
	_, err := with(t.Context(), ring, func(e *epoch, s session) (struct{}, error) {
		found, err := ring.find(e, s, id)
		if err != nil {
			return struct{}{}, err
		}
		for attribute, want := range map[uint]byte{p11.CKA_TOKEN: 1, p11.CKA_PRIVATE: 1, p11.CKA_SENSITIVE: 1, p11.CKA_ALWAYS_SENSITIVE: 1,
			p11.CKA_EXTRACTABLE: 0, p11.CKA_NEVER_EXTRACTABLE: 1, p11.CKA_LOCAL: 1, p11.CKA_MODIFIABLE: 0, p11.CKA_SIGN: 1,
			p11.CKA_DECRYPT: 0, p11.CKA_UNWRAP: 0, p11.CKA_DERIVE: 0} {
			values, err := ring.lib.attributes(s, found.private, attribute)
			if err != nil || !bytes.Equal(values[0], []byte{want}) {
				t.Errorf("attribute %#x is %x, want %x, error %v", attribute, values, want, err)
			}
		}
		if _, err := ring.lib.attributes(s, found.private, p11.CKA_VALUE); err == nil {
			t.Error("the private key can be read")
		}
		return struct{}{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A stale handle can address another object. Nothing signed with it may come out, and new handles mend it.
func TestStaleHandleOfAnotherKey(t *testing.T) {
	one, two := keytest.Key(t, "one"), keytest.Key(t, "two")
	ring, _ := newRing(t, one, two)
	mustSign(t, ring, one)
	mustSign(t, ring, two)
	swap := func(e *epoch) {
		e.mu.Lock()
		defer e.mu.Unlock()
		one, two := wanted{one, Signing}, wanted{two, Signing}
		a, b := e.keys[one], e.keys[two]
		a.private, b.private = b.private, a.private
		e.keys[one], e.keys[two] = a, b
	}
	swap(ring.epoch)
	logins := ring.Stats().Logins
	mustSign(t, ring, one)
	mustSign(t, ring, two)
	if got := ring.Stats(); got.Logins != logins+1 || got.Mismatches != 0 {
		t.Fatalf("stats: %+v", got)
	}
}

// A token that signs wrongly with fresh handles, too, loses the key until the signer is started again.
func TestWrongSignaturesFreezeTheKey(t *testing.T) {
	one, two := keytest.Key(t, "one"), keytest.Key(t, "two")
	ring, _ := newRing(t, two)
	vandal(t, ring, func(s session) {
		_, private := pair(t, ring, s, one.String())
		public, other := pair(t, ring, s, "other")
		destroy(t, ring, s, other)
		_ = private
		// The public object of one now is another key's: its own is renamed away.
		own, err := ring.lib.search(s, labelled(p11.CKO_PUBLIC_KEY, one.String()), 2)
		if err != nil || len(own) != 1 {
			t.Fatal(own, err)
		}
		for o, name := range map[object]string{own[0]: "away", public: one.String()} {
			if err := ring.lib.ctx.SetAttributeValue(s, o, []*p11.Attribute{p11.NewAttribute(p11.CKA_LABEL, name)}); err != nil {
				t.Fatal(err)
			}
		}
	})
	made, err := ring.sign(t.Context(), one, []byte("x"))
	if !errors.Is(err, keymgmt.ErrUnavailable) || made != (signature.Verified{}) {
		t.Fatalf("signature %x, error %v", made.Bytes(), err)
	}
	for range 2 {
		if _, err := ring.sign(t.Context(), one, []byte("x")); !errors.Is(err, ErrKeyRefused) {
			t.Fatal(err)
		}
	}
	if ring.Stats().Mismatches != 1 {
		t.Fatalf("stats: %+v", ring.Stats())
	}
	mustSign(t, ring, two)
}

// The same id always means the same key, also when somebody replaced it while we were not looking.
func TestReplacedKeyIsRefused(t *testing.T) {
	one := keytest.Key(t, "one")
	ring, _ := newRing(t)
	vandal(t, ring, func(s session) { pair(t, ring, s, one.String()) })
	mustSign(t, ring, one)
	before, err := ring.Public(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	vandal(t, ring, func(s session) {
		for _, class := range []uint{p11.CKO_PRIVATE_KEY, p11.CKO_PUBLIC_KEY} {
			found, err := ring.lib.search(s, labelled(class, one.String()), 2)
			if err != nil || len(found) != 1 {
				t.Fatal(found, err)
			}
			destroy(t, ring, s, found[0])
		}
		pair(t, ring, s, one.String())
	})
	err = trySign(t.Context(), ring, one, []byte("x"))
	if !errors.Is(err, ErrKeyRefused) {
		t.Fatalf("got %v", err)
	}
	if public, err := ring.Public(t.Context(), one); err == nil && public != before {
		t.Fatal("the id means another key now")
	}
}

// The token goes away, and one of the same name with other keys comes back. No old handle and no new key is used under the
// old id, and the old token is welcome again.
func TestAnotherTokenInItsPlace(t *testing.T) {
	one, two := keytest.Key(t, "one"), keytest.Key(t, "two")
	ring, setup := newRing(t, one, two)
	mustSign(t, ring, one)
	public, err := ring.Public(t.Context(), one)
	must(t, err)
	bringBack := takeAway(t, setup)
	if err := trySign(t.Context(), ring, one, []byte("x")); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Fatal(err)
	}
	// Another machine's token, made by the same people with the same PIN.
	must(t, os.Mkdir(setup.Tokens, 0o700))
	must(t, ring.Close())
	must(t, InitToken(NewToken{Module: setup.Module, Label: label, SOPIN: read(t, setup.SOPINFile), PIN: read(t, setup.PINFile)}))
	other := open(t, ring.cfg)
	other.known = ring.known                                                        // as if it had never been closed: a process has one keyring at a time
	_, err = with(t.Context(), other, func(e *epoch, s session) (struct{}, error) { // Generate would notice the difference
		return struct{}{}, other.writing(e, func(s session) error { return other.lib.generate(s, pairTemplate(one, keymgmt.Ed25519, false)) })
	})
	must(t, err)
	for range 2 {
		if sig, err := other.sign(t.Context(), one, []byte("x")); !errors.Is(err, ErrKeyRefused) || sig != (signature.Verified{}) {
			t.Fatalf("%x, %v", sig.Bytes(), err)
		}
	}
	must(t, os.Rename(setup.Tokens, setup.Tokens+".other"))
	bringBack()
	keytest.Until(t, func(ctx context.Context) error {
		other.trip(other.epoch, errVanished)
		return trySign(ctx, other, one, []byte("x"))
	})
	if again, err := other.Public(t.Context(), one); err != nil || again != public {
		t.Fatalf("%s, %v", again, err)
	}
}

// A lost login makes private objects invisible; that is not the same as an unknown key.
func TestLostLoginIsNotAnUnknownKey(t *testing.T) {
	one, two := keytest.Key(t, "one"), keytest.Key(t, "two")
	ring, _ := newRing(t, one, two)
	mustSign(t, ring, one)
	if err := ring.lib.ctx.CloseAllSessions(ring.epoch.slot); err != nil {
		t.Fatal(err)
	}
	ring.epoch.mu.Lock()
	clear(ring.epoch.keys)
	ring.epoch.mu.Unlock()
	mustSign(t, ring, two)
	if _, err := ring.Public(t.Context(), keytest.Key(t, "three")); !errors.Is(err, keymgmt.ErrUnknownKey) {
		t.Fatal(err)
	}
}

// Every session of the pool is dead at once; no caller notices.
func TestAllSessionsClosedBehindOurBack(t *testing.T) {
	one := keytest.Key(t, "one")
	ring, _ := newRing(t, one)
	for range 3 {
		hold := make(chan struct{})
		var started, done = make(chan struct{}, 8), make(chan error, 8)
		for range cap(started) { // fill the pool
			go func() {
				_, err := with(context.Background(), ring, func(*epoch, session) (int, error) {
					started <- struct{}{}
					<-hold
					return 0, nil
				})
				done <- err
			}()
		}
		for range cap(started) {
			<-started
		}
		close(hold)
		for range cap(done) {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if n := ring.Stats().Idle; n != cap(started) {
			t.Fatalf("%d idle sessions", n)
		}
		if err := ring.lib.ctx.CloseAllSessions(ring.epoch.slot); err != nil {
			t.Fatal(err)
		}
		for range cap(started) {
			mustSign(t, ring, one)
		}
	}
}

// The session dies in the middle of a signature.
func TestSessionClosedBetweenInitAndSign(t *testing.T) {
	one := keytest.Key(t, "one")
	ring, _ := newRing(t, one)
	mustSign(t, ring, one)
	closed := false
	slot := ring.epoch.slot
	faults(ring, func(call string) error {
		if call == "C_Sign" && !closed {
			closed = true
			return ring.lib.ctx.CloseAllSessions(slot)
		}
		return nil
	})
	mustSign(t, ring, one)
	if !closed || ring.Stats().Logins != 2 {
		t.Fatalf("closed %t, stats %+v", closed, ring.Stats())
	}
}
