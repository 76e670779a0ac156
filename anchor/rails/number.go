package rails

import (
	"fmt"
	"strings"

	"github.com/diamante/gateway/custody/money"
)

// IBAN is an international bank account number, ISO 13616: upper case, without blanks, its check digits verified.
type IBAN string

// ibanLength is how long an IBAN of a country is. A country that is not listed is judged by its check digits alone.
var ibanLength = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28,
	"CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
	"FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
	"IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20,
	"LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18,
	"NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31,
	"SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29,
	"VA": 22, "VG": 24, "XK": 20,
}

// ParseIBAN reads an IBAN, with or without the blanks that people write, and verifies its length and check digits.
func ParseIBAN(s string) (IBAN, error) {
	bad := func(why string) (IBAN, error) { return "", fmt.Errorf("%w: IBAN %.50q: %s", ErrInvalid, s, why) }
	if len(s) > 2*MaxOther {
		return bad("too long")
	}
	iban := strings.ReplaceAll(s, " ", "")
	if len(iban) < 15 || len(iban) > MaxOther {
		return bad("wrong length")
	}
	for i, r := range iban {
		digit, letter := r >= '0' && r <= '9', r >= 'A' && r <= 'Z'
		if i < 2 && !letter || i >= 2 && i < 4 && !digit || !digit && !letter {
			return bad("only a country, two check digits, then digits and capital letters are allowed")
		}
	}
	if want, ok := ibanLength[iban[:2]]; ok && len(iban) != want {
		return bad(fmt.Sprintf("a number of %s has %d characters", iban[:2], want))
	}
	// ISO 7064, MOD 97-10: the first four characters at the end, letters as 10 to 35, the whole number is 1 modulo 97.
	rest := 0
	for _, r := range iban[4:] + iban[:4] {
		if r >= 'A' {
			rest = (rest*100 + int(r-'A') + 10) % 97
		} else {
			rest = (rest*10 + int(r-'0')) % 97
		}
	}
	if rest != 1 || iban[2:4] < "02" || iban[2:4] > "98" { // 00, 01 and 99 divide as well but are never issued
		return bad("wrong check digits")
	}
	return IBAN(iban), nil
}

// CheckBIC reports whether s has the form of a business identifier code, ISO 9362: 8 or 11 characters.
func CheckBIC(s string) error {
	ok := len(s) == 8 || len(s) == 11
	for i, r := range s {
		letter := r >= 'A' && r <= 'Z'
		ok = ok && (letter || r >= '0' && r <= '9' && (i < 4 || i > 5))
	}
	if !ok {
		return fmt.Errorf("%w: BIC %.20q", ErrInvalid, s)
	}
	return nil
}

// minorUnits lists the currencies of ISO 4217 whose minor unit is not a hundredth.
var minorUnits = map[string]int{
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0, "UYI": 0,
	"VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
	"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3, "CLF": 4, "UYW": 4,
}

// BankCurrency returns the currency of a code of ISO 4217 as banks count it: USD/2, JPY/0, KWD/3.
func BankCurrency(code string) (money.Currency, error) {
	ok := len(code) == 3
	for _, r := range code {
		ok = ok && r >= 'A' && r <= 'Z'
	}
	if !ok {
		return money.Currency{}, fmt.Errorf("%w: currency %.20q", ErrInvalid, code)
	}
	scale, listed := minorUnits[code]
	if !listed {
		scale = 2
	}
	return money.NewCurrency(code, scale)
}
