// Package remote carries keymgmt.Signer over mutual TLS, so that a caller can't tell whether the signer is in its own
// process.
//
// The server is an http.Handler in front of the signer's service; a client is who the first DNS name of its verified
// certificate says. There are four endpoints: POST /v1/sign takes a request as JSON, with its full body, and answers
// with a signature or with an error by a stable code; POST /v1/orders takes an order of officers,
// POST /v1/attestations the word of somebody outside on a reserve; GET /health says which parts work. Nothing here takes a
// digest.
//
//	server := &http.Server{Handler: remote.Handler(svc, log), TLSConfig: tlsConfig}
//	signer, err := remote.NewClient(remote.Config{URL: "https://signer.diamante.internal:7443", TLS: tlsConfig, Timeout: 10 * time.Second})
package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/diamante/gateway/keymgmt"
)

// Where the endpoints are.
const (
	signPath   = "/v1/sign"
	orderPath  = "/v1/orders"
	attestPath = "/v1/attestations"
	healthPath = "/health"
)

// Bounds of what is read. A body grows by a third in base64; the rest of a request is short.
const (
	maxRequest  = keymgmt.MaxBody*4/3 + 40<<10
	maxResponse = 16 << 10
	maxMessage  = 1 << 10 // bytes of an error's text
)

// signRequest is keymgmt.Request on the wire.
type signRequest struct {
	Key        keymgmt.KeyID       `json:"key"`
	Kind       keymgmt.Kind        `json:"kind"`
	Body       []byte              `json:"body"` // base64
	Ref        string              `json:"ref"`
	Initiator  string              `json:"initiator,omitempty"`
	Consents   []keymgmt.Consent   `json:"consents,omitempty"`
	Discharges []keymgmt.Discharge `json:"discharges,omitempty"`
}

// signResponse holds a signature or an error, never both.
type signResponse struct {
	Public    *keymgmt.PublicKey `json:"public,omitempty"`
	Signature []byte             `json:"signature,omitempty"` // base64
	Error     *wireError         `json:"error,omitempty"`
}

type wireError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// NotBefore is when to ask again, with the code "not_yet".
	NotBefore *time.Time `json:"not_before,omitempty"`
}

// healthResponse says of each part "ok" or "unavailable". What exactly is wrong stays in the signer's log.
type healthResponse struct {
	OK    bool              `json:"ok"`
	Parts map[string]string `json:"parts"`
}

// codes is the one table between errors and the wire. The order matters only for an error that is several, which no
// signer should make: the one that promises least comes first.
var codes = []struct {
	code   string
	status int
	err    error
}{
	{"unavailable", http.StatusServiceUnavailable, keymgmt.ErrUnavailable},
	{"malformed", http.StatusBadRequest, keymgmt.ErrMalformed},
	{"unknown_key", http.StatusNotFound, keymgmt.ErrUnknownKey},
	{"denied", http.StatusForbidden, keymgmt.ErrDenied},
	{"approval_needed", http.StatusForbidden, keymgmt.ErrApprovalNeeded},
	{"not_yet", http.StatusForbidden, keymgmt.ErrNotYet},
	{"ref_used", http.StatusConflict, keymgmt.ErrRefUsed},
}

// remoteError is an error of the contract that was made in another process: its text, and its identity.
type remoteError struct {
	message string
	kind    error
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.kind }

// toWire gives the code and the status of err. What is not an error of the contract, such as a deadline that passed in
// the server, leaves the outcome unknown and is "unavailable".
func toWire(err error) (int, *wireError) {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			message := err.Error()
			var inside interface{ Outside() string } // an error that says more than a client is to know
			if errors.As(err, &inside) {
				message = inside.Outside()
			}
			wire := &wireError{Code: c.code, Message: message[:min(len(message), maxMessage)]}
			if at, early := keymgmt.NotBefore(err); early {
				wire.NotBefore = &at
			}
			return c.status, wire
		}
	}
	return http.StatusServiceUnavailable, &wireError{Code: "unavailable", Message: keymgmt.ErrUnavailable.Error()}
}

// fromWire is the reverse. A code that is not known here may mean anything.
func fromWire(e *wireError) error {
	for _, c := range codes {
		if e.Code == c.code && c.err == keymgmt.ErrNotYet && e.NotBefore != nil {
			return &remoteError{message: e.Message, kind: &keymgmt.Early{NotBefore: *e.NotBefore}}
		}
		if e.Code == c.code {
			return &remoteError{message: e.Message, kind: c.err}
		}
	}
	return fmt.Errorf("%w: the signer answered with error %.40q", keymgmt.ErrUnavailable, e.Code)
}

// readJSON reads one JSON value of at most limit bytes into v: no unknown fields, nothing after it.
func readJSON(r io.Reader, limit int64, v any) error {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return err
	}
	if int64(len(b)) > limit {
		return fmt.Errorf("over %d bytes", limit)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("something follows the JSON value")
	}
	return nil
}
