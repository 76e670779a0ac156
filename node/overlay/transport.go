package overlay

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"

	"github.com/diamante/gateway/node/protocol"
)

// Names inside the TLS connection. They are the same for every node: TLS says nothing of who a node is.
const (
	serverName = "validator.overlay"
	protocolID = "diamante-overlay/1"
	// authorityLabel goes before the network's id in the seed of its authority.
	authorityLabel = "diamante overlay authority"
	// bindingLabel is that of RFC 8446's exporter, bindingBytes how much is taken of it.
	bindingLabel = "EXPORTER-diamante-overlay-hello"
	bindingBytes = 32
)

// Certificates have no time of their own: how long a transport key is good for is said by the vouching in HELLO.
var (
	notBefore = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	notAfter  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) // "no end" in RFC 5280
)

// transport is a key that lives as long as the process, and what TLS needs to prove it to a peer.
type transport struct {
	public ed25519.PublicKey
	server *tls.Config
	client *tls.Config
}

// newTransport makes a key, and a certificate of it by the network's authority.
//
// The authority is a formality. Its key follows from the network's id, so everybody can make it, and a certificate of
// it says nothing about its bearer: it is there because TLS wants a chain, and because a certificate that is checked as
// usual needs no exception in the code. What TLS does prove is that the peer holds the key in its certificate; whose key
// that is, is proved by HELLO.
func newTransport(network protocol.Hash) (*transport, error) {
	authorityKey := authority(network)
	authorityCert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "overlay " + network.String()},
		NotBefore: notBefore, NotAfter: notAfter, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	root, err := issue(authorityCert, authorityCert, authorityKey.Public().(ed25519.PublicKey), authorityKey)
	if err != nil {
		return nil, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("overlay: transport key: %w", err)
	}
	leaf, err := issue(&x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{serverName}, NotBefore: notBefore, NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, root, public, authorityKey)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	config := tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: private, Leaf: leaf}},
		MinVersion:   tlsVersion, MaxVersion: tlsVersion, NextProtos: []string{protocolID},
		RootCAs: pool, ServerName: serverName, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		SessionTicketsDisabled: true, // every connection proves its key anew
	}
	return &transport{public: public, server: config.Clone(), client: config.Clone()}, nil
}

// authority makes the key of a network's authority, which is no secret.
func authority(network protocol.Hash) ed25519.PrivateKey {
	seed := sha256.Sum256(append([]byte(authorityLabel), network[:]...))
	return ed25519.NewKeyFromSeed(seed[:])
}

func issue(cert, by *x509.Certificate, public ed25519.PublicKey, key ed25519.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, cert, by, public, key)
	if err != nil {
		return nil, fmt.Errorf("overlay: certificate: %w", err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("overlay: certificate: %w", err)
	}
	return parsed, nil
}

// side is the end of a connection that says something. Zero is invalid.
type side uint8

const (
	dialler side = iota + 1
	listener
)

func (s side) other() side {
	if s == dialler {
		return listener
	}
	return dialler
}

// proved is what TLS has established about a connection.
type proved struct {
	key      ed25519.PublicKey // the peer holds its private half
	bindings map[side][bindingBytes]byte
}

// prove reads what TLS has established. The bindings are secrets of this one connection, one for each end, that no
// other connection shares, not even one that is relayed byte by byte to another TLS connection.
func prove(state tls.ConnectionState) (proved, error) {
	if state.Version != tlsVersion || state.NegotiatedProtocol != protocolID || len(state.PeerCertificates) == 0 {
		return proved{}, fmt.Errorf("%w: not the protocol of this overlay", errTLS)
	}
	key, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return proved{}, fmt.Errorf("%w: transport key is not Ed25519", errTLS)
	}
	p := proved{key: key, bindings: map[side][bindingBytes]byte{}}
	for _, s := range []side{dialler, listener} {
		b, err := state.ExportKeyingMaterial(bindingLabel, []byte{byte(s)}, bindingBytes)
		if err != nil {
			return proved{}, fmt.Errorf("%w: binding: %v", errTLS, err)
		}
		p.bindings[s] = [bindingBytes]byte(b)
	}
	return p, nil
}
