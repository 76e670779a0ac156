package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Pauses between attempts to resume a stream: the first, doubled each time, up to the last.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
	// streamBuffer is how much of a stream is read at once.
	streamBuffer = 64 << 10
)

// Closes streams every ledger from `from` on, gap-free, and waits for the next one until ctx ends; `from` below 2, the
// first closed ledger, means 2. A broken connection is resumed where it broke; the node's absence for longer than
// Config.ResumeFor ends the sequence with ErrUnavailable. There is one error, the last pair, unless the loop is left.
func (c *Client) Closes(ctx context.Context, from uint32) iter.Seq2[xdr.LedgerCloseMeta, error] {
	return func(yield func(xdr.LedgerCloseMeta, error) bool) {
		s := &stream{client: c, next: max(from, firstClosed), alive: time.Now(), yield: yield}
		if err := s.run(ctx); err != nil && !s.left {
			yield(xdr.LedgerCloseMeta{}, fmt.Errorf("client: closes: %w", err))
		}
	}
}

// firstClosed is the first ledger that was closed rather than made.
const firstClosed = 2

// stream is one walk over the closed ledgers, across connections.
type stream struct {
	client *Client
	next   uint32    // the ledger to come
	last   *xdr.Hash // the one before it, once known
	alive  time.Time // the last sign of life
	left   bool      // the reader left the loop
	yield  func(xdr.LedgerCloseMeta, error) bool
}

// run reads connection after connection until the reader leaves, ctx ends or it is no use to go on.
func (s *stream) run(ctx context.Context) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		before := s.alive
		err := s.connect(ctx)
		if s.left {
			return nil
		}
		err = identify(ctx, err)
		if !errors.Is(err, protocol.ErrUnavailable) || time.Since(s.alive) >= s.client.cfg.ResumeFor {
			return err
		}
		if s.alive != before {
			pause = firstPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// connect opens one connection at s.next and reads it to its end, which is always an error unless the reader left.
func (s *stream) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The watch ends the request when nothing came for too long; every frame winds it up again.
	watch := time.AfterFunc(s.client.cfg.Idle, func() { cancel(errSilent) })
	defer watch.Stop()
	u := s.client.base.JoinPath("/closes")
	u.RawQuery = "from=" + strconv.FormatUint(uint64(s.next), 10)
	resp, err := s.client.send(ctx, http.MethodGet, u, nil)
	if err != nil {
		return silent(ctx, err)
	}
	defer resp.Body.Close()
	r := &winding{r: resp.Body, wind: func() { watch.Reset(s.client.cfg.Idle) }}
	buffered := bufio.NewReaderSize(r, streamBuffer)
	for {
		meta, err := readFrame(buffered)
		if err != nil {
			return silent(ctx, err)
		}
		s.alive = time.Now()
		if meta == nil {
			continue
		}
		// A reader may take as long as it likes; meanwhile nothing is read, and nothing can be concluded.
		watch.Stop()
		if err := s.deliver(*meta); err != nil || s.left {
			return err
		}
		s.alive = time.Now()
		watch.Reset(s.client.cfg.Idle)
	}
}

var (
	errSilent = fmt.Errorf("%w: the stream fell silent", protocol.ErrUnavailable)
	errGap    = errors.New("client: the node's ledgers do not follow each other")
)

// deliver checks that meta is the next link of the chain and hands it to the reader.
func (s *stream) deliver(meta xdr.LedgerCloseMeta) error {
	if got := meta.LedgerSequence(); got != s.next {
		return fmt.Errorf("%w: ledger %d came, %d was due", errGap, got, s.next)
	}
	if s.last != nil && meta.PreviousLedgerHash() != *s.last {
		return fmt.Errorf("%w: ledger %d has another predecessor than the one delivered", errGap, s.next)
	}
	hash := meta.LedgerHash()
	s.last = &hash
	s.next++
	s.left = !s.yield(meta, nil)
	return nil
}

// silent names the watch as the reason when it was the one that ended the request.
func silent(ctx context.Context, err error) error {
	if context.Cause(ctx) == errSilent {
		return errSilent
	}
	return err
}

// winding winds a watch up whenever something arrives, so that a large ledger on a slow line is not taken for silence.
type winding struct {
	r    io.Reader
	wind func()
}

// Read is io.Reader. Its errors, the end included, are those of a broken connection: a stream has no end of its own.
func (w *winding) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.wind()
	}
	if err != nil {
		err = broken(err)
	}
	return n, err
}
