package node_test

import (
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/diamante/gateway/node/herder"
	"github.com/diamante/gateway/node/nodetest"
)

// BenchmarkAgree is how long four validators on this machine take to agree on a ledger, from a validator's proposal to the decision,
// with software keys and TLS over loopback, a ledger a second; and the processor time that all four spend on it.
func BenchmarkAgree(b *testing.B) {
	var mu sync.Mutex
	var took []time.Duration
	v := makeValidators(b, 4, 3, time.Second)
	for i := range v.cfgs {
		v.cfgs[i].OnAgreed(func(d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			took = append(took, d)
		})
	}
	v.startAll()
	v.reaches(4, 0, 1, 2, 3) // connected, and in step
	mu.Lock()
	took = nil
	mu.Unlock()
	before, first := processor(b), v.at(0)
	b.ResetTimer()
	for b.Loop() {
		v.reaches(v.at(0)+1, 0)
	}
	b.StopTimer()
	closes, spent := v.at(0)-first, processor(b)-before
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "median-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
	b.ReportMetric(float64(spent.Microseconds())/float64(closes), "cpu-us/close")
}

// processor returns the processor time that this process has used.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkNetworkPayments is BenchmarkPayments with four validators, who all verify, flood, agree, apply and sync.
func BenchmarkNetworkPayments(b *testing.B) {
	v := makeValidators(b, 4, 3, time.Second)
	for i := range v.cfgs {
		v.cfgs[i].Genesis.MaxTxSetSize = 5000
		v.cfgs[i].MaxLead = herder.MaxTimeSlip
	}
	v.startAll()
	v.reaches(3, 0, 1, 2, 3)
	nodetest.BenchmarkPayments(b, nodetest.Fixture{Door: v.nodes[0], Passphrase: network, Root: v.root})
}
