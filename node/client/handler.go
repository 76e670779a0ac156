package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Door is what a node can be asked, in process or through a Client.
type Door interface {
	// Submit hands a transaction to the queue.
	Submit(ctx context.Context, env xdr.TransactionEnvelope) (protocol.Submission, error)
	// Closes streams closed ledgers, gap-free, and waits for the next.
	Closes(ctx context.Context, from uint32) iter.Seq2[xdr.LedgerCloseMeta, error]
	// Account returns an account, or protocol.ErrNotFound.
	Account(ctx context.Context, id protocol.AccountID) (protocol.Account, error)
	// Status returns where the node stands.
	Status(ctx context.Context) (protocol.Status, error)
}

// Defaults and limits of the handler.
const (
	// DefaultHeartbeat decides how soon a client can know that its node is gone. A heartbeat is four bytes.
	DefaultHeartbeat  = time.Second
	DefaultMaxStreams = 32
	// frameDeadline bounds the writing of one frame: a reader that takes none for so long is cut off, and may resume.
	frameDeadline = 30 * time.Second
	// answerDeadline bounds the node's work on one call.
	answerDeadline = 10 * time.Second
)

// HandlerConfig says what is served to whom.
type HandlerConfig struct {
	// Node is what is served.
	Node Door
	// Clients are the names that may call: the first DNS name of a verified client certificate. At least one.
	Clients []string
	// Heartbeat is the pause after which a stream without a ledger says that it lives; default DefaultHeartbeat.
	Heartbeat time.Duration
	// MaxStreams bounds the streams served at once; default DefaultMaxStreams.
	MaxStreams int
	// Logger gets the failures that callers are not told; default slog.Default.
	Logger *slog.Logger
}

// Validate checks c.
func (c HandlerConfig) Validate() error {
	switch {
	case c.Node == nil:
		return errors.New("client: handler needs a node")
	case len(c.Clients) == 0 || slices.Contains(c.Clients, ""):
		return errors.New("client: handler needs the names of its clients")
	case c.Heartbeat < 0 || c.MaxStreams < 0:
		return errors.New("client: a negative limit")
	}
	return nil
}

type handler struct {
	cfg     HandlerConfig
	streams chan struct{} // one token for each stream being served
}

// NewHandler serves a node to its pinned clients. It must be behind TLS that verifies client certificates: a request
// without a verified name is refused.
func NewHandler(cfg HandlerConfig) (http.Handler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Heartbeat = orDefault(cfg.Heartbeat, DefaultHeartbeat)
	if cfg.MaxStreams == 0 {
		cfg.MaxStreams = DefaultMaxStreams
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	h := &handler{cfg: cfg, streams: make(chan struct{}, cfg.MaxStreams)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /tx", h.answer(h.submit))
	mux.HandleFunc("GET /accounts/{id}", h.answer(h.account))
	mux.HandleFunc("GET /status", h.answer(h.status))
	mux.HandleFunc("GET /closes", h.closes)
	return h.pinned(mux), nil
}

// pinned lets only the configured names pass.
func (h *handler) pinned(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := peerName(r); name == "" || !slices.Contains(h.cfg.Clients, name) {
			h.fail(w, r, fmt.Errorf("%w: %q", ErrForbidden, name))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// peerName is the first DNS name of the caller's verified certificate, "" without one.
func peerName(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0][0].DNSNames) == 0 {
		return ""
	}
	return r.TLS.VerifiedChains[0][0].DNSNames[0]
}

// answer makes a handler of a function that returns what to say in JSON.
func (h *handler) answer(f func(w http.ResponseWriter, r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), answerDeadline)
		defer cancel()
		v, err := f(w, r.WithContext(ctx))
		if err != nil {
			h.fail(w, r, err)
			return
		}
		h.writeJSON(w, r, http.StatusOK, v)
	}
}

