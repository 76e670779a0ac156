package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
)

// The longest lives that a policy can allow, and how far a caller's clock may be ahead of the signer's.
const (
	maxChallenge = 15 * time.Minute
	maxToken     = 24 * time.Hour
	skew         = time.Minute
)

// ChallengeRule says which SEP-10 challenges a key may sign, for its own account as the server.
type ChallengeRule struct {
	HomeDomains   []string `toml:"home_domains"`
	WebAuthDomain string   `toml:"web_auth_domain"` // every challenge must name it
	MaxSeconds    int64    `toml:"max_seconds"`     // at most 900
	ClientDomain  bool     `toml:"client_domain"`   // whether a challenge may name a client domain. Optional
}

// CheckpointRule says which log's checkpoints a key may sign. They must grow: one that was signed can never be taken
// back by a smaller one, or by another root at the same size.
type CheckpointRule struct {
	Origin string `toml:"origin"`
}

// JWTRule says which tokens a key may sign. The subject is always a ledger account, perhaps with a numeric memo, and a
// key id in the header can only be the key's own.
type JWTRule struct {
	Issuers      []string `toml:"issuers"`
	Audiences    []string `toml:"audiences"` // empty: tokens have no audience; else each has one or more, all of them listed. Optional
	MaxSeconds   int64    `toml:"max_seconds"`
	HomeDomains  []string `toml:"home_domains"`  // that a token may name. Optional
	ClientDomain bool     `toml:"client_domain"` // whether a token may name a client domain. Optional
}

func (p *Policy) challenge(k *Key, c *payload.Challenge, facts Facts) error {
	rule, long := k.Challenge, time.Duration(k.Challenge.MaxSeconds)*time.Second
	switch {
	case c.Network != p.network:
		return deny("network", "the challenge is for network %s", c.Network)
	case c.Server != k.Public.account():
		return deny("challenge.server", "source %s is not the key's account", c.Server)
	case !slices.Contains(rule.HomeDomains, c.HomeDomain):
		return deny("challenge.home_domains", "home domain %q is not allowed", c.HomeDomain)
	case c.WebAuthDomain != rule.WebAuthDomain:
		return deny("challenge.web_auth_domain", "authentication server %q is not %q", c.WebAuthDomain, rule.WebAuthDomain)
	case c.ClientDomain != "" && !rule.ClientDomain:
		return deny("challenge.client_domain", "client domains are not allowed")
	case c.MaxTime.Sub(c.MinTime) > long || c.MaxTime.After(facts.Now.Add(long+skew)):
		return deny("challenge.max_seconds", "valid from %s to %s, over %d seconds", c.MinTime.Format(time.RFC3339),
			c.MaxTime.Format(time.RFC3339), rule.MaxSeconds)
	}
	return nil
}

func (r *CheckpointRule) decide(c *payload.Checkpoint, facts Facts) error {
	last := facts.Last
	switch {
	case c.Origin != r.Origin:
		return deny("checkpoint.origin", "origin %q is not %q", c.Origin, r.Origin)
	case last == nil:
		return deny("facts", "the newest checkpoint is not known")
	case c.Size < last.Size:
		return deny("checkpoint.size", "size %d is under %d, which was signed", c.Size, last.Size)
	case c.Size == last.Size && c.Root != last.Root:
		return deny("checkpoint.root", "another root was signed at size %d", c.Size)
	}
	return nil
}

func (r *JWTRule) decide(key keymgmt.KeyID, t *payload.JWT, facts Facts) error {
	long := time.Duration(r.MaxSeconds) * time.Second
	switch {
	case t.KeyID != "" && t.KeyID != key.String():
		return deny("jwt.key_id", "key id %q is not %s", t.KeyID, key)
	case !slices.Contains(r.Issuers, t.Issuer):
		return deny("jwt.issuers", "issuer %q is not allowed", t.Issuer)
	case !accountSubject(t.Subject):
		return deny("jwt.subject", "subject %q is not an account", t.Subject)
	case (len(t.Audience) == 0) != (len(r.Audiences) == 0):
		return deny("jwt.audiences", "audience %q is not allowed", t.Audience)
	case t.HomeDomain != "" && !slices.Contains(r.HomeDomains, t.HomeDomain):
		return deny("jwt.home_domains", "home domain %q is not allowed", t.HomeDomain)
	case t.ClientDomain != "" && !r.ClientDomain:
		return deny("jwt.client_domain", "client domains are not allowed")
	case t.IssuedAt.After(facts.Now.Add(skew)):
		return deny("jwt.issued_at", "issued at %s, which is to come", t.IssuedAt.Format(time.RFC3339))
	case t.Expires.Sub(t.IssuedAt) > long || t.Expires.After(facts.Now.Add(long+skew)):
		return deny("jwt.max_seconds", "valid from %s to %s, over %d seconds", t.IssuedAt.Format(time.RFC3339),
			t.Expires.Format(time.RFC3339), r.MaxSeconds)
	}
	for _, a := range t.Audience {
		if !slices.Contains(r.Audiences, a) {
			return deny("jwt.audiences", "audience %q is not allowed", a)
		}
	}
	return nil
}

// accountSubject reports whether s is G..., or G... with a colon and a numeric memo, as SEP-10 writes subjects.
func accountSubject(s string) bool {
	id, memo, has := strings.Cut(s, ":")
	if _, err := protocol.ParseAccountID(id); err != nil {
		return false
	}
	n, err := strconv.ParseUint(memo, 10, 64)
	return !has || err == nil && strconv.FormatUint(n, 10) == memo
}

func (r *ChallengeRule) validate() error {
	if len(r.HomeDomains) == 0 || r.WebAuthDomain == "" {
		return errors.New("challenge needs home_domains and web_auth_domain")
	}
	return validSeconds("challenge", r.MaxSeconds, maxChallenge)
}

func (r *CheckpointRule) validate() error {
	if r.Origin == "" {
		return errors.New("checkpoint needs origin")
	}
	return nil
}

func (r *JWTRule) validate() error {
	if len(r.Issuers) == 0 {
		return errors.New("jwt needs issuers")
	}
	return validSeconds("jwt", r.MaxSeconds, maxToken)
}

func validSeconds(section string, n int64, most time.Duration) error {
	if n < 1 || n > int64(most/time.Second) {
		return fmt.Errorf("%s.max_seconds is %d, need 1 to %d", section, n, int64(most/time.Second))
	}
	return nil
}
