package export_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/compliance/export"
)

// TestBounds: a range has what happened at its beginning and not what happened at its end, to the microsecond, and the
// package shows it by a record on either side.
func TestBounds(t *testing.T) {
	w := newWorld(t)
	w.events(t, 6)
	at := map[int64]time.Time{}
	for e, err := range audit.Entries(context.Background(), w.db.Reader(), 0, 6) {
		if err != nil {
			t.Fatal(err)
		}
		at[e.Index] = e.At
	}
	const tick = time.Microsecond
	for _, tt := range []struct {
		name     string
		from, to time.Time
		inRange  int64
	}{
		{"two to four", at[2], at[4], 2},
		{"and four", at[2], at[4].Add(tick), 3},
		{"without two", at[2].Add(tick), at[4], 1},
		{"three alone", at[3], at[3].Add(tick), 1},
		{"between", at[3].Add(tick), at[3].Add(2 * tick), 0},
		{"the first", at[0], at[0].Add(tick), 1},
		{"before the first", at[0].Add(-tick), at[0], 0},
		{"long ago", at[0].Add(-100 * 365 * 24 * time.Hour), at[0].Add(-99 * 365 * 24 * time.Hour), 0},
		{"years ahead", at[5].Add(time.Hour), at[5].Add(1000 * time.Hour), 0},
		{"all time", time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, _ := w.build(t, tt.from, tt.to)
			report, err := verify(b, w.key)
			if err != nil {
				t.Fatal(err)
			}
			m := report.Manifest
			if tt.inRange >= 0 && m.InRange != tt.inRange || tt.inRange < 0 && m.InRange != m.Request.Index+1 {
				t.Errorf("%d records in the range, want %d", m.InRange, tt.inRange)
			}
			ends := lines(untar(t, b)["events.jsonl"])
			first, last := ends[0], ends[len(ends)-1]
			if a, z := timeOf(t, first), timeOf(t, last); m.First > 0 && !a.Before(m.From) || m.Last < m.Request.Index && z.Before(m.To) {
				t.Errorf("records %d to %d are from %s to %s", m.First, m.Last, a, z)
			}
		})
	}
}

func timeOf(t *testing.T, record []byte) time.Time {
	t.Helper()
	body, err := audit.ReadBody(record)
	if err != nil {
		t.Fatal(err)
	}
	return body.At
}

// TestPartsOfARange: whoever has the log's key, and leaves out records at either end of the range, makes no package.
func TestPartsOfARange(t *testing.T) {
	f := newForge(t)
	const n = 6 // the first is from before the range, the last is the request
	for first := range 2 {
		for end := first; end <= n; end++ {
			log, x := contentOf(t, n, first, end)
			_, err := verify(f.packOf(t, log, int64(first), x), f.key)
			var fault *export.Fault
			switch {
			case first == 0 && end == n:
				if err != nil {
					t.Error(err)
				}
			case !errors.As(err, &fault) || fault.File != "events.jsonl" && end > first:
				t.Errorf("records %d to before %d of %d: %v", first, end, n, err)
			}
		}
	}
}

// TestMalformedRecords: what a thief of the gateway's password put into the log cannot be taken out of it, and must not
// keep anybody from exporting the rest.
func TestMalformedRecords(t *testing.T) {
	w := newWorld(t)
	w.events(t, 2)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, w.role)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for i, body := range []string{`{"action": "x.y","at":"$at","id":"$id"}`, `{"action":"x.y","at":"$at","id":"$id"}`, `{"action":"x.y","at":"now","id":"$id"}`,
		`{"ID":"q","action":"x.y","actor":{"kind":"k","name":"n"},"at":"$at","id":"$id","subject":"s","v":1}`} {
		id := strings.Repeat(fmt.Sprint(i), 32)
		body = strings.NewReplacer("$at", now().Format(time.RFC3339Nano), "$id", id).Replace(body)
		const insert = `INSERT INTO audit.record (id, at, action, body) VALUES ($1, ($3::json ->> 'at')::timestamptz, 'x.y', convert_to($2, 'UTF8'))`
		if _, err := conn.Exec(ctx, insert, id, body, body); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
	}
	w.events(t, 2)
	b, _ := w.build(t, w.start, now())
	report, err := verify(b, w.key)
	if err != nil {
		t.Fatal(err)
	}
	if m := report.Manifest; m.Malformed != 4 || m.InRange != 4 {
		t.Errorf("%+v", m)
	}
	spoilt := retar(t, b, map[string][]byte{"index.jsonl": bytes.Replace(untar(t, b)["index.jsonl"], []byte(`,"malformed":true`), nil, 1)})
	var fault *export.Fault
	if _, err := verify(spoilt, w.key); !errors.As(err, &fault) || fault.File != "index.jsonl" {
		t.Error(err)
	}
	// They bound nothing: a package that would begin or end with one goes further.
	var times []time.Time
	for e, err := range audit.Entries(ctx, w.db.Reader(), 0, 8) {
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, e.At)
	}
	for _, between := range [][2]int{{3, 4}, {4, 5}, {6, 7}, {1, 2}, {0, 3}} {
		b, _ := w.build(t, times[between[0]], times[between[1]])
		if _, err := verify(b, w.key); err != nil {
			t.Errorf("%v: %v", between, err)
		}
	}
}
