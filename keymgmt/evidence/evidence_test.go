package evidence_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/evidence"
	"github.com/diamante/gateway/keymgmt/policy"
)

// read opens a file without checking what it says.
func read(t testing.TB, file []byte) (b evidence.Bundle) {
	t.Helper()
	if err := json.Unmarshal(file, &b); err != nil {
		t.Fatal(err)
	}
	return b
}

func (r *rig) bundle(of evidence.Of) evidence.Bundle {
	r.t.Helper()
	return read(r.t, r.file(of, false))
}

func (r *rig) verify(b evidence.Bundle) (evidence.Report, error) {
	r.t.Helper()
	return evidence.Verify(must(b.Encode())(r.t), r.log)
}

// TestSignature: the evidence of a signature says who asked for what, in words, on whose word, who approved, by which policy
// of which board, and what was answered before and then.
func TestSignature(t *testing.T) {
	r := newRig(t)
	r.signed("another") // whose records are beside
	q, sig, b := r.signed("tx/1")
	report := must(r.verify(b))(t)
	if report.Of != evidence.OfSignature || report.Key != issuing || report.Ref != "tx/1" || report.Kind != "transaction" || report.Caller != gateway || report.Initiator != "carol" {
		t.Errorf("%+v", report)
	}
	if len(report.Words) == 0 || !strings.HasPrefix(report.Words[0], "pays 75.0000000 USD") {
		t.Errorf("words %q", report.Words)
	}
	if p := report.Policy; p.Version != 7 || !p.Checked || p.Quorum != 2 || len(p.Board) != 2 || p.SHA256 != fmt.Sprintf("%x", r.policy.Hash()) {
		t.Errorf("policy %+v", p)
	}
	if report.Public != sig.Public.String() || !bytes.Equal(report.Signature, sig.Bytes) || report.Signed.Before(report.Approved) || report.Approved.IsZero() {
		t.Errorf("signature %+v", report)
	}
	if len(report.Approvals) != 2 || report.Approvals[0].Officer != "alice" || report.Approvals[1].Nonce != q.Consents[1].Nonce || report.Approvals[0].Initiator != "carol" {
		t.Errorf("approvals %+v", report.Approvals)
	}
	if len(report.Refusals) != 1 || report.Refusals[0].Rule != "transaction.approval" || report.Refusals[0].Words[0] != report.Words[0] {
		t.Errorf("refusals %+v", report.Refusals)
	}
	if len(report.Log.Records) != 5 || report.Log.Origin != origin || len(report.Unchecked) != 0 {
		t.Errorf("log %+v, unchecked %q", report.Log, report.Unchecked)
	}
	without := must(evidence.Verify(r.file(evidence.Of{Key: q.Key, Ref: q.Ref}, true), r.log))(t)
	if without.Policy.Checked || len(without.Unchecked) != 2 || without.Of != evidence.OfSignature {
		t.Errorf("without the policy: %+v", without)
	}
}

// TestRefusal: what was refused and why, in words.
func TestRefusal(t *testing.T) {
	r := newRig(t)
	for range 2 {
		r.sign(r.pay("tx/2", "5000"), keymgmt.ErrDenied)
	}
	report := must(r.verify(r.bundle(evidence.Of{Key: id(t, issuing), Ref: "tx/2"})))(t)
	if report.Of != evidence.OfRefusal || len(report.Refusals) != 2 || report.Caller != gateway || !strings.HasPrefix(report.Words[0], "pays 5000.0000000 USD") ||
		report.Signature != nil || report.Refusals[0].Rule != "transaction.limit.per_transaction" || !report.Policy.Checked {
		t.Errorf("%+v", report)
	}
	if _, err := evidence.Make(t.Context(), r.db.Reader(), r.log, evidence.Of{Key: id(t, issuing), Ref: "tx/3"}, false); !errors.Is(err, evidence.ErrNothing) {
		t.Error(err)
	}
}

