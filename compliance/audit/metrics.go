package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// maxLag bounds how far Lag counts: beyond it, far behind is far behind.
const maxLag = 100_000

// watchInterval is how often the gauges are brought up to date.
const watchInterval = 2 * time.Second

// Lag says how far the signed log is behind the committed records.
type Lag struct {
	Unsequenced   int64         // records without an index; counted up to 100000
	Unsigned      int64         // records with an index that no checkpoint covers
	Size          int64         // records with an index
	Signed        int64         // the size of the last checkpoint
	Waiting       time.Duration // how long the oldest record that no checkpoint covers has waited; 0 if there is none
	CheckpointAge time.Duration // since the last checkpoint; 0 if there is none. It grows while nothing happens
}

// ReadLag returns the lag, on any replica.
func ReadLag(ctx context.Context, r Reader) (Lag, error) { return readLag(ctx, r, nil) }

func readLag(ctx context.Context, r Reader, quiet func(Entry) bool) (Lag, error) {
	at, err := readCursor(ctx, r)
	if err != nil {
		return Lag{}, fmt.Errorf("audit: lag: %w", classify(err))
	}
	lag := Lag{Size: at.size}
	last, err := LatestCheckpoint(ctx, r)
	switch {
	case errors.Is(err, ErrNoCheckpoint):
	case err != nil:
		return Lag{}, err
	default:
		lag.Signed, lag.CheckpointAge = last.Size, max(0, time.Since(last.At))
	}
	lag.Unsigned = max(0, lag.Size-lag.Signed)
	const waiting = `SELECT count(*), min(at) FROM (SELECT at FROM audit.record WHERE (xid, n) > ($1::text::xid8, $2::bigint) ORDER BY xid, n LIMIT $3) x`
	var oldest *time.Time
	if err := r.QueryRow(ctx, waiting, at.xid, at.n, maxLag).Scan(&lag.Unsequenced, &oldest); err != nil {
		return Lag{}, fmt.Errorf("audit: lag: %w", classify(err))
	}
	first, due, err := firstDue(ctx, r, lag.Signed, lag.Size, quiet)
	if err != nil {
		return Lag{}, err
	}
	if due {
		oldest = &first.At
	}
	if oldest != nil {
		lag.Waiting = max(0, time.Since(*oldest))
	}
	return lag, nil
}

// Lag returns how far the signed log is behind. Records that ask for no checkpoint wait for nothing.
func (s *Sequencer) Lag(ctx context.Context) (Lag, error) {
	return readLag(ctx, s.db.Reader(), s.cfg.Quiet)
}

type sequencerMetrics struct {
	sequenced, checkpoints, failures               prometheus.Counter
	unsequenced, unsigned, waiting, age, leadsHere prometheus.Gauge
}

func newSequencerMetrics() *sequencerMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	return &sequencerMetrics{
		sequenced:   counter("audit_records_sequenced_total", "Records that this process gave an index."),
		checkpoints: counter("audit_checkpoints_total", "Checkpoints that this process published."),
		failures:    counter("audit_checkpoint_failures_total", "Checkpoints that were not signed at the first try."),
		unsequenced: gauge("audit_unsequenced", "Committed records without an index."),
		unsigned:    gauge("audit_unsigned", "Records with an index that no checkpoint covers."),
		waiting:     gauge("audit_sequencer_lag_seconds", "How long the oldest record that no checkpoint covers has waited."),
		age:         gauge("audit_checkpoint_age_seconds", "Time since the last checkpoint."),
		leadsHere:   gauge("audit_sequencer_leading", "1 where the sequencer leads, else 0."),
	}
}

// Metrics returns the collectors of the sequencer, to be registered by the caller.
func (s *Sequencer) Metrics() []prometheus.Collector {
	m := s.metrics
	return []prometheus.Collector{m.sequenced, m.checkpoints, m.failures, m.unsequenced, m.unsigned, m.waiting, m.age, m.leadsHere}
}

// Metrics returns the collectors of the database, to be registered by the caller.
func (db *DB) Metrics() []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "audit_records_total", Help: "Events recorded and committed by this process."},
			func() float64 { return metric(db.records.Load()) }), //float: a metric
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "audit_tx_retries_total", Help: "Transactions that were run once more because the database could not serialise them."},
			func() float64 { return metric(db.retries.Load()) }), //float: a metric
	}
}

func metric[N int | int64](n N) float64 { return float64(n) } //float: a metric

// watch keeps the gauges up to date until ctx ends. Without the database they stay as they are; its own health shows.
func (s *Sequencer) watch(ctx context.Context) {
	for {
		s.observe(ctx)
		if !pause(ctx, watchInterval) {
			return
		}
	}
}

func (s *Sequencer) observe(ctx context.Context) {
	leads := 0
	if s.Leading() {
		leads = 1
	}
	s.metrics.leadsHere.Set(metric(leads))
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	lag, err := s.Lag(ctx)
	if err != nil {
		return // see watch
	}
	s.metrics.unsequenced.Set(metric(lag.Unsequenced))
	s.metrics.unsigned.Set(metric(lag.Unsigned))
	s.metrics.waiting.Set(lag.Waiting.Seconds())
	s.metrics.age.Set(lag.CheckpointAge.Seconds())
}

var _ Reader = (*pgx.Conn)(nil) // the leader reads through its own session
