package apply

import (
	"math"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// Reserves: how many base reserves an account needs for itself, and how many entries it may have.
const (
	accountReserves = 2
	maxSubentries   = 1000
)

// operation is one operation in its transaction, over the layer that it may change.
type operation struct {
	d      *Delta
	c      Context
	body   xdr.OperationBody
	source xdr.AccountId
	named  bool // the operation names its own source
}

// kind says how operations of a type are validated and applied. Each returns the operation's result; valid looks at
// nothing but the operation itself.
type kind struct {
	threshold func(o operation) byte // which of the account's thresholds: low 1, medium 2, high 3
	valid     func(o operation) xdr.OperationResult
	apply     func(o operation) xdr.OperationResult
}

const (
	low = iota + 1
	medium
	high
)

func always(level byte) func(operation) byte { return func(operation) byte { return level } }

// supported are the operations of this version.
var supported = map[xdr.OperationType]kind{
	xdr.OperationTypeCreateAccount:     {always(medium), createAccountValid, createAccount},
	xdr.OperationTypePayment:           {always(medium), paymentValid, payment},
	xdr.OperationTypeSetOptions:        {setOptionsThreshold, setOptionsValid, setOptions},
	xdr.OperationTypeChangeTrust:       {always(medium), changeTrustValid, changeTrust},
	xdr.OperationTypeAllowTrust:        {always(low), allowTrustValid, allowTrust},
	xdr.OperationTypeSetTrustLineFlags: {always(low), setTrustLineFlagsValid, setTrustLineFlags},
	xdr.OperationTypeManageData:        {always(medium), manageDataValid, manageData},
	xdr.OperationTypeClawback:          {always(medium), clawbackValid, clawback},
}

func newOperation(d *Delta, tx Tx, i int, c Context) operation {
	op := tx.inner.Tx.Operations[i]
	o := operation{d: d, c: c, body: op.Body, source: tx.Source()}
	if op.SourceAccount != nil {
		o.source, o.named = op.SourceAccount.ToAccountId(), true
	}
	return o
}

// authorise checks that the operation is one of ours and that its source has signed. Its answer is success when so.
func (o operation) authorise(s *checker) xdr.OperationResult {
	k, ok := supported[o.body.Type]
	if !ok {
		return xdr.OperationResult{Code: xdr.OperationResultCodeOpNotSupported}
	}
	good := false
	if e := o.d.Get(AccountKey(o.source)); e != nil {
		a := e.Data.Account
		good = s.check(accountSigners(a), int32(a.Thresholds[k.threshold(o)]))
	} else {
		if !o.named {
			return xdr.OperationResult{Code: xdr.OperationResultCodeOpNoAccount}
		}
		good = s.check([]xdr.Signer{masterSigner(o.source, 1)}, 1) // an operation before this one may create it
	}
	if !good {
		return xdr.OperationResult{Code: xdr.OperationResultCodeOpBadAuth}
	}
	return o.success()
}

func (o operation) valid() xdr.OperationResult { return supported[o.body.Type].valid(o) }

// run applies the operation. Its source need not be there yet when its transaction is checked, but now it must.
func (o operation) run() xdr.OperationResult {
	k := supported[o.body.Type]
	if o.d.Get(AccountKey(o.source)) == nil {
		return xdr.OperationResult{Code: xdr.OperationResultCodeOpNoAccount}
	}
	if r := k.valid(o); !succeeded(r) {
		return r
	}
	return k.apply(o)
}

// inner wraps the result of an operation. All result unions of these operations have the same two arms.
func (o operation) inner(result any) xdr.OperationResult {
	tr, err := xdr.NewOperationResultTr(o.body.Type, result)
	if err != nil {
		panic("apply: result of " + o.body.Type.String() + ": " + err.Error())
	}
	return xdr.OperationResult{Code: xdr.OperationResultCodeOpInner, Tr: &tr}
}

// success is the result of an operation of this type that went well: code 0 in every union.
func (o operation) success() xdr.OperationResult {
	switch o.body.Type {
	case xdr.OperationTypeCreateAccount:
		return o.inner(xdr.CreateAccountResult{})
	case xdr.OperationTypePayment:
		return o.inner(xdr.PaymentResult{})
	case xdr.OperationTypeSetOptions:
		return o.inner(xdr.SetOptionsResult{})
	case xdr.OperationTypeChangeTrust:
		return o.inner(xdr.ChangeTrustResult{})
	case xdr.OperationTypeAllowTrust:
		return o.inner(xdr.AllowTrustResult{})
	case xdr.OperationTypeSetTrustLineFlags:
		return o.inner(xdr.SetTrustLineFlagsResult{})
	case xdr.OperationTypeManageData:
		return o.inner(xdr.ManageDataResult{})
	case xdr.OperationTypeClawback:
		return o.inner(xdr.ClawbackResult{})
	}
	panic("apply: no result for " + o.body.Type.String())
}

// succeeded reports whether the operation's own code is 0, success.
func succeeded(r xdr.OperationResult) bool {
	if r.Code != xdr.OperationResultCodeOpInner {
		return false
	}
	switch t := r.Tr; t.Type {
	case xdr.OperationTypeCreateAccount:
		return t.CreateAccountResult.Code == 0
	case xdr.OperationTypePayment:
		return t.PaymentResult.Code == 0
	case xdr.OperationTypeSetOptions:
		return t.SetOptionsResult.Code == 0
	case xdr.OperationTypeChangeTrust:
		return t.ChangeTrustResult.Code == 0
	case xdr.OperationTypeAllowTrust:
		return t.AllowTrustResult.Code == 0
	case xdr.OperationTypeSetTrustLineFlags:
		return t.SetTrustLineFlagsResult.Code == 0
	case xdr.OperationTypeManageData:
		return t.ManageDataResult.Code == 0
	case xdr.OperationTypeClawback:
		return t.ClawbackResult.Code == 0
	}
	return false
}

// reserve is what the account must keep.
func reserve(a *xdr.AccountEntry, c Context) int64 {
	entries := int64(a.NumSubEntries) + accountReserves + int64(a.NumSponsoring()) - int64(a.NumSponsored())
	return entries * int64(c.BaseReserve)
}

// Available is what the account could spend. It is negative when a fee was taken from the reserve.
func Available(a *xdr.AccountEntry, c Context) int64 {
	return int64(a.Balance) - reserve(a, c) - int64(a.Liabilities().Selling)
}

// addNative changes the account's balance, within its limits.
func addNative(a *xdr.AccountEntry, by int64, c Context) bool {
	switch {
	case by < 0 && Available(a, c) < -by:
		return false
	case by > 0 && int64(a.Balance) > math.MaxInt64-by-int64(a.Liabilities().Buying):
		return false
	}
	a.Balance += xdr.Int64(by)
	return true
}

// addCredit changes a line's balance, within its limit.
func addCredit(t *xdr.TrustLineEntry, by int64) bool {
	l := t.Liabilities()
	switch {
	case by < 0 && int64(t.Balance)-int64(l.Selling) < -by:
		return false
	case by > 0 && int64(t.Limit)-int64(l.Buying)-int64(t.Balance) < by:
		return false
	}
	t.Balance += xdr.Int64(by)
	return true
}

// room says whether an account can have one more entry.
type room uint8

const (
	fits room = iota + 1
	tooMany
	tooPoor
)

// addSubentry counts one more entry of the account, if it can pay the reserve for it.
func addSubentry(a *xdr.AccountEntry, c Context) room {
	if a.NumSubEntries >= maxSubentries {
		return tooMany
	}
	if Available(a, c) < int64(c.BaseReserve) {
		return tooPoor
	}
	a.NumSubEntries++
	return fits
}

func tooManySubentries() xdr.OperationResult {
	return xdr.OperationResult{Code: xdr.OperationResultCodeOpTooManySubentries}
}

// assetValid reports whether a credit's code is well formed. The native asset is valid.
func assetValid(a xdr.Asset) bool {
	var code []byte
	least := 1
	switch a.Type {
	case xdr.AssetTypeAssetTypeNative:
		return true
	case xdr.AssetTypeAssetTypeCreditAlphanum4:
		code = a.AlphaNum4.AssetCode[:]
	case xdr.AssetTypeAssetTypeCreditAlphanum12:
		code, least = a.AlphaNum12.AssetCode[:], 5
	default:
		return false
	}
	length, ended := 0, false
	for _, b := range code {
		switch {
		case b == 0:
			ended = true
		case ended || !(b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z'):
			return false
		default:
			length++
		}
	}
	return length >= least
}

// issuerOf returns who issues a credit.
func issuerOf(a xdr.Asset) xdr.AccountId {
	if a.Type == xdr.AssetTypeAssetTypeCreditAlphanum4 {
		return a.AlphaNum4.Issuer
	}
	return a.AlphaNum12.Issuer
}

func isIssuer(id xdr.AccountId, a xdr.Asset) bool {
	if a.Type == xdr.AssetTypeAssetTypeNative {
		return false
	}
	issuer := issuerOf(a)
	return issuer.Equals(id)
}

// textValid reports whether a string of the ledger holds printable ASCII only.
func textValid(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
