// Package anchor turns money at a bank into credit on the ledger and back, exactly once, whatever crashes.
//
// Service answers the doors (deposits, withdrawals, statements, quarantine, customers) and Run works: a worker that
// carries out jobs on the ledger, and an observer that learns from closed ledgers what became of them. All state is in
// the database; every change is made in an audit.Do together with its record, its transfer in the book and the job that
// follows from it. The machines that say what follows from what are in anchor/flow.
//
// The one rule that makes it exactly once: a transaction is stored with its hash before it is signed, its success or
// failure is learned from a closed ledger by that hash and from nothing else, and it is built again only after a ledger
// has closed past its time bounds without it.
package anchor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

var (
	// ErrInvalid: the request cannot be carried out as it is; the text says why and is meant for who asked.
	ErrInvalid = errors.New("anchor: not possible")
	// ErrNotFound: there is no such thing, or it is somebody else's.
	ErrNotFound = errors.New("anchor: not found")
	// ErrUnknownAsset: this anchor does not have the asset, or it is not registered yet.
	ErrUnknownAsset = errors.New("anchor: unknown asset")
	// ErrNotEnrolled: the account is no customer.
	ErrNotEnrolled = errors.New("anchor: account is not enrolled")
	// ErrConflict: it was decided otherwise before.
	ErrConflict = errors.New("anchor: conflicts with what was decided before")
)

// Network is the node's door.
type Network interface {
	// Submit hands a transaction over; its answer is only a hint.
	Submit(ctx context.Context, env xdr.TransactionEnvelope) (protocol.Submission, error)
	// Closes yields every ledger from the given one on, without a gap, until ctx ends; one error ends it.
	Closes(ctx context.Context, from uint32) iter.Seq2[xdr.LedgerCloseMeta, error]
	// Account reads an account as of the last closed ledger.
	Account(ctx context.Context, id protocol.AccountID) (protocol.Account, error)
	// Status says where the node stands.
	Status(ctx context.Context) (protocol.Status, error)
}

// AssetConfig is a credit that the anchor issues.
type AssetConfig struct {
	Code            string
	IssuingKey      keymgmt.KeyID
	Issuing         protocol.AccountID
	DistributionKey keymgmt.KeyID
	Distribution    protocol.AccountID
	Bank            rails.Party // our account: name, IBAN, BIC
	Partner         string      // who keeps that account: brings its statements, fetches its payouts, resolves its quarantine
	MinDeposit      protocol.Amount
	MaxDeposit      protocol.Amount
	MinWithdrawal   protocol.Amount
	MaxWithdrawal   protocol.Amount
}

// asset returns what the configuration is about.
func (a AssetConfig) asset() protocol.Asset {
	asset, err := protocol.NewCredit(a.Code, a.Issuing)
	if err != nil {
		panic("anchor: a configuration that was validated has no asset: " + err.Error())
	}
	return asset
}

// currency is what the book counts the asset in.
func (a AssetConfig) currency() money.Currency {
	c, err := money.NewCurrency(a.Code, protocol.Decimals)
	if err != nil {
		panic("anchor: a configuration that was validated has no currency: " + err.Error())
	}
	return c
}

// The accounts of an asset in the book.
func (a AssetConfig) bank() book.Code     { return book.Code("bank/" + a.Code) }
func (a AssetConfig) suspense() book.Code { return book.Code("suspense/" + a.Code) }
func (a AssetConfig) issued() book.Code   { return book.Code("issued/" + a.Code) }
func (a AssetConfig) payable() book.Code  { return book.Code("payable/" + a.Code) }

// unexplained is what left the bank for a reason that nobody has given yet.
func (a AssetConfig) unexplained() book.Code { return book.Code("unexplained/" + a.Code) }

// Funding says who creates accounts on the ledger and with how much DIAM.
type Funding struct {
	RootKey         keymgmt.KeyID
	Root            protocol.AccountID // creates the anchor's own accounts
	AnchorBalance   protocol.Amount    // of each of them
	CustomerBalance protocol.Amount    // of a customer's account, paid by the first asset's distribution account
}

// Config is what an anchor is.
type Config struct {
	Passphrase protocol.Passphrase
	HomeDomain string
	Assets     []AssetConfig
	Funding    Funding
	FeePerOp   int64         // stroops bid for each operation
	TxLife     time.Duration // from building to the end of the time bounds
	// PeopleLife is the same of a transaction that the signer wants people to approve. The policy's max_seconds must allow
	// it. Zero means TxLife.
	PeopleLife time.Duration
}

// What the signer's policy allows at most, with room: 0.01 DIAM for a transaction of ten operations, and 600 seconds.
const (
	minFeePerOp, maxFeePerOp = 100, 10_000
	minTxLife, maxTxLife     = 5 * time.Second, 10 * time.Minute
	maxPeopleLife            = 24 * time.Hour // as long as the signer takes an approval for good
)

