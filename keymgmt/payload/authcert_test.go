package payload_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
)

func authCert(expires uint64) []byte {
	body := bytes.Repeat([]byte{7}, 32)
	body = binary.BigEndian.AppendUint32(body, uint32(xdr.EnvelopeTypeEnvelopeTypeAuth))
	body = binary.BigEndian.AppendUint64(body, expires)
	return append(body, bytes.Repeat([]byte{9}, 32)...)
}

func TestAuthCert(t *testing.T) {
	body := authCert(1_700_003_600)
	m, err := payload.Decode(keymgmt.KindAuthCert, body)
	if err != nil {
		t.Fatal(err)
	}
	if c := m.AuthCert; c == nil || c.Expires.Unix() != 1_700_003_600 || c.Transport != [32]byte(bytes.Repeat([]byte{9}, 32)) || c.Network[0] != 7 {
		t.Errorf("%+v", c)
	}
	digest := sha256.Sum256(body)
	if got := m.Messages(anyKey); len(got) != 1 || !bytes.Equal(got[0], digest[:]) {
		t.Errorf("signs %x, want %x", got, digest)
	}
	everyBitCounts(t, keymgmt.KindAuthCert, body, 0, anyKey)
	other := authCert(1)
	binary.BigEndian.PutUint32(other[32:], uint32(xdr.EnvelopeTypeEnvelopeTypeScp))
	for name, bad := range map[string][]byte{"nothing": {}, "cut": body[:len(body)-1], "more": append(bytes.Clone(body), 0), "no time": authCert(0),
		"for ever": authCert(1 << 63), "another type": other, "a header": body[:36]} {
		if _, err := payload.Decode(keymgmt.KindAuthCert, bad); !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
