package service_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/node/txbuild"
)

func TestLimitsHoldUnderConcurrentCalls(t *testing.T) {
	r := newRig(t)
	to := r.account(keyDistribution)
	// Two processes over one journal, 25 callers each, 100 USD a call: 1000 a day allow ten.
	services := []*service.Service{r.open(), r.open()}
	var requests []keymgmt.Request
	for n := range 50 {
		requests = append(requests, r.pay(fmt.Sprint("tx/", n), "100", to))
	}
	errs := make([]error, len(requests))
	var wg sync.WaitGroup
	for n, request := range requests {
		wg.Go(func() {
			_, errs[n] = services[n%2].For(gateway).Sign(t.Context(), request)
			for errors.Is(errs[n], keymgmt.ErrUnavailable) { // contention: ask again, as callers do
				_, errs[n] = services[n%2].For(gateway).Sign(t.Context(), request)
			}
		})
	}
	wg.Wait()
	allowed := 0
	for n, err := range errs {
		switch {
		case err == nil:
			allowed++
		case !errors.Is(err, keymgmt.ErrDenied) || !strings.Contains(err.Error(), "per_day"):
			t.Errorf("call %d: %v", n, err)
		}
	}
	if allowed != 10 {
		t.Errorf("%d payments were signed, want 10", allowed)
	}
	if got := r.spent(r.asset.String(), r.clock.now()); got != "1000" {
		t.Errorf("counter stands at %s", got)
	}
	var proved bool
	r.query(&proved, `SELECT bool_and(c.amount = (SELECT sum(v.amount) FROM signer.reservation v JOIN signer.request q USING (key, ref)
		WHERE q.day = c.day AND v.key = c.key AND v.counter = c.counter)) FROM signer.counter c`)
	if !proved {
		t.Error("a counter is not the sum of its reservations")
	}
	r.clock.advance(24 * time.Hour)
	if _, err := services[0].For(gateway).Sign(t.Context(), r.pay("tomorrow", "100", to)); err != nil {
		t.Errorf("the next day: %v", err)
	}
}

