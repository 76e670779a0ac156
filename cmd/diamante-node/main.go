// Command diamante-node is the validator: it keeps the ledger, closes it, and serves it to its gateway by mutual TLS.
//
//	diamante-node -config node.toml                run until stopped
//	diamante-node -config node.toml -check-config  read everything that the configuration names, and stop
//	kill -HUP PID                                  take the quorum set from the file again, if it is safe
//
// Its key is asked of a signer, or is a seed file in development. It needs nothing else of ours: no gateway, no database server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/node"
	"github.com/diamante/gateway/node/client"
	"github.com/diamante/gateway/node/genesis"
)

func main() { boot.Main(run) }

// Config is the node's configuration file. Paths are absolute; secrets are paths.
type Config struct {
	Dir        string   `toml:"dir"`            // folder of the ledger's store, made when it does not exist
	Genesis    string   `toml:"genesis"`        // the network's genesis file
	Seed       string   `toml:"seed,omitempty"` // the validator's seed file; mode 0600. Development only: a key in a file
	CloseEvery Duration `toml:"close_every"`    // target from one ledger to the next, such as "5s"
	Listen     string   `toml:"listen"`         // address to serve the gateway on, host and port
	Metrics    string   `toml:"metrics"`        // address to serve metrics on, to the same clients. Optional
	Clients    []string `toml:"clients"`        // names in the certificates of those who may ask
	// Signer holds the validator's key, in place of a seed file.
	Signer *Signer `toml:"signer,omitempty"`
	// Consensus is whom to agree with. Optional: nobody.
	Consensus *Consensus `toml:"consensus,omitempty"`
	TLS       boot.TLS   `toml:"tls"` // the node's certificate and key, and the authority of its clients

	file string // where it was read
}

// Duration is a time.Duration in a configuration, written as "5s".
type Duration time.Duration

// UnmarshalText reads the text form.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Validate checks that everything required is there.
func (c *Config) Validate() error {
	switch {
	case c.Dir == "" || c.Genesis == "":
		return errors.New("dir and genesis are required")
	case (c.Seed == "") == (c.Signer == nil):
		return errors.New("either a seed or a signer is required")
	case c.Listen == "" || len(c.Clients) == 0:
		return errors.New("listen and clients are required")
	case c.CloseEvery <= 0:
		return errors.New("close_every must be positive")
	}
	if c.Signer != nil {
		if err := c.Signer.Validate(); err != nil {
			return err
		}
	}
	if c.Consensus != nil {
		if err := c.Consensus.Validate(); err != nil {
			return fmt.Errorf("consensus: %w", err)
		}
	}
	return c.TLS.Validate()
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("diamante-node", flag.ContinueOnError)
	path := flags.String("config", "", "configuration file")
	check := flags.Bool("check-config", false, "read the configuration and what it names, and stop")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var cfg Config
	if err := boot.Load(*path, &cfg); err != nil {
		return err
	}
	cfg.file = *path
	if *check {
		return checkConfig(cfg, stdout)
	}
	return serve(ctx, cfg, stdout)
}

func checkConfig(cfg Config, stdout io.Writer) error {
	first, err := genesis.Load(cfg.Genesis)
	if err != nil {
		return err
	}
	signer, err := cfg.key()
	if err != nil {
		return err
	}
	if _, err := cfg.TLS.ServerConfig(cfg.Clients...); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "network %q, root %s, validator %s\n", first.Passphrase, first.Root, signer.NodeID())
	return err
}

// serve opens the ledger, then closes ledgers and answers until ctx ends or one of these fails.
func serve(ctx context.Context, cfg Config, stdout io.Writer) (err error) {
	log := boot.Logger(stdout, "diamante-node")
	first, err := genesis.Load(cfg.Genesis)
	if err != nil {
		return err
	}
	signer, err := cfg.key()
	if err != nil {
		return err
	}
	serverTLS, err := cfg.TLS.ServerConfig(cfg.Clients...)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	of := node.Config{Dir: cfg.Dir, Genesis: first, CloseEvery: time.Duration(cfg.CloseEvery), Signer: signer, Registerer: registry, Logger: log}
	if cfg.Consensus != nil {
		if err := cfg.Consensus.join(&of); err != nil {
			return err
		}
	}
	n, err := node.New(of)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	handler, err := client.NewHandler(client.HandlerConfig{Node: n, Clients: cfg.Clients, Logger: log})
	if err != nil {
		return err
	}
	server, err := client.NewServer(client.ServerConfig{Handler: handler, Logger: log})
	if err != nil {
		return err
	}
	listener, err := boot.Listen(cfg.Listen, serverTLS)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.Run(ctx) })
	if cfg.Consensus != nil {
		group.Go(func() error { cfg.reread(ctx, n, log); return nil })
	}
	group.Go(func() error { return server.Serve(ctx, listener) })
	if cfg.Metrics != "" {
		metrics, err := boot.Listen(cfg.Metrics, serverTLS)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
		group.Go(func() error { return boot.Serve(ctx, boot.Server(mux, log), metrics) })
	}
	log.Info("serving", "address", listener.Addr().String(), "network", string(first.Passphrase), "validator", signer.NodeID().String())
	return group.Wait()
}
