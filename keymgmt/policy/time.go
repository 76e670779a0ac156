package policy

import (
	"errors"
	"fmt"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

// Bounds of a delay.
const (
	minDelay = time.Minute
	maxDelay = maxHorizon
)

// Date is a moment in a file, "2026-11-23T17:00:00Z": RFC 3339 in UTC, in whole seconds.
type Date time.Time

// DateOf returns the second that t is in.
func DateOf(t time.Time) *Date { return new(Date(t.UTC().Truncate(time.Second))) }

// String returns the notation.
func (d Date) String() string { return time.Time(d).UTC().Format(time.RFC3339) }

// MarshalText returns the notation.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads it.
func (d *Date) UnmarshalText(b []byte) error {
	t, err := time.Parse(time.RFC3339, string(b))
	if err != nil || Date(t).String() != string(b) {
		return fmt.Errorf("%w: date %.40q", ErrInvalid, b)
	}
	*d = Date(t.UTC())
	return nil
}

// Life says from when until when a file counts.
type Life struct {
	ValidFrom  *Date `toml:"valid_from,omitempty"`  // nothing is signed before. Optional
	ValidUntil *Date `toml:"valid_until,omitempty"` // nothing is signed from then on. Optional
}

func (l Life) validate() error {
	if l.ValidFrom != nil && l.ValidUntil != nil && !time.Time(*l.ValidFrom).Before(time.Time(*l.ValidUntil)) {
		return errors.New("valid_until is not after valid_from")
	}
	return nil
}

func (l Life) covers(what string, now time.Time) error {
	switch {
	case l.ValidFrom != nil && now.Before(time.Time(*l.ValidFrom)):
		return fmt.Errorf("%w: %s is valid from %s on: it is too early, or the clock is wrong", keymgmt.ErrUnavailable, what, l.ValidFrom)
	case l.ValidUntil != nil && !now.Before(time.Time(*l.ValidUntil)):
		return fmt.Errorf("%w: %s was valid until %s and needs a new version", keymgmt.ErrUnavailable, what, l.ValidUntil)
	}
	return nil
}

// String says it in words.
func (l Life) String() string {
	switch {
	case l.ValidFrom != nil && l.ValidUntil != nil:
		return fmt.Sprintf("valid from %s until %s", l.ValidFrom, l.ValidUntil)
	case l.ValidFrom != nil:
		return fmt.Sprintf("valid from %s for ever", l.ValidFrom)
	case l.ValidUntil != nil:
		return fmt.Sprintf("valid until %s", l.ValidUntil)
	}
	return "valid for ever"
}

// Current reports, as a nil error, that the policy and its lists count at that time. Else nothing is signed: the error wraps
// keymgmt.ErrUnavailable, since the same request may be signed under the next version.
func (p *Policy) Current(now time.Time) error {
	if now.IsZero() {
		return deny("facts", "the time is not known")
	}
	for _, l := range p.lists {
		if err := l.Life.covers(fmt.Sprintf("list %s version %d", l.Name, l.Version), now); err != nil {
			return err
		}
	}
	return p.file.Life.covers(fmt.Sprintf("policy version %d", p.file.Version), now)
}

// DelayRule makes a request lie for some time after the signer has first seen it, so that people can look at it and freeze
// the key. Nothing shortens it but another policy.
type DelayRule struct {
	// Above says which requests it applies to: those that let more than that leave. Without it, all of the key. Optional.
	Above *Amount  `toml:"above,omitempty"`
	Wait  Duration `toml:"wait"`
}

// Amount is so much of something that the key's limits name: an asset, "bitcoin", "ether", a token's contract.
type Amount struct {
	Of     string   `toml:"of"`
	Amount Quantity `toml:"amount"`
}

// bound is what a key's rules say of one thing that can leave.
type bound struct {
	name     string
	decimals int
	most     Quantity // in one transaction
	windows  []Window
}

// bounds returns them all, the fees first; none for a key that lets nothing leave.
func (k *Key) bounds() (list []bound) {
	switch {
	case k.Transaction != nil:
		list = append(list, bound{FeeCounter, protocol.Decimals, k.Transaction.MaxFee, k.Transaction.FeeWindows})
		for _, l := range k.Transaction.Limits {
			list = append(list, bound{l.Asset.String(), protocol.Decimals, l.PerTransaction, l.Windows})
		}
	case k.FeeBump != nil:
		list = append(list, bound{FeeCounter, protocol.Decimals, k.FeeBump.MaxFee, k.FeeBump.FeeWindows})
	case k.Bitcoin != nil:
		list = append(list, bound{FeeCounter, bitcoinDecimals, k.Bitcoin.MaxFee, k.Bitcoin.FeeWindows},
			bound{k.Bitcoin.Chain, bitcoinDecimals, k.Bitcoin.PerTransaction, k.Bitcoin.Windows})
	case k.Ethereum != nil:
		list = append(list, bound{FeeCounter, etherDecimals, k.Ethereum.MaxFee, k.Ethereum.FeeWindows})
		if t := k.Ethereum.Transfer; t != nil {
			list = append(list, bound{etherCounter, etherDecimals, t.PerTransaction, t.Windows})
		}
		for _, t := range k.Ethereum.Tokens {
			list = append(list, bound{t.Contract.String(), t.Decimals, t.PerTransaction, t.Windows})
		}
	}
	return list
}

// wait returns how long what reserves so much has to lie.
func (k *Key) wait(reserve []Reservation) (longest time.Duration) {
	for _, d := range k.Delays {
		if d.Above == nil || k.above(*d.Above, reserve) {
			longest = max(longest, time.Duration(d.Wait))
		}
	}
	return longest
}

func (k *Key) above(a Amount, reserve []Reservation) bool {
	for _, b := range k.bounds() {
		for _, r := range reserve {
			if b.name == a.Of && r.Counter.Name == a.Of && a.Amount.over(r.Amount, b.decimals) {
				return true
			}
		}
	}
	return false
}

// lain is the last thing that is decided, on what the rules allow and perhaps only people have not approved yet: has it
// lain for long enough? The time runs from when it was first seen, while people think about it.
func (k *Key) lain(reserve []Reservation, facts Facts, missing error) error {
	var denial *Denial
	wait := k.wait(reserve)
	switch {
	case wait == 0 || missing != nil && (!errors.As(missing, &denial) || !denial.needsApproval):
		return missing
	case missing == nil:
		denial = &Denial{Rule: "delay", Reason: fmt.Sprintf("it has to lie for %s after it was first seen", wait)}
	}
	due := facts.FirstSeen.Add(wait)
	if facts.FirstSeen.IsZero() {
		denial.unseen, due = true, facts.Now.Add(wait)
	}
	if missing != nil {
		return denial
	}
	if denial.notBefore = due; facts.Now.Before(due) {
		return denial
	}
	return nil
}

// Delays reports whether any request of key may have to lie.
func (p *Policy) Delays(key keymgmt.KeyID) bool {
	rule := p.keys[key]
	return rule != nil && len(rule.Delays) > 0
}

// Unseen reports whether the signer must write down, durably, that it has seen the request now: only then does the time
// begin that it has to lie.
func (d *Denial) Unseen() bool { return d.unseen }

func (k *Key) validateTimes() error {
	if len(k.Hours) > maxHours {
		return fmt.Errorf("%d parts of the week, at most %d", len(k.Hours), maxHours)
	}
	life := int64(0) // of what the key signs, 0 for ever
	if k.Transaction != nil {
		life = k.Transaction.MaxSeconds
	}
	if k.FeeBump != nil {
		life = k.FeeBump.MaxSeconds
	}
	for _, d := range k.Delays {
		wait := time.Duration(d.Wait)
		switch {
		case len(k.bounds()) == 0:
			return errors.New("delay is for keys that let something leave")
		case wait < minDelay || wait > maxDelay:
			return fmt.Errorf("delay of %s, need %s to %s", wait, minDelay, maxDelay)
		case life != 0 && wait >= seconds(life):
			return fmt.Errorf("delay of %s: transactions are dead after %s", wait, seconds(life))
		case d.Above == nil:
			continue
		}
		if err := k.validAmount(*d.Above); err != nil {
			return fmt.Errorf("delay: %w", err)
		}
	}
	return nil
}

func (k *Key) validAmount(a Amount) error {
	for _, b := range k.bounds() {
		if b.name == a.Of && b.name != FeeCounter && a.Amount.atto != nil {
			return countable(a.Of, b.decimals, a.Amount)
		}
	}
	return fmt.Errorf("%.80q is nothing that the key has a limit on, or its amount is not said", a.Of)
}

func (k *Key) explainTimes(say func(format string, args ...any)) {
	if len(k.Hours) > 0 {
		say("signs in these hours of the week (UTC) only: %s", hoursText(k.Hours))
	}
	for _, d := range k.Delays {
		above := "everything"
		if d.Above != nil {
			above = fmt.Sprintf("more than %s of %s", d.Above.Amount, d.Above.Of)
		}
		say("signs %s only %s after it was first asked to", above, time.Duration(d.Wait))
	}
}
