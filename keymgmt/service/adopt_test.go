package service_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/node/protocol"
)

// decider decides on a list alone.
type decider struct {
	id  protocol.AccountID
	key ed25519.PrivateKey
}

func newDecider(t *testing.T) decider {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := protocol.AccountIDFromKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return decider{id, private}
}

func (d decider) sign(t *testing.T, version uint64, entries ...protocol.AccountID) policy.Signed {
	t.Helper()
	l := policy.List{Format: policy.ListFormat, Name: "suppliers", Version: version, Network: passphrase}
	for _, e := range entries {
		l.Entries = append(l.Entries, e.String())
	}
	file, err := policy.MarshalList(l)
	if err != nil {
		t.Fatal(err)
	}
	sigs, err := policy.SignList(file, d.key)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Signed{File: file, Signatures: sigs}
}

// withList opens a signer whose issuing key pays to those on a list only.
func (r *rig) withList(version uint64, d decider, list policy.Signed) (*service.Service, error) {
	r.t.Helper()
	f, err := r.setup.File()
	if err != nil {
		r.t.Fatal(err)
	}
	f.Version = version
	f.Lists = []policy.ListRule{{Name: "suppliers", Officers: []protocol.AccountID{d.id}, Quorum: 1}}
	key(&f, keyIssuing).Transaction.Payments[0].Destinations = policy.Listed("suppliers")
	file, err := policy.Marshal(f)
	if err != nil {
		r.t.Fatal(err)
	}
	sig, err := policy.Sign(file, r.officer)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := r.config()
	if cfg.Policy, err = policy.Load(file, sig, policy.Alone(r.officer.Public().(ed25519.PublicKey)), list); err != nil {
		return nil, err
	}
	return service.Open(r.t.Context(), cfg)
}

// TestListsNeverGoBack: an older list, or another one of the same version, is refused at start, under any policy; a running
// signer with the older one stops signing.
func TestListsNeverGoBack(t *testing.T) {
	r, d := newRig(t), newDecider(t)
	friend, stranger := r.account(keyDistribution), newDecider(t).id
	first, second := d.sign(t, 1, friend), d.sign(t, 2, friend, stranger)
	old, err := r.withList(1, d, first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.For(gateway).Sign(t.Context(), r.pay("tx/1", "1", stranger)); !errors.Is(err, keymgmt.ErrDenied) {
		t.Errorf("to a stranger: %v", err)
	}
	if _, err := old.For(gateway).Sign(t.Context(), r.pay("tx/2", "1", friend)); err != nil {
		t.Error(err)
	}
	fresh, err := r.withList(1, d, second) // the same policy
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.For(gateway).Sign(t.Context(), r.pay("tx/3", "1", stranger)); err != nil {
		t.Error(err)
	}
	if _, err := old.For(gateway).Sign(t.Context(), r.pay("tx/4", "1", friend)); !errors.Is(err, keymgmt.ErrUnavailable) || !strings.Contains(err.Error(), "list suppliers version 2 is in force") {
		t.Errorf("by the older list: %v", err)
	}
	for name, tt := range map[string]struct {
		version uint64
		list    policy.Signed
		want    error
	}{
		"rolled back":                      {1, first, service.ErrRollback},
		"rolled back under a newer policy": {2, first, service.ErrRollback},
		"swapped":                          {1, d.sign(t, 2, stranger), service.ErrRollback},
		"of other people":                  {1, newDecider(t).sign(t, 3, stranger), policy.ErrSignature},
		"as it is":                         {1, second, nil},
	} {
		if _, err := r.withList(tt.version, d, tt.list); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	var n int
	if r.query(&n, `SELECT count(*) FROM audit.record WHERE action = 'list.adopted'`); n != 2 {
		t.Errorf("%d records", n)
	}
	if r.query(&n, `SELECT count(*) FROM signer.policy`); n != 1 {
		t.Errorf("%d policies: one was adopted with a list that was not", n)
	}
}

// TestKeysNeverChangeSilently: what an id stands for, and where, is in the journal, and moves when the policy says from where.
func TestKeysNeverChangeSilently(t *testing.T) {
	r := newRig(t)
	r.open()
	before, err := r.soft.Public(t.Context(), keyToken)
	if err != nil {
		t.Fatal(err)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r.soft.Put(keyToken, private)
	r.setup.Publics.Token = r.account(keyToken)
	open := func(version uint64, from *policy.Move) error {
		cfg := r.config()
		cfg.Policy = r.policy(func(f *policy.File) { f.Version, key(f, keyToken).MovedFrom = version, from })
		_, err := service.Open(t.Context(), cfg)
		return err
	}
	was := policy.PublicKey{PublicKey: before}
	for name, from := range map[string]*policy.Move{"nothing said": nil, "another key": {Public: policy.Ledger(r.account(keyRoot)), Home: keymgmt.Hardware},
		"another home": {Public: was, Home: keymgmt.Vault}} {
		if err := open(2, from); !errors.Is(err, service.ErrMoved) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := open(2, &policy.Move{Public: was, Home: keymgmt.Hardware}); err != nil {
		t.Fatal(err)
	}
	if err := open(3, nil); err != nil {
		t.Errorf("the next version: %v", err)
	}
	var data string
	if r.query(&data, `SELECT convert_from(body, 'UTF8') FROM audit.record WHERE action = 'key.moved'`); !strings.Contains(data, was.PublicKey.String()) {
		t.Errorf("record %s", data)
	}
	if err := r.exec(`DELETE FROM signer.key`); err == nil {
		t.Error("what keys were can be forgotten")
	}
}

// elsewhere is a keyring that reports another home for one key.
type elsewhere struct {
	service.Keyring
	key  keymgmt.KeyID
	home keymgmt.Home
}

func (e elsewhere) Home(id keymgmt.KeyID) keymgmt.Home {
	if id == e.key {
		return e.home
	}
	return e.Keyring.Home(id)
}

// TestKeysAreAtHome: a key that is elsewhere than the policy says is refused; moving it is said.
func TestKeysAreAtHome(t *testing.T) {
	r := newRig(t)
	open := func(home keymgmt.Home, change func(k *policy.Key)) error {
		cfg := r.config()
		cfg.Keyring = elsewhere{r.keyring, keyToken, home}
		cfg.Policy = r.policy(func(f *policy.File) { change(key(f, keyToken)); f.Version++ })
		_, err := service.Open(t.Context(), cfg)
		return err
	}
	r.open()
	for _, home := range []keymgmt.Home{0, keymgmt.Vault, keymgmt.SoftwareSealed} {
		if err := open(home, func(*policy.Key) {}); !errors.Is(err, service.ErrOtherHome) {
			t.Errorf("%q without a word: %v", home, err)
		}
	}
	if err := open(keymgmt.SoftwareSealed, func(k *policy.Key) { k.Home = keymgmt.Vault }); !errors.Is(err, service.ErrOtherHome) {
		t.Errorf("less safe than the policy says: %v", err)
	}
	if err := open(keymgmt.Vault, func(k *policy.Key) { k.Home = keymgmt.Vault }); !errors.Is(err, service.ErrMoved) {
		t.Errorf("moved without a word: %v", err)
	}
	if err := open(keymgmt.Vault, func(k *policy.Key) {
		k.Home, k.MovedFrom = keymgmt.Vault, &policy.Move{Public: k.Public, Home: keymgmt.Hardware}
	}); err != nil {
		t.Errorf("moved: %v", err)
	}
}
