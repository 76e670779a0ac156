package keytest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/signature"
)

// Keyring is what the suite tests: service.Keyring, written out here so that the service's own tests can use this
// package.
type Keyring interface {
	Public(ctx context.Context, key keymgmt.KeyID) (keymgmt.PublicKey, error)
	Sign(ctx context.Context, a *policy.Approval) ([]signature.Verified, error)
	Home(key keymgmt.KeyID) keymgmt.Home
	Ping(ctx context.Context) error
}

// KeyringFixture is a keyring under test.
type KeyringFixture struct {
	Keyring Keyring
	// Break takes the keys' home away; mend brings it back. Nil leaves the tests of it out.
	Break func() (mend func())
}

// TestKeyring holds the keyring that open makes to the contract of service.Keyring. open is called once for each part,
// and makes a keyring that holds exactly the keys named.
func TestKeyring(t *testing.T, open func(t *testing.T, keys ...keymgmt.KeyID) KeyringFixture) {
	one, two, missing := Key(t, "keytest/one"), Key(t, "keytest/two"), Key(t, "keytest/missing")
	s := keyringSuite{one, two, missing, NewApprover(t, one, two, missing)}
	for _, part := range []struct {
		name string
		run  func(*testing.T, KeyringFixture)
	}{
		{"signatures verify", s.signs},
		{"says where its keys are", s.home},
		{"an approval is spent once", s.once},
		{"no approval, no signature", s.none},
		{"unknown key", s.unknown},
		{"cancelled context", s.cancelled},
		{"concurrent use", s.concurrent},
		{"unavailable, then back", s.away},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, open(t, one, two)) })
	}
}

// Key parses a key id.
func Key(t testing.TB, id string) keymgmt.KeyID {
	t.Helper()
	key, err := keymgmt.ParseKeyID(id)
	must(t, err)
	return key
}

type keyringSuite struct {
	one, two, missing keymgmt.KeyID
	approver          *Approver
}

// home wants one of the homes that a policy can name.
func (s keyringSuite) home(t *testing.T, f KeyringFixture) {
	for _, key := range []keymgmt.KeyID{s.one, s.two} {
		if home := f.Keyring.Home(key); home.String() == "" {
			t.Errorf("%s is in no home", key)
		}
	}
}

// sign signs the n-th message and checks the signature.
func (s keyringSuite) sign(ctx context.Context, k Keyring, key keymgmt.KeyID, n int) error {
	approval, message, err := s.approver.Approve(key, n)
	if err != nil {
		return err
	}
	public, err := k.Public(ctx, key)
	if err != nil {
		return err
	}
	sigs, err := k.Sign(ctx, approval)
	if err != nil {
		return err
	}
	if len(sigs) != 1 || !sigs[0].Of(public, message) || !signature.Verify(public, message, sigs[0].Bytes()) {
		return errors.New("the signature does not verify")
	}
	return nil
}

func (s keyringSuite) signs(t *testing.T, f KeyringFixture) {
	ctx := limited(t)
	must(t, f.Keyring.Ping(ctx))
	for n := 1; n <= 3; n++ {
		must(t, s.sign(ctx, f.Keyring, s.one, n))
		must(t, s.sign(ctx, f.Keyring, s.two, n))
	}
	a, err := f.Keyring.Public(ctx, s.one)
	must(t, err)
	b, err := f.Keyring.Public(ctx, s.two)
	must(t, err)
	if a == b {
		t.Fatal("two keys are one")
	}
}

func (s keyringSuite) once(t *testing.T, f KeyringFixture) {
	approval, _, err := s.approver.Approve(s.one, 1)
	must(t, err)
	if _, err := f.Keyring.Sign(limited(t), approval); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Keyring.Sign(limited(t), approval); !errors.Is(err, policy.ErrSpent) {
		t.Fatalf("second use of an approval: %v", err)
	}
}

func (s keyringSuite) none(t *testing.T, f KeyringFixture) {
	for name, approval := range map[string]*policy.Approval{"nil": nil, "zero": new(policy.Approval)} {
		if sig, err := f.Keyring.Sign(limited(t), approval); err == nil || len(sig) != 0 {
			t.Errorf("%s approval: signature of %d bytes, error %v", name, len(sig), err)
		}
	}
}

func (s keyringSuite) unknown(t *testing.T, f KeyringFixture) {
	for _, key := range []keymgmt.KeyID{s.missing, {}} {
		_, err := f.Keyring.Public(limited(t), key)
		wantError(t, err, keymgmt.ErrUnknownKey)
	}
	approval, _, err := s.approver.Approve(s.missing, 1)
	must(t, err)
	_, err = f.Keyring.Sign(limited(t), approval)
	wantError(t, err, keymgmt.ErrUnknownKey)
	must(t, s.sign(limited(t), f.Keyring, s.one, 1))
}

func (s keyringSuite) cancelled(t *testing.T, f KeyringFixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	approval, _, err := s.approver.Approve(s.one, 1)
	must(t, err)
	if _, err := f.Keyring.Sign(ctx, approval); !errors.Is(err, context.Canceled) {
		t.Errorf("Sign: %v", err)
	}
	if _, err := f.Keyring.Public(ctx, s.one); !errors.Is(err, context.Canceled) {
		t.Errorf("Public: %v", err)
	}
	if err := f.Keyring.Ping(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Ping: %v", err)
	}
}

func (s keyringSuite) concurrent(t *testing.T, f KeyringFixture) {
	const callers, each = 16, 8
	ctx := limited(t)
	errs := make(chan error, callers*each)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				key := s.one
				if c%2 == 1 {
					key = s.two
				}
				if err := s.sign(ctx, f.Keyring, key, 1+c*each+i); err != nil {
					errs <- fmt.Errorf("caller %d: %w", c, err)
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

func (s keyringSuite) away(t *testing.T, f KeyringFixture) {
	if f.Break == nil {
		return
	}
	must(t, s.sign(limited(t), f.Keyring, s.one, 1))
	before, err := f.Keyring.Public(limited(t), s.one)
	must(t, err)
	mend := f.Break()
	wantError(t, s.sign(limited(t), f.Keyring, s.one, 2), keymgmt.ErrUnavailable)
	wantError(t, f.Keyring.Ping(limited(t)), keymgmt.ErrUnavailable)
	_, err = f.Keyring.Public(limited(t), s.missing)
	wantError(t, err, keymgmt.ErrUnavailable) // not "unknown": nobody can tell now
	mend()
	Until(t, func(ctx context.Context) error { return s.sign(ctx, f.Keyring, s.one, 3) })
	must(t, f.Keyring.Ping(limited(t)))
	after, err := f.Keyring.Public(limited(t), s.one)
	must(t, err)
	if before != after {
		t.Fatal("the key came back as another one")
	}
}
