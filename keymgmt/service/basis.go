package service

import (
	"time"

	"github.com/diamante/gateway/keymgmt/policy"
)

// underRules adds to a record's data by which versions of rules and lists it was decided.
func underRules(p *policy.Policy, data map[string]any) map[string]any {
	data["policy"] = p.Version()
	lists := map[string]any{}
	for _, l := range p.Lists() {
		lists[l.Name] = l.Version
	}
	if len(lists) > 0 {
		data["lists"] = lists
	}
	return data
}

// basis is the data of the record that a request was approved: what it was, and what an auditor needs in order to decide
// about it again. What its limits had been used up to is not in it: that follows from the records before.
func (s *Service) basis(e *entry, facts policy.Facts) map[string]any {
	r := e.request
	data := underRules(s.cfg.Policy, map[string]any{"ref": r.Ref, "kind": r.Kind.String(), "sha256": digest(r.Body), "words": e.meaning.Brief(),
		"public": s.cfg.Policy.Public(r.Key).String(), "now": stamp(facts.Now)})
	if r.Initiator != "" {
		data["initiator"] = r.Initiator
	}
	if !facts.FirstSeen.IsZero() {
		data["first_seen"] = stamp(facts.FirstSeen)
	}
	var reserves []any
	for asset, b := range facts.Backing {
		if s.cfg.Policy.Attestors(asset) == nil {
			continue
		}
		reserve := map[string]any{"asset": asset.String(), "ledger": b.Newest.Ledger, "attestor": b.Newest.Attestor, "since": b.Since.String()}
		if b.Same != nil {
			reserve["same"] = b.Same.String()
		}
		reserves = append(reserves, reserve)
	}
	if reserves != nil {
		data["reserves"] = reserves
	}
	return data
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
