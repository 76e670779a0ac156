package payload_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/keypair"
	"github.com/stellar/go-stellar-sdk/txnbuild"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
)

const passphrase = protocol.Passphrase("Payload Test Network ; 2026")

var (
	start  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	source = keypair.MustRandom().Address()
	other  = keypair.MustRandom().Address()
)

// base returns the signature base of a transaction that another implementation built, and its hash by that one.
func base(t testing.TB, sequence int64, ops ...txnbuild.Operation) (body, hash []byte) {
	t.Helper()
	tx, err := txnbuild.NewTransaction(txnbuild.TransactionParams{SourceAccount: &txnbuild.SimpleAccount{AccountID: source, Sequence: sequence},
		Operations: ops, BaseFee: 100, Memo: txnbuild.MemoText("ref 7"),
		Preconditions: txnbuild.Preconditions{TimeBounds: txnbuild.NewTimebounds(start.Unix(), start.Unix()+300)}})
	if err != nil {
		t.Fatal(err)
	}
	sum, err := tx.Hash(string(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	return raw(t, tx.ToXDR()), sum[:]
}

func raw(t testing.TB, env xdr.TransactionEnvelope) []byte {
	t.Helper()
	body, err := passphrase.SignatureBase(env)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func ptr[T any](v T) *T { return &v }

// anyKey is an Ed25519 key, whose messages do not depend on which one it is unless it is a validator's.
var anyKey = ed25519Key(make([]byte, 32))

func ed25519Key(b []byte) keymgmt.PublicKey {
	public, err := keymgmt.NewPublicKey(keymgmt.Ed25519, b)
	if err != nil {
		panic(err)
	}
	return public
}

// message is what an Ed25519 key is given to sign, nil when that is nothing.
func message(m payload.Meaning) []byte {
	if messages := m.Messages(anyKey); len(messages) == 1 {
		return messages[0]
	}
	return nil
}

func TestTransactionsInWords(t *testing.T) {
	for _, test := range understood {
		body, hash := base(t, 7, test.op)
		m, err := payload.Decode(keymgmt.KindTransaction, body)
		if err != nil {
			t.Errorf("%s: %v", test.words, err)
			continue
		}
		if !bytes.Equal(message(m), hash) {
			t.Errorf("%s: the message is %x, another implementation signs %x", test.words, message(m), hash)
		}
		want := []string{test.words + ", from " + source, "fee at most 0.0000100 DIAM, paid by " + source, `memo text "ref 7"`,
			"sequence number 7", "valid from 2026-03-01T12:00:00Z to 2026-03-01T12:05:00Z", "on network " + passphrase.NetworkID().String()}
		if got := m.Words(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("words:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if !m.Is(keymgmt.KindTransaction, body) || m.Is(keymgmt.KindChallenge, body) || m.Is(keymgmt.KindTransaction, body[1:]) {
			t.Error("the meaning does not know its body")
		}
	}
}

func TestFigures(t *testing.T) {
	body, _ := base(t, 41, &txnbuild.Payment{Destination: other, Amount: "3", Asset: txnbuild.NativeAsset{}, SourceAccount: other}, &txnbuild.SetOptions{})
	m, err := payload.Decode(keymgmt.KindTransaction, body)
	if err != nil {
		t.Fatal(err)
	}
	tx := m.Transaction
	pay, ok := tx.Operations[0].(payload.Payment)
	switch {
	case tx.Network != passphrase.NetworkID(), tx.Source.String() != source, tx.Sequence != 41, tx.Fee.Int64() != 200:
		t.Errorf("%+v", tx)
	case !tx.MinTime.Equal(start), !tx.MaxTime.Equal(start.Add(5 * time.Minute)), tx.Memo.String() != "ref 7":
		t.Errorf("%+v", tx)
	case !ok, pay.Origin().String() != other, pay.Destination.String() != other, pay.Amount.Int64() != 3*protocol.One, !pay.Asset.IsNative():
		t.Errorf("%+v", pay)
	case tx.Operations[1].Origin().String() != source:
		t.Errorf("source of the second operation %s", tx.Operations[1].Origin())
	}
}

// change edits the XDR of a good transaction.
func change(t testing.TB, edit func(tx *xdr.Transaction)) []byte {
	t.Helper()
	body, _ := base(t, 7, &txnbuild.Payment{Destination: other, Amount: "3", Asset: txnbuild.CreditAsset{Code: "USD", Issuer: source}})
	var p xdr.TransactionSignaturePayload
	if err := p.UnmarshalBinary(body); err != nil {
		t.Fatal(err)
	}
	edit(p.TaggedTransaction.Tx)
	b, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var muxed = xdr.MuxedAccount{Type: xdr.CryptoKeyTypeKeyTypeMuxedEd25519, Med25519: &xdr.MuxedAccountMed25519{Id: 1, Ed25519: xdr.Uint256{1}}}

func TestTransactionsThatAreNotUnderstood(t *testing.T) {
	good := change(t, func(*xdr.Transaction) {})
	bodies := map[string][]byte{
		"sequence 0":        change(t, func(tx *xdr.Transaction) { tx.SeqNum = 0 }),
		"negative sequence": change(t, func(tx *xdr.Transaction) { tx.SeqNum = -1 }),
		"no operations":     change(t, func(tx *xdr.Transaction) { tx.Operations = nil }),
		"no time bounds":    change(t, func(tx *xdr.Transaction) { tx.Cond = xdr.Preconditions{} }),
		"no end":            change(t, func(tx *xdr.Transaction) { tx.Cond.TimeBounds.MaxTime = 0 }),
		"end before start":  change(t, func(tx *xdr.Transaction) { tx.Cond.TimeBounds.MinTime = tx.Cond.TimeBounds.MaxTime + 1 }),
		"end of all time":   change(t, func(tx *xdr.Transaction) { tx.Cond.TimeBounds.MaxTime = 1<<64 - 1 }),
		"muxed source":      change(t, func(tx *xdr.Transaction) { tx.SourceAccount = muxed }),
		"muxed operation":   change(t, func(tx *xdr.Transaction) { tx.Operations[0].SourceAccount = &muxed }),
		"muxed destination": change(t, func(tx *xdr.Transaction) { tx.Operations[0].Body.PaymentOp.Destination = muxed }),
		"source of zeros":   change(t, func(tx *xdr.Transaction) { tx.SourceAccount.Ed25519 = &xdr.Uint256{} }),
		"amount 0":          change(t, func(tx *xdr.Transaction) { tx.Operations[0].Body.PaymentOp.Amount = 0 }),
		"negative amount":   change(t, func(tx *xdr.Transaction) { tx.Operations[0].Body.PaymentOp.Amount = -1 }),
		"hole in the code": change(t, func(tx *xdr.Transaction) {
			tx.Operations[0].Body.PaymentOp.Asset.AlphaNum4.AssetCode = [4]byte{'U', 0, 'D'}
		}),
		"code of blanks": change(t, func(tx *xdr.Transaction) { tx.Operations[0].Body.PaymentOp.Asset.AlphaNum4.AssetCode = [4]byte{' '} }),
		"short code as long": change(t, func(tx *xdr.Transaction) {
			tx.Operations[0].Body.PaymentOp.Asset = xdr.Asset{Type: xdr.AssetTypeAssetTypeCreditAlphanum12,
				AlphaNum12: &xdr.AlphaNum12{AssetCode: [12]byte{'U', 'S', 'D'}, Issuer: xdr.MustAddress(other)}}
		}),
		"soroban": change(t, func(tx *xdr.Transaction) {
			tx.Operations[0].Body = xdr.OperationBody{Type: xdr.OperationTypeExtendFootprintTtl, ExtendFootprintTtlOp: &xdr.ExtendFootprintTtlOp{}}
		}),
		"soroban data": change(t, func(tx *xdr.Transaction) {
			tx.Ext = xdr.TransactionExt{V: 1, SorobanData: &xdr.SorobanTransactionData{}}
		}),
		"unknown flag": change(t, func(tx *xdr.Transaction) {
			tx.Operations[0].Body = options(xdr.SetOptionsOp{SetFlags: ptr(xdr.Uint32(16))})
		}),
		"flag set and clear": change(t, func(tx *xdr.Transaction) {
			tx.Operations[0].Body = options(xdr.SetOptionsOp{SetFlags: ptr(xdr.Uint32(1)), ClearFlags: ptr(xdr.Uint32(1))})
		}),
		"bytes after":         append(bytes.Clone(good), 0, 0, 0, 0),
		"cut short":           good[:len(good)-4],
		"a hash":              good[:32],
		"noise":               []byte("sign this please"),
		"only the network id": append(bytes.Clone(good[:32]), 0, 0, 0, 2),
	}
	for name, body := range bodies {
		if m, err := payload.Decode(keymgmt.KindTransaction, body); !errors.Is(err, keymgmt.ErrMalformed) || m.Kind() != 0 || message(m) != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for kind := range keymgmt.Kind(100) {
		if kind == keymgmt.KindTransaction {
			continue
		}
		if _, err := payload.Decode(kind, good); !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("a transaction as %d: %v", kind, err)
		}
	}
}

func options(op xdr.SetOptionsOp) xdr.OperationBody {
	return xdr.OperationBody{Type: xdr.OperationTypeSetOptions, SetOptionsOp: &op}
}

// everyBitCounts bends one bit, and then all, of every byte of a body that is understood, which must be refused or change
// both the messages and the words: nothing can be slipped past those who read the words.
//
// The first bytes of the body may be left to another test.
func everyBitCounts(t *testing.T, kind keymgmt.Kind, good []byte, from int, public keymgmt.PublicKey) {
	t.Helper()
	first, err := payload.Decode(kind, good)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Messages(public)) == 0 {
		t.Fatal("no message")
	}
	for i := from; i < len(good); i++ {
		for _, mask := range []byte{1 << (i % 8), 0xff} {
			bent := bytes.Clone(good)
			bent[i] ^= mask
			m, err := payload.Decode(kind, bent)
			if err != nil {
				continue
			}
			// Where a key of a PSBT comes from is shown and not signed.
			same := slices.EqualFunc(m.Messages(public), first.Messages(public), bytes.Equal) && m.Bitcoin == nil
			if same || slices.Equal(m.Words(), first.Words()) {
				t.Fatalf("bits %#x of byte %d (%s) mean nothing to %q", mask, i, hex.EncodeToString(good[i:i+1]), first.Words())
			}
		}
	}
}

func TestEveryBitCounts(t *testing.T) {
	for i, test := range understood {
		body, _ := base(t, 7, test.op)
		from := 0
		if i > 0 { // what comes before the operation is the same
			from = len(body) - len(must(must(test.op.BuildXDR()).MarshalBinary())) - 4
		}
		everyBitCounts(t, keymgmt.KindTransaction, body, from, anyKey)
	}
}
