package boot

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
)

// TLS says where a program's certificate is and whose certificates it accepts.
type TLS struct {
	Cert string `toml:"cert"` // PEM file with this program's certificate chain
	Key  string `toml:"key"`  // PEM file with its private key; mode 0600
	CA   string `toml:"ca"`   // PEM file with the authority that signs our programs' and partners' certificates
}

// Validate checks that every path is given.
func (t TLS) Validate() error {
	if t.Cert == "" || t.Key == "" || t.CA == "" {
		return errors.New("tls: cert, key and ca are required")
	}
	return nil
}

// ErrClientName is the reason a client with a valid certificate is turned away: its name is not expected here.
var ErrClientName = errors.New("tls: client name not allowed")

// ServerConfig is for a listener that only the named clients may reach, by TLS 1.3 with a certificate of our authority.
// No names means any client that the authority has signed for clients.
func (t TLS) ServerConfig(clients ...string) (*tls.Config, error) {
	own, pool, err := t.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, GetCertificate: own.server,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
		VerifyConnection: func(cs tls.ConnectionState) error {
			name := PeerName(cs)
			if name == "" || len(clients) > 0 && !slices.Contains(clients, name) {
				return fmt.Errorf("%w: %q", ErrClientName, name)
			}
			return nil
		},
	}, nil
}

// PublicConfig is for a listener that anyone may reach: TLS 1.3, no client certificate.
func (t TLS) PublicConfig() (*tls.Config, error) {
	own, _, err := t.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: own.server}, nil
}

// ClientConfig is for connections to the server of the given name: TLS 1.3, our certificate shown, theirs verified.
func (t TLS) ClientConfig(serverName string) (*tls.Config, error) {
	own, pool, err := t.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, GetClientCertificate: own.client, RootCAs: pool, ServerName: serverName}, nil
}

func (t TLS) load() (*ownCertificate, *x509.CertPool, error) {
	if err := t.Validate(); err != nil {
		return nil, nil, err
	}
	own := &ownCertificate{files: t}
	if _, err := own.get(); err != nil {
		return nil, nil, err
	}
	pem, err := readBounded(t.CA, MaxConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("tls: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("tls: %s holds no certificate", t.CA)
	}
	return own, pool, nil
}

// Name returns what this program is called by the others: the first DNS name of its own certificate.
func (t TLS) Name() (string, error) {
	own, _, err := t.load()
	if err != nil {
		return "", err
	}
	cert, err := own.get()
	if err != nil {
		return "", err
	}
	if len(cert.Leaf.DNSNames) == 0 {
		return "", fmt.Errorf("tls: the certificate %s names nobody", t.Cert)
	}
	return cert.Leaf.DNSNames[0], nil
}

// PeerName returns who the other side is: the first DNS name of its verified certificate, "" without one.
func PeerName(cs tls.ConnectionState) string {
	if len(cs.VerifiedChains) == 0 || len(cs.VerifiedChains[0]) == 0 || len(cs.VerifiedChains[0][0].DNSNames) == 0 {
		return ""
	}
	return cs.VerifiedChains[0][0].DNSNames[0]
}

// Listen opens a TLS listener.
func Listen(address string, cfg *tls.Config) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return Secure(l, cfg), nil
}

// Secure puts TLS, for HTTP/2 and HTTP/1.1, on the connections of a listener.
func Secure(l net.Listener, cfg *tls.Config) net.Listener {
	cfg = cfg.Clone()
	cfg.NextProtos = []string{"h2", "http/1.1"}
	return tls.NewListener(l, cfg)
}
