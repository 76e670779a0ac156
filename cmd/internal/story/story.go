// Package story plays the whole path once, from the outside: a bank's deposit becomes credit on the ledger, moves, and
// comes back out. It uses only what wallets, partners, officers and auditors use, and records for each step where the
// proof is. Play it with `diamante demo`; its Wallet and Bank also drive the tests that kill programs at bad moments.
package story

import (
	"context"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"time"

	"github.com/stellar/go-stellar-sdk/txnbuild"
)

// stepTimeout is how long the system may take for anything that the story waits for.
const stepTimeout = 90 * time.Second

// World is what the story finds: a running system, seen from outside.
type World struct {
	Public, Partner, Staff string // base URLs
	HomeDomain             string
	Passphrase             string
	Root                   string // the root account, from the genesis file
	Asset                  string // the code of the asset that the anchor issues
	Wallet                 *http.Client
	PartnerClient          *http.Client
	StaffClient            *http.Client
	Bank                   *Bank
	Attest                 func(ctx context.Context, stroops *big.Int) error // the bank's treasury's word on what it holds; nil when nobody asks for it
	Package                string                                            // where the auditor's package is put
	LogKey                 string                                            // path of the log's public key
	Verify                 func(path, key string) error                      // the auditor's own program
	// Evidence has the signer's host write the evidence of a signature and returns the file; nil where there is none.
	Evidence     func(ctx context.Context, key, ref string) (path string, err error)
	SignerLogKey string // path of the public key of the signer's log
	Progress     io.Writer
}

// teller tells one story.
type teller struct {
	World
	report Report
	start  time.Time

	issuer, distribution, signingKey string
	alice, bob                       *Wallet
	deposited                        Instructions
	withdrawalID                     string
	paidBefore                       string   // the last payout before this story's
	payouts                          []Payout // this story's
}

// Play tells the story. The report says how far it came; an error means that it could not even be told.
func Play(ctx context.Context, w World) (*Report, error) {
	t := &teller{World: w, start: time.Now().UTC().Add(-time.Minute)}
	t.report.URLs = map[string]string{"public": w.Public, "partner": w.Partner, "staff": w.Staff}
	t.report.AuditPackage, t.report.LogPublicKey = w.Package, w.LogKey
	steps := []struct {
		name string
		do   func(ctx context.Context, s *Step) error
	}{
		{"genesis: the root account holds the supply", t.genesis},
		{"the bank sets up its asset", t.setUp},
		{"customers are enrolled", t.enrol},
		{"a wallet authenticates (SEP-10)", t.authenticate},
		{"a wallet opens a trustline", t.trust},
		{"a wallet asks for a deposit (SEP-6)", t.deposit},
		{"the bank's statement becomes credit", t.statement},
		{"a customer pays another", t.pay},
		{"a customer withdraws; a payout file is written", t.withdraw},
		{"the bank pays out; its statement says so", t.payout},
		{"a payment that matches nothing goes back", t.stray},
		{"the auditor exports the log and verifies it offline", t.audit},
		{"the evidence of one signature verifies offline", t.evidence},
	}
	if w.Evidence == nil {
		steps = steps[:len(steps)-1]
	}
	for _, s := range steps {
		fmt.Fprintf(w.Progress, "- %s\n", s.name)
		step := Step{Name: s.name}
		err := s.do(ctx, &step)
		step.OK = err == nil
		if err != nil {
			step.Detail = err.Error()
		}
		t.report.Steps = append(t.report.Steps, step)
		if err != nil {
			return &t.report, nil
		}
	}
	return &t.report, t.finish(ctx)
}

func (t *teller) genesis(ctx context.Context, s *Step) error {
	var root struct {
		Balances []struct {
			Type    string `json:"asset_type"`
			Balance string `json:"balance"`
		} `json:"balances"`
	}
	if err := call(ctx, t.Wallet, request{Method: http.MethodGet, URL: t.Public + "/accounts/" + t.Root}, &root); err != nil {
		return err
	}
	for _, b := range root.Balances {
		if b.Type == "native" {
			s.Detail = fmt.Sprintf("%s holds %s DIAM", t.Root, b.Balance)
			return nil
		}
	}
	return fmt.Errorf("the root account %s holds nothing", t.Root)
}

func (t *teller) setUp(ctx context.Context, s *Step) error {
	s.subject, s.action = t.Asset, "asset.ready"
	a, err := t.SetUpAsset(ctx)
	t.issuer, t.signingKey = a.Issuer, a.SigningKey
	return err
}

func (t *teller) enrol(ctx context.Context, s *Step) (err error) {
	for _, name := range []string{"alice", "bob"} {
		w, err := t.NewCustomer(ctx, name)
		if err != nil {
			return err
		}
		if name == "alice" {
			t.alice = w
		} else {
			t.bob = w
		}
	}
	s.subject, s.action = t.alice.Account(), "customer.enrolled"
	return nil
}

func (t *teller) authenticate(ctx context.Context, s *Step) error {
	for _, w := range []*Wallet{t.alice, t.bob} {
		if err := w.Authenticate(ctx, t.signingKey, t.HomeDomain); err != nil {
			return err
		}
	}
	return nil
}

func (t *teller) trust(ctx context.Context, s *Step) (err error) {
	for _, w := range []*Wallet{t.bob, t.alice} {
		if s.LedgerTx, err = t.OpenTrustline(ctx, w, t.issuer); err != nil {
			return err
		}
	}
	s.subject, s.action = t.alice.Account(), "trustline.authorised"
	return nil
}

