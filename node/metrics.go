package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stellar/go-stellar-sdk/xdr"
)

// metrics are what a node counts. Unregistered, they count for nobody.
type metrics struct {
	seq     prometheus.Gauge
	closing prometheus.Histogram
	applied *prometheus.CounterVec
}

// newMetrics makes the metrics and registers them on r, which may be nil. queued is asked at each scrape.
func newMetrics(r prometheus.Registerer, queued func() int) (*metrics, error) {
	m := &metrics{
		seq: prometheus.NewGauge(prometheus.GaugeOpts{Name: "node_ledger_seq", Help: "Sequence number of the last closed ledger."}),
		closing: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "node_ledger_close_seconds",
			Help: "Time from a decided value to a durable ledger.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
		applied: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "node_transactions_total",
			Help: "Transactions in closed ledgers, by result."}, []string{"result"}),
	}
	if r == nil {
		return m, nil
	}
	queue := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "node_queue_transactions", Help: "Transactions that wait for a ledger."},
		func() float64 { return float64(queued()) })
	for _, c := range []prometheus.Collector{m.seq, m.closing, m.applied, queue} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// closed counts one ledger.
func (m *metrics) closed(meta xdr.LedgerCloseMeta, took time.Duration) {
	good := 0
	total := meta.CountTransactions()
	for i := range total {
		if pair := meta.TransactionResultPair(i); pair.Result.Successful() {
			good++
		}
	}
	m.seq.Set(float64(meta.LedgerSequence()))
	m.closing.Observe(took.Seconds())
	m.applied.WithLabelValues("success").Add(float64(good))
	m.applied.WithLabelValues("failed").Add(float64(total - good))
}
