// Command diamante-gateway is the anchor: three listeners for wallets, partners and staff, and the workers behind them.
//
//	diamante-gateway -config gateway.toml                run until stopped
//	diamante-gateway -config gateway.toml -check-config  read everything that the configuration names, and stop
//
// It holds no private key and links no C. Beside PostgreSQL it keeps nothing: any number of it can run side by side.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"github.com/diamante/gateway/cmd/internal/boot"
)

func main() { boot.Main(run) }

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("diamante-gateway", flag.ContinueOnError)
	path := flags.String("config", "", "configuration file")
	check := flags.Bool("check-config", false, "read the configuration and what it names, and stop")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var cfg Config
	if err := boot.Load(*path, &cfg); err != nil {
		return err
	}
	log := boot.Logger(stdout, "diamante-gateway")
	g, err := assemble(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer g.close()
	if *check {
		_, err := fmt.Fprintf(stdout, "network %q, home domain %s, %d assets, log %s\n", cfg.Network, cfg.HomeDomain, len(cfg.Asset), g.logKey.Origin())
		return err
	}
	return g.run(ctx)
}