// Validate says what is missing.
func (c Config) Validate() error {
	switch {
	case c.Passphrase.Validate() != nil || c.HomeDomain == "":
		return errors.New("anchor: a passphrase and a home domain are required")
	case len(c.Assets) == 0:
		return errors.New("anchor: no asset")
	case c.FeePerOp < minFeePerOp || c.FeePerOp > maxFeePerOp:
		return fmt.Errorf("anchor: a fee of %d stroops an operation, need %d to %d", c.FeePerOp, minFeePerOp, maxFeePerOp)
	case c.TxLife < minTxLife || c.TxLife > maxTxLife:
		return fmt.Errorf("anchor: transactions that live for %s, need %s to %s", c.TxLife, minTxLife, maxTxLife)
	case c.PeopleLife != 0 && (c.PeopleLife < c.TxLife || c.PeopleLife > maxPeopleLife):
		return fmt.Errorf("anchor: transactions that wait for people for %s, need %s to %s", c.PeopleLife, c.TxLife, maxPeopleLife)
	case c.Funding.Root.IsZero() || c.Funding.RootKey.IsZero() || c.Funding.AnchorBalance.IsZero() || c.Funding.CustomerBalance.IsZero():
		return errors.New("anchor: funding needs a root account, its key and two balances")
	}
	seen, accounts := map[string]bool{}, map[string]bool{c.Funding.Root.String(): true}
	for _, a := range c.Assets {
		if _, err := protocol.NewCredit(a.Code, a.Issuing); err != nil {
			return fmt.Errorf("anchor: asset: %w", err)
		}
		if _, err := rails.BankCurrency(a.Code); err != nil {
			return fmt.Errorf("anchor: asset %s: %w", a.Code, err)
		}
		if seen[a.Code] || a.IssuingKey.IsZero() || a.DistributionKey.IsZero() || a.Distribution.IsZero() || a.Distribution == a.Issuing {
			return fmt.Errorf("anchor: asset %s is there twice or lacks a key or an account", a.Code)
		}
		seen[a.Code] = true
		for _, account := range []string{a.Issuing.String(), a.Distribution.String(), a.Bank.Account.String()} {
			if accounts[account] {
				return fmt.Errorf("anchor: asset %s: account %s is used for something else, too", a.Code, account)
			}
			accounts[account] = true
		}
		if a.Partner == "" {
			return fmt.Errorf("anchor: asset %s: no partner keeps its bank account", a.Code)
		}
		if err := a.Bank.Account.Validate(); err != nil {
			return fmt.Errorf("anchor: asset %s: our account: %w", a.Code, err)
		}
		if a.MinDeposit.Cmp(a.MaxDeposit) > 0 || a.MinWithdrawal.Cmp(a.MaxWithdrawal) > 0 || a.MaxDeposit.IsZero() || a.MaxWithdrawal.IsZero() {
			return fmt.Errorf("anchor: asset %s has limits that nothing meets", a.Code)
		}
	}
	return nil
}

// Parts are what the anchor works with.
type Parts struct {
	DB             *audit.DB
	Custody        *custody.Service
	Gate           *compliance.Gate
	Signer         keymgmt.Signer
	Network        Network
	ParseStatement func(file []byte) ([]rails.Statement, error)
	WritePayout    func(p rails.Payout) ([]byte, error)
	Log            *slog.Logger
	// Now is the clock for time bounds and dates; nil means the machine's.
	Now func() time.Time
	// Failpoint is called before and after each step at which a crash could matter, with its name; nil in production.
	Failpoint func(name string)
}

// Service is the anchor. Its methods are safe for concurrent use; any number of processes may run one on one database.
type Service struct {
	cfg Config
	Parts

	mu        sync.Mutex           // guards what follows: what this process remembers between two rounds
	submitted map[string]time.Time // ledger_tx id -> last submission
	asked     map[string]asked     // ledger_tx id -> what the signer last said about people
	retry     map[string]retry     // job -> when to try again
	signerErr error                // of the last signature
	observed  uint32               // the last ledger that was read
}

// retry is when a job that failed is tried again, and what failed.
type retry struct {
	at    time.Time
	pause time.Duration
	err   error
}

// New makes the anchor; Run runs it.
func New(cfg Config, parts Parts) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if parts.DB == nil || parts.Custody == nil || parts.Gate == nil || parts.Signer == nil || parts.Network == nil ||
		parts.ParseStatement == nil || parts.WritePayout == nil || parts.Log == nil {
		return nil, errors.New("anchor: a part is missing")
	}
	if parts.Now == nil {
		parts.Now = time.Now
	}
	if parts.Failpoint == nil {
		parts.Failpoint = func(string) {}
	}
	cfg.PeopleLife = max(cfg.PeopleLife, cfg.TxLife)
	return &Service{cfg: cfg, Parts: parts, submitted: map[string]time.Time{}, asked: map[string]asked{}, retry: map[string]retry{}}, nil
}

// worker is who changes what nobody asked for at that moment.
var worker = audit.Actor{Kind: "worker", Name: "anchor"}

func (s *Service) configOf(code string) (AssetConfig, error) {
	for _, a := range s.cfg.Assets {
		if a.Code == code {
			return a, nil
		}
	}
	return AssetConfig{}, fmt.Errorf("%w: %.20q", ErrUnknownAsset, code)
}

// newID returns 32 random hex digits.
func newID() string {
	var raw [16]byte
	rand.Read(raw[:]) // never fails: the program ends instead
	return hex.EncodeToString(raw[:])
}
