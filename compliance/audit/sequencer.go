package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// CheckpointSigner signs the text of a checkpoint with the log's key.
//
// SignCheckpoint may be called again with the same text, by this process or by another one after a crash, and then
// gives the same signature or an error: use CheckpointRef. The signature is verified before it is used. It is called
// by one goroutine at a time.
type CheckpointSigner interface {
	SignCheckpoint(ctx context.Context, text []byte) (signature []byte, err error)
}

// The bounds and the defaults of a sequencer.
const (
	MaxInterval        = time.Second
	DefaultInterval    = 200 * time.Millisecond
	MaxBatch           = 4096
	DefaultBatch       = 1024
	DefaultSignTimeout = 10 * time.Second

	batchTimeout  = 30 * time.Second // one transaction of the sequencer
	leaderSilence = 30 * time.Second // see connect
)

// leaderLock is the advisory lock that the leader's session holds, in the database of the log.
const leaderLock = 0x6469616d617564 // "diamaud"

// Config says whose log it is and how often it is extended.
type Config struct {
	Key         LogKey        // the log's name and public key
	Interval    time.Duration // how often new records are looked for; up to MaxInterval, 0 for DefaultInterval
	BatchLimit  int           // how many records one transaction gives an index; up to MaxBatch, 0 for DefaultBatch
	SignTimeout time.Duration // how long a signature may take; 0 for DefaultSignTimeout
	Log         *slog.Logger  // gets what goes wrong and is tried again; nil for none
	// Quiet says which records ask for no checkpoint by themselves: those that the signing of a checkpoint leaves in the
	// very log that it is of, each of which would cause the next one for ever. The next checkpoint that another record
	// causes covers them. nil for none.
	Quiet func(Entry) bool
}

// Validate checks the bounds.
func (c Config) Validate() error {
	switch {
	case c.Key.IsZero():
		return fmt.Errorf("%w: the sequencer has none", ErrLogKey)
	case c.Interval < 0 || c.Interval > MaxInterval:
		return fmt.Errorf("audit: interval %s is not up to %s", c.Interval, MaxInterval)
	case c.BatchLimit < 0 || c.BatchLimit > MaxBatch:
		return fmt.Errorf("audit: batch of %d is not up to %d", c.BatchLimit, MaxBatch)
	case c.SignTimeout < 0:
		return fmt.Errorf("audit: sign timeout %s is negative", c.SignTimeout)
	}
	return nil
}

// Sequencer gives committed records their index, keeps the tree and publishes signed checkpoints.
//
// Any number of processes may run one on the same database; the one that holds the lock leads. It holds the lock on the
// very session that writes, so a leader that lost its lock can't write any more. It keeps nothing in memory from one
// transaction to the next: to start again after a crash is what it does all the time.
type Sequencer struct {
	db      *DB
	signer  CheckpointSigner
	cfg     Config
	leading atomic.Bool
	metrics *sequencerMetrics
}

// NewSequencer makes a sequencer; Run runs it.
func NewSequencer(db *DB, signer CheckpointSigner, cfg Config) (*Sequencer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.BatchLimit == 0 {
		cfg.BatchLimit = DefaultBatch
	}
	if cfg.SignTimeout == 0 {
		cfg.SignTimeout = DefaultSignTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Sequencer{db: db, signer: signer, cfg: cfg, metrics: newSequencerMetrics()}, nil
}

// Leading reports whether this sequencer holds the lock.
func (s *Sequencer) Leading() bool { return s.leading.Load() }

// Run leads, or waits to lead, until ctx ends, and then returns nil. While the database or the signer is away it tries
// again. The one error that ends it is ErrCorrupt: the stored log contradicts itself, and a person must look.
func (s *Sequencer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); s.watch(ctx) }()
	defer func() { cancel(); <-watched }()
	for {
		err := s.lead(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrCorrupt):
			return err
		case err != nil:
			s.cfg.Log.Warn("audit sequencer starts again", "error", err)
		}
		if !pause(ctx, s.cfg.Interval) {
			return nil
		}
	}
}

// pause waits for d and reports whether ctx lasted.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// session is the leader's connection, which holds the lock. One goroutine uses it at a time.
type session struct {
	mu   sync.Mutex
	conn *pgx.Conn // guarded by mu
}

// with runs fn on the session within the time that a transaction may take.
func (l *session) with(ctx context.Context, fn func(ctx context.Context, conn *pgx.Conn) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	return classify(fn(ctx, l.conn))
}

// lead waits for the lock, and then sequences and publishes as long as it holds it.
func (s *Sequencer) lead(ctx context.Context) error {
	conn, err := s.connect(ctx)
	if err != nil {
		return fmt.Errorf("audit: leader: %w", classify(err))
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_ = conn.Close(end) // the lock goes with the session, however it ends
	}()
	l := &session{conn: conn}
	for mine := false; !mine; {
		err := l.with(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			return conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, int64(leaderLock)).Scan(&mine)
		})
		if err != nil {
			return fmt.Errorf("audit: leader: %w", err)
		}
		if !mine && !pause(ctx, s.cfg.Interval) {
			return ctx.Err()
		}
	}
	s.leading.Store(true)
	defer s.leading.Store(false)
	return s.work(ctx, l)
}

// connect opens the session that is to hold the lock. It asks something at least every MaxInterval, so the server may
// take one that is silent for leaderSilence for dead, also where a proxy keeps its connection up.
func (s *Sequencer) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	cfg := s.db.write.Config().ConnConfig.Copy()
	cfg.RuntimeParams["default_transaction_isolation"] = "repeatable read" // see sequence
	cfg.RuntimeParams["idle_session_timeout"] = strconv.FormatInt(leaderSilence.Milliseconds(), 10)
	return pgx.ConnectConfig(ctx, cfg)
}

// work runs the two halves of the leader side by side, so that a signer that is away stops no record from getting its
// index. It returns when one of them fails.
func (s *Sequencer) work(ctx context.Context, l *session) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	grown := make(chan struct{}, 1)
	published := make(chan struct{})
	go func() {
		defer close(published)
		cancel(s.publishAlways(ctx, l, grown))
	}()
	err := s.sequenceAlways(ctx, l, grown)
	cancel(err)
	<-published
	return context.Cause(ctx)
}

func (s *Sequencer) sequenceAlways(ctx context.Context, l *session, grown chan<- struct{}) error {
	for {
		n := 0
		err := l.with(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
			n, err = s.sequence(ctx, conn)
			return err
		})
		if err != nil {
			return fmt.Errorf("audit: sequence: %w", err)
		}
		if n > 0 {
			s.metrics.sequenced.Add(metric(n))
			select {
			case grown <- struct{}{}:
			default: // it is told already
			}
		}
		if n < s.cfg.BatchLimit && !pause(ctx, s.cfg.Interval) {
			return ctx.Err()
		}
	}
}

// publishAlways publishes when the tree has grown, and now and then in case a checkpoint is owed from before. Only
// trouble with the database or the stored log ends it: trouble with the signer is reported and tried again.
func (s *Sequencer) publishAlways(ctx context.Context, l *session, grown <-chan struct{}) error {
	ticker := time.NewTicker(s.cfg.Interval)
	defer ticker.Stop()
	for {
		err := s.publish(ctx, l)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errSigner):
			s.metrics.failures.Inc()
			s.cfg.Log.Warn("audit checkpoint is not signed yet", "error", err)
			if !pause(ctx, s.cfg.Interval) {
				return ctx.Err()
			}
		case err != nil:
			return fmt.Errorf("audit: publish: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
		case <-ticker.C:
		}
	}
}
