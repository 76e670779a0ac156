package sep_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/keypair"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/node/protocol"
)

// fakeAnchor keeps transactions in memory and makes one for a key.
type fakeAnchor struct {
	asset        protocol.Asset
	distribution account

	mu    sync.Mutex
	txs   []anchor.Transaction
	byKey map[string]string
	err   error
	after func() // called after a transaction was made, before it is returned
}

func newFakeAnchor(t testing.TB) *fakeAnchor {
	t.Helper()
	asset, err := protocol.NewCredit("USD", newAccount(t))
	if err != nil {
		t.Fatal(err)
	}
	return &fakeAnchor{asset: asset, distribution: newAccount(t), byKey: map[string]string{}}
}

func newAccount(t testing.TB) account {
	t.Helper()
	id, err := protocol.ParseAccountID(keypair.MustRandom().Address())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (f *fakeAnchor) Assets(context.Context) ([]anchor.Asset, error) {
	limit := func(s string) protocol.Amount { a, _ := protocol.ParseAmount(s); return a }
	return []anchor.Asset{{Asset: f.asset, Distribution: f.distribution, MinDeposit: limit("0.01"), MaxDeposit: limit("10000"), MaxWithdrawal: limit("500")}}, f.err
}

func (f *fakeAnchor) make(kind anchor.Kind, customer account, asset, key string) (anchor.Transaction, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return anchor.Transaction{}, f.err
	}
	if asset != f.asset.Code() {
		return anchor.Transaction{}, fmt.Errorf("%w: %s", anchor.ErrUnknownAsset, asset)
	}
	if id := f.byKey[key]; key != "" && id != "" {
		for _, tx := range f.txs {
			if tx.ID == id {
				return tx, nil
			}
		}
	}
	n := len(f.txs) + 1
	tx := anchor.Transaction{ID: fmt.Sprintf("tx%d", n), Kind: kind, Status: "pending_user_transfer_start", Account: customer, Asset: f.asset,
		Started: time.Unix(1700000000, 0), Reference: fmt.Sprintf("D%07d", n), Distribution: f.distribution, Memo: protocol.IDMemo(uint64(n)),
		Bank: anchor.BankAccount{Name: "Test Bank", Account: "DE02120300000000202051", BIC: "BYLADEM1001"}}
	f.txs = append(f.txs, tx)
	f.byKey[key] = tx.ID
	if f.after != nil {
		f.after()
	}
	return tx, nil
}

func (f *fakeAnchor) Deposit(_ context.Context, r anchor.DepositRequest) (anchor.Transaction, error) {
	return f.make(anchor.Deposit, r.Account, r.Asset, r.Key)
}

func (f *fakeAnchor) Withdraw(_ context.Context, r anchor.WithdrawRequest) (anchor.Transaction, error) {
	return f.make(anchor.Withdrawal, r.Account, r.Asset, r.Key)
}

func (f *fakeAnchor) Transaction(_ context.Context, l anchor.Lookup) (anchor.Transaction, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tx := range f.txs {
		if tx.Account == l.Account && (tx.ID == l.ID || !l.LedgerTx.IsZero() && tx.LedgerTx == l.LedgerTx) {
			return tx, nil
		}
	}
	return anchor.Transaction{}, anchor.ErrNotFound
}

func (f *fakeAnchor) Transactions(_ context.Context, q anchor.Query) (out []anchor.Transaction, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.txs) - 1; i >= 0 && len(out) < q.Limit; i-- {
		if f.txs[i].Account == q.Account {
			out = append(out, f.txs[i])
		}
	}
	return out, f.err
}

func (f *fakeAnchor) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.txs)
}
