package payload

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// maxWeight is the greatest weight of a signer and the greatest threshold that the ledger takes.
const maxWeight = 255

// CreateAccount makes Destination exist.
type CreateAccount struct {
	By
	Destination protocol.AccountID
	Starting    *big.Int // stroops of DIAM
}

// AccountMerge ends its source and gives all its DIAM to Destination.
type AccountMerge struct {
	By
	Destination protocol.AccountID
}

// Inflation asks for the payout of inflation, which no ledger has made since protocol 12.
type Inflation struct{ By }

// BumpSequence raises the source's sequence number to To: whatever was built with lower numbers can never be applied, and
// nothing at all can be once it is as high as it goes.
type BumpSequence struct {
	By
	To int64
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
	Signer               *Signer
}

// Signer is who gets Weight on an account, with weight 0 loses it.
type Signer struct {
	Key    SignerKey
	Weight uint32
}

// SetOptionsInflation is SetOptions that also names who is to get inflation. It is a type of its own because no rule for
// options has a use for that, and one that overlooked it would allow it.
type SetOptionsInflation struct {
	SetOptions
	InflationDestination protocol.AccountID
}

// ManageData sets, or with a nil Value removes, a data entry.
type ManageData struct {
	By
	Name  string
	Value []byte
}

// knownAccountFlags are the bits that have a name on the ledger.
const knownAccountFlags = xdr.AccountFlagsAuthRequiredFlag | xdr.AccountFlagsAuthRevocableFlag |
	xdr.AccountFlagsAuthImmutableFlag | xdr.AccountFlagsAuthClawbackEnabledFlag

func (r *reader) createAccount(x *xdr.CreateAccountOp) Operation {
	return CreateAccount{r.by, r.accountID(x.Destination), r.amount(x.StartingBalance, 0)}
}

func (r *reader) accountMerge(x *xdr.MuxedAccount) Operation {
	to := r.account(*x)
	if to == r.by.Source {
		r.fail("%s would be merged into itself", to)
	}
	return AccountMerge{r.by, to}
}

func (r *reader) bumpSequence(x *xdr.BumpSequenceOp) Operation {
	if x.BumpTo < 0 {
		r.fail("sequence number %d", x.BumpTo)
	}
	return BumpSequence{r.by, int64(x.BumpTo)}
}

func (r *reader) setOptions(x *xdr.SetOptionsOp) Operation {
	op := SetOptions{By: r.by, MasterWeight: r.weight(x.MasterWeight), LowThreshold: r.weight(x.LowThreshold),
		MediumThreshold: r.weight(x.MedThreshold), HighThreshold: r.weight(x.HighThreshold),
		HomeDomain: (*string)(x.HomeDomain)}
	if x.SetFlags != nil {
		op.SetFlags = xdr.AccountFlags(*x.SetFlags)
	}
	if x.ClearFlags != nil {
		op.ClearFlags = xdr.AccountFlags(*x.ClearFlags)
	}
	if (op.SetFlags|op.ClearFlags)&^knownAccountFlags != 0 || op.SetFlags&op.ClearFlags != 0 {
		r.fail("account flags %#x set, %#x cleared", uint32(op.SetFlags), uint32(op.ClearFlags))
	}
	// Flags that are there and empty change as little as flags that are not.
	if x.SetFlags != nil && op.SetFlags == 0 || x.ClearFlags != nil && op.ClearFlags == 0 {
		r.fail("account flags that are none")
	}
	if x.Signer != nil {
		op.Signer = &Signer{r.signerKey(x.Signer.Key), *r.weight(&x.Signer.Weight)}
		if op.Signer.Key.Kind == SignerAccount && op.Signer.Key.Account == r.by.Source {
			r.fail("%s as its own signer: it has a master weight", r.by.Source)
		}
	}
	if x.InflationDest != nil {
		return SetOptionsInflation{op, r.accountID(*x.InflationDest)}
	}
	return op
}

func (r *reader) weight(x *xdr.Uint32) *uint32 {
	if x != nil && *x > maxWeight {
		r.fail("weight or threshold %d is over %d", *x, maxWeight)
	}
	return (*uint32)(x)
}

func (r *reader) manageData(x *xdr.ManageDataOp) Operation {
	op := ManageData{By: r.by, Name: r.dataName(x.DataName)}
	if x.DataValue != nil {
		op.Value = append([]byte{}, *x.DataValue...)
	}
	return op
}

func (r *reader) dataName(x xdr.String64) string {
	if !printable(string(x), 64) {
		r.fail("data name %.64q", x)
	}
	return string(x)
}

// Outflows returns the starting balance.
func (o CreateAccount) Outflows() []Outflow { return outflow(protocol.Native(), o.Starting) }

// Outflows returns all there is. An account can be merged only when it holds nothing but DIAM.
func (o AccountMerge) Outflows() []Outflow { return []Outflow{{Asset: protocol.Native()}} }

// Words returns the effect in words.
func (o CreateAccount) Words() string {
	return fmt.Sprintf("creates account %s with %s", o.Destination, sum(o.Starting, protocol.Native()))
}

// Words returns the effect in words.
func (o AccountMerge) Words() string {
	return fmt.Sprintf("gives ALL ITS %s to %s and ceases to exist", protocol.NativeCode, o.Destination)
}

// Words returns the effect in words.
func (o Inflation) Words() string { return "asks for the payout of inflation" }

// Words returns the effect in words.
func (o BumpSequence) Words() string {
	return fmt.Sprintf("raises its sequence number to %d", o.To)
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
	switch {
	case o.Signer != nil && o.Signer.Weight == 0:
		w = append(w, fmt.Sprintf("removes signer %s", o.Signer.Key))
	case o.Signer != nil:
		w = append(w, fmt.Sprintf("gives signer %s weight %d", o.Signer.Key, o.Signer.Weight))
	}
	if len(w) == 0 {
		return "changes no option"
	}
	return strings.Join(w, ", ")
}

// Words returns the effect in words.
func (o SetOptionsInflation) Words() string {
	return fmt.Sprintf("names %s to get inflation, %s", o.InflationDestination, o.SetOptions.Words())
}

// Words returns the effect in words.
func (o ManageData) Words() string {
	if o.Value == nil {
		return fmt.Sprintf("removes data %q", o.Name)
	}
	return fmt.Sprintf("sets data %q to %q", o.Name, o.Value)
}
