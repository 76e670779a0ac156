// Package audit is the tamper-evident log, and the only door to a database transaction.
//
// Every change of a row of the gateway's or the signer's database happens inside Do, which refuses to commit a
// transaction that recorded nothing. The record, the change and any outgoing effect therefore commit together or not
// at all. A record is canonical JSON; its bytes are the leaf of a Merkle tree. The tree is not built here: one
// Sequencer, off the request path, gives committed records their index and publishes signed checkpoints.
//
//	err := audit.Do(ctx, db, actor, func(ctx context.Context, tx *audit.Tx) error {
//		if _, err := tx.Exec(ctx, `UPDATE ...`); err != nil { return err }
//		_, err := tx.Record(ctx, audit.Event{Action: "deposit.matched", Subject: id, Data: map[string]any{...}})
//		return err
//	})
//
// Domain functions take the *Tx they run in, or a Reader when they only read.
package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	// ErrNothingRecorded: the function changed rows, or may have, and recorded nothing; it was rolled back.
	ErrNothingRecorded = errors.New("audit: transaction recorded nothing")
	// ErrUnchanged is returned by the function given to Do to say that nothing needed doing: Do rolls back and
	// returns nil.
	ErrUnchanged = errors.New("audit: nothing to change")
	// ErrUnavailable: the database cannot be reached or is shutting down. Nothing is known to have been committed.
	ErrUnavailable = errors.New("audit: database unavailable")
	// ErrContention: the transaction lost to others MaxTries times; nothing was changed.
	ErrContention = errors.New("audit: too much contention")
)

// MaxTries bounds how often Do runs a transaction that the database refuses to serialise.
const MaxTries = 20

// How long Do waits between tries, growing from the first to the last, and how long a COMMIT and a ROLLBACK may take.
const (
	minBackoff      = time.Millisecond
	maxBackoff      = 100 * time.Millisecond
	commitTimeout   = 30 * time.Second
	rollbackTimeout = 5 * time.Second
)

// sessionParams make the server end the session of a program that hangs or that the network has cut off, within a minute
// or so and not after the hours that TCP takes on its own. An open transaction keeps every younger record out of the log
// of all replicas, and a session that nobody is behind keeps the sequencer's lock.
var sessionParams = map[string]string{
	"idle_in_transaction_session_timeout": "60s",
	"tcp_keepalives_idle":                 "15",
	"tcp_keepalives_interval":             "5",
	"tcp_keepalives_count":                "3",
	"tcp_user_timeout":                    "30s",
}

// Reader reads committed rows. *Tx is one, and so is DB.Reader.
type Reader interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// DB is the database: one pool whose transactions only Do begins, and one pool of read-only sessions.
type DB struct {
	write, read      *pgxpool.Pool
	records, retries atomic.Int64 // committed events; transactions run once more
}

// Open connects to url (a pgx connection string) with at most maxConns connections in each of the two pools. It does
// not fail when the database is down: what is done with the DB then fails with ErrUnavailable until it is back.
func Open(ctx context.Context, url string, maxConns int32) (*DB, error) {
	pool := func(readOnly, isolation string) (*pgxpool.Pool, error) {
		cfg, err := pgxpool.ParseConfig(url)
		if err != nil {
			return nil, errors.New("audit: cannot read the database connection string") // the cause would quote a password
		}
		cfg.MaxConns = maxConns
		maps.Copy(cfg.ConnConfig.RuntimeParams, sessionParams)
		cfg.ConnConfig.RuntimeParams["default_transaction_read_only"] = readOnly
		cfg.ConnConfig.RuntimeParams["default_transaction_isolation"] = isolation
		return pgxpool.NewWithConfig(ctx, cfg)
	}
	write, err := pool("off", "serializable")
	if err != nil {
		return nil, err
	}
	// A serializable reader could be refused, and make writers be refused. One query sees one state either way.
	read, err := pool("on", "repeatable read")
	if err != nil {
		write.Close()
		return nil, err
	}
	return &DB{write: write, read: read}, nil
}

// Close ends all connections.
func (db *DB) Close() { db.write.Close(); db.read.Close() }

// Reader returns a Reader whose every query is a transaction of its own that the database keeps from writing.
func (db *DB) Reader() Reader { return db.read }

// Ping reports whether the database answers and takes writes.
func (db *DB) Ping(ctx context.Context) error {
	var readOnly bool
	if err := db.write.QueryRow(ctx, `SELECT pg_is_in_recovery()`).Scan(&readOnly); err != nil {
		return classify(err)
	}
	if readOnly {
		return fmt.Errorf("%w: it is a standby", ErrUnavailable)
	}
	return nil
}

// Actor says who causes a change: recorded with every event, under these names.
type Actor struct {
	Kind   string `json:"kind"`             // "staff", "partner", "customer", "worker", "operator"
	Name   string `json:"name"`             // certificate name, account id or worker name
	From   string `json:"from,omitempty"`   // remote address, "" inside the program
	Req    string `json:"req,omitempty"`    // request id, "" when there is none
	Behalf string `json:"behalf,omitempty"` // on whose behalf, "" for his own
}

