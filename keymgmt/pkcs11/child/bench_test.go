package child

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
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
	pids := []int{os.Getpid(), pid(b, ring)}
	var here, there, hereCPU, thereCPU time.Duration
	for b.Loop() { // alternating, so that both see the same machine
		cpu := spent(b, pids)
		here += burst(b, bare)
		hereCPU, cpu = hereCPU+spent(b, pids)-cpu, spent(b, pids)
		there += burst(b, apart)
		thereCPU += spent(b, pids) - cpu
	}
	signatures := float64(burstSize * b.N)
	b.ReportMetric(signatures/here.Seconds(), "in-process/s")
	b.ReportMetric(signatures/there.Seconds(), "child/s")
	b.ReportMetric(here.Seconds()/there.Seconds(), "ratio")
	b.ReportMetric(hereCPU.Seconds()/thereCPU.Seconds(), "cpu-ratio") // of processor time, which others' work does not disturb
	b.ReportMetric(float64(hereCPU.Microseconds())/signatures, "in-process-us")
	b.ReportMetric(float64(thereCPU.Microseconds())/signatures, "child-us")
}

// spent is the processor time of the processes so far.
func spent(b *testing.B, pids []int) (sum time.Duration) {
	const tick = 10 * time.Millisecond // what Linux counts in
	for _, pid := range pids {
		stat := string(read(b, fmt.Sprintf("/proc/%d/stat", pid)))
		fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
		for _, field := range fields[11:13] { // utime, stime
			n, err := strconv.Atoi(field)
			must(b, err)
			sum += time.Duration(n) * tick
		}
	}
	return sum
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
