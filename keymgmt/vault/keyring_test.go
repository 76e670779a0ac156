package vault

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/policy"
)

// The contract of keyrings, with Vault sealed and with Vault gone.
func TestConformance(t *testing.T) {
	r := newRig(t)
	breaks := map[string]func(t *testing.T) func(){
		"sealed": func(t *testing.T) func() {
			r.server.Seal(t)
			return func() { r.server.Unseal(t) }
		},
		"restarted": func(t *testing.T) func() {
			r.server.Stop(t)
			return func() {
				r.server.Start(t)
				r.server.Unseal(t)
			}
		},
	}
	for name, away := range breaks {
		t.Run(name, func(t *testing.T) {
			keytest.TestKeyring(t, func(t *testing.T, ids ...keymgmt.KeyID) keytest.KeyringFixture {
				var keys []Key
				for _, id := range ids {
					keys = append(keys, Key{ID: id, Algorithm: keymgmt.Ed25519, Version: 1})
					r.root(t, "transit/keys/"+nameOf(id, ""), map[string]any{"type": "ed25519"})
				}
				ring := r.ring(t, r.client(t, "signer"), keys...)
				return keytest.KeyringFixture{Keyring: ring, Break: func() func() { return away(t) }}
			})
		})
	}
}

// Every algorithm, in the one form of its signatures, several messages at once, and only what fits.
func TestAlgorithms(t *testing.T) {
	r := newRig(t)
	keys := []Key{ed25519Key(t, "anchor/usd"), p256Key(t, "web/jwt"), secpKey(t, "coins/btc")}
	ring := r.made(t, keys...)
	must(t, ring.Check(t.Context()))
	for _, k := range keys {
		t.Run(k.Algorithm.String(), func(t *testing.T) {
			public, err := ring.Public(t.Context(), k.ID)
			must(t, err)
			messages := [][]byte{digestOf(1), digestOf(2), digestOf(3)}
			signatures, err := ring.sign(t.Context(), k.ID, messages)
			must(t, err)
			for i, m := range messages {
				if !signatures[i].Of(public, m) {
					t.Errorf("signature %d does not verify", i)
				}
			}
			_, err = ring.sign(t.Context(), k.ID, [][]byte{[]byte("not a digest")})
			if want := k.Algorithm != keymgmt.Ed25519; errors.Is(err, keymgmt.ErrMalformed) != want {
				t.Errorf("a message that is no digest: %v", err)
			}
			if _, err := ring.Seal(t.Context(), k.ID, []byte("x"), nil); !errors.Is(err, keymgmt.ErrUnknownKey) {
				t.Errorf("a signing key seals: %v", err)
			}
		})
	}
	if _, err := ring.Public(t.Context(), sealer(t)); !errors.Is(err, keymgmt.ErrUnknownKey) {
		t.Errorf("a sealing key has a public key: %v", err)
	}
	for id, want := range map[string]keymgmt.Home{"anchor/usd": keymgmt.Vault, "web/jwt": keymgmt.Vault, "coins/btc": keymgmt.SoftwareSealed, "no/key": 0} {
		if got := ring.Home(keytest.Key(t, id)); got != want {
			t.Errorf("%s: home %v, want %v", id, got, want)
		}
	}
	if got := ring.Home(sealer(t)); got != 0 {
		t.Errorf("home %v of a key that signs nothing", got)
	}
}

// The suite's approvals are for text, so a software key is tried with one that it cannot sign: the approval is spent.
func TestSoftwareKeySpendsTheApproval(t *testing.T) {
	r := newRig(t)
	key := secpKey(t, "coins/btc")
	ring := r.made(t, key)
	approval, _, err := keytest.NewApprover(t, key.ID).Approve(key.ID, 1)
	must(t, err)
	if _, err := ring.Sign(t.Context(), approval); !errors.Is(err, keymgmt.ErrMalformed) {
		t.Fatalf("text for an ECDSA key: %v", err)
	}
	if _, err := ring.Sign(t.Context(), approval); !errors.Is(err, policy.ErrSpent) {
		t.Fatalf("again: %v", err)
	}
}

