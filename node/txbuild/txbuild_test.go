package txbuild_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/txnbuild"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

const testNet protocol.Passphrase = "txbuild test"

var end = time.Unix(1_800_000_000, 0).UTC()

// signer is a key of the test's own.
type signer struct {
	id  protocol.AccountID
	key ed25519.PrivateKey
}

func newSigner(t testing.TB) signer {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := protocol.AccountIDFromKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return signer{id, private}
}

func (s signer) sign(u *txbuild.Unsigned) txbuild.Signature {
	hash := u.Hash()
	return txbuild.Signature{Account: s.id, Bytes: ed25519.Sign(s.key, hash[:])}
}

func amount(t testing.TB, s string) protocol.Amount {
	t.Helper()
	a, err := protocol.ParseAmount(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func credit(t testing.TB, issuer protocol.AccountID) protocol.Asset {
	t.Helper()
	a, err := protocol.NewCredit("USD", issuer)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// everything is one of each operation, with all that can be set.
func everything(t testing.TB, a, b protocol.AccountID) []txbuild.Operation {
	t.Helper()
	weight, low, med, high, domain := uint32(3), uint32(0), uint32(2), uint32(3), "bank.example"
	key := b.XDR()
	return []txbuild.Operation{
		txbuild.CreateAccount{Destination: b, StartingBalance: amount(t, "10")},
		txbuild.Payment{Source: b, Destination: a, Asset: protocol.Native(), Amount: amount(t, "0.0000001")},
		txbuild.ChangeTrust{Source: b, Asset: credit(t, a), Limit: amount(t, "0")},
		txbuild.SetOptions{SetFlags: 11, ClearFlags: 4, MasterWeight: &weight, LowThreshold: &low, MedThreshold: &med, HiThreshold: &high, HomeDomain: &domain,
			Signer: &xdr.Signer{Key: xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypeEd25519, Ed25519: key.Ed25519}, Weight: 1}},
		txbuild.SetOptions{Source: b},
		txbuild.SetTrustLineFlags{Trustor: b, Asset: credit(t, a), Set: 1, Clear: 2},
		txbuild.ManageData{Name: "name", Value: []byte("value")},
		txbuild.ManageData{Name: "name"},
		txbuild.ManageData{Name: "empty", Value: []byte{}},
		txbuild.Clawback{From: b, Asset: credit(t, a), Amount: amount(t, "5")},
	}
}

// TestBuild has the SDK read what was built, and say the same of it.
func TestBuild(t *testing.T) {
	a, b := newSigner(t), newSigner(t)
	memo, err := protocol.TextMemo("hello")
	if err != nil {
		t.Fatal(err)
	}
	u, err := txbuild.Build(txbuild.Params{Passphrase: testNet, Source: a.id, Sequence: 7, FeePerOp: 100, NotBefore: time.Unix(1_700_000_000, 0), NotAfter: end,
		Memo: memo, Operations: everything(t, a.id, b.id)})
	if err != nil {
		t.Fatal(err)
	}
	if u.Sequence() != 7 || !u.NotAfter().Equal(end) {
		t.Errorf("sequence %d, end %s", u.Sequence(), u.NotAfter())
	}
	env, err := u.Attach(a.sign(u), b.sign(u))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := env.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	read, err := txnbuild.TransactionFromXDR(base64.StdEncoding.EncodeToString(raw))
	if err != nil {
		t.Fatal(err)
	}
	tx, ok := read.Transaction()
	if !ok {
		t.Fatal("the SDK reads no transaction")
	}
	hash, err := tx.Hash(string(testNet))
	if err != nil || hash != u.Hash() {
		t.Errorf("the SDK's hash is %x: %v", hash, err)
	}
	if source := tx.SourceAccount(); source.AccountID != a.id.String() || source.Sequence != 7 || tx.BaseFee() != 100 || tx.MaxFee() != 1000 || len(tx.Signatures()) != 2 {
		t.Errorf("the SDK reads %+v, fee %d", source, tx.BaseFee())
	}
	if bounds := tx.Timebounds(); bounds.MinTime != 1_700_000_000 || bounds.MaxTime != end.Unix() {
		t.Errorf("the SDK reads %+v", bounds)
	}
	if _, ok := tx.Memo().(txnbuild.MemoText); !ok || len(tx.Operations()) != 10 {
		t.Errorf("the SDK reads memo %v and %d operations", tx.Memo(), len(tx.Operations()))
	}
	for i, op := range tx.Operations() {
		if err := op.Validate(); err != nil {
			t.Errorf("the SDK finds fault with operation %d: %v", i, err)
		}
	}
	if decoded, err := protocol.DecodeEnvelope(raw); err != nil || len(decoded.Operations()) != 10 {
		t.Errorf("the node does not read it: %v", err)
	}
}

func TestBuildRefuses(t *testing.T) {
	a, b := newSigner(t).id, newSigner(t).id
	good := func() txbuild.Params {
		return txbuild.Params{Passphrase: testNet, Source: a, Sequence: 1, FeePerOp: 100, NotAfter: end,
			Operations: []txbuild.Operation{txbuild.ManageData{Name: "n"}}}
	}
	if _, err := txbuild.Build(good()); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(p *txbuild.Params){
		"no passphrase":               func(p *txbuild.Params) { p.Passphrase = "" },
		"no source":                   func(p *txbuild.Params) { p.Source = protocol.AccountID{} },
		"sequence zero":               func(p *txbuild.Params) { p.Sequence = 0 },
		"a negative sequence":         func(p *txbuild.Params) { p.Sequence = -1 },
		"no fee":                      func(p *txbuild.Params) { p.FeePerOp = 0 },
		"too large a fee":             func(p *txbuild.Params) { p.FeePerOp = 1 << 32 },
		"no operations":               func(p *txbuild.Params) { p.Operations = nil },
		"too many operations":         func(p *txbuild.Params) { p.Operations = make([]txbuild.Operation, 101) },
		"no end":                      func(p *txbuild.Params) { p.NotAfter = time.Time{} },
		"an end before 1970":          func(p *txbuild.Params) { p.NotAfter = time.Unix(-1, 0) },
		"a beginning before 1970":     func(p *txbuild.Params) { p.NotBefore = time.Unix(-1, 0) },
		"an end before the beginning": func(p *txbuild.Params) { p.NotBefore = end.Add(time.Second) },
	} {
		p := good()
		change(&p)
		if _, err := txbuild.Build(p); !errors.Is(err, txbuild.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	one, usd := amount(t, "1"), credit(t, a)
	long := strings.Repeat("x", 65)
	for what, op := range map[string]txbuild.Operation{
		"an account for nobody":     txbuild.CreateAccount{StartingBalance: one},
		"a payment to nobody":       txbuild.Payment{Asset: usd, Amount: one},
		"a payment of nothing":      txbuild.Payment{Destination: b, Asset: usd},
		"a payment of no asset":     txbuild.Payment{Destination: b, Amount: one},
		"a line to nothing":         txbuild.ChangeTrust{Limit: one},
		"a line to DIAM":            txbuild.ChangeTrust{Asset: protocol.Native(), Limit: one},
		"flags of nobody":           txbuild.SetTrustLineFlags{Asset: usd, Set: 1},
		"flags of DIAM":             txbuild.SetTrustLineFlags{Trustor: b, Asset: protocol.Native(), Set: 1},
		"clawback from nobody":      txbuild.Clawback{Asset: usd, Amount: one},
		"clawback of nothing":       txbuild.Clawback{From: b, Asset: usd},
		"clawback of DIAM":          txbuild.Clawback{From: b, Asset: protocol.Native(), Amount: one},
		"data without a name":       txbuild.ManageData{Value: []byte("v")},
		"data with a long name":     txbuild.ManageData{Name: long},
		"data with a long value":    txbuild.ManageData{Name: "n", Value: []byte(long)},
		"a domain that is too long": txbuild.SetOptions{HomeDomain: &long},
	} {
		p := good()
		p.Operations = append(p.Operations, op)
		if _, err := txbuild.Build(p); !errors.Is(err, txbuild.ErrInvalid) || !strings.Contains(err.Error(), "operation 1") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAttachRefuses(t *testing.T) {
	a, b := newSigner(t), newSigner(t)
	build := func(seq int64) *txbuild.Unsigned {
		u, err := txbuild.Build(txbuild.Params{Passphrase: testNet, Source: a.id, Sequence: seq, FeePerOp: 100, NotAfter: end,
			Operations: []txbuild.Operation{txbuild.ManageData{Name: "n"}}})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	u, other := build(1), build(2)
	good := a.sign(u)
	for what, sigs := range map[string][]txbuild.Signature{
		"another transaction's": {a.sign(other)},
		"another account's":     {{Account: b.id, Bytes: good.Bytes}},
		"a short one":           {{Account: a.id, Bytes: good.Bytes[:63]}},
		"none":                  {{Account: a.id}},
		"nobody's":              {{Bytes: good.Bytes}},
		"a bad one beside":      {good, {Account: b.id, Bytes: good.Bytes}},
	} {
		if _, err := u.Attach(sigs...); !errors.Is(err, txbuild.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if env, err := u.Attach(good); err != nil || len(env.Signatures()) != 1 || env.Signatures()[0].Hint != a.id.Hint() {
		t.Errorf("%+v, %v", env, err)
	}
	u.SignatureBase()[0]++ // a copy
	if u.SignatureBase()[0] != testNet.NetworkID()[0] {
		t.Error("what was handed out can be changed")
	}
}

func TestParse(t *testing.T) {
	a, b := newSigner(t), newSigner(t)
	u, err := txbuild.Build(txbuild.Params{Passphrase: testNet, Source: a.id, Sequence: 7, FeePerOp: 100, NotAfter: end, Operations: everything(t, a.id, b.id)})
	if err != nil {
		t.Fatal(err)
	}
	again, err := txbuild.Parse(testNet, u.Envelope())
	if err != nil {
		t.Fatal(err)
	}
	if again.Hash() != u.Hash() || !bytes.Equal(again.SignatureBase(), u.SignatureBase()) || again.Sequence() != 7 || !again.NotAfter().Equal(end) || !bytes.Equal(again.Envelope(), u.Envelope()) {
		t.Errorf("%s becomes %s", u.Hash(), again.Hash())
	}
	if other, err := txbuild.Parse("another network", u.Envelope()); err != nil || other.Hash() == u.Hash() {
		t.Errorf("the hash does not depend on the network: %v", err)
	}
	signed, err := u.Attach(a.sign(u))
	if err != nil {
		t.Fatal(err)
	}
	encode := func(change func(env *xdr.TransactionEnvelope)) []byte {
		env, err := protocol.DecodeEnvelope(u.Envelope())
		if err != nil {
			t.Fatal(err)
		}
		change(&env)
		raw, err := env.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for what, raw := range map[string][]byte{
		"nothing":            nil,
		"half":               u.Envelope()[:100],
		"more":               append(u.Envelope(), 0),
		"signed":             encode(func(env *xdr.TransactionEnvelope) { *env = signed }),
		"no end":             encode(func(env *xdr.TransactionEnvelope) { env.V1.Tx.Cond = xdr.Preconditions{} }),
		"end zero":           encode(func(env *xdr.TransactionEnvelope) { env.V1.Tx.Cond.TimeBounds.MaxTime = 0 }),
		"an end beyond time": encode(func(env *xdr.TransactionEnvelope) { env.V1.Tx.Cond.TimeBounds.MaxTime = 1 << 63 }),
		"a fee bump": encode(func(env *xdr.TransactionEnvelope) {
			*env = xdr.TransactionEnvelope{Type: xdr.EnvelopeTypeEnvelopeTypeTxFeeBump, FeeBump: &xdr.FeeBumpTransactionEnvelope{
				Tx: xdr.FeeBumpTransaction{FeeSource: a.id.Muxed(), InnerTx: xdr.FeeBumpTransactionInnerTx{Type: xdr.EnvelopeTypeEnvelopeTypeTx, V1: env.V1}}}}
		}),
	} {
		if _, err := txbuild.Parse(testNet, raw); !errors.Is(err, txbuild.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	a, b := newSigner(f), newSigner(f)
	u, err := txbuild.Build(txbuild.Params{Passphrase: testNet, Source: a.id, Sequence: 7, FeePerOp: 100, NotAfter: end, Operations: everything(f, a.id, b.id)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(u.Envelope())
	f.Add([]byte{0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, raw []byte) {
		u, err := txbuild.Parse(testNet, raw)
		if err != nil {
			if !errors.Is(err, txbuild.ErrInvalid) {
				t.Errorf("%v", err)
			}
			return
		}
		if !bytes.Equal(u.Envelope(), raw) || u.NotAfter().Unix() <= 0 || u.Hash().IsZero() {
			t.Errorf("%x becomes %x", raw, u.Envelope())
		}
		u.Sequence()
		if _, err := u.Attach(); err != nil {
			t.Error(err)
		}
	})
}
