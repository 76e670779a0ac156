package service_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
)

var keyNode = mustKey("node/scp")

// validatorRig is a rig whose policy lets the gateway ask for a validator's signatures.
type validatorRig struct {
	*rig
	*keytest.Validator
	cfg service.Config
}

func newValidatorRig(t *testing.T) *validatorRig {
	t.Helper()
	r := &validatorRig{rig: newRig(t), Validator: keytest.NewValidator(t, passphrase.NetworkID())}
	r.soft.Put(keyNode, r.Private)
	r.cfg = r.config()
	r.cfg.Policy = r.named(keyNode)
	return r
}

// named is a policy that knows the validator's key by that id.
func (r *validatorRig) named(id keymgmt.KeyID) *policy.Policy {
	return r.policy(func(f *policy.File) {
		f.Keys = append(f.Keys, policy.Key{ID: id, Public: policy.Ledger(r.ID), Callers: []string{gateway}, SCP: &policy.SCPRule{MaxSeconds: 60}})
	})
}

func (r *validatorRig) start() *service.Service {
	r.rig.t.Helper()
	s, err := service.Open(r.rig.t.Context(), r.cfg)
	if err != nil {
		r.rig.t.Fatal(err)
	}
	return s
}

// TestValidatorAfterARestart: what a process has signed binds another one over the same database, the next one, and one
// whose policy calls the key by another name.
func TestValidatorAfterARestart(t *testing.T) {
	r := newValidatorRig(t)
	first, second := r.start(), r.start()
	x, y := r.Value('x', r.clock.now()), r.Value('y', r.clock.now())
	n := 0
	ask := func(svc *service.Service, key keymgmt.KeyID, body []byte, want error) []byte {
		t.Helper()
		n++
		sig, err := svc.For(gateway).Sign(t.Context(), r.Request(key, fmt.Sprint("scp/", n), body))
		if !errors.Is(err, want) {
			t.Errorf("request %d: %v, want %v", n, err, want)
		}
		if err == nil && !ed25519.Verify(r.ID.Key(), body, sig.Bytes) {
			t.Errorf("request %d: the signature does not verify", n)
		}
		return sig.Bytes
	}
	ask(first, keyNode, r.Proposal('x', r.clock.now()), nil)
	ask(second, keyNode, r.Proposal('y', r.clock.now()), keymgmt.ErrDenied)
	ask(first, keyNode, r.Nominate(5, x), nil)
	prepared := ask(first, keyNode, r.Prepare(5, 1, x), nil)
	ask(second, keyNode, r.Nominate(5, y), keymgmt.ErrDenied)
	ask(second, keyNode, r.Nominate(5, x, y), nil)
	ask(second, keyNode, r.Confirm(5, 1, x), nil)
	ask(first, keyNode, r.Prepare(5, 2, y), keymgmt.ErrDenied)
	ask(r.start(), keyNode, r.Confirm(5, 2, y), keymgmt.ErrDenied)
	if again := ask(r.start(), keyNode, r.Prepare(5, 1, x), keymgmt.ErrDenied); again != nil {
		t.Error("under a new ref it is a step back")
	}
	old, err := first.For(gateway).Sign(t.Context(), r.Request(keyNode, "scp/4", r.Prepare(5, 1, x)))
	if err != nil || !bytes.Equal(old.Bytes, prepared) {
		t.Errorf("under its own ref it is in the journal: %v", err)
	}
	decided := ask(first, keyNode, r.Externalize(5, 1, x), nil)
	if again := ask(second, keyNode, r.Externalize(5, 1, x), nil); !bytes.Equal(decided, again) {
		t.Error("the same statement has two signatures")
	}
	renamed := mustKey("node/renamed")
	r.soft.Put(renamed, r.Private)
	r.setup.Version++
	r.cfg.Policy = r.named(renamed)
	third := r.start()
	ask(third, renamed, r.Externalize(5, 1, y), keymgmt.ErrDenied)
	ask(third, renamed, r.Nominate(6, y), nil)
	var rows int
	if r.query(&rows, `SELECT count(*) FROM signer.scp`); rows != 7 {
		t.Errorf("%d marks, want one for each step", rows)
	}
}

