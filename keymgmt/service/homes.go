package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/signature"
)

// Member is one keyring of several.
type Member struct {
	Name    string // in health and errors
	Keyring Keyring
}

// Homes is a keyring of keyrings: each key is in one of them. Where one is away, only its keys are. It is safe for
// concurrent use.
type Homes struct{ members []Member }

// NewHomes puts keyrings together. A key belongs to the first that says that it can have it, so one that knows its keys
// by name comes before one that takes any.
func NewHomes(members ...Member) (*Homes, error) {
	if len(members) == 0 {
		return nil, errors.New("service: no home for any key")
	}
	for _, m := range members {
		if m.Name == "" || m.Keyring == nil {
			return nil, errors.New("service: a home of keys has no name or no keyring")
		}
	}
	return &Homes{members}, nil
}

func (h *Homes) of(key keymgmt.KeyID) (Member, error) {
	for _, m := range h.members {
		if m.Keyring.Home(key) != 0 {
			return m, nil
		}
	}
	return Member{}, fmt.Errorf("%w: %s has no home", keymgmt.ErrUnknownKey, key)
}

// Public returns the public key of key, after a look into every other home that could have it: a key of that name in two
// places is two keys, and nobody uses either until an operator has removed one.
func (h *Homes) Public(ctx context.Context, key keymgmt.KeyID) (keymgmt.PublicKey, error) {
	owner, err := h.of(key)
	if err != nil {
		return keymgmt.PublicKey{}, err
	}
	public, err := owner.Keyring.Public(ctx, key)
	if err != nil {
		return keymgmt.PublicKey{}, fmt.Errorf("%s: %w", owner.Name, err)
	}
	for _, m := range h.members {
		if m.Name == owner.Name || m.Keyring.Home(key) == 0 {
			continue
		}
		switch _, err := m.Keyring.Public(ctx, key); {
		case err == nil:
			return keymgmt.PublicKey{}, fmt.Errorf("%w: %s is in %s and in %s", keymgmt.ErrUnknownKey, key, owner.Name, m.Name)
		case !errors.Is(err, keymgmt.ErrUnknownKey):
			return keymgmt.PublicKey{}, fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	return public, nil
}

// Sign has the key's home sign.
func (h *Homes) Sign(ctx context.Context, a *policy.Approval) ([]signature.Verified, error) {
	if a == nil {
		return nil, policy.ErrSpent
	}
	owner, err := h.of(a.Key())
	if err != nil {
		return nil, err
	}
	made, err := owner.Keyring.Sign(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", owner.Name, err)
	}
	return made, nil
}

// Home says where the private key of key is when it signs.
func (h *Homes) Home(key keymgmt.KeyID) keymgmt.Home {
	owner, err := h.of(key)
	if err != nil {
		return 0
	}
	return owner.Keyring.Home(key)
}

// Ping names every home that is away.
func (h *Homes) Ping(ctx context.Context) error {
	var errs []error
	for _, m := range h.members {
		if err := m.Keyring.Ping(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.Name, err))
		}
	}
	return errors.Join(errs...)
}

// Health says of each home, by its name, whether it works.
func (h *Homes) Health(ctx context.Context) map[string]error {
	parts := map[string]error{}
	for _, m := range h.members {
		parts[m.Name] = m.Keyring.Ping(ctx)
	}
	return parts
}
