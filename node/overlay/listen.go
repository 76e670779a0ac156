package overlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/diamante/gateway/node/protocol"
)

// doors count the connections that were not dialled by us. Overlay.mu guards them.
type doors struct {
	pending int                   // of strangers' addresses, and not yet authenticated
	held    map[netip.Prefix]int  // by address
	friends map[netip.Prefix]bool // where preferred peers live; connections from there do not count as pending
}

func newDoors() doors {
	return doors{held: map[netip.Prefix]int{}, friends: map[netip.Prefix]bool{}}
}

// addressOf is what counts as one address: an IPv4 address, or an IPv6 network of 64 bits, which is what one customer
// of a provider has. Whatever else a listener may give counts as one.
func addressOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// listen accepts connections until ctx ends, for which it returns nil, or the listener fails for good.
func (o *Overlay) listen(ctx context.Context, ready <-chan struct{}) error {
	stop := context.AfterFunc(ctx, func() { o.cfg.Listener.Close() })
	defer stop()
	select {
	case <-ctx.Done():
		return nil
	case <-ready:
	}
	for {
		raw, err := o.cfg.Listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				return ignoreClosed(raw.Close())
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("overlay: listener: %w", err)
		case err != nil:
			o.cfg.Logger.Warn("a connection was not accepted", "error", err)
			if !pause(ctx, acceptPause) {
				return nil
			}
			continue
		}
		o.receive(ctx, raw)
	}
}

// receive meets a connection in a goroutine of its own, if there is room.
func (o *Overlay) receive(ctx context.Context, raw net.Conn) {
	address := addressOf(raw.RemoteAddr())
	settle, ok := o.enter(address)
	if !ok {
		o.metrics.failed.WithLabelValues(errFull.reason).Inc()
		_ = raw.Close() // nobody was met
		return
	}
	o.running.Go(func() {
		defer o.exit(address)
		p, err := o.meet(ctx, raw, listener, protocol.AccountID{})
		settle()
		if err != nil {
			o.metrics.failed.WithLabelValues(faultOf(err).reason).Inc()
			o.cfg.Logger.Debug("a connection was refused", "address", raw.RemoteAddr().String(), "error", err)
			return
		}
		_ = o.serve(p) // logged and counted there
	})
}

// enter counts a connection, if there is room for it. settle is to be called when it no longer is pending, exit when it
// is over.
func (o *Overlay) enter(address netip.Prefix) (settle func(), ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	friend := o.doors.friends[address]
	if o.doors.held[address] >= o.cfg.PerAddress || !friend && o.doors.pending >= maxPending {
		return nil, false
	}
	o.doors.held[address]++
	if friend {
		return func() {}, true
	}
	o.doors.pending++
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.doors.pending--
	}, true
}

func (o *Overlay) exit(address netip.Prefix) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.doors.held[address]--
	if o.doors.held[address] == 0 {
		delete(o.doors.held, address)
	}
}
