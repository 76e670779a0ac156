package overlay

import (
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// ticket lets a benchmark keep a number of messages under way, as a network that keeps up has.
type ticket struct {
	*recorder
	free chan struct{}
}

func (c ticket) Handle(protocol.AccountID, xdr.StellarMessage) Verdict {
	c.free <- struct{}{}
	return Flood
}

// benchmarkFlood measures messages from one node to another, over TLS on loopback, on both ends' account.
func benchmarkFlood(b *testing.B, message func(int) xdr.StellarMessage) {
	const underWay = 800
	free := make(chan struct{}, underWay)
	for range underWay {
		free <- struct{}{}
	}
	first, second := newIdentity(b), newIdentity(b)
	receiver := start(b, second, func(c *Config) {
		c.Preferred = []Peer{{ID: first.id}}
		c.Handler = ticket{newRecorder(), free}
	})
	sender := start(b, first, func(c *Config) { c.Preferred = []Peer{{second.id, receiver.address}} })
	sender.heard.await(b, "joined", func() bool { return len(receiver.Peers()) == 1 && len(sender.Peers()) == 1 })
	number := 0
	b.ResetTimer()
	for b.Loop() {
		<-free
		number++
		sender.Broadcast(message(number))
	}
	for range underWay {
		<-free
	}
	b.StopTimer()
	b.ReportMetric(float64(number)/b.Elapsed().Seconds(), "messages/s")
}

func BenchmarkFloodSCP(b *testing.B) {
	benchmarkFlood(b, func(i int) xdr.StellarMessage { return scpMessage(1, i) })
}

func BenchmarkFloodTransactions(b *testing.B) { benchmarkFlood(b, transaction) }
