package evidence

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/signature"
)

// Actions of records. Others about the same request may be there; what they say is in the log and needs no check.
const (
	actionAdopted  = "policy.adopted"
	actionApproved = "signature.approved"
	actionUsed     = "approval.used"
	actionMade     = "signature.made"
	actionRefused  = "signature.refused"
	actionFrozen   = "key.frozen"
	actionThawed   = "key.thawed"
)

// Verify checks a bundle with the log's public key, and nothing else. What does not hold is a *Fault, ErrInvalid. Verify is
// safe on any input.
func Verify(file []byte, key audit.LogKey) (Report, error) {
	b, err := decode(file)
	if err != nil {
		return Report{}, err
	}
	v := &verifier{bundle: b, adopted: map[uint64]*adopted{}}
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
	approved *approved
	used     []used
	made     *made
	refused  []refused
	order    *ordered
	policy   *policy.Policy // nil when the bundle has none
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

// The data of the records, as far as it matters here, and the record it is from. The signer may say more in a record, and
// what it says is proved, too.
type (
	adopted struct {
		record     audit.Body
		SHA256     string             `json:"sha256"`
		Signatures string             `json:"signatures_sha256"`
		Board      []policy.PublicKey `json:"board"`
		Quorum     int                `json:"quorum"`
	}
	approved struct {
		record    audit.Body
		Ref       string            `json:"ref"`
		Kind      keymgmt.Kind      `json:"kind"`
		SHA256    string            `json:"sha256"`
		Words     []string          `json:"words"`
		Policy    uint64            `json:"policy"`
		Public    keymgmt.PublicKey `json:"public"`
		Initiator string            `json:"initiator"`
	}
	used struct {
		record    audit.Body
		Initiator string            `json:"initiator"`
		Approvals []keymgmt.Consent `json:"approvals"`
	}
	made struct {
		record    audit.Body
		SHA256    string `json:"sha256"`
		Signature string `json:"signature"` // hex
	}
	refused struct {
		record    audit.Body
		Ref       string   `json:"ref"`
		Kind      string   `json:"kind"`
		Caller    string   `json:"caller"`
		Initiator string   `json:"initiator"`
		SHA256    string   `json:"sha256"`
		Words     []string `json:"words"`
		Policy    uint64   `json:"policy"`
		Rule      string   `json:"rule"`
		Reason    string   `json:"reason"`
	}
	ordered struct {
		record audit.Body
		Order  keymgmt.Order `json:"order"`
		Policy uint64        `json:"policy"`
	}
)

// data reads a record's data into v. Go would take "REF" for "ref", so names that are not in lower case are refused.
func data(raw json.RawMessage, into any) error {
	var names map[string]json.RawMessage
	if err := json.Unmarshal(raw, &names); err != nil {
		return err
	}
	for name := range names {
		if strings.ToLower(name) != name {
			return fmt.Errorf("its data has a member %.80q", name)
		}
	}
	return json.Unmarshal(raw, into)
}

// readRecords reads what the records say, and makes sure that they all are about one request, one order or one policy.
func (v *verifier) readRecords() error {
	for i, body := range v.bodies {
		if err := v.readRecord(body); err != nil {
			return fault(fmt.Sprintf("records[%d].record", i), "%s: %v", body.Action, err)
		}
	}
	return nil
}

func (v *verifier) readRecord(body audit.Body) error {
	switch body.Action {
	case actionAdopted:
		return v.readAdopted(body)
	case actionFrozen, actionThawed:
		o := ordered{record: body}
		if v.order != nil || v.report.Key != "" {
			return errOther
		}
		v.order = &o
		return data(body.Data, &o)
	}
	var about struct {
		Ref string `json:"ref"`
	}
	if err := data(body.Data, &about); err != nil {
		return err
	}
	if _, err := keymgmt.ParseKeyID(body.Subject); err != nil || about.Ref == "" {
		return errors.New("it is about no request")
	}
	if v.report.Key == "" {
		v.report.Key, v.report.Ref = body.Subject, about.Ref
	}
	if v.order != nil || v.report.Key != body.Subject || v.report.Ref != about.Ref {
		return errOther
	}
	switch body.Action {
	case actionApproved:
		return once(&v.approved, approved{record: body}, body.Data)
	case actionMade:
		return once(&v.made, made{record: body}, body.Data)
	case actionUsed:
		u := used{record: body}
		err := data(body.Data, &u)
		v.used = append(v.used, u)
		return err
	case actionRefused:
		r := refused{record: body}
		err := data(body.Data, &r)
		v.refused = append(v.refused, r)
		return err
	}
	return nil
}

// errOther: a record does not belong to the others.
var errOther = errors.New("it is about something else than the records before it")

// once reads data of which there is one.
func once[T any](into **T, t T, raw json.RawMessage) error {
	if *into != nil {
		return errors.New("it is there twice")
	}
	*into = &t
	return data(raw, &t)
}

func (v *verifier) readAdopted(body audit.Body) error {
	a := adopted{record: body}
	version, err := strconv.ParseUint(body.Subject, 10, 64)
	if err != nil || strconv.FormatUint(version, 10) != body.Subject || v.adopted[version] != nil {
		return fmt.Errorf("version %.40q is none, or is there twice", body.Subject)
	}
	v.adopted[version] = &a
	return data(body.Data, &a)
}

// inForce returns the version of the policy that decided, and all that the records name.
func (v *verifier) inForce() (version uint64, named map[uint64]bool) {
	named = map[uint64]bool{}
	for _, r := range v.refused {
		version = r.Policy
		named[version] = true
	}
	switch {
	case v.approved != nil:
		version = v.approved.Policy
	case v.order != nil:
		version = v.order.Policy
	case len(v.refused) == 0 && len(v.adopted) == 1:
		for only := range v.adopted {
			version = only
		}
	}
	named[version] = true
	return version, named
}

// readPolicy makes sure that the policies that the records name are those whose adoption is proved, and that the bundle's
// policy is the one in force, signed by the board that the signer had.
func (v *verifier) readPolicy() error {
	version, named := v.inForce()
	for n := range named {
		if v.adopted[n] == nil {
			return fault("records", "the adoption of policy %d is missing", n)
		}
	}
	if len(named) != len(v.adopted) {
		return fault("records", "they adopt policies that decided nothing here")
	}
	a := v.adopted[version]
	report := PolicyReport{Version: version, SHA256: a.SHA256, Adopted: a.record.At, Quorum: a.Quorum}
	board := policy.Board{Quorum: a.Quorum}
	for _, officer := range a.Board {
		board.Officers = append(board.Officers, officer.Bytes())
		address, err := officer.MarshalText()
		if err != nil {
			return fault("records", "the board of policy %d: %v", version, err)
		}
		report.Board = append(report.Board, string(address))
	}
	v.report.Policy = report
	if v.bundle.Policy == nil {
		v.report.Unchecked = []string{"that the board has signed the policy, since it was left out"}
		return nil
	}
	file, signatures := []byte(v.bundle.Policy.File), []byte(v.bundle.Policy.Signatures)
	if hexSum(file) != a.SHA256 {
		return fault("policy.file", "its SHA-256 is not that of policy %d", version)
	}
	if hexSum(signatures) != a.Signatures {
		return fault("policy.signatures", "their SHA-256 is not that of policy %d", version)
	}
	p, err := policy.Load(file, signatures, board)
	if err != nil {
		return fault("policy", "%v", err)
	}
	if p.Version() != version {
		return fault("policy.file", "it is version %d, and the log knows it as %d", p.Version(), version)
	}
	v.policy, v.report.Policy.Checked = p, true
	return nil
}

// checkSubject checks what the bundle is the evidence of.
func (v *verifier) checkSubject() error {
	b := v.bundle
	if v.approved == nil && (b.Body != nil || b.Signature != nil || v.made != nil || v.used != nil) {
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
	case v.report.Key == "" && len(v.bodies) == 1:
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
	return v.checkApprovals(m)
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

// checkApprovals checks who asked and who approved against the policy.
func (v *verifier) checkApprovals(m payload.Meaning) error {
	a := v.approved
	key, err := keymgmt.ParseKeyID(v.report.Key)
	if err != nil {
		return fault("records", "%v", err)
	}
	for _, u := range v.used {
		for _, c := range u.Approvals {
			v.report.Approvals = append(v.report.Approvals, Approval{Consent: c, Initiator: u.Initiator, Used: u.record.At})
		}
	}
	if v.policy == nil {
		v.report.Unchecked = append(v.report.Unchecked, "that the policy registers the public key for this key id and caller",
			"that those who approved were officers of the roster, and enough of them")
		return nil
	}
	if v.policy.Public(key) != a.Public || !v.policy.Knows(v.report.Caller, key) {
		return fault("policy.file", "it does not register %s as %s for %q", a.Public, key, v.report.Caller)
	}
	var given []policy.Officer
	for _, u := range v.used {
		r := keymgmt.Request{Key: key, Kind: a.Kind, Body: v.bundle.Body, Ref: a.Ref, Initiator: u.Initiator, Consents: u.Approvals}
		if err := r.Validate(); err != nil {
			return fault("records", "%v", err)
		}
		officers, err := v.policy.Approvers(r, m)
		if err != nil {
			return fault("records", "an approval does not hold: %v", err)
		}
		for _, o := range officers { // who approves again after a crash still is one
			if !slices.ContainsFunc(given, func(g policy.Officer) bool { return g.Name == o.Name }) {
				given = append(given, o)
			}
		}
	}
	if err := v.policy.Enough(key, m, given); err != nil {
		return fault("records", "not all have approved: %v", err)
	}
	return nil
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
