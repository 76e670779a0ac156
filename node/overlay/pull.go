package overlay

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/diamante/gateway/node/protocol"
)

// pulls are the transactions that peers have advertised and that are to be fetched: each from one peer at a time, and
// from the next that offers it if that one does not deliver in time.
type pulls struct {
	mu      sync.Mutex
	wants   map[protocol.Hash]*want
	sources map[uint32]*source // by connection
	due     fifo[due]          // in the order of time
}

// want is a transaction that a peer was asked for.
type want struct {
	asked  uint32
	since  time.Time
	others []uint32 // that offer it too, and were not asked
}

// source is a peer that advertises.
type source struct {
	owing   int // transactions that it was asked for
	backlog fifo[protocol.Hash]
}

// due says when a want was last asked for.
type due struct {
	hash protocol.Hash
	at   time.Time
}

// demands says which connection is to be asked for what.
type demands map[uint32][]protocol.Hash

func newPulls() *pulls {
	return &pulls{wants: map[protocol.Hash]*want{}, sources: map[uint32]*source{}}
}

// joined and left follow the connections.
func (p *pulls) joined(serial uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sources[serial] = &source{}
}

func (p *pulls) left(serial uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sources, serial)
}

// advert takes what a peer offers and known does not have.
func (p *pulls) advert(serial uint32, hashes []protocol.Hash, known func(protocol.Hash) bool, now time.Time) demands {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sources[serial]
	if s == nil {
		return nil
	}
	for _, h := range hashes {
		if w := p.wants[h]; w != nil {
			w.offer(serial)
		} else if s.backlog.len() < maxBacklog {
			s.backlog.push(h)
		}
	}
	out := demands{}
	p.fill(serial, known, now, out)
	return out
}

// offer remembers who else has a transaction.
func (w *want) offer(serial uint32) {
	if w.asked != serial && len(w.others) < maxSources && !slices.Contains(w.others, serial) {
		w.others = append(w.others, serial)
	}
}

// fill asks a peer for as much of its backlog as it may owe. p.mu is held.
func (p *pulls) fill(serial uint32, known func(protocol.Hash) bool, now time.Time, out demands) {
	s := p.sources[serial]
	for s != nil && s.owing < demandWindow && s.backlog.len() > 0 {
		h := s.backlog.pop()
		if known(h) {
			continue
		}
		if w := p.wants[h]; w != nil {
			w.offer(serial)
			continue
		}
		w := &want{}
		p.wants[h] = w
		p.ask(h, w, serial, now, out)
	}
}

func (p *pulls) ask(h protocol.Hash, w *want, serial uint32, now time.Time, out demands) {
	w.asked, w.since = serial, now
	p.sources[serial].owing++
	p.due.push(due{h, now})
	out[serial] = append(out[serial], h)
}

// got takes note that a transaction came, from whomever, and asks the peer that owed it for more.
func (p *pulls) got(h protocol.Hash, known func(protocol.Hash) bool, now time.Time) demands {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.wants[h]
	if w == nil {
		return nil
	}
	delete(p.wants, h)
	out := demands{}
	if s := p.sources[w.asked]; s != nil {
		s.owing--
		p.fill(w.asked, func(x protocol.Hash) bool { return x == h || known(x) }, now, out)
	}
	return out
}

// retry asks others for what has been owed for too long. A transaction that nobody else offers is given up.
func (p *pulls) retry(known func(protocol.Hash) bool, now time.Time) demands {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := demands{}
	for p.due.len() > 0 && now.Sub(p.due.first().at) >= demandLimit {
		d := p.due.pop()
		w := p.wants[d.hash]
		if w == nil || !w.since.Equal(d.at) {
			continue // it came, or was asked for again
		}
		if s := p.sources[w.asked]; s != nil {
			s.owing--
		}
		for len(w.others) > 0 && p.sources[w.others[0]] == nil {
			w.others = w.others[1:]
		}
		if len(w.others) == 0 {
			delete(p.wants, d.hash)
			continue
		}
		next := w.others[0]
		w.others = w.others[1:]
		p.ask(d.hash, w, next, now, out)
	}
	for serial := range p.sources {
		p.fill(serial, known, now, out)
	}
	return out
}

// ask sends demands.
func (o *Overlay) ask(d demands) {
	if len(d) == 0 {
		return
	}
	for _, p := range o.connected() {
		if hashes := d[p.serial]; len(hashes) > 0 {
			o.lose(p, p.out.demand(hashes))
		}
	}
}

// keepPulling looks after what is owed until ctx ends.
func (o *Overlay) keepPulling(ctx context.Context) {
	for pause(ctx, retryTick) {
		o.ask(o.pulls.retry(o.known.has, time.Now()))
	}
}
