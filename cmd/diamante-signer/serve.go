package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/remote"
	"github.com/diamante/gateway/keymgmt/service"
)

// openPause is the time between two tries to open the service while its token or its database is away, and openTimeout
// bounds one try.
const (
	openPause   = 500 * time.Millisecond
	openTimeout = 10 * time.Second
)

// gcPercent lets the signer use five times the memory that it needs, which is little: what a signature takes is garbage at
// once, and collecting it each time that it has grown to a few megabytes takes a twentieth of the processor.
const gcPercent = 400

// serve runs the signer. It serves from the start: until the token and the database have answered once, it says that it
// is unavailable, so that the gateway's health can name what is missing, and a restart loop never touches the PIN.
func serve(ctx context.Context, cfg *Config, _ options, stdout io.Writer) error {
	if os.Getenv("GOGC") == "" { // else an operator has decided
		debug.SetGCPercent(gcPercent)
	}
	log := boot.Logger(stdout, "diamante-signer")
	rules, err := cfg.load()
	if err != nil {
		return err
	}
	tlsConfig, err := cfg.TLS.ServerConfig(cfg.AllowedClients...)
	if err != nil {
		return err
	}
	url, err := boot.Secret(cfg.Database.URLFile)
	if err != nil {
		return err
	}
	db, err := audit.Open(ctx, url, cfg.Database.MaxConnections)
	if err != nil {
		return err
	}
	defer db.Close()
	keys, err := cfg.homes(rules, log)
	if err != nil {
		return err
	}
	s := &signers{cfg: service.Config{DB: db, Policy: rules, Keyring: keys.keyring, Log: log}, homes: keys.keyring}
	if !cfg.Mark.None {
		s.cfg.Mark = keys.token
	}
	if s.sequencer, err = newSequencer(db, cfg, rules, s, log); err != nil {
		return err
	}
	l, err := boot.Listen(cfg.Listen, tlsConfig)
	if err != nil {
		return err
	}
	log.Info("serving", "address", l.Addr().String(), "policy", rules.Version())
	mux := http.NewServeMux()
	mux.Handle("/", remote.Handler(s, log))
	mux.Handle("GET /metrics", metrics(keys.token, append(s.sequencer.Metrics(), db.Metrics()...)...))

	// Token and Vault are let go when the last answer is out.
	device, letGo := context.WithCancel(context.WithoutCancel(ctx))
	defer letGo()
	held := make(chan error, 1)
	go func() { held <- keys.run(device) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opened := make(chan error, 1)
	go func() {
		err := s.open(ctx, log)
		if err == nil {
			err = s.sequencer.Run(ctx)
		}
		if err != nil {
			cancel() // what cannot be mended by waiting ends the program
		}
		opened <- err
	}()
	err = boot.Serve(ctx, boot.Server(mux, log), l)
	cancel()
	err = errors.Join(err, <-opened, s.close())
	letGo()
	return errors.Join(err, <-held)
}

// signers serves the service once it is open.
type signers struct {
	cfg       service.Config
	homes     *service.Homes   // the keyring of cfg
	sequencer *audit.Sequencer // of the signer's own log

	mu  sync.RWMutex
	svc *service.Service // guarded by mu; nil until it is open
}

// errStarting is what callers get before the service is open.
var errStarting = fmt.Errorf("%w: the signer is starting", keymgmt.ErrUnavailable)

// open opens the service, as often as it takes, unless the reason is one that only an operator can mend. The end of
// ctx is no error.
func (s *signers) open(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(openPause)
	defer tick.Stop()
	said := ""
	for {
		try, cancel := context.WithTimeout(ctx, openTimeout)
		svc, err := service.Open(try, s.cfg)
		cancel()
		switch {
		case err == nil:
			s.mu.Lock()
			s.svc = svc
			s.mu.Unlock()
			log.Info("ready")
			return nil
		case ctx.Err() != nil:
			return nil
		case !waiting(err):
			return err
		}
		if err.Error() != said { // once, not twice a second
			said = err.Error()
			log.Warn("not ready", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// closeTimeout bounds the last write of the mark.
const closeTimeout = 10 * time.Second

// close leaves the mark at what was signed. A device that is away is no reason for a stop to fail: the mark is raised at the
// next start.
func (s *signers) close() error {
	svc := s.ready()
	if svc == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := svc.Close(ctx); err != nil && !waiting(err) {
		return err
	}
	return nil
}

// waiting reports whether err may go away by itself. A refused PIN does not, but ending would only start a loop.
func waiting(err error) bool {
	return errors.Is(err, keymgmt.ErrUnavailable) || errors.Is(err, audit.ErrUnavailable) ||
		errors.Is(err, audit.ErrContention) || errors.Is(err, context.DeadlineExceeded)
}

func (s *signers) ready() *service.Service {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.svc
}

// For implements remote.Signers.
func (s *signers) For(caller string) keymgmt.Signer {
	if svc := s.ready(); svc != nil {
		return svc.For(caller)
	}
	return starting{}
}

// Order implements remote.Signers.
func (s *signers) Order(ctx context.Context, caller string, o keymgmt.Order) error {
	if svc := s.ready(); svc != nil {
		return svc.Order(ctx, caller, o)
	}
	return errStarting
}

// Attest implements remote.Signers.
func (s *signers) Attest(ctx context.Context, caller string, a keymgmt.Attestation) error {
	if svc := s.ready(); svc != nil {
		return svc.Attest(ctx, caller, a)
	}
	return errStarting
}

// Health implements remote.Signers.
func (s *signers) Health(ctx context.Context) map[string]error {
	parts := map[string]error{"journal": s.cfg.DB.Ping(ctx), "keyring": s.cfg.Keyring.Ping(ctx), "keys": errStarting}
	if svc := s.ready(); svc != nil {
		parts = svc.Health(ctx)
	}
	parts["log"] = logHealth(ctx, s.sequencer)
	maps.Copy(parts, s.homes.Health(ctx)) // which of them it is that is away
	return parts
}

// starting is the Signer of a service that is not open yet.
type starting struct{}

// Sign answers that it is too early.
func (starting) Sign(context.Context, keymgmt.Request) (keymgmt.Signature, error) {
	return keymgmt.Signature{}, errStarting
}
