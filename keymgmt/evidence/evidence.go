// Package evidence makes the evidence of one signature, or of one refusal, order of officers or policy, and checks it
// offline.
//
// A bundle is one file of canonical JSON (audit.Canonical) and a newline:
//
//	format      "diamante-evidence/1"
//	body        what was signed, base64, where something was
//	signature   what the key made of it, base64, where it did
//	policy      the file in force and the lists that it names, with their signatures, as they were loaded; may be left out
//	records     what the signer's log says of it, each with its index and the path from it to the log's root (RFC 6962)
//	checkpoint  that root, signed by the log's key (C2SP tlog-checkpoint)
//
// It says nothing twice: who asked, what the body does in words, which policy was in force, who approved with which
// signature, what was decided and why are in the records. Make reads a bundle from the signer's database, Verify checks it
// with nothing but the log's public key:
//
//  1. The file is in its one form, and each record is in the log that the key has signed.
//  2. All records are about the one thing.
//  3. The body, read anew, does what the record says in words, and the signature is one of the registered key's over it.
//  4. The policy is the one that the record names, signed by the board that the signer had, and so are its lists. It
//     registers that key for that caller, and what was decided by it is decided again: hours, delays, amounts, destinations,
//     fees, and that enough of its officers approved this very request, that a lien's holder discharged it, that the
//     attested reserve covers it.
//
// So no byte of a bundle can be another one. What a bundle does not prove: that nothing else happened, and with it what
// follows from what was signed before, which are the limits of windows of time and that logs and validators only go
// forward. For that there is the whole log.
package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
)

// Format names the form of a bundle.
const Format = "diamante-evidence/1"

// The limits of a bundle.
const (
	MaxBundle  = 32 << 20 // bytes; a policy and each of its lists are at most policy.MaxFile
	MaxRecords = 200
	// maxRefusals bounds how many refusals of one request are in its evidence: the newest.
	maxRefusals = 20
)

var (
	// ErrInvalid: the bundle does not verify. The error is a *Fault, which says where.
	ErrInvalid = errors.New("evidence: bundle does not verify")
	// ErrNothing: the journal knows of no such request, order or policy, or has it from before it kept evidence.
	ErrNothing = errors.New("evidence: nothing is on record")
	// ErrNotSigned: no signed checkpoint covers all of it yet. Try again in a moment.
	ErrNotSigned = errors.New("evidence: not under a signed checkpoint yet")
)

// Fault is why a bundle does not verify, and where. errors.Is(err, ErrInvalid) holds for it.
type Fault struct {
	Where string `json:"where"` // "file", or a member of the bundle, such as "records[2].proof"
	Why   string `json:"why"`
}

// Error says where and why.
func (f *Fault) Error() string { return fmt.Sprintf("%v: %s: %s", ErrInvalid, f.Where, f.Why) }

// Unwrap returns ErrInvalid.
func (f *Fault) Unwrap() error { return ErrInvalid }

func fault(where, why string, args ...any) error {
	return &Fault{Where: where, Why: fmt.Sprintf(why, args...)}
}

// Bundle is what a file holds.
type Bundle struct {
	Format     string   `json:"format"`
	Body       []byte   `json:"body,omitempty"`
	Signature  []byte   `json:"signature,omitempty"`
	Policy     *Policy  `json:"policy,omitempty"`
	Records    []Record `json:"records"`
	Checkpoint string   `json:"checkpoint"`
}

// Policy is a policy as it was loaded.
type Policy struct {
	File       string `json:"file"`
	Signatures string `json:"signatures"`
	Lists      []List `json:"lists,omitempty"` // in the order of their names
}

// List is a list as it was loaded.
type List struct {
	File       string `json:"file"`
	Signatures string `json:"signatures"`
}

// Record is a record of the log.
type Record struct {
	Index  int64           `json:"index"`
	Proof  []tlog.Hash     `json:"proof"`
	Record json.RawMessage `json:"record"`
}

// Encode returns the file.
func (b Bundle) Encode() ([]byte, error) {
	text, err := audit.Canonical(b)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	return append(text, '\n'), nil
}

