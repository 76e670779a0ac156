package overlay

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// These tests run in a bubble whose time is not the world's; connections are pipes, under the same TLS.

// pipes is a network in memory: it accepts what was dialled.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

var errNobodyThere = errors.New("nobody is there")

func (p *pipes) dial(ctx context.Context, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, errNobodyThere
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pass lets time pass.
func pass(d time.Duration) {
	synctest.Wait()
	<-time.After(d)
	synctest.Wait()
}

// pair runs two nodes, the first of which dials the second.
func pair(t *testing.T, change func(*Config)) (*node, *node) {
	t.Helper()
	a, b, wire := newIdentity(t), newIdentity(t), newPipes()
	second := start(t, b, func(c *Config) { c.Listener, c.Preferred = wire, []Peer{{ID: a.id}} })
	first := start(t, a, func(c *Config) {
		c.Listener, c.Dial, c.Preferred = newPipes(), wire.dial, []Peer{{b.id, "second:1"}}
		if change != nil {
			change(c)
		}
	})
	synctest.Wait()
	if len(first.Peers()) != 1 || len(second.Peers()) != 1 {
		t.Fatal("they are not connected")
	}
	return first, second
}

// Two nodes that have nothing to say stay connected, and each gets a new vouching in time.
func TestStaysConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := pair(t, nil)
		before := first.vouching.Load().Expiration
		pass(3 * vouchLife)
		if first.heard.count("left")+second.heard.count("left") > 0 {
			t.Error("the connection was lost")
		}
		if after := first.vouching.Load().Expiration; uint64(after) <= uint64(before) || int64(after) < time.Now().Unix() {
			t.Errorf("the vouching until %d was not renewed: %d", before, after)
		}
	})
}

// A signer that goes away costs no connection that is there. New ones are refused once the vouching has expired.
func TestSignerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signer := &switched{}
		first, second := pair(t, func(c *Config) {
			signer.Voucher, c.Voucher = c.Voucher, signer
		})
		signer.off.Store(true)
		pass(2 * vouchLife)
		if first.heard.count("left") > 0 {
			t.Error("the connection was lost with the signer")
		}
		first.Ban(second.id, time.Second)
		pass(time.Minute)
		if len(first.Peers()) != 0 {
			t.Error("they met although nobody vouched")
		}
		signer.off.Store(false)
		pass(time.Minute)
		if len(first.Peers()) != 1 {
			t.Error("they did not meet again")
		}
	})
}

// A peer that says nothing at all is given up, before and after the handshake.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, friend := newPipes(), newIdentity(t)
		n := start(t, newIdentity(t), func(c *Config) {
			c.Listener, c.Preferred = wire, []Peer{{ID: friend.id}}
		})
		raw, err := wire.dial(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := raw.Read(make([]byte, 1)); err == nil || time.Since(began) != handshakeLimit {
			t.Errorf("a silent connection was held for %s: %v", time.Since(began), err)
		}
		i := joinOver(t, wire, friend)
		go i.reason() // hears, but says nothing
		pass(idleLimit - time.Second)
		if n.heard.count("left") != 0 {
			t.Error("given up too early")
		}
		pass(2 * time.Second)
		if n.heard.count("left") != 1 {
			t.Error("not given up")
		}
	})
}

// joinOver is join over pipes.
func joinOver(t *testing.T, wire *pipes, who identity) impostor {
	t.Helper()
	raw, err := wire.dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTestTransport(t)
	i := overTLS(t, raw, tr, dialler)
	i.greet(who, tr)
	return i
}

// A peer that does not read holds up nobody, takes a bounded part of the memory, and is given up.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, slow, good := newPipes(), newIdentity(t), newIdentity(t)
		n := start(t, newIdentity(t), func(c *Config) {
			c.Listener, c.Preferred = wire, []Peer{{ID: slow.id}, {ID: good.id}}
		})
		joinOver(t, wire, slow)
		other := start(t, good, func(c *Config) {
			c.Listener, c.Dial, c.Preferred = newPipes(), wire.dial, []Peer{{n.id, "n:1"}}
		})
		synctest.Wait()
		const messages = 500
		for k := range messages {
			n.Broadcast(scpMessage(1, k))
			n.Broadcast(transaction(k))
		}
		pass(time.Second)
		if got := other.heard.count("scp"); got != messages {
			t.Errorf("the good peer heard %d of %d", got, messages)
		}
		pass(writeLimit + farewell + 5*time.Second)
		if got := n.Peers(); len(got) != 1 || got[0] != good.id {
			t.Errorf("peers left: %v", got)
		}
	})
}

// A peer that reads and never gives credit is given up after a time.
func TestStarving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, friend := newPipes(), newIdentity(t)
		n := start(t, newIdentity(t), func(c *Config) {
			c.Listener, c.Preferred = wire, []Peer{{ID: friend.id}}
		})
		i := joinOver(t, wire, friend)
		go i.reason()
		go func() {
			for pause(t.Context(), keepalive) {
				i.tell(grantFrameMessage(0, 0)) // it lives
			}
		}()
		for k := range 2 * creditMessages {
			n.Broadcast(scpMessage(1, k))
		}
		pass(starvedLimit - keepalive)
		if n.heard.count("left") != 0 {
			t.Error("given up too early")
		}
		pass(3 * keepalive)
		if n.heard.count("left") != 1 {
			t.Error("not given up")
		}
		i.raw.Close()
	})
}

