package overlay

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// A HELLO that lies in any one point is refused, for that point.
func TestHelloRefused(t *testing.T) {
	other := newIdentity(t)
	elsewhere := newIdentity(t)
	elsewhere.network = "another network"
	tests := []struct {
		name string
		want *fault
		lie  func(h *xdr.Hello, i impostor)
	}{
		{"another network", errNetwork, func(h *xdr.Hello, _ impostor) { h.NetworkId[0]++ }},
		{"too old", errVersion, func(h *xdr.Hello, _ impostor) { h.OverlayVersion, h.OverlayMinVersion = 0, 0 }},
		{"too new", errVersion, func(h *xdr.Hello, _ impostor) { h.OverlayVersion, h.OverlayMinVersion = 9, 9 }},
		{"versions in no order", errVersion, func(h *xdr.Hello, _ impostor) { h.OverlayVersion, h.OverlayMinVersion = 1, 2 }},
		{"no identity", errMalformed, func(h *xdr.Hello, _ impostor) { *h.PeerId.Ed25519 = xdr.Uint256{} }},
		{"of another identity", errVouching, func(h *xdr.Hello, _ impostor) { h.PeerId = xdr.NodeId(elsewhere.id.XDR()) }},
		{"for another key", errBinding, func(h *xdr.Hello, _ impostor) { h.Cert.Pubkey.Key[0]++ }},
		{"no signature", errVouching, func(h *xdr.Hello, _ impostor) { h.Cert.Sig = nil }},
		{"signature changed", errVouching, func(h *xdr.Hello, _ impostor) { h.Cert.Sig[5]++ }},
		{"time changed", errVouching, func(h *xdr.Hello, _ impostor) { h.Cert.Expiration-- }},
		{"expired", errVouching, func(h *xdr.Hello, i impostor) { h.Cert = vouched(i, other, h, -time.Second) }},
		{"for too long", errVouching, func(h *xdr.Hello, i impostor) { h.Cert = vouched(i, other, h, vouchLife+vouchSkew+time.Minute) }},
		{"signed for another network", errVouching, func(h *xdr.Hello, i impostor) { h.Cert = vouched(i, elsewhere, h, time.Minute) }},
		{"no binding", errBinding, func(h *xdr.Hello, _ impostor) { h.Nonce = xdr.Uint256{} }},
		{"the binding of the other direction", errBinding, func(h *xdr.Hello, i impostor) { h.Nonce = i.proof.bindings[listener] }},
	}
	n := start(t, newIdentity(t), func(c *Config) { c.Strangers = 4 })
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := newTestTransport(t)
			i := approach(t, n, tr)
			h := i.hello(other, tr)
			test.lie(&h, i)
			i.tellHello(h)
			if got := i.reason(); got != test.want.reason {
				t.Errorf("refused for %q, want %q", got, test.want.reason)
			}
		})
	}
	if n.heard.count("joined") != 0 {
		t.Error("a liar joined")
	}
	join(t, n, other) // without a lie
	n.heard.await(t, "an honest peer joined", func() bool { return n.heard.count("joined") == 1 })
}

// vouched is a vouching by another identity or for another time; the HELLO is made to name the identity.
func vouched(i impostor, who identity, h *xdr.Hello, life time.Duration) xdr.AuthCert {
	h.PeerId = xdr.NodeId(who.id.XDR())
	expiration := uint64(time.Now().Add(life).Unix())
	signature, err := who.Vouch(i.t.Context(), expiration, h.Cert.Pubkey.Key)
	if err != nil {
		i.t.Fatal(err)
	}
	return xdr.AuthCert{Pubkey: h.Cert.Pubkey, Expiration: xdr.Uint64(expiration), Sig: signature}
}

// A HELLO that was heard on another connection is worth nothing: not with a key of the thief's own, and not even with
// the key that it is vouched for.
func TestHelloReplayed(t *testing.T) {
	n := start(t, newIdentity(t), func(c *Config) { c.Strangers = 4 })
	victim, key := newIdentity(t), newTestTransport(t)
	said := approach(t, n, key).hello(victim, key)
	for name, tr := range map[string]*transport{"with another key": newTestTransport(t), "with the same key": key} {
		i := approach(t, n, tr)
		i.tellHello(said)
		if got := i.reason(); got != errBinding.reason {
			t.Errorf("%s: refused for %q, want %q", name, got, errBinding.reason)
		}
	}
}

