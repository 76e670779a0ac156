package node_test

import (
	"testing"
	"time"

	"github.com/diamante/gateway/node/herder"
	"github.com/diamante/gateway/node/nodetest"
)

// BenchmarkPayments is one validator, end to end: payments of many accounts are submitted, ordered, signed for, applied
// and synced to disk, and counted when they are seen in Closes. Signatures of the payments are made beforehand, by
// somebody else's processor.
func BenchmarkPayments(b *testing.B) {
	s := newSite(b)
	s.cfg.Clock = nil
	s.cfg.CloseEvery, s.cfg.MaxLead = 250*time.Millisecond, herder.MaxTimeSlip
	s.cfg.Genesis.MaxTxSetSize = 5000
	s.cfg.Genesis.CloseTime = time.Now().UTC().Truncate(time.Second).Add(-time.Minute)
	n, _ := s.start(b)
	nodetest.BenchmarkPayments(b, nodetest.Fixture{Door: n, Passphrase: network, Root: s.root})
}
