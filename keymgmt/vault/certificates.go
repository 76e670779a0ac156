package vault

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of the life of a certificate. Minutes are for tests and for those who fear much; days are for when Vault is away.
const (
	MinLife = time.Second
	MaxLife = 30 * 24 * time.Hour
)

// ErrNoCertificate: there is no certificate that is valid now.
var ErrNoCertificate = errors.New("vault: no valid certificate of our own")

// CertificatesConfig says which certificate a program wants of Vault's PKI engine.
type CertificatesConfig struct {
	// Mount and Role are those of the engine. The role should have use_csr_common_name and use_csr_sans off, and allow
	// this one name: what it allows, whoever has our login can have.
	Mount, Role string
	// Name is the common name and, with URI empty, the only DNS name: what peers know us by.
	Name string
	// URI is a name of the form spiffe://DOMAIN/ROLE, if peers know us by that.
	URI string
	// Life is how long a certificate shall be good; the role may give less.
	Life time.Duration
	// CAFile holds the authorities, PEM, that peers trust. A certificate of any other is refused.
	CAFile string
	// Keep is called with each new certificate before it is used, as to write it down for a program that reads files. When
	// it fails, another one is asked for. Optional.
	Keep func(*tls.Certificate) error
}

// Validate reports what is missing or out of range.
func (c CertificatesConfig) Validate() error {
	u, err := url.Parse(c.URI)
	switch {
	case !validPath(c.Mount) || !validPath(c.Role) || strings.Contains(c.Role, "/"):
		return fmt.Errorf("vault: PKI mount %.100q, role %.100q", c.Mount, c.Role)
	case !validPath(c.Name) || strings.Contains(c.Name, "/"):
		return fmt.Errorf("vault: certificate name %.100q", c.Name)
	case c.URI != "" && (err != nil || u.Scheme != "spiffe" || u.Host == ""):
		return fmt.Errorf("vault: certificate URI %.200q is not spiffe://DOMAIN/ROLE", c.URI)
	case c.Life < MinLife || c.Life > MaxLife:
		return fmt.Errorf("vault: life of certificates %v must be %v to %v", c.Life, MinLife, MaxLife)
	case c.CAFile == "":
		return errors.New("vault: no file of the authorities that peers trust")
	}
	return nil
}

// Certificates is a program's own certificate, replaced while the program runs. Give its methods to a tls.Config:
//
//	config := &tls.Config{GetCertificate: certs.GetCertificate, GetClientCertificate: certs.GetClientCertificate}
//
// Connections that there are go on with the certificate that they began with; new ones get the newest. It is safe for
// concurrent use.
type Certificates struct {
	client *Client
	cfg    CertificatesConfig
	roots  *x509.CertPool

	mu      sync.Mutex // guards what follows
	current *tls.Certificate
	ready   chan struct{} // closed with the first certificate
}

// NewCertificates makes it. It does not talk to Vault: Run does.
func NewCertificates(client *Client, cfg CertificatesConfig) (*Certificates, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	roots, err := readAuthorities(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	return &Certificates{client: client, cfg: cfg, roots: roots, ready: make(chan struct{})}, nil
}

// Ready is closed when there is the first certificate.
func (c *Certificates) Ready() <-chan struct{} { return c.ready }

// GetCertificate gives a server its certificate, or ErrNoCertificate before the first and after the last one's end.
func (c *Certificates) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get() }

// GetClientCertificate gives a client its certificate.
func (c *Certificates) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return c.get()
}

func (c *Certificates) get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil || !time.Now().Before(c.current.Leaf.NotAfter) {
		return nil, ErrNoCertificate
	}
	return c.current, nil
}

