package service

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
)

// Bounds of the signer's clock. Limits, hours, delays and the life of a policy are worth what the clock is worth, so nothing
// is signed by one that is out of them.
const (
	// MaxClockBack is how far the clock may be behind the newest moment in the journal.
	MaxClockBack = 2 * time.Minute
	// MaxClockDrift is how far the machine's clock may be from the database's, which whoever sets the one does not set by
	// that. Not checked when Config has a clock of its own.
	MaxClockDrift = 2 * time.Minute
	// ClockSpread is how far the clocks of two processes over one journal may thus be apart. What one of them has counted under
	// an earlier time, the other must count as if it was within the window: so windows are longer by that, and never shorter.
	ClockSpread = 2 * MaxClockDrift
	// clockStep is how often the journal notes what time it is.
	clockStep = time.Minute
)

// errClock: the clock is out of bounds.
var errClock = errors.New("the clock is out of bounds")

// timely is what a group's decisions know about time.
type timely struct {
	moment   time.Time // the newest in the journal
	database time.Time // what the database's clock says
	seen     map[seen]time.Time
}

func newTimely() timely { return timely{seen: map[seen]time.Time{}} }

// seen is a request that may have to lie: its name, and what exactly it is.
type seen struct {
	name
	sha256 [sha256.Size]byte
}

func (e *entry) asSeen() seen {
	r := e.request
	return seen{e.name(), sha256.Sum256(append([]byte(r.Kind.String()+"\x00"), r.Body...))}
}

const findMoment = `SELECT coalesce(max(at), 'epoch'), clock_timestamp() FROM signer.moment`

// queueTime asks for what a group has to know about time.
func (s *Service) queueTime(b *pgx.Batch, k *known, group []*entry) {
	b.Queue(findMoment).QueryRow(func(row pgx.Row) error { return row.Scan(&k.moment, &k.database) })
	var keys, refs []string
	for _, e := range group {
		if e.made == nil && s.cfg.Policy.Delays(e.request.Key) {
			keys, refs = append(keys, e.name().key), append(refs, e.name().ref)
		}
	}
	if len(keys) == 0 {
		return
	}
	// Of the signer's clock and the database's the later one counts: the role cannot say the latter, so a thief of its password
	// makes nothing older than it is. Where Config has a clock of its own, it has nothing to do with the database's.
	b.Queue(`SELECT s.key, s.ref, s.sha256, CASE WHEN $3 THEN greatest(s.at, s.noted) ELSE s.at END
		FROM unnest($1::text[], $2::text[]) AS q (key, ref) JOIN signer.seen s USING (key, ref)`, keys, refs, s.machine).
		Query(each(func(rows pgx.Rows) error {
			var what seen
			var hash []byte
			var at time.Time
			err := rows.Scan(&what.key, &what.ref, &hash, &at)
			copy(what.sha256[:], hash)
			k.seen[what] = at.UTC()
			return err
		}))
}

// firstSeen returns when a request was first seen, zero when that is not known.
func (k *known) firstSeen(e *entry) time.Time {
	if len(k.seen) == 0 {
		return time.Time{}
	}
	return k.seen[e.asSeen()]
}

// MaxSightings bounds the requests of a key that are noted as seen in a minute. Whoever asks for more at once hides what he
// is after from those who are to look at it, and so he waits.
const MaxSightings = 30

// see writes down that a request was seen, if that is why it was refused.
func (s *Service) see(k *known, e *entry, refusal error, w *writes) {
	var denial *policy.Denial
	if !errors.As(refusal, &denial) || !denial.Unseen() {
		return
	}
	if ok, _ := s.sightings.take(e.request.Key.String(), MaxSightings, k.now); !ok {
		return
	}
	k.seen[e.asSeen()] = k.now
	w.seen = append(w.seen, e)
	w.record(e, "request.seen", map[string]any{"ref": e.request.Ref, "kind": e.request.Kind.String(), "sha256": digest(e.request.Body),
		"initiator": e.request.Initiator, "words": e.meaning.Brief()})
}

// queueTime adds what was seen, and what time it is.
func (w *writes) queueTime(b *pgx.Batch, k *known) {
	for _, e := range w.seen {
		what := e.asSeen()
		b.Queue(`INSERT INTO signer.seen (key, ref, sha256, at, caller) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
			what.key, what.ref, what.sha256[:], k.now, e.caller)
	}
	if k.deciding && k.now.Sub(k.moment) >= clockStep {
		b.Queue(`INSERT INTO signer.moment (at) VALUES ($1) ON CONFLICT DO NOTHING`, k.now)
	}
}

// clock refuses to sign by a clock that is out of bounds.
func (s *Service) clock(now time.Time, t timely) error {
	switch drift := now.Sub(t.database).Abs(); {
	case now.Before(t.moment.Add(-MaxClockBack)):
		return fmt.Errorf("%w: %w: it says %s, and the journal has seen %s", keymgmt.ErrUnavailable, errClock, now.Format(time.RFC3339), t.moment.UTC().Format(time.RFC3339))
	case s.machine && drift > MaxClockDrift:
		return fmt.Errorf("%w: %w: it differs from the database's by %s", keymgmt.ErrUnavailable, errClock, drift.Truncate(time.Second))
	}
	return nil
}

// countFrom is the moment whose windows count now. A clock of Config's own is the same for all.
func (s *Service) countFrom(now time.Time) time.Time {
	if s.machine {
		return now.Add(-ClockSpread)
	}
	return now
}

// Health says which parts work: "journal" (the database takes writes), "keyring", "keys" (none is stopped), "policy" (it is
// in force), "clock" (it is within its bounds) and "mark" (the journal has lost nothing, and the device's mark keeps up). A
// nil error is good.
func (s *Service) Health(ctx context.Context) map[string]error {
	now := s.cfg.Now().UTC()
	s.mu.Lock()
	stopped, failure, failed := len(s.broken), s.failure, s.failed
	s.mu.Unlock()
	parts := map[string]error{"journal": s.cfg.DB.Ping(ctx), "keyring": s.cfg.Keyring.Ping(ctx), "keys": nil, "policy": s.cfg.Policy.Current(now), "clock": nil, "mark": s.watch.health()}
	if stopped > 0 {
		parts["keys"] = fmt.Errorf("%w: %d keys are stopped", keymgmt.ErrUnavailable, stopped)
	}
	if parts["journal"] == nil && failure != nil && now.Sub(failed).Abs() < failureMemory {
		parts["journal"] = unavailable(failure)
	}
	var t timely
	if err := s.cfg.DB.Reader().QueryRow(ctx, findMoment).Scan(&t.moment, &t.database); err != nil {
		parts["clock"] = unavailable(err)
	} else {
		parts["clock"] = s.clock(now, t)
	}
	return parts
}

// failureMemory is for how long a failure to write the journal is shown, unless something was written since. A full disk
// or a missing right does not show before somebody writes.
const failureMemory = time.Minute

// wrote remembers how the last attempt to write the journal ended.
func (s *Service) wrote(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure, s.failed = err, s.cfg.Now().UTC()
}
