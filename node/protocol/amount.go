package protocol

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Decimals is how many digits an amount on the ledger has after the point; one unit in the last place is a stroop.
const Decimals = 7

// One is the number of stroops in one whole unit of an asset.
const One = 10_000_000

// Amount is a non-negative quantity of one asset on the ledger, in stroops (1e-7), at most 2^63-1. It is a struct so
// that + does not compile; Add and Sub check. The zero value is zero and valid as a balance; operations that need a
// positive amount say so.
type Amount struct{ stroops int64 }

// AmountFromStroops makes an Amount of n stroops; negative n is an error.
func AmountFromStroops(n int64) (Amount, error) {
	if n < 0 {
		return Amount{}, fmt.Errorf("%w: amount %d is negative", ErrInvalid, n)
	}
	return Amount{n}, nil
}

// ParseAmount reads plain decimal notation: digits, optionally a point and one to seven digits. No sign, exponent,
// blank or separator; at most 922337203685.4775807.
func ParseAmount(s string) (Amount, error) {
	bad := func(why string) (Amount, error) {
		return Amount{}, fmt.Errorf("%w: amount %.40q: %s", ErrInvalid, s, why)
	}
	whole, frac, point := strings.Cut(s, ".")
	if whole == "" || (point && frac == "") {
		return bad("need digits on both sides of the point")
	}
	if len(frac) > Decimals {
		return bad("more than 7 decimals")
	}
	if len(whole) > 12 {
		return bad("too large")
	}
	for _, r := range whole + frac {
		if r < '0' || r > '9' {
			return bad("only digits and one point are allowed")
		}
	}
	n, err := strconv.ParseInt(whole+frac+strings.Repeat("0", Decimals-len(frac)), 10, 64)
	if err != nil {
		return bad("too large")
	}
	return Amount{n}, nil
}

// Stroops returns the amount in units of 1e-7.
func (a Amount) Stroops() int64 { return a.stroops }

// IsZero reports whether nothing is there.
func (a Amount) IsZero() bool { return a.stroops == 0 }

// Cmp returns -1, 0 or 1 as a is less than, equal to or greater than b.
func (a Amount) Cmp(b Amount) int {
	switch {
	case a.stroops < b.stroops:
		return -1
	case a.stroops > b.stroops:
		return 1
	}
	return 0
}

// Add returns a+b or an error on overflow.
func (a Amount) Add(b Amount) (Amount, error) {
	if a.stroops > math.MaxInt64-b.stroops {
		return Amount{}, fmt.Errorf("%w: %s + %s overflows", ErrInvalid, a, b)
	}
	return Amount{a.stroops + b.stroops}, nil
}

// Sub returns a-b or an error if that is negative.
func (a Amount) Sub(b Amount) (Amount, error) {
	if a.stroops < b.stroops {
		return Amount{}, fmt.Errorf("%w: %s - %s is negative", ErrInvalid, a, b)
	}
	return Amount{a.stroops - b.stroops}, nil
}

// String returns decimal notation with all seven digits, as Horizon prints it.
func (a Amount) String() string {
	return fmt.Sprintf("%d.%07d", a.stroops/One, a.stroops%One)
}

// MarshalText returns decimal notation.
func (a Amount) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads decimal notation.
func (a *Amount) UnmarshalText(b []byte) (err error) { *a, err = ParseAmount(string(b)); return err }
