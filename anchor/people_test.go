package anchor_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
)

// strict is a signer that asks a real policy: more than 100 USD leave issuing and distribution only with two of treasury.
type strict struct {
	*signer
	policy *policy.Policy
	now    func() time.Time

	mu     sync.Mutex
	used   map[string]string // nonce -> ref
	signed map[string]bool   // refs
	asked  int
}

// Sign is part of keymgmt.Signer.
func (s *strict) Sign(ctx context.Context, r keymgmt.Request) (keymgmt.Signature, error) {
	if err := r.Validate(); err != nil {
		return keymgmt.Signature{}, err
	}
	m, err := payload.Decode(r.Kind, r.Body)
	if err != nil {
		return keymgmt.Signature{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if !s.signed[r.Ref] {
		facts := policy.Facts{Caller: "gateway", Now: s.now(), Spent: map[policy.Counter]*big.Int{}, Used: map[string]bool{}}
		for _, c := range r.Consents {
			if by, used := s.used[c.Nonce]; used && by != r.Ref {
				facts.Used[c.Nonce] = true
			}
		}
		if _, err := s.policy.Decide(r, m, facts); err != nil {
			return keymgmt.Signature{}, err
		}
		for _, c := range r.Consents {
			s.used[c.Nonce] = r.Ref
		}
		s.signed[r.Ref] = true
	}
	return s.signer.Sign(ctx, r)
}

func (s *strict) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// bank is a fixture whose signer wants people.
type bank struct {
	*fixture
	strict   *strict
	officers map[string]ed25519.PrivateKey
}

func needPeople(t *testing.T, f *fixture) *bank {
	t.Helper()
	b := &bank{fixture: f, officers: map[string]ed25519.PrivateKey{}}
	amount, err := policy.ParseQuantity("100000")
	if err != nil {
		t.Fatal(err)
	}
	bounds := policy.Bounds{PerTransaction: amount, PerDay: amount}
	a := f.cfg.Assets[0]
	setup := policy.Setup{Version: 7, Network: f.net.passphrase, Gateway: "gateway", Signer: "signer", AssetCode: "USD", HomeDomain: "bank.test", WebAuthDomain: "auth.bank.test",
		TokenIssuer: "https://auth.bank.test/auth", LogOrigin: "bank.test/audit", SignerOrigin: "bank.test/signer", Asset: bounds, Native: bounds, Starting: amount,
		Publics: policy.Publics{Root: f.cfg.Funding.Root, Issuing: a.Issuing, Distribution: a.Distribution}}
	for _, id := range []*protocol.AccountID{&setup.Publics.Challenge, &setup.Publics.Token, &setup.Publics.Log, &setup.Publics.SignerLog} {
		*id = nodetest.NewWallet(t).ID
	}
	file, err := setup.File()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "bob", "carol", "officer", "paycircle"} {
		public, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		id, err := protocol.AccountIDFromKey(public)
		if err != nil {
			t.Fatal(err)
		}
		b.officers[name] = private
		file.Officers = append(file.Officers, policy.Officer{Name: name, Public: policy.Ledger(id), Groups: []string{"treasury"}})
	}
	hundred, err := policy.ParseQuantity("100")
	if err != nil {
		t.Fatal(err)
	}
	for i := range file.Keys {
		if r := file.Keys[i].Transaction; r != nil && !strings.HasPrefix(file.Keys[i].ID.String(), "network") {
			r.Approvals = []policy.ApprovalRule{{Above: &policy.Threshold{Asset: f.asset, Amount: hundred}, Needs: []policy.Need{{Group: "treasury", Count: 2}}}}
		}
	}
	raw, err := policy.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := policy.Sign(raw, private)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(raw, sig, policy.Alone(public))
	if err != nil {
		t.Fatal(err)
	}
	b.strict = &strict{signer: f.sig, policy: p, now: f.net.now, used: map[string]string{}, signed: map[string]bool{}}
	f.parts.Signer = b.strict
	f.cfg.PeopleLife = 5 * time.Minute
	f.make()
	return b
}

// consent is an officer's approval of a request as he reads it for himself.
func (b *bank) consent(a anchor.ApprovalRequest, officer string, version uint64) anchor.Consent {
	b.t.Helper()
	key, err := keymgmt.ParseKeyID(a.Key)
	if err != nil {
		b.t.Fatal(err)
	}
	r := keymgmt.Request{Key: key, Kind: keymgmt.KindTransaction, Body: a.Body, Ref: a.Ref, Initiator: a.Initiator}
	m, err := payload.Decode(r.Kind, r.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	intent, err := policy.IntentOf(r, m, version)
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := intent.Approve(keymgmt.Consent{Officer: officer, Nonce: keymgmt.NewNonce(), Expires: b.net.now().Add(time.Hour)}, b.officers[officer])
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bank) give(id string, c anchor.Consent) {
	b.t.Helper()
	if err := b.svc.Approve(b.ctx, staffActor, id, c); err != nil {
		b.t.Fatal(err)
	}
}

// waits returns the one request that is open and lives long enough.
func (b *bank) waits() (a anchor.ApprovalRequest) {
	b.t.Helper()
	b.within("a request for people", func() (bool, any) {
		list, err := b.svc.Approvals(b.ctx, false, anchor.Page{})
		if len(list) == 1 {
			a = list[0]
		}
		return err == nil && len(list) == 1 && a.Until.Sub(b.net.now()) > time.Minute, []any{list, err}
	})
	return a
}

// becomes waits until the signer has looked at all approvals of a request, and returns what it thinks of each.
func (b *bank) becomes(id string, want map[string]string) (a anchor.ApprovalRequest) {
	b.t.Helper()
	b.within("approvals are looked at", func() (bool, any) {
		var err error
		a, err = b.svc.Approval(b.ctx, id)
		got := map[string]string{}
		for _, g := range a.Given {
			got[g.Officer] = g.State
		}
		return err == nil && maps.Equal(got, want), []any{a, err}
	})
	return a
}

func (b *bank) deposits(w nodetest.Wallet, amount string) anchor.Transaction {
	b.t.Helper()
	d := b.deposit(w)
	b.bring(b.statement("in-"+d.ID, b.credit(amount, d.Reference)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	return d
}

// TestPeopleApprove: what is over the threshold waits until enough officers have approved it, whatever else is handed in,
// and is done once.
func TestPeopleApprove(t *testing.T) {
	b := needPeople(t, newFixture(t))
	b.start()
	b.ready()
	w := b.customer("alice")
	d := b.deposits(w, "500.00")
	a := b.waits()
	if a.Initiator != "paycircle" || a.Key != "anchor/usd/issuing" || a.Ref != "issue/deposit/"+d.ID+"/1/2" || !strings.Contains(a.Why, "2 of treasury") {
		t.Errorf("%+v", a)
	}
	other := a
	other.Ref = "issue/deposit/" + d.ID + "/1/1"
	wrong := b.consent(a, "bob", 7)
	wrong.Officer = "carol"
	b.give(a.ID, wrong)
	b.give(a.ID, b.consent(other, "bob", 7))
	b.give(a.ID, b.consent(a, "paycircle", 7))
	b.give(a.ID, b.consent(a, "officer", 8))
	a = b.becomes(a.ID, map[string]string{"carol": "refused", "bob": "refused", "paycircle": "refused", "officer": "refused"})
	for i, why := range []string{"approval.signature", "approval.signature", "approval.initiator", "approval.signature"} {
		if !strings.Contains(a.Given[i].Reason, why) {
			t.Errorf("approval %d was refused because %q", i, a.Given[i].Reason)
		}
	}
	if err := b.svc.Approve(b.ctx, staffActor, a.ID, anchor.Consent{Officer: "bob"}); !errors.Is(err, anchor.ErrInvalid) {
		t.Errorf("no approval at all: %v", err)
	}
	if err := b.svc.Approve(b.ctx, staffActor, strings.Repeat("0", 32), wrong); !errors.Is(err, anchor.ErrNotFound) {
		t.Errorf("of no request: %v", err)
	}
	b.give(a.ID, b.consent(a, "carol", 7))
	b.give(a.ID, b.consent(a, "carol", 7)) // she does not count twice
	b.becomes(a.ID, map[string]string{"carol": "good", "bob": "refused", "paycircle": "refused", "officer": "refused"})
	asked := b.strict.times()
	if tx, err := b.svc.Transaction(b.ctx, anchor.Lookup{Account: w.ID, ID: d.ID}); err != nil || tx.Status != "pending_anchor" {
		t.Errorf("%+v %v", tx, err)
	}
	b.give(a.ID, b.consent(a, "bob", 7))
	b.reaches(w, d.ID, "completed")
	if n := b.strict.times() - asked; n > 5 {
		t.Errorf("the signer was asked %d times", n)
	}
	if got, err := b.svc.Approval(b.ctx, a.ID); err != nil || got.State != "granted" {
		t.Errorf("%+v %v", got, err)
	}
	if err := b.svc.Approve(b.ctx, staffActor, a.ID, b.consent(a, "alice", 7)); !errors.Is(err, anchor.ErrConflict) {
		t.Errorf("approved too late: %v", err)
	}
	if err := b.svc.Decline(b.ctx, staffActor, a.ID, "no"); !errors.Is(err, anchor.ErrConflict) {
		t.Errorf("declined too late: %v", err)
	}
	if all, err := b.svc.Approvals(b.ctx, true, anchor.Page{}); err != nil || len(all) != 2 || all[0].State != "closed" || all[0].Outcome == "" {
		t.Errorf("%+v %v", all, err) // the first attempt lived too short
	}
	if got := b.balance(w.ID); got != "500.0000000" {
		t.Errorf("balance %s", got)
	}
	b.sound()
}

// TestPeopleTooLate: when the time is over the request is closed, others have their turn, and approvals given before are
// worth nothing for the next.
func TestPeopleTooLate(t *testing.T) {
	b := needPeople(t, newFixture(t))
	b.start()
	b.ready()
	w := b.customer("alice")
	d := b.deposits(w, "500.00")
	first := b.waits()
	b.give(first.ID, b.consent(first, "bob", 7))
	b.becomes(first.ID, map[string]string{"bob": "good"})
	small := b.deposits(w, "50.00")
	b.net.close(6 * time.Minute)
	b.within("the request is closed", func() (bool, any) {
		a, err := b.svc.Approval(b.ctx, first.ID)
		return err == nil && a.State == "closed" && a.Outcome == "its time has passed", []any{a, err}
	})
	b.reaches(w, small.ID, "completed")
	b.net.close(2 * time.Minute)
	second := b.waits()
	if second.Ref == first.Ref || second.SHA256 == first.SHA256 {
		t.Fatalf("%+v", second)
	}
	b.give(second.ID, b.consent(first, "alice", 7))
	again, err := b.svc.Approval(b.ctx, first.ID)
	if err != nil {
		t.Fatal(err)
	}
	replayed := b.consent(first, "carol", 7)
	replayed.Nonce, replayed.Officer = again.Given[0].Nonce, "bob"
	b.give(second.ID, replayed)
	b.becomes(second.ID, map[string]string{"alice": "refused", "bob": "refused"})
	b.give(second.ID, b.consent(second, "alice", 7))
	b.give(second.ID, b.consent(second, "carol", 7))
	b.reaches(w, d.ID, "completed")
	if got := b.balance(w.ID); got != "550.0000000" {
		t.Errorf("balance %s", got)
	}
	b.sound()
}

// TestTwoWhoWait: two that nobody approves do not take turns and leave the others nothing.
func TestTwoWhoWait(t *testing.T) {
	b := needPeople(t, newFixture(t))
	b.start()
	b.ready()
	w := b.customer("alice")
	b.deposits(w, "500.00")
	b.waits()
	b.deposits(w, "600.00")
	for range 3 {
		small := b.deposits(w, "50.00")
		b.net.close(6 * time.Minute)
		b.reaches(w, small.ID, "completed")
		b.net.close(2 * time.Minute)
		b.waits()
	}
	b.sound()
}

// TestPeopleDecline: a request that staff decline is given to a person as what the signer refuses, and frees its account.
func TestPeopleDecline(t *testing.T) {
	b := needPeople(t, newFixture(t))
	b.start()
	b.ready()
	w := b.customer("alice")
	d := b.deposits(w, "500.00")
	a := b.waits()
	if err := b.svc.Decline(b.ctx, staffActor, a.ID, " "); !errors.Is(err, anchor.ErrInvalid) {
		t.Errorf("without a reason: %v", err)
	}
	b.give(a.ID, b.consent(a, "bob", 7))
	if err := b.svc.Decline(b.ctx, staffActor, a.ID, "not what the customer wants"); err != nil {
		t.Fatal(err)
	}
	b.reaches(w, d.ID, "on_hold")
	b.reaches(w, b.deposits(w, "50.00").ID, "completed")
	held, err := b.svc.Quarantine(b.ctx, keeper, anchor.Page{})
	if err != nil || len(held) != 1 || !strings.Contains(held[0].Detail, "declined by officer: not what the customer wants") {
		t.Errorf("%+v %v", held, err)
	}
	b.books(map[book.Code]string{"bank/USD": "550.0000000", "suspense/USD": "500.0000000", "issued/USD": "50.0000000"})
	b.sound()
}

// TestPeopleRefund: what staff decide waits for people too, and whoever decided it is not among those who approve.
func TestPeopleRefund(t *testing.T) {
	b := needPeople(t, newFixture(t))
	b.start()
	b.ready()
	w := b.customer("alice")
	for range 6 {
		b.fund(w, "50.00")
	}
	b.pay(w, "300", protocol.NoMemo())
	a := b.waits() // a payment without a memo goes back by itself, on nobody's word
	if a.Initiator != "" || a.Key != "anchor/usd/distribution" || !strings.HasPrefix(a.Ref, "refund/") {
		t.Errorf("%+v", a)
	}
	for _, name := range []string{"alice", "bob"} {
		b.give(a.ID, b.consent(a, name, 7))
	}
	b.within("the money is back", func() (bool, any) { return b.balance(w.ID) == "300.0000000", b.balance(w.ID) })
	b.within("it is known", func() (bool, any) { n := b.records("payment.refunded"); return n == 1, n })
	b.sound()
}

// TestPeopleAndCrashes: officers approve at random moments, time jumps past the bounds of what waits, and the anchor dies
// at every step. Every deposit is issued once.
func TestPeopleAndCrashes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	b := needPeople(t, newFixture(t))
	m := mortalOf(t, b.fixture)
	m.ready()
	w := m.customer("alice")
	m.k.again = func() int { return random.IntN(25) } // called by one goroutine at a time
	m.k.arm("*", 3)
	const rounds = 4
	for n := range rounds {
		var d anchor.Transaction
		m.call(func() (err error) {
			d, err = m.svc.Deposit(m.ctx, anchor.DepositRequest{Account: w.ID, Asset: "USD", Key: string(rune('a' + n))})
			return err
		})
		file := m.statement(d.ID, m.credit("200.00", d.Reference))
		m.call(func() error { _, err := m.svc.ImportStatement(m.ctx, partnerActor, keeper, file); return err })
		steps := rand.New(rand.NewPCG(seed, uint64(n)+2))
		m.within("deposit completed", func() (bool, any) {
			list, err := m.svc.Approvals(m.ctx, false, anchor.Page{})
			for _, a := range list {
				if steps.IntN(20) > 0 {
					continue
				}
				officers := slices.Sorted(maps.Keys(b.officers))
				_ = m.svc.Approve(m.ctx, staffActor, a.ID, b.consent(a, officers[steps.IntN(len(officers))], 7)) // it may be over already
			}
			if steps.IntN(250) == 0 {
				m.net.close(time.Duration(1+steps.IntN(7)) * time.Minute)
			}
			tx, err2 := m.svc.Transaction(m.ctx, anchor.Lookup{Account: w.ID, ID: d.ID})
			return tx.Status == "completed", []any{tx.Status, err, err2, list}
		})
	}
	if got, want := m.balance(w.ID), "800.0000000"; got != want {
		t.Errorf("balance %s, want %s; %s", got, want, m.state())
	}
	m.sound()
	t.Logf("%d kills", m.k.killed())
}

// TestPeopleAndDelays: what the signer wants to lie for a while lies, where people can see it, and is asked for again when
// its time has come.
func TestPeopleAndDelays(t *testing.T) {
	f := newFixture(t)
	f.cfg.PeopleLife = 10 * time.Minute
	f.make()
	f.start()
	f.ready()
	w := f.customer("alice")
	due := f.net.now().Add(3 * time.Minute)
	f.sig.behave(&keymgmt.Early{NotBefore: due})
	d := f.deposit(w)
	f.bring(f.statement("s", f.credit("10.00", d.Reference)), anchor.Imported{Entries: 1, Booked: 1, Matched: 1})
	f.within("it is seen to lie", func() (bool, any) {
		list, err := f.svc.Approvals(f.ctx, false, anchor.Page{})
		return len(list) == 1 && list[0].Until.Sub(due) > time.Minute && strings.Contains(list[0].Why, "not yet"), []any{list, err}
	})
	f.sig.behave(nil)
	f.net.close(4 * time.Minute)
	f.reaches(w, d.ID, "completed")
	f.sound()
}
