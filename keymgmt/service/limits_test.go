package service_test

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
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
		case !errors.Is(err, keymgmt.ErrDenied) || !strings.Contains(err.Error(), "limit.window"):
			t.Errorf("call %d: %v", n, err)
		}
	}
	if allowed != 10 {
		t.Errorf("%d payments were signed, want 10", allowed)
	}
	if got := r.spent(r.asset.String(), r.clock.now()); got != "1000" {
		t.Errorf("counter stands at %s", got)
	}
	r.proved()
	r.clock.advance(24 * time.Hour) // a window is never shorter than it says, and at most one of its parts longer
	if _, err := services[0].For(gateway).Sign(t.Context(), r.pay("too-soon", "100", to)); !errors.Is(err, keymgmt.ErrDenied) {
		t.Errorf("a day later to the second: %v", err)
	}
	r.clock.advance(15 * time.Minute)
	if _, err := services[0].For(gateway).Sign(t.Context(), r.pay("tomorrow", "100", to)); err != nil {
		t.Errorf("the next day: %v", err)
	}
}

// TestClocksThatDiffer: of two processes over one journal, the clock of one is as far behind the database's as it may be. A
// short window is not used up twice.
func TestClocksThatDiffer(t *testing.T) {
	r := newRig(t)
	r.clock.advance(time.Since(r.clock.now()))
	cfg := r.config()
	cfg.Policy = r.policy(func(f *policy.File) {
		key(f, keyIssuing).Transaction.Limits[0].Windows = []policy.Window{{Length: policy.Duration(time.Minute), Max: r.quantity("100")}}
	})
	open := func(now func() time.Time) keymgmt.Signer {
		cfg.Now = now
		svc, err := service.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return svc.For(gateway)
	}
	behind := open(func() time.Time { return time.Now().Add(-service.MaxClockDrift) })
	if _, err := behind.Sign(t.Context(), r.pay("tx/1", "100", r.account(keyDistribution))); err != nil {
		t.Fatal(err)
	}
	if _, err := open(nil).Sign(t.Context(), r.pay("tx/2", "100", r.account(keyDistribution))); !errors.Is(err, keymgmt.ErrDenied) {
		t.Errorf("twice the maximum of a window in the same moment: %v", err)
	}
	r.proved()
}

// TestOneSequenceNumberCountsOnce: of transactions with one sequence number the ledger applies one, so together they count
// as much as the largest, from the moment of the last.
func TestOneSequenceNumberCountsOnce(t *testing.T) {
	r := newRig(t)
	svc, to := r.open().For(gateway), r.account(keyDistribution)
	shared := func(ref, amount string) keymgmt.Request {
		r.sequence.Store(99)
		return r.pay(ref, amount, to)
	}
	for n, tt := range []struct{ ref, amount, counts string }{{"a", "60", "60"}, {"b", "40", "60"}, {"c", "100", "100"}, {"d", "1", "100"}} {
		if _, err := svc.Sign(t.Context(), shared(tt.ref, tt.amount)); err != nil {
			t.Fatal(err)
		}
		if got := r.spent(r.asset.String(), r.clock.now()); got != tt.counts {
			t.Errorf("after %d transactions with one number %s count, want %s", n+1, got, tt.counts)
		}
		r.clock.advance(10 * time.Hour)
	}
	// The last of them is ten hours old, the first forty: what any of them may still move counts all the same.
	if got := r.spent(r.asset.String(), r.clock.now()); got != "100" {
		t.Errorf("%s count in the end", got)
	}
	r.sequence.Store(1000)
	for n := range 10 {
		_, err := svc.Sign(t.Context(), r.pay(fmt.Sprint("own/", n), "100", to))
		if n < 9 && err != nil || n == 9 && !errors.Is(err, keymgmt.ErrDenied) {
			t.Errorf("payment %d with a number of its own: %v", n, err)
		}
	}
	r.proved()
	// Whoever has no room for one more may still replace what counts already.
	if _, err := svc.Sign(t.Context(), shared("e", "100")); err != nil {
		t.Errorf("a replacement: %v", err)
	}
}

// TestLimitsHoldInEveryWindow: whatever is asked, whenever, through whichever process, what was signed in any stretch of
// time of a window's length is within its maximum.
func TestLimitsHoldInEveryWindow(t *testing.T) {
	checks := flag.Lookup("rapid.checks").Value
	before := checks.String()
	t.Cleanup(func() { _ = checks.Set(before) })
	if before == "100" { // the default; each check has a database of its own
		_ = checks.Set("20")
	}
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t)
		to, window := r.account(keyDistribution), 24*time.Hour
		services := []*service.Service{r.open(), r.open()}
		type paid struct {
			at     time.Time
			amount int64
		}
		largest := map[int64]paid{} // sequence number -> the largest amount, at the last moment
		for n := range rapid.IntRange(5, 25).Draw(rt, "requests") {
			r.clock.advance(time.Duration(rapid.Int64Range(0, int64(8*time.Hour)).Draw(rt, "pause")))
			sequence := rapid.Int64Range(1, 12).Draw(rt, "sequence")
			amount := rapid.Int64Range(50, 100).Draw(rt, "amount")
			r.sequence.Store(sequence - 1)
			request := r.pay(fmt.Sprint("tx/", n), fmt.Sprint(amount), to)
			_, err := services[rapid.IntRange(0, 1).Draw(rt, "process")].For(gateway).Sign(t.Context(), request)
			if err != nil {
				if !errors.Is(err, keymgmt.ErrDenied) {
					rt.Fatal(err)
				}
				continue
			}
			largest[sequence] = paid{r.clock.now(), max(amount, largest[sequence].amount)}
			total := int64(0)
			for _, p := range largest {
				if r.clock.now().Sub(p.at) < window {
					total += p.amount
				}
			}
			if total > 1000 {
				rt.Fatalf("%d were signed within a day", total)
			}
		}
		r.proved()
	})
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
	r.clock.advance(25 * time.Hour)
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
