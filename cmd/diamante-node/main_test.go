package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/keypair"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/cmd/internal/boot/devca"
	"github.com/diamante/gateway/node"
	"github.com/diamante/gateway/node/client"
	"github.com/diamante/gateway/node/genesis"
	"github.com/diamante/gateway/node/ledger"
	"github.com/diamante/gateway/node/protocol"
)

const example = "../../deploy/config/node.toml"

func TestExample(t *testing.T) {
	var cfg Config
	if err := boot.Load(example, &cfg); err != nil {
		t.Fatal(err)
	}
	if time.Duration(cfg.CloseEvery) != 5*time.Second || len(cfg.Clients) != 1 {
		t.Errorf("the example was read as %+v", cfg)
	}
}

func TestRefused(t *testing.T) {
	raw, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ old, new, want string }{
		"unknown key": {"metrics", "metricks", "metricks"},
		"no clients":  {`["gateway.diamante.internal"]`, "[]", "clients"},
		"no time":     {`"5s"`, `"0s"`, "close_every"},
		"no key":      {`"/etc/diamante/node/tls/node.key"`, `""`, "tls"},
		"no genesis":  {"clients =", "clients =", "genesis.toml"},
	} {
		path := filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(path, bytes.Replace(raw, []byte(tt.old), []byte(tt.new), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		err := run(context.Background(), []string{"-config", path}, new(strings.Builder))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

// TestRun runs the program, asks it over mutual TLS, and stops it.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	ca, err := devca.Open(path("ca"))
	if err != nil {
		t.Fatal(err)
	}
	issue := func(name string) boot.TLS {
		cert, key, err := ca.Issue(devca.Leaf{Name: name, DNS: []string{name}})
		if err != nil {
			t.Fatal(err)
		}
		return boot.TLS{Cert: cert, Key: key, CA: ca.CertFile()}
	}
	root, err := protocol.ParseAccountID(keypair.MustRandom().Address())
	if err != nil {
		t.Fatal(err)
	}
	supply, err := protocol.ParseAmount("1000000")
	if err != nil {
		t.Fatal(err)
	}
	first := ledger.Genesis{Passphrase: "node test", Root: root, Supply: supply, BaseFee: 100, BaseReserve: 5_000_000, Protocol: ledger.Protocol,
		MaxTxSetSize: 100, CloseTime: time.Unix(1_700_000_000, 0).UTC()}
	if err := genesis.Write(path("genesis.toml"), first); err != nil {
		t.Fatal(err)
	}
	if _, err := node.CreateSeed(path("seed")); err != nil {
		t.Fatal(err)
	}
	const address = "127.0.0.1:28446"
	cfg := Config{Dir: path("ledger"), Genesis: path("genesis.toml"), Seed: path("seed"), CloseEvery: Duration(time.Second), Listen: address,
		Clients: []string{"gateway.internal"}, TLS: issue("node.internal")}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, cfg, new(strings.Builder)) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	tlsConfig, err := issue("gateway.internal").ClientConfig("node.internal")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{URL: "https://" + address, TLS: tlsConfig})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	deadline, tick := time.After(2*time.Minute), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		account, err := c.Account(ctx, root)
		if err == nil {
			if account.Balance != supply {
				t.Errorf("the root account holds %s", account.Balance)
			}
			return
		}
		select {
		case <-deadline:
			t.Fatal(err)
		case <-tick.C:
		}
	}
}
