package overlay

import "github.com/prometheus/client_golang/prometheus"

// metrics are what an overlay counts. Unregistered, they count for nobody.
type metrics struct {
	messages   *prometheus.CounterVec
	bytes      *prometheus.CounterVec
	drops      *prometheus.CounterVec
	failed     *prometheus.CounterVec
	lost       *prometheus.CounterVec
	duplicates *prometheus.CounterVec
	refused    prometheus.Counter
	in, out    map[kind]traffic // the counters of messages and bytes, found once
}

type traffic struct{ messages, bytes prometheus.Counter }

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "node_overlay_" + name, Help: help}, labels)
}

// newMetrics makes the metrics and registers them on r, which may be nil. connected is asked at each scrape.
func newMetrics(r prometheus.Registerer, connected func() int) (*metrics, error) {
	m := &metrics{
		messages:   counters("messages_total", "Messages, by direction and type.", "direction", "type"),
		bytes:      counters("bytes_total", "Bytes of messages, by direction and type.", "direction", "type"),
		drops:      counters("drops_total", "Connections to peers that ended, by reason.", "reason"),
		failed:     counters("refusals_total", "Connections that did not get as far as a peer, by reason.", "reason"),
		lost:       counters("lost_total", "Messages not sent because a queue was full or the peer not there, by type.", "type"),
		duplicates: counters("duplicates_total", "Flooded messages that were known already, by type.", "type"),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "node_overlay_unanswered_total",
			Help: "Questions of peers that ask too much."}),
		in: map[kind]traffic{}, out: map[kind]traffic{},
	}
	for k, t := range kinds {
		m.in[k] = traffic{m.messages.WithLabelValues("in", t.name), m.bytes.WithLabelValues("in", t.name)}
		m.out[k] = traffic{m.messages.WithLabelValues("out", t.name), m.bytes.WithLabelValues("out", t.name)}
	}
	if r == nil {
		return m, nil
	}
	peers := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "node_overlay_peers", Help: "Peers that are connected."},
		func() float64 { return float64(connected()) })
	for _, c := range []prometheus.Collector{m.messages, m.bytes, m.drops, m.failed, m.lost, m.duplicates, m.refused, peers} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) received(f frame) { m.in[f.kind].count(f) }

func (m *metrics) sent(f frame) { m.out[f.kind].count(f) }

func (t traffic) count(f frame) {
	t.messages.Inc()
	t.bytes.Add(float64(len(f.bytes)))
}