func TestDeniedForTheDayMayBeAskedTomorrow(t *testing.T) {
	r := newRig(t)
	svc, to := r.open().For(gateway), r.account(keyDistribution)
	for n := range 10 {
		if _, err := svc.Sign(t.Context(), r.pay(fmt.Sprint("tx/", n), "100", to)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := svc.Sign(t.Context(), r.pay("late", "1", to)); !errors.Is(err, keymgmt.ErrDenied) {
		t.Fatal(err)
	}
	r.clock.advance(24 * time.Hour)
	if _, err := svc.Sign(t.Context(), r.pay("late", "2", to)); err != nil { // rebuilt with new time bounds: another body
		t.Fatal(err)
	}
}

func TestCheckpointsOnlyGrow(t *testing.T) {
	r := newRig(t)
	svc := r.open().For(gateway)
	for _, step := range []struct {
		size int
		root byte
		want error
	}{{3, 1, nil}, {3, 1, nil}, {3, 2, keymgmt.ErrDenied}, {2, 1, keymgmt.ErrDenied}, {4, 2, nil}, {3, 1, nil}, {3, 2, keymgmt.ErrDenied}, {1, 1, keymgmt.ErrDenied}, {90, 9, nil}} {
		if _, err := svc.Sign(t.Context(), checkpoint(step.size, step.root)); !errors.Is(err, step.want) {
			t.Errorf("size %d root %d: %v", step.size, step.root, err)
		}
	}
	other := checkpoint(90, 9)
	other.Ref = "again" // the same checkpoint under another name is no other checkpoint
	if _, err := svc.Sign(t.Context(), other); err != nil {
		t.Error(err)
	}
	if _, err := r.open().For(gateway).Sign(t.Context(), checkpoint(89, 9)); !errors.Is(err, keymgmt.ErrDenied) {
		t.Errorf("after a restart: %v", err)
	}
}

func TestCheckpointsRaceForOneSize(t *testing.T) {
	r := newRig(t)
	services := []*service.Service{r.open(), r.open()}
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for n := range errs {
		wg.Go(func() {
			_, errs[n] = services[n%2].For(gateway).Sign(t.Context(), checkpoint(7, byte(n)))
			for errors.Is(errs[n], keymgmt.ErrUnavailable) {
				_, errs[n] = services[n%2].For(gateway).Sign(t.Context(), checkpoint(7, byte(n)))
			}
		})
	}
	wg.Wait()
	signed := 0
	for _, err := range errs {
		if err == nil {
			signed++
		} else if !errors.Is(err, keymgmt.ErrDenied) {
			t.Error(err)
		}
	}
	if signed != 1 {
		t.Errorf("%d roots were signed for one size", signed)
	}
}

func TestCallersSeeTheirKeysOnly(t *testing.T) {
	r := newRig(t)
	svc := r.open()
	request := r.pay("tx/1", "5", r.account(keyDistribution))
	for _, caller := range []string{"", "gateway", "node.diamante.internal", strings.ToUpper(gateway)} {
		if _, err := svc.For(caller).Sign(t.Context(), request); !errors.Is(err, keymgmt.ErrUnknownKey) {
			t.Errorf("%q: %v", caller, err)
		}
	}
	var callers string
	r.query(&callers, `SELECT string_agg(convert_from(body, 'utf8')::json #>> '{data,caller}', ',' ORDER BY n) FROM audit.record WHERE action = 'signature.refused'`)
	if callers != ",gateway,node.diamante.internal,"+strings.ToUpper(gateway) {
		t.Errorf("refusals on record: %q", callers)
	}
}

func TestRefusalsAreOnRecordButBounded(t *testing.T) {
	r := newRig(t)
	svc := r.open().For(gateway)
	denied := r.transaction(keyIssuing, "bad", txbuild.ManageData{Name: "a", Value: []byte("b")})
	for range service.MaxRefusals + 25 {
		if _, err := svc.Sign(t.Context(), denied); !errors.Is(err, keymgmt.ErrDenied) {
			t.Fatal(err)
		}
	}
	count := func() (n int) {
		r.query(&n, `SELECT count(*) FROM audit.record WHERE action = 'signature.refused'`)
		return n
	}
	if n := count(); n != service.MaxRefusals {
		t.Errorf("%d records of refusals", n)
	}
	// Another key's refusals have a bound of their own, so noise hides nothing.
	other := denied
	other.Key = keyDistribution
	if _, err := svc.Sign(t.Context(), other); !errors.Is(err, keymgmt.ErrDenied) {
		t.Fatal(err)
	}
	if n := count(); n != service.MaxRefusals+1 {
		t.Errorf("%d records of refusals", n)
	}
	r.clock.advance(time.Minute)
	if _, err := svc.Sign(t.Context(), denied); !errors.Is(err, keymgmt.ErrDenied) {
		t.Fatal(err)
	}
	var left, rule string
	r.query(&left, `SELECT convert_from(body, 'utf8')::json #>> '{data,left_out}' FROM audit.record ORDER BY n DESC LIMIT 1`)
	r.query(&rule, `SELECT convert_from(body, 'utf8')::json #>> '{data,rule}' FROM audit.record ORDER BY n DESC LIMIT 1`)
	if left != "25" || rule != "transaction.operation" {
		t.Errorf("left out %s, rule %s", left, rule)
	}
}

func TestEverySignatureHasItsRecords(t *testing.T) {
	r := newRig(t)
	if _, err := r.open().For(gateway).Sign(t.Context(), r.pay("tx/1", "3", r.account(keyDistribution))); err != nil {
		t.Fatal(err)
	}
	var actions, words string
	r.query(&actions, `SELECT string_agg(action, ' ' ORDER BY n) FROM audit.record`)
	if actions != "policy.adopted signature.approved signature.made" {
		t.Errorf("records: %s", actions)
	}
	r.query(&words, `SELECT convert_from(body, 'utf8')::json #>> '{data,words,0}' FROM audit.record WHERE action = 'signature.approved'`)
	if want := "pays 3.0000000 USD issued by " + r.setup.Publics.Issuing.String() + " to " + r.setup.Publics.Distribution.String(); !strings.HasPrefix(words, want) {
		t.Errorf("words: %s", words)
	}
}
