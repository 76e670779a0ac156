// Package policy decides what each key may sign.
//
// It is pure: rules from a signed file, the decoded meaning of a request and a few facts go in, an Approval or a Denial
// that names its rule comes out. The rules are a closed set of typed limits over big integers. Nothing is allowed that
// no rule allows, an unknown field in the file is an error, and the order of the rules means nothing. There is no way
// to make a Policy but to load a file that enough of the board signed, with the lists that it names, each signed by those
// who decide on that list.
//
//	p, err := policy.Load(file, sigs, board, lists...)
//	approval, err := p.Decide(request, meaning, policy.Facts{...})
//
// A Denial is final, or lacks people's approval, or comes too early and says when to ask again; a policy that is past or
// not yet valid denies nothing and is unavailable. File and List are the schemas; Sign and Marshal are for the officer's
// side, Explain, Lint and Simulate for those who read before they sign. Setup writes the file of an anchor with one asset.
// A new kind of rule has a file of its own here, with its validation, its words and its warnings.
package policy

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
)

// Policy is a signed set of rules, loaded. It does not change and is safe for concurrent use.
type Policy struct {
	file    File
	hash    [sha256.Size]byte
	source  Source
	lists   map[string]*loaded
	network protocol.Hash
	keys    map[keymgmt.KeyID]*Key
	callers map[string]bool // those of all keys
}

// Facts is what a decision depends on besides the request. The zero value allows nothing: a fact that is missing
// denies what depends on it.
type Facts struct {
	Caller string // the authenticated client
	Now    time.Time
	// Spent is what the key's counters stand at, without what the Holder has reserved. Nil denies every transaction.
	Spent map[Counter]*big.Int
	// Holder is who has the transaction's sequence number: another transaction, or this one asked for before. Nil: nobody.
	Holder *Holder
	// Used holds the nonces of the request's approvals that were used before, for another request.
	Used map[string]bool
	// Frozen: officers have stopped the key.
	Frozen bool
	// FirstSeen is when the signer first saw this very request, zero when it does not know to have seen it.
	FirstSeen time.Time
	// Last is the newest checkpoint that was signed for the origin in question. Nil denies every checkpoint; a log
	// that never had one is at size 0.
	Last *Last
	// Marks is what the validator in question has signed last. Nil denies all that a validator says.
	Marks *Marks
	// Backing is what stands behind the assets that the transaction issues. Without it an asset with a reserve is not issued.
	Backing map[protocol.Asset]*Backing
	// Discharged holds the nonces of the request's discharges that were used before, for another request.
	Discharged map[string]bool

	discharges []keymgmt.Discharge // of the request; Decide sets it
}

// Last is the high-water mark of a log.
type Last struct {
	Size int64
	Root [sha256.Size]byte
}

// Denial is why something may not be signed. It wraps keymgmt.ErrDenied, or keymgmt.ErrApprovalNeeded when only people's
// approval is missing, or a keymgmt.Early when only the time has not come.
type Denial struct {
	Rule   string // as in the file: "transaction.max_fee"
	Reason string

	needsApproval bool
	notBefore     time.Time // zero: time changes nothing
	unseen        bool
}

// Error names the rule.
func (d *Denial) Error() string {
	return fmt.Sprintf("%v: rule %s: %s", d.Unwrap(), d.Rule, d.Reason)
}

// Unwrap returns which of the contract's errors it is.
func (d *Denial) Unwrap() error {
	switch {
	case d.needsApproval:
		return keymgmt.ErrApprovalNeeded
	case !d.notBefore.IsZero():
		return &keymgmt.Early{NotBefore: d.notBefore}
	}
	return keymgmt.ErrDenied
}

func deny(rule, format string, args ...any) error {
	return &Denial{Rule: rule, Reason: fmt.Sprintf(format, args...)}
}

// Version returns the file's version, which only ever grows.
func (p *Policy) Version() uint64 { return p.file.Version }

// Hash returns SHA-256 of the file, by which journals name the policy.
func (p *Policy) Hash() [sha256.Size]byte { return p.hash }

// Source is what a policy was loaded from.
type Source struct {
	File, Signatures []byte
	Board            Board
}

// Source returns what the policy was loaded from, for those who keep it.
func (p *Policy) Source() Source { return p.source }

// Keys returns the keys that the policy knows, sorted.
func (p *Policy) Keys() []keymgmt.KeyID {
	return slices.SortedFunc(maps.Keys(p.keys), func(a, b keymgmt.KeyID) int { return strings.Compare(a.String(), b.String()) })
}

