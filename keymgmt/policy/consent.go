package policy

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
)

// maxConsent bounds how long an approval may lie before it is used.
const maxConsent = 24 * time.Hour

// Bounds of a roster.
const (
	maxOfficers = 100
	maxNeed     = 10
)

// Officer is a person who approves, with a key of his own that is in nobody else's hands.
type Officer struct {
	Name    string    `toml:"name"`
	Public  PublicKey `toml:"public"` // Ed25519, or P-256 with a passkey
	Groups  []string  `toml:"groups"`
	Passkey *Passkey  `toml:"passkey,omitempty"` // where the key is one. Optional
}

// ApprovalRule asks for people's approval. Every rule that applies to a transaction must be satisfied.
type ApprovalRule struct {
	// Above says which transactions it applies to: those that let more than that leave. Without it, all of the key. Optional.
	Above *Threshold `toml:"above,omitempty"`
	Needs []Need     `toml:"need"`
}

// Threshold is an amount of an asset.
type Threshold struct {
	Asset  protocol.Asset `toml:"asset"`
	Amount Quantity       `toml:"amount"`
}

// Need is how many officers of a group must approve. An officer counts for one need of a rule only.
type Need struct {
	Group string `toml:"group"`
	Count int    `toml:"count"`
}

// Intent is what people approve: a request, as the signer and each of them read it for himself. Its text names
// everything that could make a difference, so that a signature over it is good for nothing else.
type Intent struct {
	request keymgmt.Request
	words   []string
	version uint64
}

// IntentOf returns the intent of a request under a policy's version. m must be what payload.Decode made of r.
func IntentOf(r keymgmt.Request, m payload.Meaning, version uint64) (Intent, error) {
	if !m.Is(r.Kind, r.Body) {
		return Intent{}, fmt.Errorf("%w: what was read is not what was asked", keymgmt.ErrMalformed)
	}
	return Intent{r, m.Words(), version}, nil
}

// Text returns the intent as it is shown to people, one fact a line.
func (i Intent) Text() string {
	body := sha256.Sum256(i.request.Body)
	lines := []string{"diamante approval 1", "key " + i.request.Key.String(), "kind " + i.request.Kind.String(), "ref " + i.request.Ref,
		"initiator " + i.request.Initiator, fmt.Sprintf("policy %d", i.version), "sha256 " + hex.EncodeToString(body[:])}
	for _, w := range i.words {
		lines = append(lines, "| "+w)
	}
	return strings.Join(lines, "\n") + "\n"
}

// Message is what an officer signs to give c.
func (i Intent) Message(c keymgmt.Consent) []byte {
	return fmt.Appendf(nil, "%sofficer %s\nnonce %s\nexpires %s\n", i.Text(), c.Officer, c.Nonce, c.Expires.UTC().Format(time.RFC3339))
}

// Approve is an officer's side: it signs c, which names him, has a nonce of keymgmt.NewNonce and expires within a day. Any
// crypto.Signer with an Ed25519 key will do; it need not be in this process.
func (i Intent) Approve(c keymgmt.Consent, key crypto.Signer) (keymgmt.Consent, error) {
	if _, ok := key.Public().(ed25519.PublicKey); !ok {
		return keymgmt.Consent{}, errors.New("policy: the officer's key is not an Ed25519 key")
	}
	c.Expires = c.Expires.UTC().Truncate(time.Second)
	var err error
	if c.Signature, err = key.Sign(nil, i.Message(c), crypto.Hash(0)); err != nil {
		return keymgmt.Consent{}, fmt.Errorf("policy: approve: %w", err)
	}
	return c, nil
}

// consents checks every approval that a request brings and returns who gave them. One that is not good denies the whole: it
// is an attack, or a mistake that its officer should hear of.
func (p *Policy) consents(r keymgmt.Request, m payload.Meaning, facts Facts) ([]Officer, error) {
	if len(r.Consents) == 0 {
		return nil, nil
	}
	intent, err := IntentOf(r, m, p.Version())
	if err != nil {
		return nil, deny("approval", "%v", err)
	}
	var given []Officer
	for _, c := range r.Consents {
		at := slices.IndexFunc(p.file.Officers, func(o Officer) bool { return o.Name == c.Officer })
		if at < 0 {
			return nil, deny("approval.officer", "%q is no officer", c.Officer)
		}
		o := p.file.Officers[at]
		switch {
		case o.Name == r.Initiator:
			return nil, deny("approval.initiator", "%s cannot approve what he asked for", o.Name)
		case slices.ContainsFunc(given, func(g Officer) bool { return g.Name == o.Name }):
			return nil, deny("approval.officer", "%s approves twice", o.Name)
		case !facts.Now.Before(c.Expires):
			return nil, deny("approval.expires", "the approval of %s has expired", o.Name)
		case c.Expires.After(facts.Now.Add(maxConsent + skew)):
			return nil, deny("approval.expires", "the approval of %s is good for longer than %s", o.Name, maxConsent)
		case facts.Used[c.Nonce]:
			return nil, deny("approval.nonce", "the approval of %s was used before", o.Name)
		}
		if err := p.file.signed(o, intent.Message(c), proof{c.Signature, c.Passkey}); err != nil {
			return nil, deny("approval.signature", "the approval of %s is not for this request under policy %d: %v", o.Name, p.Version(), err)
		}
		given = append(given, o)
	}
	return given, nil
}

