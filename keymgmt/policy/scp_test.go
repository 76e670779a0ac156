package policy_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

const speaking = "node/scp"

// newValidator adds a validator's key to the bank's policy.
func newValidator(t *testing.T) (*bank, *keytest.Validator) {
	t.Helper()
	b := newBank(t)
	v := keytest.NewValidator(t, passphrase.NetworkID())
	id, err := keymgmt.ParseKeyID(speaking)
	if err != nil {
		t.Fatal(err)
	}
	b.file.Keys = append(b.file.Keys, policy.Key{ID: id, Public: policy.Ledger(v.ID), Callers: []string{gateway}, SCP: &policy.SCPRule{MaxSeconds: 60}})
	return b, v
}

// marks are those of a validator that has signed bodies, one of each series at most.
func marks(t *testing.T, v *keytest.Validator, bodies ...[]byte) *policy.Marks {
	t.Helper()
	m := new(policy.Marks)
	for _, body := range bodies {
		meaning, err := payload.Decode(v.Request(keymgmt.KeyID{}, "", body).Kind, body)
		switch {
		case err != nil:
			t.Fatal(err)
		case meaning.SCPValue != nil:
			m.Value = meaning.SCPValue
		case meaning.Statement.Nominates():
			m.Nomination = meaning.Statement
		default:
			m.Ballot = meaning.Statement
		}
	}
	return m
}

// TestValidatorsAreHeldToTheirWord: each entry is asked of a validator that has signed others.
func TestValidatorsAreHeldToTheirWord(t *testing.T) {
	b, v := newValidator(t)
	other := keytest.NewValidator(t, v.Network)
	abroad := keytest.NewValidator(t, protocol.Passphrase("Another Network").NetworkID())
	abroad.ID, abroad.Private = v.ID, v.Private
	x, y := v.Value('x', now), v.Value('y', now)
	upgrade := v.Value('u', now, xdr.LedgerUpgrade{Type: xdr.LedgerUpgradeTypeLedgerUpgradeBaseFee, NewBaseFee: new(xdr.Uint32(7))})
	for _, test := range []struct {
		name   string
		signed [][]byte
		asked  []byte
		rule   string // "" when it is allowed
	}{
		{"the first of all", nil, v.Nominate(5, x), ""},
		{"the same again", [][]byte{v.Nominate(5, x)}, v.Nominate(5, x), ""},
		{"one more", [][]byte{v.Nominate(5, x)}, v.Nominate(5, x, y), ""},
		{"another nomination", [][]byte{v.Nominate(5, x)}, v.Nominate(5, y), "scp.mark"},
		{"a nomination beside a ballot", [][]byte{v.Nominate(5, x), v.Prepare(5, 1, x)}, v.Nominate(5, x, y), ""},
		{"another nomination beside a ballot", [][]byte{v.Nominate(5, x), v.Prepare(5, 1, x)}, v.Nominate(5, y), "scp.mark"},
		{"a ballot beside a nomination", [][]byte{v.Nominate(5, x)}, v.Prepare(5, 1, y), ""},
		{"a higher ballot", [][]byte{v.Prepare(5, 1, x)}, v.Prepare(5, 2, y), ""},
		{"a lower ballot", [][]byte{v.Prepare(5, 2, x)}, v.Prepare(5, 1, x), "scp.mark"},
		{"back to voting", [][]byte{v.Confirm(5, 2, x)}, v.Prepare(5, 3, x), "scp.mark"},
		{"another commit", [][]byte{v.Confirm(5, 2, x)}, v.Confirm(5, 3, y), "scp.mark"},
		{"another decision", [][]byte{v.Confirm(5, 2, x)}, v.Externalize(5, 3, y), "scp.mark"},
		{"a decision", [][]byte{v.Confirm(5, 2, x)}, v.Externalize(5, 2, x), ""},
		{"after the decision", [][]byte{v.Externalize(5, 2, x)}, v.Confirm(5, 4, x), "scp.mark"},
		{"the next slot", [][]byte{v.Nominate(5, x), v.Externalize(5, 2, x)}, v.Nominate(6, y), ""},
		{"a ballot of a slot that was left by nominating", [][]byte{v.Nominate(6, x), v.Prepare(5, 1, x)}, v.Prepare(5, 2, x), "scp.mark"},
		{"a nomination of a slot that was left by a ballot", [][]byte{v.Nominate(5, x), v.Prepare(6, 1, x)}, v.Nominate(5, x, y), "scp.mark"},
		{"of another validator", nil, other.Nominate(5, x), "scp.node"},
		{"on another network", nil, abroad.Nominate(5, abroad.Value('x', now)), "network"},
		{"a vote for an upgrade", nil, v.Nominate(5, upgrade), "scp.upgrade"},
		{"a ballot of others with an upgrade", nil, v.Prepare(5, 1, upgrade), ""},
		{"a value", nil, v.Proposal('x', now), ""},
		{"the same value", [][]byte{v.Proposal('x', now)}, v.Proposal('x', now), ""},
		{"a later value", [][]byte{v.Proposal('x', now)}, v.Proposal('y', now.Add(time.Second)), ""},
		{"another value of one moment", [][]byte{v.Proposal('x', now)}, v.Proposal('y', now), "scp.mark"},
		{"an earlier value", [][]byte{v.Proposal('x', now)}, v.Proposal('x', now.Add(-time.Second)), "scp.mark"},
		{"a value of the future", nil, v.Proposal('x', now.Add(61*time.Second)), "scp.max_seconds"},
		{"a value on another network", nil, abroad.Proposal('x', now), "network"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := facts()
			f.Marks = marks(t, v, test.signed...)
			_, err := b.decide(v.Request(b.rule(speaking).ID, "r", test.asked), f)
			var denial *policy.Denial
			if test.rule == "" && err != nil || test.rule != "" && (!errors.As(err, &denial) || denial.Rule != test.rule) {
				t.Errorf("%v, want a denial by %q", err, test.rule)
			}
		})
	}
}

