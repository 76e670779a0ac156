package overlay

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Voucher signs with the node's identity. It is asked about twice an hour.
type Voucher interface {
	// Vouch signs VouchingDigest of the network, the expiration (seconds since 1970) and the transport key. It returns
	// before ctx ends, and may be asked for the same again.
	Vouch(ctx context.Context, expiration uint64, transport [32]byte) (xdr.Signature, error)
}

// VouchingBody is what an identity vouches with: the network's id, the envelope type AUTH, the expiration and the transport key,
// all in XDR. What is signed is its SHA-256.
func VouchingBody(network protocol.Hash, expiration uint64, transport [32]byte) []byte {
	b := make([]byte, 0, len(network)+4+8+len(transport))
	b = append(b, network[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(xdr.EnvelopeTypeEnvelopeTypeAuth))
	b = binary.BigEndian.AppendUint64(b, expiration)
	return append(b, transport[:]...)
}

// VouchingDigest is what an identity signs to vouch for a transport key: the SHA-256 of VouchingBody, as in the family's own
// AuthCert, so a signer that knows those knows this.
func VouchingDigest(network protocol.Hash, expiration uint64, transport [32]byte) [32]byte {
	return sha256.Sum256(VouchingBody(network, expiration, transport))
}

// checkVouching says whether id vouches, now, for key.
func checkVouching(network protocol.Hash, id protocol.AccountID, cert xdr.AuthCert, now time.Time) error {
	digest := VouchingDigest(network, uint64(cert.Expiration), cert.Pubkey.Key)
	unix := uint64(max(now.Unix(), 0))
	switch {
	case uint64(cert.Expiration) <= unix:
		return fmt.Errorf("%w: it has expired", errVouching)
	case uint64(cert.Expiration) > unix+uint64((vouchLife+vouchSkew)/time.Second):
		return fmt.Errorf("%w: it holds for longer than %s", errVouching, vouchLife)
	case len(cert.Sig) != ed25519.SignatureSize || !ed25519.Verify(id.Key(), digest[:], cert.Sig):
		return fmt.Errorf("%w: it is not signed by %s", errVouching, id)
	}
	return nil
}

// keepVouched gets a vouching, closes ready, and renews it until ctx ends. A signer that is away stops nothing but new
// connections, and those only when the last vouching has expired.
func (o *Overlay) keepVouched(ctx context.Context, ready chan<- struct{}) {
	for {
		wait := vouchLife / 2
		if err := o.vouch(ctx); err != nil {
			if ctx.Err() == nil {
				o.cfg.Logger.Error("the identity did not vouch for the transport key", "error", err)
			}
			wait = vouchRetry
		} else if ready != nil {
			close(ready)
			ready = nil
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

func (o *Overlay) vouch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, vouchLimit)
	defer cancel()
	now := time.Now()
	expiration := uint64(now.Add(vouchLife).Unix())
	key := [32]byte(o.transport.public)
	signature, err := o.cfg.Voucher.Vouch(ctx, expiration, key)
	if err != nil {
		return err
	}
	cert := xdr.AuthCert{Pubkey: xdr.Curve25519Public{Key: key}, Expiration: xdr.Uint64(expiration), Sig: bytes.Clone(signature)}
	if err := checkVouching(o.network, o.cfg.ID, cert, now); err != nil {
		return err
	}
	o.vouching.Store(&cert)
	return nil
}

// pause waits, and says whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
