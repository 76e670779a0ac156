package web

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"

	"github.com/go-chi/chi/v5"
)

// Caller is who makes a request, as far as he has proved it.
type Caller struct {
	Kind    string // "anyone", "customer", "partner", "staff"
	Name    string // "" for anyone
	Address string // remote IP address, from the connection and never from a header
	Request string // the request's id
}

// Access says who may use a route. The zero value is refused by Mount.
type Access struct {
	name  string
	check func(*http.Request) (Caller, error)
}

// String returns the access's name, for a table of who may do what.
func (a Access) String() string { return a.name }

// NewAccess makes an Access under a name. check returns the kind and name of the caller, or ErrUnauthenticated, or
// ErrForbidden; it must not read the body.
func NewAccess(name string, check func(*http.Request) (Caller, error)) Access {
	return Access{name: name, check: check}
}

// Anyone lets everybody in.
func Anyone() Access {
	return NewAccess("anyone", func(*http.Request) (Caller, error) { return Caller{Kind: "anyone"}, nil })
}

// Certificates lets in those whose client certificate, verified by the listener's TLS configuration, has a first DNS
// name that names maps to a caller's name. The map is closed: a good certificate with another name is forbidden.
func Certificates(kind string, names map[string]string) Access {
	return NewAccess(kind+" certificate", func(r *http.Request) (Caller, error) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.PeerCertificates) == 0 {
			return Caller{}, ErrUnauthenticated
		}
		dns := r.TLS.PeerCertificates[0].DNSNames
		if len(dns) == 0 || names[dns[0]] == "" {
			return Caller{}, ErrForbidden
		}
		return Caller{Kind: kind, Name: names[dns[0]]}, nil
	})
}

// exchange is what is known of one request and its answer while they last.
type exchange struct {
	caller Caller
	w      *recorder
	key    string // the caller's Idempotency-Key bound to him, "" without one
}

type exchangeKey struct{}

// exchangeOf returns the request's exchange. Every request has one, made by frame.
func exchangeOf(ctx context.Context) *exchange {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		panic("web: a handler runs outside of its site")
	}
	return x
}

// route returns the pattern that matched, which, unlike a path, names no customer.
func (x *exchange) route(r *http.Request) string {
	if rctx := chi.RouteContext(r.Context()); rctx != nil && rctx.RoutePattern() != "" {
		return rctx.RoutePattern()
	}
	return "none"
}

// CallerOf returns who makes the request.
func CallerOf(ctx context.Context) Caller { return exchangeOf(ctx).caller }

// WithCaller returns a context that CallerOf answers for, for what is called with a request's context and is tested
// without a Site around it.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, exchangeKey{}, &exchange{caller: c, w: &recorder{}})
}

func newRequestID() string {
	var raw [12]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(raw[:])
}

// address returns the remote IP. X-Forwarded-For and its kin are not read: anyone can write them. Behind a load
// balancer, the listener speaks the PROXY protocol.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// network returns what a rate limit counts as one place: an IPv4 address, or the /64 an IPv6 customer gets.
func network(address string) string {
	ip := net.ParseIP(address)
	if ip == nil || ip.To4() != nil {
		return address
	}
	return ip.Mask(net.CIDRMask(64, 128)).String()
}
