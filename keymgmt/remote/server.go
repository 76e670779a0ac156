package remote

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/diamante/gateway/keymgmt"
)

// How long the server works on one request, unless its client gives up earlier, and how long it reads one.
const (
	signTimeout   = 30 * time.Second
	healthTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	idleServer    = 5 * time.Minute // longer than the client's, so that it is the client who hangs up
	maxHeader     = 8 << 10         // bytes
)

// Signers is what the handler serves; keymgmt/service.Service is one.
type Signers interface {
	// For returns the Signer of a client who was authenticated by that name.
	For(caller string) keymgmt.Signer
	// Order carries out an order of officers, which caller delivers.
	Order(ctx context.Context, caller string, o keymgmt.Order) error
	// Attest takes an attestation of a reserve, which caller delivers.
	Attest(ctx context.Context, caller string, a keymgmt.Attestation) error
	// Health says of each part whether it works; nil is good.
	Health(ctx context.Context) map[string]error
}

// Serve answers on l, over mutual TLS 1.3 whatever else config says, until ctx ends; it then lets the requests that are
// being worked on finish. config holds the signer's certificate and, as ClientCAs, the authorities that clients'
// certificates may come from.
func Serve(ctx context.Context, l net.Listener, config *tls.Config, h http.Handler) error {
	if config == nil || config.ClientCAs == nil {
		return errors.New("remote: TLS needs the authorities of clients")
	}
	config = config.Clone()
	config.MinVersion, config.ClientAuth, config.NextProtos = tls.VersionTLS13, tls.RequireAndVerifyClientCert, []string{"http/1.1"}
	server := &http.Server{Handler: h, ReadHeaderTimeout: readTimeout, IdleTimeout: idleServer, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelWarn)} // handshakes of strangers are not our errors
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(tls.NewListener(l, config)) }()
	select {
	case err := <-failed:
		return fmt.Errorf("remote: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), signTimeout)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return fmt.Errorf("remote: stop: %w", err)
	}
	return nil
}

type handler struct {
	signers Signers
	log     *slog.Logger
}

// Handler serves s. It must sit behind a listener that verifies client certificates: a request without a verified
// certificate is refused.
func Handler(s Signers, log *slog.Logger) http.Handler {
	h := &handler{signers: s, log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+signPath, h.sign)
	mux.HandleFunc("POST "+orderPath, deliver(h, "order", s.Order))
	mux.HandleFunc("POST "+attestPath, deliver(h, "attestation", s.Attest))
	mux.HandleFunc("GET "+healthPath, h.health)
	return mux
}

// errNoClient: the connection has no client certificate that was verified and has a DNS name.
var errNoClient = errors.New("remote: no verified client certificate with a DNS name")

// clientName is the first DNS name in the verified certificate. The common name does not count.
func clientName(r *http.Request) (string, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return "", errNoClient
	}
	names := r.TLS.VerifiedChains[0][0].DNSNames
	if len(names) == 0 || names[0] == "" {
		return "", errNoClient
	}
	return names[0], nil
}

func (h *handler) sign(w http.ResponseWriter, r *http.Request) {
	caller, err := clientName(r)
	if err != nil {
		http.Error(w, "client certificate required", http.StatusUnauthorized)
		return
	}
	sig, err := h.answer(w, r, caller)
	if err != nil {
		status, wire := toWire(err)
		// One line an answer, here at the door; the audit log has the rest.
		h.log.Warn("not signed", "caller", caller, "from", r.RemoteAddr, "code", wire.Code, "error", err)
		h.write(w, status, signResponse{Error: wire})
		return
	}
	h.write(w, http.StatusOK, signResponse{Public: &sig.Public, Signature: sig.Bytes})
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, caller string) (keymgmt.Signature, error) {
	var in signRequest
	if err := readBody(w, r, &in); err != nil {
		return keymgmt.Signature{}, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), signTimeout)
	defer cancel()
	return h.signers.For(caller).Sign(ctx, keymgmt.Request(in))
}

// readBody reads what a client sends, for as long as it may take.
func readBody(w http.ResponseWriter, r *http.Request, v any) error {
	// Not every writer has deadlines; the server's own ReadTimeout then stands alone.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
	if err := readJSON(r.Body, maxRequest, v); err != nil {
		return fmt.Errorf("%w: %v", keymgmt.ErrMalformed, err)
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return nil
}

// deliver takes what proves itself, whoever brings it.
func deliver[T any](h *handler, what string, take func(ctx context.Context, caller string, v T) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		caller, err := clientName(r)
		if err != nil {
			http.Error(w, "client certificate required", http.StatusUnauthorized)
			return
		}
		var v T
		if err = readBody(w, r, &v); err == nil {
			ctx, cancel := context.WithTimeout(r.Context(), signTimeout)
			defer cancel()
			err = take(ctx, caller, v)
		}
		if err != nil {
			status, wire := toWire(err)
			h.log.Warn("not taken", "what", what, "caller", caller, "from", r.RemoteAddr, "code", wire.Code, "error", err)
			h.write(w, status, signResponse{Error: wire})
			return
		}
		h.write(w, http.StatusOK, signResponse{})
	}
}

func (h *handler) health(w http.ResponseWriter, r *http.Request) {
	if _, err := clientName(r); err != nil {
		http.Error(w, "client certificate required", http.StatusUnauthorized)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
	defer cancel()
	out, status := healthResponse{OK: true, Parts: map[string]string{}}, http.StatusOK
	for part, err := range h.signers.Health(ctx) {
		out.Parts[part] = "ok"
		if err != nil {
			out.OK, out.Parts[part], status = false, "unavailable", http.StatusServiceUnavailable
			h.log.Warn("unhealthy", "part", part, "error", err)
		}
	}
	h.write(w, status, out)
}

func (h *handler) write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		h.log.Info("answer not delivered", "error", err) // the client asks again with the same Ref
	}
}
