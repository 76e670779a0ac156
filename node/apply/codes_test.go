package apply

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// unreached are the result codes that no case leads to, each with the reason.
var unreached = map[string]string{
	"TxInternalError":                       "the deployed protocol gives it for its own faults; ours stop the ledger",
	"TxBadSponsorship":                      "no sponsorship operations in this version",
	"TxSorobanInvalid":                      "no Soroban operations in this version",
	"TxNotSupported":                        "envelopes of other types are refused before they are a Tx",
	"OpTooManySponsoring":                   "no sponsorship operations in this version",
	"OpExceededWorkLimit":                   "no offers in this version",
	"OpInner":                               "stands for the operation's own code",
	"TxFrozenKeyAccessed":                   "of a later protocol",
	"ChangeTrustTrustLineMissing":           "no liquidity pools in this version",
	"PaymentNoIssuer":                       "not given since protocol 13: a line may outlive its issuer",
	"ChangeTrustSelfNotAllowed":             "not given since protocol 16: malformed before it",
	"ChangeTrustCannotDelete":               "no liquidity pools in this version",
	"ChangeTrustNotAuthMaintainLiabilities": "no liquidity pools in this version",
	"AllowTrustTrustNotRequired":            "not given since protocol 16",
	"AllowTrustSelfNotAllowed":              "not given since protocol 16: malformed before it",
	"AllowTrustLowReserve":                  "no offers or pools whose reserve could be returned",
	"SetTrustLineFlagsLowReserve":           "no offers or pools whose reserve could be returned",
	"ManageDataNotSupportedYet":             "not given since protocol 2",
}

// checkCodes compares the codes that the scripts reached with all codes of transactions and supported operations.
func checkCodes(t *testing.T) {
	all := map[string]bool{}
	for _, e := range []interface {
		fmt.Stringer
		ValidEnum(int32) bool
	}{xdr.TransactionResultCode(0), xdr.OperationResultCode(0), xdr.CreateAccountResultCode(0), xdr.PaymentResultCode(0),
		xdr.SetOptionsResultCode(0), xdr.ChangeTrustResultCode(0), xdr.AllowTrustResultCode(0), xdr.SetTrustLineFlagsResultCode(0),
		xdr.ManageDataResultCode(0), xdr.ClawbackResultCode(0)} {
		for _, name := range enumNames(e) {
			all[name] = true
		}
	}
	if len(all) < 80 {
		t.Fatalf("only %d result codes are known", len(all))
	}
	for code := range all {
		switch why, excused := unreached[code]; {
		case !reached[code] && !excused:
			t.Errorf("no case leads to %s, and nothing says why", code)
		case reached[code] && excused:
			t.Errorf("%s is reached, though it is said that it cannot be: %s", code, why)
		}
	}
	for code := range unreached {
		if !all[code] {
			t.Errorf("there is no code %s", code)
		}
	}
}

// enumNames returns the names of the values of e's type.
func enumNames(e interface {
	fmt.Stringer
	ValidEnum(int32) bool
}) []string {
	var names []string
	for n := int32(-40); n <= 40; n++ {
		if !e.ValidEnum(n) {
			continue
		}
		names = append(names, short(enumValue(e, n)))
	}
	return names
}

// enumValue makes the value n of e's type.
func enumValue(e fmt.Stringer, n int32) fmt.Stringer {
	v := reflect.New(reflect.TypeOf(e)).Elem()
	v.SetInt(int64(n))
	return v.Interface().(fmt.Stringer)
}
