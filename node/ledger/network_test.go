package ledger

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

const testNet protocol.Passphrase = "ledger test"

// network drives a ledger by hand: it makes sets and values as a single validator would.
type network struct {
	t       testing.TB
	l       *Ledger
	genesis Genesis
	root    nodetest.Wallet
	seqs    map[protocol.AccountID]int64 // last used, of accounts that have signed
}

func testGenesis(t testing.TB, root protocol.AccountID) Genesis {
	t.Helper()
	return Genesis{Passphrase: testNet, Root: root, Supply: nodetest.Amount(t, "100000000000"), BaseFee: 100, BaseReserve: 5_000_000,
		Protocol: Protocol, MaxTxSetSize: 2000, CloseTime: time.Unix(1_700_000_000, 0)}
}

// newNetwork makes a ledger in memory, which the test's end closes.
func newNetwork(t testing.TB) *network {
	t.Helper()
	n := &network{t: t, root: nodetest.NewWallet(t), seqs: map[protocol.AccountID]int64{}}
	n.genesis = testGenesis(t, n.root.ID)
	n.l = open(t, vfs.NewMem(), n.genesis)
	return n
}

// open opens a ledger that the test's end closes.
func open(t testing.TB, fs vfs.FS, g Genesis) *Ledger {
	t.Helper()
	l, err := OpenFS(fs, "ledger", g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, l) })
	return l
}

func shut(t testing.TB, l *Ledger) {
	t.Helper()
	if l.db == nil {
		return
	}
	if err := l.Shutdown(); err != nil {
		t.Error(err)
	}
	l.db = nil
}

// sign makes the next transaction of w.
func (n *network) sign(w nodetest.Wallet, ops ...txbuild.Operation) xdr.TransactionEnvelope {
	n.t.Helper()
	if _, known := n.seqs[w.ID]; !known {
		a, err := n.l.Account(w.ID)
		if err != nil {
			n.t.Fatal(err)
		}
		n.seqs[w.ID] = a.Sequence
	}
	n.seqs[w.ID]++
	env, _ := w.Sign(n.t, testNet, n.seqs[w.ID], ops...)
	return env
}

// set makes the set that follows the last ledger, and the value that decides on it.
func (n *network) set(envs ...xdr.TransactionEnvelope) (xdr.GeneralizedTransactionSet, xdr.StellarValue) {
	n.t.Helper()
	header, hash := n.l.Header()
	components := []xdr.TxSetComponent{}
	if len(envs) > 0 {
		fee := xdr.Int64(header.BaseFee)
		components = append(components, part(n.t, &fee, envs...))
	}
	set := xdr.GeneralizedTransactionSet{V: 1, V1TxSet: &xdr.TransactionSetV1{PreviousLedgerHash: xdr.Hash(hash),
		Phases: []xdr.TransactionPhase{{V0Components: &components}, {V0Components: &[]xdr.TxSetComponent{}}}}}
	return set, value(n.t, set, header.ScpValue.CloseTime+5)
}

// part is a component of a set, in the order in which sets are written.
func part(t testing.TB, rate *xdr.Int64, envs ...xdr.TransactionEnvelope) xdr.TxSetComponent {
	t.Helper()
	type hashed struct {
		full [32]byte
		env  xdr.TransactionEnvelope
	}
	sorted := make([]hashed, len(envs))
	for i, env := range envs {
		sorted[i] = hashed{sha256.Sum256(encoded(t, env)), env}
	}
	slices.SortFunc(sorted, func(a, b hashed) int { return bytes.Compare(a.full[:], b.full[:]) })
	txs := make([]xdr.TransactionEnvelope, len(envs))
	for i, h := range sorted {
		txs[i] = h.env
	}
	return xdr.TxSetComponent{Type: xdr.TxSetComponentTypeTxsetCompTxsMaybeDiscountedFee,
		TxsMaybeDiscountedFee: &xdr.TxSetComponentTxsMaybeDiscountedFee{BaseFee: rate, Txs: txs}}
}

func value(t testing.TB, set xdr.GeneralizedTransactionSet, at xdr.TimePoint) xdr.StellarValue {
	t.Helper()
	return xdr.StellarValue{TxSetHash: sha256.Sum256(encoded(t, set)), CloseTime: at}
}

func encoded(t testing.TB, v interface{ MarshalBinary() ([]byte, error) }) []byte {
	t.Helper()
	b, err := v.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// close closes a ledger with transactions, whatever they lead to.
func (n *network) close(envs ...xdr.TransactionEnvelope) xdr.LedgerCloseMetaV1 {
	n.t.Helper()
	meta, err := n.l.Close(n.set(envs...))
	if err != nil {
		n.t.Fatal(err)
	}
	return *meta.V1
}

// succeed closes a ledger with transactions that must all succeed.
func (n *network) succeed(envs ...xdr.TransactionEnvelope) xdr.LedgerCloseMetaV1 {
	n.t.Helper()
	meta := n.close(envs...)
	for _, p := range meta.TxProcessing {
		if !p.Result.Result.Successful() {
			n.t.Fatalf("%+v", p.Result.Result.Result)
		}
	}
	return meta
}

// fund makes accounts with 1000 DIAM each.
func (n *network) fund(count int) []nodetest.Wallet {
	n.t.Helper()
	wallets := make([]nodetest.Wallet, count)
	for start := 0; start < count; start += txbuild.MaxOperations {
		var ops []txbuild.Operation
		for i := start; i < min(count, start+txbuild.MaxOperations); i++ {
			wallets[i] = nodetest.NewWallet(n.t)
			ops = append(ops, txbuild.CreateAccount{Destination: wallets[i].ID, StartingBalance: nodetest.Amount(n.t, "1000")})
		}
		n.succeed(n.sign(n.root, ops...))
	}
	return wallets
}

func (n *network) account(id protocol.AccountID) protocol.Account {
	n.t.Helper()
	a, err := n.l.Account(id)
	if err != nil {
		n.t.Fatal(err)
	}
	return a
}

// usd is a credit that issuer issues.
func usd(t testing.TB, issuer nodetest.Wallet) protocol.Asset {
	t.Helper()
	a, err := protocol.NewCredit("USD", issuer.ID)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
