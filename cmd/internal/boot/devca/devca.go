// Package devca is a certificate authority for development: it makes the certificates that a bank's own authority, or
// Vault's PKI engine, makes in production. Its private key is a file; never use it outside a machine of your own.
package devca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// How long the certificates hold, and how far their start is put back for clocks that are behind.
const (
	validity = 397 * 24 * time.Hour
	backdate = 5 * time.Minute
)

// CA is an authority in a folder.
type CA struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Open loads the authority of the folder, or makes one.
func Open(dir string) (*CA, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("devca: %w", err)
	}
	ca := &CA{dir: dir}
	err := ca.read()
	if errors.Is(err, os.ErrNotExist) {
		err = ca.make()
	}
	if err != nil {
		return nil, err
	}
	return ca, nil
}

// CertFile is the path of the authority's certificate.
func (ca *CA) CertFile() string { return filepath.Join(ca.dir, "ca.crt") }

// Leaf is what a certificate is asked for.
type Leaf struct {
	Name     string    // of the files: Name.crt and Name.key
	DNS      []string  // the first is the client's identity
	Loopback bool      // also valid for 127.0.0.1 and ::1
	NotAfter time.Time // zero: as long as the authority's
}

// Issue makes a certificate for servers and clients and returns the paths of it and its key; one that exists is kept.
func (ca *CA) Issue(l Leaf) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(ca.dir, l.Name+".crt"), filepath.Join(ca.dir, l.Name+".key")
	if _, err := os.Stat(certFile); err == nil {
		return certFile, keyFile, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("devca: %w", err)
	}
	template, err := newTemplate(l.Name)
	if err != nil {
		return "", "", err
	}
	template.DNSNames = l.DNS
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if l.Loopback {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
		template.DNSNames = append(template.DNSNames, "localhost")
	}
	if !l.NotAfter.IsZero() {
		template.NotAfter = l.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return "", "", fmt.Errorf("devca: %w", err)
	}
	// The certificate is written last: its presence says that both are there.
	return certFile, keyFile, errors.Join(writeKey(keyFile, key), writePEM(certFile, "CERTIFICATE", der, 0o644))
}

func (ca *CA) make() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("devca: %w", err)
	}
	template, err := newTemplate("Diamante development CA")
	if err != nil {
		return err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("devca: %w", err)
	}
	if err := errors.Join(writeKey(filepath.Join(ca.dir, "ca.key"), key), writePEM(ca.CertFile(), "CERTIFICATE", der, 0o644)); err != nil {
		return err
	}
	return ca.read()
}

func (ca *CA) read() error {
	der, err := readPEM(ca.CertFile())
	if err != nil {
		return err
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("devca: %w", err)
	}
	if der, err = readPEM(filepath.Join(ca.dir, "ca.key")); err != nil {
		return err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return fmt.Errorf("devca: %w", err)
	}
	var ok bool
	if ca.key, ok = key.(*ecdsa.PrivateKey); !ok {
		return fmt.Errorf("devca: key is a %T", key)
	}
	return nil
}

func newTemplate(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("devca: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"Diamante development"}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(validity)}, nil
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("devca: %w", err)
	}
	return writePEM(path, "PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return fmt.Errorf("devca: %w", err)
	}
	return nil
}

func readPEM(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("devca: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("devca: %s holds no PEM block", path)
	}
	return block.Bytes, nil
}
