package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/node"
	"github.com/diamante/gateway/node/herder"
	"github.com/diamante/gateway/node/overlay"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/scp"
)

// Consensus says with whom this validator agrees. Without it, it is the only one of its network.
type Consensus struct {
	Listen    string    `toml:"listen,omitempty"`    // address for other validators, host and port. Optional: then it only dials
	Strangers int       `toml:"strangers,omitempty"` // how many that are not named below may connect
	QuorumSet QuorumSet `toml:"quorum_set"`
	Peers     []Peer    `toml:"peer"`
	Upgrades  *Upgrades `toml:"upgrades,omitempty"`
}

// QuorumSet is whom this validator trusts: so many of its validators and inner sets must agree.
type QuorumSet struct {
	Threshold  uint32      `toml:"threshold"`
	Validators []string    `toml:"validators,omitempty"` // G...
	Inner      []QuorumSet `toml:"inner,omitempty"`
}

// Peer is a validator to be connected to, always.
type Peer struct {
	ID      string `toml:"id"`      // G...
	Address string `toml:"address"` // host and port
}

// Upgrades are what this validator's operator wants of the network. What is left out stays as it is.
type Upgrades struct {
	At           time.Time `toml:"at"` // when to begin to vote; for herder.UpgradeLife
	BaseFee      uint32    `toml:"base_fee,omitempty"`
	BaseReserve  uint32    `toml:"base_reserve,omitempty"`
	MaxTxSetSize uint32    `toml:"max_tx_set_size,omitempty"`
}

// Validate checks what can be checked without the network.
func (c *Consensus) Validate() error {
	quorum, err := c.QuorumSet.read()
	if err != nil {
		return err
	}
	if err := scp.CheckQuorumSet(quorum); err != nil {
		return fmt.Errorf("quorum_set: %w", err)
	}
	if len(c.Peers) == 0 && c.Listen == "" {
		return errors.New("consensus with nobody: peers or an address to listen on are required")
	}
	if u := c.Upgrades; u != nil && (u.At.IsZero() || u.MaxTxSetSize > node.MaxTxSetSize) {
		return fmt.Errorf("upgrades: a time is required, and ledgers of at most %d operations", node.MaxTxSetSize)
	}
	_, err = c.peers()
	return err
}

func (q QuorumSet) read() (xdr.ScpQuorumSet, error) {
	out := xdr.ScpQuorumSet{Threshold: xdr.Uint32(q.Threshold), Validators: []xdr.NodeId{}, InnerSets: []xdr.ScpQuorumSet{}}
	for _, v := range q.Validators {
		id, err := protocol.ParseAccountID(v)
		if err != nil {
			return out, fmt.Errorf("quorum_set: validator %q: %w", v, err)
		}
		out.Validators = append(out.Validators, xdr.NodeId(id.XDR()))
	}
	for _, inner := range q.Inner {
		set, err := inner.read()
		if err != nil {
			return out, err
		}
		out.InnerSets = append(out.InnerSets, set)
	}
	return out, nil
}

func (c *Consensus) peers() (out []overlay.Peer, err error) {
	for _, p := range c.Peers {
		id, err := protocol.ParseAccountID(p.ID)
		if err != nil {
			return nil, fmt.Errorf("peer %q: %w", p.ID, err)
		}
		if _, _, err := net.SplitHostPort(p.Address); err != nil {
			return nil, fmt.Errorf("peer %s: %w", p.ID, err)
		}
		out = append(out, overlay.Peer{ID: id, Address: p.Address})
	}
	return out, nil
}

// join puts consensus with others into a node's configuration, and opens the address for them.
func (c *Consensus) join(cfg *node.Config) (err error) {
	if cfg.QuorumSet, err = c.QuorumSet.read(); err != nil {
		return err
	}
	peers := node.Peers{Strangers: c.Strangers, Version: "diamante-node"}
	if peers.Preferred, err = c.peers(); err != nil {
		return err
	}
	if c.Listen != "" {
		if peers.Listener, err = net.Listen("tcp", c.Listen); err != nil {
			return fmt.Errorf("listen for peers: %w", err)
		}
	}
	cfg.Peers = &peers
	if u := c.Upgrades; u != nil {
		want := herder.Upgrades{BaseFee: u.BaseFee, BaseReserve: u.BaseReserve, MaxTxSetSize: u.MaxTxSetSize, At: u.At}
		cfg.Upgrades = func() herder.Upgrades { return want }
	}
	return nil
}

// reread takes the quorum set from the configuration's file again whenever the program is sent a hang-up, until ctx ends. What the
// node refuses changes nothing.
func (c Config) reread(ctx context.Context, n *node.Node, log *slog.Logger) {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGHUP)
	defer signal.Stop(told)
	for {
		select {
		case <-ctx.Done():
			return
		case <-told:
		}
		var now Config
		err := boot.Load(c.file, &now)
		if err == nil && now.Consensus == nil {
			err = errors.New("it names no consensus")
		}
		var quorum xdr.ScpQuorumSet
		if err == nil {
			quorum, err = now.Consensus.QuorumSet.read()
		}
		if err == nil {
			err = n.SetQuorumSet(ctx, quorum)
		}
		if err != nil {
			log.Error("the quorum set stays as it is", "file", c.file, "error", err)
			continue
		}
		log.Info("the quorum set was read again", "file", c.file)
	}
}
