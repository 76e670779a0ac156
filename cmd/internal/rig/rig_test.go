package rig_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/cmd/internal/rig"
	"github.com/diamante/gateway/cmd/internal/story"
	"github.com/diamante/gateway/node/protocol"
)

// What each customer moves in one round of business.
const (
	depositAmount    = "10.00"
	paymentAmount    = "4.0000000"
	withdrawalAmount = "2.5000000"
	payoutAmount     = "2.50"
)

// How long anything may take, and how often it is asked for.
const (
	patience = 3 * time.Minute
	ask      = 100 * time.Millisecond
)

var binDir string // of the programs, the gateway's with failpoints

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (code int, err error) {
	if binDir, err = os.MkdirTemp("", "diamante-bin-"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(binDir)
	args := []string{"build", "-tags", "failpoint", "-o", binDir + "/"}
	for _, program := range []string{"diamante-node", "diamante-signer", "diamante-gateway"} {
		args = append(args, "github.com/diamante/gateway/cmd/"+program)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build: %w: %s", err, out)
	}
	return m.Run(), nil
}

// system is a whole running system with customers.
type system struct {
	*rig.Rig
	story.World
	anchor story.Anchor
	pairs  []*pair

	mu    sync.Mutex        // guards what follows
	last  string            // payout file that the bank read last
	paid  map[string]string // amount of each order that the bank carried out, by its EndToEndId
	files int
}

// pair is two customers: the first deposits and pays the second, who withdraws.
type pair struct {
	payer, payee *story.Wallet
	rounds       int // that were begun and ended
	deposits     int // beside those
}

// newSystem brings a system up in a folder of its own, with so many pairs of customers.
func newSystem(t *testing.T, pairs int) *system {
	t.Helper()
	ctx := t.Context()
	dir, err := os.MkdirTemp("", "diamante-rig-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // the database server's user passes through
		t.Fatal(err)
	}
	r, err := rig.New(rig.Options{Dir: dir, BinDir: binDir, CloseEvery: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Down(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the system's folder is kept: %s", dir)
			return
		}
		if postgres, err := os.Readlink(r.Path("postgres")); err == nil {
			os.RemoveAll(postgres)
		}
		os.RemoveAll(dir)
	})
	if err := r.Up(ctx); err != nil {
		t.Fatal(err)
	}
	s := &system{Rig: r, World: newWorld(t, r), paid: map[string]string{}}
	if s.anchor, err = s.SetUpAsset(ctx); err != nil {
		t.Fatal(err)
	}
	s.pairs = make([]*pair, pairs)
	together(t, pairs, func(i int) (err error) {
		var p pair
		for _, c := range []struct {
			to   **story.Wallet
			name string
		}{{&p.payer, "payer"}, {&p.payee, "payee"}} {
			if *c.to, err = s.customer(ctx, fmt.Sprintf("%s-%d", c.name, i)); err != nil {
				return err
			}
		}
		s.pairs[i] = &p
		return nil
	})
	return s
}

func newWorld(t *testing.T, r *rig.Rig) story.World {
	t.Helper()
	w := story.World{Public: r.PublicURL(), Partner: r.PartnerURL(), Staff: r.StaffURL(), HomeDomain: r.HomeDomain(),
		Passphrase: string(rig.Passphrase), Asset: rig.AssetCode, Bank: &story.Bank{IBAN: rig.BankIBAN, BIC: rig.BankBIC}, Attest: r.Attest, Progress: io.Discard}
	var errs [3]error
	w.Wallet, errs[0] = r.Client("")
	w.PartnerClient, errs[1] = r.Client(rig.PartnerName)
	w.StaffClient, errs[2] = r.Client(rig.StaffName)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return w
}

func (s *system) customer(ctx context.Context, name string) (*story.Wallet, error) {
	w, err := s.NewCustomer(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := w.Authenticate(ctx, s.anchor.SigningKey, s.World.HomeDomain); err != nil {
		return nil, err
	}
	_, err = s.OpenTrustline(ctx, w, s.anchor.Issuer)
	return w, err
}

// round has a pair do one round of business: a deposit, a payment and a withdrawal, each to its end.
func (s *system) round(ctx context.Context, p *pair) error {
	d, err := p.payer.Deposit(ctx, s.Asset, depositAmount)
	if err != nil {
		return fmt.Errorf("deposit: %w", err)
	}
	received := story.BankEntry{Reference: "B-" + d.ID, Amount: depositAmount, Currency: s.Asset, Remittance: d.Reference,
		Party: p.payer.Name, PartyIBAN: story.CustomerIBAN}
	if err := s.Upload(ctx, story.Camt08, received); err != nil {
		return fmt.Errorf("statement: %w", err)
	}
	if err := s.completes(ctx, p.payer, d.ID); err != nil {
		return fmt.Errorf("deposit: %w", err)
	}
	pay := story.Payment{To: p.payee.Account(), Amount: paymentAmount, Code: s.Asset, Issuer: s.anchor.Issuer}
	if _, err := p.payer.Pay(ctx, pay); err != nil {
		return fmt.Errorf("payment: %w", err)
	}
	w, err := p.payee.Withdraw(ctx, s.Asset, story.CustomerIBAN)
	if err != nil {
		return fmt.Errorf("withdrawal: %w", err)
	}
	redeem := story.Payment{To: w.Account, Amount: withdrawalAmount, Code: s.Asset, Issuer: s.anchor.Issuer, Memo: w.Memo}
	if _, err := p.payee.Pay(ctx, redeem); err != nil {
		return fmt.Errorf("withdrawal: %w", err)
	}
	if err := s.completes(ctx, p.payee, w.ID); err != nil {
		return fmt.Errorf("withdrawal: %w", err)
	}
	p.rounds++
	return nil
}

// completes waits until a transaction is completed, while the bank does its work.
func (s *system) completes(ctx context.Context, w *story.Wallet, id string) error {
	var got story.Transfer
	err := poll(ctx, func() (bool, error) {
		var err error
		if err := s.bankWorks(ctx); err != nil {
			return false, err
		}
		_ = s.Tell(ctx) // somebody may be away still: the deadline is the only end
		if got, err = w.Transaction(ctx, id); err != nil {
			return false, nil // the gateway is away: the deadline is the only end
		}
		return got.Status == "completed", nil
	})
	if err != nil {
		return fmt.Errorf("transaction %s is %q %s: %w", id, got.Status, got.Message, err)
	}
	return nil
}

// bankWorks has the bank carry out the payout files that it has not seen, and tell of it in a statement.
func (s *system) bankWorks(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	payouts, err := s.Payouts(ctx, s.last)
	if err != nil {
		return err
	}
	for _, p := range payouts {
		orders, err := s.Bank.Execute(p.File)
		if err != nil {
			return err
		}
		for _, o := range orders {
			if _, twice := s.paid[o.EndToEndID]; twice {
				return fmt.Errorf("told twice to pay %s", o.EndToEndID)
			}
			if err := s.Upload(ctx, story.Camt08, story.BankEntry{Reference: "P-" + o.EndToEndID, Amount: o.Amount, Currency: o.Currency,
				Debit: true, EndToEndID: o.EndToEndID, Remittance: o.Remittance, Party: o.Creditor, PartyIBAN: o.IBAN}); err != nil {
				return err
			}
			s.paid[o.EndToEndID] = o.Amount
		}
		s.last = p.ID
		s.files++
	}
	return nil
}

// balanced checks that everything that was done is there once: the customers' balances on the ledger, a payout for each
// withdrawal, nothing in quarantine, and what the gateway says of its own invariants.
func (s *system) balanced(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	all := 0
	for i, p := range s.pairs {
		all += p.rounds
		for _, c := range []struct {
			wallet *story.Wallet
			want   string
		}{{p.payer, units(t, 60*p.rounds+100*p.deposits)}, {p.payee, units(t, 15*p.rounds)}} {
			var got string
			err := poll(ctx, func() (bool, error) {
				var err error
				got, _, err = c.wallet.Balance(ctx, s.Asset, s.anchor.Issuer)
				return err == nil && got == c.want, nil
			})
			if err != nil {
				t.Errorf("%s of pair %d holds %s after %d rounds, not %s", c.wallet.Name, i, got, p.rounds, c.want)
			}
		}
	}
	if err := s.bankWorks(ctx); err != nil {
		t.Error(err)
	}
	if len(s.paid) != all || s.files != all {
		t.Errorf("%d withdrawals, %d orders in %d files", all, len(s.paid), s.files)
	}
	for id, amount := range s.paid {
		if amount != payoutAmount {
			t.Errorf("payout %s is %s", id, amount)
		}
	}
	if held, err := s.Quarantined(ctx); err != nil || len(held) != 0 {
		t.Errorf("quarantined: %v %v", held, err)
	}
	invariants, err := s.Invariants(ctx)
	if err != nil || len(invariants) < 3 || slices.ContainsFunc(invariants, func(i story.Invariant) bool { return !i.OK }) {
		t.Errorf("invariants: %+v %v", invariants, err)
	}
	t.Logf("%d rounds; %+v", all, invariants)
}

// units writes an amount given in tenths as the ledger does.
func units(t *testing.T, tenths int) string {
	t.Helper()
	a, err := protocol.AmountFromStroops(int64(tenths) * 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	return a.String()
}

// together does the same n times at once and fails the test with the errors.
func together(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// poll asks again until done says yes or fails, or patience ends.
func poll(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(ask)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain: %w", ctx.Err())
		case <-tick.C:
		}
	}
}
