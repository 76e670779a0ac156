package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// RecordVersion is the version of the record's JSON, its field "v".
const RecordVersion = 1

// MaxRecord bounds a record's canonical JSON, in bytes.
const MaxRecord = 64 << 10

// RecordID names a record: 32 hex digits, random.
type RecordID string

// Event is what happened, told by the code that made it happen.
type Event struct {
	Action  string         // noun.verb in the past tense, such as "deposit.matched"
	Subject string         // what it happened to: an id within the action's noun
	Data    map[string]any // strings, integers, booleans, lists and maps of them; no floats, no secrets
}

// Record writes e, with who, when and from where, in the transaction. It returns the record's id, under which its
// index in the log is found once the sequencer has seen it.
func (t *Tx) Record(ctx context.Context, e Event) (RecordID, error) {
	var b pgx.Batch
	ids, err := t.RecordAll(&b, []By{{t.actor, e}})
	if err == nil {
		err = t.SendBatch(ctx, &b).Close()
	}
	if err != nil {
		return "", fmt.Errorf("audit: record: %w", err)
	}
	return ids[0], nil
}

// By is an event and who causes it.
type By struct {
	Actor Actor
	Event Event
}

// RecordAll is Record for many events, each by an actor of its own: for who does the work of several in one transaction. They
// are recorded when b, which may hold statements of the caller's, too, is sent in this transaction. The records are in the
// log in this order.
func (t *Tx) RecordAll(b *pgx.Batch, events []By) ([]RecordID, error) {
	ids, times := make([]RecordID, len(events)), make([]time.Time, len(events))
	actions, bodies := make([]string, len(events)), make([][]byte, len(events))
	for i, e := range events {
		var err error
		if ids[i], times[i], bodies[i], err = encode(e); err != nil {
			return nil, err
		}
		actions[i] = e.Event.Action
	}
	const insert = `INSERT INTO audit.record (id, at, action, body)
		SELECT id, at, action, body FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::bytea[]) WITH ORDINALITY u (id, at, action, body, o) ORDER BY o`
	b.Queue(insert, ids, times, actions, bodies).Exec(func(done pgconn.CommandTag) error {
		t.records += int(done.RowsAffected()) // only now, and only what is there
		return nil
	})
	return ids, nil
}

// encode gives an event its id and its time and writes it down.
func encode(by By) (RecordID, time.Time, []byte, error) {
	e, none := by.Event, time.Time{}
	if by.Actor.Kind == "" || by.Actor.Name == "" {
		return "", none, nil, fmt.Errorf("audit: actor %+v has no kind or name", by.Actor)
	}
	if noun, verb, ok := strings.Cut(e.Action, "."); !ok || noun == "" || verb == "" || e.Subject == "" {
		return "", none, nil, fmt.Errorf("audit: event %q on %q needs a noun.verb and a subject", e.Action, e.Subject)
	}
	if hasFloat(e.Data) {
		return "", none, nil, fmt.Errorf("%w: event %s has a floating-point number", ErrNotCanonical, e.Action)
	}
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", none, nil, fmt.Errorf("audit: %w", err)
	}
	id, at := RecordID(hex.EncodeToString(raw[:])), time.Now().UTC().Truncate(time.Microsecond)
	fields := map[string]any{"v": RecordVersion, "id": id, "at": at.Format(time.RFC3339Nano), "actor": by.Actor,
		"action": e.Action, "subject": e.Subject}
	if len(e.Data) > 0 {
		fields["data"] = e.Data
	}
	body, err := Canonical(fields)
	if err != nil {
		return "", none, nil, err
	}
	if len(body) > MaxRecord {
		return "", none, nil, fmt.Errorf("audit: record %s of %d bytes is over %d", e.Action, len(body), MaxRecord)
	}
	return id, at, body, nil
}

// hasFloat finds the floating-point numbers that Canonical can't: whole ones look like integers when they are written, and
// have lost their last digits before.
func hasFloat(v any) bool {
	switch v := v.(type) {
	case float32, float64: //float: to be refused
		return true
	case map[string]any:
		for _, member := range v {
			if hasFloat(member) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, hasFloat)
	}
	return false
}

// Body is what a record says.
type Body struct {
	Version int             `json:"v"`
	ID      RecordID        `json:"id"`
	At      time.Time       `json:"at"` // UTC, in whole microseconds
	Actor   Actor           `json:"actor"`
	Action  string          `json:"action"`
	Subject string          `json:"subject"`
	Data    json.RawMessage `json:"data,omitempty"` // an object; nil if there is none
}

// ErrMalformed: a text is not what Record writes.
var ErrMalformed = errors.New("audit: malformed record")

// ReadBody reads a record's text, and makes sure that it is what Record would write to say it, to the last byte: nothing
// is in it that a reader might overlook or take for something else.
func ReadBody(text []byte) (Body, error) {
	var b Body
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		return Body{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	again, err := Canonical(b)
	switch {
	case err != nil:
		return Body{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	case !bytes.Equal(again, text):
		return Body{}, fmt.Errorf("%w: it is not in its canonical form", ErrMalformed)
	case b.Version != RecordVersion:
		return Body{}, fmt.Errorf("%w: version %d", ErrMalformed, b.Version)
	case b.ID == "" || b.Action == "" || b.Subject == "" || b.Actor.Kind == "" || b.Actor.Name == "":
		return Body{}, fmt.Errorf("%w: it has not all of id, action, subject and actor", ErrMalformed)
	case len(b.Data) > 0 && b.Data[0] != '{':
		return Body{}, fmt.Errorf("%w: its data is no object", ErrMalformed)
	case b.At.Location() != time.UTC || !b.At.Equal(b.At.Truncate(time.Microsecond)):
		return Body{}, fmt.Errorf("%w: its time is not in UTC and whole microseconds", ErrMalformed)
	}
	return b, nil
}
