package audit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
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
	if noun, verb, ok := strings.Cut(e.Action, "."); !ok || noun == "" || verb == "" || e.Subject == "" {
		return "", fmt.Errorf("audit: event %q on %q needs a noun.verb and a subject", e.Action, e.Subject)
	}
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("audit: %w", err)
	}
	id, at := RecordID(hex.EncodeToString(raw[:])), time.Now().UTC().Truncate(time.Microsecond)
	actor := map[string]any{"kind": t.actor.Kind, "name": t.actor.Name}
	for k, v := range map[string]string{"from": t.actor.From, "req": t.actor.Req, "behalf": t.actor.Behalf} {
		if v != "" {
			actor[k] = v
		}
	}
	fields := map[string]any{"v": RecordVersion, "id": id, "at": at.Format(time.RFC3339Nano), "actor": actor,
		"action": e.Action, "subject": e.Subject}
	if len(e.Data) > 0 {
		fields["data"] = e.Data
	}
	body, err := Canonical(fields)
	if err != nil {
		return "", err
	}
	if len(body) > MaxRecord {
		return "", fmt.Errorf("audit: record %s of %d bytes is over %d", e.Action, len(body), MaxRecord)
	}
	const insert = `INSERT INTO audit.record (id, at, action, body) VALUES ($1, $2, $3, $4)`
	if _, err := t.tx.Exec(ctx, insert, string(id), at, e.Action, body); err != nil {
		return "", fmt.Errorf("audit: record %s: %w", e.Action, err)
	}
	t.records++
	return id, nil
}
