package horizon

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// codes are Horizon's words for a result.
type codes struct {
	Transaction string   `json:"transaction"`
	Inner       string   `json:"inner_transaction,omitempty"`
	Operations  []string `json:"operations,omitempty"`
}

// oddCodes are the words that do not follow from the names in the XDR. The spelling of each is Horizon's.
var oddCodes = map[string]string{
	"TransactionResultCodeTxNoAccount":                           "tx_no_source_account",
	"TransactionResultCodeTxBadMinSeqAgeOrGap":                   "tx_bad_minseq_age_or_gap",
	"OperationResultCodeOpNoAccount":                             "op_no_source_account",
	"CreateAccountResultCodeCreateAccountAlreadyExist":           "op_already_exists",
	"AllowTrustResultCodeAllowTrustNoTrustLine":                  "op_no_trust",
	"AllowTrustResultCodeAllowTrustTrustNotRequired":             "op_not_required",
	"SetTrustLineFlagsResultCodeSetTrustLineFlagsNoTrustLine":    "op_no_trust",
	"ManageDataResultCodeManageDataNameNotFound":                 "op_data_name_not_found",
	"ManageDataResultCodeManageDataInvalidName":                  "op_data_invalid_name",
	"ChangeTrustResultCodeChangeTrustNotAuthMaintainLiabilities": "op_not_aut_maintain_liabilities",
}

func resultCodes(r xdr.TransactionResult) codes {
	c := codes{Transaction: word(r.Result.Code, "")}
	if inner, ok := r.Result.GetInnerResultPair(); ok {
		c.Inner = word(inner.Result.Result.Code, "")
	}
	ops, _ := r.OperationResults()
	for _, op := range ops {
		c.Operations = append(c.Operations, operationCode(op))
	}
	return c
}

// operationCode finds the code in whichever arm of the union the operation's type has.
func operationCode(r xdr.OperationResult) string {
	if r.Code != xdr.OperationResultCodeOpInner || r.Tr == nil {
		return word(r.Code, "")
	}
	arm, ok := r.Tr.ArmForSwitch(int32(r.Tr.Type))
	if !ok {
		return "op_inner"
	}
	field := reflect.ValueOf(*r.Tr).FieldByName(arm)
	if !field.IsValid() || field.IsNil() {
		return "op_inner"
	}
	code, ok := field.Elem().FieldByName("Code").Interface().(fmt.Stringer)
	if !ok {
		return "op_inner"
	}
	return word(code, "op_")
}

// word makes PaymentResultCodePaymentSrcNoTrust into op_src_no_trust.
func word(code fmt.Stringer, prefix string) string {
	name := code.String()
	if odd, ok := oddCodes[name]; ok {
		return odd
	}
	of, what, _ := strings.Cut(name, "ResultCode")
	what = strings.TrimPrefix(what, of)
	var b strings.Builder
	for i, r := range what {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return prefix + b.String()
}
