package payload

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// AuthCert is what a validator signs so that its peers know the key of its transport, as the network's own AuthCert has it.
type AuthCert struct {
	Network   protocol.Hash
	Expires   time.Time
	Transport [32]byte // the public key
}

func (m *Meaning) readAuthCert(body []byte) error {
	network, rest, err := scpBody(body, xdr.EnvelopeTypeEnvelopeTypeAuth)
	if err != nil {
		return err
	}
	if len(rest) != 8+32 {
		return malformed("certificate of %d bytes, need a time and a key", len(rest))
	}
	at := binary.BigEndian.Uint64(rest)
	if at == 0 || at > maxTime {
		return malformed("expiration %d", at)
	}
	c := &AuthCert{Network: network, Expires: time.Unix(int64(at), 0).UTC(), Transport: [32]byte(rest[8:])}
	digest := sha256.Sum256(body)
	m.AuthCert, m.sign = c, ed25519Only(digest[:])
	m.words = []string{fmt.Sprintf("vouches for the transport key %s until %s", hex.EncodeToString(c.Transport[:]), c.Expires.Format(time.RFC3339)),
		"on network " + network.String()}
	return nil
}