// TestValidatorDiesBetweenMarkAndSignature: the mark stands, so that nothing against it is signed, and the same is signed
// when it is asked for again.
func TestValidatorDiesBetweenMarkAndSignature(t *testing.T) {
	r := newValidatorRig(t)
	x, y := r.Value('x', r.clock.now()), r.Value('y', r.clock.now())
	lost := r.Request(keyNode, "lost", r.Confirm(5, 1, x))
	r.keyring.set(func() error { return errCrash }, nil)
	if _, err := r.start().For(gateway).Sign(t.Context(), lost); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Fatal(err)
	}
	r.keyring.set(nil, nil)
	svc := r.start()
	if _, err := svc.For(gateway).Sign(t.Context(), r.Request(keyNode, "other", r.Confirm(5, 1, y))); !errors.Is(err, keymgmt.ErrDenied) {
		t.Errorf("another commit: %v", err)
	}
	if _, err := svc.For(gateway).Sign(t.Context(), lost); err != nil {
		t.Error(err)
	}
}

// TestValidatorsCannotRace: of many contradicting statements asked for at once of two processes, one is signed.
func TestValidatorsCannotRace(t *testing.T) {
	r := newValidatorRig(t)
	services := []*service.Service{r.start(), r.start()}
	for slot := range uint64(5) {
		var mu sync.Mutex
		var signed int
		var wg sync.WaitGroup
		for i := range byte(8) {
			wg.Go(func() {
				request := r.Request(keyNode, fmt.Sprint("scp/", slot, "/", i), r.Confirm(slot+1, 1, r.Value('a'+i, r.clock.now())))
				err := keymgmt.ErrUnavailable
				for errors.Is(err, keymgmt.ErrUnavailable) { // contention: ask again, as callers do
					_, err = services[i%2].For(gateway).Sign(t.Context(), request)
				}
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					signed++
				} else if !errors.Is(err, keymgmt.ErrDenied) {
					t.Error(err)
				}
			})
		}
		if wg.Wait(); signed != 1 {
			t.Errorf("slot %d: %d commits were signed", slot+1, signed)
		}
	}
}

// TestMarksCannotBeTakenBack: not even by whoever has the signer's password.
func TestMarksCannotBeTakenBack(t *testing.T) {
	r := newValidatorRig(t)
	if _, err := r.start().For(gateway).Sign(t.Context(), r.Request(keyNode, "scp/1", r.Confirm(5, 1, r.Value('x', r.clock.now().Add(time.Second))))); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{`DELETE FROM signer.scp`, `UPDATE signer.scp SET step = 2`, `TRUNCATE signer.scp`,
		`INSERT INTO signer.scp SELECT network, node, series, step, key, ref FROM signer.scp`} {
		if err := r.exec(statement); err == nil {
			t.Errorf("%s was carried out", statement)
		}
	}
}

// BenchmarkStatement measures what consensus waits for: one validator's statements, one after the other.
func BenchmarkStatement(b *testing.B) {
	r := &validatorRig{rig: newRig(b), Validator: keytest.NewValidator(b, passphrase.NetworkID())}
	r.soft.Put(keyNode, r.Private)
	r.cfg = r.config()
	r.cfg.Policy = r.named(keyNode)
	svc, x := r.start().For(gateway), r.Value('x', r.clock.now())
	slot := uint64(0)
	for b.Loop() {
		slot++
		for i, body := range [][]byte{r.Nominate(slot, x), r.Prepare(slot, 1, x), r.Confirm(slot, 1, x), r.Externalize(slot, 1, x)} {
			if _, err := svc.Sign(b.Context(), r.Request(keyNode, fmt.Sprint("scp/", slot, "/", i), body)); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(4*b.N), "ms/statement")
}
