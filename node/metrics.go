package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/fbas"
)

// metrics are what a node counts. Unregistered, they count for nobody.
type metrics struct {
	seq     prometheus.Gauge
	closing prometheus.Histogram
	agreed  prometheus.Histogram
	applied *prometheus.CounterVec
	quorum  *prometheus.GaugeVec
}

// newMetrics makes the metrics and registers them on r, which may be nil. queued is asked at each scrape.
func newMetrics(r prometheus.Registerer, queued func() int) (*metrics, error) {
	m := &metrics{
		seq: prometheus.NewGauge(prometheus.GaugeOpts{Name: "node_ledger_seq", Help: "Sequence number of the last closed ledger."}),
		closing: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "node_ledger_close_seconds",
			Help: "Time from a decided value to a durable ledger.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
		agreed: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "node_consensus_seconds",
			Help: "Time from this validator's proposal to the decision on its slot.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 16)}),
		applied: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "node_transactions_total",
			Help: "Transactions in closed ledgers, by result."}, []string{"result"}),
	}
	m.quorum = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "node_quorum", Help: "What the quorum sets that were heard amount to: intersection (1 yes, 0 no, " +
		"-1 not known, -2 there is no quorum), nodes, unknown_nodes, and of the top tier, the smallest blocking set and the smallest splitting set how many nodes (-1 not known)."},
		[]string{"figure"})
	if r == nil {
		return m, nil
	}
	queue := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "node_queue_transactions", Help: "Transactions that wait for a ledger."},
		func() float64 { return float64(queued()) })
	for _, c := range []prometheus.Collector{m.seq, m.closing, m.agreed, m.applied, m.quorum, queue} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// quorums shows an analysis.
func (m *metrics) quorums(a fbas.Analysis, err error) {
	verdict := map[fbas.Verdict]float64{fbas.Intersects: 1, fbas.Splits: 0, fbas.NoQuorum: -2}
	in, known := verdict[a.Intersection.Verdict]
	if err != nil || !known {
		in = -1
	}
	m.quorum.WithLabelValues("intersection").Set(in)
	m.quorum.WithLabelValues("nodes").Set(float64(a.Nodes))
	m.quorum.WithLabelValues("unknown_nodes").Set(float64(a.UnknownNodes))
	m.quorum.WithLabelValues("top_tier").Set(size(a, fbas.PartTopTier, [][]string{a.TopTier}))
	m.quorum.WithLabelValues("smallest_blocking_set").Set(size(a, fbas.PartBlockingSets, a.BlockingSets))
	m.quorum.WithLabelValues("smallest_splitting_set").Set(size(a, fbas.PartSplittingSets, a.SplittingSets))
}

// size is that of the smallest of these sets, -1 if they are not known or there is none.
func size(a fbas.Analysis, part fbas.Part, sets [][]string) float64 {
	if _, unknown := a.Reasons[part]; unknown || len(sets) == 0 {
		return -1
	}
	least := len(sets[0])
	for _, s := range sets {
		least = min(least, len(s))
	}
	return float64(least)
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
