package service_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/node/protocol"
)

// schedules is how many random schedules are tried; `make kill` asks for thousands.
func schedules(t *testing.T) int {
	t.Helper()
	text := os.Getenv("DIAMANTE_SCHEDULES")
	if text == "" {
		return 150
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("DIAMANTE_SCHEDULES is %q", text)
	}
	return n
}

// TestNoScheduleExceedsALimit: in each schedule a few requests of any size, some with one sequence number, go to three
// processes over one database at once, while keys fail before and after they sign, callers give up, the database drops
// everybody's sessions, and processes are started anew. When all have been asked to the end, what the ledger could apply of
// what was signed is within the day's limit to the last unit, and exactly that is reserved.
func TestNoScheduleExceedsALimit(t *testing.T) {
	const limit = 250 * protocol.One
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	random := mathrand.New(mathrand.NewPCG(seed, 0))
	r := newRig(t)
	r.setup.Asset.PerDay = r.quantity("250")
	services := []*service.Service{r.open(), r.open(), r.open()}
	full, denied := 0, 0
	for n := range schedules(t) {
		r.clock.advance(25 * time.Hour) // what was counted does not count any more
		asked := r.schedule(random, n)
		r.disturb(random, services, asked)
		if random.IntN(3) == 0 {
			services[random.IntN(3)] = r.reopen()
		}
		worst := map[int64]int64{} // of each sequence number the ledger applies one
		for _, a := range asked {
			_, err := services[random.IntN(3)].For(gateway).Sign(t.Context(), a.request)
			for try := 0; errors.Is(err, keymgmt.ErrUnavailable) && try < 100; try++ { // sessions that were dropped
				_, err = services[random.IntN(3)].For(gateway).Sign(t.Context(), a.request)
			}
			switch {
			case err == nil:
				worst[a.sequence] = max(worst[a.sequence], a.units)
			case errors.Is(err, keymgmt.ErrDenied):
				denied++
			default:
				t.Fatalf("schedule %d: %v", n, err)
			}
		}
		total := int64(0)
		for _, units := range worst {
			total += units
		}
		if total > limit {
			t.Fatalf("schedule %d: %d could be applied, over %d", n, total, int64(limit))
		}
		if total > limit*3/4 {
			full++
		}
		if got := r.stroops(r.asset.String(), r.clock.now()); got.Cmp(big.NewInt(total)) != 0 {
			t.Fatalf("schedule %d: %d could be applied, %s are reserved", n, total, got)
		}
	}
	if full == 0 || denied == 0 {
		t.Errorf("%d schedules came near the limit and %d requests were denied: the test tests nothing", full, denied)
	}
}

// reopen is open in a world where the database has dropped sessions that nobody knows of yet.
func (r *rig) reopen() *service.Service {
	r.t.Helper()
	s, err := service.Open(context.Background(), r.config())
	for try := 0; errors.Is(err, keymgmt.ErrUnavailable) && try < 100; try++ {
		s, err = service.Open(context.Background(), r.config())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// ask is one request of a schedule.
type ask struct {
	request         keymgmt.Request
	sequence, units int64
}

// schedule makes a schedule's requests.
func (r *rig) schedule(random *mathrand.Rand, n int) (asked []ask) {
	base := int64(n+1) * 100
	for i := range 4 + random.IntN(4) {
		a := ask{sequence: base + random.Int64N(8), units: 1 + random.Int64N(100*protocol.One)}
		r.sequence.Store(a.sequence - 1)
		a.request = r.pay(fmt.Sprintf("s/%d/%d", n, i), fmt.Sprintf("%d.%07d", a.units/protocol.One, a.units%protocol.One), r.account(keyDistribution))
		asked = append(asked, a)
	}
	return asked
}

// disturb asks for everything at once, in a world where nothing is sure.
func (r *rig) disturb(random *mathrand.Rand, services []*service.Service, asked []ask) {
	var mu sync.Mutex // of the keyring's luck
	luck := mathrand.New(mathrand.NewPCG(random.Uint64(), 0))
	chance := func(of int) func() error {
		return func() error {
			mu.Lock()
			defer mu.Unlock()
			if luck.IntN(of) == 0 {
				return errCrash
			}
			return nil
		}
	}
	r.keyring.set(chance(6), chance(6))
	defer r.keyring.set(nil, nil)
	var wg sync.WaitGroup
	for _, a := range asked {
		svc, patience := services[random.IntN(len(services))], time.Duration(1+random.IntN(40))*time.Millisecond
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_, _ = svc.For(gateway).Sign(ctx, a.request) // what came of it is asked later
		})
	}
	if random.IntN(5) == 0 {
		r.must(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'diamante_signer'`)
	}
	wg.Wait()
}
