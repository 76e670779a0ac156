package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/diamante/gateway/api/sep"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
)

// webSigner lets the wallets' door ask the signer for one kind of signature with one key, under its own errors.
type webSigner struct {
	signer keymgmt.Signer
	key    keymgmt.KeyID
	kind   keymgmt.Kind
}

// Sign is part of sep.Signer.
func (s webSigner) Sign(ctx context.Context, body []byte, ref string) ([]byte, error) {
	sig, err := s.signer.Sign(ctx, keymgmt.Request{Key: s.key, Kind: s.kind, Body: body, Ref: ref})
	if errors.Is(err, keymgmt.ErrUnavailable) {
		return nil, fmt.Errorf("%w: %w", sep.ErrSigner, err)
	}
	return sig.Bytes, err
}

// logSigner lets the audit log ask for signatures on its checkpoints.
type logSigner struct {
	signer keymgmt.Signer
	key    keymgmt.KeyID
}

// SignCheckpoint is part of audit.CheckpointSigner.
func (s logSigner) SignCheckpoint(ctx context.Context, text []byte) ([]byte, error) {
	ref, err := audit.CheckpointRef(text)
	if err != nil {
		return nil, err
	}
	sig, err := s.signer.Sign(ctx, keymgmt.Request{Key: s.key, Kind: keymgmt.KindCheckpoint, Body: text, Ref: ref})
	return sig.Bytes, err
}
