package bitcoin

import (
	"bytes"
	"crypto/sha256"

	//lint:ignore SA1019 scripts name keys by this hash for ever; whoever could break it would still need a second preimage
	"golang.org/x/crypto/ripemd160"
)

// hash160 is how scripts name a key or another script.
func hash160(b []byte) []byte {
	once := sha256.Sum256(b)
	h := ripemd160.New()
	h.Write(once[:])
	return h.Sum(nil)
}

// ownedBy checks that the key, alone, can spend an output of that form, and returns the key's hash. A redeem script is
// needed for p2sh, where it must be the key's p2wpkh, and must be absent elsewhere.
func (t *Transaction) ownedBy(key *Key, kind ScriptKind, hash, redeem []byte) ([]byte, error) {
	own := hash160(key.Public[:])
	var want []byte
	if kind == P2SH {
		want = makeScript(P2WPKH, own)
	}
	// An empty redeem script is there, and another thing than none.
	if !bytes.Equal(redeem, want) || (redeem == nil) != (want == nil) {
		return nil, malformed("redeem script %.200x for %s, need %x", redeem, kind, want)
	}
	return own, t.checkChange(key, kind, hash)
}

// checkChange checks that the key, alone, can spend an output of that form and hash.
func (t *Transaction) checkChange(key *Key, kind ScriptKind, hash []byte) error {
	if !t.signable(kind) {
		return malformed("%s is not signed on %s", kind, t.Chain)
	}
	own := hash160(key.Public[:])
	if kind == P2SH {
		own = hash160(makeScript(P2WPKH, own))
	}
	if !bytes.Equal(own, hash) {
		return malformed("key %x is not the one of %s %x", key.Public, kind, hash)
	}
	return nil
}
