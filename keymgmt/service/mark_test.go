package service_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
)

// device is a device that keeps a mark.
type device struct {
	mu   sync.Mutex // guards what follows
	mark keymgmt.Mark
	away error
}

func (d *device) Mark(context.Context) (keymgmt.Mark, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away == nil && d.mark.IsZero() {
		return keymgmt.Mark{}, keymgmt.ErrNoMark
	}
	return d.mark, d.away
}

func (d *device) RaiseMark(_ context.Context, m keymgmt.Mark) (keymgmt.Mark, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away == nil {
		d.mark = d.mark.Join(m)
	}
	return d.mark, d.away
}

func (d *device) set(m keymgmt.Mark, away error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mark, d.away = m, away
}

func (d *device) now() keymgmt.Mark {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mark
}

// marked is a rig whose signer has a device.
type marked struct {
	*rig
	device   *device
	database string
}

func newMarked(t *testing.T) *marked {
	r := newRig(t)
	_, name, _ := strings.Cut(r.owner, "dbname=")
	return &marked{rig: r, device: new(device), database: name}
}

func (m *marked) start(change func(*policy.File)) (*service.Service, error) {
	cfg := m.config()
	cfg.Mark, cfg.Policy = m.device, m.policy(change)
	return service.Open(m.t.Context(), cfg)
}

