package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/diamante/gateway/node/protocol"
)

// Explain says in words what a policy allows, one line for each thing, for people to check before they sign it. What is not
// said is denied.
func (f *File) Explain() []string {
	lines := []string{fmt.Sprintf("policy version %d for network %q, %s", f.Version, string(f.Network), f.Life)}
	for _, id := range f.DenyDestinations {
		lines = append(lines, fmt.Sprintf("nothing goes to %s", id))
	}
	for _, l := range f.Lists {
		lines = append(lines, l.explain())
	}
	if f.Roster != "" {
		lines = append(lines, fmt.Sprintf("the officers who approve are on list %s", f.Roster))
	}
	for _, o := range f.Officers {
		lines = append(lines, o.explain())
	}
	if len(f.PasskeyOrigins) > 0 {
		lines = append(lines, "officers use passkeys on "+strings.Join(f.PasskeyOrigins, ", "))
	}
	if len(f.Thaw) > 0 {
		lines = append(lines, "a frozen key signs again on the word of "+needsText(f.Thaw))
	}
	for i := range f.Keys {
		lines = append(lines, f.Keys[i].explain()...)
	}
	return lines
}

func (k *Key) explain() []string {
	public, err := k.Public.MarshalText()
	if err != nil {
		public = []byte("no key")
	}
	lines := []string{fmt.Sprintf("key %s, %s, asked by %s:", k.ID, public, strings.Join(k.Callers, ", "))}
	say := func(format string, args ...any) { lines = append(lines, "  "+fmt.Sprintf(format, args...)) }
	if k.Account != nil {
		say("signs for account %s", *k.Account)
	}
	say("has its home in %s", k.home())
	if m := k.MovedFrom; m != nil {
		say("HAS MOVED: it was %s in %s", m.Public.PublicKey, m.Home)
	}
	k.explainTimes(say)
	k.explainCoinApprovals(say)
	if k.Frozen {
		say("signs nothing: it is frozen")
	}
	switch {
	case k.Transaction != nil:
		k.Transaction.explain(say)
	case k.FeeBump != nil:
		k.FeeBump.explain(say)
	case k.Challenge != nil:
		c := k.Challenge
		say("signs SEP-10 challenges of %s for %s, valid for %s at most", c.WebAuthDomain, strings.Join(c.HomeDomains, ", "), seconds(c.MaxSeconds))
	case k.Checkpoint != nil:
		say("signs checkpoints of the log %s, which only grows", k.Checkpoint.Origin)
	case k.SCP != nil:
		k.SCP.explain(k, say)
	case k.Bitcoin != nil:
		k.Bitcoin.explain(say)
	case k.Ethereum != nil:
		k.Ethereum.explain(say)
	case k.JWT != nil:
		say("signs tokens of %s, valid for %s at most", strings.Join(k.JWT.Issuers, ", "), seconds(k.JWT.MaxSeconds))
	}
	return lines
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

func (r *TransactionRule) explain(say func(format string, args ...any)) {
	say("signs transactions of its own account with up to %d operations, a fee of up to %s DIAM, valid for %s at most", r.MaxOperations, r.MaxFee, seconds(r.MaxSeconds))
	for _, w := range r.FeeWindows {
		say("fees of up to %s DIAM in any %s", w.Max, time.Duration(w.Length))
	}
	for _, l := range r.Limits {
		say("lets up to %s %s leave in one transaction", l.PerTransaction, l.Asset)
		for _, w := range l.Windows {
			say("lets up to %s %s leave in any %s", w.Max, l.Asset, time.Duration(w.Length))
		}
	}
	if c := r.CreateAccount; c != nil {
		say("creates %s with up to %s DIAM", parties(c.Destinations), c.MaxStarting)
	}
	for _, p := range r.Payments {
		say("pays %s to %s", assets(p.Assets), parties(p.Destinations))
	}
	if c := r.ChangeTrust; c != nil {
		say("opens and closes lines to %s", assets(c.Assets))
	}
	if o := r.SetOptions; o != nil {
		say("sets options: flags on %q, flags off %q, home domains %q, master weights %v, thresholds %v %v %v", o.SetFlags, o.ClearFlags, o.HomeDomains,
			o.MasterWeights, o.LowThresholds, o.MediumThresholds, o.HighThresholds)
	}
	if l := r.SetTrustLineFlags; l != nil {
		say("sets %q and clears %q on lines of %s to %s", l.Set, l.Clear, parties(l.Trustors), assets(l.Assets))
	}
	if d := r.ManageData; d != nil {
		say("sets data entries %q", d.Names)
	}
	if c := r.Clawback; c != nil {
		say("claws back %s from %s", assets(c.Assets), parties(c.From))
	}
	r.explainMore(say)
	r.explainGates(say)
	for _, a := range r.Approvals {
		above := "for everything"
		if a.Above != nil {
			above = fmt.Sprintf("for more than %s %s", a.Above.Amount, a.Above.Asset)
		}
		say("needs the approval of %s %s", needsText(a.Needs), above)
	}
}

func parties(list []Party) string {
	var names []string
	for _, p := range list {
		if p.any {
			return "anyone"
		}
		if p.list != "" {
			names = append(names, "those on list "+p.list)
			continue
		}
		names = append(names, p.id.String())
	}
	return strings.Join(names, ", ")
}

func assets(list []protocol.Asset) string {
	var names []string
	for _, a := range list {
		names = append(names, a.String())
	}
	return strings.Join(names, ", ")
}
