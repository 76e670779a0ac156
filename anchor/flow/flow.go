// Package flow holds the machines of the anchor's money flows: what follows from what. They are pure tables: a state and
// an event give a new state and the effects that belong to it, or ErrRefused. Nothing here moves money, tells the time or
// knows a database; package anchor carries out the effects in the transaction that stores the new state.
//
// A new flow is a new table and a script in testdata that walks every transition of it.
package flow

import (
	"errors"
	"fmt"
)

// ErrRefused: the event cannot happen in this state.
var ErrRefused = errors.New("flow: event does not fit the state")

// Name says which machine is meant.
type Name string

// The machines.
const (
	Deposit    Name = "deposit"
	Withdrawal Name = "withdrawal"
	LedgerTx   Name = "ledger-tx"
	Incoming   Name = "incoming"
)

// State is where a flow stands. The empty state is invalid.
type State string

// The states. Each machine uses some of them.
const (
	Awaiting  State = "awaiting"  // the customer is to pay, the bank or the ledger
	Issuing   State = "issuing"   // money is held, credit is on its way to the ledger
	NeedsLine State = "no-line"   // money is held, the customer must open a line to the credit
	OnHold    State = "on-hold"   // a person must decide
	Burning   State = "burning"   // credit came back and is held, on its way to its issuer
	Paying    State = "paying"    // the payout file is to be written
	Withheld  State = "withheld"  // compliance does not let the payout go
	AtBank    State = "at-bank"   // the payout file is there for the bank
	Bounced   State = "bounced"   // the bank did not pay it, or the money came back, and a person must decide
	Completed State = "completed" // the end, as wished
	Built     State = "built"     // stored, nobody has signed
	Signed    State = "signed"    // signed and stored, may be anywhere
	Succeeded State = "succeeded" // a closed ledger says so
	Failed    State = "failed"    // a closed ledger says so
	Blocked   State = "blocked"   // nobody may build another until a person has looked
	Dead      State = "dead"      // its time has passed in a closed ledger without it
	Refunding State = "refunding" // credit without a reason goes back
	Refunded  State = "refunded"
	Parked    State = "parked"    // it cannot go back by itself, and a person must decide
	Returning State = "returning" // destroyed or redeemed credit is issued to its owner again
	Closed    State = "closed"    // a person has decided that nothing is to be done
	Matched   State = "matched"
	Seen      State = "seen"
)

// Event is what happened.
type Event string

// The events.
const (
	Received  Event = "received"   // the bank has the money and compliance has cleared it
	Refused   Event = "refused"    // compliance holds it
	Issued    Event = "issued"     // the ledger has the credit
	NotIssued Event = "not-issued" // the ledger refused the credit
	NoLine    Event = "no-line"    // the customer has no authorised line to the credit
	HasLine   Event = "has-line"   // and now he has
	Paid      Event = "paid"       // the customer's credit came, as agreed and cleared
	Burned    Event = "burned"     // the credit is with its issuer
	Written   Event = "written"    // the payout file is there
	Debited   Event = "debited"    // the bank's statement shows the payout
	Signature Event = "signature"
	Success   Event = "success"
	Failure   Event = "failure"
	Timeout   Event = "timeout"
	Match     Event = "match"
	NoMatch   Event = "no-match"
	CannotPay Event = "cannot-pay"
	Denied    Event = "denied"    // the signer will not sign it
	GiveBack  Event = "give-back" // a person wants credit to go back to its sender
	Wanted    Event = "wanted"    // the signer wants people to approve it, who need more time than it has
	Conflict  Event = "conflict"  // the signer knows another transaction by this one's name
	Reissue   Event = "reissue"   // a person wants destroyed or redeemed credit to be issued again
	Unpaid    Event = "unpaid"    // the bank says that it has not paid and will not
	CameBack  Event = "came-back" // the bank has the money of a payout again
	Again     Event = "again"     // a person wants the bank to be asked once more
	Dismiss   Event = "dismiss"   // a person has seen to it
)

// Effect is what the new state brings with it, carried out in the same transaction.
type Effect string

// The effects.
const (
	HoldDeposit    Effect = "hold-deposit"    // suspense -> issued, pending
	Issue          Effect = "issue"           // a job: pay credit to the customer
	PostDeposit    Effect = "post-deposit"    // final
	VoidDeposit    Effect = "void-deposit"    // undone
	Quarantine     Effect = "quarantine"      // shown to people
	HoldWithdrawal Effect = "hold-withdrawal" // issued -> payable, pending
	Burn           Effect = "burn"            // a job: credit back to its issuer
	PostWithdrawal Effect = "post-withdrawal" // final
	WritePayout    Effect = "write-payout"    // a job
	HoldPayout     Effect = "hold-payout"     // payable -> bank, pending
	PostPayout     Effect = "post-payout"     // final
	VoidPayout     Effect = "void-payout"     // undone
	Recover        Effect = "recover"         // suspense -> payable, final
	PayLate        Effect = "pay-late"        // payable -> bank, final
	IssueAgain     Effect = "issue-again"     // a job: issue redeemed credit to its customer
	Submit         Effect = "submit"          // may leave the process now
	Rebuild        Effect = "rebuild"         // a new attempt
	Refund         Effect = "refund"          // a job: credit back to its sender
	HoldReturn     Effect = "hold-return"     // payable -> issued, pending
	Return         Effect = "return"          // a job: issue credit to whoever destroyed it
	PostReturn     Effect = "post-return"     // final
	VoidReturn     Effect = "void-return"     // undone
)

