package overlay

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// peer is an authenticated connection. Three goroutines serve it: one reads, one calls the Handler, one writes.
type peer struct {
	id      protocol.AccountID
	key     [32]byte // its transport key
	serial  uint32   // this connection's number; never zero
	dialled bool     // by us
	conn    *tls.Conn
	raw     net.Conn // has the deadlines
	reader  *bufio.Reader
	out     *queue
	log     *slog.Logger
	before  *peer // the connection that this one replaces; its end is waited for

	once   sync.Once
	cause  error         // why it ends; set before ending is closed
	ending chan struct{} // closed by close
	gone   chan struct{} // closed when the Handler knows that the peer left

	inbox chan frame    // read, and not dealt with: what is metered, within its credit, and what is not, within room
	room  chan struct{} // holds a token for each frame of the inbox that is not metered

	spent    credit // what was dealt with since the last grant; owned by the handling goroutine
	requests bucket // questions; owned by the handling goroutine
	signs    bucket // of life; owned by the reading goroutine
}

// credit counts messages and their bytes.
type credit struct{ messages, bytes int }

func (c credit) covers(cost int) bool { return c.messages >= 1 && c.bytes >= cost }

func (c *credit) take(cost int) { c.messages--; c.bytes -= cost }

func (c *credit) add(d credit) { c.messages += d.messages; c.bytes += d.bytes }

// bucket lets requestBurst through at once and requestRate a second.
type bucket struct {
	tokens float64
	filled time.Time
}

func (b *bucket) take(now time.Time) bool {
	if b.filled.IsZero() {
		b.tokens = requestBurst
	} else {
		b.tokens = min(requestBurst, b.tokens+now.Sub(b.filled).Seconds()*requestRate)
	}
	b.filled = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// serve is a peer's life from its admission on. It returns why it ended.
func (o *Overlay) serve(p *peer) error {
	defer o.leave(p)
	if p.before != nil {
		<-p.before.gone // it has been closed, and leaves as soon as the Handler returns
		p.before = nil
	}
	p.log.Info("peer joined", "dialled", p.dialled)
	o.cfg.Handler.Joined(p.id)
	p.out.grant(credit{creditMessages, creditBytes})
	var others sync.WaitGroup
	others.Go(func() { p.write(o.metrics) })
	others.Go(func() { p.handle(o) })
	p.close(p.read(o))
	others.Wait()
	f := faultOf(p.cause)
	o.metrics.drops.WithLabelValues(f.reason).Inc()
	if guilty[f] && !o.preferred[p.id] {
		o.mu.Lock()
		o.ban(p.id, time.Now(), misbehaviourBan)
		o.mu.Unlock()
	}
	o.cfg.Handler.Left(p.id)
	p.log.Info("peer left", "reason", f.reason, "error", p.cause)
	return p.cause
}

// close ends the connection because of err: the peer is told by the writing goroutine, which then closes conn. Only the
// first call counts.
func (p *peer) close(err error) {
	p.once.Do(func() {
		p.cause = err
		close(p.ending)
		now := time.Now()
		// A deadline that cannot be set is that of a connection that is closed already.
		_ = p.raw.SetWriteDeadline(now.Add(farewell))
		_ = p.raw.SetReadDeadline(now)
	})
}

// read reads until something ends the connection, and returns what. It waits for the Handler only with what is not
// metered; what is metered has its place in the inbox, or the peer sent it without credit.
func (p *peer) read(o *Overlay) error {
	defer close(p.inbox)
	for {
		if err := p.raw.SetReadDeadline(time.Now().Add(idleLimit)); err != nil {
			return err
		}
		f, err := readFrame(p.reader, p.permit)
		if err != nil {
			return err
		}
		o.metrics.received(f)
		switch {
		case f.kind.control():
			err = p.control(f)
		case f.kind.metered():
			err = p.out.charge(f)
		default:
			select {
			case p.room <- struct{}{}:
			case <-p.ending:
			}
		}
		if err != nil {
			return err
		}
		if f.kind.control() {
			continue
		}
		select {
		case <-p.ending:
			return p.cause
		case p.inbox <- f:
		}
	}
}

// handle deals with what was read, in its order, until the connection ends.
func (p *peer) handle(o *Overlay) {
	for f := range p.inbox {
		select {
		case <-p.ending:
			return
		default:
		}
		if err := o.deal(p, f); err != nil {
			p.close(err)
			return
		}
		if f.kind.metered() {
			p.settle(f.cost())
		} else {
			<-p.room
		}
	}
}

// permit says whether a message of this kind may come now. What is large must have been asked for.
func (p *peer) permit(k kind) error {
	switch xdr.MessageType(k) {
	case xdr.MessageTypeHello, xdr.MessageTypeAuth:
		return fmt.Errorf("%w: %s after the handshake", errUnexpected, k.name())
	case xdr.MessageTypeGeneralizedTxSet, xdr.MessageTypeScpQuorumset:
		return p.answered(k)
	}
	return nil
}

// answered crosses off a question.
func (p *peer) answered(k kind) error {
	if !p.out.answered(k) {
		return fmt.Errorf("%w: %s that nobody asked for", errUnexpected, k.name())
	}
	return nil
}

// settle gives credit back for a message that was dealt with, when a share of it has come together.
func (p *peer) settle(cost int) {
	p.spent.add(credit{1, cost})
	if p.spent.messages >= creditMessages/creditShare || p.spent.bytes >= creditBytes/creditShare {
		p.out.grant(p.spent)
		p.spent = credit{}
	}
}

// write sends what is in the queue until the connection ends, tells the peer why, and closes it.
func (p *peer) write(count *metrics) {
	defer p.conn.Close() //nolint:errcheck // the connection is given up, with or without its last words
	if err := p.drain(count); err != nil {
		if errors.Is(err, errSlow) || faultOf(err) == errIdle {
			err = fmt.Errorf("%w: %w", errSlow, err)
		}
		p.close(err)
		return
	}
	if f := faultOf(p.cause); !f.quiet && !ended(p.cause) {
		if last, err := encode(farewellOf(f)); err == nil {
			_, _ = p.conn.Write(last.bytes) // a peer that does not listen is not told
		}
	}
}

// drain sends what is in the queue until the connection ends, for which it returns nil, or breaks.
func (p *peer) drain(count *metrics) error {
	w := bufio.NewWriterSize(p.conn, writeBuffer)
	sent := time.Now()
	timer := time.NewTimer(keepalive)
	defer timer.Stop()
	for {
		select {
		case <-p.ending:
			return nil
		default:
		}
		now := time.Now()
		f, again, err := p.out.next(now)
		if err != nil {
			return err
		}
		if f.bytes == nil && now.Sub(sent) >= keepalive {
			f = grantFrame(credit{}) // of nothing: it says that we live
		}
		if f.bytes != nil {
			limit := writeLimit + time.Duration(len(f.bytes))*time.Second/writeRate
			if err := p.raw.SetWriteDeadline(now.Add(limit)); err != nil {
				return err
			}
			if _, err := w.Write(f.bytes); err != nil {
				return err
			}
			sent = now
			count.sent(f)
			continue
		}
		if err := w.Flush(); err != nil {
			return err
		}
		timer.Reset(min(sent.Add(keepalive).Sub(now), again))
		select {
		case <-p.ending:
		case <-p.out.ready:
		case <-timer.C:
		}
	}
}
