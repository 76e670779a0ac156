package overlay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// readBuffer and writeBuffer are how much of a connection is read or written at once.
const (
	readBuffer  = 64 << 10
	writeBuffer = 64 << 10
)

// meeting is a connection on its way to become a peer.
type meeting struct {
	o      *Overlay
	side   side               // ours
	expect protocol.AccountID // who was dialled; zero for whoever dials us
	conn   *tls.Conn          // over raw
	raw    net.Conn           // has the deadlines
	reader *bufio.Reader      // of conn
	proof  proved             // what TLS says of the other end
	id     protocol.AccountID // what HELLO says, checked
}

// meet takes a new connection to the point where both ends know each other and the peer is admitted. Whatever goes
// wrong, raw is closed, and the peer is told the reason if there is a point in it.
//
//	dialler                               listener
//	HELLO: identity, vouching, binding -> checks them
//	checks them                        <- HELLO: the same of its own
//	AUTH: I know you                   -> admits the dialler
//	admits the listener                <- AUTH: come in
//
// The listener does not say who it is to somebody who has not.
func (o *Overlay) meet(ctx context.Context, raw net.Conn, s side, expect protocol.AccountID) (*peer, error) {
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	m := &meeting{o: o, side: s, expect: expect, raw: raw}
	p, err := m.run(ctx)
	if err != nil {
		if f := faultOf(err); m.conn != nil && !f.quiet && !ended(err) {
			raw.SetDeadline(time.Now().Add(farewell))
			m.say(farewellOf(f))
		}
		return nil, errors.Join(err, ignoreClosed(raw.Close()))
	}
	return p, nil
}

func (m *meeting) run(ctx context.Context) (*peer, error) {
	// 1. TLS: the peer holds the key in its certificate.
	if err := m.raw.SetDeadline(time.Now().Add(handshakeLimit)); err != nil {
		return nil, err
	}
	conn := tls.Client(m.raw, m.o.transport.client)
	if m.side == listener {
		conn = tls.Server(m.raw, m.o.transport.server)
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", errTLS, err)
	}
	var err error
	if m.proof, err = prove(conn.ConnectionState()); err != nil {
		return nil, err
	}
	m.conn, m.reader = conn, bufio.NewReaderSize(conn, readBuffer)
	// 2. HELLO and AUTH, in the order that is drawn above.
	p := &peer{conn: conn, raw: m.raw, reader: m.reader, dialled: m.side == dialler}
	if m.side == dialler {
		err = firstOf(m.sayHello, m.hearHello, m.sayAuth, m.hearAuth, func() error { return m.o.admit(m, p) })
	} else {
		err = firstOf(m.hearHello, m.sayHello, m.hearAuth, func() error { return m.o.admit(m, p) }, m.sayAuth)
	}
	if err != nil {
		m.o.leave(p)
		return nil, err
	}
	return p, nil
}

