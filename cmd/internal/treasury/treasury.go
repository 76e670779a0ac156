// Package treasury is the side of an attestor: a bank's treasury, or an auditor, who says what stands behind an asset. It
// counts what is out by reading every ledger of a node of its own choice, and never asks the gateway.
//
//	t, err := treasury.New(treasury.Config{...})
//	err = t.Attest(ctx, held) // stroops of the asset that are held now
package treasury

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"sync"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node"
	"github.com/diamante/gateway/node/protocol"
)

// Ledgers is the node that is trusted; node/client.Client is one.
type Ledgers interface {
	// Closes yields every closed ledger from one on.
	Closes(ctx context.Context, from uint32) iter.Seq2[xdr.LedgerCloseMeta, error]
	// Status says which was the last.
	Status(ctx context.Context) (protocol.Status, error)
}

// Signer is where attestations are delivered; keymgmt/remote.Client is one.
type Signer interface {
	Attest(ctx context.Context, a keymgmt.Attestation) error
}

// Config says who attests what. Every field is required.
type Config struct {
	Name    string         // the attestor's in the policy
	Key     crypto.Signer  // his own
	Asset   protocol.Asset // with an issuer
	Ledgers Ledgers
	Signer  Signer
}

// Treasury attests the reserve of one asset. It is safe for concurrent use.
type Treasury struct {
	cfg Config

	mu    sync.Mutex
	count *Count              // guarded by mu
	last  keymgmt.Attestation // guarded by mu
}

// New makes a Treasury that has read nothing yet.
func New(cfg Config) (*Treasury, error) {
	if cfg.Name == "" || cfg.Key == nil || cfg.Asset.Issuer().IsZero() || cfg.Ledgers == nil || cfg.Signer == nil {
		return nil, errors.New("treasury: Config needs everything")
	}
	return &Treasury{cfg: cfg, count: NewCount(cfg.Asset)}, nil
}

// Count reads on to the node's last ledger and returns what it found there.
func (t *Treasury) Count(ctx context.Context) (Count, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.read(ctx, 0)
	return *t.count, err
}

// read goes on to the node's last ledger, and waits for the one given if that is later.
func (t *Treasury) read(ctx context.Context, atLeast uint32) error {
	status, err := t.cfg.Ledgers.Status(ctx)
	if err != nil {
		return fmt.Errorf("treasury: %w", err)
	}
	until := max(status.Ledger, atLeast)
	if t.count.Ledger >= until || until < node.FirstClosed {
		return nil
	}
	for meta, err := range t.cfg.Ledgers.Closes(ctx, max(t.count.Ledger+1, node.FirstClosed)) {
		if err != nil {
			return fmt.Errorf("treasury: %w", err)
		}
		if err := t.count.Add(meta); err != nil {
			return err
		}
		if t.count.Ledger >= until {
			return nil
		}
	}
	return fmt.Errorf("treasury: the ledgers end at %d: %w", t.count.Ledger, context.Cause(ctx))
}

// Attest says that so much is held, and what is out at the node's last ledger: a newer one than it has attested before. It
// can be called again whatever its error was.
func (t *Treasury) Attest(ctx context.Context, held *big.Int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.read(ctx, uint32(t.last.Ledger)+1); err != nil {
		return err
	}
	status, err := t.cfg.Ledgers.Status(ctx)
	if err != nil {
		return fmt.Errorf("treasury: %w", err)
	}
	issued := time.Now().UTC().Truncate(time.Second)
	if !issued.After(t.last.Issued) {
		issued = t.last.Issued.Add(time.Second) // ledgers may close faster than seconds pass
	}
	a, err := policy.SignAttestation(status.Passphrase.NetworkID(), keymgmt.Attestation{Asset: t.cfg.Asset.String(), Reserve: payload.Decimal(held),
		Outstanding: payload.Decimal(t.count.Outstanding), Ledger: int64(t.count.Ledger), Closed: t.count.Closed, Sequence: t.count.Sequence, Issued: issued,
		Attestor: t.cfg.Name}, t.cfg.Key)
	if err != nil {
		return err
	}
	if err := t.cfg.Signer.Attest(ctx, a); err != nil {
		return fmt.Errorf("treasury: %w", err)
	}
	t.last = a
	return nil
}