func (m *marked) started() *service.Service {
	m.t.Helper()
	s, err := m.start(nil)
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

func (m *marked) server(statements ...string) {
	m.t.Helper()
	conn, err := pgx.Connect(context.Background(), schematest.Server(m.t).AdminURL("postgres"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, sql := range statements {
		if _, err := conn.Exec(context.Background(), fmt.Sprintf(sql, m.database)); err != nil {
			m.t.Fatal(sql, err)
		}
	}
}

// backup makes a copy of the database as it is.
func (m *marked) backup() {
	m.t.Helper()
	m.server("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s'", "CREATE DATABASE %[1]s_copy TEMPLATE %[1]s")
	m.t.Cleanup(func() { m.server("DROP DATABASE IF EXISTS %s_copy") })
}

// restore puts the copy in the place of the database.
func (m *marked) restore() {
	m.t.Helper()
	m.server("DROP DATABASE %s WITH (FORCE)", "ALTER DATABASE %[1]s_copy RENAME TO %[1]s")
}

// reconnect is what a program that starts again does: connections that the server has ended are no part of the test.
func (m *marked) reconnect() {
	m.t.Helper()
	db, err := audit.Open(context.Background(), fmt.Sprintf("host=%s user=%s dbname=%s", schematest.Server(m.t).SocketDir(), schema.Signer.Role(), m.database), 20)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(db.Close)
	m.db = db
}

// sign asks until the connections that the copying ended are made again.
func (m *marked) sign(s *service.Service, ref string) {
	m.t.Helper()
	request := m.pay(ref, "1", m.account(keyDistribution))
	m.until(func() error { _, err := s.For(gateway).Sign(m.t.Context(), request); return err })
}

func (m *marked) until(try func() error) {
	m.t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if err = try(); err == nil {
			return
		}
	}
	m.t.Fatal(err)
}

func TestRolledBackDatabaseIsRefused(t *testing.T) {
	m := newMarked(t)
	s := m.started()
	m.sign(s, "before")
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := m.device.now()
	m.backup()
	m.reconnect()
	s = m.started()
	m.sign(s, "lost")
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := m.device.now()
	if after.Position <= before.Position || after.Epoch != 1 {
		t.Fatalf("raised from %s to %s", before, after)
	}
	m.restore()
	m.reconnect()
	_, refusal := m.start(nil)
	if !errors.Is(refusal, service.ErrRollback) {
		t.Fatal(refusal)
	}
	for _, figure := range []string{fmt.Sprintf("position %d (", after.Position), fmt.Sprintf("ends at position %d ", before.Position)} {
		if !strings.Contains(refusal.Error(), figure) {
			t.Errorf("no %q in: %v", figure, refusal)
		}
	}

	// It has grown past the mark on another way: still not the database that was.
	unmarked, err := service.Open(t.Context(), m.config())
	if err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		m.sign(unmarked, fmt.Sprint("other-", n))
	}
	if _, err := m.start(nil); !errors.Is(err, service.ErrRollback) {
		t.Error("a database that went another way:", err)
	}
	if m.device.now() != after {
		t.Error("the mark moved:", m.device.now())
	}

	// Somebody answers for it.
	accepted, err := service.AcceptLoss(t.Context(), m.db, m.device, "restored from the backup of Monday")
	if err != nil || accepted.Epoch != 2 {
		t.Fatal(accepted, err)
	}
	m.sign(m.started(), "again")
}

func TestEmptiedDatabaseKeepsOldPoliciesOut(t *testing.T) {
	m := newMarked(t)
	m.backup() // empty
	second := func(f *policy.File) { f.Version = 2 }
	m.reconnect()
	if _, err := m.start(second); err != nil {
		t.Fatal(err)
	}
	if got := m.device.now().Policy; got != 2 {
		t.Fatalf("the mark has policy %d", got)
	}
	m.restore()
	m.reconnect()
	_, err := m.start(nil)
	if !errors.Is(err, service.ErrRollback) || !strings.Contains(err.Error(), "policy version 1, the device's mark has version 2") {
		t.Fatal(err)
	}
	if _, err := service.AcceptLoss(t.Context(), m.db, m.device, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err = m.start(nil); !errors.Is(err, service.ErrRollback) {
		t.Error("accepting the loss of the journal let an old policy in:", err)
	}
	if _, err = m.start(second); err != nil {
		t.Error(err)
	}
}

// The database is rolled back under a running process, which has no device at all.
func TestRollbackWhileRunning(t *testing.T) {
	m := newMarked(t)
	s := m.open()
	seen := s.Seen()
	m.backup()
	for n := 0; s.Seen() <= seen; n++ { // until a look has passed
		m.sign(s, fmt.Sprint("lost-", n))
	}
	m.restore()
	request := m.pay("after", "1", m.account(keyDistribution))
	m.until(func() error {
		_, err := s.For(gateway).Sign(t.Context(), request)
		if err == nil {
			t.Fatal("signed over a database that was rolled back")
		}
		if !strings.Contains(err.Error(), service.ErrRollback.Error()) {
			return err
		}
		return nil
	})
	if err := s.Health(t.Context())["mark"]; !errors.Is(err, service.ErrRollback) {
		t.Error("health:", err)
	}
}

func TestTokenWithoutTheMark(t *testing.T) {
	m := newMarked(t)
	if err := m.started().Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	made := m.device.now()
	away := fmt.Errorf("%w: token away", keymgmt.ErrUnavailable)
	m.device.set(made, away)
	if _, err := m.start(nil); !errors.Is(err, keymgmt.ErrUnavailable) || errors.Is(err, service.ErrRollback) {
		t.Error("a device that is away:", err)
	}
	m.device.set(keymgmt.Mark{}, nil)
	if _, err := m.start(nil); !errors.Is(err, service.ErrRollback) {
		t.Error("another device:", err)
	}
	later := made
	later.Epoch++
	m.device.set(later, nil)
	if _, err := m.start(nil); !errors.Is(err, service.ErrRollback) {
		t.Error("a database of the epoch before:", err)
	}
	m.device.set(made, nil)
	m.started()
}

// The mark follows what is signed without being asked, also when the device was away for a while.
func TestMarkFollows(t *testing.T) {
	m := newMarked(t)
	s := m.started()
	first := m.device.now()
	m.device.set(first, fmt.Errorf("%w: token away", keymgmt.ErrUnavailable))
	m.sign(s, "one")
	m.device.set(first, nil)
	m.until(func() error {
		if m.device.now().Position <= first.Position {
			return errors.New("the mark did not follow")
		}
		return nil
	})
	if err := s.Health(t.Context())["mark"]; err != nil {
		t.Error(err)
	}
}

// A process that goes on beside one that accepted a loss stops.
func TestEpochOfAnotherProcess(t *testing.T) {
	m := newMarked(t)
	s := m.started()
	if _, err := service.AcceptLoss(t.Context(), m.db, m.device, "test"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); !errors.Is(err, service.ErrRollback) {
		t.Error(err)
	}
}
