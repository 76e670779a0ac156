package anchor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/anchor/flow"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// jobKind says what a job does. The empty kind is invalid.
type jobKind string

// The kinds of job, with what their ref names.
const (
	jobSetup     jobKind = "setup"          // CODE: bring the ledger to what the configuration says
	jobFund      jobKind = "fund"           // CODE/issuing or CODE/distribution: create our account
	jobFlags     jobKind = "flags"          // CODE: set the issuing account's flags and home domain
	jobTrust     jobKind = "trust"          // CODE: open the distribution account's line
	jobCreate    jobKind = "create-account" // ACCOUNT: create a customer's account
	jobAuthorise jobKind = "authorise"      // CODE/ACCOUNT: authorise a line
	jobRevoke    jobKind = "revoke"         // CODE/ACCOUNT: take the authorisation of a frozen customer's line away
	jobIssue     jobKind = "issue"          // ref of a deposit: pay credit to the customer
	jobBurn      jobKind = "burn"           // ref of a withdrawal: pay credit back to its issuer
	jobRefund    jobKind = "refund"         // HASH/OP: pay credit back to its sender
	jobPayout    jobKind = "payout"         // withdrawal/ID[/ROUND] or return/ID: write a file for the bank
	jobReturn    jobKind = "return"         // HASH/OP: issue credit to whoever paid it to its issuer
	jobReissue   jobKind = "reissue"        // reissue/ID/ROUND: issue the credit of a withdrawal to its customer again
	jobStatement jobKind = "statement"      // PARTNER/HASH: read a bank statement to its end
)

// job is something to be done outside the database.
type job struct {
	n         int64 // its place in the order of jobs
	kind      jobKind
	ref       string
	initiator string // on whose word; "" for nobody's
	created   time.Time
}

func (j job) String() string { return string(j.kind) + " " + j.ref }

// issuerFlags are what an issuing account of ours has set: nobody holds the credit unauthorised, authorisation can be
// withdrawn, and credit can be clawed back.
const issuerFlags = xdr.AccountFlagsAuthRequiredFlag | xdr.AccountFlagsAuthRevocableFlag | xdr.AccountFlagsAuthClawbackEnabledFlag

// run does what can be done of a job now. nil means nothing went wrong, not that it is done.
func (s *Service) run(ctx context.Context, j job) error {
	switch j.kind {
	case jobSetup:
		return s.converge(ctx, j)
	case jobPayout:
		return s.runPayout(ctx, j)
	case jobStatement:
		return s.resumeStatement(ctx, j)
	}
	p, done, err := s.plan(ctx, j)
	if err != nil {
		return err
	}
	if done != nil {
		return audit.Do(ctx, s.DB, worker, func(ctx context.Context, tx *audit.Tx) error {
			if err := stillOpen(ctx, tx, j); err != nil {
				return err
			}
			if err := done(ctx, tx); err != nil {
				return err
			}
			return closeJob(ctx, tx, j.kind, j.ref)
		})
	}
	return s.advance(ctx, j, p)
}

// finish is what is to be stored when a job turns out to be done already.
type finish func(ctx context.Context, tx *audit.Tx) error

func nothing(context.Context, *audit.Tx) error { return nil }

// plan says what a job wants done on the ledger, or, when the ledger is that way already, how to finish it.
func (s *Service) plan(ctx context.Context, j job) (plan, finish, error) {
	switch j.kind {
	case jobFund, jobFlags, jobTrust:
		return s.planSetup(ctx, j)
	case jobCreate:
		return s.planCreate(ctx, j)
	case jobAuthorise, jobRevoke:
		return s.planLine(ctx, j)
	case jobIssue:
		return s.planIssue(ctx, j)
	case jobBurn:
		return s.planBurn(ctx, j)
	case jobRefund:
		return s.planRefund(ctx, j)
	case jobReturn:
		return s.planReturn(ctx, j)
	case jobReissue:
		return s.planReissue(ctx, j)
	}
	return plan{}, nil, fmt.Errorf("anchor: job %s is of no kind that this version knows", j)
}