// Whoever sits between two nodes, speaks TLS with both and passes on what they say, gets neither to believe it.
func TestManInTheMiddle(t *testing.T) {
	far := start(t, newIdentity(t), func(c *Config) { c.Strangers = 4 })
	middle := listenOn(t, "127.0.0.1:0")
	defer middle.Close()
	near := start(t, newIdentity(t), func(c *Config) {
		c.Preferred = []Peer{{far.id, middle.Addr().String()}}
	})
	raw, err := middle.Accept()
	if err != nil {
		t.Fatal(err)
	}
	tr := newTestTransport(t)
	toNear, toFar := overTLS(t, raw, tr, listener), approach(t, far, tr)
	hello := toNear.expect(xdr.MessageTypeHello)
	toFar.tell(hello)
	if got := toFar.reason(); got != errBinding.reason {
		t.Errorf("the far end refused for %q, want %q", got, errBinding.reason)
	}
	// The far end's HELLO, got in its own right, does not help with the near end either.
	honest := approach(t, far, tr)
	honest.tellHello(honest.hello(newIdentity(t), tr))
	toNear.tell(honest.expect(xdr.MessageTypeHello))
	if got := toNear.reason(); got != errBinding.reason {
		t.Errorf("the near end refused for %q, want %q", got, errBinding.reason)
	}
	if near.heard.count("joined") != 0 || far.heard.count("joined") != 0 {
		t.Error("somebody joined through the man in the middle")
	}
}

// Who answers at a preferred peer's address must be that peer.
func TestAnotherIdentityAnswers(t *testing.T) {
	impostor := start(t, newIdentity(t), func(c *Config) { c.Strangers = 4 })
	n := start(t, newIdentity(t), func(c *Config) { c.Strangers = 4 })
	_, err := n.dial(t.Context(), Peer{newIdentity(t).id, impostor.address})
	if !as(err, errIdentity) {
		t.Errorf("dialled another: %v", err)
	}
	if _, err := n.dial(t.Context(), Peer{impostor.id, n.address}); !as(err, errToldOff) || !strings.Contains(err.Error(), errSelf.reason) {
		t.Errorf("dialled itself: %v", err)
	}
	if impostor.heard.count("joined") != 0 || n.heard.count("joined") != 0 {
		t.Error("somebody joined")
	}
}

// A node of another network does not get as far as TLS.
func TestAnotherNetworksAuthority(t *testing.T) {
	n := start(t, newIdentity(t), func(c *Config) { c.Strangers = 4 })
	who := newIdentity(t)
	who.network = "another network"
	stranger := start(t, who, func(c *Config) { c.Passphrase, c.Strangers = who.network, 4 })
	if _, err := stranger.dial(t.Context(), Peer{n.id, n.address}); !as(err, errTLS) {
		t.Errorf("dialled a node of another network: %v", err)
	}
}

// Two nodes that dial each other at once keep one connection, and the same.
func TestDuplicateConnection(t *testing.T) {
	for range 10 {
		a, b := newIdentity(t), newIdentity(t)
		la, lb := listenOn(t, "127.0.0.1:0"), listenOn(t, "127.0.0.1:0")
		first := start(t, a, func(c *Config) {
			c.Listener, c.Preferred = la, []Peer{{b.id, lb.Addr().String()}}
		})
		second := start(t, b, func(c *Config) {
			c.Listener, c.Preferred = lb, []Peer{{a.id, la.Addr().String()}}
		})
		// Whatever happened on the way, in the end what one says the other hears.
		number := 0
		poll(t, "a connection that holds", func() bool {
			number++
			m := scpMessage(1, number)
			first.Broadcast(m)
			second.Broadcast(scpMessage(2, number))
			return second.heard.count(hashOf(t, m)) == 1 && len(first.Peers()) == 1 && len(second.Peers()) == 1
		})
		first.stop()
		second.stop()
		for _, n := range []*node{first, second} {
			if joined, left := n.heard.count("joined"), n.heard.count("left"); joined != left || joined == 0 {
				t.Errorf("%d joined and %d left", joined, left)
			}
			checkTurns(t, n.heard)
		}
	}
	noGoroutines(t)
}

// checkTurns checks that a peer joins and leaves in turn.
func checkTurns(t *testing.T, r *recorder) {
	t.Helper()
	here := map[protocol.AccountID]bool{}
	for _, e := range r.events {
		switch {
		case e.what == "joined" && here[e.peer]:
			t.Error("a peer joined twice")
		case e.what != "joined" && !here[e.peer]:
			t.Errorf("%s of a peer that was not there", e.what)
		}
		here[e.peer] = e.what != "left"
	}
}

