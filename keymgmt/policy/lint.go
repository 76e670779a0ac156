package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/diamante/gateway/keymgmt"
)

// warning adds a line for a person to think about.
type warning func(format string, args ...any)

// Lint says what in a policy is allowed and yet unwise: each line is for a person to think about.
func (f *File) Lint() []string {
	var lines []string
	f.lint(func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) })
	for i := range f.Keys {
		k := &f.Keys[i]
		k.lint(func(format string, args ...any) {
			lines = append(lines, k.ID.String()+": "+fmt.Sprintf(format, args...))
		})
	}
	return lines
}

func (f *File) lint(warn warning) {
	if f.ValidUntil == nil {
		warn("the policy never ends: nobody will have to look at it again")
	}
	for _, l := range f.Lists {
		if l.Quorum == 1 {
			warn("list %s is what one person alone says", l.Name)
		}
	}
	if people := len(f.Officers) > 0 || f.Roster != ""; people && len(f.Thaw) == 0 {
		warn("any officer can freeze a key, and nobody can thaw it")
	}
	if alone(f.Thaw) {
		warn("one officer alone can thaw what another has frozen")
	}
}

// alone reports whether one officer is enough.
func alone(needs []Need) bool { return len(needs) == 1 && needs[0].Count == 1 }

func (k *Key) lint(warn warning) {
	if k.home() == keymgmt.SoftwareSealed {
		warn("is in the signer's memory when it signs: whoever reads that has the key")
	}
	for _, b := range k.bounds() {
		b.lint(warn)
	}
	switch {
	case k.SCP != nil:
		k.SCP.lint(warn)
	case k.Transaction != nil:
		k.lintGates(warn)
		k.lintTransaction(warn)
	case k.FeeBump != nil && parties(k.FeeBump.Sources) == "anyone":
		warn("pays the fees of anyone's transactions")
	case k.Bitcoin != nil:
		k.lintAddresses(k.Bitcoin.Chain, k.Bitcoin.Destinations, warn)
	case k.Ethereum != nil:
		if t := k.Ethereum.Transfer; t != nil {
			k.lintAddresses(etherCounter, t.Destinations, warn)
		}
		for _, t := range k.Ethereum.Tokens {
			k.lintAddresses("token "+t.Contract.String(), t.Destinations, warn)
		}
	}
}

func (k *Key) lintAddresses(what string, list []string, warn warning) {
	if slices.Contains(list, anyAddress) && len(k.Delays)+len(k.Approvals) == 0 {
		warn("pays %s to any address, at once and without anybody's approval", what)
	}
}

func (b bound) lint(warn warning) {
	short := b.windows[0]
	for _, w := range b.windows {
		if w.Length < short.Length {
			short = w
		}
	}
	if short.Length > Duration(24*time.Hour) {
		warn("has no limit on %s for a day or less: all of %s can leave at once", b.name, short.Max)
	}
	if b.most.atto.Cmp(short.Max.atto) > 0 {
		warn("a transaction may move %s of %s, more than the %s of its window: one of them means nothing", b.most, b.name, short.Max)
	}
}

func (k *Key) lintTransaction(warn warning) {
	r := k.Transaction
	unwatched := len(r.Approvals) == 0
	for _, p := range r.Payments {
		if unwatched && parties(p.Destinations) == "anyone" {
			warn("pays %s to anyone without anybody's approval", assets(p.Assets))
		}
	}
	for _, p := range r.PathPayments {
		if unwatched && parties(p.Destinations) == "anyone" {
			warn("pays with %s, for others, to anyone without anybody's approval", assets(p.Send))
		}
	}
	if s := r.SetAside; s != nil && unwatched && parties(s.Claimants) == "anyone" {
		warn("sets aside %s for anyone without anybody's approval", assets(s.Assets))
	}
	if c := r.CreateAccount; c != nil && parties(c.Destinations) == "anyone" && c.MaxStarting.more(oneThousand) {
		warn("creates accounts for anyone with more than 1000 DIAM")
	}
	for _, a := range r.Approvals {
		if alone(a.Needs) {
			warn("one officer of %s alone approves", a.Needs[0].Group)
		}
	}
	if slices.Contains(r.Conditions, minSequence) {
		warn("signs transactions that skip sequence numbers: what was signed with these is lost")
	}
	o := r.SetOptions
	if o == nil {
		return
	}
	if o.Rotation == nil && len(o.MasterWeights)+len(o.LowThresholds)+len(o.MediumThresholds)+len(o.HighThresholds) > 0 {
		warn("changes weights and thresholds of its account without a rotation's approvals")
	}
	if o.Rotation != nil && alone(o.Rotation.Needs) {
		warn("one officer of %s alone lets the account's signers be changed", o.Rotation.Needs[0].Group)
	}
}

var oneThousand = constant("1000")
