package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/remote"
	"github.com/diamante/gateway/node"
	"github.com/diamante/gateway/node/protocol"
)

// Signer says where the validator's key is, and which.
type Signer struct {
	URL    string `toml:"url"`    // https, of the signer
	Name   string `toml:"name"`   // in its certificate
	Key    string `toml:"key"`    // the key's id, such as network/validator
	Public string `toml:"public"` // the validator: G...
}

// callTimeout bounds one question to the signer; the herder gives up sooner.
const callTimeout = 5 * time.Second

// Validate checks that everything is there.
func (s *Signer) Validate() error {
	if s.URL == "" || s.Name == "" {
		return errors.New("signer: url and name are required")
	}
	if _, err := keymgmt.ParseKeyID(s.Key); err != nil {
		return fmt.Errorf("signer: %w", err)
	}
	if _, err := protocol.ParseAccountID(s.Public); err != nil {
		return fmt.Errorf("signer: public: %w", err)
	}
	return nil
}

// remoteSigner asks the key-management instance for the validator's signatures: whole statements, which it reads, and holds to
// what it has signed before.
type remoteSigner struct {
	signer keymgmt.Signer
	key    keymgmt.KeyID
	id     protocol.AccountID
}

// connect makes a signer that connects when it is first asked.
func (s *Signer) connect(tls boot.TLS) (_ *remoteSigner, err error) {
	out := &remoteSigner{}
	if out.key, err = keymgmt.ParseKeyID(s.Key); err != nil {
		return nil, err
	}
	if out.id, err = protocol.ParseAccountID(s.Public); err != nil {
		return nil, err
	}
	cfg, err := tls.ClientConfig(s.Name)
	if err != nil {
		return nil, err
	}
	out.signer, err = remote.NewClient(remote.Config{URL: s.URL, TLS: cfg, Timeout: callTimeout})
	return out, err
}

// NodeID is part of node.Signer.
func (s *remoteSigner) NodeID() protocol.AccountID { return s.id }

// SignValue is part of node.Signer.
func (s *remoteSigner) SignValue(ctx context.Context, body []byte) ([]byte, error) {
	return s.sign(ctx, keymgmt.KindSCPValue, body)
}

// SignStatement is part of node.Signer.
func (s *remoteSigner) SignStatement(ctx context.Context, body []byte) ([]byte, error) {
	return s.sign(ctx, keymgmt.KindStatement, body)
}

// SignPeer is part of node.Signer.
func (s *remoteSigner) SignPeer(ctx context.Context, body []byte) ([]byte, error) {
	return s.sign(ctx, keymgmt.KindAuthCert, body)
}

// sign asks for a signature. The body names the request: asked again, it gets the same answer.
func (s *remoteSigner) sign(ctx context.Context, kind keymgmt.Kind, body []byte) ([]byte, error) {
	sum := sha256.Sum256(body)
	sig, err := s.signer.Sign(ctx, keymgmt.Request{Key: s.key, Kind: kind, Body: body, Ref: kind.String() + "/" + hex.EncodeToString(sum[:])})
	if err != nil {
		return nil, err
	}
	return sig.Bytes, nil
}

// key returns who signs for the validator: the signer, or a seed file in development.
func (c *Config) key() (node.Signer, error) {
	if c.Signer != nil {
		return c.Signer.connect(c.TLS)
	}
	return node.LoadSeed(c.Seed)
}
