package anchor

import (
	"time"

	"github.com/diamante/gateway/node/protocol"
)

// Asset is what wallets are told of an asset that is ready.
type Asset struct {
	Asset         protocol.Asset
	Distribution  protocol.AccountID
	MinDeposit    protocol.Amount
	MaxDeposit    protocol.Amount
	MinWithdrawal protocol.Amount
	MaxWithdrawal protocol.Amount
	Bank          BankAccount
}

// BankAccount is where a deposit is paid to.
type BankAccount struct{ Name, Account, BIC string }

// Kind says which way a transaction goes. Zero is invalid.
type Kind uint8

// The kinds of transaction.
const (
	Deposit Kind = iota + 1
	Withdrawal
)

// String returns the kind as SEP-6 and the database have it.
func (k Kind) String() string {
	switch k {
	case Deposit:
		return "deposit"
	case Withdrawal:
		return "withdrawal"
	}
	return ""
}

// DepositRequest asks for a deposit.
type DepositRequest struct {
	Account protocol.AccountID
	Asset   string          // code
	Amount  protocol.Amount // zero: not said
	Key     string          // the same key of the same account gives the same transaction; "" for a new one each time
}

// WithdrawRequest asks for a withdrawal to a bank account.
type WithdrawRequest struct {
	Account   protocol.AccountID
	Asset     string
	Amount    protocol.Amount
	Key       string
	Dest      string // IBAN
	DestExtra string // the name of who has it
}

// Transaction is a deposit or a withdrawal as its customer sees it.
type Transaction struct {
	ID           string
	Kind         Kind
	Status       string // SEP-6
	Message      string
	Account      protocol.AccountID
	Asset        protocol.Asset
	AmountIn     protocol.Amount
	AmountOut    protocol.Amount
	AmountFee    protocol.Amount
	Started      time.Time
	Updated      time.Time
	Completed    time.Time     // zero until then
	LedgerTx     protocol.Hash // zero until there is one
	ExternalTx   string
	Reference    string // of a deposit
	Distribution protocol.AccountID
	Memo         protocol.Memo // of a withdrawal
	Bank         BankAccount
}

// Lookup names one transaction of an account, by one of its three names.
type Lookup struct {
	Account    protocol.AccountID
	ID         string
	LedgerTx   protocol.Hash
	ExternalTx string
}

// Query asks for transactions of an account, newest first.
type Query struct {
	Account protocol.AccountID
	Asset   string    // "" for all
	Kinds   []Kind    // none for all
	Since   time.Time // zero for all
	Before  string    // id of the last one of the page before
	Limit   int
}

// Imported says what became of a statement.
type Imported struct {
	Statement   string // the bank's id
	Entries     int
	Booked      int
	Matched     int
	Quarantined int
	Warning     string // what does not add up in it as a whole; "" when nothing was found
	Again       bool   // it was imported before, and nothing was changed now
}

// Held is an entry in quarantine.
type Held struct {
	ID, Statement, Reason, Detail, Reference, Amount, Currency string
	At                                                         time.Time
	Resolution                                                 string // "" while it waits
}

// Resolution decides about an entry in quarantine.
type Resolution struct {
	ID          string
	Action      string // "match", "return", "book", "offset" or "dismiss"
	Transaction string // with "match" the deposit, with "offset" the entry by which the bank took the money back
	Amount      string // with "book": what the entry says, in the account's currency
	Note        string // why; required
}

// Payout is a payment that the bank is told to make.
type Payout struct {
	ID, State string
	Asset     protocol.Asset
	Amount    protocol.Amount
	Created   time.Time
}

// File is a file for the bank.
type File struct {
	Name string
	Body []byte
}

// Enrolment makes an account a customer of a partner.
type Enrolment struct {
	Account      protocol.AccountID
	Partner, Ref string
}

// Customer is a customer as his partner sees him.
type Customer struct {
	Account      protocol.AccountID
	Partner, Ref string
	Status       string
	Created      time.Time
}

// StatusChange freezes or unfreezes a customer.
type StatusChange struct {
	Account protocol.AccountID
	Frozen  bool
	Why     string // required
}

// Page bounds a list: those after the one named After, at most Limit.
type Page struct {
	After string
	Limit int
}

// Invariant is something that must hold at every moment.
type Invariant struct {
	Name   string
	OK     bool
	Detail string
}

// LedgerTx is one of our transactions on the ledger.
type LedgerTx struct {
	ID, Purpose, State string
	Hash               protocol.Hash
	Attempt            int
	Created            time.Time
}

// Parked is a payment that matched nothing: where it came from and what became of it.
type Parked struct {
	ID            string // HASH/OP
	Hash          protocol.Hash
	Op            int // which operation of the transaction
	From          protocol.AccountID
	Amount        string // with the asset's code
	State, Reason string // it waits for a person when the state is "parked"
	At            time.Time
}

// ParkedResolution decides about a payment that waits.
type ParkedResolution struct {
	Hash   protocol.Hash
	Op     int
	Action string // "give-back", "reissue" or "dismiss"
	Note   string // why; required
}

// PayoutRefusal is a bank's word that it will not make a payout.
type PayoutRefusal struct {
	ID     string // of the payout
	Reason string // the bank's; required
}

// BouncedResolution decides about a withdrawal that the bank did not pay.
type BouncedResolution struct {
	ID     string
	Action string // "again" or "reissue"
	Note   string // why; required
}

// Job is something that is still to be done on the ledger or for the bank.
type Job struct {
	Kind, Ref string
	Created   time.Time
	Failing   string // why it waits to be tried again, as far as this process knows; "" when it does not
}

// limits of a list.
const maxPage = 200

func (p Page) limit() int { return clamp(p.Limit) }

func clamp(n int) int {
	if n < 1 || n > maxPage {
		return maxPage
	}
	return n
}
