package overlay

import (
	"bufio"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// impostor is a peer made by hand, which may say what it likes.
type impostor struct {
	*meeting
	t testing.TB
}

func newTestTransport(t testing.TB) *transport {
	t.Helper()
	tr, err := newTransport(testNetwork.NetworkID())
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// approach dials n as far as TLS, with a transport key.
func approach(t testing.TB, n *node, tr *transport) impostor {
	t.Helper()
	raw, err := net.Dial("tcp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	return overTLS(t, raw, tr, dialler)
}

// overTLS does TLS over raw, at one side of it.
func overTLS(t testing.TB, raw net.Conn, tr *transport, s side) impostor {
	t.Helper()
	t.Cleanup(func() { raw.Close() })
	conn := tls.Client(raw, tr.client)
	if s == listener {
		conn = tls.Server(raw, tr.server)
	}
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	proof, err := prove(conn.ConnectionState())
	if err != nil {
		t.Fatal(err)
	}
	return impostor{&meeting{side: s, conn: conn, raw: raw, reader: bufio.NewReader(conn), proof: proof}, t}
}

// hello is a HELLO without fault.
func (i impostor) hello(who identity, tr *transport) xdr.Hello {
	key := [32]byte(tr.public)
	expiration := uint64(time.Now().Add(vouchLife).Unix())
	signature, err := who.Vouch(i.t.Context(), expiration, key)
	if err != nil {
		i.t.Fatal(err)
	}
	return xdr.Hello{OverlayVersion: overlayVersion, OverlayMinVersion: overlayMinVersion, NetworkId: xdr.Hash(testNetwork.NetworkID()),
		PeerId: xdr.NodeId(who.id.XDR()), Nonce: i.proof.bindings[i.side],
		Cert: xdr.AuthCert{Pubkey: xdr.Curve25519Public{Key: key}, Expiration: xdr.Uint64(expiration), Sig: signature}}
}

// tell says m, or nothing if the other end has gone already.
func (i impostor) tell(m xdr.StellarMessage) { _ = i.say(m) }

func (i impostor) tellHello(h xdr.Hello) {
	i.tell(xdr.StellarMessage{Type: xdr.MessageTypeHello, Hello: &h})
}

func (i impostor) tellAuth() {
	i.tell(xdr.StellarMessage{Type: xdr.MessageTypeAuth, Auth: &xdr.Auth{Flags: xdr.AuthMsgFlagFlowControlBytesRequested}})
}

// next reads a message.
func (i impostor) next() (xdr.StellarMessage, error) {
	i.raw.SetReadDeadline(time.Now().Add(testPatience))
	f, err := readFrame(i.reader, func(kind) error { return nil })
	if err != nil {
		return xdr.StellarMessage{}, err
	}
	_, m, err := decode(f)
	return m, err
}

// expect reads until a message of this type.
func (i impostor) expect(want xdr.MessageType) xdr.StellarMessage {
	i.t.Helper()
	for {
		m, err := i.next()
		if err != nil {
			i.t.Fatalf("no %s: %v", want, err)
		}
		if m.Type == want {
			return m
		}
	}
}

// reason reads until the connection ends, and returns what the other end gave as the reason.
func (i impostor) reason() string {
	why := ""
	for {
		m, err := i.next()
		if err != nil {
			if f := faultOf(err); f == errIdle {
				i.t.Error("the connection was not ended")
			}
			return why
		}
		if m.Type == xdr.MessageTypeErrorMsg {
			why = m.Error.Msg
		}
	}
}

// join becomes a peer of n, and gives it all credit that it may have.
func join(t testing.TB, n *node, who identity) impostor {
	t.Helper()
	tr := newTestTransport(t)
	i := approach(t, n, tr)
	i.greet(who, tr)
	return i
}

func (i impostor) greet(who identity, tr *transport) {
	i.t.Helper()
	i.tellHello(i.hello(who, tr))
	i.expect(xdr.MessageTypeHello)
	i.tellAuth()
	i.expect(xdr.MessageTypeAuth)
	i.tell(grantFrameMessage(creditMessages, creditBytes))
}

func grantFrameMessage(messages, bytes uint32) xdr.StellarMessage {
	return xdr.StellarMessage{Type: xdr.MessageTypeSendMoreExtended,
		SendMoreExtendedMessage: &xdr.SendMoreExtended{NumMessages: xdr.Uint32(messages), NumBytes: xdr.Uint32(bytes)}}
}
