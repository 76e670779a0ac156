package keytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/diamante/gateway/keymgmt"
)

// SignerFixture is a Signer under test and what is known about its keys and its policy.
type SignerFixture struct {
	Signer keymgmt.Signer
	// Allowed returns the n-th of many requests that the policy allows, n from 0: each with a body of its own and a
	// Ref of its own, all for the same key. It gives the same request for the same n.
	Allowed func(n int) keymgmt.Request
	// Denied is well-formed, for a key that exists, and against the policy.
	Denied keymgmt.Request
	// Unknown is well-formed, for a key that neither policy nor keyring has.
	Unknown keymgmt.Request
	// Break makes the signer unavailable, by its keyring, its database or its connection; mend undoes that. Nil
	// leaves the tests of it out.
	Break func() (mend func())
}

// TestSigner holds the Signer that open makes to the contract of keymgmt.Signer. open is called once for each part, and
// its fixture must be fresh: no Ref used yet.
func TestSigner(t *testing.T, open func(t *testing.T) SignerFixture) {
	for _, part := range []struct {
		name string
		run  func(*testing.T, SignerFixture)
	}{
		{"signatures verify", signsValid},
		{"same ref and body, same answer", sameAnswer},
		{"another body under a used ref", refUsed},
		{"denied by policy", denied},
		{"unknown key", unknownKey},
		{"malformed requests", malformed},
		{"a refusal leaves the ref free", refusalLeavesRef},
		{"concurrent requests", concurrent},
		{"concurrent requests under one ref", concurrentRef},
		{"cancelled context", cancelled},
		{"unavailable, then back", unavailable},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, open(t)) })
	}
}

func signsValid(t *testing.T, f SignerFixture) {
	var public keymgmt.PublicKey
	for n := range 3 {
		r := f.Allowed(n)
		sig, err := f.Signer.Sign(limited(t), r)
		if err != nil {
			t.Fatal(err)
		}
		verify(t, r, sig)
		if public.IsZero() {
			public = sig.Public
		}
		if public != sig.Public {
			t.Fatal("the key changed between two answers")
		}
	}
}

func sameAnswer(t *testing.T, f SignerFixture) {
	r := f.Allowed(0)
	first, err := f.Signer.Sign(limited(t), r)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		again, err := f.Signer.Sign(limited(t), r)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first.Bytes, again.Bytes) || first.Public != again.Public {
			t.Fatal("asking again gave another answer")
		}
	}
}

func refUsed(t *testing.T, f SignerFixture) {
	r, other := f.Allowed(0), f.Allowed(1)
	if bytes.Equal(r.Body, other.Body) {
		t.Fatal("fixture: two requests with one body")
	}
	if _, err := f.Signer.Sign(limited(t), r); err != nil {
		t.Fatal(err)
	}
	clash := other
	clash.Ref = r.Ref
	sig, err := f.Signer.Sign(limited(t), clash)
	wantError(t, err, keymgmt.ErrRefUsed)
	if len(sig.Bytes) != 0 {
		t.Fatal("a signature came with the refusal")
	}
	if _, err := f.Signer.Sign(limited(t), other); err != nil {
		t.Fatalf("the other body under its own ref: %v", err)
	}
}

func denied(t *testing.T, f SignerFixture) {
	for range 2 {
		sig, err := f.Signer.Sign(limited(t), f.Denied)
		wantError(t, err, keymgmt.ErrDenied)
		if len(sig.Bytes) != 0 {
			t.Fatal("a signature came with the refusal")
		}
	}
}

func unknownKey(t *testing.T, f SignerFixture) {
	_, err := f.Signer.Sign(limited(t), f.Unknown)
	wantError(t, err, keymgmt.ErrUnknownKey)
}

