package audit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

// TestRecordAll: many events of one transaction keep their order and their actors, or none of them is there.
func TestRecordAll(t *testing.T) {
	ctx, db := context.Background(), openURL(t, schematest.New(t, schema.Gateway))
	var events []audit.By
	for i := range 20 {
		events = append(events, audit.By{Actor: audit.Actor{Kind: "worker", Name: fmt.Sprint("w", i)}, Event: audit.Event{Action: "test.happened", Subject: fmt.Sprint(i)}})
	}
	for name, bad := range map[string]audit.By{"no actor": {Event: event}, "no verb": {Actor: worker, Event: audit.Event{Action: "test", Subject: "x"}}} {
		err := audit.Do(ctx, db, worker, func(ctx context.Context, tx *audit.Tx) error {
			var b pgx.Batch
			_, err := tx.RecordAll(&b, append(events[:3:3], bad))
			return err
		})
		if err == nil || count(t, db) != 0 {
			t.Errorf("%s: %v, %d records", name, err, count(t, db))
		}
	}
	// What was not sent was not recorded.
	err := audit.Do(ctx, db, worker, func(_ context.Context, tx *audit.Tx) error {
		_, err := tx.RecordAll(new(pgx.Batch), events)
		return err
	})
	if !errors.Is(err, audit.ErrNothingRecorded) {
		t.Errorf("a batch that was not sent: %v", err)
	}
	err = audit.Do(ctx, db, worker, func(ctx context.Context, tx *audit.Tx) error {
		var b pgx.Batch
		ids, err := tx.RecordAll(&b, events)
		if len(ids) != len(events) || err != nil {
			t.Errorf("%d ids, %v", len(ids), err)
		}
		return tx.SendBatch(ctx, &b).Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := db.Reader().Query(ctx, `SELECT convert_from(body, 'UTF8')::json -> 'actor' ->> 'name', convert_from(body, 'UTF8')::json ->> 'subject' FROM audit.record ORDER BY xid, n`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for i := 0; rows.Next(); i++ {
		var name, subject string
		if err := rows.Scan(&name, &subject); err != nil || name != fmt.Sprint("w", i) || subject != fmt.Sprint(i) {
			t.Errorf("record %d is %s of %s, %v", i, subject, name, err)
		}
	}
}
