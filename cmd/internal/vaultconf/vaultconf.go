// Package vaultconf is how our programs' configuration files name a Vault server and the login there.
package vaultconf

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/diamante/gateway/keymgmt/vault"
)

// Server is a Vault server. Paths are absolute; secrets are paths.
type Server struct {
	Address    string `toml:"address"`     // https://HOST:PORT
	CA         string `toml:"ca"`          // PEM file with the authority of its certificate
	ServerName string `toml:"server_name"` // in its certificate, if it is not the host of address. Optional
	Cert       string `toml:"cert"`        // PEM file with the certificate that we show. Needed to log in by certificate
	Key        string `toml:"key"`         // PEM file with its private key; mode 0600
	Namespace  string `toml:"namespace"`   // of the mounts. Optional
	Login      Login  `toml:"login"`
	// MaxConnections is how many requests there may be at once.
	MaxConnections int    `toml:"max_connections"`
	Timeout        string `toml:"timeout"` // of one request, such as "5s"
}

// Login says how a program logs in.
type Login struct {
	Method    vault.Method `toml:"method"`     // cert, kubernetes or approle
	Mount     string       `toml:"mount"`      // below auth/
	Role      string       `toml:"role"`       // there
	TokenFile string       `toml:"token_file"` // kubernetes: the service account's token; approle: the wrapping token of a secret id
	RoleID    string       `toml:"role_id"`    // approle only
}

// Config returns what makes a client.
func (s Server) Config(log *slog.Logger) (vault.Config, error) {
	timeout, err := time.ParseDuration(s.Timeout)
	if err != nil {
		return vault.Config{}, fmt.Errorf("vault.timeout: %w", err)
	}
	return vault.Config{Address: s.Address, CAFile: s.CA, ServerName: s.ServerName, CertFile: s.Cert, KeyFile: s.Key, Namespace: s.Namespace,
		Login:    vault.Login{Method: s.Login.Method, Mount: s.Login.Mount, Role: s.Login.Role, TokenFile: s.Login.TokenFile, RoleID: s.Login.RoleID},
		MaxConns: s.MaxConnections, Timeout: timeout, Log: log}, nil
}

// Validate checks the shape, as far as it can be without the files that it names.
func (s Server) Validate() error {
	for name, path := range map[string]string{"ca": s.CA, "cert": s.Cert, "key": s.Key, "login.token_file": s.Login.TokenFile} {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("vault.%s %q must be an absolute path", name, path)
		}
	}
	cfg, err := s.Config(slog.Default())
	if err != nil {
		return err
	}
	return cfg.Validate()
}
