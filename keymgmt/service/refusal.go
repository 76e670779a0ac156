package service

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
)

// Bounds of what goes into an audit record.
const (
	maxReason = 512 // bytes of an error
	maxCaller = 253 // bytes of a client's name
)

// MaxRefusals bounds the records of refusals a minute, for each pair of known client and known key; all unknown ones
// count as one. A broken or hostile client can thus neither fill the log nor hide another's refusals in the noise. How
// many were left out is in the next record.
const MaxRefusals = 30

// refusals counts. The zero value is ready.
type refusals struct {
	mu sync.Mutex
	m  map[string]*refusalCount // guarded by mu; one entry per pair that the policy knows, and one for the rest
}

type refusalCount struct {
	minute  time.Time
	records int
	left    int // refusals that got no record since the last one that did
}

// take reports whether a refusal may be recorded, of most a minute, and how many were not since the last one.
func (r *refusals) take(name string, most int, now time.Time) (ok bool, left int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = map[string]*refusalCount{}
	}
	c := r.m[name]
	if c == nil {
		c = new(refusalCount)
		r.m[name] = c
	}
	if minute := now.Truncate(time.Minute); !minute.Equal(c.minute) {
		c.minute, c.records = minute, 0
	}
	if c.records >= most {
		c.left++
		return false, 0
	}
	left, c.left = c.left, 0
	c.records++
	return true, left
}

// refuse records that a request was refused. The caller gets his refusal only once that is on record.
func (s *Service) refuse(ctx context.Context, caller string, r keymgmt.Request, why error) error {
	bucket := "unknown"
	if s.cfg.Policy.KnowsCaller(caller) {
		bucket = caller
	}
	if s.cfg.Policy.Knows(caller, r.Key) {
		bucket += " " + r.Key.String()
	}
	ok, left := s.refusals.take(bucket, MaxRefusals, s.cfg.Now())
	if !ok {
		return nil
	}
	data := underRules(s.cfg.Policy, map[string]any{"caller": cut(caller, maxCaller), "sha256": digest(r.Body), "reason": cut(why.Error(), maxReason)})
	named := r.Validate() == nil
	if named {
		data["ref"], data["kind"] = r.Ref, r.Kind.String()
		if meaning, err := payload.Decode(r.Kind, r.Body); err == nil {
			data["words"] = meaning.Brief()
		}
		if r.Initiator != "" {
			data["initiator"] = r.Initiator
		}
	}
	var denial *policy.Denial
	if errors.As(why, &denial) {
		data["rule"] = denial.Rule
	}
	if left > 0 {
		data["left_out"] = left
	}
	key := "none"
	if !r.Key.IsZero() {
		key = r.Key.String()
	}
	return audit.Do(ctx, s.cfg.DB, actor(cut(cmp.Or(caller, "unknown"), maxCaller)), func(ctx context.Context, tx *audit.Tx) error {
		if named { // so that it is found again
			if _, err := tx.Exec(ctx, `INSERT INTO signer.refusal (key, ref) VALUES ($1, $2)`, key, r.Ref); err != nil {
				return err
			}
		}
		_, err := tx.Record(ctx, audit.Event{Action: "signature.refused", Subject: key, Data: data})
		return err
	})
}

// refuseWord records that somebody's word, an order or an attestation, was refused: it was forged, or comes too late. subject
// is what it is about, in a checked form. The error is why, once that is on record.
func (s *Service) refuseWord(ctx context.Context, caller string, word audit.Event, why error) error {
	if !refused(why) {
		return why
	}
	bucket := "unknown"
	if s.cfg.Policy.KnowsCaller(caller) {
		bucket = caller + " " + word.Action
	}
	ok, left := s.refusals.take(bucket, MaxRefusals, s.cfg.Now())
	if !ok {
		return why
	}
	word.Data = map[string]any{"caller": cut(caller, maxCaller), "reason": cut(why.Error(), maxReason), "policy": s.cfg.Policy.Version(), "left_out": left}
	err := audit.Do(ctx, s.cfg.DB, actor(cut(cmp.Or(caller, "unknown"), maxCaller)), func(ctx context.Context, tx *audit.Tx) error {
		_, err := tx.Record(ctx, word)
		return err
	})
	if err != nil {
		return unavailable(err)
	}
	return why
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// cut shortens what goes into a record, which is text whatever was in it.
func cut(s string, limit int) string { return strings.ToValidUTF8(s[:min(len(s), limit)], "") }
