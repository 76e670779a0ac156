package txbuild

import (
	"errors"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Operation is one of the operation structs of this package. A zero Source means the transaction's source.
type Operation interface {
	build() (xdr.Operation, error)
}

// CreateAccount makes Destination exist with a starting balance of DIAM.
type CreateAccount struct {
	Source, Destination protocol.AccountID
	StartingBalance     protocol.Amount
}

// Payment moves Amount of Asset to Destination.
type Payment struct {
	Source, Destination protocol.AccountID
	Asset               protocol.Asset
	Amount              protocol.Amount
}

// ChangeTrust opens, changes or (limit zero) removes the source's trustline to Asset.
type ChangeTrust struct {
	Source protocol.AccountID
	Asset  protocol.Asset
	Limit  protocol.Amount
}

// SetOptions changes the source account. Zero flags and nil fields are left as they are.
type SetOptions struct {
	Source       protocol.AccountID
	SetFlags     xdr.AccountFlags
	ClearFlags   xdr.AccountFlags
	MasterWeight *uint32
	LowThreshold *uint32
	MedThreshold *uint32
	HiThreshold  *uint32
	HomeDomain   *string
	Signer       *xdr.Signer
}

// SetTrustLineFlags is how an issuer authorises (or not) a trustor's line to its asset.
type SetTrustLineFlags struct {
	Source, Trustor protocol.AccountID
	Asset           protocol.Asset
	Set, Clear      xdr.TrustLineFlags
}

// ManageData sets, or with a nil Value removes, a data entry of the source.
type ManageData struct {
	Source protocol.AccountID
	Name   string
	Value  []byte
}

// Clawback takes Amount of the source's own Asset back from From.
type Clawback struct {
	Source, From protocol.AccountID
	Asset        protocol.Asset
	Amount       protocol.Amount
}

// Bounds of the wire's strings, in bytes. The encoder does not know them, but every decoder does.
const (
	maxDataName   = 64
	maxDataValue  = 64
	maxHomeDomain = 32
)

var (
	errNotPositive = errors.New("amount must be positive")
	errNoAccount   = errors.New("an account is missing")
	errNotCredit   = errors.New("the asset must be a credit")
	errTooLong     = errors.New("a name, value or domain is too long or missing")
)

// isCredit reports whether a is an asset that somebody issues.
func isCredit(a protocol.Asset) bool { return !a.IsZero() && !a.IsNative() }

func operation(source protocol.AccountID, t xdr.OperationType, body any) (xdr.Operation, error) {
	b, err := xdr.NewOperationBody(t, body)
	if err != nil {
		return xdr.Operation{}, err
	}
	op := xdr.Operation{Body: b}
	if !source.IsZero() {
		m := source.Muxed()
		op.SourceAccount = &m
	}
	return op, nil
}

func (o CreateAccount) build() (xdr.Operation, error) {
	if o.Destination.IsZero() {
		return xdr.Operation{}, errNoAccount
	}
	return operation(o.Source, xdr.OperationTypeCreateAccount, xdr.CreateAccountOp{
		Destination: o.Destination.XDR(), StartingBalance: xdr.Int64(o.StartingBalance.Stroops())})
}

func (o Payment) build() (xdr.Operation, error) {
	switch {
	case o.Amount.IsZero():
		return xdr.Operation{}, errNotPositive
	case o.Destination.IsZero():
		return xdr.Operation{}, errNoAccount
	case o.Asset.IsZero():
		return xdr.Operation{}, errors.New("an asset is missing")
	}
	return operation(o.Source, xdr.OperationTypePayment, xdr.PaymentOp{
		Destination: o.Destination.Muxed(), Asset: o.Asset.XDR(), Amount: xdr.Int64(o.Amount.Stroops())})
}

func (o ChangeTrust) build() (xdr.Operation, error) {
	if !isCredit(o.Asset) {
		return xdr.Operation{}, errNotCredit
	}
	return operation(o.Source, xdr.OperationTypeChangeTrust, xdr.ChangeTrustOp{
		Line: o.Asset.XDR().ToChangeTrustAsset(), Limit: xdr.Int64(o.Limit.Stroops())})
}

func (o SetOptions) build() (xdr.Operation, error) {
	if o.HomeDomain != nil && len(*o.HomeDomain) > maxHomeDomain {
		return xdr.Operation{}, errTooLong
	}
	x := xdr.SetOptionsOp{Signer: o.Signer}
	x.SetFlags, x.ClearFlags = flags(o.SetFlags), flags(o.ClearFlags)
	x.MasterWeight = (*xdr.Uint32)(o.MasterWeight)
	x.LowThreshold = (*xdr.Uint32)(o.LowThreshold)
	x.MedThreshold = (*xdr.Uint32)(o.MedThreshold)
	x.HighThreshold = (*xdr.Uint32)(o.HiThreshold)
	x.HomeDomain = (*xdr.String32)(o.HomeDomain)
	return operation(o.Source, xdr.OperationTypeSetOptions, x)
}

func (o SetTrustLineFlags) build() (xdr.Operation, error) {
	switch {
	case o.Trustor.IsZero():
		return xdr.Operation{}, errNoAccount
	case !isCredit(o.Asset):
		return xdr.Operation{}, errNotCredit
	}
	return operation(o.Source, xdr.OperationTypeSetTrustLineFlags, xdr.SetTrustLineFlagsOp{
		Trustor: o.Trustor.XDR(), Asset: o.Asset.XDR(), SetFlags: xdr.Uint32(o.Set), ClearFlags: xdr.Uint32(o.Clear)})
}

func (o ManageData) build() (xdr.Operation, error) {
	if o.Name == "" || len(o.Name) > maxDataName || len(o.Value) > maxDataValue {
		return xdr.Operation{}, errTooLong
	}
	x := xdr.ManageDataOp{DataName: xdr.String64(o.Name)}
	if o.Value != nil {
		v := xdr.DataValue(o.Value)
		x.DataValue = &v
	}
	return operation(o.Source, xdr.OperationTypeManageData, x)
}

func (o Clawback) build() (xdr.Operation, error) {
	switch {
	case o.Amount.IsZero():
		return xdr.Operation{}, errNotPositive
	case o.From.IsZero():
		return xdr.Operation{}, errNoAccount
	case !isCredit(o.Asset):
		return xdr.Operation{}, errNotCredit
	}
	return operation(o.Source, xdr.OperationTypeClawback, xdr.ClawbackOp{
		From: o.From.Muxed(), Asset: o.Asset.XDR(), Amount: xdr.Int64(o.Amount.Stroops())})
}

func flags(f xdr.AccountFlags) *xdr.Uint32 {
	if f == 0 {
		return nil
	}
	u := xdr.Uint32(f)
	return &u
}
