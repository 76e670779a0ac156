package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/api"
	"github.com/diamante/gateway/api/horizon"
	"github.com/diamante/gateway/api/partner"
	"github.com/diamante/gateway/api/sep"
	"github.com/diamante/gateway/api/staff"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/compliance/export"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/remote"
	"github.com/diamante/gateway/node/client"
)

// Time limits of calls to our other programs, and of waiting for a submitted transaction.
const (
	nodeTimeout   = 5 * time.Second
	signerTimeout = 5 * time.Second
	submitWait    = 30 * time.Second
)

// rates bound what one address and one caller may ask.
var rates = api.Rates{Address: web.Rate{Every: 10 * time.Millisecond, Burst: 200}, Caller: web.Rate{Every: 20 * time.Millisecond, Burst: 100}}

// gateway is the program, put together and not yet running.
type gateway struct {
	cfg       Config
	log       *slog.Logger
	registry  *prometheus.Registry
	db        *audit.DB
	node      *client.Client
	signer    *remote.Client
	logKey    audit.LogKey
	sequencer *audit.Sequencer
	anchor    *anchor.Service
	horizon   *horizon.Server
}

// assemble reads what the configuration names and puts the parts together. It starts nothing and calls nobody.
func assemble(ctx context.Context, cfg Config, log *slog.Logger) (*gateway, error) {
	g := &gateway{cfg: cfg, log: log, registry: prometheus.NewRegistry()}
	g.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, step := range []func(context.Context) error{g.connect, g.makeLog, g.makeAnchor, g.makeHorizon} {
		if err := step(ctx); err != nil {
			g.close()
			return nil, err
		}
	}
	return g, nil
}

// close lets go of the connections.
func (g *gateway) close() {
	if g.db != nil {
		g.db.Close()
	}
	if g.node != nil {
		g.node.Close()
	}
	if g.signer != nil {
		g.signer.Close()
	}
}

func (g *gateway) connect(ctx context.Context) error {
	url, err := boot.Secret(g.cfg.Database.URLFile)
	if err != nil {
		return err
	}
	if g.db, err = audit.Open(ctx, url, g.cfg.Database.MaxConnections); err != nil {
		return err
	}
	nodeTLS, err := g.cfg.TLS.ClientConfig(g.cfg.Node.Name)
	if err != nil {
		return err
	}
	if g.node, err = client.New(client.Config{URL: g.cfg.Node.URL, TLS: nodeTLS, Timeout: nodeTimeout}); err != nil {
		return err
	}
	signerTLS, err := g.cfg.TLS.ClientConfig(g.cfg.Signer.Name)
	if err != nil {
		return err
	}
	g.signer, err = remote.NewClient(remote.Config{URL: g.cfg.Signer.URL, TLS: signerTLS, Timeout: signerTimeout})
	return err
}

func (g *gateway) makeLog(context.Context) error {
	raw, err := boot.ReadFile(g.cfg.Log.KeyFile, boot.MaxConfig)
	if err != nil {
		return err
	}
	if g.logKey, err = audit.ParseLogKey(string(raw)); err != nil {
		return err
	}
	g.sequencer, err = audit.NewSequencer(g.db, logSigner{g.signer, g.cfg.Log.Key}, audit.Config{Key: g.logKey, Log: g.log})
	return err
}

func (g *gateway) makeHorizon(context.Context) (err error) {
	g.horizon, err = horizon.New(horizon.Config{Origin: g.cfg.Origin, Passphrase: g.cfg.Network, Wait: submitWait, Log: g.log}, g.node)
	return err
}

