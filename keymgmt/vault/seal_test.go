package vault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
)

func TestSealAndOpen(t *testing.T) {
	r := newRig(t)
	ring := r.made(t)
	var items, sealed []Item
	for i := range MaxBatch {
		items = append(items, Item{Data: fmt.Appendf(nil, "record %d", i), AAD: fmt.Appendf(nil, "row %d", i)})
	}
	texts, err := ring.SealAll(t.Context(), sealer(t), items)
	must(t, err)
	for i, text := range texts {
		sealed = append(sealed, Item{Data: text, AAD: items[i].AAD})
	}
	opened, err := ring.OpenAll(t.Context(), sealer(t), sealed)
	must(t, err)
	for i := range items {
		if !bytes.Equal(opened[i], items[i].Data) {
			t.Fatalf("item %d came back as %q", i, opened[i])
		}
	}

	// One text in another's place spoils the batch, and nothing comes out.
	sealed[7].Data = texts[8]
	if got, err := ring.OpenAll(t.Context(), sealer(t), sealed); !errors.Is(err, ErrNotSealed) || got != nil {
		t.Fatalf("a swapped text: %d texts, %v", len(got), err)
	}

	// Rotated: what was sealed before still opens, and the pinned version goes on sealing.
	r.root(t, "transit/keys/kek.keys/rotate", nil)
	ring.age(recheck)
	text, err := ring.Seal(t.Context(), sealer(t), []byte("x"), nil)
	must(t, err)
	if !bytes.HasPrefix(text, []byte("vault:v1:")) {
		t.Fatalf("sealed by another version: %s", text)
	}
	newer, err := NewKeyring(ring.client, KeyringConfig{Transit: "transit", Sealing: []SealingKey{{ID: sealer(t), Version: 2}}})
	must(t, err)
	if got, err := newer.Open(t.Context(), sealer(t), texts[0], items[0].AAD); err != nil || !bytes.Equal(got, items[0].Data) {
		t.Fatalf("version 2 opens what version 1 sealed: %q, %v", got, err)
	}
	if text, err := newer.Seal(t.Context(), sealer(t), []byte("x"), nil); err != nil || !bytes.HasPrefix(text, []byte("vault:v2:")) {
		t.Fatalf("version 2 seals: %s, %v", text, err)
	}
}

func TestSealRefuses(t *testing.T) {
	r := newRig(t)
	ring := r.made(t)
	good, err := ring.Seal(t.Context(), sealer(t), []byte("text"), []byte("place"))
	must(t, err)
	for name, items := range map[string][]Item{
		"nothing":     nil,
		"empty":       {{}},
		"too many":    make([]Item, MaxBatch+1),
		"too long":    {{Data: make([]byte, MaxPlaintext+1)}},
		"too bound":   {{Data: []byte("x"), AAD: make([]byte, MaxAAD+1)}},
		"not ours":    {{Data: []byte("text")}},
		"other place": {{Data: good, AAD: []byte("elsewhere")}},
		"no place":    {{Data: good}},
		"changed":     {{Data: flip(good), AAD: []byte("place")}},
		"version 0":   {{Data: bytes.Replace(good, []byte("v1"), []byte("v0"), 1), AAD: []byte("place")}},
		"version 2":   {{Data: bytes.Replace(good, []byte("v1"), []byte("v2"), 1), AAD: []byte("place")}},
	} {
		if got, err := ring.OpenAll(t.Context(), sealer(t), items); !errors.Is(err, ErrNotSealed) && !errors.Is(err, keymgmt.ErrMalformed) || got != nil {
			t.Errorf("%s: opened %q, %v", name, got, err)
		}
		if name == "nothing" || name == "empty" || strings.HasPrefix(name, "too") {
			if got, err := ring.SealAll(t.Context(), sealer(t), items); !errors.Is(err, keymgmt.ErrMalformed) || got != nil {
				t.Errorf("%s: sealed %q, %v", name, got, err)
			}
		}
	}
	if got, err := ring.Open(t.Context(), sealer(t), good, []byte("place")); err != nil || string(got) != "text" {
		t.Fatalf("opened %q, %v", got, err)
	}
	largest := Item{Data: bytes.Repeat([]byte{0xff}, MaxPlaintext), AAD: bytes.Repeat([]byte{1}, MaxAAD)}
	text, err := ring.Seal(t.Context(), sealer(t), largest.Data, largest.AAD)
	must(t, err)
	if got, err := ring.Open(t.Context(), sealer(t), text, largest.AAD); err != nil || !bytes.Equal(got, largest.Data) {
		t.Fatalf("the largest text: %v", err)
	}
}

