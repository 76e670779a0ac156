package evidence

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/signature"
	"github.com/diamante/gateway/node/protocol"
)

// Verify checks a bundle with the log's public key, and nothing else. What does not hold is a *Fault, ErrInvalid. Verify is
// safe on any input.
func Verify(file []byte, key audit.LogKey) (Report, error) {
	b, err := decode(file)
	if err != nil {
		return Report{}, err
	}
	v := newVerifier(b)
	for _, step := range []func() error{func() error { return v.log(key) }, v.readRecords, v.readPolicy, v.checkSubject} {
		if err := step(); err != nil {
			return Report{}, err
		}
	}
	return v.report, nil
}

// verifier is a bundle while it is being verified.
type verifier struct {
	bundle Bundle
	bodies []audit.Body
	report Report

	adopted  map[uint64]*adopted // by version
	listed   map[list]*listed
	attested map[reserve]*attested
	approved *approved
	used     []used
	released []released
	made     *made
	refused  []refused
	order    *ordered
	policy   *policy.Policy // nil when the bundle has none
}

func newVerifier(b Bundle) *verifier {
	return &verifier{bundle: b, adopted: map[uint64]*adopted{}, listed: map[list]*listed{}, attested: map[reserve]*attested{}}
}

// log checks that every record is in the signed tree.
func (v *verifier) log(key audit.LogKey) error {
	c, err := key.Open([]byte(v.bundle.Checkpoint))
	if err != nil {
		return fault("checkpoint", "%v", err)
	}
	v.report.Log = LogReport{Origin: c.Origin, Size: c.Size, Root: base64.StdEncoding.EncodeToString(c.Root[:])}
	last := int64(-1)
	for i, r := range v.bundle.Records {
		where := fmt.Sprintf("records[%d]", i)
		if r.Index <= last {
			return fault(where+".index", "record %d follows record %d", r.Index, last)
		}
		last = r.Index
		if r.Proof == nil {
			return fault(where+".proof", "it is not a list")
		}
		if err := c.Includes(r.Index, r.Record, r.Proof); err != nil {
			return fault(where, "the record and its proof do not lead to the signed root: %v", err)
		}
		body, err := audit.ReadBody(r.Record)
		if err != nil {
			return fault(where+".record", "%v", err)
		}
		v.bodies = append(v.bodies, body)
		v.report.Log.Records = append(v.report.Log.Records, Entry{Index: r.Index, ID: body.ID, At: body.At, Action: body.Action})
	}
	return nil
}

// inForce returns the rules that decided, and all that the records name.
func (v *verifier) inForce() (decided rules, named []rules) {
	for _, r := range v.refused {
		decided = r.rules
		named = append(named, decided)
	}
	switch {
	case v.approved != nil:
		decided = v.approved.rules
	case v.order != nil:
		decided = v.order.rules
	case len(v.refused) == 0 && len(v.adopted) == 1:
		for version, a := range v.adopted {
			decided = rules{version, a.Lists}
		}
	}
	return decided, append(named, decided)
}

// backing returns the attestations that the records name.
func (v *verifier) backing() (named []reserve) {
	if v.approved != nil {
		for _, r := range v.approved.Reserves {
			named = append(named, r.reserve)
		}
	}
	return named
}

// complete makes sure that the policies, lists and attestations that the records name are those that they prove, and no
// others.
func (v *verifier) complete(named []rules) error {
	policies, lists, reserves := map[uint64]bool{}, map[list]bool{}, map[reserve]bool{}
	for _, r := range named {
		policies[r.Policy] = true
		for name, version := range r.Lists {
			lists[list{name, version}] = true
		}
	}
	for _, r := range v.backing() {
		reserves[r] = true
	}
	return errors.Join(same("the adoption of policy", policies, v.adopted), same("the adoption of list", lists, v.listed), same("the attestation", reserves, v.attested))
}

// same compares what is named with what is there.
func same[K comparable, T any](what string, named map[K]bool, there map[K]*T) error {
	for k := range named {
		if there[k] == nil {
			return fault("records", "%s %v is missing", what, k)
		}
	}
	if len(named) != len(there) {
		return fault("records", "%s of something else is there", what)
	}
	return nil
}

