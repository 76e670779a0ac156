package policy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/diamante/gateway/keymgmt"
)

// Bounds of a window.
const (
	minWindow = time.Minute
	maxWindow = 31 * 24 * time.Hour
	// slots is into how many parts a window is divided to be counted. A part counts as long as any of it is in the window, so
	// that a window is up to one part longer than it says, and never shorter. Where clocks may differ, the service adds that.
	slots = 96
)

// Window bounds what may leave in any stretch of time of this length.
type Window struct {
	Length Duration `toml:"length"` // "24h"; a minute to 31 days
	Max    Quantity `toml:"max"`
}

// Day is one window of a day.
func Day(limit Quantity) []Window { return []Window{{Duration(24 * time.Hour), limit}} }

// Duration is a time.Duration in a policy file, written as "24h".
type Duration time.Duration

// MarshalText returns Go's notation.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads Go's notation of a positive duration of whole seconds.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v <= 0 || v%time.Second != 0 {
		return fmt.Errorf("%w: duration %.40q", ErrInvalid, b)
	}
	*d = Duration(v)
	return nil
}

// Counter names a sum over a sliding window: of an asset as text, or of FeeCounter.
type Counter struct {
	Name   string
	Window time.Duration
}

// String returns the counter's name in journals and denials.
func (c Counter) String() string { return c.Name + " in " + c.Window.String() }

// Slot returns the part of the window's time line that now is in. Parts are numbered from the beginning of Unix time.
func (c Counter) Slot(now time.Time) int64 {
	return now.UnixMilli() / max(1, c.Window.Milliseconds()/slots)
}

// First returns the oldest part that counts at now.
func (c Counter) First(now time.Time) int64 { return c.Slot(now.Add(-c.Window)) }

// FeeCounter is the name of the counters of the fees that a key's transactions offer.
const FeeCounter = "fee"

// Reservation is what the approved messages use up of a limit. The service stores it before anything is signed.
type Reservation struct {
	Counter Counter
	Amount  *big.Int // in the smallest unit, not negative
}

// Counters returns the counters on which a decision about a key depends.
func (p *Policy) Counters(key keymgmt.KeyID) (list []Counter) {
	rule := p.keys[key]
	if rule == nil {
		return nil
	}
	for _, b := range rule.bounds() {
		for _, w := range b.windows {
			list = append(list, Counter{b.name, time.Duration(w.Length)})
		}
	}
	return list
}

// Holder is the transaction that was signed last with a source account and a sequence number. Of all that have the same
// two, the ledger applies one at most; so they share one reservation, as large as the largest of them, and a new one takes
// it over.
type Holder struct {
	Reserved map[Counter]*big.Int
}

// use is what a transaction uses up of a counter, which counts the last of so many decimals.
type use struct {
	rule, name string
	amount     *big.Int
	decimals   int
}

// count adds up an amount against the windows.
func count(u use, windows []Window, facts Facts) ([]Reservation, error) {
	var list []Reservation
	for _, w := range windows {
		c := Counter{u.name, time.Duration(w.Length)}
		amount, after := new(big.Int).Set(u.amount), new(big.Int)
		if before := facts.Spent[c]; before != nil {
			after.Set(before)
		}
		if facts.Holder != nil {
			if held := facts.Holder.Reserved[c]; held != nil && held.Cmp(amount) > 0 {
				amount.Set(held)
			}
		}
		if w.Max.over(after.Add(after, amount), u.decimals) {
			return nil, deny(u.rule, "%s would make it %s %s, over %s", decimal(u.amount, u.decimals), decimal(after, u.decimals), c, w.Max)
		}
		list = append(list, Reservation{c, amount})
	}
	return list, nil
}

// takeOver adds what the holder has reserved and the new transaction does not touch: another asset.
func (h *Holder) takeOver(list []Reservation) []Reservation {
	if h == nil {
		return list
	}
	byName := func(a, b Counter) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Window, b.Window))
	}
	for _, c := range slices.SortedFunc(maps.Keys(h.Reserved), byName) {
		if !slices.ContainsFunc(list, func(r Reservation) bool { return r.Counter == c }) {
			list = append(list, Reservation{c, h.Reserved[c]})
		}
	}
	return list
}

func validWindows(name string, decimals int, list []Window) error {
	if len(list) == 0 {
		return fmt.Errorf("%s has no window", name)
	}
	seen := map[Duration]bool{}
	for _, w := range list {
		if d := time.Duration(w.Length); d < minWindow || d > maxWindow || seen[w.Length] || w.Max.IsZero() {
			return errors.New(name + " has a window that is too short, too long, there twice or without a maximum")
		}
		if err := countable(name, decimals, w.Max); err != nil {
			return err
		}
		seen[w.Length] = true
	}
	return nil
}
