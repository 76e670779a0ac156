package payload

import (
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload/bitcoin"
	"github.com/diamante/gateway/keymgmt/payload/ethereum"
)

// readBitcoin understands a PSBT. A key signs those inputs that name it.
func (m *Meaning) readBitcoin(chain bitcoin.Chain, body []byte) error {
	t, err := bitcoin.Decode(chain, body)
	if err != nil {
		return malformed("%v", err)
	}
	m.Bitcoin, m.words = t, t.Words()
	m.sign = func(public keymgmt.PublicKey) (digests [][]byte) {
		if public.Algorithm() != keymgmt.Secp256k1 {
			return nil
		}
		for _, i := range t.SignedBy(public.Bytes()) {
			digest := t.Inputs[i].Digest
			digests = append(digests, digest[:])
		}
		return digests
	}
	return nil
}

// readEthereum understands a transaction. It does not name its sender, who is whoever signs it: which key that may be is
// for the policy to say.
func (m *Meaning) readEthereum(body []byte) error {
	t, err := ethereum.Decode(body)
	if err != nil {
		return malformed("%v", err)
	}
	m.Ethereum, m.words, m.sign = t, t.Words(), only(keymgmt.Secp256k1, t.Digest[:])
	return nil
}
