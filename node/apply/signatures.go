package apply

import (
	"crypto/sha256"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// maxWeight is the most that one signer counts for.
const maxWeight = 255

// checker matches the signatures of one transaction with the signers of accounts, and remembers which were used.
type checker struct {
	hash   protocol.Hash
	sigs   []xdr.DecoratedSignature
	used   []bool
	verify func(key, message, signature []byte) bool
}

func newChecker(hash protocol.Hash, sigs []xdr.DecoratedSignature, c Context) *checker {
	return &checker{hash: hash, sigs: sigs, used: make([]bool, len(sigs)), verify: c.Verify}
}

// accountSigners returns the account's signers, the master key among them when it has weight.
func accountSigners(a *xdr.AccountEntry) []xdr.Signer {
	signers := append([]xdr.Signer(nil), a.Signers...)
	if w := a.MasterKeyWeight(); w > 0 {
		signers = append(signers, masterSigner(a.AccountId, xdr.Uint32(w)))
	}
	return signers
}

func masterSigner(id xdr.AccountId, weight xdr.Uint32) xdr.Signer {
	return xdr.Signer{Key: xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypeEd25519, Ed25519: id.Ed25519}, Weight: weight}
}

// kinds is the order in which signers are tried against signatures.
var kinds = []xdr.SignerKeyType{xdr.SignerKeyTypeSignerKeyTypeHashX, xdr.SignerKeyTypeSignerKeyTypeEd25519,
	xdr.SignerKeyTypeSignerKeyTypeEd25519SignedPayload}

// check reports whether the signatures give the signers the weight that is needed. At least one must be there, even
// when no weight is needed.
func (s *checker) check(signers []xdr.Signer, needed int32) bool {
	total := int32(0)
	reached := func(w xdr.Uint32) bool {
		total += int32(min(w, maxWeight))
		return total >= needed
	}
	for _, signer := range signers {
		if signer.Key.Type == xdr.SignerKeyTypeSignerKeyTypePreAuthTx && *signer.Key.PreAuthTx == xdr.Uint256(s.hash) && reached(signer.Weight) {
			return true
		}
	}
	for _, kind := range kinds {
		rest := ofKind(signers, kind)
		for i := range s.sigs {
			for j, signer := range rest {
				if !s.matches(signer.Key, s.sigs[i]) {
					continue
				}
				s.used[i] = true
				if reached(signer.Weight) {
					return true
				}
				rest = append(rest[:j], rest[j+1:]...)
				break
			}
		}
	}
	return false
}

func ofKind(signers []xdr.Signer, kind xdr.SignerKeyType) []xdr.Signer {
	var out []xdr.Signer
	for _, s := range signers {
		if s.Key.Type == kind {
			out = append(out, s)
		}
	}
	return out
}

func (s *checker) matches(key xdr.SignerKey, sig xdr.DecoratedSignature) bool {
	switch key.Type {
	case xdr.SignerKeyTypeSignerKeyTypeHashX:
		return hint(key.HashX[:]) == sig.Hint && sha256.Sum256(sig.Signature) == *key.HashX
	case xdr.SignerKeyTypeSignerKeyTypeEd25519:
		return hint(key.Ed25519[:]) == sig.Hint && s.verify(key.Ed25519[:], s.hash[:], sig.Signature)
	case xdr.SignerKeyTypeSignerKeyTypeEd25519SignedPayload:
		p := key.Ed25519SignedPayload
		h := hint(p.Ed25519[:])
		var tail xdr.SignatureHint
		copy(tail[:], p.Payload[max(0, len(p.Payload)-len(tail)):])
		for i := range h {
			h[i] ^= tail[i]
		}
		return h == sig.Hint && s.verify(p.Ed25519[:], p.Payload, sig.Signature)
	}
	return false
}

func hint(key []byte) xdr.SignatureHint { return xdr.SignatureHint(key[len(key)-4:]) }

// checkExtra checks the extra signers that the transaction demands of itself.
func (s *checker) checkExtra(conditions xdr.Preconditions) bool {
	if conditions.V2 == nil || len(conditions.V2.ExtraSigners) == 0 {
		return true
	}
	var signers []xdr.Signer
	for _, key := range conditions.V2.ExtraSigners {
		signers = append(signers, xdr.Signer{Key: key, Weight: 1})
	}
	return s.check(signers, int32(len(signers)))
}

func (s *checker) allUsed() bool {
	for _, u := range s.used {
		if !u {
			return false
		}
	}
	return true
}
