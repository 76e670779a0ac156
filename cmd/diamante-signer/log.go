package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
)

const (
	// logInterval is how often the signer's own log looks for new records, and so how often it asks for a signature.
	logInterval = time.Second
	// refusedPause is for how long nothing is asked after a refusal: each leaves a record, which asks for a checkpoint.
	refusedPause = time.Minute
	// maxUnsigned is how long a record may wait for a signed checkpoint before health says so.
	maxUnsigned = 2 * refusedPause
)

// logKey returns the public key of the signer's own log, which the policy must register for name, the signer's own, alone.
func (c *Config) logKey(rules *policy.Policy, name string) (audit.LogKey, error) {
	origin := rules.Origin(c.Log.Key)
	if origin == "" || !rules.Knows(name, c.Log.Key) {
		return audit.LogKey{}, fmt.Errorf("log.key: the policy does not let %q sign checkpoints with key %q", name, c.Log.Key)
	}
	return audit.NewLogKey(origin, ed25519.PublicKey(rules.Public(c.Log.Key).Bytes()))
}

// ownLog has the checkpoints of the signer's log signed by the signer itself, on the way that everybody's requests go. The
// sequencer calls it one at a time.
type ownLog struct {
	signers   *signers
	caller    string // the signer's own name
	key       keymgmt.KeyID
	notBefore time.Time
}

// errRefused: see refusedPause.
var errRefused = errors.New("the policy refused it a moment ago")

// SignCheckpoint is part of audit.CheckpointSigner.
func (l *ownLog) SignCheckpoint(ctx context.Context, text []byte) ([]byte, error) {
	if time.Now().Before(l.notBefore) {
		return nil, errRefused
	}
	ref, err := audit.CheckpointRef(text)
	if err != nil {
		return nil, err
	}
	sig, err := l.signers.For(l.caller).Sign(ctx, keymgmt.Request{Key: l.key, Kind: keymgmt.KindCheckpoint, Body: text, Ref: ref})
	if err != nil && ctx.Err() == nil && !errors.Is(err, keymgmt.ErrUnavailable) {
		l.notBefore = time.Now().Add(refusedPause)
	}
	return sig.Bytes, err
}

// newSequencer makes what gives the records of the signer's database their place in its log. Of several processes on one
// database one leads.
func newSequencer(db *audit.DB, cfg *Config, rules *policy.Policy, s *signers, log *slog.Logger) (*audit.Sequencer, error) {
	name, err := cfg.TLS.Name()
	if err != nil {
		return nil, err
	}
	key, err := cfg.logKey(rules, name)
	if err != nil {
		return nil, err
	}
	return audit.NewSequencer(db, &ownLog{signers: s, caller: name, key: cfg.Log.Key},
		audit.Config{Key: key, Interval: logInterval, BatchLimit: audit.MaxBatch, Log: log, Quiet: service.CheckpointTrace(cfg.Log.Key)})
}

// logHealth says when records wait too long for a signed checkpoint.
func logHealth(ctx context.Context, sequencer *audit.Sequencer) error {
	lag, err := sequencer.Lag(ctx)
	if err == nil && lag.Waiting > maxUnsigned {
		err = fmt.Errorf("%w: a record waits for a signed checkpoint since %s", keymgmt.ErrUnavailable, lag.Waiting.Truncate(time.Second))
	}
	return err
}
