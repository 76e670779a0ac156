package overlay

import (
	"context"
	"net"
	"time"
)

// keepConnected dials a preferred peer whenever it is not connected, until ctx ends.
func (o *Overlay) keepConnected(ctx context.Context, ready <-chan struct{}, to Peer) {
	select {
	case <-ctx.Done():
		return
	case <-ready:
	}
	for next := firstPause; ctx.Err() == nil; {
		start := time.Now()
		if err := o.visit(ctx, to); err != nil && ctx.Err() == nil {
			o.metrics.failed.WithLabelValues(faultOf(err).reason).Inc()
			o.cfg.Logger.Debug("peer not reached", "peer", to.ID, "address", to.Address, "error", err)
		}
		if time.Since(start) >= stable {
			next = firstPause
		}
		// Half of the pause is by chance, so that nodes that lost each other together do not come back together.
		if !pause(ctx, next/2+o.cfg.Jitter(next/2)) {
			return
		}
		next = min(2*next, lastPause)
	}
}

// visit waits while the peer is connected, or else dials it and stays with it to the end. It returns nil if there was
// a connection, whoever made it and however it ended.
func (o *Overlay) visit(ctx context.Context, to Peer) error {
	o.mu.RLock()
	p := o.peers[to.ID]
	o.mu.RUnlock()
	if p != nil {
		select {
		case <-ctx.Done():
		case <-p.gone:
		}
		return nil
	}
	p, err := o.dial(ctx, to)
	if err != nil {
		return err
	}
	_ = o.serve(p) // logged and counted there
	return nil
}

func (o *Overlay) dial(ctx context.Context, to Peer) (*peer, error) {
	if err := o.welcome(to.ID); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	raw, err := o.cfg.Dial(limited, to.Address)
	if err != nil {
		return nil, err
	}
	o.befriend(raw.RemoteAddr())
	return o.meet(ctx, raw, dialler, to.ID)
}

// befriend remembers that a preferred peer lives at an address.
func (o *Overlay) befriend(a net.Addr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.doors.friends) < MaxPeers {
		o.doors.friends[addressOf(a)] = true
	}
}
