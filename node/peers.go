package node

import (
	"context"
	"net"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/herder"
	"github.com/diamante/gateway/node/ledger"
	"github.com/diamante/gateway/node/overlay"
	"github.com/diamante/gateway/node/protocol"
)

// Signer holds, or knows where to ask for, the validator's key: for what it says in consensus, and for the transport key by which
// its peers know it.
type Signer interface {
	herder.StatementSigner
	// SignPeer returns the Ed25519 signature over the SHA-256 of body, which is the XDR of (network id, ENVELOPE_TYPE_AUTH,
	// expiration, transport key): whole, so that a signer can read what it signs.
	SignPeer(ctx context.Context, body []byte) ([]byte, error)
}

// voucher has the validator's key vouch for the transport key.
type voucher struct {
	signer  Signer
	network protocol.Hash
}

// Vouch is part of overlay.Voucher.
func (v voucher) Vouch(ctx context.Context, expiration uint64, transport [32]byte) (xdr.Signature, error) {
	return v.signer.SignPeer(ctx, overlay.VouchingBody(v.network, expiration, transport))
}

// Peers says whom a validator talks to.
type Peers struct {
	// Listener accepts peers; Run closes it. nil for a node that only dials.
	Listener net.Listener
	// Preferred are the peers of the configuration: there is always room for them, and they are dialled until they are there.
	Preferred []overlay.Peer
	// Strangers is how many others may be connected at once.
	Strangers int
	// Version names this program to peers.
	Version string
}

func (p Peers) overlay(cfg Config, n *Node) (*overlay.Overlay, error) {
	return overlay.New(overlay.Config{Passphrase: cfg.Genesis.Passphrase, ID: cfg.Signer.NodeID(), Voucher: voucher{cfg.Signer, cfg.Genesis.Passphrase.NetworkID()},
		Handler: hearer{n}, Listener: p.Listener,
		Preferred: p.Preferred, Strangers: p.Strangers, LedgerVersion: ledger.Protocol, Version: p.Version, Registerer: cfg.Registerer, Logger: cfg.Logger})
}

// hearer takes what peers say.
type hearer struct{ n *Node }

var verdicts = map[herder.Verdict]overlay.Verdict{herder.Done: overlay.Done, herder.Flood: overlay.Flood, herder.Misbehaved: overlay.Misbehaved}

// Handle is part of overlay.Handler.
func (h hearer) Handle(from protocol.AccountID, m xdr.StellarMessage) overlay.Verdict {
	release, err := h.n.open(context.Background())
	if err != nil {
		return overlay.Done
	}
	defer release()
	if m.Type != xdr.MessageTypeTransaction {
		return verdicts[h.n.consensus.Handle(from, m)]
	}
	switch s, err := h.n.herder.Submit(*m.Transaction); {
	case err != nil:
		return overlay.Misbehaved
	case s.Status == protocol.SubmissionPending:
		return overlay.Flood
	}
	return overlay.Done
}

// Joined is part of overlay.Handler.
func (h hearer) Joined(peer protocol.AccountID) { h.n.consensus.Joined(peer) }

// Left is part of overlay.Handler.
func (h hearer) Left(protocol.AccountID) {}