// members are what is recorded of an actor.
func (a Actor) members() map[string]any {
	m := map[string]any{"kind": a.Kind, "name": a.Name}
	for name, value := range map[string]string{"from": a.From, "req": a.Req, "behalf": a.Behalf} {
		if value != "" {
			m[name] = value
		}
	}
	return m
}

// Tx is a transaction that Do began. It must not outlive the function it was given to. There are no parts of it: it panics
// when it is given a statement such as COMMIT or SAVEPOINT.
type Tx struct {
	tx      pgx.Tx
	actor   Actor
	records int
	ended   atomic.Bool // set when the attempt is over, whatever came of it
}

// control are the statements that begin and end transactions or parts of them.
var control = []string{"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "PREPARE"}

// onlyDoEnds panics if sql would end the transaction, or a part of it: a record that was rolled back to a savepoint
// would still count, and so would a clearance that was decided on there.
func onlyDoEnds(sql string) {
	sql = strings.TrimSpace(sql)
	end := strings.IndexFunc(sql, func(r rune) bool { return !unicode.IsLetter(r) })
	if end < 0 {
		end = len(sql)
	}
	if slices.ContainsFunc(control, func(word string) bool { return strings.EqualFold(word, sql[:end]) }) {
		panic("audit: only Do begins and ends transactions: " + sql)
	}
}

// Exec runs one statement.
func (t *Tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	onlyDoEnds(sql)
	return t.tx.Exec(ctx, sql, args...)
}

// Query runs one query. The rows must be closed before the next statement.
func (t *Tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	onlyDoEnds(sql)
	return t.tx.Query(ctx, sql, args...)
}

// QueryRow runs a query of at most one row.
func (t *Tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	onlyDoEnds(sql)
	return t.tx.QueryRow(ctx, sql, args...)
}

// SendBatch runs several statements in one round trip.
func (t *Tx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	for _, q := range b.QueuedQueries {
		onlyDoEnds(q.SQL)
	}
	return t.tx.SendBatch(ctx, b)
}

// Ended reports whether the transaction is over, committed or not: a token given in it is worth nothing any more.
func (t *Tx) Ended() bool { return t.ended.Load() }

// Actor returns who causes this transaction.
func (t *Tx) Actor() Actor { return t.actor }

// Do runs fn in a SERIALIZABLE transaction and commits it, if fn returned nil and recorded at least one event. fn may
// run several times and must not have effects outside the transaction.
//
// The commit is not cut short by ctx: a commit that has begun is waited for. When the connection breaks during the
// commit the outcome is unknown and the error is ErrUnavailable; callers make their changes idempotent by a unique key
// of their own and simply ask again. Errors of fn come back as they are.
func Do(ctx context.Context, db *DB, actor Actor, fn func(ctx context.Context, tx *Tx) error) error {
	if actor.Kind == "" || actor.Name == "" {
		return fmt.Errorf("audit: actor %+v has no kind or name", actor)
	}
	backoff := minBackoff
	for range MaxTries {
		err := attempt(ctx, db, actor, fn)
		if !retryable(err) {
			if errors.Is(err, ErrUnchanged) {
				return nil
			}
			return classify(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(backoff/2 + rand.N(backoff)): // jitter, so that the losers do not meet again
		}
		backoff = min(2*backoff, maxBackoff)
		db.retries.Add(1)
	}
	return ErrContention
}

func attempt(ctx context.Context, db *DB, actor Actor, fn func(ctx context.Context, tx *Tx) error) error {
	pgtx, err := db.write.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.Serializable})
	if err != nil {
		return err
	}
	defer rollback(ctx, pgtx)
	tx := &Tx{tx: pgtx, actor: actor}
	defer tx.ended.Store(true)
	if err := fn(ctx, tx); err != nil {
		return err
	}
	if tx.records == 0 {
		return ErrNothingRecorded
	}
	commit, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	if err := pgtx.Commit(commit); err != nil {
		return err
	}
	db.records.Add(int64(tx.records))
	return nil
}

// rollback ends a transaction that was not committed. It does nothing after a commit, and a connection that is broken
// rolls back by itself.
func rollback(ctx context.Context, tx pgx.Tx) {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	_ = tx.Rollback(end) // see above
}

// retryable reports whether the database refused to serialise a transaction that may well succeed next time.
func retryable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}

// classify turns the many ways in which a database can be away into ErrUnavailable and leaves other errors alone.
func classify(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) {
		return err
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code[:min(2, len(pg.Code))] {
		case "08", "53", "57", "58": // connection, resources, operator intervention, system
			return fmt.Errorf("%w: %s", ErrUnavailable, pg.Message)
		}
		switch pg.Code {
		case "25006", // read-only transaction on the write pool: the server became a standby
			"25P03": // see sessionParams
			return fmt.Errorf("%w: %s", ErrUnavailable, pg.Message)
		}
		return err
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || pgconn.SafeToRetry(err) || isNetwork(err) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// isNetwork reports whether err comes from a broken connection rather than from an answer.
func isNetwork(err error) bool {
	var n net.Error
	return errors.As(err, &n) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "conn closed")
}

// Unavailable reports whether err, of any call on a Reader or of Do, means that the database is away.
func Unavailable(err error) bool { return errors.Is(classify(err), ErrUnavailable) }
