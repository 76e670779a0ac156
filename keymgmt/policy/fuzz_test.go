package policy_test

import (
	"errors"
	"testing"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

// FuzzCheck reads files that an officer might be talked into signing. What is accepted must mean the same when it is
// written again.
func FuzzCheck(f *testing.F) {
	b := newBank(f)
	good, err := policy.Marshal(b.file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	gated, treasury := reserveBank(f)
	validator := keytest.NewValidator(f, passphrase.NetworkID())
	gated.rule(distribution).Transaction.Liens = []policy.LienRule{{ID: "loan-1", Holders: []policy.Signatory{treasury.Signatory}}}
	node := policy.Key{ID: gated.rule(root).ID, Public: policy.Ledger(validator.ID), Callers: []string{gateway}, SCP: &policy.SCPRule{MaxSeconds: 60,
		QuorumSets: []protocol.Hash{{1}}, Upgrades: []policy.UpgradeRule{{Parameter: "base_fee", To: []uint32{1}}}}}
	*gated.rule(root) = node
	all, err := policy.Marshal(gated.file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(all)
	traders(b)
	withDelays(b)
	withPayer(b)
	withSuppliers(b, newDeciders(f, 2))
	b.rule(issuing).Home, b.file.ValidUntil = keymgmt.Vault, policy.DateOf(now)
	rich, err := policy.Marshal(b.file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(rich)
	f.Add([]byte("format = 'diamante-policy/1'\nversion = 1\nnetwork = 'n'\n[[key]]\nid = 'a'\nfrozen = true"))
	f.Add([]byte("[[key.0]]")) // once a panic in the decoder
	f.Add([]byte("version = 1.0\n[key]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := policy.Check(text)
		if err != nil {
			if !errors.Is(err, policy.ErrInvalid) {
				t.Fatalf("error %v", err)
			}
			return
		}
		first, err := policy.Marshal(file)
		if err != nil {
			t.Fatalf("accepted and cannot be written: %v", err)
		}
		again, err := policy.Check(first)
		if err != nil {
			t.Fatalf("written and not accepted: %v", err)
		}
		if second, err := policy.Marshal(again); err != nil || string(second) != string(first) {
			t.Fatalf("changes when it is written again: %v", err)
		}
	})
}
