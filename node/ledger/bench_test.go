package ledger

import (
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// BenchmarkClosePayments closes ledgers of a thousand payments of one signature each, on disk: hashing, signatures,
// application, invariants, meta and one synced batch. "cold" sees every signature for the first time; "queued" has
// checked each before, as a node's queue does.
func BenchmarkClosePayments(b *testing.B) {
	for _, c := range []struct {
		name   string
		queued bool
	}{{"cold", false}, {"queued", true}} {
		b.Run(c.name, func(b *testing.B) { benchmarkClose(b, c.queued) })
	}
}

func benchmarkClose(b *testing.B, queued bool) {
	const payments = 1000
	root := nodetest.NewWallet(b)
	n := &network{t: b, root: root, genesis: testGenesis(b, root.ID), seqs: map[protocol.AccountID]int64{}}
	l, err := Open(b.TempDir(), n.genesis)
	if err != nil {
		b.Fatal(err)
	}
	n.l = l
	defer shut(b, l)
	wallets := n.fund(payments)
	amount := nodetest.Amount(b, "0.01")
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		envs := make([]xdr.TransactionEnvelope, payments)
		for i, w := range wallets {
			envs[i] = n.sign(w, txbuild.Payment{Destination: wallets[(i+7)%payments].ID, Asset: protocol.Native(), Amount: amount})
			if queued {
				n.l.CheckValid(envs[i])
			}
		}
		set, value := n.set(envs...)
		b.StartTimer()
		meta, err := n.l.Close(set, value)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		for _, p := range meta.V1.TxProcessing {
			if !p.Result.Result.Successful() {
				b.Fatalf("%+v", p.Result.Result.Result)
			}
		}
		b.StartTimer()
	}
	b.ReportMetric(payments*float64(b.N)/b.Elapsed().Seconds(), "payments/s")
}
