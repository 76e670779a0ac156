package herder

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// say makes statements durable and has them signed. Of what was not signed yet only the newest is.
func (f *Federated) say(statements []xdr.ScpStatement) error {
	var sets []xdr.GeneralizedTransactionSet
	seen := map[protocol.Hash]bool{}
	for _, st := range statements {
		values, err := valuesOf(st)
		if err != nil {
			return fmt.Errorf("herder: a statement of ours: %w", err)
		}
		for _, v := range values {
			hash := protocol.Hash(v.TxSetHash)
			if set, known := f.driver.Set(hash); known && !seen[hash] {
				sets = append(sets, set)
			}
			seen[hash] = true
		}
	}
	if err := f.cfg.Memory.Say(statements, sets); err != nil {
		return err
	}
	f.mu.Lock()
	for _, st := range statements {
		f.replaceUnsaid(st)
	}
	f.mu.Unlock()
	f.signSoon()
	return nil
}

// replaceUnsaid puts a statement into the line of those to be signed, and drops the older one of its kind. The caller holds f.mu.
func (f *Federated) replaceUnsaid(st xdr.ScpStatement) {
	key, err := keyOf(st)
	if err != nil {
		panic("herder: " + err.Error()) // it is ours
	}
	kept := f.unsaid[:0]
	for _, old := range f.unsaid {
		if k, err := keyOf(old); err != nil || k != key {
			kept = append(kept, old)
		}
	}
	f.unsaid = append(kept, st)
}

func (f *Federated) signSoon() {
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

// Unsigned is sent to when there is something for SignNext to do.
func (f *Federated) Unsigned() <-chan struct{} { return f.ready }

// SignNext has the next statement signed, and sends it. It reports whether there was one. After an error the same is signed
// when it is called again, unless something newer was said.
func (f *Federated) SignNext(ctx context.Context) (bool, error) {
	f.mu.Lock()
	if len(f.unsaid) == 0 {
		f.mu.Unlock()
		return false, nil
	}
	st := f.unsaid[0]
	f.mu.Unlock()
	env, err := f.sign(ctx, st)
	if err != nil {
		return true, err
	}
	if err := f.cfg.Memory.Signed(env); err != nil {
		return true, err
	}
	key, err := keyOf(st)
	if err != nil {
		return true, err
	}
	f.mu.Lock()
	if len(f.unsaid) > 0 && equal(f.unsaid[0], st) {
		f.unsaid = f.unsaid[1:]
	}
	f.own[key] = env
	f.mu.Unlock()
	if st.Pledges.Type == xdr.ScpStatementTypeScpStExternalize {
		f.enter(func(f *Federated) error { f.settle(key.slot); return nil }) // now it counts for others, too
	}
	if f.cfg.Network != nil {
		f.cfg.Network.Broadcast(envelopeMessage(env))
	}
	return true, nil
}

func (f *Federated) sign(ctx context.Context, st xdr.ScpStatement) (xdr.ScpEnvelope, error) {
	ctx, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	body := statementBody(f.network, st)
	sig, err := f.cfg.Signer.SignStatement(ctx, body)
	if err != nil {
		return xdr.ScpEnvelope{}, fmt.Errorf("herder: sign a statement: %w", err)
	}
	if len(sig) != ed25519.SignatureSize || !f.cfg.Verify(f.me.Key(), body, sig) {
		return xdr.ScpEnvelope{}, errors.New("herder: the signer's signature does not verify")
	}
	return xdr.ScpEnvelope{Statement: st, Signature: sig}, nil
}

// statementBody is what is signed of a statement.
func statementBody(network protocol.Hash, st xdr.ScpStatement) []byte {
	body := append([]byte(nil), network[:]...)
	body = append(body, mustEncode(xdr.EnvelopeTypeEnvelopeTypeScp)...)
	return append(body, mustEncode(st)...)
}

// verify checks that an envelope is signed by the node that it names.
func (f *Federated) verify(id protocol.AccountID, env xdr.ScpEnvelope) bool {
	return len(env.Signature) == ed25519.SignatureSize && f.cfg.Verify(id.Key(), statementBody(f.network, env.Statement), env.Signature)
}

func equal(a, b interface{ MarshalBinary() ([]byte, error) }) bool {
	return string(mustEncode(a)) == string(mustEncode(b))
}

func envelopeMessage(env xdr.ScpEnvelope) xdr.StellarMessage {
	return xdr.StellarMessage{Type: xdr.MessageTypeScpMessage, Envelope: &env}
}

// signing signs until ctx ends: the part of Run that waits for another process.
func (f *Federated) signing(ctx context.Context) {
	for {
		more, err := f.SignNext(ctx)
		if err != nil && ctx.Err() == nil {
			f.cfg.Logger.Error("what this validator has to say is not signed", "error", err)
		}
		switch {
		case err != nil:
			select {
			case <-ctx.Done():
				return
			case <-f.cfg.Clock.Until(f.cfg.Clock.Now().Add(signRetry)):
			}
		case !more:
			select {
			case <-ctx.Done():
				return
			case <-f.ready:
			}
		}
	}
}

// Run signs, and ends with ctx. The herder's own Run steps.
func (f *Federated) Run(ctx context.Context) {
	f.signing(ctx)
	close(f.stop)
}
