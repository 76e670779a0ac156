package vault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/signature"
)

// Vault is sealed, and then restarted, under many callers: each of them gets a good signature or hears that Vault is
// unavailable, and all of them get signatures again when it is back, without anybody's doing.
func TestSealedWhileSigning(t *testing.T) {
	r := newRig(t)
	keys := []Key{ed25519Key(t, "anchor/usd"), secpKey(t, "coins/btc")}
	ring := r.made(t, keys...)
	b := busy{ring: ring, keys: keys}
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				b.sign(ctx, t, i+n)
			}
		})
	}
	defer callers.Wait()
	defer cancel()
	b.progress(t, &b.good)
	for _, away := range []func() func(){
		func() func() { r.server.Seal(t); return func() { r.server.Unseal(t) } },
		func() func() {
			r.server.Stop(t)
			return func() { r.server.Start(t); r.server.Unseal(t) }
		},
	} {
		back := away()
		b.progress(t, &b.away)
		back()
		b.progress(t, &b.good)
	}
}

// busy counts how signatures end.
type busy struct {
	ring       *Keyring
	keys       []Key
	good, away atomic.Int64
}

func (b *busy) sign(ctx context.Context, t *testing.T, n int) {
	key, message := b.keys[n%len(b.keys)], digestOf(n)
	public, err := b.ring.Public(ctx, key.ID)
	var sigs []signature.Verified
	if err == nil {
		sigs, err = b.ring.sign(ctx, key.ID, [][]byte{message})
	}
	switch {
	case err == nil && sigs[0].Of(public, message):
		b.good.Add(1)
	case errors.Is(err, keymgmt.ErrUnavailable):
		b.away.Add(1)
	case ctx.Err() == nil:
		t.Errorf("%s: %v", key.ID, err)
	}
}

// progress waits until a count has gone up by what all callers together have in the making, and more.
func (b *busy) progress(t *testing.T, count *atomic.Int64) {
	t.Helper()
	from := count.Load()
	eventually(t, "progress", func() bool { return count.Load() > from+50 || t.Failed() })
}

// BenchmarkSign is what one Vault on this machine signs in a second, its own work included.
func BenchmarkSign(b *testing.B) {
	r := newRig(b)
	keys := []Key{ed25519Key(b, "anchor/usd"), p256Key(b, "web/jwt"), secpKey(b, "coins/btc")}
	ring := r.made(b, keys...)
	for _, key := range keys {
		for _, size := range []int{1, 100} {
			messages := make([][]byte, size)
			for i := range messages {
				messages[i] = digestOf(i)
			}
			b.Run(fmt.Sprintf("%s/messages=%d", key.Algorithm, size), func(b *testing.B) {
				b.SetParallelism(16)
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						if _, err := ring.sign(context.Background(), key.ID, messages); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "signatures/s")
			})
		}
	}
}
