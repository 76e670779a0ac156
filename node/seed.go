package node

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/stellar/go-stellar-sdk/strkey"

	"github.com/diamante/gateway/node/protocol"
)

// ErrSeedFile is wrapped by every error of a seed file that can be opened and should not be trusted.
var ErrSeedFile = errors.New("node: seed file refused")

// seedMode is the only mode of a seed file that is accepted: its owner's, and nobody else's.
const seedMode fs.FileMode = 0o600

// maxSeedFile bounds what is read of a seed file: 56 characters and a line end.
const maxSeedFile = 64

// Seed is a validator's key in a file, for development; in production the key is behind a signer. It is a
// Signer. It never shows its key, in whatever way it is printed.
type Seed struct {
	id  protocol.AccountID
	key ed25519.PrivateKey
}

// CreateSeed makes a new key and a file for it, readable by its owner only, and returns the public key. The file must
// not exist.
func CreateSeed(path string) (id protocol.AccountID, err error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return id, fmt.Errorf("node: create seed: %w", err)
	}
	if id, err = protocol.AccountIDFromKey(public); err != nil {
		return id, err
	}
	text, err := strkey.Encode(strkey.VersionByteSeed, private.Seed())
	if err != nil {
		return id, fmt.Errorf("node: create seed: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, seedMode)
	if err != nil {
		return id, fmt.Errorf("node: create seed: %w", err)
	}
	_, err = f.WriteString(text + "\n")
	if err = errors.Join(err, f.Chmod(seedMode), f.Sync(), f.Close()); err != nil {
		// Half a seed is worse than none: the next start would refuse it.
		return id, errors.Join(fmt.Errorf("node: create seed: %w", err), os.Remove(path))
	}
	return id, nil
}

// LoadSeed reads a seed file: one S... strkey, in a regular file with mode 0600 exactly.
func LoadSeed(path string) (*Seed, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("node: load seed: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("node: load seed: %w", err)
	}
	if info.Mode() != seedMode {
		return nil, fmt.Errorf("%w: %s has mode %s, must be %s", ErrSeedFile, path, info.Mode(), seedMode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSeedFile+1))
	if err != nil {
		return nil, fmt.Errorf("node: load seed: %w", err)
	}
	raw, err := strkey.Decode(strkey.VersionByteSeed, strings.TrimSuffix(string(text), "\n"))
	if err != nil || len(raw) != ed25519.SeedSize {
		// The reason may quote the text, which may be a key with a slip in it.
		return nil, fmt.Errorf("%w: %s does not hold one seed (S...)", ErrSeedFile, path)
	}
	s := &Seed{key: ed25519.NewKeyFromSeed(raw)}
	if s.id, err = protocol.AccountIDFromKey(s.key.Public().(ed25519.PublicKey)); err != nil {
		return nil, err
	}
	return s, nil
}

// NodeID returns the public key.
func (s *Seed) NodeID() protocol.AccountID { return s.id }

// SignStatement signs body. It never fails.
func (s *Seed) SignStatement(_ context.Context, body []byte) ([]byte, error) {
	return ed25519.Sign(s.key, body), nil
}

// SignPeer signs the SHA-256 of body. It never fails.
func (s *Seed) SignPeer(_ context.Context, body []byte) ([]byte, error) {
	digest := sha256.Sum256(body)
	return ed25519.Sign(s.key, digest[:]), nil
}

// SignValue signs body. It never fails.
func (s *Seed) SignValue(_ context.Context, body []byte) ([]byte, error) {
	return ed25519.Sign(s.key, body), nil
}

// Format prints the public key whatever the verb.
func (s Seed) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "seed of %s", s.id) }
