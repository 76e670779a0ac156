package main

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/diamante/gateway/api/trail"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/cmd/internal/boot"
)

// connections bounds what each listener holds open.
var connections = web.Connections{Total: 1024, PerAddress: 256}

// door is a listener with its handler.
type door struct {
	listener net.Listener
	handler  http.Handler
}

// run opens the doors and works until ctx ends or something that cannot be mended by waiting fails.
func (g *gateway) run(ctx context.Context) error {
	doors, err := g.open()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, d := range doors {
		group.Go(func() error { return boot.Serve(ctx, web.NewServer(d.handler, nil, g.log), d.listener) })
	}
	group.Go(func() error { return g.sequencer.Run(ctx) })
	group.Go(func() error { return g.horizon.Run(ctx) })
	group.Go(func() error { return g.anchor.Run(ctx) })
	group.Go(func() error {
		return trail.Run(ctx, g.db, func(err error) { g.log.Warn("old answers were not removed", "error", err) })
	})
	g.log.Info("serving", "public", g.cfg.Public.Listen, "partner", g.cfg.Partner.Listen, "staff", g.cfg.Staff.Listen)
	return group.Wait()
}

// open opens all three listeners, or none.
func (g *gateway) open() (doors []door, err error) {
	defer func() {
		if err != nil {
			for _, d := range doors {
				_ = d.listener.Close() // the first error is the one to tell
			}
		}
	}()
	handlers, err := g.handlers()
	if err != nil {
		return nil, err
	}
	for i, l := range []Listener{g.cfg.Public, g.cfg.Partner, g.cfg.Staff} {
		tlsConfig, err := l.TLS.PublicConfig()
		if len(l.Names) > 0 {
			names := make([]string, 0, len(l.Names))
			for name := range l.Names {
				names = append(names, name)
			}
			tlsConfig, err = l.TLS.ServerConfig(names...)
		}
		if err != nil {
			return doors, err
		}
		listener, err := net.Listen("tcp", l.Listen)
		if err != nil {
			return doors, fmt.Errorf("listen: %w", err)
		}
		// TLS goes outside the bound, so that the server sees the client's certificate.
		doors = append(doors, door{boot.Secure(web.Bound(listener, connections), tlsConfig), handlers[i]})
	}
	return doors, nil
}