// Public returns the public key that the file registers for key, zero when it does not know the key.
func (p *Policy) Public(key keymgmt.KeyID) keymgmt.PublicKey {
	if rule := p.keys[key]; rule != nil {
		return rule.Public.PublicKey
	}
	return keymgmt.PublicKey{}
}

// Origin returns the name of the log whose checkpoints key signs, "" when it signs none.
func (p *Policy) Origin(key keymgmt.KeyID) string {
	if rule := p.keys[key]; rule != nil && rule.Checkpoint != nil {
		return rule.Checkpoint.Origin
	}
	return ""
}

// Knows reports whether key exists as far as caller may know.
func (p *Policy) Knows(caller string, key keymgmt.KeyID) bool {
	rule := p.keys[key]
	return rule != nil && slices.Contains(rule.Callers, caller)
}

// KnowsCaller reports whether any key is open to caller.
func (p *Policy) KnowsCaller(caller string) bool { return p.callers[caller] }

// Decide gives permission to sign what m says, if the rules allow it on these facts. m must be what payload.Decode made
// of r. The error is a *Denial, or that of Current.
func (p *Policy) Decide(r keymgmt.Request, m payload.Meaning, facts Facts) (*Approval, error) {
	if err := p.Current(facts.Now); err != nil {
		return nil, err
	}
	return p.decide(r, m, facts)
}

func (p *Policy) decide(r keymgmt.Request, m payload.Meaning, facts Facts) (*Approval, error) {
	rule := p.keys[r.Key]
	switch {
	case rule == nil:
		return nil, deny("key", "the policy does not know key %s", r.Key)
	case !slices.Contains(rule.Callers, facts.Caller):
		return nil, deny("callers", "%q may not use key %s", facts.Caller, r.Key)
	case rule.Frozen || facts.Frozen:
		return nil, deny("frozen", "key %s is frozen", r.Key)
	case !m.Is(r.Kind, r.Body):
		return nil, deny("kind", "what was read is not what was asked")
	}
	if err := rule.open(facts.Now); err != nil {
		return nil, err
	}
	given, err := p.consents(r, m, facts)
	if err != nil {
		return nil, err
	}
	if facts.discharges = r.Discharges; len(r.Discharges) > 0 && !rule.pledged() {
		return nil, deny("transaction.lien", "there is no lien on key %s to be discharged", r.Key)
	}
	var reserve []Reservation
	switch {
	case m.Transaction != nil && rule.Transaction != nil:
		reserve, err = p.transaction(rule, m.Transaction, given, facts)
	case m.Conditional != nil && rule.Transaction != nil:
		reserve, err = p.transaction(rule, m.Conditional, given, facts)
	case m.FeeBump != nil && rule.FeeBump != nil:
		reserve, err = p.feeBump(rule, m.FeeBump, facts)
	case m.Bitcoin != nil && rule.Bitcoin != nil:
		reserve, err = p.bitcoin(rule, m.Bitcoin, facts)
	case m.Ethereum != nil && rule.Ethereum != nil:
		reserve, err = rule.Ethereum.decide(p, m.Ethereum, facts)
	case m.Challenge != nil && rule.Challenge != nil:
		err = p.challenge(rule, m.Challenge, facts)
	case m.Checkpoint != nil && rule.Checkpoint != nil:
		err = rule.Checkpoint.decide(m.Checkpoint, facts)
	case m.JWT != nil && rule.JWT != nil:
		err = rule.JWT.decide(rule.ID, m.JWT, facts)
	case m.Statement != nil && rule.SCP != nil:
		err = p.statement(rule, m.Statement, facts)
	case m.SCPValue != nil && rule.SCP != nil:
		err = p.proposal(rule, m.SCPValue, facts)
	case m.AuthCert != nil && rule.SCP != nil:
		err = p.vouching(m.AuthCert, facts)
	default:
		err = deny("kind", "key %s may not sign a %s", r.Key, r.Kind)
	}
	if err == nil {
		err = rule.approved(reserve, given)
	}
	if err := rule.lain(reserve, facts, err); err != nil {
		return nil, err
	}
	messages := m.Messages(rule.Public.PublicKey)
	if len(messages) == 0 {
		return nil, deny("public", "nothing in it is for key %s to sign", r.Key)
	}
	return approve(r.Key, r.Kind, messages, reserve), nil
}