// Which of two connections is kept is decided alike at both ends.
func TestReplaces(t *testing.T) {
	ids := []protocol.AccountID{newIdentity(t).id, newIdentity(t).id}
	slices.SortFunc(ids, compare)
	low, high := ids[0], ids[1]
	// low dialled one, high dialled the other; seen from both ends, in both orders of arrival.
	atLow := map[bool]*peer{true: {id: high, dialled: true}, false: {id: high}}
	atHigh := map[bool]*peer{true: {id: low}, false: {id: low, dialled: true}} // by whether low dialled
	for _, newByLow := range []bool{true, false} {
		l := replaces(atLow[newByLow], atLow[!newByLow], low)
		h := replaces(atHigh[newByLow], atHigh[!newByLow], high)
		if l != h || l != newByLow {
			t.Errorf("new one dialled by the lower: %v; the lower keeps it: %v, the higher: %v", newByLow, l, h)
		}
	}
	again := &peer{id: high, key: [32]byte{1}}
	if !replaces(again, atLow[true], low) || !replaces(&peer{id: high}, atLow[false], low) {
		t.Error("a peer that was started anew, or dialled again, was kept out by its dead connection")
	}
}

// A peer that is banned goes and does not come back before its time, preferred or not.
func TestBan(t *testing.T) {
	friend := newIdentity(t)
	n := start(t, newIdentity(t), func(c *Config) { c.Preferred = []Peer{{ID: friend.id}} })
	i := join(t, n, friend)
	n.Ban(friend.id, time.Hour)
	if got := i.reason(); got != errBanned.reason {
		t.Errorf("banned for %q", got)
	}
	n.heard.await(t, "it left", func() bool { return n.heard.count("left") == 1 })
	tr := newTestTransport(t)
	again := approach(t, n, tr)
	again.tellHello(again.hello(friend, tr))
	if got := again.reason(); got != errBanned.reason {
		t.Errorf("came back although banned: %q", got)
	}
	n.Unban(friend.id)
	join(t, n, friend)
	n.heard.await(t, "it joined again", func() bool { return n.heard.count("joined") == 2 })
}

// The ban list has an end: the ban that ends first makes room.
func TestBanListIsBounded(t *testing.T) {
	n := start(t, newIdentity(t), nil)
	first := identityNumber(t, 1)
	n.Ban(first, time.Minute)
	for i := range maxBans {
		n.Ban(identityNumber(t, 2+i), time.Hour)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, listed := n.bans[first]; listed || len(n.bans) != maxBans {
		t.Errorf("%d bans; the first is still there: %v", len(n.bans), listed)
	}
}

func identityNumber(t *testing.T, n int) protocol.AccountID {
	t.Helper()
	id, err := protocol.AccountIDFromKey(append(make([]byte, 28), byte(n>>24), byte(n>>16), byte(n>>8), byte(n)))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Strangers and addresses have their limits; a preferred peer gets in all the same.
func TestMassConnections(t *testing.T) {
	friend := newIdentity(t)
	n := start(t, newIdentity(t), func(c *Config) {
		c.Strangers, c.PerAddress = 2, 5
		c.Preferred = []Peer{{ID: friend.id}}
	})
	for range 2 {
		join(t, n, newIdentity(t))
	}
	tr := newTestTransport(t)
	third := approach(t, n, tr)
	third.tellHello(third.hello(newIdentity(t), tr))
	if got := third.reason(); got != errFull.reason {
		t.Errorf("a third stranger was refused for %q", got)
	}
	// The address holds two peers; three more connections that say nothing fill it.
	poll(t, "the refused connection is forgotten", func() bool { return n.held("127.0.0.1") == 2 })
	var silent []net.Conn
	for range 3 {
		raw, err := net.Dial("tcp", n.address)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		silent = append(silent, raw)
	}
	poll(t, "the address is full", func() bool { return n.held("127.0.0.1") == 5 })
	for range 50 {
		raw, err := net.Dial("tcp", n.address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := raw.Read(make([]byte, 1)); err == nil {
			t.Error("one connection too many got an answer")
		}
		raw.Close()
	}
	// From another address, the friend still comes in.
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	raw, err := from.DialContext(context.Background(), "tcp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	overTLS(t, raw, tr, dialler).greet(friend, tr)
	if got := len(n.Peers()); got != 3 {
		t.Errorf("%d peers, want 3", got)
	}
	for _, raw := range silent {
		raw.Close()
	}
	poll(t, "the silent ones are forgotten", func() bool { return n.held("127.0.0.1") == 2 })
}

// held says how many connections an address holds.
func (n *node) held(ip string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.doors.held[addressOf(&net.TCPAddr{IP: net.ParseIP(ip)})]
}
