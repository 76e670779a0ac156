package audit_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

// forged is an INSERT of a record that is well-formed except for its place in the log.
func forged(columns, values string) string {
	return `INSERT INTO audit.record (id, at, action, body` + columns + `) OVERRIDING SYSTEM VALUE VALUES (repeat('a', 32), '2026-01-02T03:04:05Z', 'x.y',
		('{"action":"x.y","actor":{"kind":"worker","name":"test"},"at":"2026-01-02T03:04:05Z","id":"' || repeat('a', 32) || '","subject":"x","v":1}')::bytea` + values + `)`
}

// TestCheckLogFindsChanges: an owner got past every trigger after three records were signed.
func TestCheckLogFindsChanges(t *testing.T) {
	for name, damage := range map[string]string{
		"body": `UPDATE audit.record SET body = replace(encode(body, 'escape'), 'happened', 'happenex')::bytea, action = replace(action, 'happened', 'happenex') WHERE id = (SELECT record FROM audit.leaf WHERE idx = 1)`,
		"body and its hash": `UPDATE audit.record SET body = replace(encode(body, 'escape'), '"i":2', '"i":7')::bytea WHERE id = (SELECT record FROM audit.leaf WHERE idx = 2);
			UPDATE audit.hash SET hash = (SELECT sha256('\x00'::bytea || r.body) FROM audit.record r JOIN audit.leaf l ON l.record = r.id WHERE l.idx = 2) WHERE idx = 3`,
		"order": `UPDATE audit.leaf SET idx = 100 WHERE idx = 1; UPDATE audit.leaf SET idx = 1 WHERE idx = 2; UPDATE audit.leaf SET idx = 2 WHERE idx = 100`,
		"gap":   `DELETE FROM audit.leaf WHERE idx = 1`,
		"end":   `DELETE FROM audit.leaf WHERE idx = 2`,
		// Each of these left the signed records as they are, and something beside them false.
		"record behind":      forged(", xid", ", '3'"),
		"record ahead":       forged(", xid", ", '9223372036854775807'"),
		"record between":     forged(", xid, n", ", (SELECT xid FROM audit.leaf WHERE idx = 0), 0"),
		"cursor ahead":       `UPDATE audit.leaf SET n = 1000 WHERE idx = 2`,
		"stored hash":        `UPDATE audit.hash SET hash = sha256('x') WHERE idx = 1`,
		"one more hash":      `INSERT INTO audit.hash VALUES (100, sha256('x'))`,
		"one hash less":      `DELETE FROM audit.hash WHERE idx = 1`,
		"checkpoint's root":  `UPDATE audit.checkpoint SET root = sha256('x')`,
		"checkpoint's size":  `UPDATE audit.checkpoint SET size = 2`,
		"checkpoint too far": `INSERT INTO audit.checkpoint SELECT 1000, root, note, at FROM audit.checkpoint WHERE size = 3`,
		"checkpoint before":  `INSERT INTO audit.checkpoint SELECT 2, root, note, at FROM audit.checkpoint WHERE size = 3`,
	} {
		t.Run(name, func(t *testing.T) {
			role, owner, s := signedLog(t)
			db := openURL(t, role)
			holds(t, db, s.public, 3)
			execute(t, owner, `SET session_replication_role = replica; `+damage)
			if report, err := audit.CheckLog(context.Background(), db.Reader(), s.public); !errors.Is(err, audit.ErrCorrupt) {
				t.Fatalf("got %+v, %v", report, err)
			}
		})
	}
	role, _, _ := signedLog(t)
	if _, err := audit.CheckLog(context.Background(), openURL(t, role).Reader(), newSigner(t, "log").public); !errors.Is(err, audit.ErrCheckpoint) {
		t.Errorf("another key: %v", err)
	}
}