// readPolicy makes sure that the bundle's policy and lists are those in force, signed by the board that the signer had, and
// by those whom the policy names for the lists.
func (v *verifier) readPolicy() error {
	decided, named := v.inForce()
	if err := v.complete(named); err != nil {
		return err
	}
	a := v.adopted[decided.Policy]
	report := PolicyReport{Version: decided.Policy, SHA256: a.SHA256, Adopted: a.record.At, Quorum: a.Quorum, Lists: decided.Lists}
	board := policy.Board{Quorum: a.Quorum}
	for _, officer := range a.Board {
		board.Officers = append(board.Officers, officer.Bytes())
		address, err := officer.MarshalText()
		if err != nil {
			return fault("records", "the board of policy %d: %v", decided.Policy, err)
		}
		report.Board = append(report.Board, string(address))
	}
	v.report.Policy = report
	p := v.bundle.Policy
	if p == nil {
		v.report.Unchecked = []string{"that the board has signed the policy, since it was left out"}
		return nil
	}
	if err := sums("policy", p.File, p.Signatures, a.SHA256, a.Signatures); err != nil {
		return err
	}
	lists, err := v.readLists(decided)
	if err != nil {
		return err
	}
	loaded, err := policy.Load([]byte(p.File), []byte(p.Signatures), board, lists...)
	if err != nil {
		return fault("policy", "%v", err)
	}
	if loaded.Version() != decided.Policy {
		return fault("policy.file", "it is version %d, and the log knows it as %d", loaded.Version(), decided.Policy)
	}
	v.policy, v.report.Policy.Checked = loaded, true
	return nil
}

func (v *verifier) readLists(decided rules) (lists []policy.Signed, err error) {
	names := slices.Sorted(maps.Keys(decided.Lists))
	if len(names) != len(v.bundle.Policy.Lists) {
		return nil, fault("policy.lists", "there are %d, and %d were in force", len(v.bundle.Policy.Lists), len(names))
	}
	for i, name := range names {
		l, known := v.bundle.Policy.Lists[i], v.listed[list{name, decided.Lists[name]}]
		if err := sums(fmt.Sprintf("policy.lists[%d]", i), l.File, l.Signatures, known.SHA256, known.Signatures); err != nil {
			return nil, err
		}
		lists = append(lists, policy.Signed{File: []byte(l.File), Signatures: []byte(l.Signatures)})
	}
	return lists, nil
}

// sums checks a signed file against the hashes on record.
func sums(where, file, signatures, fileSum, signaturesSum string) error {
	if hexSum([]byte(file)) != fileSum {
		return fault(where+".file", "its SHA-256 is not that of the one in force")
	}
	if hexSum([]byte(signatures)) != signaturesSum {
		return fault(where+".signatures", "their SHA-256 is not that of the ones it was adopted with")
	}
	return nil
}

// checkSubject checks what the bundle is the evidence of.
func (v *verifier) checkSubject() error {
	b := v.bundle
	if v.approved == nil && (b.Body != nil || b.Signature != nil || v.made != nil || v.used != nil || v.released != nil) {
		return fault("records", "what is signed, or approved by people, was approved by the policy: that record is missing")
	}
	for _, r := range v.refused {
		v.report.Refusals = append(v.report.Refusals, Refusal{At: r.record.At, Caller: r.Caller, Policy: r.Policy, Rule: r.Rule,
			Reason: r.Reason, Body: r.SHA256, Words: r.Words})
	}
	switch {
	case v.order != nil:
		return v.checkOrder()
	case v.approved != nil:
		return v.checkRequest()
	case v.refused != nil:
		last := v.refused[len(v.refused)-1]
		v.report.Of, v.report.Kind, v.report.Caller, v.report.Initiator = OfRefusal, last.Kind, last.Caller, last.Initiator
		v.report.Body, v.report.Words = last.SHA256, last.Words
		return nil
	case v.report.Key == "":
		v.report.Of = OfPolicy
		return nil
	}
	return fault("records", "they tell of nothing that is complete")
}

func (v *verifier) checkOrder() error {
	o, record := v.order.Order, v.order.record
	want := map[keymgmt.Action]string{keymgmt.Freeze: actionFrozen, keymgmt.Thaw: actionThawed}[o.Action]
	if want != record.Action || o.Key != record.Subject {
		return fault("records", "the order to %s %s is recorded as %s of %s", o.Action, o.Key, record.Action, record.Subject)
	}
	v.report.Of, v.report.Caller, v.report.Order = OfOrder, record.Actor.Name, &o
	if v.policy == nil {
		v.report.Unchecked = append(v.report.Unchecked, "that the order was signed by officers of the roster")
		return nil
	}
	if err := v.policy.Order(o, record.At); err != nil {
		return fault("records", "the order does not hold: %v", err)
	}
	return nil
}

