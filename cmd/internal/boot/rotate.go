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

	mu      sync.Mutex     // guards what follows
	seen    [2]os.FileInfo // of the files that current is from
	current *tls.Certificate
	said    string // why what is in the files is not used; "" when it is
}

var (
	errOtherName = errors.New("it has other names")
	errNotGood   = errors.New("it is not good now")
)

func (o *ownCertificate) server(*tls.ClientHelloInfo) (*tls.Certificate, error) { return o.get() }
func (o *ownCertificate) client(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return o.get()
}

func (o *ownCertificate) get() (*tls.Certificate, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen, err := o.look()
	if err == nil && o.current != nil && slices.EqualFunc(seen[:], o.seen[:], unchanged) {
		o.said = ""
		return o.current, nil
	}
	var cert *tls.Certificate
	if err == nil {
		cert, err = o.read()
	}
	switch {
	case err == nil:
		o.seen, o.current, o.said = seen, cert, ""
	case o.current == nil:
		return nil, err
	case err.Error() != o.said: // once, not with each connection
		o.said = err.Error()
		slog.Warn("the certificate in the files is not used, and the one before it is", "cert", o.files.Cert, "error", err)
	}
	return o.current, nil
}

func unchanged(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// look comes before read, so that what changes meanwhile is seen the next time.
func (o *ownCertificate) look() (seen [2]os.FileInfo, err error) {
	for i, path := range []string{o.files.Cert, o.files.Key} {
		if seen[i], err = os.Stat(path); err != nil {
			return seen, fmt.Errorf("tls: %w", err)
		}
	}
	if mode := seen[1].Mode().Perm(); mode&0o077 != 0 {
		return seen, fmt.Errorf("tls: %s has mode %04o; only its owner may read it", o.files.Key, mode)
	}
	return seen, nil
}

func (o *ownCertificate) read() (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(o.files.Cert, o.files.Key)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if o.current == nil {
		return &cert, nil
	}
	switch at := time.Now(); {
	case !slices.Equal(o.current.Leaf.DNSNames, cert.Leaf.DNSNames): // peers know us by them
		return nil, fmt.Errorf("tls: %s: %w", o.files.Cert, errOtherName)
	case at.Before(cert.Leaf.NotBefore) || !at.Before(cert.Leaf.NotAfter): // the one before it may still be
		return nil, fmt.Errorf("tls: %s: %w", o.files.Cert, errNotGood)
	}
	return &cert, nil
}
