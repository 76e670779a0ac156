package nodetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

const (
	// payers is how many accounts pay at once in the benchmark: each has one payment under way.
	payers = 2000
	// senders is how many goroutines submit.
	senders = 4
	// opsPerTx is the protocol's bound on operations.
	opsPerTx = 100
)

// BenchmarkPayments submits b.N payments of many accounts through f.Door and reports how many a second are seen in
// Closes. The network of f must close ledgers by itself.
func BenchmarkPayments(b *testing.B, f Fixture) {
	wallets := make([]Wallet, min(payers, b.N))
	for i := range wallets {
		wallets[i] = NewWallet(b)
	}
	first := fund(b, f, wallets)
	// The k-th transaction of a wallet can be submitted once the one before it has been applied.
	queues := make([][]xdr.TransactionEnvelope, len(wallets))
	owner := map[protocol.Hash]int{}
	for i := range b.N {
		w := i % len(wallets)
		env, hash := wallets[w].Sign(b, f.Passphrase, first[w]+int64(i/len(wallets))+1, txbuild.Payment{
			Destination: wallets[(w+1)%len(wallets)].ID, Asset: protocol.Native(), Amount: Amount(b, "0.0000001")})
		queues[w] = append(queues[w], env)
		owner[hash] = w
	}
	start, err := f.Door.Status(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	began := time.Now()
	ready := make(chan xdr.TransactionEnvelope, len(wallets))
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() { send(ctx, b, f, ready) })
	}
	next := func(w int) {
		if len(queues[w]) > 0 {
			ready <- queues[w][0]
			queues[w] = queues[w][1:]
		}
	}
	for w := range wallets {
		next(w)
	}
	ledgers := collect(b, f, start.Ledger+1, owner, next)
	b.StopTimer()
	cancel()
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "payments/s")
	b.ReportMetric(float64(b.N)/float64(ledgers), "payments/ledger")
	b.ReportMetric(0, "ns/op")
}

// collect reads ledgers until all of owner's transactions were seen, and lets each wallet go on once it was seen.
func collect(b *testing.B, f Fixture, from uint32, owner map[protocol.Hash]int, next func(w int)) (ledgers int) {
	for meta, err := range f.Door.Closes(b.Context(), from) {
		if err != nil {
			b.Fatal(err)
		}
		ledgers++
		for i := range meta.CountTransactions() {
			hash := protocol.Hash(meta.TransactionHash(i))
			w, ours := owner[hash]
			if r := meta.TransactionResultPair(i).Result; !ours || !r.Successful() {
				b.Fatalf("transaction %s: %s", hash, r.Result.Code)
			}
			delete(owner, hash)
			next(w)
		}
		if len(owner) == 0 {
			return ledgers
		}
	}
	return ledgers
}

func send(ctx context.Context, b *testing.B, f Fixture, ready <-chan xdr.TransactionEnvelope) {
	for {
		select {
		case <-ctx.Done():
			return
		case env := <-ready:
			s, err := f.Door.Submit(ctx, env)
			if err == nil && s.Status == protocol.SubmissionPending {
				continue
			}
			if ctx.Err() == nil {
				b.Errorf("submission %+v, %v", s, err)
			}
			return
		}
	}
}

// fund makes the wallets' accounts and returns their sequence numbers.
func fund(b *testing.B, f Fixture, wallets []Wallet) []int64 {
	b.Helper()
	for i := 0; i < len(wallets); i += opsPerTx {
		root, err := f.Door.Account(b.Context(), f.Root.ID)
		if err != nil {
			b.Fatal(err)
		}
		var ops []txbuild.Operation
		for _, w := range wallets[i:min(i+opsPerTx, len(wallets))] {
			ops = append(ops, txbuild.CreateAccount{Destination: w.ID, StartingBalance: Amount(b, "1000")})
		}
		env, hash := f.Root.Sign(b, f.Passphrase, root.Sequence+1, ops...)
		if s, err := f.Door.Submit(b.Context(), env); err != nil || s.Status != protocol.SubmissionPending {
			b.Fatalf("submission %+v, %v", s, err)
		}
		collect(b, f, root.Ledger+1, map[protocol.Hash]int{hash: 0}, func(int) {})
	}
	seqs := make([]int64, len(wallets))
	for i, w := range wallets {
		a, err := f.Door.Account(b.Context(), w.ID)
		if err != nil {
			b.Fatal(err)
		}
		seqs[i] = a.Sequence
	}
	return seqs
}