// firstOf does steps until one fails.
func firstOf(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (m *meeting) sayHello() error {
	cert := m.o.vouching.Load()
	if cert == nil || uint64(cert.Expiration) <= uint64(time.Now().Unix()) {
		return fmt.Errorf("%w: no vouching for our own key", errUnvouched)
	}
	hello := xdr.Hello{
		LedgerVersion: xdr.Uint32(m.o.cfg.LedgerVersion), OverlayVersion: overlayVersion, OverlayMinVersion: overlayMinVersion,
		NetworkId: xdr.Hash(m.o.network), VersionStr: m.o.cfg.Version, PeerId: xdr.NodeId(m.o.cfg.ID.XDR()), Cert: *cert,
		Nonce: xdr.Uint256(m.proof.bindings[m.side]),
	}
	return m.say(xdr.StellarMessage{Type: xdr.MessageTypeHello, Hello: &hello})
}

func (m *meeting) sayAuth() error {
	auth := xdr.Auth{Flags: xdr.AuthMsgFlagFlowControlBytesRequested}
	return m.say(xdr.StellarMessage{Type: xdr.MessageTypeAuth, Auth: &auth})
}

func (m *meeting) say(message xdr.StellarMessage) error {
	f, err := encode(message)
	if err != nil {
		return err
	}
	_, err = m.conn.Write(f.bytes)
	return err
}

// hear reads one message, which must be of kind want unless the peer says why it goes.
func (m *meeting) hear(want xdr.MessageType) (xdr.StellarMessage, error) {
	f, err := readFrame(m.reader, func(k kind) error {
		if k != kind(want) && k != kind(xdr.MessageTypeErrorMsg) {
			return fmt.Errorf("%w: %s before %s", errUnexpected, k.name(), kind(want).name())
		}
		return nil
	})
	if err != nil {
		return xdr.StellarMessage{}, err
	}
	_, message, err := decode(f)
	if err != nil {
		return xdr.StellarMessage{}, err
	}
	if message.Type == xdr.MessageTypeErrorMsg {
		return message, toldOff(message)
	}
	return message, nil
}

// toldOff is the error of a peer that said why it ends the connection.
func toldOff(m xdr.StellarMessage) error { return fmt.Errorf("%w: %q", errToldOff, m.Error.Msg) }

func (m *meeting) hearHello() error {
	message, err := m.hear(xdr.MessageTypeHello)
	if err != nil {
		return err
	}
	if m.id, err = m.check(*message.Hello, time.Now()); err != nil {
		return err
	}
	return m.o.welcome(m.id)
}

func (m *meeting) hearAuth() error {
	message, err := m.hear(xdr.MessageTypeAuth)
	if err == nil && message.Auth.Flags != xdr.AuthMsgFlagFlowControlBytesRequested {
		return fmt.Errorf("%w: no flow control in bytes", errVersion)
	}
	return err
}

// check decides whether the HELLO that came over this connection was said by the identity that it names, to us, here
// and now. Each line is an attack.
func (m *meeting) check(h xdr.Hello, now time.Time) (protocol.AccountID, error) {
	none := protocol.AccountID{}
	if h.NetworkId != xdr.Hash(m.o.network) {
		return none, fmt.Errorf("%w: of network %x", errNetwork, h.NetworkId)
	}
	if h.OverlayVersion < overlayMinVersion || h.OverlayMinVersion > overlayVersion || h.OverlayMinVersion > h.OverlayVersion {
		return none, fmt.Errorf("%w: speaks %d to %d", errVersion, h.OverlayMinVersion, h.OverlayVersion)
	}
	id, err := protocol.AccountIDFromXDR(xdr.AccountId(h.PeerId))
	if err != nil {
		return none, fmt.Errorf("%w: %w", errMalformed, err)
	}
	// A HELLO of another connection, replayed or relayed: its vouching is for a key that the peer has not proved, ...
	if !bytes.Equal(h.Cert.Pubkey.Key[:], m.proof.key) {
		return none, fmt.Errorf("%w: the vouching is for another transport key", errBinding)
	}
	// ... or its binding is that of the other connection, or of the other direction of this one.
	if h.Nonce != xdr.Uint256(m.proof.bindings[m.side.other()]) {
		return none, fmt.Errorf("%w: it was said on another connection", errBinding)
	}
	if err := checkVouching(m.o.network, id, h.Cert, now); err != nil {
		return none, err
	}
	if id == m.o.cfg.ID {
		return none, fmt.Errorf("%w: connected to our own identity", errSelf)
	}
	if !m.expect.IsZero() && id != m.expect {
		return none, fmt.Errorf("%w: %s answered", errIdentity, id)
	}
	return id, nil
}

// farewellOf is what a peer is told when it is dropped.
func farewellOf(f *fault) xdr.StellarMessage {
	return xdr.StellarMessage{Type: xdr.MessageTypeErrorMsg, Error: &xdr.Error{Code: f.code, Msg: f.reason}}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