// A key that could leave Vault, vanish, or is not what it should be, is refused at start; also when it becomes so later.
func TestRefusedKeys(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]struct {
		made, changed map[string]any
		why           string
	}{
		"exportable":        {map[string]any{"type": "ed25519", "exportable": true}, nil, "exportable"},
		"plaintext-backup":  {map[string]any{"type": "ed25519", "allow_plaintext_backup": true}, nil, "plaintext backup"},
		"deletable":         {map[string]any{"type": "ed25519"}, map[string]any{"deletion_allowed": true}, "deleted"},
		"derived":           {map[string]any{"type": "ed25519", "derived": true}, nil, "deriving"},
		"other-type":        {map[string]any{"type": "ecdsa-p256"}, nil, "type"},
		"exportable-later":  {map[string]any{"type": "ed25519"}, map[string]any{"exportable": true}, "exportable"},
		"exportable-sealer": {map[string]any{"type": "aes256-gcm96", "exportable": true}, nil, "exportable"},
	} {
		t.Run(name, func(t *testing.T) {
			r.root(t, "transit/keys/"+name, c.made)
			key := ed25519Key(t, name)
			c0 := r.client(t, "signer")
			ring := r.ring(t, c0, key)
			refused := func() error { _, err := ring.Public(t.Context(), key.ID); return err }
			if strings.HasSuffix(name, "sealer") {
				var err error
				ring, err = NewKeyring(c0, KeyringConfig{Transit: "transit", Sealing: []SealingKey{{ID: key.ID, Version: 1}}})
				must(t, err)
				refused = func() error { _, err := ring.Seal(t.Context(), key.ID, []byte("x"), nil); return err }
			}
			if c.changed != nil {
				must(t, refused())
				r.root(t, "transit/keys/"+name+"/config", c.changed)
				ring.age(recheck)
			}
			if err := refused(); !errors.Is(err, ErrKeyRefused) || !errors.Is(err, keymgmt.ErrUnknownKey) || !strings.Contains(err.Error(), c.why) {
				t.Fatalf("not refused: %v", err)
			}
			if err := ring.Check(t.Context()); !errors.Is(err, ErrKeyRefused) {
				t.Fatalf("check: %v", err)
			}
		})
	}
}

// A backup was taken and the key is no secret of Vault's any more, even if nobody could take another.
func TestBackedUpKeyIsRefused(t *testing.T) {
	r := newRig(t)
	r.root(t, "transit/keys/copied", map[string]any{"type": "ed25519", "exportable": true, "allow_plaintext_backup": true})
	r.server.Root(t, "GET", "transit/backup/copied", nil)
	var got transitKey
	must(t, r.client(t, "signer").do(t.Context(), call{method: "GET", path: "transit/keys/copied"}, into(&got)))
	no := false
	got.Exportable, got.PlaintextBackup = &no, &no
	p := ed25519Key(t, "copied").pin()
	if err := got.usable(p); !errors.Is(err, ErrKeyRefused) || !strings.Contains(err.Error(), "elsewhere") {
		t.Fatalf("a key that was backed up: %v", err)
	}
	p.imported = true
	must(t, got.usable(p))
	got.Deletable = nil
	if err := got.usable(p); !errors.Is(err, ErrKeyRefused) {
		t.Fatalf("a server that does not say whether the key may be deleted: %v", err)
	}
}

// age lets time pass for what is remembered.
func (k *Keyring) age(by time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, s := range k.seen {
		s.checked = s.checked.Add(-by)
		k.seen[id] = s
	}
}

// Somebody rotates the key: the pinned version goes on, and it is said that there is a newer one.
func TestPinnedVersion(t *testing.T) {
	r := newRig(t)
	key := ed25519Key(t, "anchor/usd")
	ring := r.made(t, key)
	before, err := ring.Public(t.Context(), key.ID)
	must(t, err)
	r.root(t, "transit/keys/anchor.usd/rotate", nil)
	ring.age(recheck)
	sig, err := ring.sign(t.Context(), key.ID, [][]byte{[]byte("message")})
	must(t, err)
	after, err := ring.Public(t.Context(), key.ID)
	must(t, err)
	if before != after || !sig[0].Of(before, []byte("message")) {
		t.Fatal("the key changed")
	}
	status := ring.Status(t.Context())
	if last := status[len(status)-1]; last.Version != 1 || last.Latest != 2 || last.Err != nil || last.Public != before {
		t.Fatalf("status: %+v", last)
	}

	newer := key
	newer.Version, newer.Public = 2, before
	c := r.client(t, "signer")
	if _, err := r.ring(t, c, newer).Public(t.Context(), key.ID); !errors.Is(err, ErrKeyRefused) {
		t.Fatalf("version 2 with the public key of version 1: %v", err)
	}
	newer.Public = keymgmt.PublicKey{}
	second, err := r.ring(t, c, newer).Public(t.Context(), key.ID)
	must(t, err)
	if second == before {
		t.Fatal("two versions are one key")
	}
	newer.Version = 3
	if _, err := r.ring(t, c, newer).Public(t.Context(), key.ID); !errors.Is(err, ErrKeyRefused) {
		t.Fatalf("a version that is not there: %v", err)
	}

	// Now the old version must not sign any more: found at signing, and at the next look.
	r.root(t, "transit/keys/anchor.usd/config", map[string]any{"min_encryption_version": 2})
	for range 2 {
		if _, err := ring.sign(t.Context(), key.ID, [][]byte{[]byte("message")}); !errors.Is(err, ErrKeyRefused) {
			t.Fatalf("a version that was retired: %v", err)
		}
	}
}

