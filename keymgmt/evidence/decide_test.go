package evidence_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/evidence"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

// person makes somebody with a key.
func person(t testing.TB) (protocol.AccountID, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return must(protocol.AccountIDFromKey(public))(t), private
}

// guarded is a rig with every rule that looks beyond the request: officers and destinations from lists, a delay, a reserve, a
// lien.
type guarded struct {
	*rig
	treasury, lender ed25519.PrivateKey
}

func newGuarded(t testing.TB) *guarded {
	t.Helper()
	g := &guarded{rig: &rig{t: t}}
	treasury, private := person(t)
	lender, holder := person(t)
	keeper, pen := person(t)
	g.treasury, g.lender = private, holder
	g.change = func(f *policy.File) (lists []policy.Signed) {
		for _, l := range []policy.List{{Name: "holders", Version: 3, Entries: []string{g.account(distribution).String(), g.account("network/root").String()}},
			{Name: "people", Version: 5, Officers: f.Officers}} {
			l.Format, l.Network = policy.ListFormat, passphrase
			text := must(policy.MarshalList(l))(t)
			lists = append(lists, policy.Signed{File: text, Signatures: must(policy.SignList(text, pen))(t)})
			f.Lists = append(f.Lists, policy.ListRule{Name: l.Name, Officers: []protocol.AccountID{keeper}, Quorum: 1})
		}
		f.Officers, f.Roster = nil, "people"
		for i := range f.Keys {
			switch k := &f.Keys[i]; k.ID.String() {
			case issuing:
				k.Transaction.Payments[0].Destinations = policy.Listed("holders")
				k.Transaction.Reserves = []policy.ReserveRule{{Asset: g.asset, MaxAge: policy.Duration(time.Hour), Attestors: []policy.Signatory{{Name: "treasury", Public: policy.Ledger(treasury)}}}}
				k.Delays = []policy.DelayRule{{Wait: policy.Duration(time.Minute)}}
			case distribution:
				k.Transaction.Liens = []policy.LienRule{{ID: "loan-1", Holders: []policy.Signatory{{Name: "lender", Public: policy.Ledger(lender)}}}}
			}
		}
		return lists
	}
	g.start()
	return g
}

// attest says that 500 are held for 100 outstanding.
func (g *guarded) attest(ledger int64) {
	g.t.Helper()
	now := g.now().UTC().Truncate(time.Second)
	a := must(policy.SignAttestation(passphrase.NetworkID(), keymgmt.Attestation{Asset: g.asset.String(), Reserve: "500.0000000", Outstanding: "100.0000000",
		Ledger: ledger, Closed: now, Sequence: 0, Issued: now, Attestor: "treasury"}, g.treasury))(g.t)
	if err := g.svc.Load().Attest(g.t.Context(), "bank.example", a); err != nil {
		g.t.Fatal(err)
	}
}

