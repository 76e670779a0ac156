package apply

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// short returns the name of a result code without its type: PaymentResultCodePaymentNoTrust becomes PaymentNoTrust.
func short(code fmt.Stringer) string {
	typ := reflect.TypeOf(code).Name()
	return strings.TrimPrefix(code.String(), typ)
}

// codes lists the codes of a result: the transaction's, of a fee bump also the inner one's, and those of operations.
func codes(r xdr.TransactionResult) []string {
	list := []string{short(r.Result.Code)}
	results := r.Result.Results
	if inner := r.Result.InnerResultPair; inner != nil {
		list = append(list, short(inner.Result.Result.Code))
		results = inner.Result.Result.Results
	}
	if results != nil {
		for _, op := range *results {
			list = append(list, operationCode(op))
		}
	}
	return list
}

// operationCode returns the code of an operation's own result, or the one that all operations share.
func operationCode(op xdr.OperationResult) string {
	if op.Tr == nil {
		return short(op.Code)
	}
	arm, ok := op.Tr.ArmForSwitch(int32(op.Tr.Type))
	if !ok {
		panic("no arm")
	}
	return short(reflect.ValueOf(*op.Tr).FieldByName(arm).Elem().FieldByName("Code").Interface().(fmt.Stringer))
}

func describe(r xdr.TransactionResult) string {
	fee := fmt.Sprintf("(fee %d)", r.FeeCharged)
	if inner := r.Result.InnerResultPair; inner != nil {
		fee = fmt.Sprintf("(fee %d, inner %d)", r.FeeCharged, inner.Result.FeeCharged)
	}
	return strings.Join(codes(r), " ") + " " + fee
}

func note(r xdr.TransactionResult) {
	for _, code := range codes(r) {
		reached[code] = true
	}
}

// differences prints what became of every entry that is not as it was, but for when it was last modified.
func differences(w *world, before State, after *Delta) []string {
	var out []string
	for _, key := range after.Keys() {
		was, is := fields(w, before.Get(key)), fields(w, after.Get(key))
		switch {
		case was == nil && is == nil:
		case was == nil:
			out = append(out, title(w, after.Get(key))+" is new: "+strings.Join(is, ", "))
		case is == nil:
			out = append(out, title(w, before.Get(key))+" is gone")
		default:
			var changed []string
			for i := range is {
				if was[i] != is[i] {
					changed = append(changed, was[i]+" -> "+strings.TrimPrefix(is[i], strings.Fields(is[i])[0]+" "))
				}
			}
			if changed != nil {
				out = append(out, title(w, after.Get(key))+": "+strings.Join(changed, ", "))
			}
		}
	}
	slices.Sort(out)
	return out
}

func (w *world) name(id xdr.AccountId) string { return w.names[id.Address()] }

func title(w *world, e *xdr.LedgerEntry) string {
	switch e.Data.Type {
	case xdr.LedgerEntryTypeAccount:
		return w.name(e.Data.Account.AccountId)
	case xdr.LedgerEntryTypeTrustline:
		asset, err := protocol.AssetFromXDR(e.Data.TrustLine.Asset.ToAsset())
		if err != nil {
			w.t.Fatal(err)
		}
		return w.name(e.Data.TrustLine.AccountId) + "'s " + asset.Code() + " of " + w.name(asset.Issuer().XDR())
	}
	return w.name(e.Data.Data.AccountId) + "'s data " + string(e.Data.Data.DataName)
}

// fields prints an entry, each field as its name and value; nil for none.
func fields(w *world, e *xdr.LedgerEntry) []string {
	if e == nil {
		return nil
	}
	switch e.Data.Type {
	case xdr.LedgerEntryTypeAccount:
		a := e.Data.Account
		inflation := "nobody"
		if a.InflationDest != nil {
			inflation = w.name(*a.InflationDest)
		}
		return []string{"balance " + decimal(a.Balance), fmt.Sprintf("sequence %d", a.SeqNum), fmt.Sprintf("used %d/%d", a.SeqLedger(), a.SeqTime()),
			fmt.Sprintf("entries %d", a.NumSubEntries), fmt.Sprintf("flags %d", a.Flags), fmt.Sprintf("thresholds %v", [4]byte(a.Thresholds)),
			fmt.Sprintf("signers %s", w.signers(a)), fmt.Sprintf("domain %q", a.HomeDomain), "inflation " + inflation}
	case xdr.LedgerEntryTypeTrustline:
		t := e.Data.TrustLine
		return []string{"balance " + decimal(t.Balance), "limit " + decimal(t.Limit), fmt.Sprintf("flags %d", t.Flags)}
	}
	return []string{fmt.Sprintf("value %q", e.Data.Data.DataValue)}
}

func decimal(n xdr.Int64) string {
	if n < 0 {
		return fmt.Sprint(int64(n))
	}
	a, err := protocol.AmountFromStroops(int64(n))
	if err != nil {
		return err.Error()
	}
	return strings.TrimRight(strings.TrimRight(a.String(), "0"), ".")
}

// signers names the signers of an account in the order in which they are stored.
func (w *world) signers(a *xdr.AccountEntry) []string {
	out := []string{}
	for _, s := range a.Signers {
		who := "?"
		switch s.Key.Type {
		case xdr.SignerKeyTypeSignerKeyTypeEd25519:
			who = w.name(xdr.AccountId{Ed25519: s.Key.Ed25519})
		case xdr.SignerKeyTypeSignerKeyTypePreAuthTx:
			who = "pre-authorised"
		case xdr.SignerKeyTypeSignerKeyTypeHashX:
			who = "hash-x"
		case xdr.SignerKeyTypeSignerKeyTypeEd25519SignedPayload:
			who = "payload"
		}
		out = append(out, fmt.Sprintf("%s/%d", who, s.Weight))
	}
	if ids := a.SignerSponsoringIDs(); len(ids) != 0 && len(ids) != len(a.Signers) {
		out = append(out, fmt.Sprintf("but %d sponsors", len(ids)))
	}
	return out
}