func (s *Service) planCreate(ctx context.Context, j job) (plan, finish, error) {
	id, err := protocol.ParseAccountID(j.ref)
	if err != nil {
		return plan{}, nil, err
	}
	account, err := s.Network.Account(ctx, id)
	if err == nil {
		// It exists. Lines that were opened before the customer was enrolled were passed over then.
		return plan{}, func(ctx context.Context, tx *audit.Tx) error { return s.lookAll(ctx, tx, account) }, nil
	}
	if !errors.Is(err, protocol.ErrNotFound) {
		return plan{}, nil, err
	}
	funder := s.cfg.Assets[0]
	return plan{funder.Distribution, funder.DistributionKey, protocol.NoMemo(),
		[]txbuild.Operation{txbuild.CreateAccount{Destination: id, StartingBalance: s.cfg.Funding.CustomerBalance}}}, nil, nil
}

// lookAll looks at all lines of an account.
func (s *Service) lookAll(ctx context.Context, tx *audit.Tx, account protocol.Account) error {
	for _, t := range account.Trustlines {
		if a, ours := s.assetOf(t.Asset); ours {
			if err := s.look(ctx, tx, line{account.ID, a, t.Flags.IsAuthorized(), true}); err != nil {
				return err
			}
		}
	}
	return nil
}

// planLine wants a line to be authorised if its holder may hold the credit, and not to be if he is frozen.
func (s *Service) planLine(ctx context.Context, j job) (plan, finish, error) {
	code, address, _ := strings.Cut(j.ref, "/")
	a, err := s.configOf(code)
	if err != nil {
		return plan{}, nil, err
	}
	id, err := protocol.ParseAccountID(address)
	if err != nil {
		return plan{}, nil, err
	}
	account, err := s.Network.Account(ctx, id)
	if err != nil && !errors.Is(err, protocol.ErrNotFound) {
		return plan{}, nil, err
	}
	may, err := s.mayHold(ctx, s.DB.Reader(), a, id)
	if err != nil {
		return plan{}, nil, err
	}
	authorise := j.kind == jobAuthorise
	if t, ok := account.Trustline(a.asset()); !ok || t.Flags.IsAuthorized() == authorise || may != authorise {
		return plan{}, nothing, nil // the line is gone, or somebody was faster, or the customer's status is another now
	}
	op := txbuild.SetTrustLineFlags{Trustor: id, Asset: a.asset()}
	if authorise {
		op.Set = xdr.TrustLineFlagsAuthorizedFlag
	} else {
		op.Clear = xdr.TrustLineFlagsAuthorizedFlag
	}
	return plan{a.Issuing, a.IssuingKey, protocol.NoMemo(), []txbuild.Operation{op}}, nil, nil
}

func (s *Service) planIssue(ctx context.Context, j job) (plan, finish, error) {
	t, err := depositOf(ctx, s.DB.Reader(), j.ref)
	if err != nil {
		return plan{}, nil, err
	}
	a, amount, err := s.amountOf(t)
	if err != nil {
		return plan{}, nil, err
	}
	if err := s.waitForLine(ctx, j, t, a); err != nil {
		return plan{}, nil, err
	}
	return plan{a.Issuing, a.IssuingKey, protocol.NoMemo(),
		[]txbuild.Operation{txbuild.Payment{Destination: t.account, Asset: a.asset(), Amount: amount}}}, nil, nil
}

// errNoLine: the customer cannot hold the credit yet.
var errNoLine = errors.New("anchor: the customer has no authorised line to the asset yet")

