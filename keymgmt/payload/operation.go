package payload

import (
	"bytes"
	"fmt"
	"math/big"
	"strings"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Operation is one of the operation structs of this package: a closed set, so that a policy which does not name one
// denies it.
type Operation interface {
	// Origin returns the account that the operation acts for.
	Origin() protocol.AccountID
	// Words returns the effect in words.
	Words() string
	sealed()
}

// By is the account that an operation acts for: its own source or else the transaction's.
type By struct{ Source protocol.AccountID }

// Origin returns the account.
func (b By) Origin() protocol.AccountID { return b.Source }

func (By) sealed() {}

// CreateAccount makes Destination exist.
type CreateAccount struct {
	By
	Destination protocol.AccountID
	Starting    *big.Int // stroops of DIAM
}

// Payment moves Amount of Asset to Destination.
type Payment struct {
	By
	Destination protocol.AccountID
	Asset       protocol.Asset
	Amount      *big.Int
}

// ChangeTrust opens, changes or (limit zero) removes a trustline to Asset.
type ChangeTrust struct {
	By
	Asset protocol.Asset
	Limit *big.Int
}

// SetOptions changes its source. Nil means unchanged.
type SetOptions struct {
	By
	SetFlags, ClearFlags xdr.AccountFlags
	MasterWeight         *uint32
	LowThreshold         *uint32
	MediumThreshold      *uint32
	HighThreshold        *uint32
	HomeDomain           *string
	Signer               *xdr.Signer
}

// SetTrustLineFlags authorises, or not, Trustor's line to Asset.
type SetTrustLineFlags struct {
	By
	Trustor    protocol.AccountID
	Asset      protocol.Asset
	Set, Clear xdr.TrustLineFlags
}

// ManageData sets, or with a nil Value removes, a data entry.
type ManageData struct {
	By
	Name  string
	Value []byte
}

// Clawback takes Amount of Asset back from From.
type Clawback struct {
	By
	From   protocol.AccountID
	Asset  protocol.Asset
	Amount *big.Int
}

// knownAccountFlags and knownLineFlags are the bits that have a name on the ledger.
const (
	knownAccountFlags = xdr.AccountFlagsAuthRequiredFlag | xdr.AccountFlagsAuthRevocableFlag |
		xdr.AccountFlagsAuthImmutableFlag | xdr.AccountFlagsAuthClawbackEnabledFlag
	knownLineFlags = xdr.TrustLineFlagsAuthorizedFlag | xdr.TrustLineFlagsAuthorizedToMaintainLiabilitiesFlag |
		xdr.TrustLineFlagsTrustlineClawbackEnabledFlag
)

// readOperation understands one operation of a transaction of source.
func readOperation(source protocol.AccountID, x xdr.Operation) (Operation, error) {
	by := By{source}
	if x.SourceAccount != nil {
		own, err := account(*x.SourceAccount)
		if err != nil {
			return nil, err
		}
		by.Source = own
	}
	switch b := x.Body; b.Type {
	case xdr.OperationTypeCreateAccount:
		return readCreateAccount(by, b.CreateAccountOp)
	case xdr.OperationTypePayment:
		return readPayment(by, b.PaymentOp)
	case xdr.OperationTypeChangeTrust:
		return readChangeTrust(by, b.ChangeTrustOp)
	case xdr.OperationTypeSetOptions:
		return readSetOptions(by, b.SetOptionsOp)
	case xdr.OperationTypeSetTrustLineFlags:
		return readSetTrustLineFlags(by, b.SetTrustLineFlagsOp)
	case xdr.OperationTypeManageData:
		return readManageData(by, b.ManageDataOp)
	case xdr.OperationTypeClawback:
		return readClawback(by, b.ClawbackOp)
	default:
		return nil, malformed("operation %s is not understood here", b.Type)
	}
}

func readCreateAccount(by By, x *xdr.CreateAccountOp) (Operation, error) {
	to, err := protocol.AccountIDFromXDR(x.Destination)
	if err != nil {
		return nil, malformed("%v", err)
	}
	starting, err := amount(x.StartingBalance, 0)
	return CreateAccount{by, to, starting}, err
}

func readPayment(by By, x *xdr.PaymentOp) (Operation, error) {
	to, err := account(x.Destination)
	if err != nil {
		return nil, err
	}
	asset, err := readAsset(x.Asset)
	if err != nil {
		return nil, err
	}
	sum, err := amount(x.Amount, 1)
	return Payment{by, to, asset, sum}, err
}

func readChangeTrust(by By, x *xdr.ChangeTrustOp) (Operation, error) {
	if x.Line.Type == xdr.AssetTypeAssetTypePoolShare {
		return nil, malformed("trustline to a liquidity pool")
	}
	asset, err := readAsset(x.Line.ToAsset())
	if err != nil {
		return nil, err
	}
	if asset.IsNative() {
		return nil, malformed("trustline to the native asset")
	}
	limit, err := amount(x.Limit, 0)
	return ChangeTrust{by, asset, limit}, err
}

func readSetOptions(by By, x *xdr.SetOptionsOp) (Operation, error) {
	if x.InflationDest != nil {
		return nil, malformed("inflation destination")
	}
	op := SetOptions{By: by, MasterWeight: (*uint32)(x.MasterWeight), LowThreshold: (*uint32)(x.LowThreshold),
		MediumThreshold: (*uint32)(x.MedThreshold), HighThreshold: (*uint32)(x.HighThreshold),
		HomeDomain: (*string)(x.HomeDomain), Signer: x.Signer}
	if x.SetFlags != nil {
		op.SetFlags = xdr.AccountFlags(*x.SetFlags)
	}
	if x.ClearFlags != nil {
		op.ClearFlags = xdr.AccountFlags(*x.ClearFlags)
	}
	if (op.SetFlags|op.ClearFlags)&^knownAccountFlags != 0 || op.SetFlags&op.ClearFlags != 0 {
		return nil, malformed("account flags %#x set, %#x cleared", uint32(op.SetFlags), uint32(op.ClearFlags))
	}
	return op, nil
}

func readSetTrustLineFlags(by By, x *xdr.SetTrustLineFlagsOp) (Operation, error) {
	trustor, err := protocol.AccountIDFromXDR(x.Trustor)
	if err != nil {
		return nil, malformed("%v", err)
	}
	asset, err := readAsset(x.Asset)
	if err != nil {
		return nil, err
	}
	set, clear := xdr.TrustLineFlags(x.SetFlags), xdr.TrustLineFlags(x.ClearFlags)
	if (set|clear)&^knownLineFlags != 0 || set&clear != 0 {
		return nil, malformed("trustline flags %#x set, %#x cleared", uint32(set), uint32(clear))
	}
	return SetTrustLineFlags{by, trustor, asset, set, clear}, nil
}

func readManageData(by By, x *xdr.ManageDataOp) (Operation, error) {
	if !printable(string(x.DataName), 64) {
		return nil, malformed("data name %.64q", x.DataName)
	}
	op := ManageData{By: by, Name: string(x.DataName)}
	if x.DataValue != nil {
		op.Value = append([]byte{}, *x.DataValue...)
	}
	return op, nil
}

func readClawback(by By, x *xdr.ClawbackOp) (Operation, error) {
	from, err := account(x.From)
	if err != nil {
		return nil, err
	}
	asset, err := readAsset(x.Asset)
	if err != nil {
		return nil, err
	}
	sum, err := amount(x.Amount, 1)
	return Clawback{by, from, asset, sum}, err
}

func readAsset(x xdr.Asset) (protocol.Asset, error) {
	asset, err := protocol.AssetFromXDR(x)
	if err != nil {
		return protocol.Asset{}, malformed("%v", err)
	}
	// A five-letter code in a four-letter type, or padding in the middle of one, must not read as another asset.
	again, err1 := asset.XDR().MarshalBinary()
	before, err2 := x.MarshalBinary()
	if err1 != nil || err2 != nil || !bytes.Equal(again, before) {
		return protocol.Asset{}, malformed("asset %s is not in canonical form", asset)
	}
	return asset, nil
}

func assetWords(a protocol.Asset) string {
	if a.IsNative() {
		return protocol.NativeCode
	}
	return a.Code() + " issued by " + a.Issuer().String()
}

// Words returns the effect in words.
func (o CreateAccount) Words() string {
	return fmt.Sprintf("creates account %s with %s %s", o.Destination, Decimal(o.Starting), protocol.NativeCode)
}

// Words returns the effect in words.
func (o Payment) Words() string {
	return fmt.Sprintf("pays %s %s to %s", Decimal(o.Amount), assetWords(o.Asset), o.Destination)
}

// Words returns the effect in words.
func (o ChangeTrust) Words() string {
	if o.Limit.Sign() == 0 {
		return "removes the trustline to " + assetWords(o.Asset)
	}
	return fmt.Sprintf("trusts %s up to %s", assetWords(o.Asset), Decimal(o.Limit))
}

// Words returns the effect in words.
func (o SetOptions) Words() string {
	var w []string
	if o.SetFlags != 0 {
		w = append(w, "sets flags "+strings.Join(AccountFlagNames(o.SetFlags), " and "))
	}
	if o.ClearFlags != 0 {
		w = append(w, "clears flags "+strings.Join(AccountFlagNames(o.ClearFlags), " and "))
	}
	weights := []struct {
		name  string
		value *uint32
	}{{"master weight", o.MasterWeight}, {"low threshold", o.LowThreshold},
		{"medium threshold", o.MediumThreshold}, {"high threshold", o.HighThreshold}}
	for _, v := range weights {
		if v.value != nil {
			w = append(w, fmt.Sprintf("sets %s to %d", v.name, *v.value))
		}
	}
	if o.HomeDomain != nil {
		w = append(w, fmt.Sprintf("sets home domain to %q", *o.HomeDomain))
	}
	if o.Signer != nil {
		w = append(w, fmt.Sprintf("gives signer %s weight %d", o.Signer.Key.Address(), o.Signer.Weight))
	}
	if len(w) == 0 {
		return "changes no option"
	}
	return strings.Join(w, ", ")
}

// Words returns the effect in words.
func (o SetTrustLineFlags) Words() string {
	w := "on the trustline of " + o.Trustor.String() + " to " + assetWords(o.Asset)
	if o.Set != 0 {
		w += " sets " + strings.Join(LineFlagNames(o.Set), " and ")
	}
	if o.Clear != 0 {
		w += " clears " + strings.Join(LineFlagNames(o.Clear), " and ")
	}
	return w
}

// Words returns the effect in words.
func (o ManageData) Words() string {
	if o.Value == nil {
		return fmt.Sprintf("removes data %q", o.Name)
	}
	return fmt.Sprintf("sets data %q to %q", o.Name, o.Value)
}

// Words returns the effect in words.
func (o Clawback) Words() string {
	return fmt.Sprintf("claws back %s %s from %s", Decimal(o.Amount), assetWords(o.Asset), o.From)
}
