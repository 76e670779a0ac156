package audit_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

const testInterval = 10 * time.Millisecond

// eventually polls until ok, or fails the test.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// logSigner is a signer with a journal, like the real one: a size has one text, and the same text the same signature.
// before and after are switches to fail.
type logSigner struct {
	key    ed25519.PrivateKey
	public audit.LogKey

	mu            sync.Mutex
	texts         map[string]string // by ref
	asked         int
	before, after func(n int) error // given how many calls there were; an error fails the call
}

func newSigner(t testing.TB, origin string) *logSigner {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := audit.NewLogKey(origin, public)
	if err != nil {
		t.Fatal(err)
	}
	return &logSigner{key: private, public: key, texts: map[string]string{}}
}

func (s *logSigner) switches(before, after func(n int) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

func (s *logSigner) SignCheckpoint(ctx context.Context, text []byte) ([]byte, error) {
	s.mu.Lock()
	s.asked++
	n, before, after := s.asked, s.before, s.after
	s.mu.Unlock()
	if before != nil {
		if err := before(n); err != nil {
			return nil, err
		}
	}
	ref, err := audit.CheckpointRef(text)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	old, ok := s.texts[ref]
	s.texts[ref] = string(text)
	s.mu.Unlock()
	if ok && old != string(text) {
		return nil, fmt.Errorf("second text for %s", ref)
	}
	if after != nil {
		if err := after(n); err != nil {
			return nil, err
		}
	}
	return ed25519.Sign(s.key, text), ctx.Err()
}

// record commits one transaction of n events and returns their ids.
func record(t testing.TB, db *audit.DB, n int) (ids []audit.RecordID) {
	t.Helper()
	err := audit.Do(context.Background(), db, worker, func(ctx context.Context, tx *audit.Tx) error {
		ids = nil
		for i := range n {
			id, err := tx.Record(ctx, audit.Event{Action: "test.happened", Subject: fmt.Sprint(i), Data: map[string]any{"i": i}})
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func sequencer(t testing.TB, db *audit.DB, s *logSigner, batch int) *audit.Sequencer {
	t.Helper()
	seq, err := audit.NewSequencer(db, s, audit.Config{Key: s.public, Interval: testInterval, BatchLimit: batch, SignTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

// run runs the sequencer until stop, which returns what Run returned.
func run(t testing.TB, seq *audit.Sequencer) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- seq.Run(ctx) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() {
		if err := stop(); err != nil && !errors.Is(err, audit.ErrCorrupt) {
			t.Error(err)
		}
	})
	return stop
}

func wait(t testing.TB, db *audit.DB, id audit.RecordID) (int64, audit.Checkpoint) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	idx, c, err := audit.WaitIndexed(ctx, db.Reader(), id)
	if err != nil {
		t.Fatal(err)
	}
	return idx, c
}

// holds checks the whole log, from the database's own view and by proofs.
func holds(t testing.TB, db *audit.DB, key audit.LogKey, records int64) {
	t.Helper()
	ctx, r := context.Background(), db.Reader()
	report, err := audit.CheckLog(ctx, r, key)
	if err != nil {
		t.Fatal(err)
	}
	if report != (audit.Report{Records: records, Size: records, Signed: records}) {
		t.Fatalf("%+v, want %d of each", report, records)
	}
	var wrong int
	const order = `SELECT count(*) FROM (SELECT idx, row_number() OVER (ORDER BY xid, n) - 1 AS want FROM audit.leaf) x WHERE idx <> want`
	if err := r.QueryRow(ctx, order).Scan(&wrong); err != nil || wrong != 0 {
		t.Fatalf("%d records out of order, %v", wrong, err)
	}
}

func TestSequencer(t *testing.T) {
	ctx, db := context.Background(), open(t, schema.Gateway)
	s := newSigner(t, "example.test/log")
	seq := sequencer(t, db, s, 7)
	first := record(t, db, 1)[0]
	run(t, seq)
	idx, one := wait(t, db, first)
	if idx != 0 {
		t.Fatalf("first record has index %d", idx)
	}
	var last audit.RecordID
	for i := range 30 {
		ids := record(t, db, 1+i%3)
		last = ids[len(ids)-1]
	}
	idx, newest := wait(t, db, last)
	if idx != 60 || newest.Size != 61 || newest.Origin != "example.test/log" {
		t.Fatalf("last record has index %d, checkpoint %+v", idx, newest)
	}
	holds(t, db, s.public, 61)
	newest, err := s.public.Open([]byte(newest.Note))
	if err != nil {
		t.Fatal(err)
	}
	for idx := range newest.Size {
		e, err := audit.Record(ctx, db.Reader(), idx)
		if err != nil {
			t.Fatal(err)
		}
		p, err := audit.Inclusion(ctx, db.Reader(), idx, newest.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := newest.Includes(idx, e.Body, p); err != nil {
			t.Fatal(err)
		}
		if newest.Includes(idx, append(e.Body, ' '), p) == nil || newest.Includes((idx+1)%newest.Size, e.Body, p) == nil {
			t.Fatal("a proof holds for another record")
		}
	}
	p, err := audit.Consistency(ctx, db.Reader(), one.Size, newest.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := newest.Extends(one, p); err != nil {
		t.Fatal(err)
	}
	one.Root[0] ^= 1
	if newest.Extends(one, p) == nil {
		t.Fatal("a proof holds for another root")
	}
	lag, err := seq.Lag(ctx)
	if err != nil || lag.Unsequenced != 0 || lag.Unsigned != 0 || lag.Waiting != 0 || lag.Signed != 61 {
		t.Fatalf("%+v, %v", lag, err)
	}
}

// TestSignerDown: records go on getting their index; the lag shows; the checkpoint comes when the signer is back.
func TestSignerDown(t *testing.T) {
	ctx, db := context.Background(), open(t, schema.Gateway)
	s := newSigner(t, "log")
	s.switches(func(int) error { return errors.New("down") }, nil)
	seq := sequencer(t, db, s, 0)
	run(t, seq)
	record(t, db, 5)
	last := record(t, db, 1)[0]
	eventually(t, "the records have indexes", func() bool {
		lag, err := seq.Lag(ctx)
		return err == nil && lag.Size == 6 && lag.Unsigned == 6 && lag.Waiting > 0 && lag.Signed == 0
	})
	s.switches(nil, nil)
	if idx, c := wait(t, db, last); idx != 5 || c.Size != 6 {
		t.Fatalf("index %d, size %d", idx, c.Size)
	}
	holds(t, db, s.public, 6)
}

// TestSignerEndings: the three endings of an outward call, at every checkpoint: failed, failed yet signed, and signed
// and then the process died. And a signer that lies.
func TestSignerEndings(t *testing.T) {
	db := open(t, schema.Gateway)
	s := newSigner(t, "log")
	other := newSigner(t, "log")
	every := func(k int, err error) func(int) error {
		return func(n int) error {
			if n%k != 0 {
				return err
			}
			return nil
		}
	}
	var total int64
	for name, set := range map[string]func(kill func()){
		"failed":            func(func()) { s.switches(every(3, errors.New("failed")), nil) },
		"failed yet signed": func(func()) { s.switches(nil, every(3, errors.New("lost"))) },
		"signed, then died": func(kill func()) { s.switches(nil, func(n int) error { kill(); return nil }) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			set(cancel)
			last := record(t, db, 3)[2]
			total += 3
			died := make(chan error, 1)
			go func() { died <- sequencer(t, db, s, 2).Run(ctx) }()
			if name == "signed, then died" {
				if err := <-died; err != nil {
					t.Fatal(err)
				}
				s.switches(nil, nil)
				run(t, sequencer(t, db, s, 2))
			}
			wait(t, db, last)
			cancel()
			holds(t, db, s.public, total)
		})
	}
	t.Run("wrong key", func(t *testing.T) {
		wrong, err := audit.NewSequencer(db, other, audit.Config{Key: s.public, Interval: testInterval})
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, wrong)
		record(t, db, 1)
		eventually(t, "it asked for a signature", func() bool { other.mu.Lock(); defer other.mu.Unlock(); return other.asked > 2 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if c, err := audit.LatestCheckpoint(context.Background(), db.Reader()); err != nil || c.Size != total {
			t.Fatalf("size %d, %v: a checkpoint was stored under a wrong signature", c.Size, err)
		}
	})
}

// TestTwoSequencers: of any number one leads; when its session is cut another takes over; nothing is doubled.
func TestTwoSequencers(t *testing.T) {
	role, owner := schematest.NewWithOwner(t, schema.Gateway)
	db := openURL(t, role)
	admin := openURL(t, owner)
	s := newSigner(t, "log")
	sequencers := []*audit.Sequencer{sequencer(t, db, s, 3), sequencer(t, db, s, 3), sequencer(t, db, s, 3)}
	for _, seq := range sequencers {
		run(t, seq)
	}
	leaders := func() (n int) {
		for _, seq := range sequencers {
			if seq.Leading() {
				n++
			}
		}
		return n
	}
	var wg sync.WaitGroup
	const writers, each = 4, 15
	for range writers {
		wg.Go(func() {
			for range each {
				record(t, db, 2)
			}
		})
	}
	for range 5 {
		eventually(t, "somebody leads", func() bool { return leaders() >= 1 })
		const cut = `SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
		var n int
		if err := admin.Reader().QueryRow(context.Background(), cut).Scan(&n); err != nil || n > 1 {
			t.Fatalf("%d leaders were cut, %v", n, err)
		}
	}
	wg.Wait()
	wait(t, db, record(t, db, 1)[0])
	holds(t, db, s.public, writers*each*2+1)
}

// TestOpenTransactionHoldsTheLogBack: a record of an older transaction that is still open must come first.
func TestOpenTransactionHoldsTheLogBack(t *testing.T) {
	ctx, db := context.Background(), open(t, schema.Gateway)
	s := newSigner(t, "log")
	seq := sequencer(t, db, s, 0)
	run(t, seq)
	var older, younger audit.RecordID
	recorded, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- audit.Do(ctx, db, worker, func(ctx context.Context, tx *audit.Tx) (err error) {
			older, err = tx.Record(ctx, audit.Event{Action: "older.begun", Subject: "x"})
			close(recorded)
			<-goOn
			return err
		})
	}()
	<-recorded
	younger = record(t, db, 1)[0]
	eventually(t, "the younger one waits", func() bool {
		lag, err := seq.Lag(ctx)
		return err == nil && lag.Unsequenced == 1
	})
	if _, ok, err := audit.IndexOf(ctx, db.Reader(), younger); ok || err != nil {
		t.Fatalf("the younger one has an index, %v", err)
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if idx, _ := wait(t, db, older); idx != 0 {
		t.Errorf("older one has index %d", idx)
	}
	if idx, _ := wait(t, db, younger); idx != 1 {
		t.Errorf("younger one has index %d", idx)
	}
}

// TestCorruption: what was signed and what is stored no longer agree, by an owner who gets past every trigger.
func TestCorruption(t *testing.T) {
	for name, damage := range map[string]string{
		"hash":       `UPDATE audit.hash SET hash = sha256('x') WHERE idx = 3`,
		"missing":    `DELETE FROM audit.hash WHERE idx = 2`,
		"checkpoint": `UPDATE audit.checkpoint SET root = sha256('x')`,
		"note":       `UPDATE audit.checkpoint SET note = replace(note, 'log', 'lag')`,
		"shorter":    `DELETE FROM audit.leaf WHERE idx >= 1`,
	} {
		t.Run(name, func(t *testing.T) {
			role, owner := schematest.NewWithOwner(t, schema.Gateway)
			db, s := openURL(t, role), newSigner(t, "log")
			stop := run(t, sequencer(t, db, s, 0))
			wait(t, db, record(t, db, 3)[2])
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			execute(t, owner, `SET session_replication_role = replica; `+damage)
			seq := sequencer(t, db, s, 0)
			again := make(chan error, 1)
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			record(t, db, 1)
			go func() { again <- seq.Run(ctx) }()
			if err := <-again; !errors.Is(err, audit.ErrCorrupt) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

// TestFollowersKeepTheirSession: who waits to lead asks again and again on one connection, and does not make a new one of
// it each time.
func TestFollowersKeepTheirSession(t *testing.T) {
	role, owner := schematest.NewWithOwner(t, schema.Gateway)
	db, admin, s := openURL(t, role), openURL(t, owner), newSigner(t, "log")
	leader, follower := sequencer(t, db, s, 0), sequencer(t, db, s, 0)
	run(t, leader)
	eventually(t, "somebody leads", leader.Leading)
	run(t, follower)
	asked := func() (pid int, at time.Time) {
		const query = `SELECT pid, query_start FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'SELECT pg_try_advisory_lock%'`
		_ = admin.Reader().QueryRow(context.Background(), query).Scan(&pid, &at) // no row: not yet
		return pid, at
	}
	var pid int
	var at time.Time
	eventually(t, "it asks", func() bool { pid, at = asked(); return pid != 0 })
	eventually(t, "it asks again", func() bool {
		again, later := asked()
		if again != 0 && again != pid {
			t.Fatalf("session %d became %d", pid, again)
		}
		return later.After(at.Add(5 * testInterval))
	})
	if follower.Leading() {
		t.Error("two lead")
	}
}

// TestNoSessionIsKeptForNobody: the server ends the sessions and transactions of programs that are gone.
func TestNoSessionIsKeptForNobody(t *testing.T) {
	role, owner := schematest.NewWithOwner(t, schema.Gateway)
	db, admin, s := openURL(t, role), openURL(t, owner), newSigner(t, "log")
	var limit string
	const setting = `SELECT current_setting('idle_in_transaction_session_timeout')`
	if err := db.Reader().QueryRow(context.Background(), setting).Scan(&limit); err != nil || limit != "1min" {
		t.Errorf("a transaction may idle for %s, %v", limit, err)
	}
	run(t, sequencer(t, db, s, 0))
	wait(t, db, record(t, db, 1)[0])
	err := audit.Do(context.Background(), db, worker, func(ctx context.Context, tx *audit.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL idle_in_transaction_session_timeout = 1`); err != nil {
			return err
		}
		eventually(t, "the session ends", func() bool {
			var n int
			const idle = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'`
			return admin.Reader().QueryRow(ctx, idle).Scan(&n) == nil && n == 0
		})
		_, err := tx.Record(ctx, event)
		return err
	})
	if !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	wait(t, db, record(t, db, 1)[0])
}

// TestQuiet: a log whose checkpoints leave records in itself comes to rest, does not lag while it rests, and the next
// record of another kind brings everything under a checkpoint.
func TestQuiet(t *testing.T) {
	ctx, db := context.Background(), open(t, schema.Gateway)
	s := newSigner(t, "log")
	s.switches(nil, func(int) error { record(t, db, 2); return nil })
	const loud = "test.asked"
	seq, err := audit.NewSequencer(db, s, audit.Config{Key: s.public, Interval: testInterval, SignTimeout: time.Second,
		Quiet: func(e audit.Entry) bool { return e.Action != loud }})
	if err != nil {
		t.Fatal(err)
	}
	run(t, seq)
	ask := func() (id audit.RecordID) {
		err := audit.Do(ctx, db, worker, func(ctx context.Context, tx *audit.Tx) (err error) {
			id, err = tx.Record(ctx, audit.Event{Action: loud, Subject: "x"})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	for n := range int64(3) {
		if idx, c := wait(t, db, ask()); idx != 3*n || c.Size != 3*n+1 {
			t.Fatalf("index %d under a checkpoint of size %d", idx, c.Size)
		}
		eventually(t, "the checkpoint's own records have indexes, and nothing waits", func() bool {
			lag, err := seq.Lag(ctx)
			return err == nil && lag.Size == 3*n+3 && lag.Signed == 3*n+1 && lag.Unsigned == 2 && lag.Waiting == 0
		})
	}
	if lag, err := audit.ReadLag(ctx, db.Reader()); err != nil || lag.Waiting == 0 {
		t.Errorf("%+v %v: whoever does not know what is quiet sees it wait", lag, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked != 3 {
		t.Errorf("%d checkpoints were asked for", s.asked)
	}
}
