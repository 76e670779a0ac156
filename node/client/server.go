package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Limits of the server. They hold for every connection; a stream renews its own deadline for writing with each frame.
const (
	headerTimeout  = 5 * time.Second
	bodyTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
	maxConcurrent  = 128 // requests at once on one connection
	// drainTimeout is how long what is under way may take to notice that the server stops.
	drainTimeout = 5 * time.Second
)

// ServerConfig says what a Server serves.
type ServerConfig struct {
	// Handler is what NewHandler made.
	Handler http.Handler
	// Logger gets failed handshakes and the like; default slog.Default.
	Logger *slog.Logger
}

// Server is an http.Server with limits on everything a client can send or leave unsent.
type Server struct{ cfg ServerConfig }

// NewServer makes a Server; Serve starts it.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Handler == nil {
		return nil, errors.New("client: server needs a handler")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Server{cfg}, nil
}

// Serve answers on l, a TLS listener that offers h2 and verifies client certificates, until ctx ends. Then l is
// closed, and the streams and calls under way are cancelled and answered. Serve returns nil if it stopped because of ctx.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	srv := &http.Server{
		Handler: s.cfg.Handler, Protocols: &protocols, MaxHeaderBytes: maxHeaderBytes,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: maxConcurrent},
		BaseContext: func(net.Listener) context.Context { return running },
		ErrorLog:    slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelWarn),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		cancel()
		drain, done := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer done()
		stopped <- srv.Shutdown(drain)
	})
	err := srv.Serve(l)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return errors.Join(fmt.Errorf("client: serve: %w", err), srv.Close())
	}
	if err := <-stopped; err != nil {
		return errors.Join(fmt.Errorf("client: stop serving: %w", err), srv.Close())
	}
	return nil
}
