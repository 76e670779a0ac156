package apply

import "github.com/stellar/go-stellar-sdk/xdr"

func createAccountResult(o operation, code xdr.CreateAccountResultCode) xdr.OperationResult {
	return o.inner(xdr.CreateAccountResult{Code: code})
}

func createAccountValid(o operation) xdr.OperationResult {
	op := o.body.MustCreateAccountOp()
	if op.StartingBalance < 0 || op.Destination.Equals(o.source) {
		return createAccountResult(o, xdr.CreateAccountResultCodeCreateAccountMalformed)
	}
	return o.success()
}

func createAccount(o operation) xdr.OperationResult {
	op := o.body.MustCreateAccountOp()
	if o.d.account(op.Destination) != nil {
		return createAccountResult(o, xdr.CreateAccountResultCodeCreateAccountAlreadyExist)
	}
	if int64(op.StartingBalance) < accountReserves*int64(o.c.BaseReserve) {
		return createAccountResult(o, xdr.CreateAccountResultCodeCreateAccountLowReserve)
	}
	source := o.d.account(o.source)
	if !addNative(source.account(), -int64(op.StartingBalance), o.c) {
		return createAccountResult(o, xdr.CreateAccountResultCodeCreateAccountUnderfunded)
	}
	o.d.put(source)
	o.d.put(newAccount(op.Destination, op.StartingBalance, o.c.Seq))
	return o.success()
}

// NewAccount makes an account as ledger seq creates it.
func NewAccount(id xdr.AccountId, balance xdr.Int64, seq uint32) xdr.LedgerEntry {
	e := newAccount(id, balance, seq).LedgerEntry
	e.LastModifiedLedgerSeq = xdr.Uint32(seq)
	return e
}

func newAccount(id xdr.AccountId, balance xdr.Int64, seq uint32) *entry {
	return &entry{key: AccountKey(id), LedgerEntry: xdr.LedgerEntry{Data: xdr.LedgerEntryData{Type: xdr.LedgerEntryTypeAccount,
		Account: &xdr.AccountEntry{AccountId: id, Balance: balance, SeqNum: xdr.SequenceNumber(int64(seq) << sequenceShift),
			Thresholds: xdr.Thresholds{1, 0, 0, 0}}}}}
}