func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	f, status := toFailure(err)
	f.Detail = shorten(f.Detail)
	if status == http.StatusInternalServerError {
		h.cfg.Logger.ErrorContext(r.Context(), "node request failed", "path", r.URL.Path, "client", peerName(r), "error", err)
	}
	h.writeJSON(w, r, status, f)
}

func (h *handler) writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		h.cfg.Logger.ErrorContext(r.Context(), "node answer does not encode", "path", r.URL.Path, "error", err)
		http.Error(w, `{"code":"internal"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A caller that went away is not ours to report.
	_, _ = w.Write(body)
}

func (h *handler) submit(w http.ResponseWriter, r *http.Request) (any, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, protocol.MaxEnvelopeBytes))
	if err != nil {
		return nil, fmt.Errorf("%w: body: %v", protocol.ErrInvalid, err)
	}
	env, err := protocol.DecodeEnvelope(body)
	if err != nil {
		return nil, err
	}
	s, err := h.cfg.Node.Submit(r.Context(), env)
	if err != nil {
		return nil, err
	}
	return toSubmission(s)
}

func (h *handler) account(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := protocol.ParseAccountID(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	a, err := h.cfg.Node.Account(r.Context(), id)
	if err != nil {
		return nil, err
	}
	return toAccount(a)
}

func (h *handler) status(_ http.ResponseWriter, r *http.Request) (any, error) {
	s, err := h.cfg.Node.Status(r.Context())
	if err != nil {
		return nil, err
	}
	return toStatus(s), nil
}

// closes streams ledgers until the caller goes away or the node fails.
func (h *handler) closes(w http.ResponseWriter, r *http.Request) {
	from, err := strconv.ParseUint(r.URL.Query().Get("from"), 10, 32)
	if err != nil {
		h.fail(w, r, fmt.Errorf("%w: from: %v", protocol.ErrInvalid, err))
		return
	}
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default:
		h.fail(w, r, fmt.Errorf("%w: %d streams are being served", protocol.ErrUnavailable, h.cfg.MaxStreams))
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	ledgers := h.read(ctx, uint32(from))
	// The reader is waited for, so that nothing touches the node after the handler has returned.
	defer func() {
		cancel()
		for range ledgers {
		}
	}()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK)
	if err := h.stream(w, ledgers); err != nil && r.Context().Err() == nil {
		h.cfg.Logger.WarnContext(r.Context(), "node stream ended", "client", peerName(r), "from", from, "error", err)
	}
}

type next struct {
	meta xdr.LedgerCloseMeta
	err  error
}

// read walks the node's ledgers until ctx ends.
func (h *handler) read(ctx context.Context, from uint32) <-chan next {
	ledgers := make(chan next)
	go func() {
		defer close(ledgers)
		for meta, err := range h.cfg.Node.Closes(ctx, from) {
			select {
			case ledgers <- next{meta, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ledgers
}

// stream writes what comes from ledgers, and a heartbeat when nothing does.
func (h *handler) stream(w http.ResponseWriter, ledgers <-chan next) error {
	control := http.NewResponseController(w)
	flush := func(write func() error) error {
		return errors.Join(control.SetWriteDeadline(time.Now().Add(frameDeadline)), write(), control.Flush())
	}
	if err := flush(func() error { return nil }); err != nil {
		return err
	}
	heartbeat := time.NewTicker(h.cfg.Heartbeat)
	defer heartbeat.Stop()
	for {
		var err error
		select {
		case <-heartbeat.C:
			err = flush(func() error { return writeHeartbeat(w) })
		case n, ok := <-ledgers:
			switch {
			case !ok:
				return nil
			case n.err != nil:
				f, _ := toFailure(n.err)
				return errors.Join(n.err, flush(func() error { return writeFailure(w, f) }))
			}
			heartbeat.Reset(h.cfg.Heartbeat)
			err = flush(func() error { return writeMeta(w, n.meta) })
		}
		if err != nil {
			return err
		}
	}
}