// A key is deleted behind our back and another one gets its name: the id does not silently change key.
func TestReplacedKeyIsRefused(t *testing.T) {
	r := newRig(t)
	key := ed25519Key(t, "anchor/usd")
	ring := r.made(t, key)
	_, err := ring.Public(t.Context(), key.ID)
	must(t, err)
	r.root(t, "transit/keys/anchor.usd/config", map[string]any{"deletion_allowed": true})
	r.server.Root(t, "DELETE", "transit/keys/anchor.usd", nil)
	if _, err := ring.sign(t.Context(), key.ID, [][]byte{[]byte("m")}); !errors.Is(err, keymgmt.ErrUnknownKey) {
		t.Fatalf("a key that is gone: %v", err)
	}
	r.root(t, "transit/keys/anchor.usd", map[string]any{"type": "ed25519"})
	if _, err := ring.sign(t.Context(), key.ID, [][]byte{[]byte("m")}); !errors.Is(err, ErrKeyRefused) {
		t.Fatalf("another key under the same name: %v", err)
	}
}

// What the server says is a signature is not believed.
func TestWrongSignatureFreezes(t *testing.T) {
	r := newRig(t)
	key := ed25519Key(t, "anchor/usd")
	ring := r.made(t, key)
	_, err := ring.Public(t.Context(), key.ID)
	must(t, err)
	ring.mu.Lock()
	other := ring.seen[key.ID]
	raw := other.public.Bytes()
	raw[0] ^= 1
	other.public, err = keymgmt.NewPublicKey(keymgmt.Ed25519, raw)
	ring.seen[key.ID] = other
	ring.mu.Unlock()
	must(t, err)
	for range 2 {
		if sig, err := ring.sign(t.Context(), key.ID, [][]byte{[]byte("m")}); !errors.Is(err, ErrKeyRefused) || sig != nil {
			t.Fatalf("%d signatures, error %v", len(sig), err)
		}
	}
	if _, err := ring.Public(t.Context(), key.ID); !errors.Is(err, ErrKeyRefused) {
		t.Fatalf("not frozen: %v", err)
	}
}

func TestGenerate(t *testing.T) {
	r := newRig(t)
	one, two, three := ed25519Key(t, "one"), secpKey(t, "two"), p256Key(t, "three")
	ceremony := r.ring(t, r.client(t, "ceremony"), one, two, three)
	if _, err := ceremony.Generate(t.Context(), two.ID); !errors.Is(err, keymgmt.ErrUnknownKey) {
		t.Fatalf("without a sealer: %v", err)
	}
	must(t, ceremony.GenerateSealing(t.Context(), sealer(t)))
	if err := ceremony.GenerateSealing(t.Context(), sealer(t)); !errors.Is(err, ErrExists) {
		t.Fatalf("the sealer again: %v", err)
	}
	for _, k := range []Key{one, two, three} {
		public, err := ceremony.Generate(t.Context(), k.ID)
		must(t, err)
		if _, err := ceremony.Generate(t.Context(), k.ID); !errors.Is(err, ErrExists) {
			t.Errorf("%s again: %v", k.ID, err)
		}
		if again, err := ceremony.Public(t.Context(), k.ID); err != nil || again != public {
			t.Errorf("%s changed: %v", k.ID, err)
		}
	}
	if _, err := ceremony.Generate(t.Context(), sealer(t)); !errors.Is(err, keymgmt.ErrUnknownKey) {
		t.Errorf("a pair for sealing: %v", err)
	}
	signer := r.ring(t, r.client(t, "signer"), ed25519Key(t, "four"))
	if _, err := signer.Generate(t.Context(), keytest.Key(t, "four")); !errors.Is(err, keymgmt.ErrUnavailable) || !errors.Is(err, ErrForbidden) {
		t.Errorf("the signer makes keys: %v", err)
	}
}
