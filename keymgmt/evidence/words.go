package evidence

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
)

var subjects = map[Subject]string{OfSignature: "a signature", OfApproval: "a request that was allowed, without a signature", OfRefusal: "a refusal",
	OfOrder: "an order of officers", OfPolicy: "the adoption of a policy"}

// Lines says in words what a bundle proves, for people to read.
func (r Report) Lines() (lines []string) {
	say := func(name, format string, args ...any) {
		lines = append(lines, strings.Map(printable, fmt.Sprintf("%-10s %s", name, fmt.Sprintf(format, args...))))
	}
	say("evidence", "verified, of %s", subjects[r.Of])
	if r.Key != "" {
		say("request", "%s of key %s, a %s, asked by %s", r.Ref, r.Key, r.Kind, r.Caller)
		if r.Initiator != "" {
			say("initiator", "%s", r.Initiator)
		}
		say("body", "SHA-256 %s", r.Body)
	}
	for _, w := range r.Words {
		say("", "| %s", w)
	}
	if o := r.Order; o != nil {
		var names []string
		for _, s := range o.Signers {
			names = append(names, s.Officer)
		}
		say("order", "to %s %s, issued %s by %s, delivered by %s: %q", o.Action, o.Key, stamp(o.Issued), strings.Join(names, ", "), r.Caller, o.Reason)
	}
	for _, refusal := range r.Refusals {
		say("refused", "at %s, under policy %d: %s", stamp(refusal.At), refusal.Policy, refusal.Reason)
	}
	for _, a := range r.Approvals {
		say("approval", "of %s, nonce %s, used at %s", a.Officer, a.Nonce, stamp(a.Used))
	}
	for _, d := range r.Discharges {
		say("discharge", "of lien %s by %s: %s of %s may leave for %s", d.Lien, d.Holder, d.Amount, d.Asset, d.Destination)
	}
	for _, a := range r.Attestations {
		say("reserve", "of %s: %s held, %s outstanding at ledger %d, attested by %s at %s", a.Asset, a.Reserve, a.Outstanding, a.Ledger, a.Attestor, stamp(a.Issued))
	}
	if !r.Approved.IsZero() {
		say("allowed", "at %s", stamp(r.Approved))
	}
	if r.Signature != nil {
		say("signature", "%x by %s", r.Signature, r.Public)
	}
	if !r.Signed.IsZero() {
		say("signed", "at %s", stamp(r.Signed))
	}
	p := r.Policy
	say("policy", "version %d, SHA-256 %s, adopted %s", p.Version, p.SHA256, stamp(p.Adopted))
	for _, name := range slices.Sorted(maps.Keys(p.Lists)) {
		say("list", "%s, version %d", name, p.Lists[name])
	}
	say("board", "%d of %s", p.Quorum, strings.Join(p.Board, ", "))
	for _, e := range r.Log.Records {
		say("record", "%d at %s: %s %s", e.Index, stamp(e.At), e.Action, e.ID)
	}
	say("log", "%s, signed at size %d, root %s", r.Log.Origin, r.Log.Size, r.Log.Root)
	for _, u := range r.Unchecked {
		say("unchecked", "%s", u)
	}
	return lines
}

// printable keeps a record that somebody forged from playing tricks with a terminal.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return unicode.ReplacementChar
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
