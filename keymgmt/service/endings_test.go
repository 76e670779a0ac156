package service_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/keymgmt/signature"
)

var errCrash = fmt.Errorf("%w: the process is gone", keymgmt.ErrUnavailable)

// ending is a way for the signer to stop at one boundary of its procedure.
type ending struct {
	name          string
	broken        string             // what its database's owner does before the call
	before, after func(r *rig) error // what happens before and after the key signs
	mend          string             // what the owner does before the next call
	signed        int                // how often the key signs in all; 0 is any
}

func crash(*rig) error { return errCrash }

func sql(statement string) func(r *rig) error {
	return func(r *rig) error { return r.exec(statement) }
}

// A key that signs twice is harmless: the signature is the same, and nobody saw the first.
var endings = []ending{
	{name: "the intent could not be stored", signed: 1,
		broken: `REVOKE INSERT ON signer.request FROM diamante_signer`, mend: `GRANT INSERT ON signer.request TO diamante_signer`},
	{name: "the reservation could not be stored", signed: 1,
		broken: `REVOKE INSERT ON signer.reservation FROM diamante_signer`, mend: `GRANT INSERT ON signer.reservation TO diamante_signer`},
	{name: "the audit record could not be stored", signed: 1,
		broken: `REVOKE INSERT ON audit.record FROM diamante_recorder`, mend: `GRANT INSERT ON audit.record TO diamante_recorder`},
	{name: "stored, then the key did not sign", signed: 1, before: crash},
	{name: "the key signed, then it seemed not to", signed: 2, after: crash},
	{name: "signed, then the signature could not be stored", signed: 2,
		after: sql(`REVOKE INSERT ON signer.signature FROM diamante_signer`), mend: `GRANT INSERT ON signer.signature TO diamante_signer`},
	{name: "signed, then the database dropped its sessions",
		after: sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'diamante_signer'`)},
}

// The signer is stopped by each ending, then started again and asked the same: there must be one answer, one
// reservation and one intent, wherever it stopped.
func TestEndings(t *testing.T) {
	for _, ending := range endings {
		t.Run(ending.name, func(t *testing.T) {
			r := newRig(t)
			first := r.open()
			request := r.pay("tx/1", "60", r.account(keyDistribution))
			r.must(ending.broken)
			r.keyring.set(r.bind(ending.before), r.bind(ending.after))
			lost, err := first.For(gateway).Sign(t.Context(), request)
			r.keyring.set(nil, nil)
			if ending.signed > 0 && !errors.Is(err, keymgmt.ErrUnavailable) {
				t.Fatalf("error %v", err)
			}
			if err != nil && lost.Bytes != nil {
				t.Fatal("a signature came with the error")
			}
			r.must(ending.mend)
			sig := untilAnswer(t, r.open(), request)
			if err == nil && !bytes.Equal(lost.Bytes, sig.Bytes) {
				t.Fatal("two answers")
			}
			if ending.signed > 0 && r.keyring.signed != ending.signed {
				t.Errorf("the key signed %d times, want %d", r.keyring.signed, ending.signed)
			}
			if got := r.spent(r.asset.String(), r.clock.now()); got != "60" {
				t.Errorf("reserved %s, want 60", got)
			}
			for table, want := range map[string]int{"request": 1, "reservation": 2, "signature": 1} {
				var n int
				if r.query(&n, `SELECT count(*) FROM signer.`+table); n != want {
					t.Errorf("%d rows in %s, want %d", n, table, want)
				}
			}
			// 60 of 1000 are used: nine more payments of 100 fit, and not one more.
			svc := r.open()
			for n := range 10 {
				_, err := svc.For(gateway).Sign(t.Context(), r.pay(fmt.Sprint("more/", n), "100", r.account(keyDistribution)))
				if n < 9 && err != nil || n == 9 && !errors.Is(err, keymgmt.ErrDenied) {
					t.Fatalf("payment %d: %v", n, err)
				}
			}
		})
	}
}

func untilAnswer(t *testing.T, s *service.Service, r keymgmt.Request) keymgmt.Signature {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		sig, err := s.For(gateway).Sign(ctx, r)
		if err == nil {
			return sig
		}
		if !errors.Is(err, keymgmt.ErrUnavailable) {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-tick.C:
		}
	}
}

func TestAnswerComesFromTheJournal(t *testing.T) {
	r := newRig(t)
	request := r.pay("tx/1", "5", r.account(keyDistribution))
	first, err := r.open().For(gateway).Sign(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	// A week later, under a policy that allows nothing, with the key away, the answer is what it was.
	r.clock.advance(7 * 24 * time.Hour)
	r.setup.Version = 2
	svc, err := service.Open(t.Context(), service.Config{DB: r.db, Keyring: r.keyring, Log: r.config().Log, Now: r.clock.now,
		Policy: r.policy(func(f *policy.File) {
			for i := range f.Keys {
				f.Keys[i].Frozen = true
			}
		})})
	if err != nil {
		t.Fatal(err)
	}
	mend := r.soft.Break(errors.New("token removed"))
	again, err := svc.For(gateway).Sign(t.Context(), request)
	if err != nil || !bytes.Equal(first.Bytes, again.Bytes) || first.Public != again.Public {
		t.Fatalf("%x then %x, %v", first.Bytes, again.Bytes, err)
	}
	mend()
	if _, err := svc.For(gateway).Sign(t.Context(), r.pay("tx/2", "5", r.account(keyDistribution))); !errors.Is(err, keymgmt.ErrDenied) {
		t.Fatalf("frozen key: %v", err)
	}
}

// TestIntentOfYesterdayMoves: what was written down before a crash counts when it is signed, and once.
func TestIntentOfYesterdayMoves(t *testing.T) {
	r := newRig(t)
	svc, yesterday := r.open(), r.clock.now()
	request := r.pay("tx/1", "100", r.account(keyDistribution))
	r.keyring.set(func() error { return errCrash }, nil)
	for range 3 { // asking again and again reserves once
		if _, err := svc.For(gateway).Sign(t.Context(), request); !errors.Is(err, keymgmt.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if got := r.spent(r.asset.String(), yesterday); got != "100" {
		t.Errorf("before it is signed: %s", got)
	}
	r.keyring.set(nil, nil)
	r.clock.advance(30 * time.Hour)
	if _, err := svc.For(gateway).Sign(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if got := r.spent(r.asset.String(), yesterday); got != "0" {
		t.Errorf("yesterday %s", got)
	}
	if got := r.spent(r.asset.String(), r.clock.now()); got != "100" {
		t.Errorf("today %s", got)
	}
	r.proved()
}

// What a keyring gives was verified, but for the service to find out that it is of the message and by the key that it means.
func TestAnotherSignatureStopsTheKey(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := keymgmt.NewPublicKey(keymgmt.Ed25519, public)
	if err != nil {
		t.Fatal(err)
	}
	var before signature.Verified
	for name, instead := range map[string]func(made []signature.Verified) []signature.Verified{
		"none":           func([]signature.Verified) []signature.Verified { return nil },
		"one too many":   func(made []signature.Verified) []signature.Verified { return append(made, made...) },
		"of nothing":     func([]signature.Verified) []signature.Verified { return make([]signature.Verified, 1) },
		"of one before":  func([]signature.Verified) []signature.Verified { return []signature.Verified{before} },
		"by another key": nil, // below: of the very message
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			svc := r.open()
			r.keyring.instead = func(made []signature.Verified) []signature.Verified { before = made[0]; return made }
			if _, err := svc.For(gateway).Sign(t.Context(), r.pay("tx/0", "5", r.account(keyDistribution))); err != nil {
				t.Fatal(err)
			}
			request := r.pay("tx/1", "5", r.account(keyDistribution))
			if instead == nil {
				message := sha256.Sum256(request.Body)
				other, err := signature.Check(stranger, message[:], ed25519.Sign(private, message[:]))
				if err != nil {
					t.Fatal(err)
				}
				instead = func([]signature.Verified) []signature.Verified { return []signature.Verified{other} }
			}
			r.keyring.instead = instead
			stops(t, r, svc, request)
		})
	}
}

// stops checks that a signature that is not what was asked is given to nobody and takes its key out of use, until an operator
// has looked.
func stops(t *testing.T, r *rig, svc *service.Service, request keymgmt.Request) {
	t.Helper()
	sig, err := svc.For(gateway).Sign(t.Context(), request)
	if !errors.Is(err, keymgmt.ErrUnavailable) || sig.Bytes != nil {
		t.Fatalf("%x, %v", sig.Bytes, err)
	}
	r.keyring.instead = nil
	if _, err := svc.For(gateway).Sign(t.Context(), r.pay("tx/2", "5", r.account(keyDistribution))); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Fatalf("the key is still in use: %v", err)
	}
	if parts := svc.Health(t.Context()); parts["keys"] == nil || parts["journal"] != nil || parts["keyring"] != nil {
		t.Errorf("health %v", parts)
	}
	if _, err := svc.For(gateway).Sign(t.Context(), checkpoint(1, 1)); err != nil {
		t.Errorf("another key: %v", err)
	}
	var n int
	if r.query(&n, `SELECT count(*) FROM audit.record WHERE action = 'key.stopped'`); n != 1 {
		t.Errorf("%d records of it", n)
	}
	if _, err := r.open().For(gateway).Sign(t.Context(), request); err != nil {
		t.Errorf("after an operator started the signer again: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	r := newRig(t)
	r.setup.Version = 5
	r.open()
	open := func(change func(*policy.File)) error {
		c := r.config()
		c.Policy = r.policy(change)
		_, err := service.Open(t.Context(), c)
		return err
	}
	if err := open(func(f *policy.File) { f.Version = 4 }); !errors.Is(err, service.ErrRollback) {
		t.Errorf("older version: %v", err)
	}
	if err := open(func(f *policy.File) { f.Keys[0].Frozen = true }); !errors.Is(err, service.ErrRollback) {
		t.Errorf("other file of the same version: %v", err)
	}
	if err := open(func(f *policy.File) { f.Keys[0].Public, f.Keys[1].Public = f.Keys[1].Public, f.Keys[0].Public }); !errors.Is(err, service.ErrOtherKey) {
		t.Errorf("other key: %v", err)
	}
	if err := open(func(f *policy.File) { f.Keys[0].ID = mustKey("network/other") }); !errors.Is(err, keymgmt.ErrUnknownKey) {
		t.Errorf("missing key: %v", err)
	}
	mend := r.soft.Break(errors.New("token removed"))
	if err := open(nil); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Errorf("keyring away: %v", err)
	}
	mend()
	if err := open(func(f *policy.File) { f.Version = 6 }); err != nil {
		t.Errorf("newer version: %v", err)
	}
	if _, err := service.Open(t.Context(), service.Config{}); err == nil {
		t.Error("an empty Config is accepted")
	}
}

func TestRunningSignerStopsWhenANewerPolicyIsInForce(t *testing.T) {
	r := newRig(t)
	old := r.open()
	r.setup.Version = 2
	r.open()
	if _, err := old.For(gateway).Sign(t.Context(), checkpoint(1, 1)); !errors.Is(err, keymgmt.ErrUnavailable) || !strings.Contains(err.Error(), "version 2") {
		t.Fatalf("%v", err)
	}
}

func TestJournalCannotBeRewritten(t *testing.T) {
	r := newRig(t)
	if _, err := r.open().For(gateway).Sign(t.Context(), r.pay("tx/1", "5", r.account(keyDistribution))); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`UPDATE signer.request SET body = 'x'`, `DELETE FROM signer.request`, `TRUNCATE signer.request CASCADE`,
		`UPDATE signer.signature SET public = signature`, `DELETE FROM signer.signature`, `DELETE FROM signer.policy`,
		`UPDATE signer.policy SET version = version + 1`, `DELETE FROM signer.reservation`, `DELETE FROM signer.counter`,
		`TRUNCATE signer.counter`, `UPDATE signer.counter SET amount = 0`, `UPDATE signer.counter SET day = day + 1`,
		`DELETE FROM audit.record`,
	} {
		if err := r.exec(sql); err == nil { // as the owner: the signer's role has not even the right to try
			t.Errorf("%s is possible", sql)
		}
	}
}
