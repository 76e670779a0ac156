// Package money holds the values of the book: currencies and exact amounts.
//
// A Currency is a code and a scale, the number of digits after the point in which it is counted: USD/7 for credit on
// the ledger, USD/2 for cents at a bank, BTC/8, ETH/18. An Amount is a non-negative whole number of minor units of one
// Currency. It is a struct, so that + does not compile; Add and Sub refuse mixed currencies, overflow and negative
// results. There is no rounding in this package: Rescale is exact or an error.
//
//	usd, _ := money.NewCurrency("USD", 2)
//	a, err := money.Parse(usd, "12.34")
package money

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/diamante/gateway/node/protocol"
)

var (
	// ErrInvalid is wrapped by every error about text or numbers that are not an amount or a currency.
	ErrInvalid = errors.New("money: invalid value")
	// ErrCurrency: two amounts of different currencies, or of different scales, were mixed.
	ErrCurrency = errors.New("money: currencies differ")
	// ErrRange: the result would be negative or larger than MaxDigits digits.
	ErrRange = errors.New("money: out of range")
	// ErrInexact: the amount cannot be expressed in the wanted scale without rounding.
	ErrInexact = errors.New("money: would need rounding")
)

// MaxScale bounds a currency's scale; MaxDigits bounds an amount's minor units, as numeric(38,0) does in the database.
const (
	MaxScale  = 18
	MaxDigits = 38
)

// limit is 10^MaxDigits, the first amount that is too large.
var limit = new(big.Int).Exp(big.NewInt(10), big.NewInt(MaxDigits), nil)

// Currency is what an amount is counted in. It is comparable; the zero value is invalid.
type Currency struct {
	code  string
	scale uint8
}

// NewCurrency makes a currency of a code (1 to 12 ASCII letters and digits) and a scale (0 to 18).
func NewCurrency(code string, scale int) (Currency, error) {
	if len(code) < 1 || len(code) > 12 || scale < 0 || scale > MaxScale {
		return Currency{}, fmt.Errorf("%w: currency %.20q with scale %d", ErrInvalid, code, scale)
	}
	for _, r := range code {
		if !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z') {
			return Currency{}, fmt.Errorf("%w: currency code %q", ErrInvalid, code)
		}
	}
	return Currency{code: code, scale: uint8(scale)}, nil
}

// ParseCurrency reads the text form, such as "USD/7".
func ParseCurrency(s string) (Currency, error) {
	code, digits, ok := strings.Cut(s, "/")
	scale, err := strconv.Atoi(digits)
	if !ok || err != nil || strconv.Itoa(scale) != digits {
		return Currency{}, fmt.Errorf("%w: currency %.40q is not CODE/SCALE", ErrInvalid, s)
	}
	return NewCurrency(code, scale)
}

// Code returns the code alone, "USD".
func (c Currency) Code() string { return c.code }

// Scale returns the number of digits after the point.
func (c Currency) Scale() int { return int(c.scale) }

// IsZero reports whether c is no currency.
func (c Currency) IsZero() bool { return c == Currency{} }

// String returns "USD/7".
func (c Currency) String() string { return c.code + "/" + strconv.Itoa(int(c.scale)) }

// MarshalText returns String; the zero value is an error.
func (c Currency) MarshalText() ([]byte, error) {
	if c.IsZero() {
		return nil, fmt.Errorf("%w: empty currency", ErrInvalid)
	}
	return []byte(c.String()), nil
}

// UnmarshalText reads "USD/7".
func (c *Currency) UnmarshalText(b []byte) (err error) {
	*c, err = ParseCurrency(string(b))
	return err
}

// Value stores the text form.
func (c Currency) Value() (driver.Value, error) {
	b, err := c.MarshalText()
	return string(b), err
}

// Scan loads the text form.
func (c *Currency) Scan(src any) error {
	switch v := src.(type) {
	case string:
		return c.UnmarshalText([]byte(v))
	case []byte:
		return c.UnmarshalText(v)
	}
	return fmt.Errorf("%w: cannot load a currency from %T", ErrInvalid, src)
}

// Amount is a non-negative exact quantity of a currency. It is comparable with == where both have the same currency;
// the zero value has no currency and is invalid.
type Amount struct {
	currency Currency
	hi, lo   uint64 // units = hi * 2^64 + lo
}

// FromUnits makes an amount of whole minor units.
func FromUnits(c Currency, units *big.Int) (Amount, error) {
	if c.IsZero() {
		return Amount{}, fmt.Errorf("%w: amount without a currency", ErrInvalid)
	}
	if units.Sign() < 0 || units.Cmp(limit) >= 0 {
		return Amount{}, fmt.Errorf("%w: %s units of %s", ErrRange, units, c)
	}
	var raw [16]byte
	units.FillBytes(raw[:])
	a := Amount{currency: c}
	for i, b := range raw {
		if i < 8 {
			a.hi = a.hi<<8 | uint64(b)
		} else {
			a.lo = a.lo<<8 | uint64(b)
		}
	}
	return a, nil
}

// FromInt makes an amount of n minor units.
func FromInt(c Currency, n int64) (Amount, error) { return FromUnits(c, big.NewInt(n)) }

// Zero is nothing of a currency.
func Zero(c Currency) Amount { return Amount{currency: c} }