// flip changes one bit of what is sealed and leaves its form.
func flip(text []byte) []byte {
	changed := bytes.Clone(text)
	at := len("vault:v1:") + 4
	if changed[at] == 'A' {
		changed[at] = 'B'
	} else {
		changed[at] = 'A'
	}
	return changed
}

// files makes a keyring whose sealed keys are files, which a test can change as a thief would.
func files(t *testing.T, r *rig, keys ...Key) (ring func() *Keyring, dir string) {
	t.Helper()
	dir = t.TempDir()
	c := r.client(t, "ceremony")
	ring = func() *Keyring {
		k, err := NewKeyring(c, KeyringConfig{Transit: "transit", Keys: keys, Sealer: sealer(t), Store: DirStore(dir),
			Sealing: []SealingKey{{ID: sealer(t), Version: 1}}})
		must(t, err)
		return k
	}
	must(t, ring().GenerateSealing(t.Context(), sealer(t)))
	for _, k := range keys {
		_, err := ring().Generate(t.Context(), k.ID)
		must(t, err)
	}
	return ring, dir
}

// Whoever can write where sealed keys are kept cannot make one key sign for another, nor put in one of his own.
func TestSealedKeyCannotBeSwapped(t *testing.T) {
	r := newRig(t)
	one, two := secpKey(t, "coins/one"), secpKey(t, "coins/two")
	ring, dir := files(t, r, one, two)
	sign := func() error {
		_, err := ring().sign(t.Context(), one.ID, [][]byte{digestOf(1)})
		return err
	}
	must(t, sign())
	path := filepath.Join(dir, "coins.one.json")
	original, err := os.ReadFile(path)
	must(t, err)
	other, err := os.ReadFile(filepath.Join(dir, "coins.two.json"))
	must(t, err)
	var mine, theirs sealedKey
	must(t, json.Unmarshal(original, &mine))
	must(t, json.Unmarshal(other, &theirs))

	// A thief who may encrypt with the sealer makes the best forgery there is: his key under our id and public key.
	thief, err := secp256k1.GeneratePrivateKey()
	must(t, err)
	forged, err := ring().Seal(t.Context(), sealer(t), thief.Serialize(), bound(one.ID, mine.Public))
	must(t, err)
	short, err := ring().Seal(t.Context(), sealer(t), []byte{1}, bound(one.ID, mine.Public))
	must(t, err)
	zero, err := ring().Seal(t.Context(), sealer(t), make([]byte, 32), bound(one.ID, mine.Public))
	must(t, err)

	edwards, err := keymgmt.NewPublicKey(keymgmt.Ed25519, mine.Public.Bytes()[1:])
	must(t, err)
	with := func(change func(*sealedKey)) []byte {
		k := mine
		change(&k)
		text, err := json.Marshal(k)
		must(t, err)
		return text
	}
	for name, text := range map[string][]byte{
		"the other file":         other,
		"the other sealed text":  with(func(k *sealedKey) { k.Sealed = theirs.Sealed }),
		"all but the id":         with(func(k *sealedKey) { k.Sealed, k.Public = theirs.Sealed, theirs.Public }),
		"the other public key":   with(func(k *sealedKey) { k.Public = theirs.Public }),
		"a changed sealed text":  with(func(k *sealedKey) { k.Sealed = string(flip([]byte(k.Sealed))) }),
		"a forged private key":   with(func(k *sealedKey) { k.Sealed = string(forged) }),
		"a short private key":    with(func(k *sealedKey) { k.Sealed = string(short) }),
		"a private key of zero":  with(func(k *sealedKey) { k.Sealed = string(zero) }),
		"another format":         with(func(k *sealedKey) { k.Format = "diamante-sealed-key/2" }),
		"an unknown field":       bytes.Replace(original, []byte("{"), []byte(`{"more":1,`), 1),
		"something behind":       append(bytes.Clone(original), " {}"...),
		"nothing that is JSON":   []byte("sealed"),
		"an Ed25519 public key":  with(func(k *sealedKey) { k.Public = edwards }),
		"more than a key can be": append(bytes.Clone(original), bytes.Repeat([]byte{' '}, maxSealedKey)...),
	} {
		must(t, os.WriteFile(path, text, 0o600))
		err := sign()
		if !errors.Is(err, ErrKeyRefused) || !errors.Is(err, keymgmt.ErrUnknownKey) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(name, "private key") && !strings.Contains(err.Error(), "another private key") {
			t.Errorf("%s was used: %v", name, err)
		}
	}
	must(t, os.WriteFile(path, other, 0o600))
	if _, err := ring().Public(t.Context(), one.ID); !errors.Is(err, ErrKeyRefused) {
		t.Errorf("the public key of the other file: %v", err)
	}
	must(t, os.WriteFile(path, original, 0o600))
	must(t, sign())
	must(t, os.Remove(path))
	if err := sign(); !errors.Is(err, keymgmt.ErrUnknownKey) || errors.Is(err, ErrKeyRefused) {
		t.Errorf("no file: %v", err)
	}
}

