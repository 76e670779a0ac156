package bitcoin

import (
	"fmt"
	"strings"
	"time"
)

// heights are the lock times that are heights of blocks; from here on they are points in time.
const heights = 500_000_000

// hardened marks a step of a derivation that only the private key can take.
const hardened = 1 << 31

// Words returns what the transaction does, one effect a line, fit to be shown and to be kept in a log. They do not tell
// our keys from others', so of change they say whose it is said to be.
func (t *Transaction) Words() []string {
	var w []string
	for _, out := range t.Outputs {
		switch {
		case out.Kind == OpReturn:
			w = append(w, fmt.Sprintf("publishes data %x", out.Script[1:]))
		case out.Change != nil:
			w = append(w, fmt.Sprintf("pays %s to %s, said to be change for %s", t.coins(out.Amount), out.Address, out.Change))
		default:
			w = append(w, fmt.Sprintf("pays %s to %s", t.coins(out.Amount), out.Address))
		}
	}
	// Tenths of a satoshi per vbyte, rounded up.
	rate := (t.FeeRate() + 99) / 100
	w = append(w, fmt.Sprintf("fee %s (%d.%d sat/vB)", t.coins(t.Fee), rate/10, rate%10))
	replace := false
	for _, in := range t.Inputs {
		w = append(w, fmt.Sprintf("spends %s of output %d of %s at %s, by %s", t.coins(in.Amount), in.Index, in.Previous, in.Address, in.Key))
		replace = replace || in.Sequence == replaceable
	}
	switch {
	case t.LockTime >= heights:
		w = append(w, "not valid before "+time.Unix(int64(t.LockTime), 0).UTC().Format(time.RFC3339))
	case t.LockTime != 0:
		w = append(w, fmt.Sprintf("not valid before the block after %d", t.LockTime))
	}
	if replace {
		w = append(w, "may be replaced by a transaction of a higher fee")
	}
	return append(w, fmt.Sprintf("on %s %s", t.Chain, t.Network))
}

// coins shows an amount with the chain's code and all eight digits.
func (t *Transaction) coins(amount int64) string {
	return fmt.Sprintf("%d.%08d %s", amount/satoshi, amount%satoshi, chains[t.Chain].code)
}

// String returns the public key in hexadecimal digits, and its derivation.
func (k Key) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "key %x (%x", k.Public, k.Fingerprint)
	for _, step := range k.Path {
		fmt.Fprintf(&s, "/%d", step&^hardened)
		if step&hardened != 0 {
			s.WriteByte('\'')
		}
	}
	s.WriteByte(')')
	return s.String()
}
