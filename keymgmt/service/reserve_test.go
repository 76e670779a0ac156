package service_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// reserveRig is a rig whose issuer needs an attested reserve.
type reserveRig struct {
	*rig
	treasury ed25519.PrivateKey
	rule     policy.ReserveRule
	cfg      service.Config
}

func newSignatory(t testing.TB, name string) (policy.Signatory, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := protocol.AccountIDFromKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Signatory{Name: name, Public: policy.Ledger(id)}, private
}

func newReserveRig(t testing.TB) *reserveRig {
	t.Helper()
	r := &reserveRig{rig: newRig(t)}
	r.setup.Asset.PerDay = r.quantity("1000000")
	treasury, private := newSignatory(t, "treasury")
	r.treasury = private
	r.rule = policy.ReserveRule{Asset: r.asset, MaxAge: policy.Duration(time.Hour), Attestors: []policy.Signatory{treasury}}
	r.cfg = r.config()
	r.cfg.Policy = r.ruled()
	return r
}

// ruled is the rig's policy with the reserve rule.
func (r *reserveRig) ruled() *policy.Policy {
	return r.policy(func(f *policy.File) {
		for i := range f.Keys {
			if f.Keys[i].ID == keyIssuing {
				f.Keys[i].Transaction.Reserves = []policy.ReserveRule{r.rule}
			}
		}
	})
}

