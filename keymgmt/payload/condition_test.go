package payload_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stellar/go-stellar-sdk/keypair"
	"github.com/stellar/go-stellar-sdk/txnbuild"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
)

// conditional returns the signature base and the hash of a payment with preconditions, as another implementation has them.
func conditional(t testing.TB, edit func(c *txnbuild.Preconditions)) (body, hash []byte) {
	t.Helper()
	c := txnbuild.Preconditions{TimeBounds: txnbuild.NewTimebounds(start.Unix(), start.Unix()+300)}
	edit(&c)
	tx := must(txnbuild.NewTransaction(txnbuild.TransactionParams{SourceAccount: &txnbuild.SimpleAccount{AccountID: source, Sequence: 7},
		Operations: []txnbuild.Operation{&txnbuild.Payment{Destination: other, Amount: "3", Asset: native}}, BaseFee: 100, Preconditions: c}))
	sum := must(tx.Hash(string(passphrase)))
	return raw(t, tx.ToXDR()), sum[:]
}

func TestPreconditionsInWords(t *testing.T) {
	for _, test := range []struct {
		edit func(c *txnbuild.Preconditions)
		want string
	}{
		{func(c *txnbuild.Preconditions) { c.LedgerBounds = &txnbuild.LedgerBounds{MinLedger: 5, MaxLedger: 9} }, "only from ledger 5 on and before ledger 9"},
		{func(c *txnbuild.Preconditions) { c.LedgerBounds = &txnbuild.LedgerBounds{MinLedger: 5} }, "only from ledger 5 on"},
		{func(c *txnbuild.Preconditions) { c.MinSequenceNumber = ptr(int64(0)) }, "at any sequence number from 0 on, whatever is lost by that"},
		{func(c *txnbuild.Preconditions) { c.MinSequenceNumberAge = 60 }, "only 60 seconds after the sequence number last changed"},
		{func(c *txnbuild.Preconditions) { c.MinSequenceNumberLedgerGap = 61 }, "only 61 ledgers after the sequence number last changed"},
		{func(c *txnbuild.Preconditions) { c.ExtraSigners = []string{other, preimage} },
			"only if signed by " + other + " too\nonly if signed by anyone who shows what has SHA-256 " + hashWords + " too"},
		{func(c *txnbuild.Preconditions) { c.ExtraSigners = []string{overPayload} }, "only if signed by " + other + ", once it has signed payload 010203, too"},
	} {
		body, hash := conditional(t, test.edit)
		m, err := payload.Decode(keymgmt.KindTransaction, body)
		if err != nil {
			t.Errorf("%s: %v", test.want, err)
			continue
		}
		words := []string{"pays 3.0000000 DIAM to " + other + ", from " + source, "fee at most 0.0000100 DIAM, paid by " + source, "sequence number 7",
			"valid from 2026-03-01T12:00:00Z to 2026-03-01T12:05:00Z", test.want, "on network " + passphrase.NetworkID().String()}
		if got := strings.Join(m.Words(), "\n"); got != strings.Join(words, "\n") {
			t.Errorf("words:\n%s\nwant:\n%s", got, strings.Join(words, "\n"))
		}
		if !bytes.Equal(message(m), hash) {
			t.Error("another implementation signs another hash")
		}
		// A policy that reads plain transactions must not take it for one.
		if m.Transaction != nil || m.FeeBump != nil || m.Conditional == nil || m.Conditional.Conditions == nil || m.Conditional.MaxTime.IsZero() {
			t.Errorf("%s: %+v", test.want, m)
		}
		everyBitCounts(t, keymgmt.KindTransaction, body, 0, anyKey)
	}
}