func (t *teller) deposit(ctx context.Context, s *Step) error {
	d, err := t.alice.Deposit(ctx, t.Asset, "100.00")
	if err != nil {
		return err
	}
	t.deposited = d
	s.Detail = fmt.Sprintf("pay 100.00 USD to %s with the reference %s", d.IBAN, d.Reference)
	s.subject, s.action = d.ID, "deposit.created"
	if d.IBAN != t.Bank.IBAN {
		return fmt.Errorf("told to pay to %q", d.IBAN)
	}
	return nil
}

func (t *teller) statement(ctx context.Context, s *Step) error {
	good := BankEntry{Reference: "B-" + t.deposited.ID, Amount: "100.00", Currency: "USD", Remittance: t.deposited.Reference,
		Party: "Alice", PartyIBAN: CustomerIBAN}
	stray := good
	stray.Reference, stray.Remittance = good.Reference+"-stray", "no reference at all"
	euro := good
	euro.Reference, euro.Currency = good.Reference+"-eur", "EUR"
	broken := good
	broken.Reference, broken.Amount = good.Reference+"-bad", "1e3"
	if err := t.Upload(ctx, Camt02, stray, euro, broken); err != nil {
		return err
	}
	if err := t.Upload(ctx, Camt08, good); err != nil {
		return err
	}
	if err := t.Upload(ctx, Camt08, good); err != nil { // the same entry in another statement
		return err
	}
	done, err := t.alice.Completed(ctx, t.deposited.ID)
	if err != nil {
		return err
	}
	s.LedgerTx, s.subject, s.action = done.LedgerTx, t.deposited.ID, "deposit.completed"
	reasons, err := t.Quarantined(ctx)
	if err != nil {
		return err
	}
	slices.Sort(reasons)
	s.Detail = fmt.Sprintf("credited %s; quarantined beside it: %v", done.AmountOut, reasons)
	if len(reasons) < 4 {
		return fmt.Errorf("four bad entries were sent, quarantined are %v", reasons)
	}
	return t.holds(ctx, t.alice, "100.0000000")
}

func (t *teller) pay(ctx context.Context, s *Step) (err error) {
	s.LedgerTx, err = t.alice.Pay(ctx, Payment{To: t.bob.Account(), Amount: "40", Code: t.Asset, Issuer: t.issuer})
	if err != nil {
		return err
	}
	return t.holds(ctx, t.bob, "40.0000000")
}

func (t *teller) withdraw(ctx context.Context, s *Step) error {
	earlier, err := t.Payouts(ctx, "") // of stories that were told in this system before
	if err != nil {
		return err
	}
	if len(earlier) > 0 {
		t.paidBefore = earlier[len(earlier)-1].ID
	}
	w, err := t.bob.Withdraw(ctx, t.Asset, CustomerIBAN)
	if err != nil {
		return err
	}
	t.withdrawalID, t.distribution = w.ID, w.Account
	s.LedgerTx, err = t.bob.Pay(ctx, Payment{To: w.Account, Amount: "25.5", Code: t.Asset, Issuer: t.issuer, Memo: w.Memo})
	if err != nil {
		return err
	}
	s.subject, s.action = w.ID, "withdrawal.paid"
	return eventually(ctx, stepTimeout, func() (bool, error) {
		payouts, err := t.Payouts(ctx, t.paidBefore)
		if len(payouts) > 0 {
			t.payouts = payouts
		}
		return len(payouts) > 0, err
	})
}

func (t *teller) payout(ctx context.Context, s *Step) error {
	for _, p := range t.payouts {
		orders, err := t.Bank.Execute(p.File)
		if err != nil {
			return err
		}
		for _, o := range orders {
			if o.Amount != "25.50" || o.Currency != "USD" {
				return fmt.Errorf("told to pay out %s %s", o.Amount, o.Currency)
			}
			s.Detail = fmt.Sprintf("%s %s to %s (%s)", o.Amount, o.Currency, o.Creditor, o.EndToEndID)
			paid := BankEntry{Reference: "P-" + o.EndToEndID, Amount: o.Amount, Currency: o.Currency, Debit: true,
				EndToEndID: o.EndToEndID, Remittance: o.Remittance, Party: o.Creditor, PartyIBAN: o.IBAN}
			if err := t.Upload(ctx, Camt08, paid); err != nil {
				return err
			}
		}
	}
	done, err := t.bob.Completed(ctx, t.withdrawalID)
	s.subject, s.action = t.withdrawalID, "withdrawal.completed"
	s.LedgerTx = done.LedgerTx
	return err
}

func (t *teller) stray(ctx context.Context, s *Step) (err error) {
	before, _, err := t.bob.Balance(ctx, t.Asset, t.issuer)
	if err != nil {
		return err
	}
	s.LedgerTx, err = t.bob.Pay(ctx, Payment{To: t.distribution, Amount: "1.25", Code: t.Asset, Issuer: t.issuer, Memo: txnbuild.MemoText("hello")})
	if err != nil {
		return err
	}
	s.subject, s.action = s.LedgerTx, "payment.refunded"
	return t.holds(ctx, t.bob, before)
}

// holds waits until the wallet's balance is what it should be.
func (t *teller) holds(ctx context.Context, w *Wallet, want string) error {
	var got string
	err := eventually(ctx, stepTimeout, func() (ok bool, err error) {
		got, _, err = w.Balance(ctx, t.Asset, t.issuer)
		return got == want, err
	})
	if err != nil {
		return fmt.Errorf("%s holds %s, not %s: %w", w.Name, got, want, err)
	}
	return nil
}
