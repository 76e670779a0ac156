package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/diamante/gateway/keymgmt/pkcs11"
)

// metrics serves the keyring's counters. It stands behind the same client certificates as everything else.
func metrics(ring *pkcs11.Keyring) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(keyringCollector{ring})
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// keyringCollector reads all of a keyring's counters at once, so that they belong together.
type keyringCollector struct{ ring *pkcs11.Keyring }

var keyringMetrics = []keyringMetric{
	counter("hsm_signatures_total", "Signatures made and verified.", func(s pkcs11.Stats) float64 { return float64(s.Signatures) }),
	counter("hsm_sessions_opened_total", "Sessions opened for the pool.", func(s pkcs11.Stats) float64 { return float64(s.Opened) }),
	counter("hsm_sessions_evicted_total", "Sessions closed because a call on them failed.", func(s pkcs11.Stats) float64 { return float64(s.Evicted) }),
	counter("hsm_logins_total", "Logins to the token.", func(s pkcs11.Stats) float64 { return float64(s.Logins) }),
	counter("hsm_trips_total", "Times that the token was found to be away.", func(s pkcs11.Stats) float64 { return float64(s.Trips) }),
	counter("hsm_mismatches_total", "Keys stopped because their signatures did not verify. Alarm on any.", func(s pkcs11.Stats) float64 { return float64(s.Mismatches) }),
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
	for _, m := range keyringMetrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c keyringCollector) Collect(ch chan<- prometheus.Metric) {
	stats := c.ring.Stats()
	for _, m := range keyringMetrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(stats))
	}
}
