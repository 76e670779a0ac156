package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/cmd/internal/vaultconf"
	"github.com/diamante/gateway/keymgmt/vault"
)

// certificatesConfig is the file of `diamante certificates`.
type certificatesConfig struct {
	Vault        vaultconf.Server    `toml:"vault"`
	Certificates []certificateConfig `toml:"certificate"`
}

// certificateConfig is one certificate that is kept fresh. Its key is made here and never leaves this host.
type certificateConfig struct {
	Mount string `toml:"mount"` // of the PKI engine
	Role  string `toml:"role"`  // there; it should allow this one name and no other
	Name  string `toml:"name"`  // by which the others know the program
	Life  string `toml:"life"`  // "72h"; renewed when two thirds are over
	CA    string `toml:"ca"`    // PEM file with the authority that the others trust: a certificate of another is not written
	Cert  string `toml:"cert"`  // file to write; the program reads it again by itself
	Key   string `toml:"key"`   // file to write; mode 0600
}

// Validate checks the shape.
func (c *certificatesConfig) Validate() error {
	if len(c.Certificates) == 0 {
		return errors.New("no certificate to keep")
	}
	files := map[string]bool{}
	for _, one := range c.Certificates {
		for _, path := range []string{one.CA, one.Cert, one.Key} {
			if !filepath.IsAbs(path) {
				return fmt.Errorf("certificate %q: %q must be an absolute path", one.Name, path)
			}
		}
		if files[one.Cert] || files[one.Key] || one.Cert == one.Key {
			return fmt.Errorf("certificate %q: its files are another's, too", one.Name)
		}
		files[one.Cert], files[one.Key] = true, true
		cfg, err := one.vault()
		if err != nil {
			return err
		}
		if err := cfg.Validate(); err != nil {
			return err
		}
	}
	return c.Vault.Validate()
}

func (c certificateConfig) vault() (vault.CertificatesConfig, error) {
	life, err := time.ParseDuration(c.Life)
	if err != nil {
		return vault.CertificatesConfig{}, fmt.Errorf("certificate %q: life: %w", c.Name, err)
	}
	return vault.CertificatesConfig{Mount: c.Mount, Role: c.Role, Name: c.Name, Life: life, CAFile: c.CA, Keep: c.write}, nil
}

// write puts a certificate into its files, each in one step. Between the two steps a program sees a key that does not fit,
// and goes on with what it has.
func (c certificateConfig) write(cert *tls.Certificate) error {
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return fmt.Errorf("certificate %q: %w", c.Name, err)
	}
	defer clear(key)
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	defer clear(text)
	if err := replaceFile(c.Key, text, 0o600); err != nil {
		return err
	}
	return replaceFile(c.Cert, chain, 0o644)
}

// replaceFile writes a whole file in place of another.
func replaceFile(path string, content []byte, mode os.FileMode) (err error) {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func certificatesCommand() *cobra.Command {
	var config string
	c := &cobra.Command{
		Use: "certificates", Short: "Keep programs' certificates fresh from Vault, until stopped", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg := new(certificatesConfig)
			if err := boot.Load(config, cfg); err != nil {
				return err
			}
			return keepCertificates(c.Context(), cfg, c)
		},
	}
	c.Flags().StringVar(&config, "config", "", "configuration file: a Vault server, and certificates to keep")
	return c
}

func keepCertificates(ctx context.Context, cfg *certificatesConfig, c *cobra.Command) error {
	server, err := cfg.Vault.Config(boot.Logger(c.OutOrStdout(), "diamante-certificates"))
	if err != nil {
		return err
	}
	client, err := vault.New(server)
	if err != nil {
		return err
	}
	runs := []func(context.Context) error{client.Run}
	for _, one := range cfg.Certificates {
		wanted, err := one.vault()
		if err != nil {
			return err
		}
		certs, err := vault.NewCertificates(client, wanted)
		if err != nil {
			return err
		}
		runs = append(runs, certs.Run)
	}
	ended := make(chan error, len(runs))
	for _, run := range runs {
		go func() { ended <- run(ctx) }()
	}
	for range runs {
		err = errors.Join(err, <-ended)
	}
	return err
}
