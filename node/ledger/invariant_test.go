package ledger

import (
	"errors"
	"strings"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/apply"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// TestInvariants hands the checks what no transaction leads to.
func TestInvariants(t *testing.T) {
	n := newNetwork(t)
	wallets := n.fund(2)
	asset := usd(t, wallets[0])
	n.succeed(n.sign(wallets[1], txbuild.ChangeTrust{Asset: asset, Limit: nodetest.Amount(t, "100")}, txbuild.ManageData{Name: "n", Value: []byte("v")}))
	env := n.sign(wallets[0], txbuild.Payment{Destination: wallets[1].ID, Asset: asset, Amount: nodetest.Amount(t, "5")})
	tx, err := apply.NewTx(testNet, env)
	if err != nil {
		t.Fatal(err)
	}
	account := apply.AccountKey(wallets[1].ID.XDR())
	line := apply.TrustlineKey(wallets[1].ID.XDR(), asset.XDR())
	data := apply.DataKey(wallets[1].ID.XDR(), "n")
	key := wallets[0].ID.XDR().Ed25519
	failed := apply.Outcome{Result: xdr.TransactionResult{Result: xdr.TransactionResultResult{Code: xdr.TransactionResultCodeTxFailed}}}
	for what, c := range map[string]struct {
		key    string
		change func(e *xdr.LedgerEntry)
		want   string
	}{
		"DIAM made":           {account, func(e *xdr.LedgerEntry) { e.Data.Account.Balance++ }, "change by 1 stroops"},
		"a negative balance":  {account, func(e *xdr.LedgerEntry) { e.Data.Account.Balance = -1 }, "balance -1"},
		"a negative sequence": {account, func(e *xdr.LedgerEntry) { e.Data.Account.SeqNum = -1 }, "sequence -1"},
		"an unknown flag":     {account, func(e *xdr.LedgerEntry) { e.Data.Account.Flags = 16 }, "flags 16"},
		"entries not counted": {account, func(e *xdr.LedgerEntry) { e.Data.Account.NumSubEntries-- }, "1 entries more than it counts"},
		"more than it owns":   {account, func(e *xdr.LedgerEntry) { e.Data.Account.NumSubEntries++ }, "-1 entries more than it counts"},
		"a signer not counted": {account, func(e *xdr.LedgerEntry) {
			e.Data.Account.Signers = []xdr.Signer{{Key: xdr.SignerKey{Ed25519: key}, Weight: 1}}
		}, "places for 0 sponsors"},
		"a signer without weight": {account, func(e *xdr.LedgerEntry) {
			e.Data.Account.Signers = []xdr.Signer{{Key: xdr.SignerKey{Ed25519: key}}}
		}, "signer 0 of weight 0"},
		"a line's balance":    {line, func(e *xdr.LedgerEntry) { e.Data.TrustLine.Balance++ }, "1 stroops more than issued"},
		"a negative line":     {line, func(e *xdr.LedgerEntry) { e.Data.TrustLine.Balance = -1 }, "balance -1"},
		"over the limit":      {line, func(e *xdr.LedgerEntry) { e.Data.TrustLine.Limit = 1; e.Data.TrustLine.Balance = 2 }, "limit 1"},
		"both authorisations": {line, func(e *xdr.LedgerEntry) { e.Data.TrustLine.Flags = 3 }, "flags 3"},
		"no name":             {data, func(e *xdr.LedgerEntry) { e.Data.Data.DataName = "" }, "has no name"},
		"another ledger":      {data, func(e *xdr.LedgerEntry) { e.LastModifiedLedgerSeq = 2 }, "says that it was 2"},
	} {
		e := copied(t, *n.l.state.Get(c.key))
		e.LastModifiedLedgerSeq = 4
		c.change(&e)
		layer := apply.NewDelta(n.l.state, uint32(e.LastModifiedLedgerSeq))
		layer.Replace(c.key, &e)
		err := checkTransaction(n.l.state, layer, tx, failed, 4)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	removed := apply.NewDelta(n.l.state, 4)
	removed.Replace(data, nil)
	if err := checkTransaction(n.l.state, removed, tx, failed, 4); err == nil || !strings.Contains(err.Error(), wallets[1].ID.String()) {
		t.Errorf("an entry removed and not counted: %v", err)
	}
	// The issuer's payment, said to be successful, explains 5 more, and so nothing at all is wrong.
	nothing := apply.NewDelta(n.l.state, 4)
	succeeded := apply.Outcome{Result: xdr.TransactionResult{Result: xdr.TransactionResultResult{Code: xdr.TransactionResultCodeTxSuccess}}}
	if err := checkTransaction(n.l.state, nothing, tx, succeeded, 4); err == nil || !strings.Contains(err.Error(), "-50000000 stroops") {
		t.Errorf("issued to nobody: %v", err)
	}
}

func TestClawbackImposed(t *testing.T) {
	n := newNetwork(t)
	wallets := n.fund(2)
	asset, limit := usd(t, wallets[0]), nodetest.Amount(t, "100")
	n.succeed(n.sign(wallets[1], txbuild.ChangeTrust{Asset: asset, Limit: limit}))
	n.succeed(n.sign(wallets[0], txbuild.SetOptions{SetFlags: xdr.AccountFlagsAuthRevocableFlag | xdr.AccountFlagsAuthClawbackEnabledFlag}))
	was := n.l.state.Get(apply.TrustlineKey(wallets[1].ID.XDR(), asset.XDR()))
	is := copied(t, *was)
	is.Data.TrustLine.Flags |= 4
	operations := []xdr.OperationMeta{{Changes: xdr.LedgerEntryChanges{{Type: xdr.LedgerEntryChangeTypeLedgerEntryState, State: was},
		{Type: xdr.LedgerEntryChangeTypeLedgerEntryUpdated, Updated: &is}}}}
	if err := checkClawback(operations); err == nil || !strings.Contains(err.Error(), wallets[1].ID.String()) {
		t.Errorf("a line that became subject to clawback: %v", err)
	}
	// Closed and opened again in one transaction it is another line.
	n.succeed(n.sign(wallets[1], txbuild.ChangeTrust{Asset: asset}, txbuild.ChangeTrust{Asset: asset, Limit: limit}))
	if line, _ := n.account(wallets[1].ID).Trustline(asset); line.Flags&xdr.TrustLineFlagsTrustlineClawbackEnabledFlag == 0 {
		t.Errorf("flags %d", line.Flags)
	}
}

func copied(t *testing.T, e xdr.LedgerEntry) xdr.LedgerEntry {
	t.Helper()
	var c xdr.LedgerEntry
	if err := c.UnmarshalBinary(encoded(t, e)); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestBrokenInvariant breaks the state behind the ledger's back: the next close that would build on it fails with the
// ledger, the transaction and the numbers, stores nothing, and is the last.
func TestBrokenInvariant(t *testing.T) {
	for what, c := range map[string]struct {
		change func(n *network, a *xdr.AccountEntry)
		want   []string
	}{
		"a flag": {func(_ *network, a *xdr.AccountEntry) { a.Flags = 16 }, []string{"ledger 4: transaction ", "flags 16"}},
		"supply": {func(n *network, _ *xdr.AccountEntry) { n.l.state.native-- }, []string{"ledger 4: accounts hold"}},
	} {
		n := newNetwork(t)
		wallet := n.fund(1)[0]
		n.succeed(n.sign(wallet, txbuild.ManageData{Name: "n", Value: []byte("v")}))
		before, hash := n.l.Header()
		c.change(n, n.l.state.Get(apply.AccountKey(wallet.ID.XDR())).Data.Account)
		set, value := n.set(n.sign(wallet, txbuild.ManageData{Name: "n", Value: []byte("w")}))
		_, err := n.l.Close(set, value)
		if !errors.Is(err, ErrInvariant) {
			t.Fatalf("%s: %v", what, err)
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v does not say %q", what, err, part)
			}
		}
		if header, now := n.l.Header(); header.LedgerSeq != before.LedgerSeq || now != hash {
			t.Errorf("%s: ledger %d closed all the same", what, header.LedgerSeq)
		}
		if _, err := n.l.Meta(4); !errors.Is(err, protocol.ErrNotFound) {
			t.Errorf("%s: meta of ledger 4: %v", what, err)
		}
		if _, again := n.l.Close(n.set()); !errors.Is(again, ErrInvariant) {
			t.Errorf("%s: then an empty ledger: %v", what, again)
		}
	}
}

func TestCheckFee(t *testing.T) {
	n := newNetwork(t)
	key := apply.AccountKey(n.root.ID.XDR())
	e := copied(t, *n.l.state.Get(key))
	e.Data.Account.Balance -= 100
	layer := apply.NewDelta(n.l.state, 2)
	layer.Replace(key, &e)
	if err := checkFee(n.l.state, layer, apply.Fees{Charged: 100}); err != nil {
		t.Error(err)
	}
	if err := checkFee(n.l.state, layer, apply.Fees{Charged: 99}); err == nil {
		t.Error("more is taken than is said")
	}
	if err := checkFee(n.l.state, apply.NewDelta(n.l.state, 2), apply.Fees{}); err == nil {
		t.Error("a fee without a payer")
	}
}