// TestAShorterLogIsNotTheLog: a thief of the gateway's password stores an old note as if it were the newest checkpoint, so
// that only the records it covers are looked at.
func TestAShorterLogIsNotTheLog(t *testing.T) {
	role, owner := schematest.NewWithOwner(t, schema.Gateway)
	db, s := openURL(t, role), newSigner(t, "log")
	stop := run(t, sequencer(t, db, s, 0))
	wait(t, db, record(t, db, 1)[0])
	wait(t, db, record(t, db, 2)[1])
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	holds(t, db, s.public, 3)
	execute(t, role, `INSERT INTO audit.checkpoint SELECT 4, root, note, at FROM audit.checkpoint WHERE size = 1`)
	execute(t, owner, `SET session_replication_role = replica; UPDATE audit.record SET body = replace(encode(body, 'escape'), '"i":0', '"i":7')::bytea WHERE id = (SELECT record FROM audit.leaf WHERE idx = 1)`)
	if report, err := audit.CheckLog(context.Background(), db.Reader(), s.public); !errors.Is(err, audit.ErrCorrupt) {
		t.Fatalf("got %+v, %v", report, err)
	}
}

// TestRoleCannotChooseAPlace: a record's place follows from the transaction that made it.
func TestRoleCannotChooseAPlace(t *testing.T) {
	role := schematest.New(t, schema.Gateway)
	for _, insert := range []string{forged(", xid", ", '3'"), forged(", n", ", -1")} {
		if err := tryExecute(t, role, insert); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %v", insert, err)
		}
	}
	execute(t, role, forged("", ""))
}

// TestMalformedRecordsAreInTheLog: what somebody put there past this program is in the log as it is, and is counted.
func TestMalformedRecordsAreInTheLog(t *testing.T) {
	role := schematest.New(t, schema.Gateway)
	db, s := openURL(t, role), newSigner(t, "log")
	execute(t, role, strings.Replace(forged("", ""), `"v":1`, `"v": 1`, 1))
	run(t, sequencer(t, db, s, 0))
	wait(t, db, record(t, db, 1)[0])
	report, err := audit.CheckLog(context.Background(), db.Reader(), s.public)
	if err != nil || report != (audit.Report{Records: 2, Size: 2, Signed: 2, Malformed: 1}) {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestReadBody(t *testing.T) {
	const good = `{"action":"x.y","actor":{"from":"f","kind":"k","name":"n"},"at":"2026-01-02T03:04:05.000006Z","data":{"n":9007199254740993},"id":"i","subject":"s","v":1}`
	b, err := audit.ReadBody([]byte(good))
	if err != nil || b.ID != "i" || b.Actor != (audit.Actor{Kind: "k", Name: "n", From: "f"}) || b.At.Nanosecond() != 6000 || string(b.Data) != `{"n":9007199254740993}` {
		t.Fatalf("%+v, %v", b, err)
	}
	for name, change := range map[string][2]string{
		"version":               {`"v":1`, `"v":2`},
		"blank":                 {`"v":1`, `"v": 1`},
		"another field":         {`"v":1`, `"v":1,"w":1`},
		"another letter":        {`"id":"i"`, `"ID":"i"`},
		"both letters":          {`"action":`, `"ID":"j","action":`},
		"letter that folds":     {`"v":1`, "\"v\":1,\"\u017fubject\":\"t\""},
		"field twice":           {`"v":1`, `"v":1,"v":1`},
		"in an actor":           {`"name":"n"`, `"name":"n","x":"y"`},
		"nobody":                {`"name":"n"`, `"name":""`},
		"no subject":            {`"subject":"s"`, `"subject":""`},
		"empty from":            {`"from":"f"`, `"from":""`},
		"local time":            {`05.000006Z`, `05.000006+00:00`},
		"nanoseconds":           {`05.000006Z`, `05.000006001Z`},
		"trailing zero":         {`05.000006Z`, `05.0000060Z`},
		"no time":               {`2026-01-02T03:04:05.000006Z`, `now`},
		"data is a list":        {`{"n":9007199254740993}`, `[]`},
		"data is null":          {`{"n":9007199254740993}`, `null`},
		"data with a fraction":  {`9007199254740993`, `0.5`},
		"data in another order": {`{"n":9007199254740993}`, `{"n":1,"m":1}`},
		"more":                  {`"v":1}`, `"v":1}{}`},
		"newline":               {`"v":1}`, "\"v\":1}\n"},
	} {
		if !strings.Contains(good, change[0]) {
			t.Fatalf("%s: %s is not there", name, change[0])
		}
		if b, err := audit.ReadBody([]byte(strings.Replace(good, change[0], change[1], 1))); !errors.Is(err, audit.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
	}
}