func TestPreconditionsThatAreNotUnderstood(t *testing.T) {
	v2 := func(edit func(c *xdr.PreconditionsV2)) []byte {
		return change(t, func(tx *xdr.Transaction) {
			c := &xdr.PreconditionsV2{TimeBounds: tx.Cond.TimeBounds, MinSeqAge: 1}
			edit(c)
			tx.Cond = xdr.Preconditions{Type: xdr.PreconditionTypePrecondV2, V2: c}
		})
	}
	if _, err := payload.Decode(keymgmt.KindTransaction, v2(func(*xdr.PreconditionsV2) {})); err != nil {
		t.Fatal(err)
	}
	key := xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypeHashX, HashX: &xdr.Uint256{1}}
	empty := xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypeEd25519SignedPayload, Ed25519SignedPayload: &xdr.SignerKeyEd25519SignedPayload{Ed25519: xdr.Uint256{1}}}
	for name, body := range map[string][]byte{
		"no time bounds":          v2(func(c *xdr.PreconditionsV2) { c.TimeBounds = nil }),
		"no end":                  v2(func(c *xdr.PreconditionsV2) { c.TimeBounds.MaxTime = 0 }),
		"nothing but time bounds": v2(func(c *xdr.PreconditionsV2) { c.MinSeqAge = 0 }),
		"no ledger":               v2(func(c *xdr.PreconditionsV2) { c.LedgerBounds = &xdr.LedgerBounds{MinLedger: 9, MaxLedger: 9} }),
		"negative sequence":       v2(func(c *xdr.PreconditionsV2) { c.MinSeqNum = ptr(xdr.SequenceNumber(-1)) }),
		"own sequence":            v2(func(c *xdr.PreconditionsV2) { c.MinSeqNum = ptr(xdr.SequenceNumber(7)) }),
		"signer twice":            v2(func(c *xdr.PreconditionsV2) { c.ExtraSigners = []xdr.SignerKey{key, key} }),
		"signer of nothing":       v2(func(c *xdr.PreconditionsV2) { c.ExtraSigners = []xdr.SignerKey{empty} }),
	} {
		if m, err := payload.Decode(keymgmt.KindTransaction, body); !errors.Is(err, keymgmt.ErrMalformed) || m.Kind() != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// bump returns a fee bump as another implementation builds it, around a payment that was signed.
func bump(t testing.TB) (tx xdr.TransactionEnvelope, inner [32]byte, hash [32]byte) {
	t.Helper()
	signer := keypair.MustRandom()
	paid := must(txnbuild.NewTransaction(txnbuild.TransactionParams{SourceAccount: &txnbuild.SimpleAccount{AccountID: source, Sequence: 7},
		Operations: []txnbuild.Operation{&txnbuild.Payment{Destination: other, Amount: "3", Asset: native}}, BaseFee: 100,
		Preconditions: txnbuild.Preconditions{TimeBounds: txnbuild.NewTimebounds(start.Unix(), start.Unix()+300), MinSequenceNumberAge: 5}}))
	inner = must(paid.Hash(string(passphrase)))
	paid = must(paid.Sign(string(passphrase), signer))
	outer := must(txnbuild.NewFeeBumpTransaction(txnbuild.FeeBumpTransactionParams{Inner: paid, FeeAccount: other, BaseFee: 500}))
	return outer.ToXDR(), inner, must(outer.Hash(string(passphrase)))
}

func TestFeeBumps(t *testing.T) {
	env, inner, hash := bump(t)
	body := raw(t, env)
	m, err := payload.Decode(keymgmt.KindTransaction, body)
	if err != nil {
		t.Fatal(err)
	}
	sig := env.FeeBump.Tx.InnerTx.V1.Signatures[0]
	want := []string{"fee at most 0.0001000 DIAM, paid by " + other + ", for the inner transaction " + hex.EncodeToString(inner[:]),
		"inner: pays 3.0000000 DIAM to " + other + ", from " + source, "inner: fee at most 0.0000100 DIAM, paid by " + source, "inner: sequence number 7",
		"inner: valid from 2026-03-01T12:00:00Z to 2026-03-01T12:05:00Z", "inner: only 5 seconds after the sequence number last changed",
		"inner: on network " + passphrase.NetworkID().String(),
		"signed, it is said, by a key that ends in " + hex.EncodeToString(sig.Hint[:]) + ": " + hex.EncodeToString(sig.Signature)}
	if !slices.Equal(m.Words(), want) {
		t.Errorf("words:\n%s\nwant:\n%s", strings.Join(m.Words(), "\n"), strings.Join(want, "\n"))
	}
	f := m.FeeBump
	if m.Transaction != nil || m.Conditional != nil || f.Inner == nil || f.Fee.Int64() != 1000 || f.Source.String() != other || f.InnerHash != inner ||
		f.Network != passphrase.NetworkID() || f.Inner.Conditions.MinAge != 5 || !bytes.Equal(f.Signatures[0].Signature, sig.Signature) {
		t.Errorf("%+v", f)
	}
	if !bytes.Equal(message(m), hash[:]) {
		t.Error("another implementation signs another hash")
	}
	everyBitCounts(t, keymgmt.KindTransaction, body, 0, anyKey)
	if _, err := payload.Decode(keymgmt.KindChallenge, body); !errors.Is(err, keymgmt.ErrMalformed) {
		t.Errorf("a fee bump as a challenge: %v", err)
	}
}

func TestFeeBumpsThatAreNotUnderstood(t *testing.T) {
	for name, edit := range map[string]func(f *xdr.FeeBumpTransaction){
		"fee 0":                  func(f *xdr.FeeBumpTransaction) { f.Fee = 0 },
		"negative fee":           func(f *xdr.FeeBumpTransaction) { f.Fee = -1 },
		"paid by a sub-account":  func(f *xdr.FeeBumpTransaction) { f.FeeSource = muxed },
		"inner is not signed":    func(f *xdr.FeeBumpTransaction) { f.InnerTx.V1.Signatures = nil },
		"inner is a challenge":   func(f *xdr.FeeBumpTransaction) { f.InnerTx.V1.Tx.SeqNum = 0 },
		"inner has no operation": func(f *xdr.FeeBumpTransaction) { f.InnerTx.V1.Tx.Operations = nil },
		"inner never ends":       func(f *xdr.FeeBumpTransaction) { f.InnerTx.V1.Tx.Cond = xdr.Preconditions{} },
		"inner pays nothing":     func(f *xdr.FeeBumpTransaction) { f.InnerTx.V1.Tx.Operations[0].Body.PaymentOp.Amount = 0 },
		"inner is for a contract": func(f *xdr.FeeBumpTransaction) {
			f.InnerTx.V1.Tx.Ext = xdr.TransactionExt{V: 1, SorobanData: &xdr.SorobanTransactionData{}}
		},
		"inner is of a sub-account": func(f *xdr.FeeBumpTransaction) { f.InnerTx.V1.Tx.SourceAccount = muxed },
	} {
		env, _, _ := bump(t)
		edit(&env.FeeBump.Tx)
		if m, err := payload.Decode(keymgmt.KindTransaction, raw(t, env)); !errors.Is(err, keymgmt.ErrMalformed) || m.Kind() != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A challenge that asks for more than time bounds is none.
func TestChallengeWithPreconditions(t *testing.T) {
	body, _, _, _ := challenge(t, nil)
	var p xdr.TransactionSignaturePayload
	if err := p.UnmarshalBinary(body); err != nil {
		t.Fatal(err)
	}
	tx := p.TaggedTransaction.Tx
	tx.Cond = xdr.Preconditions{Type: xdr.PreconditionTypePrecondV2, V2: &xdr.PreconditionsV2{TimeBounds: tx.Cond.TimeBounds, MinSeqAge: 1}}
	if _, err := payload.Decode(keymgmt.KindChallenge, must(p.MarshalBinary())); !errors.Is(err, keymgmt.ErrMalformed) {
		t.Error(err)
	}
}
