package policy

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

// maxDigits bounds the digits of a Quantity: far past any ledger's amounts, so that a month's sum can be written too.
// maxDecimals is what Ethereum counts to.
const (
	maxDigits   = 45
	maxDecimals = 18
)

// Quantity is an amount in a policy file, of whatever has up to 18 decimals: decimal text, with no upper bound of the
// machine's. The zero value is no quantity: a limit that was left out is an error and never zero or infinite.
type Quantity struct{ atto *big.Int } // in units of the 18th decimal

// ParseQuantity reads digits, optionally a point and one to 18 digits.
func ParseQuantity(s string) (Quantity, error) {
	whole, frac, point := strings.Cut(s, ".")
	digits := whole + frac + strings.Repeat("0", max(0, maxDecimals-len(frac)))
	notDigit := func(r rune) bool { return r < '0' || r > '9' }
	if whole == "" || point && frac == "" || len(frac) > maxDecimals || len(digits) > maxDigits ||
		strings.ContainsFunc(digits, notDigit) {
		return Quantity{}, fmt.Errorf("%w: quantity %.40q", ErrInvalid, s)
	}
	n, ok := new(big.Int).SetString(digits, 10)
	if !ok {
		return Quantity{}, fmt.Errorf("%w: quantity %.40q", ErrInvalid, s)
	}
	return Quantity{n}, nil
}

// IsZero reports whether q was never set. Nought is a quantity; toml leaves out what was never set.
func (q Quantity) IsZero() bool { return q.atto == nil }

// String returns decimal notation with seven decimals, or more where there are more, "" for the zero value.
func (q Quantity) String() string {
	if q.atto == nil {
		return ""
	}
	s := decimal(q.atto, maxDecimals)
	for strings.HasSuffix(s, "0") && len(s)-strings.IndexByte(s, '.')-1 > protocol.Decimals {
		s = s[:len(s)-1]
	}
	return s
}

// decimal writes n, which counts the last of so many decimals.
func decimal(n *big.Int, decimals int) string {
	digits := n.String()
	if missing := decimals + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	if decimals == 0 {
		return digits
	}
	return digits[:len(digits)-decimals] + "." + digits[len(digits)-decimals:]
}

// MarshalText returns decimal notation; the zero value is an error.
func (q Quantity) MarshalText() ([]byte, error) {
	if q.atto == nil {
		return nil, fmt.Errorf("%w: quantity that was not set", ErrInvalid)
	}
	return []byte(q.String()), nil
}

// UnmarshalText reads decimal notation.
func (q *Quantity) UnmarshalText(b []byte) (err error) {
	*q, err = ParseQuantity(string(b))
	return err
}

// countable refuses quantities with more decimals than what they are of has, which no amount could ever meet.
func countable(name string, decimals int, list ...Quantity) error {
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(maxDecimals-decimals)), nil)
	for _, q := range list {
		if q.atto != nil && new(big.Int).Rem(q.atto, unit).Sign() != 0 {
			return fmt.Errorf("%s: %s has more than %d decimals", name, q, decimals)
		}
	}
	return nil
}

// over reports whether n, which counts the last of so many decimals, is more than q allows. A quantity that was never set
// allows nothing.
func (q Quantity) over(n *big.Int, decimals int) bool {
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(maxDecimals-decimals)), nil)
	return q.atto == nil || scale.Mul(scale, n).Cmp(q.atto) > 0
}

// Party is one account, or those on a list, or any: an entry in a list of who may be at the other end. The zero value is
// nobody.
type Party struct {
	any  bool
	list string
	id   protocol.AccountID
}

// Anyone is the list that allows every account.
func Anyone() []Party { return []Party{{any: true}} }

// Only is the list of just these accounts.
func Only(ids ...protocol.AccountID) []Party {
	var list []Party
	for _, id := range ids {
		list = append(list, Party{id: id})
	}
	return list
}

// Listed is everyone on a list.
func Listed(name string) []Party { return []Party{{list: name}} }

// MarshalText returns "any", "list:NAME" or the account.
func (p Party) MarshalText() ([]byte, error) {
	if p.any {
		return []byte("any"), nil
	}
	if p.list != "" {
		return []byte(listReference + p.list), nil
	}
	return p.id.MarshalText()
}

// UnmarshalText reads "any", "list:NAME" or an account.
func (p *Party) UnmarshalText(b []byte) error {
	if string(b) == "any" {
		*p = Party{any: true}
		return nil
	}
	*p = Party{}
	if name, ok := strings.CutPrefix(string(b), listReference); ok && name != "" {
		p.list = name
		return nil
	}
	return p.id.UnmarshalText(b)
}

// PublicKey is a key's public half in a policy file: a G... address for Ed25519, as the ledger shows it, and else what
// keymgmt.PublicKey has as its text, "secp256k1:HEX".
type PublicKey struct{ keymgmt.PublicKey }

// Ledger returns the public key of an account's master key.
func Ledger(id protocol.AccountID) PublicKey {
	public, err := keymgmt.NewPublicKey(keymgmt.Ed25519, id.Key())
	if err != nil {
		return PublicKey{} // the zero account
	}
	return PublicKey{public}
}

// account returns the account whose master key p is, zero when the ledger knows no such keys.
func (p PublicKey) account() protocol.AccountID {
	if p.Algorithm() != keymgmt.Ed25519 {
		return protocol.AccountID{}
	}
	id, err := protocol.AccountIDFromKey(p.Bytes())
	if err != nil {
		return protocol.AccountID{}
	}
	return id
}

// MarshalText returns the file's notation; the zero value is an error.
func (p PublicKey) MarshalText() ([]byte, error) {
	if id := p.account(); !id.IsZero() {
		return id.MarshalText()
	}
	return p.PublicKey.MarshalText()
}

// UnmarshalText reads the file's notation, one for each key.
func (p *PublicKey) UnmarshalText(b []byte) error {
	var id protocol.AccountID
	if id.UnmarshalText(b) == nil {
		*p = Ledger(id)
		return nil
	}
	if err := p.PublicKey.UnmarshalText(b); err != nil {
		return err
	}
	if p.Algorithm() == keymgmt.Ed25519 {
		return fmt.Errorf("%w: an Ed25519 key is written as a G... address", ErrInvalid)
	}
	return nil
}

func (p *Policy) allows(list []Party, id protocol.AccountID) bool {
	return slices.ContainsFunc(list, func(party Party) bool {
		return !id.IsZero() && (party.any || party.id == id || party.list != "" && p.lists[party.list].has(id.String()))
	})
}

// validParties refuses an empty list, which allows nobody and so is a mistake, and "any" beside names, which would
// read as if the names mattered.
func validParties(name string, list []Party) error {
	if len(list) == 0 {
		return fmt.Errorf("%s is empty", name)
	}
	for _, p := range list {
		if p.any && len(list) > 1 {
			return fmt.Errorf("%s has any and others", name)
		}
	}
	return nil
}