// waitForLine returns errNoLine while the customer of a deposit could not take the credit, and tells him by the deposit's
// state. A transaction that is under way is not held up: it may be in a ledger already.
func (s *Service) waitForLine(ctx context.Context, j job, t row, a AssetConfig) error {
	under, err := inFlight(ctx, s.DB.Reader(), a.Issuing)
	if err == nil && under.kind == string(j.kind) && under.ref == j.ref {
		return nil
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	account, err := s.Network.Account(ctx, t.account)
	if err != nil && !errors.Is(err, protocol.ErrNotFound) {
		return err
	}
	l, ok := account.Trustline(a.asset())
	may, err := s.mayHold(ctx, s.DB.Reader(), a, t.account) // he may have been frozen since the money was cleared
	if err != nil {
		return err
	}
	ok = ok && l.Flags.IsAuthorized() && may
	switch {
	case ok && t.state == flow.NeedsLine:
		return s.lineChanged(ctx, t, flow.HasLine)
	case ok:
		return nil
	case t.state == flow.Issuing:
		err = s.lineChanged(ctx, t, flow.NoLine)
	}
	return errors.Join(err, errNoLine)
}

func (s *Service) lineChanged(ctx context.Context, t row, event flow.Event) error {
	return audit.Do(ctx, s.DB, worker, func(ctx context.Context, tx *audit.Tx) error {
		t, err := findRow(ctx, tx, `id = $1`, t.ID)
		if err != nil {
			return err
		}
		if t.state, _, err = flow.Step(flow.Deposit, t.state, event); errors.Is(err, flow.ErrRefused) {
			return audit.ErrUnchanged // another process was faster
		}
		if t.message = ""; event == flow.NoLine {
			t.message = "Open a trustline to the asset, or ask for its authorisation."
		}
		if err := updateRow(ctx, tx, t); err != nil {
			return err
		}
		_, err = tx.Record(ctx, audit.Event{Action: "deposit." + string(event), Subject: t.ID})
		return err
	})
}

func (s *Service) planBurn(ctx context.Context, j job) (plan, finish, error) {
	t, err := withdrawalOf(ctx, s.DB.Reader(), j.ref)
	if err != nil {
		return plan{}, nil, err
	}
	a, amount, err := s.amountOf(t)
	if err != nil {
		return plan{}, nil, err
	}
	return plan{a.Distribution, a.DistributionKey, protocol.NoMemo(),
		[]txbuild.Operation{txbuild.Payment{Destination: a.Issuing, Asset: a.asset(), Amount: amount}}}, nil, nil
}

// amountOf returns the asset and what is to move on the ledger for a transaction.
func (s *Service) amountOf(t row) (AssetConfig, protocol.Amount, error) {
	a, err := s.configOf(t.asset)
	if err != nil {
		return a, protocol.Amount{}, err
	}
	m, err := a.units(t.amount)
	if err != nil {
		return a, protocol.Amount{}, err
	}
	amount, err := m.Ledger()
	return a, amount, err
}

// ledgerUnits reads the book's units of an asset as an amount of the ledger.
func ledgerUnits(code, units string) (protocol.Amount, error) {
	c, err := money.NewCurrency(code, protocol.Decimals)
	if err != nil {
		return protocol.Amount{}, err
	}
	m, err := money.FromNumeric(c, units)
	if err != nil {
		return protocol.Amount{}, err
	}
	return m.Ledger()
}

// succeeded carries out that a job's transaction is in the ledger.
func (s *Service) succeeded(ctx context.Context, tx *audit.Tx, t ledgerTx) (err error) {
	switch jobKind(t.kind) {
	case jobIssue:
		err = s.issued(ctx, tx, t.ref, t.hash)
	case jobBurn:
		err = s.burned(ctx, tx, t.ref)
	case jobRefund, jobReturn:
		err = s.refunded(ctx, tx, t.ref, flow.Success, "")
	case jobReissue:
		err = s.reissued(ctx, tx, t.ref, flow.Success)
	case jobAuthorise, jobRevoke:
		_, address, _ := strings.Cut(t.ref, "/")
		action := map[jobKind]string{jobAuthorise: "trustline.authorised", jobRevoke: "trustline.revoked"}[jobKind(t.kind)]
		_, err = tx.Record(ctx, audit.Event{Action: action, Subject: address, Data: map[string]any{"ledger_tx": t.hash.String()}})
	case jobCreate:
		return nil // done once the account has been looked at
	}
	if err != nil {
		return err
	}
	return closeJob(ctx, tx, jobKind(t.kind), t.ref)
}

// failed carries out that the ledger refused a job's transaction.
func (s *Service) failed(ctx context.Context, tx *audit.Tx, t ledgerTx, result string) (err error) {
	j := job{kind: jobKind(t.kind), ref: t.ref}
	switch j.kind {
	case jobIssue:
		err = s.notIssued(ctx, tx, t.ref, result)
	case jobRefund, jobReturn:
		err = s.refunded(ctx, tx, t.ref, flow.CannotPay, "the ledger refused to take it back: "+result)
	case jobReissue:
		err = s.reissued(ctx, tx, t.ref, flow.CannotPay)
	default:
		// Nothing moved, and it is still wanted: look at the ledger again, later.
		s.delay(j, fmt.Errorf("anchor: the ledger refused it: %s", result))
		return nil
	}
	if err != nil {
		return err
	}
	return closeJob(ctx, tx, j.kind, j.ref)
}