func malformed(t *testing.T, f SignerFixture) {
	good := f.Allowed(0)
	for name, change := range map[string]func(*keymgmt.Request){
		"no key":              func(r *keymgmt.Request) { r.Key = keymgmt.KeyID{} },
		"no kind":             func(r *keymgmt.Request) { r.Kind = 0 },
		"kind out of range":   func(r *keymgmt.Request) { r.Kind = 200 },
		"no body":             func(r *keymgmt.Request) { r.Body = nil },
		"body too long":       func(r *keymgmt.Request) { r.Body = make([]byte, keymgmt.MaxBody+1) },
		"body that is noise":  func(r *keymgmt.Request) { r.Body = []byte("\x00\xff not of any kind \xfe") },
		"a byte after body":   func(r *keymgmt.Request) { r.Body = append(bytes.Clone(r.Body), 0) },
		"body cut short":      func(r *keymgmt.Request) { r.Body = r.Body[:len(r.Body)/2] },
		"a bare digest":       func(r *keymgmt.Request) { r.Body = bytes.Repeat([]byte{0xa5}, 32) },
		"no ref":              func(r *keymgmt.Request) { r.Ref = "" },
		"ref too long":        func(r *keymgmt.Request) { r.Ref = strings.Repeat("r", keymgmt.MaxRef+1) },
		"ref with a blank":    func(r *keymgmt.Request) { r.Ref = "a b" },
		"ref with a new line": func(r *keymgmt.Request) { r.Ref = "a\n" },
		"ref not ASCII":       func(r *keymgmt.Request) { r.Ref = "é" },
	} {
		r := good
		change(&r)
		if _, err := f.Signer.Sign(limited(t), r); !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("%s: got error %v, want %v", name, err, keymgmt.ErrMalformed)
		}
	}
}

func refusalLeavesRef(t *testing.T, f SignerFixture) {
	good := f.Allowed(0)
	bad := good
	bad.Body = []byte("noise")
	_, err := f.Signer.Sign(limited(t), bad)
	wantError(t, err, keymgmt.ErrMalformed)
	sig, err := f.Signer.Sign(limited(t), good)
	if err != nil {
		t.Fatalf("the ref of a request that could not be read is gone: %v", err)
	}
	verify(t, good, sig)
}

func concurrent(t *testing.T, f SignerFixture) {
	const callers, each = 8, 4
	ctx := limited(t)
	var wg sync.WaitGroup
	errs := make(chan error, callers*each)
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				r := f.Allowed(c*each + i)
				sig, err := f.Signer.Sign(ctx, r)
				if err == nil && !valid(r, sig) {
					err = errors.New("the signature does not verify")
				}
				if err != nil {
					errs <- fmt.Errorf("request %s: %w", r.Ref, err)
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

func concurrentRef(t *testing.T, f SignerFixture) {
	const callers = 8
	ctx := limited(t)
	// Two bodies race for one ref: exactly one body may win, and whoever asked for it gets the same signature.
	bodies := [2]keymgmt.Request{f.Allowed(0), f.Allowed(1)}
	bodies[1].Ref = bodies[0].Ref
	var sigs [callers]keymgmt.Signature
	var errs [callers]error
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() { sigs[c], errs[c] = f.Signer.Sign(ctx, bodies[c%2]) })
	}
	wg.Wait()
	winner := -1
	for c := range callers {
		if errs[c] != nil {
			if !errors.Is(errs[c], keymgmt.ErrRefUsed) && !errors.Is(errs[c], keymgmt.ErrUnavailable) {
				t.Fatalf("caller %d: %v", c, errs[c])
			}
			continue
		}
		if winner < 0 {
			winner = c
		}
		if c%2 != winner%2 {
			t.Fatal("two bodies were signed under one ref")
		}
		verify(t, bodies[c%2], sigs[c])
		if !bytes.Equal(sigs[c].Bytes, sigs[winner].Bytes) {
			t.Fatal("one request has two answers")
		}
	}
	if winner < 0 {
		t.Fatalf("nobody got an answer: %v", errors.Join(errs[:]...))
	}
}

func cancelled(t *testing.T, f SignerFixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := f.Allowed(0)
	if _, err := f.Signer.Sign(ctx, r); !errors.Is(err, context.Canceled) {
		t.Fatalf("got error %v, want the context's", err)
	}
	sig, err := f.Signer.Sign(limited(t), r)
	if err != nil {
		t.Fatalf("asking again after a cancelled call: %v", err)
	}
	verify(t, r, sig)
}

func unavailable(t *testing.T, f SignerFixture) {
	if f.Break == nil {
		return
	}
	r := f.Allowed(0)
	mend := f.Break()
	_, err := f.Signer.Sign(limited(t), r)
	mend()
	wantError(t, err, keymgmt.ErrUnavailable)
	sig := untilAvailable(t, f.Signer, r)
	verify(t, r, sig)
}
