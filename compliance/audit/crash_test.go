package audit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/cluster"
	"github.com/diamante/gateway/deploy/schema/schematest"
)

// TestKilledOften: the sequencer dies at 60 random moments while records come in, and leaves nothing undone or doubled.
func TestKilledOften(t *testing.T) {
	db, s := open(t, schema.Gateway), newSigner(t, "log")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var made int64
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				record(t, db, 1+int(made%5))
				made += 1 + made%5
			}
		}
	})
	for range 60 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.IntN(25_000))*time.Microsecond)
		if err := sequencer(t, db, s, 3).Run(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
	close(stop)
	wg.Wait()
	run(t, sequencer(t, db, s, 0))
	wait(t, db, record(t, db, 1)[0])
	holds(t, db, s.public, made+1)
}

// TestServerRestarts: the database goes away and comes back under a running sequencer.
func TestServerRestarts(t *testing.T) {
	ctx := context.Background()
	srv, db := ownServer(t)
	s := newSigner(t, "log")
	seq := sequencer(t, db, s, 0)
	run(t, seq)
	wait(t, db, record(t, db, 3)[2])
	if err := srv.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it leads no more", func() bool { return !seq.Leading() })
	again, err := cluster.Start(ctx, cluster.Config{Dir: srv.SocketDir(), Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Stop() })
	eventually(t, "the database is back", func() bool { return db.Ping(ctx) == nil })
	var id audit.RecordID
	eventually(t, "a record is committed", func() bool {
		return audit.Do(ctx, db, worker, func(ctx context.Context, tx *audit.Tx) (err error) {
			id, err = tx.Record(ctx, event)
			return err
		}) == nil
	})
	eventually(t, "the pool has dropped its dead connections", func() bool { _, _, err := audit.IndexOf(ctx, db.Reader(), id); return err == nil })
	wait(t, db, id)
	holds(t, db, s.public, 4)
}

// TestRestoredIntoYoungerCluster: transaction ids that begin again are noticed, not sorted in front of the log.
func TestRestoredIntoYoungerCluster(t *testing.T) {
	role, owner, s := signedLog(t)
	execute(t, owner, `SET session_replication_role = replica; UPDATE audit.leaf SET xid = '99999999999'::xid8`)
	db := openURL(t, role)
	record(t, db, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := sequencer(t, db, s, 0).Run(ctx); !errors.Is(err, audit.ErrCorrupt) {
		t.Fatalf("got %v", err)
	}
}

// signedLog returns a database with a log of three records, all signed.
func signedLog(t *testing.T) (role, owner string, s *logSigner) {
	t.Helper()
	role, owner = schematest.NewWithOwner(t, schema.Gateway)
	db := openURL(t, role)
	s = newSigner(t, "log")
	stop := run(t, sequencer(t, db, s, 0))
	wait(t, db, record(t, db, 3)[2])
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	return role, owner, s
}

func TestReadingWhatIsNot(t *testing.T) {
	ctx, db := context.Background(), open(t, schema.Gateway)
	r := db.Reader()
	if _, ok, err := audit.IndexOf(ctx, r, "none"); ok || err != nil {
		t.Errorf("%t, %v", ok, err)
	}
	for _, idx := range []int64{-1, 0, 1 << 62} {
		if _, err := audit.Record(ctx, r, idx); !errors.Is(err, audit.ErrNoRecord) {
			t.Errorf("record %d: %v", idx, err)
		}
		if _, err := audit.Inclusion(ctx, r, idx, 0); !errors.Is(err, audit.ErrNoRecord) {
			t.Errorf("proof of %d: %v", idx, err)
		}
	}
	if _, err := audit.Inclusion(ctx, r, 0, 5); !errors.Is(err, audit.ErrCorrupt) {
		t.Errorf("proof in a tree that is not: %v", err)
	}
	for _, sizes := range [][2]int64{{0, 1}, {-1, 1}, {2, 1}} {
		if _, err := audit.Consistency(ctx, r, sizes[0], sizes[1]); !errors.Is(err, audit.ErrNoCheckpoint) {
			t.Errorf("%v: %v", sizes, err)
		}
	}
	_, one := audit.LatestCheckpoint(ctx, r)
	_, two := audit.FirstCheckpoint(ctx, r)
	_, three := audit.CheckpointBefore(ctx, r, time.Now())
	_, four := audit.CheckpointFrom(ctx, r, time.Now())
	for _, err := range []error{one, two, three, four} {
		if !errors.Is(err, audit.ErrNoCheckpoint) {
			t.Error(err)
		}
	}
	if lag, err := audit.ReadLag(ctx, r); err != nil || lag != (audit.Lag{}) {
		t.Errorf("%+v, %v", lag, err)
	}
	if report, err := audit.CheckLog(ctx, r, newSigner(t, "log").public); err != nil || report != (audit.Report{}) {
		t.Errorf("%+v, %v", report, err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, _, err := audit.WaitIndexed(short, r, record(t, db, 1)[0]); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waited for nobody: %v", err)
	}
}

func TestConfig(t *testing.T) {
	key := newSigner(t, "log").public
	for name, c := range map[string]audit.Config{
		"no key":     {},
		"interval":   {Key: key, Interval: audit.MaxInterval + 1},
		"negative":   {Key: key, Interval: -1},
		"batch":      {Key: key, BatchLimit: audit.MaxBatch + 1},
		"less":       {Key: key, BatchLimit: -1},
		"impatience": {Key: key, SignTimeout: -1},
	} {
		if c.Validate() == nil {
			t.Errorf("%s is valid", name)
		}
	}
	if err := (audit.Config{Key: key}).Validate(); err != nil {
		t.Error(err)
	}
	if _, err := audit.Open(context.Background(), "postgres://user:secret@:x/", 1); err == nil || fmt.Sprint(err) != "audit: cannot read the database connection string" {
		t.Errorf("got %v", err)
	}
}

func TestMetrics(t *testing.T) {
	db, s := open(t, schema.Gateway), newSigner(t, "log")
	seq := sequencer(t, db, s, 0)
	reg := prometheus.NewPedanticRegistry()
	for _, c := range append(seq.Metrics(), db.Metrics()...) {
		if err := reg.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	value := func(name string) float64 {
		all, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			if m.GetName() == name {
				return m.GetMetric()[0].GetCounter().GetValue() + m.GetMetric()[0].GetGauge().GetValue()
			}
		}
		t.Fatalf("no metric %s", name)
		return 0
	}
	run(t, seq)
	wait(t, db, record(t, db, 3)[2])
	eventually(t, "the counters count", func() bool {
		return value("audit_records_total") == 3 && value("audit_records_sequenced_total") == 3 && value("audit_checkpoints_total") >= 1
	})
	eventually(t, "the gauges are up to date", func() bool {
		return value("audit_sequencer_leading") == 1 && value("audit_unsequenced") == 0 && value("audit_unsigned") == 0 && value("audit_checkpoint_age_seconds") > 0
	})
}
