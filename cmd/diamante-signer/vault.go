package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/diamante/gateway/cmd/internal/vaultconf"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11/child"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/keymgmt/vault"
)

// Vault names a Vault server and the keys that are there. Every other key is in the token.
type Vault struct {
	vaultconf.Server
	Transit string `toml:"transit"` // where the transit engine is mounted

	Keys    []VaultKey        `toml:"keys"`
	Sealing []VaultSealingKey `toml:"sealing"` // keys that seal; needed for secp256k1. Optional
	Sealer  string            `toml:"sealer"`  // which of them seals secp256k1 keys. Optional
	// Store is where sealed keys are: a key-value engine, version 2, and the path below it. Optional
	StoreMount  string `toml:"store_mount"`
	StorePrefix string `toml:"store_prefix"`
}

// VaultKey pins a key of the policy that is in Vault.
type VaultKey struct {
	ID        keymgmt.KeyID `toml:"id"`
	Algorithm string        `toml:"algorithm"` // ed25519, p256, or secp256k1: made by the signer, and sealed
	Name      string        `toml:"name"`      // in the transit engine, if it is not the id with points for slashes. Optional
	Version   int           `toml:"version"`   // that signs; not for secp256k1
	Imported  bool          `toml:"imported"`  // it was made elsewhere, so that copies may exist. Optional
}

// VaultSealingKey pins an AES-256-GCM key of the transit engine.
type VaultSealingKey struct {
	ID      keymgmt.KeyID `toml:"id"`
	Name    string        `toml:"name"` // Optional
	Version int           `toml:"version"`
}

// keyring returns the keys. With rules, each is pinned to the public key that the policy registers.
func (v *Vault) keyring(client *vault.Client, rules *policy.Policy) (vault.KeyringConfig, error) {
	cfg := vault.KeyringConfig{Transit: v.Transit}
	for _, k := range v.Keys {
		algorithm, err := parseAlgorithm(k.Algorithm)
		if err != nil {
			return cfg, fmt.Errorf("vault.keys %s: algorithm %.40q: %w", k.ID, k.Algorithm, err)
		}
		key := vault.Key{ID: k.ID, Algorithm: algorithm, Name: k.Name, Version: k.Version, Imported: k.Imported}
		if rules != nil {
			if key.Public = rules.Public(k.ID); key.Public.IsZero() {
				return cfg, fmt.Errorf("vault.keys %s: the policy does not know the key", k.ID)
			}
		}
		cfg.Keys = append(cfg.Keys, key)
	}
	for _, k := range v.Sealing {
		cfg.Sealing = append(cfg.Sealing, vault.SealingKey{ID: k.ID, Name: k.Name, Version: k.Version})
	}
	if v.Sealer != "" {
		var err error
		if cfg.Sealer, err = keymgmt.ParseKeyID(v.Sealer); err != nil {
			return cfg, fmt.Errorf("vault.sealer: %w", err)
		}
		if cfg.Store, err = vault.NewKVStore(client, v.StoreMount, v.StorePrefix); err != nil {
			return cfg, fmt.Errorf("vault.store_mount, vault.store_prefix: %w", err)
		}
	}
	return cfg, nil
}

// open makes client and keyring. Neither talks to Vault yet.
func (v *Vault) open(rules *policy.Policy, log *slog.Logger) (*vault.Client, *vault.Keyring, error) {
	cfg, err := v.Server.Config(log)
	if err != nil {
		return nil, nil, err
	}
	client, err := vault.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	keys, err := v.keyring(client, rules)
	if err != nil {
		return nil, nil, err
	}
	ring, err := vault.NewKeyring(client, keys)
	return client, ring, err
}

// Validate checks the shape, as far as it can be without the files that it names.
func (v *Vault) Validate() error {
	if err := v.Server.Validate(); err != nil {
		return err
	}
	if len(v.Keys) == 0 {
		return errors.New("vault has no keys")
	}
	keys, err := v.keyring(nil, nil)
	if err != nil {
		return err
	}
	return keys.Validate()
}

// has reports whether a key is configured to be in Vault.
func (v *Vault) has(id keymgmt.KeyID) bool {
	return slices.ContainsFunc(v.Keys, func(k VaultKey) bool { return k.ID == id })
}

// vaultMaker makes the keys that the configuration describes, each after the key that seals it, if it needs one.
type vaultMaker struct {
	ring   *vault.Keyring
	sealer keymgmt.KeyID
}

// Public implements maker.
func (v vaultMaker) Public(ctx context.Context, id keymgmt.KeyID) (keymgmt.PublicKey, error) {
	return v.ring.Public(ctx, id)
}

// Generate implements maker. The algorithm is the configuration's.
func (v vaultMaker) Generate(ctx context.Context, id keymgmt.KeyID, _ keymgmt.Algorithm) (keymgmt.PublicKey, error) {
	if v.ring.Home(id) == keymgmt.SoftwareSealed {
		if err := v.ring.GenerateSealing(ctx, v.sealer); err != nil && !errors.Is(err, vault.ErrExists) {
			return keymgmt.PublicKey{}, err
		}
	}
	return v.ring.Generate(ctx, id)
}

// withVault logs in for as long as do takes. Keys are not pinned to the policy's: they may be on their way into it.
func withVault(ctx context.Context, cfg *Config, do func(ctx context.Context, v vaultMaker) error) error {
	client, ring, err := cfg.Vault.open(nil, slog.Default())
	if err != nil {
		return err
	}
	v := vaultMaker{ring: ring}
	if cfg.Vault.Sealer != "" {
		if v.sealer, err = keymgmt.ParseKeyID(cfg.Vault.Sealer); err != nil {
			return err
		}
	}
	return client.While(ctx, func(ctx context.Context) error { return do(ctx, v) })
}

// homes is where the keys are, and what must run for them.
type homes struct {
	keyring *service.Homes
	token   *child.Ring   // nil without a token
	vault   *vault.Client // nil without Vault
}

// homes puts the keyrings together. Vault knows its keys by name and so comes first; the token is asked for all others.
func (c *Config) homes(rules *policy.Policy, log *slog.Logger) (h homes, err error) {
	var members []service.Member
	if c.Vault != nil {
		var ring *vault.Keyring
		if h.vault, ring, err = c.Vault.open(rules, log); err != nil {
			return h, err
		}
		members = append(members, service.Member{Name: "vault", Keyring: ring})
	}
	if c.PKCS11 != nil {
		if h.token, err = c.PKCS11.child(log); err != nil {
			return h, err
		}
		members = append(members, service.Member{Name: "pkcs11", Keyring: h.token})
	}
	h.keyring, err = service.NewHomes(members...)
	return h, err
}

// run keeps the homes open until ctx ends.
func (h homes) run(ctx context.Context) error {
	var runs []func(context.Context) error
	if h.vault != nil {
		runs = append(runs, h.vault.Run)
	}
	if h.token != nil {
		runs = append(runs, h.token.Run)
	}
	ended := make(chan error, len(runs))
	for _, run := range runs {
		go func() { ended <- run(ctx) }()
	}
	var err error
	for range runs {
		err = errors.Join(err, <-ended)
	}
	return err
}
