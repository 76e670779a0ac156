package nodetest

import (
	"crypto/ed25519"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// FeePerOp is what the suite's transactions bid: more than any base fee a test uses.
const FeePerOp = 1000

// Wallet is a key of the suite's own, made when the test runs.
type Wallet struct {
	ID  protocol.AccountID
	key ed25519.PrivateKey
}

// NewWallet makes a key.
func NewWallet(t testing.TB) Wallet {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := protocol.AccountIDFromKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return Wallet{ID: id, key: private}
}

// Sign builds and signs a transaction of the wallet.
func (w Wallet) Sign(t testing.TB, network protocol.Passphrase, seq int64, ops ...txbuild.Operation) (xdr.TransactionEnvelope, protocol.Hash) {
	t.Helper()
	return w.SignParams(t, txbuild.Params{Passphrase: network, Sequence: seq, Operations: ops})
}

// SignParams builds and signs a transaction of the wallet; source, fee and end are filled in where p leaves them out.
func (w Wallet) SignParams(t testing.TB, p txbuild.Params) (xdr.TransactionEnvelope, protocol.Hash) {
	t.Helper()
	p.Source = w.ID
	if p.FeePerOp == 0 {
		p.FeePerOp = FeePerOp
	}
	if p.NotAfter.IsZero() {
		p.NotAfter = time.Unix(1<<40, 0)
	}
	u, err := txbuild.Build(p)
	if err != nil {
		t.Fatal(err)
	}
	hash := u.Hash()
	env, err := u.Attach(txbuild.Signature{Account: w.ID, Bytes: ed25519.Sign(w.key, hash[:])})
	if err != nil {
		t.Fatal(err)
	}
	return env, hash
}

// Bump wraps a signed transaction in a fee bump that the wallet pays for.
func (w Wallet) Bump(t testing.TB, network protocol.Passphrase, inner xdr.TransactionEnvelope, fee int64) (xdr.TransactionEnvelope, protocol.Hash) {
	t.Helper()
	env := xdr.TransactionEnvelope{Type: xdr.EnvelopeTypeEnvelopeTypeTxFeeBump, FeeBump: &xdr.FeeBumpTransactionEnvelope{
		Tx: xdr.FeeBumpTransaction{FeeSource: w.ID.Muxed(), Fee: xdr.Int64(fee),
			InnerTx: xdr.FeeBumpTransactionInnerTx{Type: xdr.EnvelopeTypeEnvelopeTypeTx, V1: inner.V1}}}}
	hash, err := network.TxHash(env)
	if err != nil {
		t.Fatal(err)
	}
	env.FeeBump.Signatures = []xdr.DecoratedSignature{{Hint: w.ID.Hint(), Signature: ed25519.Sign(w.key, hash[:])}}
	return env, hash
}

// Amount reads an amount for a test.
func Amount(t testing.TB, s string) protocol.Amount {
	t.Helper()
	a, err := protocol.ParseAmount(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