// decode reads a file, which must be the one that Encode writes: what is there twice, null or empty where the form leaves it
// out, spelt otherwise or not canonical comes out differently.
func decode(file []byte) (b Bundle, err error) {
	if len(file) > MaxBundle {
		return b, fault("file", "%d bytes, at most %d", len(file), MaxBundle)
	}
	dec := json.NewDecoder(bytes.NewReader(file))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		return b, fault("file", "%v", err)
	}
	again, err := b.Encode()
	if err != nil {
		return b, fault("file", "%v", err)
	}
	if !bytes.Equal(again, file) {
		at := 0
		for at < min(len(again), len(file)) && again[at] == file[at] {
			at++
		}
		return b, fault("file", "it is not in its one form: byte %d is another", at)
	}
	if b.Format != Format {
		return b, fault("format", "%.80q, need %q", b.Format, Format)
	}
	if len(b.Records) == 0 || len(b.Records) > MaxRecords {
		return b, fault("records", "%d, need 1 to %d", len(b.Records), MaxRecords)
	}
	return b, nil
}

// Subject is what a bundle is the evidence of.
type Subject string

// The subjects.
const (
	OfSignature Subject = "signature" // a request that was signed
	OfApproval  Subject = "approval"  // a request that was allowed and, as far as the bundle says, not signed
	OfRefusal   Subject = "refusal"   // a request that was refused
	OfOrder     Subject = "order"     // an order of officers to freeze or thaw
	OfPolicy    Subject = "policy"    // the adoption of a policy
)

// Report is what a verified bundle proves, to whoever trusts the log's key.
type Report struct {
	Of        Subject `json:"of"`
	Key       string  `json:"key,omitempty"`
	Ref       string  `json:"ref,omitempty"`
	Kind      string  `json:"kind,omitempty"`
	Caller    string  `json:"caller,omitempty"`    // which program asked, or delivered the order
	Initiator string  `json:"initiator,omitempty"` // on whose word
	Body      string  `json:"body_sha256,omitempty"`
	// Words say what the body does: of what was approved all of it, read anew; of a refusal as the record has them.
	Words     []string       `json:"words,omitempty"`
	Policy    PolicyReport   `json:"policy"`
	Approvals []Approval     `json:"approvals,omitempty"`
	Approved  time.Time      `json:"approved_at,omitzero"`
	Signed    time.Time      `json:"signed_at,omitzero"`
	Public    string         `json:"public_key,omitempty"`
	Signature []byte         `json:"signature,omitempty"`
	Refusals  []Refusal      `json:"refusals,omitempty"`
	Order     *keymgmt.Order `json:"order,omitempty"`
	// Attestations are what the issuance of an asset rests on, Discharges what lets collateral go.
	Attestations []keymgmt.Attestation `json:"attestations,omitempty"`
	Discharges   []keymgmt.Discharge   `json:"discharges,omitempty"`
	Log          LogReport             `json:"log"`
	// Unchecked says what this bundle leaves to trust in the log, since it has no policy.
	Unchecked []string `json:"unchecked,omitempty"`
}

// PolicyReport names the policy in force.
type PolicyReport struct {
	Version uint64            `json:"version"`
	SHA256  string            `json:"sha256"`
	Adopted time.Time         `json:"adopted_at"`
	Board   []string          `json:"board"`           // who decided what the policy is, as the signer was configured: compare it with your own notes
	Quorum  int               `json:"quorum"`          // how many of them must have signed
	Lists   map[string]uint64 `json:"lists,omitempty"` // the versions of its lists
	Checked bool              `json:"checked"`         // its file is here and is what the board has signed
}

// Approval is an officer's approval that was used up.
type Approval struct {
	keymgmt.Consent
	Initiator string    `json:"initiator,omitempty"`
	Used      time.Time `json:"used_at"`
}

// Refusal is one answer that was no.
type Refusal struct {
	At     time.Time `json:"at"`
	Caller string    `json:"caller"`
	Policy uint64    `json:"policy"`
	Rule   string    `json:"rule,omitempty"` // of the policy; "" where it was not the policy that refused
	Reason string    `json:"reason"`
	Body   string    `json:"body_sha256"`
	Words  []string  `json:"words,omitempty"` // what it asked for, where that could be read
}

// LogReport says where in the log all this is.
type LogReport struct {
	Origin  string  `json:"origin"`
	Size    int64   `json:"size"`
	Root    string  `json:"root"` // base64
	Records []Entry `json:"records"`
}

// Entry is a record by its place.
type Entry struct {
	Index  int64          `json:"index"`
	ID     audit.RecordID `json:"id"`
	At     time.Time      `json:"at"`
	Action string         `json:"action"`
}
