package main

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/diamante/gateway/keymgmt/pkcs11"
	"github.com/diamante/gateway/keymgmt/pkcs11/child"
)

// metrics serves the counters of the token, if there is one, the database and the log. It stands behind the same client certificates as
// everything else.
func metrics(ring *child.Ring, others ...prometheus.Collector) http.Handler {
	registry := prometheus.NewRegistry()
	if ring != nil {
		registry.MustRegister(keyringCollector{ring})
	}
	registry.MustRegister(others...)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// statsTimeout bounds how long a scrape waits for the device's process.
const statsTimeout = 2 * time.Second

// keyringCollector reads all of a keyring's counters at once, so that they belong together.
type keyringCollector struct{ ring *child.Ring }

var childMetrics = []childMetric{
	{prometheus.NewDesc("hsm_signatures_total", "Signatures made and verified.", nil, nil), prometheus.CounterValue, func(c child.Counts) float64 { return float64(c.Signatures) }},
	{prometheus.NewDesc("hsm_children_total", "Processes started to hold the HSM's library.", nil, nil), prometheus.CounterValue, func(c child.Counts) float64 { return float64(c.Started) }},
	{prometheus.NewDesc("hsm_hung_total", "Processes ended because the library did not answer.", nil, nil), prometheus.CounterValue, func(c child.Counts) float64 { return float64(c.Hung) }},
	{prometheus.NewDesc("hsm_mismatches_total", "Signatures that did not verify. Alarm on any.", nil, nil), prometheus.CounterValue, func(c child.Counts) float64 { return float64(c.Mismatches) }},
	{prometheus.NewDesc("hsm_calls", "Calls on their way.", nil, nil), prometheus.GaugeValue, func(c child.Counts) float64 { return float64(c.Calls) }},
}

// childMetric is one of the values of Counts.
type childMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(child.Counts) float64
}

var keyringMetrics = []keyringMetric{
	counter("hsm_sessions_opened_total", "Sessions opened for the pool.", func(s pkcs11.Stats) float64 { return float64(s.Opened) }),
	counter("hsm_sessions_evicted_total", "Sessions closed because a call on them failed.", func(s pkcs11.Stats) float64 { return float64(s.Evicted) }),
	counter("hsm_logins_total", "Logins to the token.", func(s pkcs11.Stats) float64 { return float64(s.Logins) }),
	counter("hsm_trips_total", "Times that the token was found to be away.", func(s pkcs11.Stats) float64 { return float64(s.Trips) }),
	gauge("hsm_sessions_idle", "Sessions in the pool.", func(s pkcs11.Stats) float64 { return float64(s.Idle) }),
	gauge("hsm_sessions_in_use", "Signatures in the making.", func(s pkcs11.Stats) float64 { return float64(s.InUse) }),
}

// keyringMetric is one of the values of Stats.
type keyringMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(pkcs11.Stats) float64
}

func counter(name, help string, value func(pkcs11.Stats) float64) keyringMetric {
	return keyringMetric{prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue, value}
}

func gauge(name, help string, value func(pkcs11.Stats) float64) keyringMetric {
	return keyringMetric{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, value}
}

// Describe implements prometheus.Collector.
func (c keyringCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range childMetrics {
		ch <- m.desc
	}
	for _, m := range keyringMetrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector. Of a device that is away only this side's counts are told.
func (c keyringCollector) Collect(ch chan<- prometheus.Metric) {
	counts := c.ring.Counts()
	for _, m := range childMetrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(counts))
	}
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	stats, err := c.ring.DeviceStats(ctx)
	if err != nil {
		return
	}
	for _, m := range keyringMetrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(stats))
	}
}
