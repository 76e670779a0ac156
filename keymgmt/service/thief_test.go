package service_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/service"
)

// plant writes a request's intent into the journal, as whoever has the role's password can, so that the signer takes it for
// one that it wrote down before a crash.
func (r *rig) plant(q keymgmt.Request) {
	r.t.Helper()
	const insert = `INSERT INTO signer.request (key, ref, kind, body, caller, policy) VALUES ($1, $2, $3, $4, $5, 1)`
	if err := r.asRole(insert, q.Key.String(), q.Ref, q.Kind.String(), q.Body, gateway); err != nil {
		r.t.Fatal(err)
	}
}

// TestPlantedIntents: what a thief of the role's password has written down for the signer counts as if it had done so itself:
// the reserve, and the high-water mark of a log, are held to all that was signed.
func TestPlantedIntents(t *testing.T) {
	t.Run("issuance", func(t *testing.T) {
		r := newReserveRig(t)
		svc := r.start()
		if err := svc.Attest(t.Context(), gateway, r.word("100", "0", 1, 9)); err != nil {
			t.Fatal(err)
		}
		issued := 0
		for i := range 5 {
			q := r.issue(fmt.Sprint("tx/", i), 60, 10+int64(i), time.Minute)
			r.plant(q)
			if _, err := svc.For(gateway).Sign(t.Context(), q); err == nil {
				issued += 60
			}
		}
		if issued > 100 {
			t.Errorf("%d are issued of a reserve of 100", issued)
		}
		small := r.issue("tx/small", 60, 20, time.Minute) // a row of his own for it says less
		r.clock.advance(time.Second)
		if err := svc.Attest(t.Context(), gateway, r.word("160", "60", 2, 19)); err != nil {
			t.Fatal(err)
		}
		r.plant(small)
		const less = `INSERT INTO signer.issuance (asset, sequence, max_time, amount, key, ref) VALUES ($1, 20, now() + interval '9 years', 1, $2, $3)`
		if err := r.asRole(less, r.asset.String(), small.Key.String(), small.Ref); err != nil {
			t.Fatal(err)
		}
		if _, err := svc.For(gateway).Sign(t.Context(), small); !errors.Is(err, keymgmt.ErrUnavailable) {
			t.Errorf("an issuance that the journal has as a smaller one: %v", err)
		}
	})
	contradiction := func(r *rig, svc *service.Service, first, second keymgmt.Request) {
		r.t.Helper()
		r.plant(first)
		_, err1 := svc.For(gateway).Sign(r.t.Context(), first)
		_, err2 := svc.For(gateway).Sign(r.t.Context(), second)
		if err1 == nil && err2 == nil {
			r.t.Error("both were signed")
		}
		if !errors.Is(err1, keymgmt.ErrUnavailable) || err2 != nil {
			r.t.Errorf("%v and %v, want the planted one to be refused", err1, err2)
		}
	}
	t.Run("checkpoint", func(t *testing.T) {
		r := newRig(t)
		contradiction(r, r.open(), checkpoint(10, 1), checkpoint(10, 2))
	})
	t.Run("statement", func(t *testing.T) {
		r := newValidatorRig(t)
		x, y := r.Value('x', r.clock.now()), r.Value('y', r.clock.now())
		contradiction(r.rig, r.start(), r.Request(keyNode, "scp/1", r.Confirm(5, 1, x)), r.Request(keyNode, "scp/2", r.Confirm(5, 1, y)))
	})
	t.Run("value", func(t *testing.T) {
		r := newValidatorRig(t)
		contradiction(r.rig, r.start(), r.Request(keyNode, "scp/1", r.Proposal('x', r.clock.now())), r.Request(keyNode, "scp/2", r.Proposal('y', r.clock.now())))
	})
}

// TestMarksDoNotGoBack: a row that makes an old statement the newest does not let a running signer contradict a later one.
func TestMarksDoNotGoBack(t *testing.T) {
	r := newValidatorRig(t)
	svc, now := r.start(), r.clock.now()
	ask := func(ref string, body []byte, want error) {
		t.Helper()
		if _, err := svc.For(gateway).Sign(t.Context(), r.Request(keyNode, ref, body)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", ref, err, want)
		}
	}
	x, y := r.Value('x', now), r.Value('y', now)
	ask("nomination", r.Nominate(5, x), nil)
	ask("ballot", r.Confirm(5, 1, x), nil)
	ask("value", r.Proposal('x', now), nil)
	for _, c := range []struct {
		series        string
		old, contrary []byte
	}{{"ballot", r.Prepare(4, 1, y), r.Confirm(5, 1, y)}, {"nomination", r.Nominate(4, y), r.Nominate(5, y)},
		{"value", r.Proposal('w', now.Add(-time.Minute)), r.Proposal('y', now)}} {
		r.plant(r.Request(keyNode, "old/"+c.series, c.old))
		const newest = `INSERT INTO signer.scp (network, node, series, step, key, ref) VALUES ($1, $2, $3, 99, $4, $5)`
		if err := r.asRole(newest, r.Network.String(), r.ID.String(), c.series, keyNode.String(), "old/"+c.series); err != nil {
			t.Fatal(err)
		}
		ask("contrary/"+c.series, c.contrary, keymgmt.ErrUnavailable)
	}
	if _, err := svc.For(gateway).Sign(t.Context(), checkpoint(1, 1)); err != nil {
		t.Errorf("another key: %v", err)
	}
}

// TestAnAttestationWithTwoReadings: the database reads the ledger's time and the issuer's number from the row that the
// attestor's signature is verified over, and must not read others. Names in JSON are the same to one reader if they differ in
// the size of a letter, and to the other they are not.
func TestAnAttestationWithTwoReadings(t *testing.T) {
	for name, bend := range map[string]map[string]any{
		"sequence": {"sequence": 1 << 40, "\u017fequence": 9},
		"closed":   {"closed": "2099-01-01T00:00:00Z", "clo\u017fed": "2026-03-01T12:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReserveRig(t)
			svc := r.start()
			word := r.word("100", "0", 1, 9) // on its way from the attestor, when the thief sees it
			raw, err := json.Marshal(word)
			if err != nil {
				t.Fatal(err)
			}
			body := map[string]any{}
			if err := json.Unmarshal(raw, &body); err != nil {
				t.Fatal(err)
			}
			for member, value := range bend {
				body[member] = value
			}
			if raw, err = json.Marshal(body); err != nil {
				t.Fatal(err)
			}
			const insert = `INSERT INTO signer.attestation (asset, public, ledger, body) VALUES ($1, $2, 1, $3)`
			if err := r.asRole(insert, r.asset.String(), r.cfg.Policy.Attestors(r.asset)[0].String(), raw); err != nil {
				t.Fatal(err)
			}
			issued := 0
			for i := range 5 {
				if _, err := svc.For(gateway).Sign(t.Context(), r.issue(fmt.Sprint("tx/", i), 60, 10+int64(i), time.Minute)); err == nil {
					issued += 60
				}
			}
			if issued > 100 {
				t.Errorf("%d are issued of a reserve of 100", issued)
			}
		})
	}
}
