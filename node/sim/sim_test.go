package sim

import (
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func play(t *testing.T, cfg Config, d time.Duration) *World {
	t.Helper()
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := w.Run(d); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestCalm(t *testing.T) {
	for _, n := range []int{1, 2, 4, 7} {
		w := play(t, Config{Seed: 1, Validators: n}, time.Minute)
		for i, h := range w.Heights() {
			if h < 12 || h > 14 {
				t.Errorf("of %d, validator %d is at ledger %d after a minute", n, i, h)
			}
		}
	}
}

// faults chooses what goes wrong in a play: each kind in about half of them, so that they meet in every combination.
func faults(seed uint64) Config {
	rng := rand.New(rand.NewPCG(seed, 1))
	c := Config{Seed: seed, Validators: 1 + rng.IntN(6), CloseEvery: time.Duration(1+rng.IntN(5)) * time.Second}
	f := &c.Faults
	f.Delay = time.Duration(rng.IntN(50)) * time.Millisecond
	f.Down = time.Duration(1+rng.IntN(30)) * time.Second
	for _, choose := range []func(){
		func() { f.Loss = rng.Float64() / 4 },
		func() { f.Duplicate = rng.Float64() / 4 },
		func() { f.Delay = time.Duration(rng.IntN(3000)) * time.Millisecond },
		func() { f.Skew = time.Duration(rng.IntN(20)) * time.Second },
		func() { f.Crash = rng.Float64() / 20 },
		func() { f.Partition = rng.Float64() / 20 },
	} {
		if rng.IntN(2) == 0 {
			choose()
		}
	}
	return c
}

// TestSeeds plays networks with everything going wrong, then lets the faults end. DIAMANTE_SEEDS says how many, DIAMANTE_SEED
// which one alone.
func TestSeeds(t *testing.T) {
	first, seeds := uint64(1), number(t, "DIAMANTE_SEEDS", 20)
	if one := number(t, "DIAMANTE_SEED", 0); one != 0 {
		first, seeds = one, 1
	}
	var next atomic.Uint64
	next.Store(first)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := next.Add(1) - 1; seed < first+seeds; seed = next.Add(1) - 1 {
				if err := seeded(seed); err != nil {
					t.Errorf("%v\nplay it again with DIAMANTE_SEED=%d", err, seed)
				}
			}
		})
	}
	wg.Wait()
}

// TestReplay: what a seed does it does again, to the last event.
func TestReplay(t *testing.T) {
	for seed := range uint64(8) {
		cfg := faults(seed)
		cfg.Faults.Crash, cfg.Faults.Loss = 0.05, 0.1
		first, again := play(t, cfg, 30*time.Second), play(t, cfg, 30*time.Second)
		if first.serial != again.serial || !maps.Equal(first.chain, again.chain) {
			t.Errorf("seed %d: %d events and %d ledgers, then %d and %d", seed, first.serial, len(first.chain), again.serial, len(again.chain))
		}
	}
}

func number(t *testing.T, name string, without uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return without
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func seeded(seed uint64) (err error) {
	w, err := New(faults(seed))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if err := w.Run(40 * time.Second); err != nil {
		return err
	}
	return w.Heal(3 * time.Minute)
}
