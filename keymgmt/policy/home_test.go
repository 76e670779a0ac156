package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
)

// TestSoftwareKeysGetLess: no board can give a key in software more than the program's own bounds.
func TestSoftwareKeysGetLess(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(b *bank, k *policy.Key)
		good   bool
	}{
		"in hardware": {func(_ *bank, k *policy.Key) { k.Home = keymgmt.Hardware }, true},
		"in software": {func(*bank, *policy.Key) {}, true},
		"one transaction": {func(b *bank, k *policy.Key) {
			k.Transaction.Limits[0].PerTransaction = quantity(b.t, "10000.0000001")
		}, false},
		"a day": {func(b *bank, k *policy.Key) {
			k.Transaction.Limits[0].Windows = policy.Day(quantity(b.t, "50000.0000001"))
		}, false},
		"all of it as a fee":        {func(b *bank, k *policy.Key) { k.Transaction.MaxFee = quantity(b.t, "10000.0000001") }, false},
		"all of it in a day's fees": {func(b *bank, k *policy.Key) { k.Transaction.FeeWindows = policy.Day(quantity(b.t, "50000.0000001")) }, false},
		"all coins as a fee": {func(b *bank, k *policy.Key) {
			k.Public, k.Transaction = coinKey(t), nil
			k.Bitcoin = &policy.BitcoinRule{Chain: "bitcoin", Network: "mainnet", MaxFee: quantity(b.t, "0.50000001"), MaxFeeRate: 50_000, FeeWindows: policy.Day(quantity(b.t, "2")),
				PerTransaction: quantity(b.t, "0.5"), Windows: policy.Day(quantity(b.t, "2")), Destinations: []string{"any"}}
		}, false},
		"all ether as a fee": {func(b *bank, k *policy.Key) {
			k.Public, k.Transaction = coinKey(t), nil
			k.Ethereum = &policy.EthereumRule{ChainID: 1, MaxFee: quantity(b.t, "11"), FeeWindows: policy.Day(quantity(b.t, "40"))}
		}, false},
		"fees of coins": {func(b *bank, k *policy.Key) {
			k.Public, k.Transaction = coinKey(t), nil
			k.Ethereum = &policy.EthereumRule{ChainID: 1, MaxFee: quantity(b.t, "10"), FeeWindows: policy.Day(quantity(b.t, "40"))}
		}, true},
		"no day": {func(_ *bank, k *policy.Key) { k.Transaction.Limits[0].Windows[0].Length /= 2 }, false},
		"more in Vault": {func(b *bank, k *policy.Key) {
			k.Home = keymgmt.Vault
			k.Transaction.Limits[0].PerTransaction = quantity(b.t, "10001")
		}, true},
		"no such home":       {func(_ *bank, k *policy.Key) { k.Home = 9 }, false},
		"nothing has moved":  {func(_ *bank, k *policy.Key) { k.MovedFrom = &policy.Move{Public: k.Public, Home: k.Home} }, false},
		"moved from nowhere": {func(_ *bank, k *policy.Key) { k.MovedFrom = &policy.Move{Public: k.Public} }, false},
		"has moved":          {func(_ *bank, k *policy.Key) { k.MovedFrom = &policy.Move{Public: k.Public, Home: keymgmt.Vault} }, true},
		"rotates signers": {func(b *bank, k *policy.Key) {
			withOfficers(t, b)
			k.Transaction.Approvals = nil
			k.Transaction.SetOptions.Rotation = &policy.RotationRule{Needs: []policy.Need{{Group: "compliance", Count: 1}},
				Signers: []policy.SignerRule{{Account: newAccount(t), Weights: []uint32{1}}}}
		}, false},
	} {
		b := newBank(t)
		k := b.rule(issuing)
		k.Home = keymgmt.SoftwareSealed
		tt.change(b, k)
		text, err := policy.Marshal(b.file)
		if (err == nil) != tt.good || err != nil && !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		f, err := policy.Check(text) // the label is not lost on the way
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range f.Keys {
			if got.ID == k.ID && (got.Home != k.Home || (got.MovedFrom == nil) != (k.MovedFrom == nil)) {
				t.Errorf("%s: home %q", name, got.Home)
			}
		}
		if words := strings.Join(f.Explain(), "\n"); !strings.Contains(words, "has its home in "+k.Home.String()) || (k.MovedFrom != nil) != strings.Contains(words, "HAS MOVED") {
			t.Errorf("%s: explained as %s", name, words)
		}
	}
}
