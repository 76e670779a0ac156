package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
)

// maxAhead bounds how far a policy may let a validator's close times run ahead of the signer's clock.
const maxAhead = time.Hour

// SCPRule lets a key speak in consensus: for the one validator whose key it is, on the policy's network, and never against
// what it has signed.
//
//	[key.scp]
//	max_seconds = 60
//	quorum_sets = ["HEX"]
//	upgrade     = [{parameter = "base_fee", to = [100]}]
type SCPRule struct {
	MaxSeconds int64           `toml:"max_seconds"`           // how far ahead of now the values that it proposes may close a ledger, 1 to 3600
	QuorumSets []protocol.Hash `toml:"quorum_sets,omitempty"` // whom it may say it trusts. Optional: anybody
	Upgrades   []UpgradeRule   `toml:"upgrade,omitempty"`     // what it may vote to change about the network. Optional: nothing
}

// UpgradeRule lets a validator nominate values that change a parameter of the network. What others have agreed on is not
// its to refuse.
type UpgradeRule struct {
	Parameter string   `toml:"parameter"` // protocol_version, base_fee, operations_per_ledger, base_reserve, ledger_flags
	To        []uint32 `toml:"to"`
}

// Marks is what a validator has signed last: the newest statement of each of its two series and the newest value that it
// proposed, nil where there is none yet.
type Marks struct {
	Nomination, Ballot *payload.Statement
	Value              *payload.SCPValue
}

// statement decides on what the validator of k says.
func (p *Policy) statement(k *Key, s *payload.Statement, facts Facts) error {
	rule, last := k.SCP, facts.Marks
	switch {
	case s.Network != p.network:
		return deny("network", "the statement is for network %s", s.Network)
	case s.Node != k.Public.account():
		return deny("scp.node", "the statement is by validator %s, which is not the key's", s.Node)
	case last == nil:
		return deny("facts", "what the validator has signed is not known")
	case len(rule.QuorumSets) > 0 && !slices.Contains(rule.QuorumSets, s.QuorumSetHash):
		return deny("scp.quorum_sets", "quorum set %s is not allowed", s.QuorumSetHash)
	}
	if n, ok := s.Pledge.(*payload.Nominate); ok {
		for _, v := range n.Votes {
			for _, u := range v.Upgrades {
				if !rule.upgrades(u) {
					return deny("scp.upgrade", "a vote to change the %s to %d is not allowed", u.Parameter, u.New)
				}
			}
		}
	}
	for _, mark := range []*payload.Statement{last.Nomination, last.Ballot} {
		if mark == nil {
			continue
		}
		if err := s.After(*mark); err != nil {
			return deny("scp.mark", "%v", err)
		}
	}
	return nil
}

// proposal decides on a value that the validator of k proposes. Of one close time there is one value, and time goes on.
func (p *Policy) proposal(k *Key, v *payload.SCPValue, facts Facts) error {
	switch {
	case v.Network != p.network:
		return deny("network", "the value is for network %s", v.Network)
	case facts.Marks == nil:
		return deny("facts", "what the validator has signed is not known")
	case v.CloseTime.After(facts.Now.Add(time.Duration(k.SCP.MaxSeconds) * time.Second)):
		return deny("scp.max_seconds", "close time %s is over %d seconds ahead", v.CloseTime.Format(time.RFC3339), k.SCP.MaxSeconds)
	}
	if last := facts.Marks.Value; last != nil && *v != *last && !v.CloseTime.After(last.CloseTime) {
		return deny("scp.mark", "close time %s is not after %s, which another value was proposed for", v.CloseTime.Format(time.RFC3339), last.CloseTime.Format(time.RFC3339))
	}
	return nil
}

// maxVouching bounds for how long a validator may vouch for a transport key: a thief of that key is the validator for no longer.
const maxVouching = 2 * time.Hour

// vouching decides on a validator's word for the key of its transport.
func (p *Policy) vouching(c *payload.AuthCert, facts Facts) error {
	switch {
	case c.Network != p.network:
		return deny("network", "the certificate is for network %s", c.Network)
	case !c.Expires.After(facts.Now):
		return deny("scp.vouching", "it ended at %s", c.Expires.Format(time.RFC3339))
	case c.Expires.After(facts.Now.Add(maxVouching)):
		return deny("scp.vouching", "it ends at %s, more than %s ahead", c.Expires.Format(time.RFC3339), maxVouching)
	}
	return nil
}

func (r *SCPRule) upgrades(u payload.Upgrade) bool {
	return slices.ContainsFunc(r.Upgrades, func(a UpgradeRule) bool {
		return a.Parameter == parameterName(u.Parameter) && slices.Contains(a.To, u.New)
	})
}

func parameterName(p payload.Parameter) string { return strings.ReplaceAll(p.String(), " ", "_") }

func (r *SCPRule) validate(k *Key) error {
	if k.Public.Algorithm() != keymgmt.Ed25519 {
		return errors.New("scp needs an Ed25519 key")
	}
	seen := map[string]bool{}
	for parameter := payload.ProtocolVersion; parameter <= payload.LedgerFlags; parameter++ {
		seen[parameterName(parameter)] = false
	}
	for _, u := range r.Upgrades {
		if twice, known := seen[u.Parameter]; !known || twice || len(u.To) == 0 {
			return fmt.Errorf("scp.upgrade of %.40q does not exist, is there twice or changes nothing", u.Parameter)
		}
		seen[u.Parameter] = true
	}
	return validSeconds("scp", r.MaxSeconds, maxAhead)
}

func (r *SCPRule) explain(k *Key, say func(format string, args ...any)) {
	say("speaks in consensus for validator %s, never against what it has said, with close times up to %s ahead", k.Public.account(), seconds(r.MaxSeconds))
	say("vouches for the key of its transport, for up to %s", maxVouching)
	if len(r.QuorumSets) > 0 {
		say("says that it trusts %s and nobody else", hashes(r.QuorumSets))
	}
	for _, u := range r.Upgrades {
		say("votes to change the network's %s to any of %d", strings.ReplaceAll(u.Parameter, "_", " "), u.To)
	}
}

func (r *SCPRule) lint(warn func(format string, args ...any)) {
	if len(r.QuorumSets) == 0 {
		warn("may say that it trusts anybody: whoever holds the validator's program can make others count on strangers")
	}
}

func hashes(list []protocol.Hash) string {
	var names []string
	for _, h := range list {
		names = append(names, "quorum set "+h.String())
	}
	return strings.Join(names, " or ")
}

// Node returns the validator that a key speaks for, zero when it speaks for none.
func (p *Policy) Node(key keymgmt.KeyID) protocol.AccountID {
	if rule := p.keys[key]; rule != nil && rule.SCP != nil {
		return rule.Public.account()
	}
	return protocol.AccountID{}
}