// A peer that is not there is tried again after pauses that double up to their limit, and found when it is back.
func TestReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var tries []time.Time
		wire, b := newPipes(), newIdentity(t)
		there := false
		a := newIdentity(t)
		first := start(t, a, func(c *Config) {
			c.Listener, c.Preferred = newPipes(), []Peer{{b.id, "second:1"}}
			c.Jitter = func(most time.Duration) time.Duration { return most }
			c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				tries = append(tries, time.Now())
				if !there {
					return nil, errNobodyThere
				}
				return wire.dial(ctx, address)
			}
		})
		pass(2 * time.Minute)
		mu.Lock()
		want := firstPause
		for i := 1; i < len(tries); i++ {
			if got := tries[i].Sub(tries[i-1]); got != want {
				t.Errorf("pause %d was %s, want %s", i, got, want)
			}
			want = min(2*want, lastPause)
		}
		if len(tries) < 10 || want != lastPause {
			t.Errorf("%d tries, last pause %s", len(tries), want)
		}
		there = true
		mu.Unlock()
		second := start(t, b, func(c *Config) { c.Listener, c.Preferred = wire, []Peer{{ID: a.id}} })
		pass(lastPause)
		if len(first.Peers()) != 1 || len(second.Peers()) != 1 {
			t.Error("not reconnected")
		}
		// A connection that is cut after it held for a while is back after the first pause.
		pass(stable)
		first.connected()[0].raw.Close()
		pass(firstPause)
		if len(first.Peers()) != 1 || first.heard.count("joined") != 2 || first.heard.count("left") != 1 {
			t.Error("not back after a cut")
		}
	})
}

// A transaction that a peer advertises and does not deliver is got from another that offers it.
func TestDemandRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, liar, honest := newPipes(), newIdentity(t), newIdentity(t)
		n := start(t, newIdentity(t), func(c *Config) {
			c.Listener, c.Preferred = wire, []Peer{{ID: liar.id}, {ID: honest.id}}
		})
		tx := transaction(1)
		f := own(tx)
		advert := xdr.StellarMessage{Type: xdr.MessageTypeFloodAdvert,
			FloodAdvert: &xdr.FloodAdvert{TxHashes: []xdr.Hash{xdr.Hash(f.hash())}}}
		first, second := joinOver(t, wire, liar), joinOver(t, wire, honest)
		first.tell(advert)
		first.expect(xdr.MessageTypeFloodDemand)
		second.tell(advert)
		asked := time.Now()
		second.expect(xdr.MessageTypeFloodDemand)
		if waited := time.Since(asked); waited < demandLimit || waited > demandLimit+2*retryTick {
			t.Errorf("the second was asked after %s", waited)
		}
		second.tell(tx)
		synctest.Wait()
		if n.heard.count("transaction") != 1 {
			t.Error("the transaction was not handed over")
		}
		n.pulls.mu.Lock()
		defer n.pulls.mu.Unlock()
		for serial, s := range n.pulls.sources {
			if s.owing != 0 {
				t.Errorf("connection %d still owes %d", serial, s.owing)
			}
		}
		if len(n.pulls.wants) != 0 {
			t.Errorf("%d transactions are still wanted", len(n.pulls.wants))
		}
	})
}

// A handler that takes its time slows its peers down by their credit; nothing is dropped, and no queue grows here.
func TestHandlerHoldsCreditBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := pair(t, nil)
		open := make(chan struct{})
		second.heard.mu.Lock()
		second.heard.verdict = func(protocol.AccountID, xdr.StellarMessage) Verdict {
			<-open
			return Flood
		}
		second.heard.mu.Unlock()
		const messages = 3 * creditMessages
		for k := range messages {
			first.Broadcast(scpMessage(1, k))
		}
		synctest.Wait()
		p := first.connected()[0]
		p.out.mu.Lock()
		waiting := p.out.scp.len()
		p.out.mu.Unlock()
		if waiting < messages-creditMessages-creditMessages/2 {
			t.Errorf("only %d messages wait for credit", waiting)
		}
		close(open)
		pass(time.Second)
		if got := second.heard.count("scp"); got != messages {
			t.Errorf("%d of %d arrived", got, messages)
		}
	})
}

// A stranger that misbehaved is banned for a while.
func TestStrangerIsBanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, who := newPipes(), newIdentity(t)
		n := start(t, newIdentity(t), func(c *Config) { c.Listener, c.Strangers = wire, 1 })
		i := joinOver(t, wire, who)
		i.tell(grantFrameMessage(1<<31, 1<<31))
		i.reason()
		synctest.Wait()
		if err := n.welcome(who.id); !as(err, errBanned) {
			t.Errorf("not banned: %v", err)
		}
		pass(misbehaviourBan)
		if err := n.welcome(who.id); err != nil {
			t.Errorf("banned for longer than it is: %v", err)
		}
	})
}
