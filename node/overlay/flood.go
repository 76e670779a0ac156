package overlay

import (
	"sync"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// memory remembers the messages that were flooded, who has them, and the transactions among them, for those who demand
// them. It has two generations: when the newer is full, the older is forgotten.
type memory struct {
	mu     sync.Mutex
	newer  map[protocol.Hash]*record
	older  map[protocol.Hash]*record
	stored int // bytes of transactions in newer
}

// record is one message.
type record struct {
	tx    frame // a transaction, once it is passed on
	marks []mark
}

// mark says what one connection knows of a message.
type mark struct {
	serial uint32
	has    bool // it has the message; otherwise it was told of it by hash
}

func newMemory() *memory { return &memory{newer: map[protocol.Hash]*record{}} }

// find returns the record of h or nil. m.mu is held.
func (m *memory) find(h protocol.Hash) *record {
	if r := m.newer[h]; r != nil {
		return r
	}
	return m.older[h]
}

// note remembers that the connection has the message; serial is zero for ourselves. It says whether the message is new.
func (m *memory) note(h protocol.Hash, serial uint32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.find(h)
	fresh := r == nil
	if fresh {
		if len(m.newer) >= maxRemembered || m.stored >= maxRememberedBytes {
			m.older, m.newer, m.stored = m.newer, map[protocol.Hash]*record{}, 0
		}
		r = &record{}
		m.newer[h] = r
	}
	if serial != 0 {
		r.set(serial, true)
	}
	return fresh
}

// set marks; it says whether the connection knew less before.
func (r *record) set(serial uint32, has bool) bool {
	for i := range r.marks {
		if r.marks[i].serial == serial {
			more := has && !r.marks[i].has
			r.marks[i].has = r.marks[i].has || has
			return more
		}
	}
	if len(r.marks) < maxMarks {
		r.marks = append(r.marks, mark{serial, has})
	}
	return true
}

// has says whether the message is remembered.
func (m *memory) has(h protocol.Hash) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.find(h) != nil
}

// offered says whether the message is remembered, and if so, that the connection has it.
func (m *memory) offered(h protocol.Hash, serial uint32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.find(h)
	if r != nil {
		r.set(serial, true)
	}
	return r != nil
}

// forget forgets the message.
func (m *memory) forget(h protocol.Hash) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.newer, h)
	delete(m.older, h)
}

// keep stores a transaction that is remembered, to be given to who demands it.
func (m *memory) keep(h protocol.Hash, tx frame) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.find(h); r != nil && r.tx.bytes == nil {
		r.tx = tx
		m.stored += len(tx.bytes)
	}
}

// mark remembers that the connection has the message, and says whether that is new.
func (m *memory) mark(h protocol.Hash, serial uint32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.find(h)
	return r != nil && r.set(serial, true)
}

// told remembers that the connection was told of the message, and says whether it knew nothing of it before.
func (m *memory) told(h protocol.Hash, serial uint32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.find(h)
	return r != nil && r.set(serial, false)
}

// unmark remembers that the connection does not have the message after all.
func (m *memory) unmark(h protocol.Hash, serial uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.find(h)
	if r == nil {
		return
	}
	for i, k := range r.marks {
		if k.serial == serial {
			r.marks = append(r.marks[:i], r.marks[i+1:]...)
			return
		}
	}
}

// claim returns a transaction that the connection demands, once.
func (m *memory) claim(h protocol.Hash, serial uint32) (frame, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.find(h)
	if r == nil || r.tx.bytes == nil || !r.set(serial, true) {
		return frame{}, false
	}
	return r.tx, true
}

// spread passes a message that is remembered on to every peer that does not have it.
func (o *Overlay) spread(f frame) {
	h := f.hash()
	if f.kind == kind(xdr.MessageTypeTransaction) {
		o.known.keep(h, f)
		now := time.Now()
		for _, p := range o.connected() {
			if o.known.told(h, p.serial) {
				o.lose(p, p.out.advertise(h, now))
			}
		}
		return
	}
	for _, p := range o.connected() {
		if o.known.mark(h, p.serial) {
			o.enqueue(p, f)
		}
	}
}

// enqueue gives a peer's queue a message.
func (o *Overlay) enqueue(p *peer, f frame) { o.lose(p, p.out.push(f)) }

// lose takes note of what a peer's queue had no room for: it may be sent again.
func (o *Overlay) lose(p *peer, lost losses) {
	if lost.adverts > 0 {
		o.metrics.lost.WithLabelValues(kind(xdr.MessageTypeFloodAdvert).name()).Add(float64(lost.adverts))
	}
	for _, f := range lost.frames {
		o.metrics.lost.WithLabelValues(f.kind.name()).Inc()
		if f.kind.flooded() {
			o.known.unmark(f.hash(), p.serial)
		}
	}
}