func TestValidatorWithoutAPastThatIsKnown(t *testing.T) {
	b, v := newValidator(t)
	for _, body := range [][]byte{v.Nominate(5, v.Value('x', now)), v.Proposal('x', now)} {
		if _, err := b.decide(v.Request(b.rule(speaking).ID, "r", body), facts()); !errors.Is(err, keymgmt.ErrDenied) || !strings.Contains(err.Error(), "not known") {
			t.Error(err)
		}
	}
	key := b.rule(distribution).ID
	if _, err := b.decide(v.Request(key, "r", v.Proposal('x', now)), facts()); !errors.Is(err, keymgmt.ErrDenied) {
		t.Errorf("with a key that is not for it: %v", err)
	}
}

// TestVouching: a validator's word for a transport key is for its network, and for an hour or two.
func TestVouching(t *testing.T) {
	b, v := newValidator(t)
	body := func(network protocol.Hash, expires time.Time) []byte {
		raw := binary.BigEndian.AppendUint32(append([]byte(nil), network[:]...), uint32(xdr.EnvelopeTypeEnvelopeTypeAuth))
		return append(binary.BigEndian.AppendUint64(raw, uint64(expires.Unix())), make([]byte, 32)...)
	}
	for name, tt := range map[string]struct {
		key     string
		network protocol.Hash
		after   time.Duration
		want    string
	}{
		"an hour":         {speaking, v.Network, time.Hour, ""},
		"two hours":       {speaking, v.Network, 2 * time.Hour, ""},
		"longer":          {speaking, v.Network, 2*time.Hour + time.Second, "scp.vouching"},
		"over":            {speaking, v.Network, 0, "scp.vouching"},
		"another network": {speaking, protocol.Hash{1}, time.Hour, "network"},
		"another key":     {distribution, v.Network, time.Hour, "may not sign"},
	} {
		r := keymgmt.Request{Key: b.rule(tt.key).ID, Kind: keymgmt.KindAuthCert, Body: body(tt.network, now.Add(tt.after)), Ref: "r"}
		_, err := b.decide(r, facts())
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, keymgmt.ErrDenied) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestWhatAValidatorMayVoteFor: upgrades and trust, as the policy names them.
func TestWhatAValidatorMayVoteFor(t *testing.T) {
	b, v := newValidator(t)
	rule := b.rule(speaking).SCP
	fee := func(n xdr.Uint32) []byte {
		return v.Nominate(5, v.Value('u', now, xdr.LedgerUpgrade{Type: xdr.LedgerUpgradeTypeLedgerUpgradeBaseFee, NewBaseFee: &n}))
	}
	f := facts()
	f.Marks = new(policy.Marks)
	decide := func(body []byte) error {
		_, err := b.decide(v.Request(b.rule(speaking).ID, "r", body), f)
		return err
	}
	rule.Upgrades = []policy.UpgradeRule{{Parameter: "base_fee", To: []uint32{200}}}
	if err := decide(fee(200)); err != nil {
		t.Error(err)
	}
	if err := decide(fee(201)); !errors.Is(err, keymgmt.ErrDenied) {
		t.Errorf("another fee: %v", err)
	}
	lint := func() string { return strings.Join(b.file.Lint(), "\n") }
	if !strings.Contains(lint(), speaking+": may say that it trusts anybody") {
		t.Error(lint())
	}
	rule.QuorumSets = []protocol.Hash{{1}}
	if err := decide(fee(200)); !errors.Is(err, keymgmt.ErrDenied) || !strings.Contains(err.Error(), "scp.quorum_sets") {
		t.Errorf("another quorum set: %v", err)
	}
	rule.QuorumSets = []protocol.Hash{{1}, {}}
	if err := decide(fee(200)); err != nil {
		t.Error(err)
	}
	words := strings.Join(b.file.Explain(), "\n")
	for _, want := range []string{"speaks in consensus for validator " + v.ID.String(), "trusts quorum set 01", "votes to change the network's base fee to any of [200]"} {
		if !strings.Contains(words, want) {
			t.Errorf("explain lacks %q:\n%s", want, words)
		}
	}
	if strings.Contains(lint(), "trusts anybody") {
		t.Error(lint())
	}
	for name, bad := range map[string][]policy.UpgradeRule{"unknown": {{Parameter: "base fee", To: []uint32{1}}}, "nothing": {{Parameter: "base_fee"}},
		"twice": {{Parameter: "base_fee", To: []uint32{1}}, {Parameter: "base_fee", To: []uint32{2}}}} {
		rule.Upgrades = bad
		if _, err := policy.Marshal(b.file); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