// checkRequest checks a request that was approved, and what became of it.
func (v *verifier) checkRequest() error {
	a := v.approved
	if hexSum(v.bundle.Body) != a.SHA256 {
		return fault("body", "its SHA-256 is not that of what was approved")
	}
	m, err := payload.Decode(a.Kind, v.bundle.Body)
	if err != nil {
		return fault("body", "%v", err)
	}
	if !slices.Equal(m.Brief(), a.Words) {
		return fault("body", "read anew it says %q, and the record %q", m.Brief(), a.Words)
	}
	v.report.Of, v.report.Kind, v.report.Caller, v.report.Initiator = OfApproval, a.Kind.String(), a.record.Actor.Name, a.Initiator
	v.report.Body, v.report.Words, v.report.Approved, v.report.Public = a.SHA256, m.Words(), a.record.At, a.Public.String()
	if err := v.checkSignature(m); err != nil {
		return err
	}
	return v.checkDecision(m)
}

func (v *verifier) checkSignature(m payload.Meaning) error {
	sig := v.bundle.Signature
	if made := v.made; made != nil {
		if made.Signature != hex.EncodeToString(sig) || made.SHA256 != v.approved.SHA256 {
			return fault("signature", "it is not the one on record")
		}
		v.report.Signed = made.record.At
	}
	if sig == nil {
		return nil
	}
	public := v.approved.Public
	messages, size := m.Messages(public), public.Algorithm().SignatureSize()
	if len(messages) == 0 || len(sig) != len(messages)*size {
		return fault("signature", "%d bytes for %d messages of a key for %s", len(sig), len(messages), public.Algorithm())
	}
	for i, message := range messages {
		if !signature.Verify(public, message, sig[i*size:][:size]) {
			return fault("signature", "it is not one of %s over the body", public)
		}
	}
	v.report.Of, v.report.Signature = OfSignature, sig
	return nil
}

// checkDecision decides again what was decided, by the policy and on what was known then. What the limits of its windows of
// time had been used up to, and what logs and validators had signed, is not known here and taken as nothing.
func (v *verifier) checkDecision(m payload.Meaning) error {
	a := v.approved
	key, err := keymgmt.ParseKeyID(v.report.Key)
	if err != nil {
		return fault("records", "%v", err)
	}
	r := keymgmt.Request{Key: key, Kind: a.Kind, Body: v.bundle.Body, Ref: a.Ref}
	for _, d := range v.released {
		r.Discharges = append(r.Discharges, d.Discharges...)
	}
	v.report.Discharges = r.Discharges
	for _, u := range v.used {
		for _, c := range u.Approvals {
			v.report.Approvals = append(v.report.Approvals, Approval{Consent: c, Initiator: u.Initiator, Used: u.record.At})
		}
	}
	facts := policy.Facts{Caller: v.report.Caller, Now: a.Now, FirstSeen: a.FirstSeen, Spent: map[policy.Counter]*big.Int{}, Last: &policy.Last{}, Marks: &policy.Marks{}}
	if facts.Backing, err = v.readBacking(); err != nil {
		return err
	}
	if v.policy == nil {
		v.report.Unchecked = append(v.report.Unchecked, "that the policy allows it, registers the public key for this key id, and names those who approved")
		return nil
	}
	if v.policy.Public(key) != a.Public {
		return fault("policy.file", "it does not register %s as %s", a.Public, key)
	}
	asked := v.used
	if asked == nil {
		asked = []used{{Initiator: a.Initiator}}
	}
	for i, u := range asked {
		if i > 0 { // asked again after a crash, with other approvals
			facts.Now = u.record.At
		}
		r.Initiator, r.Consents = u.Initiator, u.Approvals
		if err := r.Validate(); err != nil {
			return fault("records", "%v", err)
		}
		if _, err := v.policy.Decide(r, m, facts); err != nil {
			return fault("records", "decided again, it is not allowed: %v", err)
		}
	}
	return nil
}

// readBacking returns what stood behind what was issued.
func (v *verifier) readBacking() (map[protocol.Asset]*policy.Backing, error) {
	backing := map[protocol.Asset]*policy.Backing{}
	for _, r := range v.approved.Reserves {
		asset, err := protocol.ParseAsset(r.Asset)
		b := &policy.Backing{Newest: v.attested[r.reserve].Attestation, Since: new(big.Int)}
		ok := err == nil && backing[asset] == nil
		if _, whole := b.Since.SetString(r.Since, 10); !whole {
			ok = false
		}
		if r.Same != "" {
			same, whole := new(big.Int).SetString(r.Same, 10)
			b.Same, ok = same, ok && whole
		}
		if !ok || b.Since.Sign() < 0 {
			return nil, fault("records", "the reserve of %.100q is not one", r.Asset)
		}
		backing[asset] = b
		v.report.Attestations = append(v.report.Attestations, b.Newest)
	}
	return backing, nil
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