// Parse reads plain decimal notation: digits, optionally a point and at most scale digits. No sign, exponent, blank or
// separator.
func Parse(c Currency, s string) (Amount, error) {
	whole, frac, point := strings.Cut(s, ".")
	if whole == "" || point && frac == "" || len(s) > MaxDigits+1 {
		return Amount{}, fmt.Errorf("%w: amount %.60q", ErrInvalid, s)
	}
	for _, r := range whole + frac {
		if r < '0' || r > '9' {
			return Amount{}, fmt.Errorf("%w: amount %q: only digits and one point are allowed", ErrInvalid, s)
		}
	}
	if len(frac) > c.Scale() {
		return Amount{}, fmt.Errorf("%w: amount %q has more than %d decimals", ErrInvalid, s, c.Scale())
	}
	units, ok := new(big.Int).SetString(whole+frac+strings.Repeat("0", c.Scale()-len(frac)), 10)
	if !ok {
		return Amount{}, fmt.Errorf("%w: amount %q", ErrInvalid, s)
	}
	return FromUnits(c, units)
}

// FromLedger turns an amount of the ledger into one of the book, in the currency CODE/7.
func FromLedger(code string, a protocol.Amount) (Amount, error) {
	c, err := NewCurrency(code, protocol.Decimals)
	if err != nil {
		return Amount{}, err
	}
	return FromInt(c, a.Stroops())
}

// Ledger returns the amount as the ledger counts it, exactly or not at all.
func (a Amount) Ledger() (protocol.Amount, error) {
	c, err := NewCurrency(a.currency.code, protocol.Decimals)
	if err != nil {
		return protocol.Amount{}, err
	}
	if a, err = a.Rescale(c); err != nil {
		return protocol.Amount{}, err
	}
	if units := a.Units(); units.IsInt64() {
		return protocol.AmountFromStroops(units.Int64())
	}
	return protocol.Amount{}, fmt.Errorf("%w: %s does not fit the ledger", ErrRange, a)
}

// Rescale returns the same quantity counted in c, which must have the same code.
func (a Amount) Rescale(c Currency) (Amount, error) {
	if a.currency.code != c.code {
		return Amount{}, fmt.Errorf("%w: %s and %s", ErrCurrency, a.currency, c)
	}
	units, by := a.Units(), c.Scale()-a.currency.Scale()
	factor := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(by, -by))), nil)
	if by >= 0 {
		return FromUnits(c, units.Mul(units, factor))
	}
	quotient, rest := new(big.Int).QuoRem(units, factor, new(big.Int))
	if rest.Sign() != 0 {
		return Amount{}, fmt.Errorf("%w: %s in %s", ErrInexact, a, c)
	}
	return FromUnits(c, quotient)
}

// Currency returns what a is counted in.
func (a Amount) Currency() Currency { return a.currency }

// Units returns the whole minor units.
func (a Amount) Units() *big.Int {
	n := new(big.Int).SetUint64(a.hi)
	return n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(a.lo))
}

// IsZero reports whether nothing is there.
func (a Amount) IsZero() bool { return a.hi == 0 && a.lo == 0 }

// Cmp returns -1, 0 or 1 as a is less than, equal to or greater than b; an error when the currencies differ.
func (a Amount) Cmp(b Amount) (int, error) {
	if err := a.same(b); err != nil {
		return 0, err
	}
	return a.Units().Cmp(b.Units()), nil
}

// Add returns a+b.
func (a Amount) Add(b Amount) (Amount, error) {
	if err := a.same(b); err != nil {
		return Amount{}, err
	}
	return FromUnits(a.currency, new(big.Int).Add(a.Units(), b.Units()))
}

// Sub returns a-b, an error when that is negative.
func (a Amount) Sub(b Amount) (Amount, error) {
	if err := a.same(b); err != nil {
		return Amount{}, err
	}
	return FromUnits(a.currency, new(big.Int).Sub(a.Units(), b.Units()))
}

func (a Amount) same(b Amount) error {
	if a.currency != b.currency || a.currency.IsZero() {
		return fmt.Errorf("%w: %q and %q", ErrCurrency, a.currency, b.currency)
	}
	return nil
}

// Decimal returns plain decimal notation with all digits of the scale, without the code: "12.3400000".
func (a Amount) Decimal() string {
	digits := a.Units().String()
	scale := a.currency.Scale()
	if scale == 0 {
		return digits
	}
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale+1-len(digits)) + digits
	}
	return digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

// String returns "12.3400000 USD/7": the quantity and how it is counted.
func (a Amount) String() string { return a.Decimal() + " " + a.currency.String() }

type amountJSON struct {
	Amount   string   `json:"amount"`
	Currency Currency `json:"currency"`
}

// MarshalJSON returns {"amount":"12.3400000","currency":"USD/7"}.
func (a Amount) MarshalJSON() ([]byte, error) {
	return json.Marshal(amountJSON{a.Decimal(), a.currency})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (a *Amount) UnmarshalJSON(b []byte) error {
	var j amountJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	parsed, err := Parse(j.Currency, j.Amount)
	if err != nil {
		return err
	}
	*a = parsed
	return nil
}

// Numeric returns the whole minor units as text for a numeric(38,0) column; the currency is a column of its own.
func (a Amount) Numeric() string { return a.Units().String() }

// FromNumeric reads what a numeric(38,0) column holds, as text.
func FromNumeric(c Currency, s string) (Amount, error) {
	units, ok := new(big.Int).SetString(s, 10)
	if !ok || units.String() != s {
		return Amount{}, fmt.Errorf("%w: units %.60q", ErrInvalid, s)
	}
	return FromUnits(c, units)
}
