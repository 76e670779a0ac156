package child

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/pkcs11"
	"github.com/diamante/gateway/keymgmt/pkcs11/internal/relay"
)

// benchCallers is how many callers sign at once.
const benchCallers = 32

// BenchmarkOverhead signs through a child and without one, both verified, and reports what is left of the speed. Both
// share the machine's processors with SoftHSM, which a device of its own would not need.
func BenchmarkOverhead(b *testing.B) {
	for _, a := range []keymgmt.Algorithm{keymgmt.Ed25519, keymgmt.Secp256k1} {
		b.Run(a.String(), func(b *testing.B) { overhead(b, a) })
	}
}

func overhead(b *testing.B, a keymgmt.Algorithm) {
	cfg, _ := newToken(b)
	id := keytest.Key(b, "bench")
	device, err := pkcs11.Open(cfg.Keyring)
	must(b, err)
	defer device.Close()
	public, err := device.Generate(b.Context(), id, a)
	must(b, err)
	ring := ready(b, start(b, cfg))
	messages := [][]byte{make([]byte, 32)}
	bare := func(ctx context.Context) error {
		raw, err := device.SignSpent(ctx, id, relay.New(messages))
		if err != nil {
			return err
		}
		_, err = relay.Finish(public, messages[0], raw[0])
		return err
	}
	apart := func(ctx context.Context) error {
		_, err := ring.sign(ctx, id, messages)
		return err
	}
	var here, there time.Duration
	for b.Loop() { // alternating, so that both see the same machine
		here += burst(b, bare)
		there += burst(b, apart)
	}
	b.ReportMetric(float64(burstSize*b.N)/here.Seconds(), "in-process/s")
	b.ReportMetric(float64(burstSize*b.N)/there.Seconds(), "child/s")
	b.ReportMetric(here.Seconds()/there.Seconds(), "ratio")
}

// burstSize is how many signatures are timed together.
const burstSize = 4000

func burst(b *testing.B, sign func(ctx context.Context) error) time.Duration {
	var left atomic.Int64
	left.Store(burstSize)
	var wg sync.WaitGroup
	began := time.Now()
	for range benchCallers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := sign(b.Context()); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}
