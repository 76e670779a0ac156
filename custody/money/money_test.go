package money_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/node/protocol"
)

func currency(t testing.TB, s string) money.Currency {
	t.Helper()
	c, err := money.ParseCurrency(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func parse(t testing.TB, s string) money.Amount {
	t.Helper()
	number, code, _ := strings.Cut(s, " ")
	a, err := money.Parse(currency(t, code), number)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestParseCurrency(t *testing.T) {
	for in, ok := range map[string]bool{
		"USD/2": true, "USD/7": true, "ETH/18": true, "JPY/0": true, "DIAM/7": true, "a1B2c3D4e5F6/0": true,
		"": false, "USD": false, "/2": false, "USD/": false, "USD/19": false, "USD/-1": false, "USD/+2": false, "USD/02": false,
		"USD/2/2": false, "U SD/2": false, "ÜSD/2": false, "abcdefghijklm/2": false, "USD/2 ": false, "USD/99999999999999999999": false,
	} {
		c, err := money.ParseCurrency(in)
		if (err == nil) != ok || err != nil && !errors.Is(err, money.ErrInvalid) {
			t.Errorf("%q: %v, want valid %v", in, err, ok)
		}
		if ok && c.String() != in {
			t.Errorf("%q became %q", in, c)
		}
	}
	if _, err := (money.Currency{}).MarshalText(); !errors.Is(err, money.ErrInvalid) {
		t.Errorf("the zero currency became text: %v", err)
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ in, currency, want string }{
		{"12.34", "USD/2", "1234"},
		{"12.34", "USD/7", "123400000"},
		{"12", "USD/2", "1200"},
		{"12", "JPY/0", "12"},
		{"0.5", "USD/2", "50"},
		{"007.10", "USD/2", "710"},
		{"0", "USD/2", "0"},
		{"0.00", "USD/2", "0"},
		{"0.000000000000000001", "ETH/18", "1"},
		{"999999999999999999999999999999999999.99", "USD/2", "99999999999999999999999999999999999999"},
		{"18446744073709551616", "JPY/0", "18446744073709551616"},
	} {
		a, err := money.Parse(currency(t, c.currency), c.in)
		if err != nil || a.Units().String() != c.want {
			t.Errorf("%s of %s: %v, %v", c.in, c.currency, a, err)
		}
	}
	for in, want := range map[string]error{
		"": money.ErrInvalid, ".": money.ErrInvalid, "1.": money.ErrInvalid, ".5": money.ErrInvalid, "-1": money.ErrInvalid,
		"+1": money.ErrInvalid, "1e2": money.ErrInvalid, "0x10": money.ErrInvalid, "1,5": money.ErrInvalid, "1 000": money.ErrInvalid,
		" 1": money.ErrInvalid, "1.2.3": money.ErrInvalid, "1.234": money.ErrInvalid, "1.230": money.ErrInvalid, "NaN": money.ErrInvalid,
		"Inf": money.ErrInvalid, "١": money.ErrInvalid, "1_000": money.ErrInvalid, strings.Repeat("0", 1000): money.ErrInvalid,
		"1000000000000000000000000000000000000.00": money.ErrInvalid, // 40 characters
		"1000000000000000000000000000000000000":    money.ErrRange,
	} {
		if a, err := money.Parse(currency(t, "USD/2"), in); !errors.Is(err, want) || a != (money.Amount{}) {
			t.Errorf("%.50q: %v, %v, want %v", in, a, err, want)
		}
	}
	if _, err := money.Parse(money.Currency{}, "1"); !errors.Is(err, money.ErrInvalid) {
		t.Errorf("no currency: %v", err)
	}
}

func TestFromUnits(t *testing.T) {
	usd := currency(t, "USD/2")
	most := new(big.Int).Sub(new(big.Int).Exp(big.NewInt(10), big.NewInt(38), nil), big.NewInt(1))
	if a, err := money.FromUnits(usd, most); err != nil || a.Units().Cmp(most) != 0 {
		t.Errorf("the largest: %v, %v", a, err)
	}
	for _, n := range []*big.Int{big.NewInt(-1), new(big.Int).Add(most, big.NewInt(1)), new(big.Int).Lsh(most, 200)} {
		if _, err := money.FromUnits(usd, n); !errors.Is(err, money.ErrRange) {
			t.Errorf("%s: %v", n, err)
		}
	}
}

func TestMixedCurrenciesAreRefused(t *testing.T) {
	usd := parse(t, "1.00 USD/2")
	for _, other := range []money.Amount{parse(t, "1.00 EUR/2"), parse(t, "1.00 USD/7"), {}} {
		_, add := usd.Add(other)
		_, sub := usd.Sub(other)
		_, cmp := usd.Cmp(other)
		for _, err := range []error{add, sub, cmp} {
			if !errors.Is(err, money.ErrCurrency) {
				t.Errorf("with %v: %v", other, err)
			}
		}
	}
	if _, err := (money.Amount{}).Add(money.Amount{}); !errors.Is(err, money.ErrCurrency) {
		t.Errorf("nothing and nothing: %v", err)
	}
}

func TestRescale(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"12.34 USD/2", "USD/7", "12.3400000 USD/7"},
		{"12.3400000 USD/7", "USD/2", "12.34 USD/2"},
		{"0.0000000 USD/7", "USD/0", "0 USD/0"},
		{"5 USD/0", "USD/0", "5 USD/0"},
	} {
		if got, err := parse(t, c.from).Rescale(currency(t, c.to)); err != nil || got.String() != c.want {
			t.Errorf("%s in %s: %v, %v", c.from, c.to, got, err)
		}
	}
	for _, c := range []struct {
		from, to string
		want     error
	}{
		{"12.3400001 USD/7", "USD/2", money.ErrInexact},
		{"0.5 USD/1", "USD/0", money.ErrInexact},
		{"1.00 USD/2", "EUR/2", money.ErrCurrency},
		{"99999999999999999999999999999999999999 USD/0", "USD/1", money.ErrRange},
	} {
		if _, err := parse(t, c.from).Rescale(currency(t, c.to)); !errors.Is(err, c.want) {
			t.Errorf("%s in %s: %v", c.from, c.to, err)
		}
	}
}

func TestLedger(t *testing.T) {
	for _, stroops := range []int64{0, 1, 10_000_000, math.MaxInt64} {
		onLedger, err := protocol.AmountFromStroops(stroops)
		if err != nil {
			t.Fatal(err)
		}
		inBook, err := money.FromLedger("USD", onLedger)
		if err != nil || inBook.Currency().String() != "USD/7" {
			t.Errorf("%d: %v, %v", stroops, inBook, err)
		}
		if back, err := inBook.Ledger(); err != nil || back != onLedger {
			t.Errorf("%d came back as %v, %v", stroops, back, err)
		}
	}
	if a, err := parse(t, "0.01 USD/2").Ledger(); err != nil || a.Stroops() != 100_000 {
		t.Errorf("a cent is %v, %v", a, err)
	}
	if _, err := parse(t, "922337203685.4775808 USD/7").Ledger(); !errors.Is(err, money.ErrRange) {
		t.Errorf("too much for the ledger: %v", err)
	}
	if _, err := parse(t, "0.00000001 BTC/8").Ledger(); !errors.Is(err, money.ErrInexact) {
		t.Errorf("too fine for the ledger: %v", err)
	}
}

func TestJSON(t *testing.T) {
	b, err := json.Marshal(parse(t, "12.34 USD/7"))
	if err != nil || string(b) != `{"amount":"12.3400000","currency":"USD/7"}` {
		t.Errorf("%s, %v", b, err)
	}
	var a money.Amount
	if err := json.Unmarshal(b, &a); err != nil || a != parse(t, "12.34 USD/7") {
		t.Errorf("%v, %v", a, err)
	}
	for _, bad := range []string{`12.34`, `{"amount":12.34,"currency":"USD/7"}`, `{"amount":"-1","currency":"USD/7"}`, `{"amount":"1"}`,
		`{"amount":"1","currency":"USD"}`, `{"currency":"USD/7"}`, `[]`, `"1 USD/7"`} {
		if err := json.Unmarshal([]byte(bad), &a); err == nil {
			t.Errorf("%s was read as %v", bad, a)
		}
	}
	if _, err := json.Marshal(money.Amount{}); err == nil {
		t.Error("an amount of no currency was written")
	}
}

func TestNumeric(t *testing.T) {
	usd := currency(t, "USD/2")
	for _, bad := range []string{"", "1.0", "-1", "+1", "01", "1e3", "NaN", "0x1", " 1"} {
		if _, err := money.FromNumeric(usd, bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	var c money.Currency
	if err := c.Scan("USD/2"); err != nil || c != usd {
		t.Errorf("%v, %v", c, err)
	}
	if err := c.Scan([]byte("EUR/2")); err != nil || c.Code() != "EUR" {
		t.Errorf("%v, %v", c, err)
	}
	if err := c.Scan(7); !errors.Is(err, money.ErrInvalid) {
		t.Error(err)
	}
}

func anyAmount(c money.Currency) *rapid.Generator[money.Amount] {
	return rapid.Custom(func(t *rapid.T) money.Amount {
		digits := rapid.StringMatching(`[0-9]{1,38}`).Draw(t, "units")
		units, _ := new(big.Int).SetString(digits, 10)
		a, err := money.FromUnits(c, units)
		if err != nil {
			t.Fatal(err)
		}
		return a
	})
}

// Arithmetic is that of the integers or an error, and every form of an amount reads back as itself.
func TestArithmeticAndForms(t *testing.T) {
	c := currency(t, "USD/7")
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(money.MaxDigits), nil)
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyAmount(c).Draw(t, "a"), anyAmount(c).Draw(t, "b")
		sum, err := a.Add(b)
		want := new(big.Int).Add(a.Units(), b.Units())
		if want.Cmp(limit) >= 0 {
			if !errors.Is(err, money.ErrRange) {
				t.Fatalf("%s + %s: %v, %v", a, b, sum, err)
			}
		} else if err != nil || sum.Units().Cmp(want) != 0 {
			t.Fatalf("%s + %s: %v, %v", a, b, sum, err)
		}
		difference, err := a.Sub(b)
		order, cmpErr := a.Cmp(b)
		if cmpErr != nil || (order == 0) != (a == b) || (order < 0) != (err != nil) || err != nil && !errors.Is(err, money.ErrRange) {
			t.Fatalf("%s - %s: %v, %v; order %d, %v", a, b, difference, err, order, cmpErr)
		}
		if err == nil && new(big.Int).Add(difference.Units(), b.Units()).Cmp(a.Units()) != 0 {
			t.Fatalf("%s - %s: %v", a, b, difference)
		}
		text, err := json.Marshal(a)
		var back money.Amount
		if err != nil || json.Unmarshal(text, &back) != nil || back != a {
			t.Fatalf("%s became %s became %v", a, text, back)
		}
		if back, err := money.FromNumeric(c, a.Numeric()); err != nil || back != a {
			t.Fatalf("%s became %s became %v, %v", a, a.Numeric(), back, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"12.34", "0", "1.", ".5", "-1", "1e9", "0.0000001", strings.Repeat("9", 39)} {
		f.Add(s)
	}
	c := currency(f, "USD/7")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := money.Parse(c, s)
		if err != nil {
			return
		}
		want, ok := new(big.Rat).SetString(s)
		if !ok || want.Mul(want, big.NewRat(10_000_000, 1)).Cmp(new(big.Rat).SetInt(a.Units())) != 0 {
			t.Errorf("%q was read as %s", s, a)
		}
		if again, err := money.Parse(c, a.Decimal()); err != nil || again != a {
			t.Errorf("%s reads back as %v, %v", a, again, err)
		}
	})
}
