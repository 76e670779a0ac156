package herder_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/herder"
	"github.com/diamante/gateway/node/ledger"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
)

// signer is a key with a switch.
type signer struct {
	key  ed25519.PrivateKey
	id   protocol.AccountID
	away bool
}

func (s *signer) NodeID() protocol.AccountID { return s.id }

func (s *signer) SignValue(ctx context.Context, body []byte) ([]byte, error) {
	return s.SignStatement(ctx, body)
}

func (s *signer) SignStatement(_ context.Context, body []byte) ([]byte, error) {
	if s.away {
		return nil, errors.New("away")
	}
	return ed25519.Sign(s.key, body), nil
}

// TestAlone: a quorum set of one closes ledgers by the protocol, has everything signed that it says, and rests while its signer is
// away.
func TestAlone(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{key: key}
	if s.id, err = protocol.AccountIDFromKey(public); err != nil {
		t.Fatal(err)
	}
	start := time.Unix(1_700_000_000, 0).UTC()
	clock := nodetest.NewClock(start.Add(time.Minute))
	l, err := ledger.OpenFS(vfs.NewMem(), "ledger", ledger.Genesis{Passphrase: "alone", Root: s.id, Supply: nodetest.Amount(t, "1000"), BaseFee: 100,
		BaseReserve: 5_000_000, Protocol: ledger.Protocol, MaxTxSetSize: 100, CloseTime: start})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	quiet := slog.New(slog.DiscardHandler)
	f, err := herder.NewFederated(herder.FederatedConfig{Passphrase: "alone", Ledger: l, Memory: l, Signer: s, Clock: clock, Logger: quiet,
		QuorumSet: xdr.ScpQuorumSet{Threshold: 1, Validators: []xdr.NodeId{xdr.NodeId(s.id.XDR())}, InnerSets: []xdr.ScpQuorumSet{}}})
	if err != nil {
		t.Fatal(err)
	}
	h, err := herder.New(herder.Config{Passphrase: "alone", Ledger: l, Signer: s, Consensus: f.Attach, CloseEvery: 5 * time.Second, Clock: clock, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	pass := func(d time.Duration) (steps int) {
		t.Helper()
		for end := clock.Now().Add(d); clock.Now().Before(end); steps++ {
			next, err := h.Step(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for more := !s.away; more; {
				if more, err = f.SignNext(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if wait := next.Sub(clock.Now()); next.IsZero() || wait <= 0 {
				t.Fatalf("steps again at %s, it is %s", next, clock.Now())
			} else {
				clock.Advance(min(wait, end.Sub(clock.Now())))
			}
		}
		return steps
	}
	at := func() uint32 {
		header, _ := l.Header()
		return uint32(header.LedgerSeq)
	}
	pass(time.Minute)
	if got := at(); got < 12 || got > 14 {
		t.Errorf("at ledger %d after a minute", got)
	}
	for slot := uint32(2); slot < at(); slot++ {
		entry, err := l.WhatDecided(slot)
		if err != nil || len(entry.LedgerMessages.Messages) != 1 || len(entry.LedgerMessages.Messages[0].Signature) != ed25519.SignatureSize {
			t.Errorf("what decided ledger %d: %+v %v", slot, entry, err)
		}
	}
	before := at()
	s.away = true
	if steps := pass(5 * time.Minute); steps > 1000 || at() != before {
		t.Errorf("%d steps and %d ledgers while the signer is away", steps, at()-before)
	}
	s.away = false
	pass(10 * time.Second)
	if at() < before+2 {
		t.Errorf("at ledger %d after %d once the signer is back", at(), before)
	}
}
