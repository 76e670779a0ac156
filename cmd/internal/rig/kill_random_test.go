package rig_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/diamante/gateway/cmd/internal/rig"
)

// How many random kills there are, and with -short; how many pairs of customers do business meanwhile, how long after a kill the next
// comes at most, and how long what was under way may take once nobody kills any more.
const (
	randomKills = 200
	shortKills  = 20
	randomPairs = 3
	maxCalm     = 1500 * time.Millisecond
	aftermath   = 4 * time.Minute
)

// TestKillAtRandom kills programs at random moments, also while they start or while others are down, and starts each
// again at once, while deposits, payments and withdrawals go on: at the end all of them are completed once.
// DIAMANTE_KILLS is another number of kills, DIAMANTE_KILL_SEED repeats a run's choices.
func TestKillAtRandom(t *testing.T) {
	kills, seed := int64(randomKills), fromEnv(t, "DIAMANTE_KILL_SEED", time.Now().UnixNano())
	if testing.Short() {
		kills = shortKills
	}
	kills = fromEnv(t, "DIAMANTE_KILLS", kills)
	t.Logf("DIAMANTE_KILLS=%d DIAMANTE_KILL_SEED=%d", kills, seed)
	s := newSystem(t, randomPairs)
	began := time.Now()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := make(chan struct{})
	errs := make(chan error, randomPairs)
	for _, p := range s.pairs {
		go func() { errs <- s.business(ctx, p, over) }()
	}
	counts, err := s.killRandomly(t, rand.New(rand.NewPCG(uint64(seed), 0)), int(kills))
	close(over)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v killed in %s", counts, time.Since(began).Round(time.Second))
	deadline := time.AfterFunc(aftermath, cancel)
	defer deadline.Stop()
	for range s.pairs {
		if err := <-errs; err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	s.balanced(t)
	t.Logf("all in %s", time.Since(began).Round(time.Second))
}

// business has a pair do rounds of business until told that it is over, and then end the one under way.
func (s *system) business(ctx context.Context, p *pair, over <-chan struct{}) error {
	for {
		if err := s.round(ctx, p); err != nil {
			return fmt.Errorf("%s, round %d: %w", p.payer.Name, p.rounds+1, err)
		}
		select {
		case <-over:
			return nil
		default:
		}
	}
}

// killRandomly kills so many times, and returns how often it was whom. At its end everything is started again.
func (s *system) killRandomly(t *testing.T, random *rand.Rand, kills int) (map[string]int, error) {
	programs := append([]*rig.Process{s.Gateway, s.Signer, s.Node}, s.Others...)
	keepers := map[*rig.Process]*keeper{}
	for _, p := range programs {
		keepers[p] = keep(t.Context(), p)
	}
	counts := map[string]int{}
	for range kills {
		if err := pause(t.Context(), time.Duration(random.Int64N(int64(maxCalm)))); err != nil {
			return counts, err
		}
		switch n := random.IntN(100); {
		case n < 4:
			s.KillPostgres()
			if err := s.RestartPostgres(t.Context()); err != nil {
				return counts, err
			}
			counts["postgres"]++
			continue
		case n < 52:
			counts[s.Gateway.Name] += kill(s.Gateway)
		case n < 76:
			counts[s.Signer.Name] += kill(s.Signer)
		case n < 90:
			counts[s.Node.Name] += kill(s.Node)
		default:
			other := s.Others[random.IntN(len(s.Others))]
			counts[other.Name] += kill(other)
		}
	}
	for _, p := range programs {
		if err := p.WaitReady(t.Context()); err != nil {
			return counts, err
		}
		ends, err := keepers[p].stop()
		if err != nil {
			return counts, err
		}
		if ends != counts[p.Name] {
			t.Errorf("%s was killed %d times and ended %d times", p.Name, counts[p.Name], ends)
		}
	}
	return counts, nil
}

// kill kills a program, if need be after it was started again, and returns how often: once.
func kill(p *rig.Process) int {
	for !p.Running() {
		runtime.Gosched()
	}
	p.Kill()
	return 1
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func fromEnv(t *testing.T, name string, otherwise int64) int64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
