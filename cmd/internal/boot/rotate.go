package boot

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// ownCertificate is a program's certificate as it is in its files now. New connections get what is there when they are
// made, so a certificate is replaced by writing its files, while the program runs. What cannot be used, or is in another
// name, is passed over and said once: the one before is shown as long as there is no better.
type ownCertificate struct {
	files TLS

	mu      sync.Mutex // guards what follows
	seen    [2]version
	current *tls.Certificate
}

// version is what a file was when it was read.
type version struct {
	at   time.Time
	size int64
}

var errOtherName = errors.New("it has other names")

func (o *ownCertificate) server(*tls.ClientHelloInfo) (*tls.Certificate, error) { return o.get() }
func (o *ownCertificate) client(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return o.get()
}

func (o *ownCertificate) get() (*tls.Certificate, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen, err := o.look()
	if err == nil && seen == o.seen {
		return o.current, nil
	}
	var cert *tls.Certificate
	if err == nil {
		cert, err = o.read()
	}
	switch {
	case err == nil:
		o.seen, o.current = seen, cert
	case o.current == nil:
		return nil, err
	case seen != o.seen: // said once for each change
		o.seen = seen
		slog.Warn("the certificate in the files is not used, and the one before it is", "cert", o.files.Cert, "error", err)
	}
	return o.current, nil
}

func (o *ownCertificate) look() (seen [2]version, err error) {
	for i, path := range []string{o.files.Cert, o.files.Key} {
		info, failed := os.Stat(path)
		if failed != nil {
			err = fmt.Errorf("tls: %w", failed)
			continue
		}
		seen[i] = version{info.ModTime(), info.Size()}
		if i == 1 && info.Mode().Perm()&0o077 != 0 {
			err = fmt.Errorf("tls: %s has mode %04o; only its owner may read it", path, info.Mode().Perm())
		}
	}
	return seen, err
}

func (o *ownCertificate) read() (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(o.files.Cert, o.files.Key)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if o.current != nil && !slices.Equal(o.current.Leaf.DNSNames, cert.Leaf.DNSNames) { // peers know us by them
		return nil, fmt.Errorf("tls: %s: %w", o.files.Cert, errOtherName)
	}
	return &cert, nil
}
