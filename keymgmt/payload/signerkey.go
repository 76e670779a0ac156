package payload

import (
	"fmt"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// SignerKind says what it takes to sign for an account. Zero is invalid.
type SignerKind uint8

// The kinds of signers.
const (
	SignerAccount     SignerKind = 1 + iota // the signature of a key
	SignerTransaction                       // one transaction, which needs no signature any more
	SignerPreimage                          // showing what has a given SHA-256
	SignerPayload                           // the signature of a key over a given text
)

// SignerKey is who, or what, signs for an account. It is comparable.
type SignerKey struct {
	Kind    SignerKind
	Account protocol.AccountID // of SignerAccount and SignerPayload
	Hash    protocol.Hash      // of SignerTransaction and SignerPreimage
	Payload string             // of SignerPayload: 1 to 64 bytes
}

func (r *reader) signerKey(x xdr.SignerKey) SignerKey {
	switch x.Type {
	case xdr.SignerKeyTypeSignerKeyTypeEd25519:
		return SignerKey{Kind: SignerAccount, Account: r.key(x.Ed25519[:])}
	case xdr.SignerKeyTypeSignerKeyTypePreAuthTx:
		return SignerKey{Kind: SignerTransaction, Hash: protocol.Hash(*x.PreAuthTx)}
	case xdr.SignerKeyTypeSignerKeyTypeHashX:
		return SignerKey{Kind: SignerPreimage, Hash: protocol.Hash(*x.HashX)}
	case xdr.SignerKeyTypeSignerKeyTypeEd25519SignedPayload:
		p := x.Ed25519SignedPayload
		if len(p.Payload) == 0 {
			r.fail("signer of an empty payload")
		}
		return SignerKey{Kind: SignerPayload, Account: r.key(p.Ed25519[:]), Payload: string(p.Payload)}
	}
	r.fail("signer of type %d", x.Type)
	return SignerKey{}
}

// String returns the signer in words.
func (k SignerKey) String() string {
	switch k.Kind {
	case SignerAccount:
		return k.Account.String()
	case SignerTransaction:
		return "anyone who submits transaction " + k.Hash.String()
	case SignerPreimage:
		return "anyone who shows what has SHA-256 " + k.Hash.String()
	case SignerPayload:
		return fmt.Sprintf("%s, once it has signed payload %x,", k.Account, k.Payload)
	}
	return fmt.Sprintf("of kind %d", k.Kind)
}
