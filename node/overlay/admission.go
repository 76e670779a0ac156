package overlay

import (
	"fmt"
	"time"

	"github.com/diamante/gateway/node/protocol"
)

// Ban ends the connection to a peer and lets it not come again for d, be it preferred or not. The list is not stored:
// a node that is started again has forgotten it.
func (o *Overlay) Ban(id protocol.AccountID, d time.Duration) {
	o.mu.Lock()
	o.ban(id, time.Now(), d)
	p := o.peers[id]
	o.mu.Unlock()
	if p != nil {
		p.close(fmt.Errorf("%w: for %s", errBanned, d))
	}
}

// ban adds to the list, which makes room by letting go the ban that ends first. o.mu is held.
func (o *Overlay) ban(id protocol.AccountID, now time.Time, d time.Duration) {
	if _, listed := o.bans[id]; !listed && len(o.bans) >= maxBans {
		var first protocol.AccountID
		for other, until := range o.bans {
			if first.IsZero() || until.Before(o.bans[first]) {
				first = other
			}
		}
		delete(o.bans, first)
	}
	o.bans[id] = now.Add(d)
}

// Unban lets a peer come again.
func (o *Overlay) Unban(id protocol.AccountID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.bans, id)
}

// welcome says whether a peer that has said who it is may come in as far as this node's rules go.
func (o *Overlay) welcome(id protocol.AccountID) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.allowed(id)
}

// allowed says whether id may be connected. o.mu is held.
func (o *Overlay) allowed(id protocol.AccountID) error {
	if o.stopped {
		return errStopped
	}
	if until, listed := o.bans[id]; listed {
		if time.Now().Before(until) {
			return fmt.Errorf("%w: until %s", errBanned, until.Format(time.RFC3339))
		}
		delete(o.bans, id)
	}
	if o.preferred[id] || o.peers[id] != nil {
		return nil
	}
	strangers := 0
	for other := range o.peers {
		if !o.preferred[other] {
			strangers++
		}
	}
	if strangers >= o.cfg.Strangers {
		return fmt.Errorf("%w: %d strangers are connected", errFull, strangers)
	}
	return nil
}

// admit makes p a peer, and the only connection to it.
func (o *Overlay) admit(m *meeting, p *peer) error {
	p.id, p.key = m.id, [32]byte(m.proof.key)
	p.serial, p.out = o.serials.Add(1), newQueue()
	p.ending, p.gone = make(chan struct{}), make(chan struct{})
	p.inbox, p.room = make(chan frame, creditMessages+maxWaiting), make(chan struct{}, maxWaiting)
	p.log = o.cfg.Logger.With("peer", p.id, "address", m.raw.RemoteAddr().String())
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.allowed(p.id); err != nil {
		return err
	}
	if old := o.peers[p.id]; old != nil {
		if !replaces(p, old, o.cfg.ID) {
			return fmt.Errorf("%w: the other connection is kept", errDuplicate)
		}
		p.before = old
		old.close(fmt.Errorf("%w: a newer connection is kept", errDuplicate))
	}
	o.peers[p.id] = p
	o.pulls.joined(p.serial)
	return nil
}

// replaces says whether a new connection to a peer is kept rather than the old one. Both ends come to the same answer:
// who dialled and with which keys is the same seen from either.
func replaces(p, old *peer, self protocol.AccountID) bool {
	switch {
	case p.key != old.key:
		return true // the peer was started anew: the old connection is dead, even if nobody has noticed yet
	case p.dialled == old.dialled:
		return true // who dialled would not have, if it still had the old one
	}
	// Both dialled at once. The one dialled by the lower identity is kept.
	return p.dialled == (compare(self, p.id) < 0)
}

// leave forgets p, which may never have been admitted.
func (o *Overlay) leave(p *peer) {
	if p.serial == 0 {
		return
	}
	if p.before != nil {
		<-p.before.gone // or the next one could join before that one left
	}
	o.mu.Lock()
	if o.peers[p.id] == p {
		delete(o.peers, p.id)
	}
	o.mu.Unlock()
	o.pulls.left(p.serial)
	close(p.gone)
}
