// Package api mounts the routers of the gateway's three listeners: Public for wallets and everybody, Partner for those who
// bring customers and bank files, Staff for those who run the anchor.
//
// Each listener has its own kind of credential and its own certificate authority of clients; what they have in common is
// Common, and the one table of errors in this package. The handlers are ready to be served by web.NewServer:
//
//	h, err := api.Public(common, sepServer, horizonServer)
//	srv := web.NewServer(h, tlsConfig, log)
package api

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/diamante/gateway/api/trail"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
)

// Mounter is a server of some routes: sep.Server, horizon.Server, partner.Server, staff.Server.
type Mounter interface {
	Mount(site *web.Site, mux chi.Router)
}

// Rates bounds how often one address and one proven caller may ask.
type Rates struct {
	Address web.Rate
	Caller  web.Rate
}

// Common is what the listeners share.
type Common struct {
	DB      *audit.DB // for answers to keyed requests
	Log     *slog.Logger
	Metrics *web.Metrics
	Now     func() time.Time
}

// NewMetrics makes the metrics that the listeners of a program share.
func NewMetrics(reg prometheus.Registerer) (*web.Metrics, error) { return web.NewMetrics(reg) }

// Public makes the handler of the public listener, which browsers may call from any page.
func Public(c Common, rates Rates, servers ...Mounter) (*chi.Mux, error) {
	return listener(c, web.Config{Name: "public", CORS: true, Address: rates.Address, Caller: rates.Caller}, servers)
}

// Partner makes the handler of the partners' listener.
func Partner(c Common, rates Rates, servers ...Mounter) (*chi.Mux, error) {
	return listener(c, web.Config{Name: "partner", Address: rates.Address, Caller: rates.Caller}, servers)
}

// Staff makes the handler of the staff's listener.
func Staff(c Common, rates Rates, servers ...Mounter) (*chi.Mux, error) {
	return listener(c, web.Config{Name: "staff", Address: rates.Address, Caller: rates.Caller}, servers)
}

func listener(c Common, cfg web.Config, servers []Mounter) (*chi.Mux, error) {
	if c.DB == nil || len(servers) == 0 {
		return nil, errors.New("api: a listener needs a database and something to serve")
	}
	cfg.Log, cfg.Metrics, cfg.Now, cfg.Table, cfg.Keys = c.Log, c.Metrics, c.Now, Table(), trail.Keys{DB: c.DB}
	site, err := web.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("api: %s listener: %w", cfg.Name, err)
	}
	mux := site.Router()
	for _, s := range servers {
		s.Mount(site, mux)
	}
	return mux, nil
}
