package rails_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/diamante/gateway/anchor/rails"
)

func TestParseIBAN(t *testing.T) {
	for in, ok := range map[string]bool{
		"DE89370400440532013000":                 true,
		"DE89 3704 0044 0532 0130 00":            true,
		"GB29NWBK60161331926819":                 true,
		"CH2909000000250094239":                  true,
		"FI7433010001222090":                     true,
		"MT84MALT011000012345MTLCAST001S":        true,
		"NO9386011117947":                        true,
		"DE89370400440532013001":                 false, // one digit off
		"DE98370400440532013000":                 false, // check digits swapped
		"DE8937040044053201300":                  false, // too short for the country
		"DE893704004405320130000":                false,
		"de89370400440532013000":                 false,
		"DE89-3704-0044-0532-0130-00":            false,
		"D389370400440532013000":                 false,
		"DE8937040044053201300Ä":                 false,
		"":                                       false,
		strings.Repeat(" ", 40) + "DE8937040044": false,
	} {
		iban, err := rails.ParseIBAN(in)
		if (err == nil) != ok || err != nil && !errors.Is(err, rails.ErrInvalid) {
			t.Errorf("%q: %v, want valid %v", in, err, ok)
		}
		if ok && string(iban) != strings.ReplaceAll(in, " ", "") {
			t.Errorf("%q became %q", in, iban)
		}
	}
}

// A digit mistaken for a letter may slip through, as it shifts all the others; digit for digit and letter for letter not.
func TestEverySingleDigitErrorIsFound(t *testing.T) {
	const good = "GB29NWBK60161331926819"
	for i := range len(good) {
		for _, r := range "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ" {
			if byte(r) == good[i] || (r < 'A') != (good[i] < 'A') {
				continue
			}
			if bad := good[:i] + string(r) + good[i+1:]; valid(bad) {
				t.Errorf("%s passes for %s", bad, good)
			}
		}
	}
}

func valid(s string) bool { _, err := rails.ParseIBAN(s); return err == nil }

func TestCheckBIC(t *testing.T) {
	for in, ok := range map[string]bool{
		"DEUTDEFF": true, "DEUTDEFF500": true, "BOFAUS3N": true, "7654DEFF": true,
		"": false, "DEUTDEF": false, "DEUTDEFF5": false, "DEUTDEFF50": false, "DEUT1EFF": false, "deutdeff": false,
		"DEUTDEFF5000": false, "DEUT DEF": false,
	} {
		if err := rails.CheckBIC(in); (err == nil) != ok {
			t.Errorf("%q: %v, want valid %v", in, err, ok)
		}
	}
}

func TestBankCurrency(t *testing.T) {
	for code, want := range map[string]string{"USD": "USD/2", "EUR": "EUR/2", "JPY": "JPY/0", "KWD": "KWD/3", "CLF": "CLF/4"} {
		if c, err := rails.BankCurrency(code); err != nil || c.String() != want {
			t.Errorf("%s: %v, %v", code, c, err)
		}
	}
	for _, code := range []string{"", "US", "USDC", "usd", "U5D"} {
		if _, err := rails.BankCurrency(code); !errors.Is(err, rails.ErrInvalid) {
			t.Errorf("%q: %v", code, err)
		}
	}
}

func TestAccountValidate(t *testing.T) {
	for a, ok := range map[rails.Account]bool{
		{IBAN: "DE89370400440532013000"}: true,
		{Other: "0123456789"}:            true,
		{}:                               false,
		{IBAN: "DE89370400440532013001"}: false,
		{IBAN: "DE89370400440532013000", Other: "1"}: false,
		{Other: "12 34"}: false,
		{Other: strings.Repeat("1", rails.MaxOther+1)}: false,
		{Other: "12\n34"}: false,
	} {
		if err := a.Validate(); (err == nil) != ok {
			t.Errorf("%+v: %v, want valid %v", a, err, ok)
		}
	}
}

func FuzzParseIBAN(f *testing.F) {
	for _, s := range []string{"DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19", "NO9386011117947", "XX00", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		iban, err := rails.ParseIBAN(s)
		if err != nil {
			return
		}
		if again, err := rails.ParseIBAN(string(iban)); err != nil || again != iban {
			t.Errorf("%q became %q became %q, %v", s, iban, again, err)
		}
		if (iban[4] < 'A') != (iban[5] < 'A') {
			return // B1 and 1B are both 111 to the check digits
		}
		if swapped := string(iban[:4]) + string(iban[5]) + string(iban[4]) + string(iban[6:]); swapped != string(iban) && valid(swapped) {
			t.Errorf("%s passes with two characters swapped", swapped)
		}
	})
}