// approved checks the approvals against the rules that apply to a transaction.
func (r *TransactionRule) approved(out map[protocol.Asset]*big.Int, given []Officer) error {
	for _, rule := range r.Approvals {
		if a := rule.Above; a != nil && (out[a.Asset] == nil || !a.Amount.over(out[a.Asset], protocol.Decimals)) {
			continue
		}
		if !satisfied(rule.Needs, given) {
			return &Denial{Rule: "transaction.approval", Reason: "needs the approval of " + needsText(rule.Needs), needsApproval: true}
		}
	}
	return nil
}

func needsText(needs []Need) string {
	var list []string
	for _, n := range needs {
		list = append(list, fmt.Sprintf("%d of %s", n.Count, n.Group))
	}
	return strings.Join(list, " and ")
}

// satisfied finds for every needed approval an officer of the group who does not count for another.
func satisfied(needs []Need, given []Officer) bool {
	var groups []string
	for _, n := range needs {
		for range n.Count {
			groups = append(groups, n.Group)
		}
	}
	seat := make([]int, len(given)) // which of groups an officer counts for, from 1
	var find func(group int, tried []bool) bool
	find = func(group int, tried []bool) bool {
		for i, o := range given {
			if tried[i] || !slices.Contains(o.Groups, groups[group]) {
				continue
			}
			tried[i] = true
			if seat[i] == 0 || find(seat[i]-1, tried) {
				seat[i] = group + 1
				return true
			}
		}
		return false
	}
	for group := range groups {
		if !find(group, make([]bool, len(given))) {
			return false
		}
	}
	return true
}

func (f *File) validateOfficers() error {
	if len(f.Officers) > maxOfficers {
		return fmt.Errorf("%d officers, at most %d", len(f.Officers), maxOfficers)
	}
	if err := f.validOrigins(); err != nil {
		return err
	}
	names, publics := map[string]bool{}, map[PublicKey]bool{}
	for _, k := range f.Keys {
		publics[k.Public] = true
	}
	for _, o := range f.Officers {
		if (keymgmt.Request{Initiator: o.Name}).ValidPeople() != nil || o.Name == "" || names[o.Name] || publics[o.Public] {
			return fmt.Errorf("officer %.80q has no good name, or his name or key is there twice", o.Name)
		}
		if err := f.validKey(o); err != nil {
			return fmt.Errorf("officer %s: %w", o.Name, err)
		}
		names[o.Name], publics[o.Public] = true, true
	}
	if len(f.Thaw) > 0 {
		if err := f.validateNeeds(ApprovalRule{Needs: f.Thaw}); err != nil {
			return fmt.Errorf("thaw: %w", err)
		}
	}
	for _, k := range f.Keys {
		if err := f.validateCoinApprovals(&k); err != nil {
			return fmt.Errorf("key %s: %w", k.ID, err)
		}
		if k.Transaction == nil {
			continue
		}
		if o := k.Transaction.SetOptions; o != nil && o.Rotation != nil {
			if err := f.validateNeeds(ApprovalRule{Needs: o.Rotation.Needs}); err != nil {
				return fmt.Errorf("key %s: rotation: %w", k.ID, err)
			}
		}
		for _, rule := range k.Transaction.Approvals {
			if err := f.validateNeeds(rule); err != nil {
				return fmt.Errorf("key %s: %w", k.ID, err)
			}
		}
	}
	return nil
}

func (f *File) validateNeeds(rule ApprovalRule) error {
	if len(rule.Needs) == 0 || rule.Above != nil && (rule.Above.Asset.IsZero() || rule.Above.Amount.IsZero()) {
		return errors.New("transaction.approval needs somebody to approve, and an asset with its amount")
	}
	if rule.Above != nil {
		if err := countable("transaction.approval", protocol.Decimals, rule.Above.Amount); err != nil {
			return err
		}
	}
	for _, n := range rule.Needs {
		if n.Group == "" || n.Count < 1 || n.Count > maxNeed {
			return fmt.Errorf("transaction.approval needs %d of group %.40q", n.Count, n.Group)
		}
	}
	if roster := f.Roster != "" && len(f.Officers) == 0; !roster && !satisfied(rule.Needs, f.Officers) { // else when the roster is known
		return fmt.Errorf("transaction.approval: there are not enough officers for %s", needsText(rule.Needs))
	}
	return nil
}
