package client_test

import (
	"testing"
	"time"

	"github.com/diamante/gateway/node/herder"
	"github.com/diamante/gateway/node/nodetest"
)

// BenchmarkClient is BenchmarkPayments of the node with mutual TLS between.
func BenchmarkClient(b *testing.B) {
	v := prepareValidator(b)
	v.cfg.Clock = nil
	v.cfg.CloseEvery, v.cfg.MaxLead = 250*time.Millisecond, herder.MaxTimeSlip
	v.cfg.Genesis.MaxTxSetSize = 5000
	v.cfg.Genesis.CloseTime = time.Now().UTC().Truncate(time.Second).Add(-time.Minute)
	v.run(b)
	nodetest.BenchmarkPayments(b, nodetest.Fixture{Door: dial(b, serve(b, handlerOf(b, v))), Passphrase: network, Root: v.root})
}
