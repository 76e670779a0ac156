package policy_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
)

func hours(t *testing.T, list ...string) (all []policy.Hours) {
	t.Helper()
	for _, s := range list {
		h, err := policy.ParseHours(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
	return all
}

// moment reads a time of the week in which now, a Sunday, is.
func moment(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestHours(t *testing.T) {
	b := newBank(t)
	b.rule(issuing).Hours = hours(t, "mon-fri 08:00-18:00", "sat 09:30-12:00")
	r := b.by(issuing, b.pay("1"))
	for at, next := range map[string]string{
		"2026-03-02T08:00:00Z": "", "2026-03-02T17:59:59Z": "", "2026-03-06T12:00:00Z": "", "2026-03-07T09:30:00Z": "",
		"2026-03-02T07:59:59Z":      "2026-03-02T08:00:00Z",
		"2026-03-02T18:00:00Z":      "2026-03-03T08:00:00Z",
		"2026-03-06T18:00:00Z":      "2026-03-07T09:30:00Z",
		"2026-03-07T12:00:00Z":      "2026-03-09T08:00:00Z",
		"2026-03-01T12:00:00Z":      "2026-03-02T08:00:00Z",
		"2026-03-02T08:00:00+02:00": "2026-03-02T08:00:00Z", // the zone of the machine means nothing
	} {
		f := facts()
		f.Now = moment(t, at)
		_, err := b.decide(r, f)
		if until, early := keymgmt.NotBefore(err); next == "" && err != nil || next != "" && (!early || !errors.Is(err, keymgmt.ErrNotYet) || !until.Equal(moment(t, next))) {
			t.Errorf("at %s: %v, want %q", at, err, next)
		}
	}
	for _, text := range []string{"", "mon", "mon 8:00-18:00", "mon 18:00-08:00", "fri-mon 08:00-18:00", "mon-mon 08:00-18:00", "Mon 08:00-18:00", "mon 08:00-24:01",
		"mon 08:60-18:00", "mon 08:00-18:00 ", "mon  08:00-18:00", "mon +8:00-18:00", "day 08:00-18:00", "mon 08:00-08:00"} {
		if _, err := policy.ParseHours(text); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if h := hours(t, "mon-sun 00:00-24:00")[0]; h.String() != "mon-sun 00:00-24:00" {
		t.Error(h)
	}
}

// withDelays makes payments of more than 100 USD lie for five minutes.
func withDelays(b *bank) {
	b.rule(issuing).Delays = []policy.DelayRule{{Above: &policy.Amount{Of: b.usd.String(), Amount: quantity(b.t, "100")}, Wait: policy.Duration(5 * time.Minute)}}
}

func TestDelays(t *testing.T) {
	b := newBank(t)
	withDelays(b)
	small, large := b.by(issuing, b.pay("100")), b.by(issuing, b.pay("60"), b.pay("40.0000001"))
	if _, err := b.decide(small, facts()); err != nil {
		t.Errorf("not above: %v", err)
	}
	f := facts()
	_, err := b.decide(large, f)
	var denial *policy.Denial
	if at, early := keymgmt.NotBefore(err); !early || !at.Equal(now.Add(5*time.Minute)) || !errors.As(err, &denial) || !denial.Unseen() || denial.Rule != "delay" {
		t.Fatalf("first seen: %v", err)
	}
	f.FirstSeen = now.Add(-5*time.Minute + time.Second)
	_, err = b.decide(large, f)
	if at, early := keymgmt.NotBefore(err); !early || !at.Equal(now.Add(time.Second)) || !errors.As(err, &denial) || denial.Unseen() {
		t.Errorf("a second early: %v", err)
	}
	f.FirstSeen = now.Add(-5 * time.Minute)
	if _, err := b.decide(large, f); err != nil {
		t.Errorf("in time: %v", err)
	}
	wantDenial(t, b, b.by(issuing, b.pay("1001")), f, "transaction.limit.per_transaction") // whatever has lain
	b.rule(issuing).Delays = append(b.rule(issuing).Delays, policy.DelayRule{Wait: policy.Duration(6 * time.Minute)})
	if _, err := b.decide(large, f); !errors.Is(err, keymgmt.ErrNotYet) {
		t.Errorf("the longest of two counts: %v", err)
	}
	if _, err := b.decide(small, facts()); !errors.Is(err, keymgmt.ErrNotYet) {
		t.Errorf("without a threshold: %v", err)
	}
	slices.Reverse(b.rule(issuing).Delays)
	if _, err := b.decide(large, f); !errors.Is(err, keymgmt.ErrNotYet) {
		t.Errorf("the longest of two counts, in any order: %v", err)
	}
}

// TestDelayRunsWhilePeopleThink: what lacks approvals is seen all the same, and what has lain still needs them.
func TestDelayRunsWhilePeopleThink(t *testing.T) {
	b := newBank(t)
	all := withOfficers(t, b)
	withDelays(b)
	r := b.by(issuing, b.pay("500"))
	_, err := b.decide(r, facts())
	var denial *policy.Denial
	if !errors.As(err, &denial) || !errors.Is(err, keymgmt.ErrApprovalNeeded) || !denial.Unseen() {
		t.Fatalf("first seen: %v", err)
	}
	f := facts()
	f.FirstSeen = now.Add(-time.Hour)
	if _, err = b.decide(r, f); !errors.As(err, &denial) || !errors.Is(err, keymgmt.ErrApprovalNeeded) || denial.Unseen() {
		t.Errorf("without approvals: %v", err)
	}
	r.Consents = all.approve(t, r, 1, "alice", "carol", "dan")
	if _, err = b.decide(r, f); err != nil {
		t.Errorf("lain and approved: %v", err)
	}
	if _, err = b.decide(r, facts()); !errors.Is(err, keymgmt.ErrNotYet) || errors.Is(err, keymgmt.ErrApprovalNeeded) {
		t.Errorf("approved and not seen: %v", err)
	}
}

func TestTimesThatMeanNothing(t *testing.T) {
	for name, change := range map[string]func(b *bank, d *policy.DelayRule){
		"too short":            func(_ *bank, d *policy.DelayRule) { d.Wait = policy.Duration(time.Second) },
		"longer than it lives": func(_ *bank, d *policy.DelayRule) { d.Wait = policy.Duration(10 * time.Minute) },
		"no amount":            func(_ *bank, d *policy.DelayRule) { d.Above.Amount = policy.Quantity{} },
		"nothing of the key's": func(_ *bank, d *policy.DelayRule) { d.Above.Of = "native" },
		"of the fee":           func(_ *bank, d *policy.DelayRule) { d.Above.Of = policy.FeeCounter },
		"too exact":            func(b *bank, d *policy.DelayRule) { d.Above.Amount = quantity(b.t, "1.00000001") },
		"of a log":             func(b *bank, d *policy.DelayRule) { b.rule("audit/log").Delays = []policy.DelayRule{{Wait: d.Wait}} },
		"ends before it begins": func(b *bank, _ *policy.DelayRule) {
			b.file.ValidFrom, b.file.ValidUntil = policy.DateOf(now), policy.DateOf(now)
		},
	} {
		b := newBank(t)
		withDelays(b)
		if _, err := policy.Marshal(b.file); err != nil {
			t.Fatal(err)
		}
		change(b, &b.rule(issuing).Delays[0])
		if _, err := policy.Marshal(b.file); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "2026-03-01", "2026-03-01T12:00:00+01:00", "2026-03-01T12:00:00.5Z", "2026-03-01 12:00:00Z"} {
		if err := new(policy.Date).UnmarshalText([]byte(text)); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestStalePolicy: outside of its life a policy allows nothing, and nobody is told that he was denied for good.
func TestStalePolicy(t *testing.T) {
	b := newBank(t)
	b.file.ValidFrom, b.file.ValidUntil = policy.DateOf(now.Add(-time.Minute)), policy.DateOf(now.Add(time.Minute))
	r := b.by(issuing, b.pay("1"))
	for at, want := range map[time.Duration]bool{-time.Minute - time.Second: false, -time.Minute: true, time.Minute - time.Second: true, time.Minute: false} {
		f := facts()
		f.Now = now.Add(at)
		_, err := b.decide(r, f)
		if want != (err == nil) || !want && (!errors.Is(err, keymgmt.ErrUnavailable) || errors.Is(err, keymgmt.ErrDenied)) {
			t.Errorf("at %s: %v", at, err)
		}
	}
}

// TestTimesAreKept: what is written into a file is read from it.
func TestTimesAreKept(t *testing.T) {
	b := newBank(t)
	withDelays(b)
	b.rule(issuing).Hours, b.rule(distribution).Account = hours(t, "mon-fri 08:00-18:00"), new(newAccount(t))
	b.file.ValidFrom, b.file.ValidUntil = policy.DateOf(now), policy.DateOf(now.Add(time.Hour))
	text, err := policy.Marshal(b.file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := policy.Check(text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := policy.Marshal(got)
	if err != nil || string(again) != string(text) {
		t.Errorf("%v\n%s\n%s", err, text, again)
	}
	if got.ValidFrom == nil || got.ValidUntil == nil || *got.ValidUntil != *b.file.ValidUntil {
		t.Errorf("life %s", got.Life)
	}
	for _, k := range got.Keys {
		want := b.rule(k.ID.String())
		if len(k.Hours) != len(want.Hours) || len(k.Delays) != len(want.Delays) || (k.Account == nil) != (want.Account == nil) {
			t.Errorf("%s: %+v", k.ID, k)
		}
	}
}
