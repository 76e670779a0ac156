package policy_test

import (
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// withPayer makes root a key that pays fees for the issuing account and b.other.
func withPayer(b *bank) {
	k := b.rule(root)
	k.Transaction, k.FeeBump = nil, &policy.FeeBumpRule{MaxFee: quantity(b.t, "0.01"), FeeWindows: policy.Day(quantity(b.t, "0.02")), MaxSeconds: 600,
		Sources: policy.Only(b.setup.Publics.Issuing, b.other)}
}

// bump wraps the transaction of a request.
func (b *bank) bump(inner keymgmt.Request, fee xdr.Int64, change func(f *xdr.FeeBumpTransaction)) keymgmt.Request {
	b.t.Helper()
	var base xdr.TransactionSignaturePayload
	if err := base.UnmarshalBinary(inner.Body); err != nil {
		b.t.Fatal(err)
	}
	f := &xdr.FeeBumpTransaction{FeeSource: muxed(b.account(root)), Fee: fee, InnerTx: xdr.FeeBumpTransactionInnerTx{Type: xdr.EnvelopeTypeEnvelopeTypeTx,
		V1: &xdr.TransactionV1Envelope{Tx: *base.TaggedTransaction.Tx, Signatures: []xdr.DecoratedSignature{{Signature: make([]byte, 64)}}}}}
	if change != nil {
		change(f)
	}
	base.TaggedTransaction = xdr.TransactionSignaturePayloadTaggedTransaction{Type: xdr.EnvelopeTypeEnvelopeTypeTxFeeBump, FeeBump: f}
	body, err := base.MarshalBinary()
	if err != nil {
		b.t.Fatal(err)
	}
	return b.request(root, keymgmt.KindTransaction, body)
}

func TestFeeBumps(t *testing.T) {
	b := newBank(t)
	withPayer(b)
	foreign := b.transaction(root, b.params(b.other, txbuild.Payment{Destination: newAccount(t), Asset: protocol.Native(), Amount: b.amount("900000")}))
	for name, r := range map[string]keymgmt.Request{"of ours": b.bump(b.by(issuing, b.pay("1")), 100_000, nil), "of another's": b.bump(foreign, 100_000, nil)} {
		a, err := b.decide(r, facts())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := fmt.Sprint(a.Reservations()); got != "[{fee in 24h0m0s 100000}]" {
			t.Errorf("%s: reserves %s", name, got)
		}
	}
	full := facts()
	full.Spent = map[policy.Counter]*big.Int{day(policy.FeeCounter): big.NewInt(100_001)}
	wantDenial(t, b, b.bump(foreign, 100_000, nil), full, "fee_bump.fee_window")
	late := b.params(b.other, b.pay("1"))
	late.NotAfter = now.Add(601 * time.Second)
	elsewhere := b.params(b.other, b.pay("1"))
	elsewhere.Passphrase = "Another Network"
	mixed := b.pay("1")
	mixed.Source = b.setup.Publics.Issuing
	for rule, r := range map[string]keymgmt.Request{
		"fee_bump.max_fee":                  b.bump(foreign, 100_001, nil),
		"fee_bump.source":                   b.bump(foreign, 100_000, func(f *xdr.FeeBumpTransaction) { f.FeeSource = muxed(b.other) }),
		"fee_bump.sources":                  b.bump(b.by(distribution, b.pay("1")), 100_000, nil),
		"fee_bump.max_seconds":              b.bump(b.transaction(root, late), 100_000, nil),
		"network":                           b.bump(b.transaction(root, elsewhere), 100_000, nil),
		"transaction.limit.per_transaction": b.bump(b.by(issuing, b.pay("1001")), 100_000, nil),
		"transaction.operation":             b.bump(b.by(issuing, txbuild.ManageData{Name: "x"}), 100_000, nil),
		"fee_bump.inner":                    b.bump(b.transaction(root, b.params(b.other, mixed)), 100_000, nil),
		"kind":                              b.by(root, b.pay("1")), // it pays fees and nothing else
	} {
		t.Run(rule, func(t *testing.T) { wantDenial(t, b, r, facts(), rule) })
	}
	b.rule(issuing).Frozen = true
	wantDenial(t, b, b.bump(b.by(issuing, b.pay("1")), 100_000, nil), facts(), "fee_bump.inner")
	c := newBank(t)
	wantDenial(t, c, c.bump(c.by(issuing, c.pay("1")), 100, nil), facts(), "kind")
}

// TestFeeBumpsShareANumber: of all fee bumps around one sequence number one is applied, and a frozen key is behind them.
func TestFeeBumpsShareANumber(t *testing.T) {
	b := newBank(t)
	withPayer(b)
	p := load(t, b.file)
	read := func(r keymgmt.Request) payload.Meaning {
		m, err := payload.Decode(r.Kind, r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	pay := b.by(issuing, b.pay("1"))
	one, two := read(b.bump(pay, 100, nil)), read(b.bump(pay, 200, nil))
	source, n, ok := policy.Sequence(one)
	if again, m, _ := policy.Sequence(two); !ok || source != again || n != m {
		t.Errorf("%s %d, %s %d", source, n, again, m)
	}
	if inner, _, _ := policy.Sequence(read(pay)); inner == source {
		t.Error("a fee bump takes over what the transaction in it has reserved")
	}
	if got := p.Behind(one); got != b.rule(issuing).ID {
		t.Errorf("behind it is %s", got)
	}
	if got := p.Behind(read(pay)); !got.IsZero() {
		t.Errorf("behind a transaction is %s", got)
	}
}
