package service

import (
	"testing"
	"testing/synctest"
	"time"
)

// A group waits for company only while most of those in the service are on their way, and never for long.
func TestGather(t *testing.T) {
	for name, test := range map[string]struct {
		waiting, inside int
		comes           time.Duration // when the others come, zero if they never do
		want            time.Duration
	}{
		"alone":                  {waiting: 1, inside: 1},
		"one of two":             {waiting: 1, inside: 2},
		"half":                   {waiting: 16, inside: 32},
		"nobody":                 {waiting: 0, inside: 32},
		"a whole group":          {waiting: maxGroup, inside: 1000},
		"few, and nobody comes":  {waiting: 3, inside: 32, want: gatherTime},
		"few, and the rest come": {waiting: 3, inside: 32, comes: gatherTime / 2, want: gatherTime / 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := journal{grew: make(chan struct{}, 1), waiting: make([]*entry, test.waiting)}
				inside := make(chan struct{}, 1000)
				for range test.inside {
					inside <- struct{}{}
				}
				if test.comes > 0 {
					time.AfterFunc(test.comes, func() {
						j.mu.Lock()
						defer j.mu.Unlock()
						j.waiting = append(j.waiting, make([]*entry, test.inside)...)
						j.grew <- struct{}{}
					})
				}
				began := time.Now()
				j.gather(inside)
				if took := time.Since(began); took != test.want {
					t.Errorf("it took %s, want %s", took, test.want)
				}
			})
		})
	}
}
