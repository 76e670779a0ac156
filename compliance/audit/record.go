package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
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

// Canonical returns the one encoding of v as JSON that is hashed and signed: keys sorted, no blanks, no HTML escapes,
// integers only (RFC 8785 for values without fractions). A number that is not an integer is an error.
func Canonical(v any) ([]byte, error) {
	first, err := encode(v)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(first))
	dec.UseNumber()
	var plain any
	if err := dec.Decode(&plain); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if err := onlyIntegers(plain); err != nil {
		return nil, err
	}
	return encode(plain)
}

func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

func onlyIntegers(v any) error {
	switch v := v.(type) {
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return fmt.Errorf("audit: number %s is not an integer", v)
		}
	case []any:
		for _, x := range v {
			if err := onlyIntegers(x); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, x := range v {
			if err := onlyIntegers(x); err != nil {
				return err
			}
		}
	}
	return nil
}

// isNetwork reports whether err comes from a broken connection rather than from an answer.
func isNetwork(err error) bool {
	var n net.Error
	return errors.As(err, &n) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "conn closed")
}
