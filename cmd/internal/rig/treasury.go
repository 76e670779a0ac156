package rig

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/diamante/gateway/cmd/internal/treasury"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/remote"
	"github.com/diamante/gateway/node/client"
	"github.com/diamante/gateway/node/protocol"
)

// The bank's treasury in the policy, and how old its last word may be before nothing more is issued.
const (
	treasuryName  = "treasury"
	treasuryAge   = 24 * time.Hour
	signerTimeout = 20 * time.Second
)

// reserve is the bank's treasury, from when it is first asked on.
type reserve struct {
	mu       sync.Mutex
	treasury *treasury.Treasury // guarded by mu
	before   *big.Int           // what was out before; guarded by mu
}

// Attest has the bank's treasury tell the signer that so much of the asset's currency came in, in stroops. The bank that a
// story plays begins with an empty account, so whatever was out before its first word is held besides.
func (r *Rig) Attest(ctx context.Context, received *big.Int) error {
	r.reserve.mu.Lock()
	defer r.reserve.mu.Unlock()
	if r.reserve.treasury == nil {
		t, err := r.newTreasury()
		if err != nil {
			return err
		}
		count, err := t.Count(ctx)
		if err != nil {
			return err
		}
		r.reserve.treasury, r.reserve.before = t, count.Outstanding
	}
	return r.reserve.treasury.Attest(ctx, new(big.Int).Add(r.reserve.before, received))
}

func (r *Rig) newTreasury() (*treasury.Treasury, error) {
	keys, err := r.knownKeys()
	if err != nil {
		return nil, err
	}
	asset, err := protocol.NewCredit(AssetCode, keys["anchor/usd/issuing"])
	if err != nil {
		return nil, fmt.Errorf("rig: %w", err)
	}
	key, err := r.seed(treasuryName)
	if err != nil {
		return nil, err
	}
	material, err := r.programTLS(TreasuryName)
	if err != nil {
		return nil, err
	}
	toNode, err := material.ClientConfig(NodeName)
	if err != nil {
		return nil, err
	}
	toSigner, err := material.ClientConfig(SignerName)
	if err != nil {
		return nil, err
	}
	ledgers, err := client.New(client.Config{URL: "https://" + loopback(r.ports.Node), TLS: toNode})
	if err != nil {
		return nil, err
	}
	signer, err := remote.NewClient(remote.Config{URL: "https://" + loopback(r.ports.Signer), TLS: toSigner, Timeout: signerTimeout})
	if err != nil {
		return nil, err
	}
	return treasury.New(treasury.Config{Name: treasuryName, Key: key, Asset: asset, Ledgers: ledgers, Signer: signer})
}

// attestors are those whose word the policy asks for.
func (r *Rig) attestors() ([]policy.Signatory, error) {
	key, err := r.seed(treasuryName)
	if err != nil {
		return nil, err
	}
	id, err := protocol.AccountIDFromKey(key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("rig: %w", err)
	}
	return []policy.Signatory{{Name: treasuryName, Public: policy.Ledger(id)}}, nil
}
