package evidence_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/evidence"
	"github.com/diamante/gateway/keymgmt/payload"
)

// at returns where the record of an action is.
func at(t testing.TB, b evidence.Bundle, action string) int {
	t.Helper()
	i := slices.IndexFunc(b.Records, func(r evidence.Record) bool { return strings.Contains(string(r.Record), `"action":"`+action+`"`) })
	if i < 0 {
		t.Fatalf("no record %s", action)
	}
	return i
}

func clone(b evidence.Bundle) evidence.Bundle {
	b.Records = slices.Clone(b.Records)
	if b.Policy != nil {
		p := *b.Policy
		b.Policy = &p
	}
	return b
}

// swap puts another bundle's record of an action in the place of this one's. Both have a proof in the same tree.
func swap(t testing.TB, b *evidence.Bundle, other evidence.Bundle, action string) {
	t.Helper()
	b.Records[at(t, *b, action)] = other.Records[at(t, other, action)]
	sorted(b)
}

func sorted(b *evidence.Bundle) {
	slices.SortFunc(b.Records, func(x, y evidence.Record) int { return int(x.Index - y.Index) })
}

// TestAttacks: what is true by itself but not about this request, by this key, under this policy, in this log.
func TestAttacks(t *testing.T) {
	r := newRig(t)
	q, _, _ := r.signed("tx/1")
	_, otherSig, _ := r.signed("tx/2")
	// Both as of the same checkpoint, so that their proofs can change places.
	good, other := r.bundle(evidence.Of{Key: q.Key, Ref: "tx/1"}), r.bundle(evidence.Of{Key: q.Key, Ref: "tx/2"})
	if good.Checkpoint != other.Checkpoint {
		good = r.bundle(evidence.Of{Key: q.Key, Ref: "tx/1"})
	}
	must(r.verify(good))(t)
	must(r.verify(other))(t)
	stranger := newRig(t)
	_, _, foreign := stranger.signed("tx/1")
	_, thief, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	messages := must(payload.Decode(q.Kind, q.Body))(t).Messages(r.policy.Public(q.Key))
	tests := map[string]struct {
		change func(b *evidence.Bundle)
		where  string
	}{
		"another key's signature":          {func(b *evidence.Bundle) { b.Signature = ed25519.Sign(thief, messages[0]) }, "signature"},
		"another request's signature":      {func(b *evidence.Bundle) { b.Signature = otherSig.Bytes }, "signature"},
		"no signature":                     {func(b *evidence.Bundle) { b.Signature = nil }, "signature"},
		"another key's, which is not told": {func(b *evidence.Bundle) { b.Signature = ed25519.Sign(thief, messages[0]); drop(t, b, "signature.made") }, "signature"},
		"a longer signature": {func(b *evidence.Bundle) {
			b.Signature = append(bytes.Clone(b.Signature), b.Signature...)
			drop(t, b, "signature.made")
		}, "signature"},
		"another body":                {func(b *evidence.Bundle) { b.Body = other.Body }, "body"},
		"no body":                     {func(b *evidence.Bundle) { b.Body = nil }, "body"},
		"another policy":              {func(b *evidence.Bundle) { b.Policy = foreign.Policy }, "policy.file"},
		"a policy of another board":   {func(b *evidence.Bundle) { b.Policy.Signatures = foreign.Policy.Signatures }, "policy.signatures"},
		"the board in another order":  {func(b *evidence.Bundle) { b.Policy.Signatures = turned(b.Policy.Signatures) }, "policy.signatures"},
		"the adoption of nothing":     {func(b *evidence.Bundle) { drop(t, b, "policy.adopted") }, "records"},
		"another request's approvals": {func(b *evidence.Bundle) { swap(t, b, other, "approval.used") }, "records"},
		"more approvals": {func(b *evidence.Bundle) {
			b.Records = append(b.Records, other.Records[at(t, other, "approval.used")])
			sorted(b)
		}, "records"},
		"no approvals":                   {func(b *evidence.Bundle) { drop(t, b, "approval.used") }, "records"},
		"another request's decision":     {func(b *evidence.Bundle) { swap(t, b, other, "signature.approved") }, "records"},
		"no decision":                    {func(b *evidence.Bundle) { drop(t, b, "signature.approved") }, "records"},
		"another request's record of it": {func(b *evidence.Bundle) { swap(t, b, other, "signature.made") }, "records"},
		"another request's refusal":      {func(b *evidence.Bundle) { swap(t, b, other, "signature.refused") }, "records"},
		"a record twice":                 {func(b *evidence.Bundle) { b.Records = append(b.Records, b.Records[len(b.Records)-1]) }, "records"},
		"records in another order":       {func(b *evidence.Bundle) { slices.Reverse(b.Records) }, "records"},
		"no records":                     {func(b *evidence.Bundle) { b.Records = nil }, "records"},
		"another record's proof":         {func(b *evidence.Bundle) { b.Records[0].Proof = b.Records[1].Proof }, "records[0]"},
		"a proof that is too long": {func(b *evidence.Bundle) {
			b.Records[0].Proof = append(slices.Clone(b.Records[0].Proof), b.Records[1].Proof...)
		}, "records[0]"},
		"another index":                     {func(b *evidence.Bundle) { b.Records[0].Index = -1 }, "records[0]"},
		"an index beyond the tree":          {func(b *evidence.Bundle) { b.Records[len(b.Records)-1].Index = 1 << 40 }, "records"},
		"a record and proof of another log": {func(b *evidence.Bundle) { b.Records[0] = foreign.Records[0] }, "records[0]"},
		"another log's checkpoint":          {func(b *evidence.Bundle) { b.Checkpoint = foreign.Checkpoint }, "checkpoint"},
		"another format":                    {func(b *evidence.Bundle) { b.Format = "diamante-evidence/2" }, "format"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := clone(good)
			tt.change(&b)
			_, err := r.verify(b)
			var f *evidence.Fault
			if !errors.As(err, &f) || !errors.Is(err, evidence.ErrInvalid) || !strings.HasPrefix(f.Where, tt.where) {
				t.Errorf("%v, want a fault in %s", err, tt.where)
			}
		})
	}
	if _, err := evidence.Verify(must(foreign.Encode())(t), r.log); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("evidence of another log: %v", err)
	}
	if _, err := evidence.Verify(must(good.Encode())(t), audit.LogKey{}); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("no key: %v", err)
	}
}

