package web

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// The limits of a connection, before any route is known.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10
)

// NewServer makes the http.Server of a listener. The caller serves on it with ServeTLS(l, "", "") and shuts it down.
// There are no read and write timeouts of the whole connection here: each route sets its own.
func NewServer(h http.Handler, config *tls.Config, log *slog.Logger) *http.Server {
	return &http.Server{Handler: h, TLSConfig: config, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)} // other people's broken handshakes
}

// Connections bounds the connections of a listener.
type Connections struct {
	Total      int
	PerAddress int // per IPv4 address or IPv6 /64
}

// Bound returns l with the connections bounded. Past Total, Accept waits; past PerAddress, a connection is closed at once.
func Bound(l net.Listener, c Connections) net.Listener {
	return &boundListener{Listener: l, per: c.PerAddress, slots: make(chan struct{}, c.Total), open: map[string]int{}, closed: make(chan struct{})}
}

type boundListener struct {
	net.Listener
	per    int
	slots  chan struct{}
	once   sync.Once
	closed chan struct{}

	mu   sync.Mutex
	open map[string]int // guarded by mu
}

// Accept waits for a connection within the bounds.
func (l *boundListener) Accept() (net.Conn, error) {
	for {
		select {
		case l.slots <- struct{}{}:
		case <-l.closed:
			return nil, net.ErrClosed
		}
		conn, err := l.Listener.Accept()
		if err != nil {
			<-l.slots
			return nil, err
		}
		place := network(address(&http.Request{RemoteAddr: conn.RemoteAddr().String()}))
		if l.enter(place) {
			return &boundConn{Conn: conn, leave: sync.OnceFunc(func() { l.leave(place); <-l.slots })}, nil
		}
		<-l.slots
		_ = conn.Close() // it was never used
	}
}

// Close stops accepting.
func (l *boundListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

func (l *boundListener) enter(place string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[place] >= l.per {
		return false
	}
	l.open[place]++
	return true
}

func (l *boundListener) leave(place string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[place]--; l.open[place] == 0 {
		delete(l.open, place)
	}
}

type boundConn struct {
	net.Conn
	leave func()
}

// Close closes the connection and gives its place back.
func (c *boundConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
