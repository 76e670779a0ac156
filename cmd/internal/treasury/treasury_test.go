package treasury_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"iter"
	"math/big"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/cmd/internal/treasury"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

const network = protocol.Passphrase("Treasury Test Network ; 2026")

func newAccount(t *testing.T) protocol.AccountID {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := protocol.AccountIDFromKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func credit(t *testing.T, issuer protocol.AccountID) protocol.Asset {
	t.Helper()
	a, err := protocol.NewCredit("USD", issuer)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The entries of a ledger that hold credit, or say how far an account is.
func line(asset protocol.Asset, balance xdr.Int64) xdr.LedgerEntryData {
	return xdr.LedgerEntryData{Type: xdr.LedgerEntryTypeTrustline, TrustLine: &xdr.TrustLineEntry{AccountId: asset.Issuer().XDR(), Asset: asset.XDR().ToTrustLineAsset(), Balance: balance}}
}

func claimable(asset protocol.Asset, amount xdr.Int64) xdr.LedgerEntryData {
	return xdr.LedgerEntryData{Type: xdr.LedgerEntryTypeClaimableBalance, ClaimableBalance: &xdr.ClaimableBalanceEntry{Asset: asset.XDR(), Amount: amount}}
}

func pool(a, b protocol.Asset, inA, inB xdr.Int64) xdr.LedgerEntryData {
	return xdr.LedgerEntryData{Type: xdr.LedgerEntryTypeLiquidityPool, LiquidityPool: &xdr.LiquidityPoolEntry{Body: xdr.LiquidityPoolEntryBody{
		Type: xdr.LiquidityPoolTypeLiquidityPoolConstantProduct, ConstantProduct: &xdr.LiquidityPoolEntryConstantProduct{
			Params: xdr.LiquidityPoolConstantProductParameters{AssetA: a.XDR(), AssetB: b.XDR()}, ReserveA: inA, ReserveB: inB}}}}
}

func account(id protocol.AccountID, sequence xdr.SequenceNumber) xdr.LedgerEntryData {
	return xdr.LedgerEntryData{Type: xdr.LedgerEntryTypeAccount, Account: &xdr.AccountEntry{AccountId: id.XDR(), SeqNum: sequence}}
}

// What happens to an entry: it is made, or is one thing and then another, or goes.
func made(e xdr.LedgerEntryData) xdr.LedgerEntryChanges {
	return xdr.LedgerEntryChanges{{Type: xdr.LedgerEntryChangeTypeLedgerEntryCreated, Created: &xdr.LedgerEntry{Data: e}}}
}

func changed(from, to xdr.LedgerEntryData) xdr.LedgerEntryChanges {
	return xdr.LedgerEntryChanges{{Type: xdr.LedgerEntryChangeTypeLedgerEntryState, State: &xdr.LedgerEntry{Data: from}},
		{Type: xdr.LedgerEntryChangeTypeLedgerEntryUpdated, Updated: &xdr.LedgerEntry{Data: to}}}
}

func gone(e xdr.LedgerEntryData) xdr.LedgerEntryChanges {
	return xdr.LedgerEntryChanges{{Type: xdr.LedgerEntryChangeTypeLedgerEntryState, State: &xdr.LedgerEntry{Data: e}},
		{Type: xdr.LedgerEntryChangeTypeLedgerEntryRemoved, Removed: &xdr.LedgerKey{}}}
}

// ledger closes with one transaction whose operations change what is given.
func ledger(number uint32, fee xdr.LedgerEntryChanges, ops ...xdr.LedgerEntryChanges) xdr.LedgerCloseMeta {
	v3 := &xdr.TransactionMetaV3{}
	for _, o := range ops {
		v3.Operations = append(v3.Operations, xdr.OperationMeta{Changes: o})
	}
	return xdr.LedgerCloseMeta{V: 1, V1: &xdr.LedgerCloseMetaV1{
		LedgerHeader: xdr.LedgerHeaderHistoryEntry{Header: xdr.LedgerHeader{LedgerSeq: xdr.Uint32(number), ScpValue: xdr.StellarValue{CloseTime: xdr.TimePoint(1000 + number)}}},
		TxProcessing: []xdr.TransactionResultMeta{{FeeProcessing: fee, TxApplyProcessing: xdr.TransactionMeta{V: 3, V3: v3}}}}}
}

func TestCount(t *testing.T) {
	issuer := newAccount(t)
	usd, other := credit(t, issuer), credit(t, newAccount(t))
	c := treasury.NewCount(usd)
	for _, l := range []struct {
		meta     xdr.LedgerCloseMeta
		out      int64
		sequence int64
	}{
		{ledger(2, made(account(issuer, 7)), made(line(usd, 0)), made(line(other, 50))), 0, 7},
		{ledger(3, changed(account(issuer, 7), account(issuer, 8)), changed(line(usd, 0), line(usd, 100))), 100, 8},
		{ledger(4, nil, changed(line(usd, 100), line(usd, 70)), made(claimable(usd, 20)), made(pool(other, usd, 5, 10)), made(claimable(other, 9))), 100, 8},
		{ledger(5, nil, gone(claimable(usd, 20)), changed(pool(other, usd, 5, 10), pool(other, usd, 6, 4))), 74, 8},
		{ledger(6, nil, gone(line(usd, 70))), 4, 8},
	} {
		if err := c.Add(l.meta); err != nil {
			t.Fatal(err)
		}
		if c.Outstanding.Int64() != l.out || c.Sequence != l.sequence || !c.Closed.Equal(time.Unix(1000+int64(c.Ledger), 0)) {
			t.Errorf("ledger %d: %+v", c.Ledger, c)
		}
	}
	if err := c.Add(ledger(8, nil)); err == nil {
		t.Error("a ledger was passed over")
	}
	if err := c.Add(xdr.LedgerCloseMeta{}); err == nil || c.Ledger != 6 {
		t.Error("a meta that is not understood")
	}
}

// world is a node with ledgers, and a signer that keeps the last word.
type world struct {
	metas []xdr.LedgerCloseMeta
	last  keymgmt.Attestation
	err   error
}

func (w *world) Status(context.Context) (protocol.Status, error) {
	return protocol.Status{Passphrase: network, Ledger: uint32(len(w.metas)) + 1}, nil
}

func (w *world) Closes(_ context.Context, from uint32) iter.Seq2[xdr.LedgerCloseMeta, error] {
	return func(yield func(xdr.LedgerCloseMeta, error) bool) {
		for n := from; int(n)-2 < len(w.metas); n++ {
			if !yield(w.metas[n-2], nil) {
				return
			}
		}
		yield(xdr.LedgerCloseMeta{}, protocol.ErrUnavailable)
	}
}

func (w *world) Attest(_ context.Context, a keymgmt.Attestation) error {
	if w.err == nil {
		w.last = a
	}
	return w.err
}

// TestAttest: a word is of a newer ledger each time, also when the one before was not heard.
func TestAttest(t *testing.T) {
	issuer := newAccount(t)
	usd := credit(t, issuer)
	w := &world{metas: []xdr.LedgerCloseMeta{ledger(2, made(account(issuer, 7)), made(line(usd, 30)))}}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := treasury.New(treasury.Config{Name: "treasury", Key: key, Asset: usd, Ledgers: w, Signer: w})
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Attest(t.Context(), big.NewInt(100)); err != nil {
		t.Fatal(err)
	}
	first := w.last
	if first.Outstanding != "0.0000030" || first.Reserve != "0.0000100" || first.Ledger != 2 || first.Sequence != 7 || first.Validate() != nil {
		t.Errorf("%+v", first)
	}
	if err := tr.Attest(t.Context(), big.NewInt(100)); !errors.Is(err, protocol.ErrUnavailable) {
		t.Errorf("a second word on one ledger: %v", err)
	}
	w.metas = append(w.metas, ledger(3, nil, changed(line(usd, 30), line(usd, 80))))
	w.err = keymgmt.ErrUnavailable
	if err := tr.Attest(t.Context(), big.NewInt(100)); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Error(err)
	}
	w.err = nil
	if err := tr.Attest(t.Context(), big.NewInt(200)); err != nil {
		t.Fatal(err)
	}
	if w.last.Outstanding != "0.0000080" || w.last.Ledger != 3 || !w.last.Issued.After(first.Issued) {
		t.Errorf("%+v", w.last)
	}
	count, err := tr.Count(t.Context())
	if err != nil || count.Ledger != 3 {
		t.Errorf("%+v %v", count, err)
	}
}
