package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Hours is a part of every week, in UTC: "mon-fri 08:00-18:00" or "sat 09:00-12:00". The days are in the order of the week
// from Monday on, and the end, which may be 24:00, is not in it. The zero value is never.
type Hours struct {
	first, last int // days, 0 for Monday
	from, until int // minutes of the day
}

const (
	dayMinutes = 24 * 60
	maxHours   = 50 // parts of a week that a key can have
)

var dayNames = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

// ParseHours reads the notation, which there is one of for each part of the week.
func ParseHours(s string) (h Hours, err error) {
	days, clock, _ := strings.Cut(s, " ")
	first, last, span := strings.Cut(days, "-")
	if !span {
		last = first
	}
	from, until, _ := strings.Cut(clock, "-")
	h = Hours{slices.Index(dayNames, first), slices.Index(dayNames, last), minutes(from), minutes(until)}
	if h.first < 0 || h.last < h.first || h.from < 0 || h.until <= h.from || h.String() != s {
		return Hours{}, fmt.Errorf("%w: hours %.40q", ErrInvalid, s)
	}
	return h, nil
}

func minutes(clock string) int {
	hour, minute, _ := strings.Cut(clock, ":")
	h, err1 := strconv.Atoi(hour)
	m, err2 := strconv.Atoi(minute)
	if err1 != nil || err2 != nil || h < 0 || m < 0 || m > 59 || h*60+m > dayMinutes {
		return -1
	}
	return h*60 + m
}

// String returns the notation.
func (h Hours) String() string {
	days := dayNames[h.first]
	if h.last != h.first {
		days += "-" + dayNames[h.last]
	}
	return fmt.Sprintf("%s %02d:%02d-%02d:%02d", days, h.from/60, h.from%60, h.until/60, h.until%60)
}

// MarshalText returns the notation.
func (h Hours) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads it.
func (h *Hours) UnmarshalText(b []byte) (err error) { *h, err = ParseHours(string(b)); return err }

// next returns the first moment from now on that is in h.
func (h Hours) next(now time.Time) time.Time {
	now = now.UTC()
	midnight := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
	for ; ; midnight = midnight.AddDate(0, 0, 1) {
		if day := (int(midnight.Weekday()) + 6) % 7; day < h.first || day > h.last {
			continue
		}
		if start, end := midnight.Add(time.Duration(h.from)*time.Minute), midnight.Add(time.Duration(h.until)*time.Minute); now.Before(end) {
			return later(now, start)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// open refuses what is asked outside of the key's hours.
func (k *Key) open(now time.Time) error {
	if len(k.Hours) == 0 {
		return nil
	}
	next := k.Hours[0].next(now)
	for _, h := range k.Hours[1:] {
		if other := h.next(now); other.Before(next) {
			next = other
		}
	}
	if next.After(now) {
		return &Denial{Rule: "hours", Reason: "the key signs again at " + next.Format(time.RFC3339), notBefore: next}
	}
	return nil
}

func hoursText(list []Hours) string {
	var parts []string
	for _, h := range list {
		parts = append(parts, h.String())
	}
	return strings.Join(parts, ", ")
}
