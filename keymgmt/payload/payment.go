package payload

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Payment moves Amount of Asset to Destination.
type Payment struct {
	By
	Destination protocol.AccountID
	Asset       protocol.Asset
	Amount      *big.Int
}

// Conversion is what both kinds of path payment say of the exchange on the way.
type Conversion struct {
	Destination protocol.AccountID
	SendAsset   protocol.Asset
	DestAsset   protocol.Asset
	Path        []protocol.Asset // what lies between, in the order of the exchange
}

// PathPaymentStrictReceive gets exactly DestAmount to Destination and pays for it with at most SendMax.
type PathPaymentStrictReceive struct {
	By
	Conversion
	SendMax    *big.Int
	DestAmount *big.Int
}

// PathPaymentStrictSend pays exactly SendAmount for at least DestMin at Destination.
type PathPaymentStrictSend struct {
	By
	Conversion
	SendAmount *big.Int
	DestMin    *big.Int
}

// Clawback takes Amount of Asset back from From.
type Clawback struct {
	By
	From   protocol.AccountID
	Asset  protocol.Asset
	Amount *big.Int
}

func (r *reader) payment(x *xdr.PaymentOp) Operation {
	return Payment{r.by, r.account(x.Destination), r.asset(x.Asset), r.amount(x.Amount, 1)}
}

func (r *reader) strictReceive(x *xdr.PathPaymentStrictReceiveOp) Operation {
	c := Conversion{r.account(x.Destination), r.asset(x.SendAsset), r.asset(x.DestAsset), r.assets(x.Path)}
	return PathPaymentStrictReceive{r.by, c, r.amount(x.SendMax, 1), r.amount(x.DestAmount, 1)}
}

func (r *reader) strictSend(x *xdr.PathPaymentStrictSendOp) Operation {
	c := Conversion{r.account(x.Destination), r.asset(x.SendAsset), r.asset(x.DestAsset), r.assets(x.Path)}
	return PathPaymentStrictSend{r.by, c, r.amount(x.SendAmount, 1), r.amount(x.DestMin, 1)}
}

func (r *reader) assets(list []xdr.Asset) (assets []protocol.Asset) {
	for _, x := range list {
		assets = append(assets, r.asset(x))
	}
	return assets
}

func (r *reader) clawback(x *xdr.ClawbackOp) Operation {
	return Clawback{r.by, r.account(x.From), r.credit(x.Asset), r.amount(x.Amount, 1)}
}

// Outflows returns the amount.
func (o Payment) Outflows() []Outflow { return outflow(o.Asset, o.Amount) }

// Outflows returns the most that may be paid.
func (o PathPaymentStrictReceive) Outflows() []Outflow { return outflow(o.SendAsset, o.SendMax) }

// Outflows returns what is paid.
func (o PathPaymentStrictSend) Outflows() []Outflow { return outflow(o.SendAsset, o.SendAmount) }

// Outflows returns the amount, which its issuer destroys.
func (o Clawback) Outflows() []Outflow { return outflow(o.Asset, o.Amount) }

// Words returns the effect in words.
func (o Payment) Words() string {
	return fmt.Sprintf("pays %s to %s", sum(o.Amount, o.Asset), o.Destination)
}

// Words returns the effect in words.
func (o PathPaymentStrictReceive) Words() string {
	return fmt.Sprintf("pays at most %s, so that %s gets %s%s", sum(o.SendMax, o.SendAsset), o.Destination,
		sum(o.DestAmount, o.DestAsset), o.way())
}

// Words returns the effect in words.
func (o PathPaymentStrictSend) Words() string {
	return fmt.Sprintf("pays %s, so that %s gets at least %s%s", sum(o.SendAmount, o.SendAsset), o.Destination,
		sum(o.DestMin, o.DestAsset), o.way())
}

func (c Conversion) way() string {
	var names []string
	for _, a := range c.Path {
		names = append(names, assetWords(a))
	}
	if len(names) == 0 {
		return ""
	}
	return ", by way of " + strings.Join(names, " then ")
}

// Words returns the effect in words.
func (o Clawback) Words() string {
	return fmt.Sprintf("claws back %s from %s", sum(o.Amount, o.Asset), o.From)
}