func (r *reserveRig) start() *service.Service {
	r.t.Helper()
	s, err := service.Open(context.Background(), r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// word is an attestation of these figures, as of now.
func (r *reserveRig) word(reserve, outstanding string, ledger, sequence int64) keymgmt.Attestation {
	r.t.Helper()
	a, err := policy.SignAttestation(passphrase.NetworkID(), keymgmt.Attestation{Asset: r.asset.String(), Reserve: reserve + ".0000000", Outstanding: outstanding + ".0000000",
		Ledger: ledger, Closed: r.clock.now(), Sequence: sequence, Issued: r.clock.now(), Attestor: "treasury"}, r.treasury)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// issue asks to issue so much with a sequence number, to be applied within a time.
func (r *reserveRig) issue(ref string, amount, sequence int64, within time.Duration) keymgmt.Request {
	r.t.Helper()
	sum, err := protocol.AmountFromStroops(amount * protocol.One)
	if err != nil {
		r.t.Fatal(err)
	}
	u, err := txbuild.Build(txbuild.Params{Passphrase: passphrase, Source: r.account(keyIssuing), Sequence: sequence, FeePerOp: 100, NotAfter: r.clock.now().Add(within),
		Operations: []txbuild.Operation{txbuild.Payment{Destination: r.account(keyDistribution), Asset: r.asset, Amount: sum}}})
	if err != nil {
		r.t.Fatal(err)
	}
	return keymgmt.Request{Key: keyIssuing, Kind: keymgmt.KindTransaction, Body: u.SignatureBase(), Ref: ref}
}

// TestReserve: what is issued counts until it is known to be over, by its number or by its time, whoever is asked.
func TestReserve(t *testing.T) {
	r := newReserveRig(t)
	first, second := r.start(), r.start()
	n := 0
	issue := func(svc *service.Service, amount, sequence int64, within time.Duration, want string) {
		t.Helper()
		n++
		_, err := svc.For(gateway).Sign(t.Context(), r.issue(fmt.Sprint("tx/", n), amount, sequence, within))
		if want == "" && err != nil || want != "" && (!errors.Is(err, keymgmt.ErrNotYet) || !strings.Contains(err.Error(), "rule "+want+":")) {
			t.Errorf("request %d: %v, want %q", n, err, want)
		}
	}
	attest := func(a keymgmt.Attestation, want error) {
		t.Helper()
		if err := first.Attest(t.Context(), "bank.example", a); !errors.Is(err, want) {
			t.Errorf("ledger %d: %v, want %v", a.Ledger, err, want)
		}
	}
	issue(first, 1, 10, time.Minute, "transaction.reserve") // nobody has said anything yet
	start := r.word("100", "0", 1, 9)
	attest(start, nil)
	attest(start, nil) // delivered twice
	issue(first, 60, 10, time.Minute, "")
	issue(second, 41, 11, time.Minute, "transaction.reserve")
	issue(second, 61, 10, time.Minute, "")                     // instead of the one before
	issue(first, 60, 10, 5*time.Minute, "")                    // instead again: the largest counts
	issue(first, 40, 11, 3*time.Minute, "transaction.reserve") // so one too much
	issue(first, 39, 11, 3*time.Minute, "")
	r.clock.advance(2 * time.Minute)
	attest(r.word("100", "0", 2, 9), nil) // 61 is over, its 60 of the same number is not
	issue(second, 2, 12, time.Minute, "transaction.reserve")
	issue(second, 1, 12, time.Minute, "")
	r.clock.advance(time.Second)
	attest(r.word("100", "60", 3, 10), nil) // number 10 was applied
	issue(second, 1, 13, time.Minute, "transaction.reserve")
	r.clock.advance(time.Second)
	attest(r.word("200", "99", 4, 11), nil) // 11 too, and money came in
	issue(r.start(), 100, 13, time.Minute, "")
	issue(r.start(), 1, 14, time.Minute, "transaction.reserve")
	attest(start, keymgmt.ErrDenied)
	attest(r.word("900", "0", 4, 11), keymgmt.ErrDenied) // another word on the same ledger
	r.clock.advance(time.Second)
	attest(r.word("900", "0", 5, 10), keymgmt.ErrDenied) // numbers do not go back
	r.clock.advance(time.Hour)
	issue(first, 1, 14, time.Minute, "transaction.reserve.max_age")
	var records int
	if r.query(&records, `SELECT count(*) FROM audit.record WHERE action = 'reserve.attested'`); records != 4 {
		t.Errorf("%d attestations are on record", records)
	}
}

// TestAttestationsOfThieves: neither the attestor's name, nor the signer's password, nor the words of a time gone by open
// a reserve.
func TestAttestationsOfThieves(t *testing.T) {
	r := newReserveRig(t)
	svc := r.start()
	rich := r.word("900", "0", 6, 9)
	if err := svc.Attest(t.Context(), gateway, rich); err != nil {
		t.Fatal(err)
	}
	r.clock.advance(time.Second)
	honest := r.word("100", "0", 7, 9)
	_, mallory := newSignatory(t, "treasury")
	forged, err := policy.SignAttestation(passphrase.NetworkID(), r.word("900", "0", 8, 9), mallory)
	if err != nil {
		t.Fatal(err)
	}
	bent := r.word("100", "0", 8, 9)
	bent.Reserve = "900.0000000"
	for name, a := range map[string]keymgmt.Attestation{"by a stranger": forged, "bent": bent} {
		if err := svc.Attest(t.Context(), gateway, a); !errors.Is(err, keymgmt.ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := svc.Attest(t.Context(), gateway, honest); err != nil {
		t.Fatal(err)
	}
	if err := svc.Attest(t.Context(), gateway, rich); !errors.Is(err, keymgmt.ErrDenied) {
		t.Errorf("rolled back: %v", err)
	}
	var refusals int
	if r.query(&refusals, `SELECT count(*) FROM audit.record WHERE action = 'attestation.refused'`); refusals != 3 {
		t.Errorf("%d of three refusals are on record", refusals)
	}
	for i, row := range []string{
		`INSERT INTO signer.attestation SELECT asset, public, 8, jsonb_set(body, '{ledger}', '8') FROM signer.attestation WHERE ledger = 7`,                                  // no signature covers 8
		`INSERT INTO signer.attestation SELECT asset, public, 9, body FROM signer.attestation WHERE ledger = 6`,                                                              // old words under a new number
		`INSERT INTO signer.attestation SELECT asset, public, 10, jsonb_set(body, '{ledger}', '10') || '{"reserve":"900.0000000"}' FROM signer.attestation WHERE ledger = 7`, // more
		`INSERT INTO signer.attestation SELECT asset, public, 11, body || '{"closed":"2099-01-01T00:00:00Z","ledger":11}' FROM signer.attestation WHERE ledger = 7`,          // all is over
	} {
		r.must(row)
		if _, err := svc.For(gateway).Sign(t.Context(), r.issue(fmt.Sprint("tx/", i), 101, 10, time.Minute)); err == nil {
			t.Errorf("signed after %s", row)
		}
	}
	for _, statement := range []string{`UPDATE signer.attestation SET ledger = 99`, `DELETE FROM signer.issuance`, `DELETE FROM signer.attestation`} {
		if err := r.exec(statement); err == nil {
			t.Errorf("%s was carried out", statement)
		}
	}
}

// TestAnAttestorWhoIsNotOneAnyMore: with a new policy his words count no more, not even those that came before.
func TestAnAttestorWhoIsNotOneAnyMore(t *testing.T) {
	r := newReserveRig(t)
	if err := r.start().Attest(t.Context(), gateway, r.word("100", "0", 1000, 9)); err != nil {
		t.Fatal(err)
	}
	auditor, private := newSignatory(t, "treasury") // the name stays, the key is another's
	r.rule.Attestors = []policy.Signatory{auditor}
	r.setup.Version++
	r.cfg.Policy = r.ruled()
	svc := r.start()
	if _, err := svc.For(gateway).Sign(t.Context(), r.issue("tx/1", 1, 10, time.Minute)); !errors.Is(err, keymgmt.ErrNotYet) {
		t.Errorf("on the word of who is gone: %v", err)
	}
	r.treasury = private
	if err := svc.Attest(t.Context(), gateway, r.word("100", "0", 5, 9)); err != nil {
		t.Fatal(err) // and the ledger that he named does not bind his successor
	}
	if _, err := svc.For(gateway).Sign(t.Context(), r.issue("tx/1", 1, 10, time.Minute)); err != nil {
		t.Error(err)
	}
}

// TestARuleThatComesLater knows what was issued before it.
func TestARuleThatComesLater(t *testing.T) {
	r := newReserveRig(t)
	if _, err := r.open().For(gateway).Sign(t.Context(), r.issue("tx/1", 60, 10, 5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	r.setup.Version++
	r.cfg.Policy = r.ruled()
	svc := r.start()
	if err := svc.Attest(t.Context(), gateway, r.word("100", "0", 1, 9)); err != nil {
		t.Fatal(err)
	}
	for amount, want := range map[int64]error{41: keymgmt.ErrNotYet, 40: nil} {
		if _, err := svc.For(gateway).Sign(t.Context(), r.issue(fmt.Sprint("later/", amount), amount, 11, time.Minute)); !errors.Is(err, want) {
			t.Errorf("%d: %v", amount, err)
		}
	}
}

// chain is a ledger that applies, of all that was signed, what does most harm.
type chain struct {
	mu          sync.Mutex
	signed      []*payload.Transaction // guarded by mu
	outstanding int64                  // whole units
	sequence    int64
	ledger      int64
}

// worst applies every signed transaction that can still be, and of each number the largest.
func (c *chain) worst(closed time.Time, upTo int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ledger++
	largest := map[int64]int64{}
	for _, t := range c.signed {
		if t.Sequence > c.sequence && t.Sequence <= upTo && !t.MaxTime.Before(closed) {
			amount := t.Operations[0].(payload.Payment).Amount.Int64() / protocol.One
			largest[t.Sequence] = max(largest[t.Sequence], amount)
		}
	}
	for n, amount := range largest {
		c.outstanding += amount
		c.sequence = max(c.sequence, n)
	}
}

// TestNoScheduleExceedsTheReserve: many ask several processes over one database for issuances of any size, number and
// life, some give up on the way, and the ledger applies all that it can and is attested in between. It is never over the
// reserve by one unit, and in the end the reserve is used up.
func TestNoScheduleExceedsTheReserve(t *testing.T) {
	const rounds, callers, reserve = 30, 12, 3000
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	random := mathrand.New(mathrand.NewPCG(seed, 0))
	r := newReserveRig(t)
	services := []*service.Service{r.start(), r.start(), r.start()}
	c := &chain{sequence: 9}
	for round := range rounds {
		r.clock.advance(time.Duration(1+random.IntN(40)) * time.Second)
		c.worst(r.clock.now(), c.sequence+int64(random.IntN(6)))
		if c.outstanding > reserve {
			t.Fatalf("round %d: %d are out, %d in reserve", round, c.outstanding, reserve)
		}
		word := r.word(fmt.Sprint(reserve), fmt.Sprint(c.outstanding), c.ledger, c.sequence)
		var wg sync.WaitGroup
		wg.Go(func() {
			for errors.Is(services[round%3].Attest(t.Context(), gateway, word), keymgmt.ErrUnavailable) {
			}
		})
		for i := range callers {
			request := r.issue(fmt.Sprint("tx/", round, "/", i), 1+random.Int64N(100), c.sequence+1+random.Int64N(8), time.Duration(1+random.IntN(120))*time.Second)
			patience := time.Duration(random.IntN(200)) * time.Millisecond
			wg.Go(func() { c.ask(t, services[i%3], request, patience) })
		}
		wg.Wait()
	}
	c.worst(r.clock.now(), c.sequence+1000)
	if c.outstanding > reserve {
		t.Fatalf("%d are out, %d in reserve", c.outstanding, reserve)
	}
	if c.outstanding < reserve/2 {
		t.Errorf("only %d of %d were ever issued: the test tests nothing", c.outstanding, reserve)
	}
}

// ask takes what is signed to the ledger. Who gives up may have been signed for all the same.
func (c *chain) ask(t *testing.T, svc *service.Service, request keymgmt.Request, patience time.Duration) {
	m, err := payload.Decode(request.Kind, request.Body)
	if err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = keymgmt.ErrUnavailable
	for errors.Is(err, keymgmt.ErrUnavailable) {
		_, err = svc.For(gateway).Sign(ctx, request)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		if _, err = svc.For(gateway).Sign(t.Context(), request); errors.Is(err, keymgmt.ErrUnavailable) {
			return
		}
	}
	switch {
	case err == nil:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.signed = append(c.signed, m.Transaction)
	case !errors.Is(err, keymgmt.ErrNotYet):
		t.Error(err)
	}
}
