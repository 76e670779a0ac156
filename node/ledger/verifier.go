package ledger

import (
	"crypto/ed25519"
	"crypto/sha256"
	"sync"

	"github.com/diamante/gateway/node/protocol"
)

// cacheSize bounds each of the two generations of verified signatures.
const cacheSize = 1 << 16

// verifier verifies Ed25519 signatures one by one, and remembers those that were good: each is asked about when it is
// queued and again when it is applied. Batches are not verified together, since that accepts other signatures.
type verifier struct {
	mu       sync.Mutex // guards what follows
	now, old map[protocol.Hash]struct{}
}

func newVerifier() *verifier { return &verifier{now: map[protocol.Hash]struct{}{}} }

func (v *verifier) verify(key, message, signature []byte) bool {
	if len(signature) != ed25519.SignatureSize {
		return false
	}
	h := sha256.New()
	h.Write(key)
	h.Write(signature)
	h.Write(message)
	id := protocol.Hash(h.Sum(nil))
	if v.known(id) {
		return true
	}
	if !ed25519.Verify(key, message, signature) {
		return false
	}
	v.remember(id)
	return true
}

func (v *verifier) known(id protocol.Hash) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.now[id]; ok {
		return true
	}
	_, ok := v.old[id]
	return ok
}

func (v *verifier) remember(id protocol.Hash) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.now) >= cacheSize {
		v.now, v.old = make(map[protocol.Hash]struct{}, cacheSize), v.now
	}
	v.now[id] = struct{}{}
}
