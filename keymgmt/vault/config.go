package vault

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// Limits of Config.
const (
	MaxConns   = 256
	MaxTimeout = time.Minute
)

// Config says where Vault is and who we are there. Secrets are paths.
type Config struct {
	// Address is the URL of the server or its load balancer: https and a host, nothing behind it.
	Address string
	// CAFile holds the authorities, PEM, that may have signed the server's certificate. The system's are not asked.
	CAFile string
	// ServerName is the name in the server's certificate, if it is not the host of Address.
	ServerName string
	// CertFile and KeyFile are our certificate and its key, PEM, shown when Vault asks. They are read at each connection,
	// so they can be replaced while running. Needed to log in by certificate.
	CertFile, KeyFile string
	// Namespace is the namespace of the mounts, if the server has namespaces.
	Namespace string
	// Login says how we log in.
	Login Login
	// MaxConns is how many connections, and so requests at once, there may be: 1 to 256.
	MaxConns int
	// Timeout is how long one request may take: more than zero, at most a minute.
	Timeout time.Duration
	// Log gets what an operator must know: logins that fail, and that they work again. Never a token.
	Log *slog.Logger
}

// Method is a way to log in. Zero is invalid.
type Method uint8

// The ways to log in.
const (
	// ByCertificate: the TLS certificate of Config.
	ByCertificate Method = iota + 1
	// ByKubernetes: the token of the pod's service account.
	ByKubernetes
	// ByAppRole: a role id, and a secret id for one login that comes in Vault's wrapping.
	ByAppRole
)

var methods = map[Method]string{ByCertificate: "cert", ByKubernetes: "kubernetes", ByAppRole: "approle"}

// MarshalText returns the name in configuration files; an invalid method is an error.
func (m Method) MarshalText() ([]byte, error) {
	if methods[m] == "" {
		return nil, fmt.Errorf("vault: login method %d", m)
	}
	return []byte(methods[m]), nil
}

// UnmarshalText reads a name: cert, kubernetes or approle.
func (m *Method) UnmarshalText(text []byte) error {
	for method, name := range methods {
		if name == string(text) {
			*m = method
			return nil
		}
	}
	return fmt.Errorf("vault: login method %.40q", text)
}

// Login says how we log in.
type Login struct {
	// Method is the way.
	Method Method
	// Mount is where the method is mounted below auth/.
	Mount string
	// Role is the name of the role there.
	Role string
	// TokenFile is, for Kubernetes, the file with the service account's token, which Kubernetes replaces now and then.
	// For AppRole it is the file with the wrapping token of a secret id that is good for one login. It is read at each
	// login, and removed after it was unwrapped.
	TokenFile string
	// RoleID is AppRole's id of the role; no secret by itself.
	RoleID string
}

// pathPattern is what may be in the path of a mount or the name of a role.
var pathPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,7}$`)

func validPath(s string) bool { return len(s) <= 200 && pathPattern.MatchString(s) }

func (l Login) validate() error {
	switch {
	case methods[l.Method] == "":
		return fmt.Errorf("vault: login method %d", l.Method)
	case !validPath(l.Mount):
		return fmt.Errorf("vault: login mount %.100q", l.Mount)
	case !validPath(l.Role):
		return fmt.Errorf("vault: login role %.100q", l.Role)
	case l.Method == ByAppRole && l.RoleID == "":
		return errors.New("vault: login by AppRole needs a role id")
	case l.Method != ByCertificate && l.TokenFile == "":
		return errors.New("vault: login needs a token file")
	}
	return nil
}

// Validate reports what is missing or out of range.
func (c Config) Validate() error {
	u, err := url.Parse(c.Address)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(c.Address[len("https://"):], "/") != u.Host:
		return fmt.Errorf("vault: address %.200q is not https://HOST", c.Address)
	case c.CAFile == "":
		return errors.New("vault: no file of the server's authorities")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("vault: a certificate needs a key, and a key a certificate")
	case c.Login.Method == ByCertificate && c.CertFile == "":
		return errors.New("vault: login by certificate needs one")
	case c.Namespace != "" && !validPath(c.Namespace):
		return fmt.Errorf("vault: namespace %.100q", c.Namespace)
	case c.MaxConns < 1 || c.MaxConns > MaxConns:
		return fmt.Errorf("vault: max connections %d must be 1 to %d", c.MaxConns, MaxConns)
	case c.Timeout <= 0 || c.Timeout > MaxTimeout:
		return fmt.Errorf("vault: timeout %v must be more than 0 and at most %v", c.Timeout, MaxTimeout)
	case c.Log == nil:
		return errors.New("vault: no log")
	}
	return c.Login.validate()
}

const (
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 2 * time.Minute
	maxHeader        = 64 << 10
)

// transport connects to that server only, by that authority only, and asks neither environment nor system for anything.
func (c Config) transport() (*http.Transport, error) {
	roots, err := readAuthorities(c.CAFile)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: c.ServerName}
	if c.CertFile != "" {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
			return &pair, err
		}
	}
	return &http.Transport{TLSClientConfig: config, TLSHandshakeTimeout: handshakeTimeout, IdleConnTimeout: idleTimeout,
		MaxConnsPerHost: c.MaxConns, MaxIdleConnsPerHost: c.MaxConns, MaxResponseHeaderBytes: maxHeader, DisableCompression: true}, nil
}

func readAuthorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("vault: %s holds no certificate", file)
	}
	return roots, nil
}