// handlers makes the handlers of the public, the partners' and the staff's listener, in this order.
func (g *gateway) handlers() ([]http.Handler, error) {
	metrics, err := api.NewMetrics(g.registry)
	if err != nil {
		return nil, err
	}
	common := api.Common{DB: g.db, Log: g.log, Metrics: metrics, Now: time.Now}
	wallets, err := sep.New(sep.Config{
		Origin: g.cfg.Origin, HomeDomain: g.cfg.HomeDomain, Passphrase: g.cfg.Network, SigningKey: g.cfg.Keys.ChallengeAddress,
		TokenKey: ed25519.PublicKey(g.cfg.Keys.TokenAddress.Key()), Challenge: time.Duration(g.cfg.Challenge), Token: time.Duration(g.cfg.TokenLife),
		Organization: sep.Organization{Name: g.cfg.Organization.Name, URL: g.cfg.Organization.URL},
	}, sep.Parts{DB: g.db, Challenges: webSigner{g.signer, g.cfg.Keys.Challenge, keymgmt.KindChallenge},
		Tokens: webSigner{g.signer, g.cfg.Keys.Token, keymgmt.KindJWT}, Ledger: g.node, Anchor: g.anchor, Now: time.Now})
	if err != nil {
		return nil, err
	}
	partners, err := partner.New(partner.Config{Names: g.cfg.Partner.Names, DB: g.db, Bank: g.anchor, Payouts: g.anchor, Customers: g.anchor})
	if err != nil {
		return nil, err
	}
	officers, err := staff.New(staff.Config{Names: g.cfg.Staff.Names, Parts: g.parts(), LogKey: g.logKey.String(), Gatherer: g.registry,
		DB: g.db, Anchor: staffAnchor{g.anchor, g}, Desk: g.anchor, Stuck: g.anchor, People: g.anchor, Exports: exporter{g}, Now: time.Now})
	if err != nil {
		return nil, err
	}
	public, err1 := api.Public(common, rates, wallets, g.horizon)
	partnersHandler, err2 := api.Partner(common, rates, partners)
	staffHandler, err3 := api.Staff(common, rates, officers)
	return []http.Handler{public, partnersHandler, staffHandler}, errors.Join(err1, err2, err3)
}

// exporter lets staff make evidence packages.
type exporter struct{ g *gateway }

// Export is part of staff.Exporter.
func (e exporter) Export(ctx context.Context, q export.Request, w io.Writer) error {
	_, err := export.Build(ctx, export.Deps{DB: e.g.db, Key: e.g.logKey}, q, w)
	return err
}

// parts are what readiness asks about.
func (g *gateway) parts() []staff.Part {
	return []staff.Part{
		{Name: "database", Check: g.db.Ping},
		{Name: "node", Check: g.nodeHealth},
		{Name: "signer", Check: g.signerHealth},
		{Name: "observer", Check: g.observerHealth},
		{Name: "audit", Check: g.auditHealth},
	}
}

// maxQuiet is how long no ledger may close before readiness says so: four ledgers of the usual length.
const maxQuiet = 20 * time.Second

// nodeHealth says when the node does not answer, and when its network closes no ledgers.
func (g *gateway) nodeHealth(ctx context.Context) error {
	status, err := g.node.Status(ctx)
	if quiet := time.Since(status.ClosedAt); err == nil && quiet > maxQuiet {
		err = fmt.Errorf("no ledger has closed for %s: too few validators agree, or this one hears too few", quiet.Round(time.Second))
	}
	return err
}

func (g *gateway) signerHealth(ctx context.Context) error {
	parts, err := g.signer.Health(ctx)
	for name, partErr := range parts {
		if partErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", name, partErr))
		}
	}
	return err
}

// maxUnsigned is how long a record may wait for a signed checkpoint before readiness says so.
const maxUnsigned = 30 * time.Second

func (g *gateway) auditHealth(ctx context.Context) error {
	lag, err := audit.ReadLag(ctx, g.db.Reader())
	if err == nil && lag.Waiting > maxUnsigned {
		err = fmt.Errorf("a record waits for a signed checkpoint since %s", lag.Waiting)
	}
	return err
}

// observerHealth says when the observer is further behind the ledger than it may be.
func (g *gateway) observerHealth(ctx context.Context) error {
	h, err := g.anchor.Health(ctx)
	if err == nil && h.Lag > g.cfg.MaxLag {
		err = fmt.Errorf("%d ledgers behind", h.Lag)
	}
	return err
}
