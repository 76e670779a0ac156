package ledger

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/apply"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// workload makes transactions at random, good and bad, of every supported operation.
type workload struct {
	n       *network
	rng     *rand.Rand
	wallets []nodetest.Wallet
	assets  []protocol.Asset
}

func newWorkload(n *network, seed uint64) *workload {
	w := &workload{n: n, rng: rand.New(rand.NewPCG(seed, 0)), wallets: n.fund(12)}
	for i, code := range []string{"USD", "EUR", "LONGCODE"} {
		asset, err := protocol.NewCredit(code, w.wallets[i].ID)
		if err != nil {
			n.t.Fatal(err)
		}
		w.assets = append(w.assets, asset)
	}
	return w
}

func (w *workload) wallet() nodetest.Wallet { return w.wallets[w.rng.IntN(len(w.wallets))] }

func (w *workload) amount() protocol.Amount {
	a, err := protocol.AmountFromStroops(w.rng.Int64N(50*protocol.One) + 1)
	if err != nil {
		w.n.t.Fatal(err)
	}
	return a
}

// step makes the transactions of one ledger: at most one of each account, so that all can be signed beforehand.
func (w *workload) step() []xdr.TransactionEnvelope {
	var envs []xdr.TransactionEnvelope
	for _, i := range w.rng.Perm(len(w.wallets))[:w.rng.IntN(len(w.wallets))] {
		var ops []txbuild.Operation
		for range 1 + w.rng.IntN(4) {
			ops = append(ops, w.operation(i))
		}
		envs = append(envs, w.sign(w.wallets[i], ops))
	}
	return envs
}

// sign gives the account's own number, or a wrong one: some of what came before may have been refused.
func (w *workload) sign(wallet nodetest.Wallet, ops []txbuild.Operation) xdr.TransactionEnvelope {
	seq := w.n.account(wallet.ID).Sequence + 1
	if w.rng.IntN(20) == 0 {
		seq++
	}
	env, _ := wallet.Sign(w.n.t, testNet, seq, ops...)
	if w.rng.IntN(10) == 0 {
		env, _ = w.wallet().Bump(w.n.t, testNet, env, 2*nodetest.FeePerOp*int64(len(ops)+1))
	}
	return env
}

func (w *workload) operation(i int) txbuild.Operation {
	asset := w.assets[w.rng.IntN(len(w.assets))]
	own := w.assets[i%len(w.assets)]
	to := w.wallet().ID
	limit := w.amount()
	switch w.rng.IntN(10) {
	case 0:
		return txbuild.CreateAccount{Destination: nodetest.NewWallet(w.n.t).ID, StartingBalance: w.amount()}
	case 1:
		return txbuild.Payment{Destination: to, Asset: protocol.Native(), Amount: w.amount()}
	case 2, 3:
		return txbuild.Payment{Destination: to, Asset: asset, Amount: w.amount()}
	case 4, 5:
		if w.rng.IntN(3) == 0 {
			limit = protocol.Amount{}
		}
		return txbuild.ChangeTrust{Asset: asset, Limit: limit}
	case 6:
		op := txbuild.SetOptions{SetFlags: xdr.AccountFlags(w.rng.IntN(2) * 10), ClearFlags: xdr.AccountFlags(w.rng.IntN(2))}
		if w.rng.IntN(2) == 0 {
			id := to.XDR()
			op.Signer = &xdr.Signer{Key: xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypeEd25519, Ed25519: id.Ed25519}, Weight: xdr.Uint32(w.rng.IntN(2))}
		}
		return op
	case 7:
		return txbuild.SetTrustLineFlags{Trustor: to, Asset: own, Set: xdr.TrustLineFlags(w.rng.IntN(3)), Clear: xdr.TrustLineFlags(w.rng.IntN(5))}
	case 8:
		op := txbuild.ManageData{Name: fmt.Sprint("n", w.rng.IntN(4))}
		if w.rng.IntN(2) == 0 {
			op.Value = []byte{byte(w.rng.IntN(256))}
		}
		return op
	}
	return txbuild.Clawback{From: to, Asset: own, Amount: w.amount()}
}

// TestWorkload runs random transactions, and checks after each ledger what no transaction may change: that all DIAM are
// there, that credit adds up, and that the meta alone leads to the same state.
func TestWorkload(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	n := newNetwork(t)
	w := newWorkload(n, seed)
	codes := map[xdr.TransactionResultCode]int{}
	header, _ := n.l.Header()
	root := apply.NewAccount(n.root.ID.XDR(), xdr.Int64(n.genesis.Supply.Stroops()), 1)
	entries := map[string]string{apply.EntryKey(root): ""}
	for seq := uint32(2); seq <= uint32(header.LedgerSeq); seq++ {
		meta, err := n.l.Meta(seq)
		if err != nil {
			t.Fatal(err)
		}
		follow(t, entries, *meta.V1)
	}
	for range 120 {
		meta := n.close(w.step()...)
		for _, p := range meta.TxProcessing {
			codes[p.Result.Result.Result.Code]++
		}
		follow(t, entries, meta)
		if len(entries) != len(n.l.state.entries) {
			t.Fatalf("the meta leads to %d entries, there are %d", len(entries), len(n.l.state.entries))
		}
		native := int64(meta.LedgerHeader.Header.FeePool)
		for key, e := range n.l.state.entries {
			if entries[key] != string(encoded(t, *e)) {
				t.Fatalf("the meta leads to another entry than %+v", e)
			}
			native += balanceOf(e)
		}
		if native != n.genesis.Supply.Stroops() {
			t.Fatalf("there are %d stroops", native)
		}
	}
	if codes[xdr.TransactionResultCodeTxSuccess] == 0 || codes[xdr.TransactionResultCodeTxFailed] == 0 ||
		codes[xdr.TransactionResultCodeTxBadSeq] == 0 || codes[xdr.TransactionResultCodeTxFeeBumpInnerSuccess] == 0 {
		t.Errorf("the workload is one-sided: %v", codes)
	}
}

// follow applies the meta of a ledger to encoded entries by key.
func follow(t *testing.T, entries map[string]string, meta xdr.LedgerCloseMetaV1) {
	t.Helper()
	changed, err := changesOf(meta)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changed {
		if c.after == nil {
			delete(entries, string(c.key))
		} else {
			entries[string(c.key)] = string(c.after)
		}
	}
}
