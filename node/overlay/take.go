package overlay

import (
	"fmt"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// deal decodes a message of p, large ones one at a time, and deals with it. An error ends the connection.
func (o *Overlay) deal(p *peer, f frame) error {
	large := len(f.bytes) >= largeMessage
	if large {
		o.large <- struct{}{}
	}
	f, m, err := decode(f)
	if large {
		<-o.large
	}
	if err != nil {
		return err
	}
	return o.take(p, f, m)
}

// control deals with the messages that wait for nothing.
func (p *peer) control(f frame) error {
	_, m, err := decode(f)
	if err != nil {
		return err
	}
	if m.Type == xdr.MessageTypeErrorMsg {
		return toldOff(m)
	}
	c := m.SendMoreExtendedMessage
	if *c != (xdr.SendMoreExtended{}) {
		return p.out.credited(credit{int(c.NumMessages), int(c.NumBytes)})
	}
	// No credit at all is how a peer says that it lives; too often is a way of wasting our time.
	if !p.signs.take(time.Now()) {
		return fmt.Errorf("%w: it says too often that it lives", errUnexpected)
	}
	return nil
}

// take deals with one message of p that was decoded.
func (o *Overlay) take(p *peer, f frame, m xdr.StellarMessage) error {
	switch m.Type {
	case xdr.MessageTypeScpMessage, xdr.MessageTypeTransaction:
		return o.takeFlooded(p, f, m)
	case xdr.MessageTypeFloodAdvert:
		o.takeAdvert(p, *m.FloodAdvert)
	case xdr.MessageTypeFloodDemand:
		o.takeDemand(p, *m.FloodDemand)
	case xdr.MessageTypeGetTxSet, xdr.MessageTypeGetScpQuorumset, xdr.MessageTypeGetScpState:
		if !p.requests.take(time.Now()) {
			o.refuse(p, m)
			return nil
		}
		return o.handle(p, m)
	case xdr.MessageTypeGeneralizedTxSet, xdr.MessageTypeScpQuorumset:
		return o.handle(p, m)
	case xdr.MessageTypeDontHave:
		return o.takeDontHave(p, m)
	default:
		return fmt.Errorf("%w: %s", errUnexpected, f.kind.name())
	}
	return nil
}

// handle hands over a message that is not flooded.
func (o *Overlay) handle(p *peer, m xdr.StellarMessage) error {
	if o.cfg.Handler.Handle(p.id, m) == Misbehaved {
		return fmt.Errorf("%w: %s", errMisbehaved, kind(m.Type).name())
	}
	return nil
}

// takeFlooded hands over a message that is new, and passes it on if the Handler says so.
func (o *Overlay) takeFlooded(p *peer, f frame, m xdr.StellarMessage) error {
	h := f.hash()
	if m.Type == xdr.MessageTypeTransaction {
		o.ask(o.pulls.got(h, o.known.has, time.Now()))
	}
	// It is remembered before it is handed over, so that the same from another peer waits for nobody.
	if !o.known.note(h, p.serial) {
		o.metrics.duplicates.WithLabelValues(f.kind.name()).Inc()
		return nil
	}
	switch o.cfg.Handler.Handle(p.id, m) {
	case Flood:
		o.spread(f)
	case Misbehaved:
		o.known.forget(h)
		return fmt.Errorf("%w: %s", errMisbehaved, f.kind.name())
	default:
		o.known.forget(h)
	}
	return nil
}

// takeAdvert demands the transactions that are new.
func (o *Overlay) takeAdvert(p *peer, m xdr.FloodAdvert) {
	hashes := make([]protocol.Hash, 0, len(m.TxHashes))
	for _, x := range m.TxHashes {
		if h := protocol.Hash(x); !o.known.offered(h, p.serial) {
			hashes = append(hashes, h)
		}
	}
	o.ask(o.pulls.advert(p.serial, hashes, o.known.has, time.Now()))
}

// takeDemand sends the transactions that the peer wants and does not have. One that is no longer here is not answered:
// the peer asks another.
func (o *Overlay) takeDemand(p *peer, m xdr.FloodDemand) {
	for _, x := range m.TxHashes {
		if f, ok := o.known.claim(protocol.Hash(x), p.serial); ok {
			o.enqueue(p, f)
		}
	}
}

// takeDontHave hands over that the peer does not have what it was asked for.
func (o *Overlay) takeDontHave(p *peer, m xdr.StellarMessage) error {
	var answer kind
	switch m.DontHave.Type {
	case xdr.MessageTypeGetTxSet, xdr.MessageTypeTxSet, xdr.MessageTypeGeneralizedTxSet:
		answer = kind(xdr.MessageTypeGeneralizedTxSet)
	case xdr.MessageTypeGetScpQuorumset, xdr.MessageTypeScpQuorumset:
		answer = kind(xdr.MessageTypeScpQuorumset)
	default:
		return fmt.Errorf("%w: it does not have what nobody can ask for", errUnexpected)
	}
	if err := p.answered(answer); err != nil {
		return err
	}
	return o.handle(p, m)
}

// refuse answers a question of a peer that asks too much, so that it need not wait to ask another.
func (o *Overlay) refuse(p *peer, m xdr.StellarMessage) {
	o.metrics.refused.Inc()
	no := xdr.DontHave{}
	switch m.Type {
	case xdr.MessageTypeGetTxSet:
		no = xdr.DontHave{Type: xdr.MessageTypeGeneralizedTxSet, ReqHash: *m.TxSetHash}
	case xdr.MessageTypeGetScpQuorumset:
		no = xdr.DontHave{Type: xdr.MessageTypeScpQuorumset, ReqHash: *m.QSetHash}
	default:
		return
	}
	o.enqueue(p, own(xdr.StellarMessage{Type: xdr.MessageTypeDontHave, DontHave: &no}))
}