// TestOrderAndPolicy: orders and policies have evidence of the same form.
func TestOrderAndPolicy(t *testing.T) {
	r := newRig(t)
	for _, action := range []keymgmt.Action{keymgmt.Freeze, keymgmt.Thaw} {
		o := keymgmt.Order{Network: passphrase.NetworkID().String(), Action: action, Key: issuing, Nonce: keymgmt.NewNonce(), Issued: time.Now().Truncate(time.Second), Reason: "a drill"}
		o = must(policy.SignOrder(o, "bob", r.officers["bob"]))(t)
		if err := r.svc.Load().Order(t.Context(), gateway, o); err != nil {
			t.Fatal(err)
		}
		report := must(r.verify(r.bundle(evidence.Of{Order: o.Nonce})))(t)
		if report.Of != evidence.OfOrder || report.Order.Action != action || report.Order.Reason != "a drill" || report.Caller != gateway || !report.Policy.Checked {
			t.Errorf("%+v", report)
		}
	}
	report := must(r.verify(r.bundle(evidence.Of{Policy: 7})))(t)
	if report.Of != evidence.OfPolicy || report.Policy.Version != 7 || !report.Policy.Checked || report.Log.Records[0].Index != 0 {
		t.Errorf("%+v", report)
	}
	for _, of := range []evidence.Of{{}, {Key: id(t, issuing)}, {Ref: "x"}, {Order: "x", Policy: 1}, {Key: id(t, issuing), Ref: "x", Policy: 1}} {
		if _, err := evidence.Make(t.Context(), r.db.Reader(), r.log, of, false); err == nil || errors.Is(err, evidence.ErrNothing) {
			t.Errorf("%+v: %v", of, err)
		}
	}
	for _, of := range []evidence.Of{{Order: keymgmt.NewNonce()}, {Policy: 8}} {
		if _, err := evidence.Make(t.Context(), r.db.Reader(), r.log, of, false); !errors.Is(err, evidence.ErrNothing) {
			t.Errorf("%+v: %v", of, err)
		}
	}
}

// TestEveryByteMatters: no byte of a bundle can be another one, be missing or be there twice.
func TestEveryByteMatters(t *testing.T) {
	r := newRig(t)
	q, _, _ := r.signed("tx/1")
	file := r.file(evidence.Of{Key: q.Key, Ref: q.Ref}, false)
	refused := func(bent []byte, what string, at int) {
		var where *evidence.Fault
		_, err := evidence.Verify(bent, r.log)
		if !errors.Is(err, evidence.ErrInvalid) || !errors.As(err, &where) || where.Where == "" {
			t.Fatalf("byte %d, %q, %s: %v", at, file[max(0, at-20):min(len(file), at+20)], what, err)
		}
	}
	for at := range file {
		bent := bytes.Clone(file)
		bent[at] ^= 1 << (at % 8)
		refused(bent, fmt.Sprintf("with another bit %d", at%8), at)
		if at%31 == 0 {
			refused(file[:at], "the end", at)
			refused(slices.Delete(bytes.Clone(file), at, at+1), "missing", at)
			refused(slices.Insert(bytes.Clone(file), at, file[at]), "twice", at)
		}
	}
	refused(append(bytes.Clone(file), '\n'), "more", len(file))
	if _, err := evidence.Verify(file, r.log); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", len(file))
}

// TestOneRecord: a log of one record has an empty proof, which has one form, too.
func TestOneRecord(t *testing.T) {
	r := newRig(t)
	b := r.bundle(evidence.Of{Policy: 7})
	if c := must(r.log.Open([]byte(b.Checkpoint)))(t); c.Size != 1 || len(b.Records[0].Proof) != 0 {
		t.Fatalf("size %d, proof %v", c.Size, b.Records[0].Proof)
	}
	b.Records[0].Proof = nil
	if _, err := r.verify(b); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("no proof: %v", err)
	}
}