type arrow struct {
	machine Name
	from    State
	event   Event
}

type target struct {
	to      State
	effects []Effect
}

var table = map[arrow]target{
	{Deposit, Awaiting, Received}: {Issuing, []Effect{HoldDeposit, Issue}},
	{Deposit, Awaiting, Refused}:  {OnHold, []Effect{Quarantine}},
	{Deposit, OnHold, Received}:   {Issuing, []Effect{HoldDeposit, Issue}},
	{Deposit, OnHold, Refused}:    {OnHold, []Effect{Quarantine}},
	{Deposit, Issuing, Issued}:    {Completed, []Effect{PostDeposit}},
	{Deposit, Issuing, NotIssued}: {OnHold, []Effect{VoidDeposit, Quarantine}},
	// The customer cannot hold the credit yet. The money stays held for him.
	{Deposit, Issuing, NoLine}:    {NeedsLine, nil},
	{Deposit, NeedsLine, HasLine}: {Issuing, nil},
	// Another process saw the line sooner than we saw that there was none.
	{Deposit, NeedsLine, Issued}:    {Completed, []Effect{PostDeposit}},
	{Deposit, NeedsLine, NotIssued}: {OnHold, []Effect{VoidDeposit, Quarantine}},
	{Withdrawal, Awaiting, Paid}:    {Burning, []Effect{HoldWithdrawal, Burn}},
	{Withdrawal, Burning, Burned}:   {Paying, []Effect{PostWithdrawal, WritePayout}},
	{Withdrawal, Paying, Written}:   {AtBank, []Effect{HoldPayout}},
	// The credit is redeemed and the debt stands; the file is written when compliance lets it go.
	{Withdrawal, Paying, Refused}:   {Withheld, nil},
	{Withdrawal, Withheld, Written}: {AtBank, []Effect{HoldPayout}},
	{Withdrawal, AtBank, Debited}:   {Completed, []Effect{PostPayout}},
	// The bank did not pay. The debt stands, and its customer gets the money at last or his credit back.
	{Withdrawal, AtBank, Unpaid}:      {Bounced, []Effect{VoidPayout}},
	{Withdrawal, Completed, CameBack}: {Bounced, []Effect{Recover}},
	// The bank paid after all, while nobody had decided yet.
	{Withdrawal, Bounced, Debited}:     {Completed, []Effect{PayLate}},
	{Withdrawal, Bounced, Again}:       {Paying, []Effect{WritePayout}},
	{Withdrawal, Bounced, Reissue}:     {Returning, []Effect{HoldReturn, IssueAgain}},
	{Withdrawal, Returning, Success}:   {Refunded, []Effect{PostReturn}},
	{Withdrawal, Returning, CannotPay}: {Bounced, []Effect{VoidReturn}},

	{LedgerTx, Built, Signature}: {Signed, []Effect{Submit}},
	{LedgerTx, Signed, Success}:  {Succeeded, nil},
	{LedgerTx, Signed, Failure}:  {Failed, nil},
	{LedgerTx, Signed, Timeout}:  {Dead, []Effect{Rebuild}},
	// A crash between signing and storing the signature leaves a transaction that we hold for unsigned. It was not
	// submitted by us, but it could have been: what the ledger says counts.
	{LedgerTx, Built, Success}: {Succeeded, nil},
	{LedgerTx, Built, Failure}: {Failed, nil},
	{LedgerTx, Built, Timeout}: {Dead, []Effect{Rebuild}},
	// The signer refused. Somebody else may get a signature of it all the same, but nobody submits what is not Signed here.
	{LedgerTx, Built, Denied}: {Failed, nil},
	// Nor is one that people must approve and that lives too short for that: another takes its place and its number.
	{LedgerTx, Built, Wanted}: {Failed, []Effect{Rebuild}},
	// The signer has signed something else by this name: this database has lost rows, and a person must look.
	{LedgerTx, Built, Conflict}: {Blocked, nil},

	{Incoming, Seen, Match}:          {Matched, nil},
	{Incoming, Seen, NoMatch}:        {Refunding, []Effect{Refund}},
	{Incoming, Seen, CannotPay}:      {Parked, nil},
	{Incoming, Refunding, Success}:   {Refunded, nil},
	{Incoming, Refunding, CannotPay}: {Parked, nil},
	{Incoming, Parked, GiveBack}:     {Refunding, []Effect{Refund}},
	{Incoming, Parked, Reissue}:      {Returning, []Effect{HoldReturn, Return}},
	{Incoming, Returning, Success}:   {Refunded, []Effect{PostReturn}},
	{Incoming, Returning, CannotPay}: {Parked, []Effect{VoidReturn}},
	{Incoming, Parked, Dismiss}:      {Closed, nil},
}

// Step returns where a machine goes from a state when an event happens, and the effects that belong to it.
func Step(machine Name, from State, event Event) (State, []Effect, error) {
	t, ok := table[arrow{machine, from, event}]
	if !ok {
		return from, nil, fmt.Errorf("%w: %s in state %q, event %q", ErrRefused, machine, from, event)
	}
	return t.to, append([]Effect(nil), t.effects...), nil
}
