package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/evidence"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// logKey is the public key of the signer's log, as an auditor is told it.
func (r *rig) logKey() string {
	r.t.Helper()
	out, err := r.run("check-config")
	r.must(err)
	_, key, _ := strings.Cut(out, "\nlog ")
	return key
}

// database is the signer's database, as the signer reaches it.
func (r *rig) database() *audit.DB {
	r.t.Helper()
	url, err := boot.Secret(r.cfg.Database.URLFile)
	r.must(err)
	db, err := audit.Open(context.Background(), url, 2)
	r.must(err)
	r.t.Cleanup(db.Close)
	return db
}

// While every key is frozen the log's is, too: it asks once and then waits, so that its own refusals do not fill it.
func TestFrozenLog(t *testing.T) {
	r := newKeyedRig(t)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	r.must(err)
	officer, err := protocol.AccountIDFromKey(public)
	r.must(err)
	r.sign(func(f *policy.File) {
		f.Officers = []policy.Officer{{Name: "alice", Public: policy.Ledger(officer), Groups: []string{"board"}}}
		f.Thaw = []policy.Need{{Group: "board", Count: 1}}
	})
	c := r.client(r.serve(), gatewayName)
	keytest.Until(t, func(ctx context.Context) error { return healthy(ctx, c) })
	freeze, err := policy.SignOrder(keymgmt.Order{Network: network.NetworkID().String(), Action: keymgmt.Freeze, Key: keymgmt.EveryKey, Nonce: keymgmt.NewNonce(), Issued: time.Now().Truncate(time.Second), Reason: "a drill"}, "alice", private)
	r.must(err)
	r.must(c.Order(t.Context(), freeze))
	db := r.database()
	refusals := func() (n int) {
		r.must(db.Reader().QueryRow(t.Context(), `SELECT count(*) FROM audit.record WHERE action = 'signature.refused'`).Scan(&n))
		return n
	}
	r.within("the checkpoint over the order is refused", func() bool { return refusals() > 0 })
	r.within("there was time to ask again", func() bool {
		var asked bool
		r.must(db.Reader().QueryRow(t.Context(), `SELECT max(at) < now() - interval '3 seconds' FROM audit.record`).Scan(&asked))
		return asked
	})
	if n := refusals(); n != 1 {
		t.Errorf("%d refusals", n)
	}
}

// The signer's own records are in a tree whose checkpoints it signs itself, and which then comes to rest.
func TestOwnLog(t *testing.T) {
	r := newKeyedRig(t)
	p := r.serve()
	c := r.client(p, gatewayName)
	keytest.Until(t, func(ctx context.Context) error { return healthy(ctx, c) })
	if _, err := c.Sign(t.Context(), r.issue(0)); err != nil {
		t.Fatal(err)
	}
	key, err := audit.ParseLogKey(r.logKey())
	r.must(err)
	db := r.database()
	quiet := func(rounds int) func() bool {
		return func() bool {
			lag, err := audit.ReadLag(t.Context(), db.Reader())
			return err == nil && lag.CheckpointAge > time.Duration(rounds)*logInterval
		}
	}
	r.within("no checkpoint follows another", quiet(3))
	rested, err := audit.CheckLog(t.Context(), db.Reader(), key)
	if err != nil || rested.Records != rested.Size || rested.Signed == 0 || rested.Size < rested.Signed+2 {
		t.Errorf("%+v, %v: not all is in the tree, or the last checkpoint left nothing", rested, err)
	}
	r.within("the log has been looked at again", quiet(6))
	if report, err := audit.CheckLog(t.Context(), db.Reader(), key); err != nil || report != rested {
		t.Errorf("%+v, %v: the log does not rest", report, err)
	}
}

// An auditor gets the evidence of a signature, of a refusal and of the policy from the running program's database, and checks
// it with the log's public key.
func TestEvidence(t *testing.T) {
	r := newKeyedRig(t)
	p := r.serve()
	c := r.client(p, gatewayName)
	keytest.Until(t, func(ctx context.Context) error { return healthy(ctx, c) })
	if _, err := c.Sign(t.Context(), r.issue(0)); err != nil {
		t.Fatal(err)
	}
	denied := r.request("anchor/usd/issuing", "denied", txbuild.ManageData{Name: "a", Value: []byte("b")})
	if _, err := c.Sign(t.Context(), denied); !errors.Is(err, keymgmt.ErrDenied) {
		t.Fatal(err)
	}
	key := r.write("signer-log.pub", []byte(r.logKey()))
	for name, tt := range map[string]struct {
		args []string
		says []string
	}{
		"signature": {[]string{"-key", "anchor/usd/issuing", "-ref", "tx/0"}, []string{"verified, of a signature", "| pays 1.1000000 USD", "asked by " + gatewayName, "signature.made", "board      1 of G"}},
		"refusal":   {[]string{"-key", "anchor/usd/issuing", "-ref", "denied"}, []string{"verified, of a refusal", "transaction.operation", "| sets data"}},
		"policy":    {[]string{"-policy", "1"}, []string{"verified, of the adoption of a policy", "policy.adopted"}},
		"brief":     {[]string{"-key", "anchor/usd/issuing", "-ref", "tx/0", "-without-policy"}, []string{"verified, of a signature", "unchecked"}},
	} {
		file := r.path(name + ".json")
		args := append([]string{"evidence", "-out", file}, tt.args...)
		if _, err := r.run(args...); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var words, asJSON strings.Builder
		r.must(evidence.VerifyFile(file, key, &words))
		for _, want := range tt.says {
			if !strings.Contains(words.String(), want) {
				t.Errorf("%s: no %q in\n%s", name, want, words.String())
			}
		}
		r.must(evidence.VerifyFileJSON(file, key, &asJSON))
		if !strings.Contains(asJSON.String(), `"ok": true`) {
			t.Errorf("%s: %s", name, asJSON.String())
		}
		if _, err := r.run(args...); !errors.Is(err, os.ErrExist) {
			t.Errorf("%s over another file: %v", name, err)
		}
	}
	journal, err := r.run("journal") // what was allowed, and no more
	if err != nil || !strings.Contains(journal, `"ref":"tx/0"`) || strings.Contains(journal, `"ref":"denied"`) {
		t.Errorf("journal %s, %v", journal, err)
	}
	if _, err := r.run("evidence", "-key", "anchor/jwt", "-ref", "none", "-out", r.path("none")); !errors.Is(err, evidence.ErrNothing) {
		t.Errorf("of nothing: %v", err)
	}
}
