package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

// TestLint: each of these is a policy that says something unwise, and what a person is told of it.
func TestLint(t *testing.T) {
	week := []policy.Window{{Length: policy.Duration(7 * 24 * time.Hour), Max: quantity(t, "2500")}}
	rotation := func(b *bank, count int) {
		withOfficers(t, b)
		b.rule(issuing).Transaction.SetOptions.Rotation = &policy.RotationRule{Needs: []policy.Need{{Group: "compliance", Count: count}},
			Signers: []policy.SignerRule{{Account: newAccount(t), Weights: []uint32{1}}}}
	}
	for name, tt := range map[string]struct {
		change func(b *bank)
		want   string
	}{
		"no end":       {func(*bank) {}, "the policy never ends"},
		"one decides":  {func(b *bank) { d := newDeciders(t, 2); withSuppliers(b, d); b.file.Lists[0].Quorum = 1 }, "list suppliers is what one person alone says"},
		"nobody thaws": {func(b *bank) { withOfficers(t, b) }, "nobody can thaw it"},
		"one thaws":    {func(b *bank) { withOfficers(t, b); b.file.Thaw = []policy.Need{{Group: "treasury", Count: 1}} }, "one officer alone can thaw"},
		"one approves": {func(b *bank) {
			withOfficers(t, b)
			b.rule(issuing).Transaction.Approvals[0].Needs = []policy.Need{{Group: "treasury", Count: 1}}
		}, "one officer of treasury alone approves"},
		"paid to anyone": {func(*bank) {}, "anchor/usd/distribution: pays USD:"},
		"for others": {func(b *bank) {
			traders(b)
			b.rule(distribution).Transaction.PathPayments[0].Destinations = policy.Anyone()
		}, "for others, to anyone"},
		"set aside for anyone": {func(b *bank) { traders(b); b.rule(distribution).Transaction.SetAside.Claimants = policy.Anyone() }, "sets aside USD:"},
		"a week":               {func(b *bank) { b.rule(issuing).Transaction.Limits[0].Windows = week }, "for a day or less"},
		"means nothing":        {func(b *bank) { b.rule(issuing).Transaction.Limits[0].PerTransaction = quantity(t, "9999") }, "one of them means nothing"},
		"skips numbers":        {func(b *bank) { b.rule(issuing).Transaction.Conditions = []string{"min_sequence"} }, "skip sequence numbers"},
		"weights":              {func(b *bank) { b.rule(issuing).Transaction.SetOptions.MasterWeights = []uint32{0} }, "changes weights and thresholds"},
		"one rotates":          {func(b *bank) { rotation(b, 1) }, "alone lets the account's signers be changed"},
		"in software":          {func(b *bank) { b.rule(issuing).Home = keymgmt.SoftwareSealed }, "in the signer's memory"},
		"rich customers":       {func(b *bank) { b.rule(distribution).Transaction.CreateAccount.MaxStarting = quantity(t, "1000.1") }, "creates accounts for anyone"},
		"fees for anyone":      {func(b *bank) { withPayer(b); b.rule(root).FeeBump.Sources = policy.Anyone() }, "pays the fees of anyone's transactions"},
	} {
		b := newBank(t)
		tt.change(b)
		if _, err := policy.Marshal(b.file); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := strings.Join(b.file.Lint(), "\n"); !strings.Contains(got, tt.want) {
			t.Errorf("%s: no %q in\n%s", name, tt.want, got)
		}
	}
	wise := newBank(t)
	rotation(wise, 2)
	wise.file.ValidUntil, wise.file.Thaw = policy.DateOf(now), []policy.Need{{Group: "treasury", Count: 2}}
	for _, id := range []string{issuing, distribution} {
		k := wise.rule(id)
		k.Transaction.Payments[0].Destinations = policy.Only(newAccount(t))
	}
	wise.rule(issuing).Transaction.Reserves = nil
	for _, line := range wise.file.Lint() {
		if !strings.Contains(line, "without an attested reserve") {
			t.Errorf("of a wise policy: %s", line)
		}
	}
}

// TestExplainSaysAllOfIt: there is no rule that is in force and not said.
func TestExplainSaysAllOfIt(t *testing.T) {
	b, d := newBank(t), newDeciders(t, 2)
	withOfficers(t, b)
	withSuppliers(b, d)
	withDelays(b)
	traders(b)
	withPayer(b)
	b.file.ValidUntil = policy.DateOf(now)
	k := b.rule(issuing)
	k.Hours, k.Account, k.Transaction.Conditions = hours(t, "mon-fri 08:00-18:00"), new(newAccount(t)), []string{"ledger_bounds"}
	k.Transaction.SetOptions.Rotation = &policy.RotationRule{Needs: []policy.Need{{Group: "compliance", Count: 1}}, Signers: []policy.SignerRule{{Account: b.other, Weights: []uint32{0, 1}}}}
	words := strings.Join(b.file.Explain(), "\n")
	for _, want := range []string{"valid until " + now.Format(time.RFC3339), "list suppliers is what 2 of these have signed: " + d.publics[0].String(), "to those on list suppliers",
		"signs in these hours of the week (UTC) only: mon-fri 08:00-18:00", "signs more than 100.0000000 of " + b.usd.String() + " only 5m0s after",
		"signs for account " + k.Account.String(), "with the precondition ledger_bounds", "gives signer " + b.other.String() + " one of the weights [0 1], with the approval of 1 of compliance",
		"pays with " + b.usd.String(), "offers " + b.usd.String() + " for " + protocol.Native().String() + ", at 2.5000000 for each or more", "sets aside " + b.usd.String(),
		"claims claimable balances", "pays fees of up to 0.0100000 DIAM for transactions of " + b.setup.Publics.Issuing.String(), "has its home in hardware"} {
		if !strings.Contains(words, want) {
			t.Errorf("no %q in\n%s", want, words)
		}
	}
}