func drop(t testing.TB, b *evidence.Bundle, action string) {
	t.Helper()
	i := at(t, *b, action)
	b.Records = slices.Delete(b.Records, i, i+1)
}

// turned exchanges the first two lines.
func turned(s string) string {
	lines := strings.SplitAfter(s, "\n")
	lines[0], lines[1] = lines[1], lines[0]
	return strings.Join(lines, "")
}

// TestForgedRecords: who has the password of the signer's database can have records of his own in the log. He gets no
// evidence of a signature with them, and none of approvals.
func TestForgedRecords(t *testing.T) {
	r := newRig(t)
	q := r.pay("tx/1", "75")
	q.Initiator = "carol"
	m := must(payload.Decode(q.Kind, q.Body))(t)
	public := r.policy.Public(q.Key)
	_, thief, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	approve := func(change func(c *keymgmt.Consent)) []keymgmt.Consent {
		list := keymgmt.Request{Key: q.Key, Kind: q.Kind, Body: q.Body, Ref: q.Ref, Initiator: q.Initiator}
		r.approve(&list, "alice")
		r.approve(&list, "bob")
		change(&list.Consents[1])
		return list.Consents
	}
	data := func() map[string]any {
		return map[string]any{"ref": q.Ref, "kind": "transaction", "sha256": sum(q.Body), "words": m.Brief(), "policy": 7, "public": public.String(), "initiator": "carol",
			"now": time.Now().UTC().Format(time.RFC3339Nano)}
	}
	tests := map[string]struct {
		approvals []keymgmt.Consent
		change    func(data map[string]any)
		signature []byte
		want      string
	}{
		"no approvals":             {nil, func(map[string]any) {}, nil, "needs the approval"},
		"forged approval":          {approve(func(c *keymgmt.Consent) { c.Signature = ed25519.Sign(thief, []byte("x")) }), func(map[string]any) {}, nil, "approval.signature"},
		"one approval twice":       {approve(func(c *keymgmt.Consent) { c.Officer = "alice" }), func(map[string]any) {}, nil, "approves twice"},
		"the initiator's approval": {approve(func(c *keymgmt.Consent) { c.Officer = "carol" }), func(map[string]any) {}, nil, "cannot approve"},
		"a stranger's approval":    {approve(func(c *keymgmt.Consent) { c.Officer = "mallory" }), func(map[string]any) {}, nil, "is no officer"},
		"good approvals, no key":   {approve(func(*keymgmt.Consent) {}), func(map[string]any) {}, ed25519.Sign(thief, m.Messages(public)[0]), "is not one of"},
		"a key that is not the key": {approve(func(*keymgmt.Consent) {}), func(d map[string]any) {
			d["public"] = must(keymgmt.NewPublicKey(keymgmt.Ed25519, thief.Public().(ed25519.PublicKey)))(t).String()
		}, ed25519.Sign(thief, m.Messages(public)[0]), "does not register"},
		"softer words":               {approve(func(*keymgmt.Consent) {}), func(d map[string]any) { d["words"] = []string{"pays 1.0000000 USD"} }, nil, "read anew"},
		"names that Go takes for it": {approve(func(*keymgmt.Consent) {}), func(d map[string]any) { d["Ref"] = "tx/0" }, nil, "has a member"},
		"a policy that never was":    {approve(func(*keymgmt.Consent) {}), func(d map[string]any) { d["policy"] = 8 }, nil, "the adoption of policy 8 is missing"},
	}
	for name, tt := range tests {
		d := data()
		tt.change(d)
		var ids []audit.RecordID
		err := audit.Do(t.Context(), r.db, audit.Actor{Kind: "worker", Name: gateway}, func(ctx context.Context, tx *audit.Tx) error {
			ids = nil
			for _, e := range []audit.Event{{Action: "signature.approved", Subject: issuing, Data: d},
				{Action: "approval.used", Subject: issuing, Data: map[string]any{"ref": q.Ref, "initiator": "carol", "approvals": tt.approvals}}} {
				if e.Action == "approval.used" && tt.approvals == nil {
					continue
				}
				id, err := tx.Record(ctx, e)
				if err != nil {
					return err
				}
				ids = append(ids, id)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		b := r.prove(r.bundle(evidence.Of{Policy: 7}), ids)
		b.Body, b.Signature = q.Body, tt.signature
		if _, err := r.verify(b); !errors.Is(err, evidence.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// prove adds records to a bundle, once they are under a checkpoint, as whoever reads the database could.
func (r *rig) prove(b evidence.Bundle, ids []audit.RecordID) evidence.Bundle {
	t := r.t
	t.Helper()
	_, c, err := audit.WaitIndexed(t.Context(), r.db.Reader(), ids[len(ids)-1])
	if err != nil {
		t.Fatal(err)
	}
	indexes := []int64{b.Records[0].Index}
	for _, id := range ids {
		idx, _, err := audit.IndexOf(t.Context(), r.db.Reader(), id)
		if err != nil {
			t.Fatal(err)
		}
		indexes = append(indexes, idx)
	}
	b.Records, b.Checkpoint = nil, c.Note
	for _, idx := range indexes {
		e := must(audit.Record(t.Context(), r.db.Reader(), idx))(t)
		b.Records = append(b.Records, evidence.Record{Index: idx, Proof: must(audit.Inclusion(t.Context(), r.db.Reader(), idx, c.Size))(t), Record: e.Body})
	}
	return b
}

func sum(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }
