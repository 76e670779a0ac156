package service

import (
	"errors"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
)

// TestClockBounds: the machine's clock is held to the database's too; one that a test or a simulation brings is not.
func TestClockBounds(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name             string
		machine          bool
		moment, database time.Duration // from now
		good             bool
	}{
		{"all the same", true, 0, 0, true},
		{"within its bounds", true, MaxClockBack, -MaxClockDrift, true},
		{"behind the journal", true, MaxClockBack + time.Second, 0, false},
		{"a clock of its own behind the journal", false, MaxClockBack + time.Second, 0, false},
		{"ahead of the database", true, 0, -MaxClockDrift - time.Second, false},
		{"behind the database", true, 0, MaxClockDrift + time.Second, false},
		{"a clock of its own", false, -time.Hour, 24 * time.Hour, true},
	} {
		s := &Service{machine: tt.machine}
		err := s.clock(now, timely{moment: now.Add(tt.moment), database: now.Add(tt.database)})
		if (err == nil) != tt.good || err != nil && (!errors.Is(err, errClock) || !errors.Is(err, keymgmt.ErrUnavailable)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