// Run gets a certificate, and a new one with a new key when about two thirds of its life are over, until ctx ends. While
// Vault does not give one, it keeps trying, and the old one is used as long as it is good.
func (c *Certificates) Run(ctx context.Context) error {
	var pause time.Duration
	var last string
	for {
		asked := time.Now()
		cert, err := c.issue(ctx)
		if err == nil && c.cfg.Keep != nil {
			err = c.cfg.Keep(cert)
		}
		wait := time.Duration(0)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if last != err.Error() {
				last = err.Error()
				c.client.cfg.Log.Warn("no new certificate from Vault", "error", err)
			}
			pause = min(max(2*pause, minPause), maxPause)
			wait = spread(pause)
		default:
			pause, last = 0, ""
			c.replace(cert)
			// Vault dates certificates back, against clocks that are behind, so their own beginning is no measure.
			wait = max(spread(cert.Leaf.NotAfter.Sub(asked)*2/3), minPause)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func (c *Certificates) replace(cert *tls.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		close(c.ready)
	}
	c.current = cert
}

// issue makes a key here, which never leaves this process, and has Vault sign its public half.
func (c *Certificates) issue(ctx context.Context) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: c.cfg.Name}}, key)
	if err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	body := struct {
		CSR     string `json:"csr"`
		Name    string `json:"common_name"`
		URI     string `json:"uri_sans,omitempty"`
		NoNames bool   `json:"exclude_cn_from_sans"`
		TTL     string `json:"ttl"`
	}{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})), c.cfg.Name, c.cfg.URI,
		c.cfg.URI != "", c.cfg.Life.String()}
	var got struct {
		Certificate string   `json:"certificate"`
		Chain       []string `json:"ca_chain"`
	}
	path := c.cfg.Mount + "/sign/" + c.cfg.Role
	if err := c.client.do(ctx, call{method: http.MethodPost, path: path, body: body}, into(&got)); err != nil {
		return nil, err
	}
	chain, err := parseChain(append([]string{got.Certificate}, got.Chain...))
	if err != nil {
		return nil, err
	}
	if err := c.check(chain, key); err != nil {
		return nil, err
	}
	cert := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, link := range chain {
		if !bytes.Equal(link.RawIssuer, link.RawSubject) { // a root is with the peers, or is not trusted
			cert.Certificate = append(cert.Certificate, link.Raw)
		}
	}
	return cert, nil
}

// maxChain bounds the certificates of one chain.
const maxChain = 8

var errBadCertificate = errors.New("vault: certificate refused")

func parseChain(texts []string) (chain []*x509.Certificate, err error) {
	if len(texts) > maxChain {
		return nil, fmt.Errorf("%w: a chain of %d", errBadCertificate, len(texts))
	}
	for _, text := range texts {
		block, rest := pem.Decode([]byte(text))
		if block == nil || len(bytes.TrimSpace(rest)) > 0 {
			return nil, fmt.Errorf("%w: not one certificate in PEM", errBadCertificate)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errBadCertificate, err)
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// check finds out now what peers would find out later: a wrong role would otherwise end all our connections when the good
// certificate is replaced.
func (c *Certificates) check(chain []*x509.Certificate, key *ecdsa.PrivateKey) error {
	leaf := chain[0]
	if public, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(key.Public()) {
		return fmt.Errorf("%w: it is for another key", errBadCertificate)
	}
	names := leaf.DNSNames
	want := c.cfg.Name
	if c.cfg.URI != "" {
		names, want = nil, c.cfg.URI
		for _, u := range leaf.URIs {
			names = append(names, u.String())
		}
	}
	others := len(leaf.DNSNames) + len(leaf.URIs) + len(leaf.IPAddresses) + len(leaf.EmailAddresses) - len(names)
	if !slices.Equal(names, []string{want}) || others != 0 || leaf.IsCA {
		return fmt.Errorf("%w: its names are %s and %d others, not %s alone, or it is an authority", errBadCertificate, names, others, want)
	}
	between := x509.NewCertPool()
	for _, link := range chain[1:] {
		between.AddCert(link)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: c.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}})
		if err != nil {
			return fmt.Errorf("%w: %w", errBadCertificate, err)
		}
	}
	return nil
}