// A whole key of the thief's, rightly sealed under our id: only the configured public key tells it from ours.
func TestSealedKeyIsPinned(t *testing.T) {
	r := newRig(t)
	one := secpKey(t, "coins/one")
	ring, dir := files(t, r, one)
	held := ring()
	public, err := held.Public(t.Context(), one.ID)
	must(t, err)
	must(t, os.Remove(filepath.Join(dir, "coins.one.json")))
	_, err = ring().Generate(t.Context(), one.ID)
	must(t, err)
	held.age(recheck)
	if _, err := held.sign(t.Context(), one.ID, [][]byte{digestOf(1)}); !errors.Is(err, ErrKeyRefused) {
		t.Fatalf("the running keyring took another key: %v", err)
	}
	pinned := one
	pinned.Public = public
	started, err := NewKeyring(held.client, KeyringConfig{Transit: "transit", Keys: []Key{pinned}, Sealer: sealer(t),
		Store: DirStore(dir), Sealing: []SealingKey{{ID: sealer(t), Version: 1}}})
	must(t, err)
	if err := started.Check(t.Context()); !errors.Is(err, ErrKeyRefused) {
		t.Fatalf("a keyring that knows the public key: %v", err)
	}
	must(t, os.Remove(filepath.Join(dir, "coins.one.json")))
	if _, err := started.Generate(t.Context(), one.ID); !errors.Is(err, ErrKeyRefused) {
		t.Fatalf("a key that was known is made again: %v", err)
	}
}

func TestStores(t *testing.T) {
	r := newRig(t)
	c := r.client(t, "signer")
	kv, err := NewKVStore(c, "kv", "sealed")
	must(t, err)
	for name, store := range map[string]Store{"kv": kv, "dir": DirStore(t.TempDir())} {
		t.Run(name, func(t *testing.T) {
			id := keytest.Key(t, "coins/one")
			if _, err := store.Load(t.Context(), id); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("nothing there: %v", err)
			}
			must(t, store.Save(t.Context(), id, []byte("first")))
			if err := store.Save(t.Context(), id, []byte("second")); !errors.Is(err, fs.ErrExist) {
				t.Fatalf("saved twice: %v", err)
			}
			if text, err := store.Load(t.Context(), id); err != nil || string(text) != "first" {
				t.Fatalf("loaded %q, %v", text, err)
			}
		})
	}
	if _, err := NewKVStore(c, "kv", "../sys"); err == nil {
		t.Error("a prefix that leaves the engine")
	}
	gone := DirStore(t.TempDir() + "/none")
	if err := gone.Save(t.Context(), keytest.Key(t, "a"), nil); err == nil || errors.Is(err, fs.ErrExist) {
		t.Errorf("no folder: %v", err)
	}
}

// The private key is not left in memory that is ours.
func TestUnsealedKeyIsWiped(t *testing.T) {
	r := newRig(t)
	one := secpKey(t, "coins/one")
	ring := r.made(t, one)
	p, s, err := ring.signing(t.Context(), one.ID)
	must(t, err)
	opened, err := ring.OpenAll(t.Context(), sealer(t), []Item{{[]byte(s.sealed), bound(one.ID, s.public)}})
	must(t, err)
	if len(opened[0]) != 32 {
		t.Fatalf("a private key of %d bytes", len(opened[0]))
	}
	wipe(opened)
	if !bytes.Equal(opened[0], make([]byte, 32)) {
		t.Fatal("not wiped")
	}
	sigs, err := ring.signSealed(t.Context(), p, s, [][]byte{digestOf(1)})
	must(t, err)
	if !sigs[0].Of(s.public, digestOf(1)) {
		t.Fatal("does not verify")
	}
	body := &wipedBody{text: []byte("secret")}
	held := body.text
	must(t, body.Close())
	if !bytes.Equal(held, make([]byte, len("secret"))) {
		t.Fatal("a request's body is not wiped")
	}
}
