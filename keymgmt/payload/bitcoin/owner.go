package bitcoin

import "bytes"

// ownedBy returns the hash of the key that a script of that form names. A redeem script is needed for p2sh, where it
// must be p2wpkh, and must be absent elsewhere. It does not compare the hash with the key, for which RIPEMD-160 would be
// needed: a key that signs for another key's output makes a signature that the network refuses, no more.
func (t *Transaction) ownedBy(_ *Key, kind ScriptKind, hash, redeem []byte) ([]byte, error) {
	switch {
	case !t.signable(kind):
		return nil, malformed("%s is not signed on %s", kind, t.Chain)
	case kind != P2SH && redeem != nil:
		return nil, malformed("a redeem script for %s", kind)
	case kind != P2SH:
		return hash, nil
	}
	program, ok := bytes.CutPrefix(redeem, scripts[P2WPKH].head)
	if !ok || len(program) != scripts[P2WPKH].size {
		return nil, malformed("redeem script %.200x is not p2wpkh", redeem)
	}
	return program, nil
}

// checkChange checks that an output that is said to return to the key has a form that one key can spend. It does not
// compare the hash with the key either, so the claim stays a claim.
func (t *Transaction) checkChange(_ *Key, kind ScriptKind, _ []byte) error {
	if !t.signable(kind) {
		return malformed("%s is not change on %s", kind, t.Chain)
	}
	return nil
}