// TestDecidedAgain: what hung on lists, on a delay, on an attested reserve and on a lien's discharge is in the evidence, and
// does not hold without.
func TestDecidedAgain(t *testing.T) {
	g := newGuarded(t)
	g.attest(10)
	q := g.pay("tx/1", "75")
	g.sign(q, keymgmt.ErrApprovalNeeded)
	g.ahead.Add(int64(2 * time.Minute))
	g.approve(&q, "alice")
	g.approve(&q, "bob")
	g.sign(q, nil)
	g.attest(11)
	early := g.pay("tx/2", "20")
	g.sign(early, keymgmt.ErrNotYet)
	g.ahead.Add(int64(2 * time.Minute))
	g.sign(early, nil)

	second := g.bundle(evidence.Of{Key: q.Key, Ref: "tx/2"})
	first := g.bundle(evidence.Of{Key: q.Key, Ref: "tx/1"}) // as of the same checkpoint
	report := must(g.verify(first))(t)
	if report.Policy.Lists["holders"] != 3 || report.Policy.Lists["people"] != 5 || len(report.Attestations) != 1 || report.Attestations[0].Ledger != 10 || len(report.Approvals) != 2 {
		t.Errorf("%+v", report)
	}
	if report := must(g.verify(second))(t); report.Attestations[0].Ledger != 11 || report.Refusals[0].Rule != "delay" {
		t.Errorf("%+v", report)
	}
	for name, change := range map[string]func(b *evidence.Bundle){
		"no list": func(b *evidence.Bundle) { b.Policy.Lists = b.Policy.Lists[:1] },
		"lists in another order": func(b *evidence.Bundle) {
			b.Policy.Lists = slices.Clone(b.Policy.Lists)
			slices.Reverse(b.Policy.Lists)
		},
		"another list": func(b *evidence.Bundle) {
			b.Policy.Lists = slices.Clone(b.Policy.Lists)
			b.Policy.Lists[0].File = strings.Replace(b.Policy.Lists[0].File, "version = 3", "version = 4", 1)
		},
		"a list that is not on record": func(b *evidence.Bundle) { drop(t, b, "list.adopted") },
		"no attestation":               func(b *evidence.Bundle) { drop(t, b, "reserve.attested") },
		"a later attestation":          func(b *evidence.Bundle) { swap(t, b, second, "reserve.attested") },
		"both attestations": func(b *evidence.Bundle) {
			b.Records = append(b.Records, second.Records[at(t, second, "reserve.attested")])
			sorted(b)
		},
		"no approvals": func(b *evidence.Bundle) { drop(t, b, "approval.used") },
	} {
		b := clone(first)
		change(&b)
		if _, err := g.verify(b); !errors.Is(err, evidence.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if report := must(g.verify(g.bundle(evidence.Of{Policy: 7})))(t); !report.Policy.Checked || len(report.Policy.Lists) != 2 {
		t.Errorf("%+v", report)
	}
}

// TestDischarge: collateral leaves on the word of the lien's holder, which is in the evidence.
func TestDischarge(t *testing.T) {
	g := newGuarded(t)
	q := g.move("out/1", distribution, "network/root", "5")
	g.sign(q, keymgmt.ErrApprovalNeeded)
	q.Discharges = []keymgmt.Discharge{must(policy.SignDischarge(passphrase.NetworkID(), g.account(distribution), keymgmt.Discharge{Lien: "loan-1", Asset: g.asset.String(),
		Amount: "5.0000000", Destination: g.account("network/root").String(), Nonce: keymgmt.NewNonce(), Expires: g.now().Add(time.Hour), Holder: "lender"}, g.lender))(t)}
	g.sign(q, nil)
	b := g.bundle(evidence.Of{Key: q.Key, Ref: q.Ref})
	report := must(g.verify(b))(t)
	if len(report.Discharges) != 1 || report.Discharges[0].Holder != "lender" || !slices.ContainsFunc(report.Lines(), func(s string) bool { return strings.HasPrefix(s, "discharge  of lien loan-1 by lender") }) {
		t.Errorf("%+v", report)
	}
	drop(t, &b, "lien.discharged")
	if _, err := g.verify(b); !errors.Is(err, evidence.ErrInvalid) || !strings.Contains(err.Error(), "lien") {
		t.Errorf("without it: %v", err)
	}
}

// TestOtherKinds: what logs and tokens are signed with has evidence of the same form.
func TestOtherKinds(t *testing.T) {
	r := newRig(t)
	encode := base64.RawURLEncoding.EncodeToString
	now := r.now().Unix()
	claims := fmt.Sprintf(`{"iss":"https://auth.bank.example/auth","sub":%q,"iat":%d,"exp":%d,"jti":"1"}`, r.account(distribution), now, now+3600)
	token := keymgmt.Request{Key: id(t, "anchor/jwt"), Kind: keymgmt.KindJWT, Ref: "jwt/1", Body: []byte(encode([]byte(`{"alg":"EdDSA","typ":"JWT"}`)) + "." + encode([]byte(claims)))}
	r.sign(token, nil)
	r.bundle(evidence.Of{Key: token.Key, Ref: token.Ref}) // there is a checkpoint, and what follows asks for another one
	checkpoint := keymgmt.Request{Key: id(t, "audit/log"), Kind: keymgmt.KindCheckpoint, Ref: "checkpoint/9", Body: []byte("bank.example/audit\n9\n" + strings.Repeat("A", 43) + "=\n")}
	r.sign(checkpoint, nil)
	own := must(audit.FirstCheckpoint(t.Context(), r.db.Reader()))(t)
	ref := must(audit.CheckpointRef([]byte(own.Text())))(t)
	for _, of := range []evidence.Of{{Key: token.Key, Ref: token.Ref}, {Key: checkpoint.Key, Ref: checkpoint.Ref}, {Key: id(t, ownLog), Ref: ref}} {
		report := must(r.verify(r.bundle(of)))(t)
		if report.Of != evidence.OfSignature || !report.Policy.Checked || len(report.Words) == 0 {
			t.Errorf("%+v", report)
		}
	}
}

// TestTwoPolicies: what was refused under one policy and signed under the next has both adoptions in its evidence, and is
// decided again by the one that allowed it.
func TestTwoPolicies(t *testing.T) {
	r := newRig(t)
	q := r.pay("tx/1", "2000")
	r.sign(q, keymgmt.ErrDenied)
	refusal := r.bundle(evidence.Of{Key: q.Key, Ref: q.Ref})
	r.version, r.change = 8, func(f *policy.File) []policy.Signed {
		for i := range f.Keys {
			if f.Keys[i].ID == q.Key {
				f.Keys[i].Transaction.Limits[0].PerTransaction = must(policy.ParseQuantity("3000"))(t)
				f.Keys[i].Transaction.Approvals = nil
			}
		}
		return nil
	}
	r.open()
	r.sign(q, nil)
	b := r.bundle(evidence.Of{Key: q.Key, Ref: q.Ref})
	report := must(r.verify(b))(t)
	if report.Policy.Version != 8 || len(report.Refusals) != 1 || report.Refusals[0].Policy != 7 || report.Of != evidence.OfSignature {
		t.Errorf("%+v", report)
	}
	if report := must(r.verify(refusal))(t); report.Of != evidence.OfRefusal || report.Policy.Version != 7 {
		t.Errorf("%+v", report)
	}
	old := clone(b)
	old.Policy = refusal.Policy
	if _, err := r.verify(old); !errors.Is(err, evidence.ErrInvalid) {
		t.Errorf("under the policy that refused it: %v", err)
	}
	drop(t, &b, "policy.adopted") // the older one
	if _, err := r.verify(b); !errors.Is(err, evidence.ErrInvalid) || !strings.Contains(err.Error(), "policy 7") {
		t.Errorf("without the older policy: %v", err)
	}
}
